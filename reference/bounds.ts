/**
 * Error budgets: how far a correct kernel may be from the reference, cell by cell, derived from the inputs of that cell.
 *
 * A result within its budget may still be luck; a result outside it is a fault, whatever order the kernel adds in. Nothing here is
 * tuned: the numbers are the lengths of the sums, the formats and the accuracies of `accuracy.ts`. Let u = 2^−24, f32's roundoff.
 *
 * **Logits.** For one cell, a_h = ⟨q_h, k⟩ with error E_h (`dotError`), x_h = qScale_h · kScale · a_h, y_h = score(x_h),
 * I = Σ_h w_h y_h, and L the score's Lipschitz constant:
 *
 * ```text
 * two scale products           |δx_h| <= qScale_h kScale E_h + 2u |x_h|
 * the score                    |δy_h| <= L |δx_h| + relative |y_h| + absolute
 * gate product and head sum    γ(H + 2, u) Σ_h |w_h| (|y_h| + |δy_h|)
 * budget                       Σ_h |w_h| |δy_h| + γ(H + 2, u) Σ_h |w_h| (|y_h| + |δy_h|) + flushed subnormals, then the output's rounding
 * ```
 *
 * A ReLU kernel may fold qScale into the gate and take kScale out of the sum: the same number of roundings, so the same bound. What is
 * flushed before it meets a factor counts times that factor: qScale · w times kScale |a_h|, a term or the sum times kScale.
 *
 * **Attention.** Slot j has logit z_j, weight p_j = exp(z_j − lse) and value v_j; r_j = max − z_j. A kernel walks the
 * slots in steps of `block`, B steps in all, holds a running maximum, and rescales by exp of its change. Its weight of slot j ends up as
 * p_j (1 + ε_j) times a factor common to the whole row, where |ε_j| <= e^{e_j} − 1 and e_j adds up, in units of the logit:
 *
 * ```text
 * the dot product, scale · log2(e)    |scale| E_j + 3u |z_j|                   =: s_j
 * subtracting maxima                  u r_j           (the differences of the running maxima add up to r_j)
 * 1 + B exponentials                  ((1 + B) ulp + ulpPerUnit · r_j log2(e)) · 2^−23
 * merging splits, if there are any    one logarithm and one exponential more, and 8u of the largest |z|
 * ```
 *
 * Numerator and denominator see the same ε_j, so what they do to out is Σ p_j ε_j (v_j − out): a common shift cancels. Only the
 * numerator sees P rounded to its storage format (π, bf16: 2^−8). With S = Σ p_j ε_j and θ = γ(K + B + splits, u):
 *
 * ```text
 * N      = Σ p_j ε_j |v_j − out| + Σ p_j (1 + ε_j) |v_j| · ((1 + π)(1 + γ(K))(1 + θ) − 1) + |out| θ (1 + S)
 * budget = N / ((1 − S)(1 − θ)), a division, the sink's factor, the output's rounding
 * lse    : −ln((1 − S)(1 − θ)), a logarithm, 4u (|max| + |lse|)
 * max    : how far the largest of z_j ± s_j may lie from max
 * ```
 *
 * Weights are not negative, so out can never leave the hull of the values; where logits are so large that N means nothing, the hull is
 * the budget. Neglected terms are products of u and a term above; a factor of 1 + 2^−10 covers them.
 *
 * NaN marks cells that have no value. Empty rows have a budget of 0: their results are exact.
 * @module
 */

import {
  dotError,
  f32Roundoff,
  f32Ulp,
  gamma,
  reluAccuracy,
  smallestNormalF32,
  softplusAccuracy,
  type Accumulator,
  type AnyOrder,
  type ScalarAccuracy,
  type ScoreAccuracy,
} from "./accuracy.ts";
import { indexerLogits, requestOf, scoreFunction, type IndexerArgs, type PagedIndexerArgs } from "./indexer.ts";
import { pageTokens } from "./quantise.ts";
import { splitError, splitQuery } from "./split_logits.ts";
import { asFloat64 } from "./shape.ts";
import { requireAttentionArgs, selectedTokens, sinkFactor, sparseMla, type AttentionResult, type SparseMlaArgs } from "./sparse_mla.ts";

