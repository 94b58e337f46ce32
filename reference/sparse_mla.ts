/**
 * Sparse multi-head latent attention: attention of every head over the tokens that the indexer selected.
 *
 * All heads share one row c_s = kv[s] of dQk numbers per token: dV latent columns, then dQk − dV RoPE columns. The whole row
 * is the key, its first dV columns are the value. Query t has a list idx[t] of K slots, each naming a token.
 *
 * ```text
 * z_j  = scale · ⟨q[t,h], c_{idx[t,j]}⟩          over dQk columns
 * max  = max_j z_j
 * lse  = ln Σ_j exp(z_j)                          natural logarithm
 * out  = Σ_j exp(z_j − lse) · c_{idx[t,j]}[0 : dV]
 * ```
 *
 * **Slots.** A slot is empty when its index is below 0 or not below the number of tokens, anywhere in the row, or when it lies at or
 * beyond length[t]. Empty slots contribute nothing and read nothing, so NaN in an unselected row cannot leak. A token that
 * is named twice counts twice. There is no causal mask here: the indices carry it.
 *
 * **Empty row** (no slot left): out = 0, max = −infinity, lse = +infinity, so that exp(z − lse) is 0 downstream.
 *
 * **Sink.** A head may have a logit that takes attention and gives no value:
 * out is multiplied by exp(lse) / (exp(lse) + exp(sink[h])); max and lse are reported without it. −infinity has no effect,
 * +infinity gives 0.
 *
 * **Decode** is the same function over the rows that `readLatentRecords` returns, with B · nextN queries and idx naming cache slots.
 *
 * **Splitting.** A slot list may be cut into parts, each attended on its own without sink, and merged:
 *
 * ```text
 * lse = ln Σ_p exp(lse_p)        out = Σ_p exp(lse_p − lse) · out_p        max = max_p max_p
 * ```
 *
 * A part without slots has lse = +infinity (or −infinity, the logarithm of its empty sum) and weighs nothing.
 *
 * **Scale** derives from the unabsorbed head width, not from dQk: see `softmaxScale`.
 * @module
 */

import { asFloat64, requireShape } from "./shape.ts";

export interface AttentionShape {
  readonly queries: number;
  readonly heads: number;
  /** Slots of a query, K. */
  readonly slots: number;
  /** Rows of kv. */
  readonly tokens: number;
  readonly dQk: number;
  readonly dV: number;
}

export interface SparseMlaArgs {
  readonly shape: AttentionShape;
  /** Absorbed queries [queries, heads, dQk]. */
  readonly q: ArrayLike<number>;
  /** Latent and RoPE columns [tokens, dQk]. */
  readonly kv: ArrayLike<number>;
  /** Token of each slot [queries, slots]. */
  readonly idx: ArrayLike<number>;
  readonly scale: number;
  /** Sink logit [heads], natural units. */
  readonly sink?: ArrayLike<number> | undefined;
  /** Slots of each query that count [queries]; default all. */
  readonly length?: ArrayLike<number> | undefined;
}

export interface AttentionResult {
  /** [queries, heads, dV] */
  readonly out: Float64Array;
  /** [queries, heads], natural logarithm, without the sink. */
  readonly lse: Float64Array;
  /** [queries, heads], the largest scaled logit. */
  readonly max: Float64Array;
}

/** Throws unless every array fits the shape. */
export function requireAttentionArgs(stage: string, { shape, q, kv, idx, sink, length }: SparseMlaArgs): void {
  const { queries, heads, slots, tokens, dQk, dV } = shape;
  if (dV > dQk)
    throw new RangeError(`${stage}: dV is ${dV} and dQk ${dQk}, but values are the first dV of the dQk columns. Check the shape.`);
  requireShape(stage, "q", q, { queries, heads, dQk });
  requireShape(stage, "kv", kv, { tokens, dQk });
  requireShape(stage, "idx", idx, { queries, slots });
  if (sink) requireShape(stage, "sink", sink, { heads });
  if (length) requireShape(stage, "length", length, { queries });
}

/** Tokens that the slots of query t name, in slot order, duplicates kept. */
export function selectedTokens({ shape, idx, length }: SparseMlaArgs, t: number): Int32Array {
  const { slots, tokens } = shape;
  const count = Math.min(length?.[t] ?? slots, slots);
  const selected: number[] = [];
  for (let j = 0; j < count; j++) {
    const token = idx[t * slots + j]!;
    if (token >= 0 && token < tokens) selected.push(token);
  }
  return Int32Array.from(selected);
}

/** z_j of one query head over the selected tokens. */
function logitsOf(q: Float64Array, qAt: number, kv: Float64Array, selected: Int32Array, dQk: number, scale: number): Float64Array {
  const z = new Float64Array(selected.length);
  for (let j = 0; j < selected.length; j++) {
    const rowAt = selected[j]! * dQk;
    let sum = 0;
    for (let c = 0; c < dQk; c++) sum += q[qAt + c]! * kv[rowAt + c]!;
    z[j] = scale * sum;
  }
  return z;
}

function maxOf(z: Float64Array): number {
  let max = -Infinity;
  for (let j = 0; j < z.length; j++) max = Math.max(max, z[j]!);
  return max;
}

/** ln Σ exp(z_j); +infinity when there is no z. */
function logSumExp(z: Float64Array, max: number): number {
  if (z.length === 0) return Infinity;
  let sum = 0;
  for (let j = 0; j < z.length; j++) sum += Math.exp(z[j]! - max);
  return max + Math.log(sum);
}

