/**
 * How far two executions of one kernel may lie apart when nothing is known of it but its text. Not a proof, unlike the budgets of
 * `reference/bounds`: it assumes that what cancels inside a kernel is no larger than the largest result of that output, M.
 *
 * ```text
 * |device − eager|  <=  (2 (L + N) u + F 2^-23 + 2 Σ w) M  +  2 v |eager|  +  the smallest normal number
 * ```
 *
 * L: the longest accumulation: extents of a contraction, sum or scan, times the trips of the loops around it (a trip count that is only
 * known at run time is taken from the largest dim). N: f32 operations in the text. u: roundoff of the executor's accumulator.
 * F = 64 if the text calls a function that targets approximate. w: the roundoff of each dtype that the text casts to, for a value next to
 * a tie may round either way. v: the roundoff of the output. Integers, infinities and NaN must be the same.
 */
import type { Expr } from "../compiler/ir/expr.ts";
import { childrenOf } from "../compiler/ir/expr.ts";
import type { TileKernel, TileStmt, TileType } from "../compiler/ir/tile.ts";
import { bodiesOf } from "../compiler/ir/walk.ts";
import type { DType } from "../dsl/dtype.ts";
import type { Dims } from "./executor.ts";

/** Largest relative error of one rounding to a float dtype; 0 for integers, which are exact. */
const roundoffs: Readonly<Record<DType, number>> = { e4m3: 2 ** -4, e5m2: 2 ** -3, ue8m0: 1, f16: 2 ** -11, bf16: 2 ** -8, f32: 2 ** -24, i32: 0, u32: 0 };
const smallest: Readonly<Record<DType, number>> = { e4m3: 2 ** -9, e5m2: 2 ** -16, ue8m0: 2 ** -127, f16: 2 ** -14, bf16: 2 ** -126, f32: 2 ** -126, i32: 0, u32: 0 };
const approximated = new Set(["exp", "exp2", "log", "log2", "log1p", "sqrt", "tanh", "sin", "cos"]);
const approximationUlp = 64;

export interface Tolerance {
  /** Of the largest result of the output. */
  readonly ofLargest: number;
}

export function toleranceOf(kernel: TileKernel, dims: Dims, roundoff: number): Tolerance {
  const largestDim = Math.max(1, ...kernel.dims.filter((d) => d.default === undefined).map((d) => dims[d.name]!));
  let [longest, operations, casts, approximates] = [1, 0, 0, false];
  const countOperations = (e: Expr): void => {
    if (e.type === "f32" && (e.kind === "Binary" || e.kind === "Call")) operations++;
    if (e.kind === "Call" && approximated.has(e.fn)) approximates = true;
    childrenOf(e).forEach(countOperations);
  };
  const visit = (s: TileStmt, trips: number): void => {
    longest = Math.max(longest, trips);
    if (s.kind === "Define") {
      const { op, value } = s;
      const axes = op.kind === "Gemm" ? op.a.axes.filter((a) => op.over.includes(a.name)) : op.kind === "Reduce" ? op.of.axes.filter((a) => op.over.includes(a.name)) : op.kind === "Scan" ? op.of.axes.filter((a) => a.name === op.axis) : [];
      longest = Math.max(longest, axes.reduce((n, a) => n * a.extent, trips));
      if (op.kind === "Map") countOperations(op.body);
      if (op.kind === "Cast") casts += castRoundoff(op.of.dtype, value.dtype);
    }
    if (s.kind === "Let") countOperations(s.expr);
    const inner = s.kind === "For" ? trips * tripsOf(s, largestDim) : trips;
    for (const body of bodiesOf(s)) for (const t of body) visit(t, inner);
  };
  for (const s of kernel.body) visit(s, 1);
  return { ofLargest: 2 * (longest + operations) * roundoff + (approximates ? approximationUlp * 2 ** -23 : 0) + 2 * casts };
}

const tripsOf = ({ lo, hi, step }: Extract<TileStmt, { kind: "For" }>, largestDim: number): number =>
  Math.ceil((lo.kind === "Const" && hi.kind === "Const" ? hi.value - lo.value : largestDim) / step);

/** Only a cast that loses digits can round either way. */
const castRoundoff = (from: TileType, to: TileType): number => (to === "bool" || (from !== "bool" && roundoffs[to] <= roundoffs[from]) ? 0 : roundoffs[to]);

/** Budgets of an output's cells. */
export function budgetOf(dtype: DType, want: Float64Array, { ofLargest }: Tolerance): Float64Array | 0 {
  if (roundoffs[dtype] === 0) return 0;
  const largest = want.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
  return want.map((x) => ofLargest * largest + 2 * roundoffs[dtype] * (Number.isFinite(x) ? Math.abs(x) : 0) + smallest[dtype]);
}
