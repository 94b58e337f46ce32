import type { TileKernel, TileOp, TileStmt } from "../ir/tile.ts";
import { definedScalars, definedTiles, inputsOf, variablesOf } from "../ir/walk.ts";

/** Moves element-wise values and reductions in front of the loops in which nothing that they read changes. */
export function hoistInvariants(kernel: TileKernel): TileKernel {
  const body = hoisted(kernel.body);
  return body === kernel.body ? kernel : { ...kernel, body };
}

/** Inner loops first: what leaves one may leave the next. */
function hoisted(body: readonly TileStmt[]): readonly TileStmt[] {
  const out = body.flatMap((s): readonly TileStmt[] => {
    if (s.kind === "If") {
      const [then, otherwise] = [hoisted(s.then), hoisted(s.otherwise)];
      return then === s.then && otherwise === s.otherwise ? [s] : [{ ...s, then, otherwise }];
    }
    if (s.kind !== "For") return [s];
    const inner = hoisted(s.body);
    const changing = new Set<number | string>([s.index.name, ...s.tiles.map((c) => c.param.id), ...s.scalars.map((c) => c.param.name)]);
    for (const tile of definedTiles(inner)) changing.add(tile.id);
    for (const { name } of definedScalars(inner)) changing.add(name);
    const before = inner.filter((d) => {
      const leaves = isMovable(d) && inputsOf(d.op).every((t) => !changing.has(t.id)) && scalarsOf(d).every((name) => !changing.has(name));
      if (leaves) changing.delete(d.value.id);
      return leaves;
    });
    if (before.length === 0 && inner === s.body) return [s];
    return [...before, { ...s, body: inner.filter((d) => !before.includes(d)) }];
  });
  return out.every((s, i) => s === body[i]) ? body : out;
}

type Define = Extract<TileStmt, { kind: "Define" }>;
const movable = new Set<TileOp["kind"]>(["Map", "Cast", "Reduce", "Full", "Iota"]);
const isMovable = (s: TileStmt): s is Define => s.kind === "Define" && movable.has(s.op.kind);

/** The uniform scalars that a value depends on. */
function scalarsOf({ op }: Define): readonly string[] {
  if (op.kind === "Map") return [...variablesOf(op.body)].filter((name) => !op.params.includes(name));
  if (op.kind === "Full") return [...variablesOf(op.value)];
  return op.kind === "Iota" ? [...variablesOf(op.start)] : [];
}