/** exp(lse) / (exp(lse) + exp(sink)): what the sink leaves of the output. */
export const sinkFactor = (lse: number, sink: number): number => 1 / (1 + Math.exp(sink - lse));

export function sparseMla(args: SparseMlaArgs): AttentionResult {
  requireAttentionArgs("sparseMla", args);
  const { queries, heads, dQk, dV } = args.shape;
  const q = asFloat64(args.q);
  const kv = asFloat64(args.kv);
  const out = new Float64Array(queries * heads * dV);
  const lse = new Float64Array(queries * heads);
  const max = new Float64Array(queries * heads);
  for (let t = 0; t < queries; t++) {
    const selected = selectedTokens(args, t);
    for (let h = 0; h < heads; h++) {
      const row = t * heads + h;
      const z = logitsOf(q, row * dQk, kv, selected, dQk, args.scale);
      max[row] = maxOf(z);
      lse[row] = logSumExp(z, max[row]!);
      const factor = args.sink ? sinkFactor(lse[row]!, args.sink[h]!) : 1;
      for (let j = 0; j < selected.length; j++) {
        const p = factor * Math.exp(z[j]! - lse[row]!);
        const rowAt = selected[j]! * dQk;
        for (let c = 0; c < dV; c++) out[row * dV + c]! += p * kv[rowAt + c]!;
      }
    }
  }
  return { out, lse, max };
}

/** Merges parts of one slot list, each attended without sink, into the result over the whole list. */
export function mergeSplits(parts: readonly AttentionResult[], heads: number, sink?: ArrayLike<number>): AttentionResult {
  const [head] = parts;
  if (!head) throw new RangeError("mergeSplits: there is no part to merge. Pass at least one; an empty part is allowed.");
  const rows = head.lse.length;
  const dV = rows === 0 ? 0 : head.out.length / rows;
  for (const part of parts) requireShape("mergeSplits", "a part's out", part.out, { rows, dV });
  const out = new Float64Array(rows * dV);
  const lse = new Float64Array(rows);
  const max = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    const filled = parts.filter((part) => Math.abs(part.lse[row]!) !== Infinity);
    const partLse = Float64Array.from(filled, (part) => part.lse[row]!);
    max[row] = maxOf(Float64Array.from(filled, (part) => part.max[row]!));
    lse[row] = logSumExp(partLse, maxOf(partLse));
    const factor = sink ? sinkFactor(lse[row]!, sink[row % heads]!) : 1;
    for (const [p, part] of filled.entries()) {
      const weight = factor * Math.exp(partLse[p]! - lse[row]!);
      for (let c = 0; c < dV; c++) out[row * dV + c]! += weight * part.out[row * dV + c]!;
    }
  }
  return { out, lse, max };
}

export interface DenseMlaArgs {
  readonly shape: Omit<AttentionShape, "slots">;
  readonly q: ArrayLike<number>;
  readonly kv: ArrayLike<number>;
  readonly scale: number;
  /** First visible token of each query [queries]. */
  readonly first: ArrayLike<number>;
  /** One past the last visible token [queries]. */
  readonly last: ArrayLike<number>;
  readonly sink?: ArrayLike<number>;
}

/** Dense attention over windows is sparse attention whose slot list is the whole window. */
export function denseAsSparse(args: DenseMlaArgs): SparseMlaArgs {
  const { queries, tokens } = args.shape;
  requireShape("denseMla", "first", args.first, { queries });
  requireShape("denseMla", "last", args.last, { queries });
  const idx = new Int32Array(queries * tokens).fill(-1);
  for (let t = 0; t < queries; t++) {
    for (let s = Math.max(args.first[t]!, 0); s < Math.min(args.last[t]!, tokens); s++) idx[t * tokens + s] = s;
  }
  return { shape: { ...args.shape, slots: tokens }, q: args.q, kv: args.kv, idx, scale: args.scale, sink: args.sink };
}

/** Dense attention, the yardstick for what a selection loses. */
export const denseMla = (args: DenseMlaArgs): AttentionResult => sparseMla(denseAsSparse(args));

/**
 * Attention probability of every token, averaged over the heads: p[t,s] = (1/H) Σ_h exp(z_{t,h,s} − lse_{t,h}), shape
 * [queries, tokens], 0 where nothing is selected. It is the target that the indexer is trained on; its own top-k is the
 * oracle selection. The sink is not part of it.
 */
export function meanProbabilities(args: SparseMlaArgs): Float64Array {
  requireAttentionArgs("meanProbabilities", args);
  const { queries, heads, tokens, dQk } = args.shape;
  const q = asFloat64(args.q);
  const kv = asFloat64(args.kv);
  const mean = new Float64Array(queries * tokens);
  for (let t = 0; t < queries; t++) {
    const selected = selectedTokens(args, t);
    for (let h = 0; h < heads; h++) {
      const z = logitsOf(q, (t * heads + h) * dQk, kv, selected, dQk, args.scale);
      const lse = logSumExp(z, maxOf(z));
      for (let j = 0; j < selected.length; j++) mean[t * tokens + selected[j]!]! += Math.exp(z[j]! - lse) / heads;
    }
  }
  return mean;
}

/** Softmax scale of a head of `dHead` = dNope + dRope channels; with YaRN, times (0.1 · mscale · ln(factor) + 1)². */
export function softmaxScale(dHead: number, yarn?: { readonly factor: number; readonly mscale: number }): number {
  const attentionFactor = yarn ? 0.1 * yarn.mscale * Math.log(yarn.factor) + 1 : 1;
  return dHead ** -0.5 * attentionFactor ** 2;
}
