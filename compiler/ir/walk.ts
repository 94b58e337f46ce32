/** Traversals that several passes share. */
import { visitExpr, type Expr } from "./expr.ts";
import type { ScalarValue, TileOp, TileStmt, TileValue } from "./tile.ts";

/** Tiles that an op reads. */
export function inputsOf(op: TileOp): readonly TileValue[] {
  switch (op.kind) {
    case "Load":
    case "Full":
    case "Iota":
    case "Counts":
    case "Items":
      return [];
    case "Gather":
      return op.picks.map((p) => p.index);
    case "Map":
      return op.inputs;
    case "Gemm":
      return op.acc ? [op.a, op.b, op.acc] : [op.a, op.b];
    default:
      return [op.of];
  }
}

/** The tile that a tile is cut from; a tile that is cut from none itself. */
export function uncut(v: TileValue, definitions: ReadonlyMap<number, TileOp>): TileValue {
  const op = definitions.get(v.id);
  return op?.kind === "Slice" ? uncut(op.of, definitions) : v;
}

/** Tiles that a statement itself reads (not those of nested statements, nor what a loop carries). */
export function readsOf(s: TileStmt): readonly TileValue[] {
  switch (s.kind) {
    case "Define":
      return inputsOf(s.op);
    case "ToScalar":
      return [s.of];
    case "Store":
      return s.keep ? [s.of, s.keep] : [s.of];
    case "HistogramAdd":
      return [s.bin, s.keep];
    case "AppendPush":
      return [s.of, s.keep];
    case "BagAdd":
      return [...s.items, s.keep];
    case "BitmapAdd":
      return [s.position, s.keep];
    case "AppendMarked":
      return [s.of];
    default:
      return [];
  }
}

export const bodiesOf = (s: TileStmt): readonly (readonly TileStmt[])[] => (s.kind === "For" ? [s.body] : s.kind === "If" ? [s.then, s.otherwise] : []);

/** Every statement, outer ones first. */
export function* statements(body: readonly TileStmt[]): Generator<TileStmt> {
  for (const s of body) {
    yield s;
    for (const inner of bodiesOf(s)) yield* statements(inner);
  }
}

export const axisNames = (v: TileValue): string[] => v.axes.map((a) => a.name);

/** Every tile that the statements define, loop variables and merged ones included, in order of appearance. */
export function* definedTiles(body: readonly TileStmt[]): Generator<TileValue> {
  for (const s of body) {
    if (s.kind === "Define") yield s.value;
    if (s.kind === "For") yield* s.tiles.map((c) => c.param);
    for (const inner of bodiesOf(s)) yield* definedTiles(inner);
    if (s.kind === "For") yield* s.tiles.map((c) => c.result);
    if (s.kind === "If") yield* s.tiles.map((m) => m.result);
  }
}

/** Every scalar variable that the statements define, loop indices, loop variables and merged ones included. */
export function* definedScalars(body: readonly TileStmt[]): Generator<ScalarValue> {
  for (const s of statements(body)) {
    if (s.kind === "Let" || s.kind === "ToScalar" || s.kind === "AppendCount" || s.kind === "BagCount") yield s.scalar;
    if (s.kind === "For") yield* [s.index, ...s.scalars.flatMap((c) => [c.param, c.result])];
    if (s.kind === "If") yield* s.scalars.map((m) => m.result);
    if (s.kind === "HistogramFind") yield* [s.bin, s.above, s.inBin];
  }
}

/** Index of the last statement of a list that defines a scalar of these names, inside it or not; -1 where none does. */
export const lastDefinition = (list: readonly TileStmt[], names: ReadonlySet<string>): number =>
  list.findLastIndex((s) => [...definedScalars([s])].some((v) => names.has(v.name)));

/** Names of the variables in an expression. */
export function variablesOf(e: Expr): ReadonlySet<string> {
  const names = new Set<string>();
  visitExpr(e, (x) => x.kind === "Var" && names.add(x.name));
  return names;
}