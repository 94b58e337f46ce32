/** Traversals that several passes share. */
import type { TileOp, TileStmt, TileValue } from "./tile.ts";

/** Tiles that an op reads. */
export function inputsOf(op: TileOp): readonly TileValue[] {
  switch (op.kind) {
    case "Load":
    case "Full":
    case "Iota":
    case "Counts":
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
