/**
 * Decides for every tile whether it is inline (recomputed where it is used) or stored, and which stored tiles other
 * threads must see: operands of gemms and the index tiles of gathers go to shared memory. What marked positions are worth is inline, and so
 * are the indices of rows that a role brings, which finds them by itself.
 */
import { axisNames, bodiesOf, inputsOf, readsOf, uncut } from "../ir/walk.ts";
import type { TileKernel, TileOp, TileStmt, TileValue } from "../ir/tile.ts";
import type { Bound } from "./bind_schedule.ts";

/** `anywhere`: any thread wants any position. */
type Role = "element" | "operand" | "pick" | "acc" | "carry" | "anywhere";

interface Use {
  readonly role: Role;
  /** Axes of the work that reads the tile. */
  readonly domain: readonly string[];
  /** The statement list that the reader stands in. */
  readonly body: readonly TileStmt[];
}

export interface Placement {
  readonly inline: ReadonlyMap<number, TileOp>;
  /** Stored values whose elements other threads read. */
  readonly staged: ReadonlySet<number>;
  /** Those of them that nobody reads otherwise: they need no registers. */
  readonly onlyStaged: ReadonlySet<number>;
  readonly definitions: ReadonlyMap<number, TileOp>;
}

/**
 * The schedule's word: tiles that go through rings of shared memory or are made in their slots, and products that take what is in no ring from registers. `early` loads
 * are made where they stand.
 */
export function placeValues(kernel: TileKernel, { rings, made, products }: Pick<Bound, "rings" | "made" | "products">, early: ReadonlySet<number> = new Set()): Placement {
  const uses = new Map<number, Use[]>();
  const definitions = new Map<number, TileOp>();
  const homes = new Map<number, readonly TileStmt[]>();
  const written = new Set(kernel.params.filter((p) => p.access !== "in").map((p) => p.name));
  const order: { value: TileValue; op: TileOp }[] = [];
  /** Tiles defined before the last addition to each histogram. */
  const counted = new Map<string, number>();

  const use = (v: TileValue, role: Role, domain: readonly string[], body: readonly TileStmt[]) => {
    const list = uses.get(v.id) ?? [];
    uses.set(v.id, [...list, { role, domain, body }]);
  };
  const collect = (body: readonly TileStmt[]): void => {
    for (const s of body) {
      if (s.kind === "Define") {
        definitions.set(s.value.id, s.op);
        homes.set(s.value.id, body);
        order.push(s);
        const { op } = s;
        const domain = axisNames(s.value);
        if (op.kind === "Gemm") {
          const { id } = uncut(op.a, definitions);
          const fromRegisters = products.has(s.value.id) && !rings.has(id) && !made.has(id);
          if (fromRegisters) use(op.a, "element", axisNames(op.a), body);
          else use(op.a, "operand", domain, body);
          use(op.b, "operand", domain, body);
          if (op.acc) use(op.acc, "acc", domain, body);
        } else if (op.kind === "Gather") op.picks.forEach((p) => use(p.index, rings.has(s.value.id) ? "anywhere" : "pick", domain, body));
        else if (op.kind === "Map") op.inputs.forEach((v) => use(v, "element", domain, body));
        else if (op.kind === "Reduce" || op.kind === "Scan") use(op.of, "element", axisNames(op.of), body);
        else if (op.kind === "Cast") use(op.of, "element", domain, body);
      } else if (s.kind === "For") {
        for (const c of s.tiles) {
          use(c.init, "carry", axisNames(c.init), body);
          use(c.next, "carry", axisNames(c.next), s.body);
        }
      } else if (s.kind === "If") {
        for (const m of s.tiles) {
          use(m.then, "carry", axisNames(m.then), s.then);
          use(m.otherwise, "carry", axisNames(m.otherwise), s.otherwise);
        }
      } else {
        for (const v of readsOf(s)) use(v, s.kind === "AppendMarked" ? "anywhere" : "element", axisNames(v), body);
        if (s.kind === "HistogramAdd") counted.set(s.histogram, order.length);
      }
      bodiesOf(s).forEach(collect);
    }
  };
  collect(kernel.body);

  /** Computed from positions and uniform scalars alone. */
  const isPositional = (v: TileValue): boolean => {
    const op = definitions.get(v.id);
    if (op?.kind === "Map") return op.inputs.every(isPositional);
    return op?.kind === "Iota" || op?.kind === "Full";
  };

  const inline = new Map<number, TileOp>();
  const staged = new Set<number>();
  const onlyStaged = new Set<number>();
  // consumers before producers: what an inline view (slice, rename) is used for, its source is used for
  for (const [place, { value, op }] of [...order.entries()].reverse()) {
    const all = uses.get(value.id) ?? [];
    const seenByOthers = all.some((u) => u.role === "operand" || u.role === "pick");
    const once = all.length === 1 ? all[0] : undefined;
    const unordered = value.axes.some((a) => a.held);
    const local = once !== undefined && once.body === homes.get(value.id) && sameSet(once.domain, axisNames(value));
    if (all.some((u) => u.role === "anywhere")) {
      inline.set(value.id, op);
      for (const v of inputsOf(op)) uses.set(v.id, [...(uses.get(v.id) ?? []), { role: "anywhere", domain: axisNames(v), body: homes.get(value.id)! }]);
    } else if (op.kind === "Slice" || op.kind === "Rename") {
      inline.set(value.id, op);
      const renamed = (axis: string) => (op.kind === "Rename" ? (Object.entries(op.axes).find(([, to]) => to === axis)?.[0] ?? axis) : axis);
      uses.set(op.of.id, [...(uses.get(op.of.id) ?? []), ...all.map((u) => ({ ...u, domain: u.domain.map(renamed) }))]);
    } else if (op.kind === "Items" || (unordered && (op.kind === "Map" || op.kind === "Cast")) || (seenByOthers && isPositional(value))) {
      inline.set(value.id, op); // read from the bag, or computed from the position, wherever it is needed
    } else if (seenByOthers || rings.has(value.id) || made.has(value.id)) {
      staged.add(value.id);
      if (all.every((u) => u.role === "operand" || u.role === "pick") || rings.has(value.id) || made.has(value.id)) onlyStaged.add(value.id);
    } else if (op.kind === "Full" || op.kind === "Iota") inline.set(value.id, op);
    else if (op.kind === "Counts") {
      if (place >= (counted.get(op.histogram) ?? 0)) inline.set(value.id, op); // else later additions would show
    }
    else if (op.kind === "Load" || op.kind === "Gather") {
      const isRun = op.kind === "Gather" && op.picks.some((p) => op.view.coords[p.coord]!.kind === "Block");
      const often = op.kind === "Load" && all.length > 1 && all.every((u) => u.role === "element" && u.body === homes.get(value.id) && sameSet(u.domain, axisNames(value)));
      if (!written.has(op.view.param) && !isRun && !often && !early.has(value.id)) inline.set(value.id, op); // what is read several times is loaded once
    } else if ((op.kind === "Map" || op.kind === "Cast") && local && (once.role === "element" || once.role === "acc")) inline.set(value.id, op);
  }
  return { inline, staged, onlyStaged, definitions };
}

const sameSet = (a: readonly string[], b: readonly string[]): boolean => a.length === b.length && a.every((x) => b.includes(x));