export type OutputFormat = "f32" | "bf16" | "f16";
const roundoffOf: Readonly<Record<OutputFormat, number>> = { f32: f32Roundoff, bf16: 2 ** -8, f16: 2 ** -11 };
/** Below these a number may be flushed to zero. */
const smallestNormalOf: Readonly<Record<OutputFormat, number>> = { f32: smallestNormalF32, bf16: smallestNormalF32, f16: 2 ** -14 };
const secondOrder = 1 + 2 ** -10;

/** A budget after its value was rounded to the output format. */
const afterRounding = (budget: number, value: number, output: OutputFormat): number =>
  budget + roundoffOf[output] * (Math.abs(value) + budget) + smallestNormalOf[output];

export interface LogitsTarget {
  readonly accumulator: Accumulator;
  /** Format that logits are stored in. */
  readonly output: OutputFormat;
  /** The kernel computes max(x, 0) as (|x| + x) / 2, the second half through one vector a query: see `split_logits.ts`. ReLU only. */
  readonly split?: boolean;
  /** Needed when the score is a function of the caller's; ReLU and softplus have theirs in `accuracy.ts`. */
  readonly scoreAccuracy?: ScoreAccuracy;
}

function scoreAccuracyOf(args: Pick<IndexerArgs, "score">, target: LogitsTarget): ScoreAccuracy {
  if (target.scoreAccuracy) return target.scoreAccuracy;
  if (typeof args.score === "function") {
    throw new TypeError(
      "logitsBudget: the score is a function, and its accuracy is not known. Pass scoreAccuracy with its Lipschitz constant and errors.",
    );
  }
  return args.score === "softplus" ? softplusAccuracy : reluAccuracy;
}

/** Budgets [queries, tokens] of `indexerLogits`; NaN outside the windows. */
export function logitsBudget(args: IndexerArgs, target: LogitsTarget): Float64Array {
  const { queries, heads, dim, tokens } = args.shape;
  const accuracy = scoreAccuracyOf(args, target);
  const score = scoreFunction(args.score ?? "relu");
  const logits = indexerLogits(args);
  const q = asFloat64(args.q);
  const k = asFloat64(args.k);
  const sumGamma = gamma(heads + 2, f32Roundoff);
  const budget = new Float64Array(queries * tokens).fill(NaN);
  for (let t = 0; t < queries; t++) {
    const query = target.split ? splitQuery(args, q, t) : undefined;
    for (let s = Math.max(args.first[t]!, 0); s < Math.min(args.last[t]!, tokens); s++) {
      const at = t * tokens + s;
      if (query) {
        budget[at] = afterRounding(splitError(query, k, s, target.accumulator) * secondOrder, logits[at]!, target.output);
        continue;
      }
      let passedOn = 0;
      let magnitude = 0;
      for (let h = 0; h < heads; h++) {
        const row = t * heads + h;
        const scale = Math.abs(args.qScale[row]! * args.kScale[s]!);
        let a = 0;
        for (let d = 0; d < dim; d++) a += q[row * dim + d]! * k[s * dim + d]!;
        const dot = dotError(q, row * dim, k, s * dim, dim, target.accumulator);
        const x = args.qScale[row]! * args.kScale[s]! * a;
        const flushed = smallestNormalF32 * (scale * dim + Math.abs(args.kScale[s]!) + 1);
        const xError = scale * dot + 2 * f32Roundoff * Math.abs(x) + flushed;
        const y = Math.abs(score(x));
        const yError = accuracy.lipschitz * xError + accuracy.relative * y + accuracy.absolute;
        const gate = Math.abs(args.w[row]!);
        passedOn += gate * yError + smallestNormalF32 * (1 + Math.abs(args.kScale[s]!) * (Math.abs(a) + dot + 2));
        magnitude += gate * (y + yError);
      }
      budget[at] = afterRounding((passedOn + sumGamma * magnitude) * secondOrder, logits[at]!, target.output);
    }
  }
  return budget;
}

/** Budgets [requests · nextN, maxPages · 64] of `pagedIndexerLogits`; NaN beyond the lengths. */
export function pagedLogitsBudget(args: PagedIndexerArgs, target: LogitsTarget): Float64Array {
  const { requests, nextN, maxPages } = args.shape;
  const cells = nextN * maxPages * pageTokens;
  const budget = new Float64Array(requests * cells);
  for (let b = 0; b < requests; b++) budget.set(logitsBudget(requestOf(args, b), target), b * cells);
  return budget;
}

