/**
 * Every tile that a plan reads is where the reader looks, and is still there: tiles that share a register array do not overwrite each
 * other before the last read. Walks the plan with the tile that each array holds; shareRegisters decides by another argument.
 */
import { productsOf, type Plan, type PlanStmt } from "./plan.ts";
import { describeStmt, readsOfPlan } from "./plan_walk.ts";
import type { TileStmt, TileValue } from "./tile.ts";
import { VerifyError } from "./verify_error.ts";
import { definedTiles, statements } from "./walk.ts";

type TileLoop = Extract<TileStmt, { kind: "For" }>;
type TileBranch = Extract<TileStmt, { kind: "If" }>;

/** A tile's id; a loop variable that has its next value before the iteration ends counts as another tile. */
type Holder = number | `next ${number}` | "one or another";

interface State {
  /** By array name. */
  readonly registers: ReadonlyMap<string, Holder>;
  /** Ids of the tiles in shared memory. */
  readonly shared: ReadonlySet<number>;
}

export function verifyLifetimes(plan: Plan, pass: string): void {
  const structure = matchStructure(plan, pass);
  const fail = (where: string, complaint: string): never => {
    throw new VerifyError(pass, where, complaint);
  };
  const arrayOf = (v: TileValue): string => plan.registers.get(v.id) ?? fail(v.label, "it has no register array");
  const holding = (state: State, v: TileValue, holder: Holder): State => ({ ...state, registers: new Map(state.registers).set(arrayOf(v), holder) });

  /** `to` has taken over the value of `from`, by a move or because both share an array. */
  function takeOver(state: State, to: TileValue, from: TileValue, moved: Holder): State {
    const holder = state.registers.get(arrayOf(to));
    const shares = arrayOf(to) === plan.registers.get(from.id) && holder === from.id;
    if (holder !== moved && !shares) fail(to.label, `its registers do not hold the value of ${from.label} where it takes it over`);
    return holding(state, to, to.id);
  }

  function run(list: readonly PlanStmt[], entry: State, variables: ReadonlySet<number>): State {
    return list.reduce((state, s) => step(s, state, variables), entry);
  }

  /** `variables`: ids of the loop variables of the loops around. */
  function step(s: PlanStmt, before: State, variables: ReadonlySet<number>): State {
    const where = describeStmt(s);
    for (const { value, from } of readsOfPlan(plan, s)) {
      if (from === undefined) fail(where, `it reads ${value.label}, which it finds neither in registers nor in shared memory`);
      if (from === "shared" && !before.shared.has(value.id)) fail(where, `it reads ${value.label} from shared memory, where it is not yet`);
      if (from !== "registers") continue;
      const holder = before.registers.get(arrayOf(value));
      if (holder === undefined) fail(where, `it reads ${value.label} before it is computed`);
      if (holder !== value.id) fail(where, `it reads ${value.label}, whose registers ${arrayOf(value)} hold ${describe(plan, holder!)} by then`);
    }
    switch (s.kind) {
      case "Gemm":
        return productsOf(s).reduce((state, { value }) => holding(state, value, variables.has(value.id) ? `next ${value.id}` : value.id), before);
      case "Compute":
      case "Reduce":
      case "Scan":
      case "Fetch":
        return holding(before, s.value, variables.has(s.value.id) ? `next ${s.value.id}` : s.value.id);
      case "Move":
        return holding(before, s.to, variables.has(s.to.id) ? `next ${s.to.id}` : s.to.id);
      case "Stage":
      case "Copy":
        return { ...before, shared: new Set(before.shared).add(s.value.id) };
      case "For": {
        const { tiles } = structure.get(s) as TileLoop;
        const inner = new Set([...variables, ...tiles.map((c) => c.param.id)]);
        let header = tiles.reduce((state, c) => takeOver(state, c.param, c.init, c.param.id), before);
        for (;;) {
          const end = tiles.reduce((state, c) => takeOver(state, c.param, c.next, `next ${c.param.id}`), run(s.body, header, inner));
          const joined = join(header, end);
          if (same(joined, header)) break;
          header = joined;
        }
        return tiles.reduce((state, c) => takeOver(state, c.result, c.param, c.result.id), header);
      }
      case "If": {
        const { tiles } = structure.get(s) as TileBranch;
        const side = (way: "then" | "otherwise") => tiles.reduce((state, m) => takeOver(state, m.result, m[way], m.result.id), run(s[way], before, variables));
        return join(side("then"), side("otherwise"));
      }
      default:
        return before;
    }
  }

  run(plan.body, { registers: new Map(), shared: new Set() }, new Set());
}

/** The Tile statement behind each loop and branch of the plan: both stand in the same order. */
function matchStructure(plan: Plan, pass: string): ReadonlyMap<PlanStmt, TileStmt> {
  const isNested = (s: { kind: string }): boolean => s.kind === "For" || s.kind === "If";
  const tiles = [...statements(plan.kernel.body)].filter(isNested);
  const found = new Map<PlanStmt, TileStmt>();
  const visit = (list: readonly PlanStmt[]): void => {
    for (const s of list.filter(isNested)) {
      const tile = tiles[found.size];
      if (tile?.kind !== s.kind) throw new VerifyError(pass, describeStmt(s), `the kernel has ${tile ? `a ${tile.kind}` : "nothing"} here`);
      found.set(s, tile);
      if (s.kind === "For") visit(s.body);
      if (s.kind === "If") [s.then, s.otherwise].forEach(visit);
    }
  };
  visit(plan.body);
  if (found.size !== tiles.length) throw new VerifyError(pass, plan.kernel.name, "loops or branches of the kernel are missing");
  return found;
}

/** What holds whichever way the program came. */
function join(a: State, b: State): State {
  const registers = new Map<string, Holder>();
  for (const name of new Set([...a.registers.keys(), ...b.registers.keys()])) {
    const [x, y] = [a.registers.get(name), b.registers.get(name)];
    registers.set(name, x !== undefined && x === y ? x : "one or another");
  }
  return { registers, shared: new Set([...a.shared].filter((id) => b.shared.has(id))) };
}
const same = (a: State, b: State): boolean =>
  a.registers.size === b.registers.size && [...a.registers].every(([name, holder]) => b.registers.get(name) === holder) && a.shared.size === b.shared.size;

function describe(plan: Plan, holder: Holder): string {
  if (holder === "one or another") return "one tile or another, depending on the way taken,";
  const id = typeof holder === "number" ? holder : Number(holder.slice("next ".length));
  const label = [...definedTiles(plan.kernel.body)].find((v) => v.id === id)?.label;
  return typeof holder === "number" ? `${label}` : `the next ${label}`;
}
