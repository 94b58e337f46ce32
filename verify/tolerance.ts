/**
 * How far two executions of one kernel may lie apart when nothing is known of it but its text. Not a proof, unlike the budgets of
 * `reference/bounds`: it assumes that what cancels inside a kernel is no larger than the largest result of that output, M.
 *
 * ```text
 * |device − eager|  <=  (2 (L + N) u + 2 Σ w) M  +  F max(M, 1)  +  2 v |eager|  +  the smallest normal number
 * ```
 *
 * L: the longest accumulation: extents of a contraction, sum or scan, times the trips of the loops around it (a trip count that is only
 * known at run time is taken from the largest dim). N: f32 operations in the text, divisions counted three times. u: roundoff of the
 * executor's accumulator. w: the roundoff of each dtype that the text casts to, for a value next to a tie may round either way. F: the sum of
 * the error budgets of the scalar functions in the text (`dsl/math.ts`, WGSL's, for arguments up to 32). v: the roundoff of the output.
 * Integers, infinities and NaN must be the same, and so must everything that a kernel moves and rounds without computing.
 */
import { childrenOf, type Expr } from "../compiler/ir/expr.ts";
import type { Axis, TileKernel, TileOp, TileStmt, TileType } from "../compiler/ir/tile.ts";
import { bodiesOf } from "../compiler/ir/walk.ts";
import type { DType } from "../dsl/dtype.ts";
import { scalarFunctions, type ErrorBudget } from "../dsl/math.ts";
import type { Dims } from "./executor.ts";

/** Largest relative error of one rounding to a float dtype; 0 for integers, which are exact. */
const roundoffs: Readonly<Record<DType, number>> = {
  e4m3: 2 ** -4,
  e5m2: 2 ** -3,
  ue8m0: 1,
  f16: 2 ** -11,
  bf16: 2 ** -8,
  f32: 2 ** -24,
  i32: 0,
  u32: 0,
};
const smallest: Readonly<Record<DType, number>> = {
  e4m3: 2 ** -9,
  e5m2: 2 ** -16,
  ue8m0: 2 ** -127,
  f16: 2 ** -14,
  bf16: 2 ** -126,
  f32: 2 ** -126,
  i32: 0,
  u32: 0,
};

const largestArgument = 32;
const functionError = ({ ulp, ulpPerUnit = 0, absolute = 0 }: ErrorBudget): number =>
  Math.max(absolute, (ulp + ulpPerUnit * largestArgument) * 2 ** -23);
const functionErrors = new Map(scalarFunctions.map((f) => [f.name, functionError(f.wgsl)]));

export interface Tolerance {
  /** In units of the largest result of the output. */
  readonly ofLargest: number;
  /** In units of the largest result or 1, whichever is larger. */
  readonly ofFunctions: number;
  /** Otherwise all executions round the same numbers, and results are equal. */
  readonly computes: boolean;
}

export function toleranceOf(kernel: TileKernel, dims: Dims, roundoff: number): Tolerance {
  let [longest, operations, casts, ofFunctions] = [0, 0, 0, 0];
  const largestDim = Math.max(1, ...kernel.dims.filter((d) => d.default === undefined).map((d) => dims[d.name]!));
  const countOperations = (e: Expr): void => {
    if (e.kind === "Binary" && e.type === "f32") operations += e.op === "/" ? 3 : 1;
    if (e.kind === "Call") ofFunctions += functionErrors.get(e.fn) ?? 0;
    childrenOf(e).forEach(countOperations);
  };
  const visit = (s: TileStmt, trips: number): void => {
    if (s.kind === "Define") {
      const { op, value } = s;
      const before = operations;
      if (op.kind === "Map") countOperations(op.body);
      const axes = accumulatedAxes(op);
      if (axes.length > 0 || operations > before)
        longest = Math.max(
          longest,
          axes.reduce((n, a) => n * a.extent, trips),
        );
      if (op.kind === "Cast") casts += castRoundoff(op.of.dtype, value.dtype);
    }
    if (s.kind === "Let") countOperations(s.expr);
    const inner = s.kind === "For" ? trips * tripsOf(s, largestDim) : trips;
    for (const body of bodiesOf(s)) for (const t of body) visit(t, inner);
  };
  for (const s of kernel.body) visit(s, 1);
  const computes = longest + operations + ofFunctions > 0;
  return { ofLargest: computes ? 2 * (longest + operations) * roundoff + 2 * casts : 0, ofFunctions, computes };
}

/** Axes along which an op adds up. */
function accumulatedAxes(op: TileOp): readonly Axis[] {
  switch (op.kind) {
    case "Gemm":
      return op.a.axes.filter((a) => op.over.includes(a.name));
    case "Reduce":
      return op.of.axes.filter((a) => op.over.includes(a.name));
    case "Scan":
      return op.of.axes.filter((a) => a.name === op.axis);
    default:
      return [];
  }
}

const tripsOf = ({ lo, hi, step }: Extract<TileStmt, { kind: "For" }>, largestDim: number): number =>
  Math.ceil((lo.kind === "Const" && hi.kind === "Const" ? hi.value - lo.value : largestDim) / step);

/** Only a cast that loses digits can round either way. */
const castRoundoff = (from: TileType, to: TileType): number =>
  to === "bool" || (from !== "bool" && roundoffs[to] <= roundoffs[from]) ? 0 : roundoffs[to];

/** Budgets of an output's cells. */
export function budgetOf(dtype: DType, want: Float64Array, { ofLargest, ofFunctions, computes }: Tolerance): Float64Array | 0 {
  if (roundoffs[dtype] === 0 || !computes) return 0;
  const largest = want.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 0);
  const everywhere = ofLargest * largest + ofFunctions * Math.max(largest, 1) + smallest[dtype];
  return want.map((x) => everywhere + 2 * roundoffs[dtype] * (Number.isFinite(x) ? Math.abs(x) : 0));
}