export interface AttentionTarget {
  /** How both products, QK and PV, add up. */
  readonly accumulator: AnyOrder;
  readonly scalars: ScalarAccuracy;
  /** Format that P has in PV. */
  readonly probability: OutputFormat;
  /** Format of out; lse and max are f32. */
  readonly output: OutputFormat;
  /** Slots of one online-softmax step. */
  readonly block: number;
  /** Parts that the slot list is cut into, 1 for none. */
  readonly splits: number;
}

/** What one row of weights may be off by; see the page above for the letters. */
interface RowErrors {
  /** p_j. */
  readonly weight: Float64Array;
  /** ε_j. */
  readonly weightError: Float64Array;
  /** S. */
  readonly weightErrorSum: number;
  /** θ. */
  readonly sumError: number;
  readonly lse: number;
  readonly max: number;
}

function rowErrors(
  q: Float64Array,
  qAt: number,
  kv: Float64Array,
  selected: Int32Array,
  args: SparseMlaArgs,
  max: number,
  lse: number,
  target: AttentionTarget,
): RowErrors {
  const { dQk, slots } = args.shape;
  const { exp, log } = target.scalars;
  const u = f32Roundoff;
  const count = selected.length;
  const steps = Math.ceil(slots / target.block) + target.splits;
  const logError = Math.max(log.absolute, log.ulp * f32Ulp * Math.log(count)); // the sum of weights lies in [1, count]

  const z = new Float64Array(count);
  const scoreError = new Float64Array(count);
  let highest = -Infinity; // of z_j + s_j
  let lowest = -Infinity; // of z_j − s_j
  let largest = 0;
  for (let j = 0; j < count; j++) {
    const rowAt = selected[j]! * dQk;
    let dot = 0;
    for (let c = 0; c < dQk; c++) dot += q[qAt + c]! * kv[rowAt + c]!;
    z[j] = args.scale * dot;
    const flushed = smallestNormalF32 * (dQk * Math.abs(args.scale) + 1);
    scoreError[j] = Math.abs(args.scale) * dotError(q, qAt, kv, rowAt, dQk, target.accumulator) + 3 * u * Math.abs(z[j]!) + flushed;
    highest = Math.max(highest, z[j]! + scoreError[j]!);
    lowest = Math.max(lowest, z[j]! - scoreError[j]!);
    largest = Math.max(largest, Math.abs(z[j]!));
  }

  const weight = new Float64Array(count);
  const weightError = new Float64Array(count);
  let weightErrorSum = 0;
  for (let j = 0; j < count; j++) {
    const range = max - z[j]!;
    let e = scoreError[j]! + u * range + ((1 + steps) * exp.ulp + exp.ulpPerUnit * range * Math.LOG2E) * f32Ulp;
    if (target.splits > 1) e += logError + 8 * u * largest + (exp.ulp + exp.ulpPerUnit * (range + Math.log(count)) * Math.LOG2E) * f32Ulp;
    weight[j] = Math.exp(z[j]! - lse);
    weightError[j] = Math.min(Math.expm1(e * secondOrder), Number.MAX_VALUE); // finite: it meets weights of 0
    weightErrorSum += weight[j]! * weightError[j]!;
  }
  const sumError = gamma(count + steps, u);
  const kept = (1 - weightErrorSum) * (1 - sumError);
  return {
    weight,
    weightError,
    weightErrorSum,
    sumError,
    lse: kept > 0 ? (-Math.log(kept) + logError + 4 * u * (Math.abs(max) + Math.abs(lse) + 1)) * secondOrder : Infinity,
    max: (Math.max(highest - max, max - lowest) + 2 * u * Math.abs(max)) * secondOrder,
  };
}

/** Relative error of the sink's factor f = 1 / (1 + exp(sink − lse)), whose derivative by the exponent is f (f − 1). */
function sinkError(lse: number, lseError: number, sink: number, target: AttentionTarget): number {
  if (!Number.isFinite(sink)) return 0; // the factor is exactly 0 or 1
  const taken = sinkFactor(sink, lse); // 1 − f without cancellation
  const { exp, divideUlp } = target.scalars;
  const distance = Math.abs(sink - lse);
  const ofExponent =
    lseError + 2 * f32Roundoff * (Math.abs(sink) + Math.abs(lse)) + (exp.ulp + exp.ulpPerUnit * distance * Math.LOG2E) * f32Ulp;
  return taken * Math.expm1(ofExponent) + divideUlp * f32Ulp + 2 * f32Roundoff;
}

