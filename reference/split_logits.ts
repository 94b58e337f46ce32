/**
 * How far a ReLU kernel may be from the reference that computes its scores in two halves. With g_h = w_h qScale_h and a_h = ⟨q_h, k⟩,
 *
 * ```text
 * I = kScale ( Σ_h |a_h| g_h / 2  +  ⟨U, k⟩ ),   U_d = Σ_h g_h q_hd / 2
 * ```
 *
 * The fp8 product of the second half takes U as four e4m3 pieces: U = unit Σ_p c_p / 16^p, where unit is the power of two that puts U / unit
 * into (−256, 256), c_p is what the earlier pieces left, rounded, and the next c is of what is left then, times 16. A rounding in
 * (−256, 256) loses at most 8; so the pieces are at most 256, 128, 64 and 32, and the last one leaves at most 1 / 16^3.
 *
 * ```text
 * first half     Σ |g_h| E_h / 2,  and γ(H + 3) of A = Σ |g_h| (|a_h| + E_h) / 2
 * U              γ(H + 3) V_d,  V_d = Σ |g_h q_hd| / 2,  and unit / 16^3 lost
 * pieces         |c_0| unit <= (1 + 1/16) |U_d| + unit / 2^10, the others 8, 1/4 and 1/128 unit; each product as `sumError` has it
 * last sums      γ(6) of both halves
 * ```
 *
 * Zeros are not exact: where no score is positive, the halves cancel.
 * @module
 */
import { dotError, f32Roundoff, gamma, smallestNormalF32, sumError, type Accumulator } from "./accuracy.ts";
import type { IndexerArgs } from "./indexer.ts";

/** What the cells of one query have in common. */
export interface SplitQuery {
  readonly args: IndexerArgs;
  readonly q: Float64Array;
  readonly query: number;
  /** [heads], w · qScale. */
  readonly gates: Float64Array;
  /** [dim], at most |U_d| as the kernel has it. */
  readonly vector: Float64Array;
  /** [dim], how far that may be from U_d. */
  readonly vectorError: Float64Array;
  readonly unit: number;
}

export function splitQuery(args: IndexerArgs, q: Float64Array, query: number): SplitQuery {
  const { heads, dim } = args.shape;
  const gates = Float64Array.from({ length: heads }, (_, h) => args.w[query * heads + h]! * args.qScale[query * heads + h]!);
  const sums = new Float64Array(dim);
  const magnitudes = new Float64Array(dim);
  for (let h = 0; h < heads; h++) {
    for (let d = 0; d < dim; d++) {
      const term = (gates[h]! * q[(query * heads + h) * dim + d]!) / 2;
      sums[d]! += term;
      magnitudes[d]! += Math.abs(term);
    }
  }
  const vectorError = magnitudes.map((m) => gamma(heads + 3, f32Roundoff) * m + 2 * heads * smallestNormalF32);
  const vector = sums.map((x, d) => Math.abs(x) + vectorError[d]!);
  return { args, q, query, gates, vector, vectorError, unit: Math.max(...vector, 2 ** -100) * 2 ** -7 };
}

/** Bound on the error of the cell of token s before its last rounding. */
export function splitError({ args, q, query, gates, vector, vectorError, unit }: SplitQuery, k: Float64Array, s: number, accumulator: Accumulator): number {
  const { heads, dim } = args.shape;
  let passedOn = 0;
  let half = 0;
  let flushed = 1;
  for (let h = 0; h < heads; h++) {
    const row = (query * heads + h) * dim;
    let a = 0;
    for (let d = 0; d < dim; d++) a += q[row + d]! * k[s * dim + d]!;
    const error = dotError(q, row, k, s * dim, dim, accumulator);
    passedOn += (Math.abs(gates[h]!) * error) / 2;
    half += (Math.abs(gates[h]!) * (Math.abs(a) + error)) / 2;
    flushed += 2 * (Math.abs(a) + error) + 1;
  }
  let keys = 0;
  let lost = 0;
  let first = 0;
  for (let d = 0; d < dim; d++) {
    const key = Math.abs(k[s * dim + d]!);
    keys += key;
    lost += key * (vectorError[d]! + unit * 2 ** -12);
    first += key * ((1 + 1 / 16) * vector[d]! + unit * 2 ** -10);
  }
  const pieces = [first, ...[8, 1 / 4, 1 / 128].map((largest) => largest * unit * keys)];
  const products = pieces.reduce((sum, piece) => sum + sumError(piece, dim, accumulator), 0);
  const straight = pieces.reduce((sum, piece) => sum + piece, 0);
  const rounded = gamma(heads + 3, f32Roundoff) * half + gamma(6, f32Roundoff) * (half + straight);
  const scale = Math.abs(args.kScale[s]!);
  return scale * (passedOn + lost + products + rounded + smallestNormalF32 * (flushed + 4)) + smallestNormalF32;
}
