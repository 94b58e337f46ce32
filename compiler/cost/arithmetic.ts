/** Arithmetic of one statement on whole tiles. */
import { type Expr, visitExpr } from "../ir/expr.ts";
import type { Axis, TileStmt, TileType, TileValue } from "../ir/tile.ts";

export interface Arithmetic {
  /** A product of tiles: two operations a multiply-add. */
  readonly gemm?: { readonly dtype: TileType; readonly flops: number };
  /** f32 additions, multiplications, divisions and calls of functions. */
  readonly other: number;
}

/** Undefined for statements without arithmetic. */
export function arithmeticOf(s: TileStmt): Arithmetic | undefined {
  if (s.kind !== "Define") return undefined;
  const { op, value } = s;
  switch (op.kind) {
    case "Gemm": {
      const extra = op.b.axes.filter((axis) => op.a.axes.every(({ name }) => name !== axis.name));
      return { gemm: { dtype: wider(op.a, op.b), flops: 2 * sizeOf(op.a.axes) * sizeOf(extra) }, other: 0 };
    }
    case "Map":
      return { other: sizeOf(value.axes) * operationsOf(op.body) };
    case "Reduce":
    case "Scan":
      return { other: op.of.dtype === "f32" ? sizeOf(op.of.axes) : 0 };
    default:
      return undefined;
  }
}

const widths: Readonly<Record<TileType, number>> = { bool: 0, e4m3: 1, e5m2: 1, ue8m0: 1, f16: 2, bf16: 2, i32: 4, u32: 4, f32: 4 };
const wider = (a: TileValue, b: TileValue): TileType => (widths[a.dtype] >= widths[b.dtype] ? a.dtype : b.dtype);

const sizeOf = (axes: readonly Axis[]): number => axes.reduce((product, axis) => product * axis.extent, 1);

/** A node that occurs twice is computed once. */
function operationsOf(e: Expr): number {
  let count = 0;
  visitExpr(e, (x) => {
    if ((x.kind === "Binary" && x.type === "f32") || x.kind === "Call") count++;
  });
  return count;
}