/** Sums over the slots, one a value column. */
interface ColumnSums {
  /** Σ p_j ε_j |v_j − out| */
  readonly shifted: Float64Array;
  /** Σ p_j (1 + ε_j) |v_j| */
  readonly magnitude: Float64Array;
  /** Σ |v_j| */
  readonly absolute: Float64Array;
  /** max |v_j| */
  readonly farthest: Float64Array;
}

function columnSums(kv: Float64Array, selected: Int32Array, dQk: number, out: Float64Array, errors: RowErrors): ColumnSums {
  const dV = out.length;
  const sums = {
    shifted: new Float64Array(dV),
    magnitude: new Float64Array(dV),
    absolute: new Float64Array(dV),
    farthest: new Float64Array(dV),
  };
  for (let j = 0; j < selected.length; j++) {
    const rowAt = selected[j]! * dQk;
    const weight = errors.weight[j]!;
    const weightError = errors.weightError[j]!;
    for (let c = 0; c < dV; c++) {
      const v = kv[rowAt + c]!;
      sums.shifted[c]! += weight * weightError * Math.abs(v - out[c]!);
      sums.magnitude[c]! += weight * (1 + weightError) * Math.abs(v);
      sums.absolute[c]! += Math.abs(v);
      sums.farthest[c] = Math.max(sums.farthest[c]!, Math.abs(v));
    }
  }
  return sums;
}

/** Budgets of out, lse and max of `sparseMla`, in the shapes of its result. */
export function mlaBudget(args: SparseMlaArgs, target: AttentionTarget): AttentionResult {
  requireAttentionArgs("mlaBudget", args);
  const { queries, heads, slots, dQk, dV } = args.shape;
  const q = asFloat64(args.q);
  const kv = asFloat64(args.kv);
  const withoutSink = sparseMla({ ...args, sink: undefined });
  const out = new Float64Array(queries * heads * dV);
  const lse = new Float64Array(queries * heads);
  const max = new Float64Array(queries * heads);
  const steps = Math.ceil(slots / target.block) + target.splits;
  const division = target.scalars.divideUlp * f32Ulp;
  const merging = target.splits > 1 ? division + 2 * f32Roundoff : 0;

  for (let t = 0; t < queries; t++) {
    const selected = selectedTokens(args, t);
    if (selected.length === 0) continue;
    const productError = gamma(selected.length, target.accumulator.roundoff);
    const valueError = (1 + roundoffOf[target.probability]) * (1 + productError) * (1 + gamma(steps, f32Roundoff)) * (1 + merging) - 1;
    for (let h = 0; h < heads; h++) {
      const row = t * heads + h;
      const rowLse = withoutSink.lse[row]!;
      const rowMax = withoutSink.max[row]!;
      const values = withoutSink.out.subarray(row * dV, (row + 1) * dV);
      const errors = rowErrors(q, row * dQk, kv, selected, args, rowMax, rowLse, target);
      lse[row] = errors.lse;
      max[row] = errors.max;
      const { shifted, magnitude, absolute, farthest } = columnSums(kv, selected, dQk, values, errors);
      const kept = (1 - errors.weightErrorSum) * (1 - errors.sumError); // of the denominator, at least
      const onOut = errors.sumError * (1 + errors.weightErrorSum);
      const flushed = smallestNormalOf[target.probability] * Math.exp(rowMax - rowLse);
      const factor = args.sink ? sinkFactor(rowLse, args.sink[h]!) : 1;
      const factorError = args.sink ? sinkError(rowLse, errors.lse, args.sink[h]!, target) : 0;
      for (let c = 0; c < dV; c++) {
        const value = Math.abs(values[c]!);
        const hull = farthest[c]! * (1 + valueError) + value;
        const ratio = (shifted[c]! + magnitude[c]! * valueError + value * onOut + flushed * absolute[c]!) / kept;
        const divided = kept > 0 ? Math.min((ratio + division * (value + ratio)) * secondOrder, hull) : hull;
        // a tiny factor may be flushed
        const sunk = factor * (divided + (value + divided) * factorError) + smallestNormalF32 * (value + divided);
        out[row * dV + c] = afterRounding(sunk, factor * value, target.output);
      }
    }
  }
  return { out, lse, max };
}
