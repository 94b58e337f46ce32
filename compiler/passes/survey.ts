import type { Axis, TileKernel, TileOp, TileStmt, TileValue } from "../ir/tile.ts";
import { bodiesOf, definedScalars, definedTiles, readsOf, statements } from "../ir/walk.ts";
import { factorsWhere } from "./factors.ts";

/** What rewrites of Tile IR ask about a kernel. */
export interface Survey {
  readonly definitions: ReadonlyMap<number, TileOp>;
  /** How many ops, statements, loops and branches take a tile. */
  readonly readers: ReadonlyMap<number, number>;
  /** Loops around the definition of a tile (by id) or a scalar (by name). */
  readonly depths: ReadonlyMap<number | string, number>;
  /** Tiles without negative elements, by the promises of the arguments and by what is computed from them. */
  readonly nonNegative: ReadonlySet<number>;
  /** A new f32 tile that comes from the same line as another one. */
  fresh(label: string, beside: TileValue, axes: readonly Axis[]): TileValue;
}

export function survey(kernel: TileKernel): Survey {
  const definitions = new Map<number, TileOp>();
  const readers = new Map<number, number>();
  const depths = new Map<number | string, number>();
  const nonNegative = new Set<number>();
  const read = (tiles: readonly TileValue[]): void => tiles.forEach(({ id }) => readers.set(id, (readers.get(id) ?? 0) + 1));

  const walk = (body: readonly TileStmt[], depth: number): void => {
    for (const s of body) {
      for (const { id } of definedTiles([s])) depths.set(id, depth);
      for (const { name } of definedScalars([s])) depths.set(name, depth);
      read(readsOf(s));
      if (s.kind === "Define") {
        definitions.set(s.value.id, s.op);
        if (isNonNegative(s.op)) nonNegative.add(s.value.id);
      }
      if (s.kind === "If") read(s.tiles.flatMap((m) => [m.then, m.otherwise]));
      if (s.kind === "For") {
        read(s.tiles.flatMap((c) => [c.init, c.next]));
        for (const key of [s.index.name, ...s.tiles.map((c) => c.param.id), ...s.scalars.map((c) => c.param.name)]) depths.set(key, depth + 1);
      }
      for (const inner of bodiesOf(s)) walk(inner, s.kind === "For" ? depth + 1 : depth);
    }
  };

  function isNonNegative(op: TileOp): boolean {
    const none = factorsWhere(() => false);
    switch (op.kind) {
      case "Load":
      case "Gather": {
        const field = kernel.params.find((p) => p.name === op.view.param)?.fields.find((f) => f.name === op.view.field);
        const declared = field?.nonNegative === true || op.view.dtype === "ue8m0";
        return declared && (op.kind === "Gather" || none.isNonNegative(op.fill));
      }
      case "Full":
        return none.isNonNegative(op.value);
      case "Map":
        return factorsWhere((name) => nonNegative.has(op.inputs[op.params.indexOf(name)]?.id ?? -1)).isNonNegative(op.body);
      default:
        return (op.kind === "Cast" || op.kind === "Slice" || op.kind === "Rename") && nonNegative.has(op.of.id);
    }
  }

  walk(kernel.body, 0);
  const tiles = [...definedTiles(kernel.body)];
  const names = new Set([...tiles.map((t) => t.label), ...[...definedScalars(kernel.body), ...kernel.grid.map((g) => g.index)].map((x) => x.name)]);
  for (const { name } of kernel.dims) names.add(name);
  for (const s of statements(kernel.body)) if (s.kind === "Histogram" || s.kind === "Append") names.add(s.name);
  let nextId = Math.max(...tiles.map((t) => t.id)) + 1;
  const fresh = (label: string, { loc }: TileValue, axes: readonly Axis[]): TileValue => {
    const free = unlike(label, [...names]);
    names.add(free);
    return { id: nextId++, label: free, dtype: "f32", axes, loc };
  };
  return { definitions, readers, depths, nonNegative, fresh };
}

/** The wish, or the wish with a number, that is none of the taken names. */
export function unlike(wish: string, taken: readonly string[]): string {
  let name = wish;
  for (let n = 2; taken.includes(name); n++) name = `${wish}_${n}`;
  return name;
}

/** The kernel with some definitions replaced, by the id of what they define. */
export function rewriteDefines(kernel: TileKernel, instead: ReadonlyMap<number, readonly TileStmt[]>): TileKernel {
  const rewrite = (body: readonly TileStmt[]): readonly TileStmt[] =>
    body.flatMap((s): readonly TileStmt[] => {
      if (s.kind === "Define") return instead.get(s.value.id) ?? [s];
      if (s.kind === "For") return [{ ...s, body: rewrite(s.body) }];
      return s.kind === "If" ? [{ ...s, then: rewrite(s.then), otherwise: rewrite(s.otherwise) }] : [s];
    });
  return instead.size === 0 ? kernel : { ...kernel, body: rewrite(kernel.body) };
}
