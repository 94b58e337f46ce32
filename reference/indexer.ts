/**
 * Lightning-indexer logits: how much query t wants to see token s.
 *
 * ```text
 * I(t, s) = Σ_h  w[t,h] · score( qScale[t,h] · kScale[s] · Σ_d q[t,h,d] · k[s,d] )
 * ```
 *
 * q and k are numbers as stored (e4m3 without their scales, or bf16 with scales of 1); there is one key head, shared by all query
 * heads. `score` is ReLU in every published model; here it may be any function of one number. The gate w has either sign, so a
 * logit can be negative; a ReLU logit of exactly 0 (every head clipped) is common.
 *
 * For a positively homogeneous score such as ReLU a kernel may pull the scales out of it, since scale · relu(a) = relu(scale · a)
 * for scale > 0. For softplus it may not. The formula above, with the scales inside, is the meaning for every score.
 *
 * **Windows.** Query t sees the tokens of [first[t], last[t]), clipped to [0, tokens). The window carries causality and the borders
 * of packed sequences. A cell outside its window has no value, may not be read by anyone and is NaN in the result; neither are
 * the keys behind it read, so NaN in a token that nobody sees stays there. The window may be empty.
 *
 * **Paged keys** (decode). Row r = b · nextN + j is draft token j of request b and sees the first lengths[r] tokens of request b.
 * Token s of request b lies in page blockTable[b, ⌊s / 64⌋] at offset s mod 64. A page id below 0 or past the cache names no page:
 * its tokens read as zero keys with scale 0, so a cell there is Σ_h w · score(0). Lengths beyond the block table are clipped to it.
 *
 * Every operation is in f64. `bounds.ts` says how far an evaluation in f32 or on tensor cores may be away.
 * @module
 */

import { pageTokens, type IndexerKeys } from "./quantise.ts";
import { asFloat64, requireShape } from "./shape.ts";

export type ScoreFunction = (x: number) => number;
export type Score = "relu" | "softplus" | ScoreFunction;

const scores: Readonly<Record<"relu" | "softplus", ScoreFunction>> = {
  relu: (x) => (x > 0 ? x : 0),
  // ln(1 + e^x) without overflow
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
};
export const scoreFunction = (score: Score): ScoreFunction => (typeof score === "function" ? score : scores[score]);

export interface IndexerShape {
  readonly queries: number;
  readonly heads: number;
  readonly dim: number;
  readonly tokens: number;
}

export interface IndexerArgs {
  readonly shape: IndexerShape;
  /** [queries, heads, dim] */
  readonly q: ArrayLike<number>;
  /** [queries, heads] */
  readonly qScale: ArrayLike<number>;
  /** [tokens, dim] */
  readonly k: ArrayLike<number>;
  /** [tokens] */
  readonly kScale: ArrayLike<number>;
  /** Gates [queries, heads]. */
  readonly w: ArrayLike<number>;
  /** First visible token of each query [queries]. */
  readonly first: ArrayLike<number>;
  /** One past the last visible token [queries]. */
  readonly last: ArrayLike<number>;
  /** Default "relu". */
  readonly score?: Score | undefined;
}

/** Σ_d q[qAt + d] · k[kAt + d] */
function dot(q: Float64Array, qAt: number, k: Float64Array, kAt: number, length: number): number {
  let sum = 0;
  for (let d = 0; d < length; d++) sum += q[qAt + d]! * k[kAt + d]!;
  return sum;
}

/** Logits [queries, tokens]; NaN marks the cells outside the windows. */
export function indexerLogits(args: IndexerArgs): Float64Array {
  const { queries, heads, dim, tokens } = args.shape;
  requireShape("indexerLogits", "q", args.q, { queries, heads, dim });
  requireShape("indexerLogits", "qScale", args.qScale, { queries, heads });
  requireShape("indexerLogits", "k", args.k, { tokens, dim });
  requireShape("indexerLogits", "kScale", args.kScale, { tokens });
  requireShape("indexerLogits", "w", args.w, { queries, heads });
  requireShape("indexerLogits", "first", args.first, { queries });
  requireShape("indexerLogits", "last", args.last, { queries });
  const q = asFloat64(args.q);
  const qScale = asFloat64(args.qScale);
  const k = asFloat64(args.k);
  const kScale = asFloat64(args.kScale);
  const w = asFloat64(args.w);
  const score = scoreFunction(args.score ?? "relu");

  const logits = new Float64Array(queries * tokens).fill(NaN);
  for (let t = 0; t < queries; t++) {
    const first = Math.max(args.first[t]!, 0);
    const last = Math.min(args.last[t]!, tokens);
    for (let s = first; s < last; s++) {
      let logit = 0;
      for (let h = 0; h < heads; h++) {
        const row = t * heads + h;
        const x = qScale[row]! * kScale[s]! * dot(q, row * dim, k, s * dim, dim);
        logit += w[row]! * score(x);
      }
      logits[t * tokens + s] = logit;
    }
  }
  return logits;
}

export interface PagedIndexerArgs {
  readonly shape: {
    readonly requests: number;
    readonly nextN: number;
    readonly heads: number;
    readonly dim: number;
    readonly maxPages: number;
  };
  /** [requests · nextN, heads, dim] */
  readonly q: ArrayLike<number>;
  /** [requests · nextN, heads] */
  readonly qScale: ArrayLike<number>;
  /** The whole cache by physical slot, as `readIndexerPages` returns it. */
  readonly keys: IndexerKeys;
  /** Gates [requests · nextN, heads]. */
  readonly w: ArrayLike<number>;
  /** Physical page of each run of 64 tokens [requests, maxPages]. */
  readonly blockTable: ArrayLike<number>;
  /** Visible tokens of each row [requests · nextN]. */
  readonly lengths: ArrayLike<number>;
  /** Default "relu". */
  readonly score?: Score | undefined;
}

/** The keys of one request in token order [maxPages · 64, dim]; tokens of pages that do not exist are zero. */
function gatherKeys({ keys, blockTable, shape }: PagedIndexerArgs, request: number): IndexerKeys {
  const { dim, maxPages } = shape;
  const pageCount = keys.scales.length / pageTokens;
  const values = new Float64Array(maxPages * pageTokens * dim);
  const scales = new Float64Array(maxPages * pageTokens);
  for (let i = 0; i < maxPages; i++) {
    const page = blockTable[request * maxPages + i]!;
    if (page < 0 || page >= pageCount) continue;
    values.set(keys.values.subarray(page * pageTokens * dim, (page + 1) * pageTokens * dim), i * pageTokens * dim);
    scales.set(keys.scales.subarray(page * pageTokens, (page + 1) * pageTokens), i * pageTokens);
  }
  return { values, scales };
}

/** Request b of a paged batch as a contiguous problem: its rows of the queries, its keys in token order, windows [0, length). */
export function requestOf(args: PagedIndexerArgs, b: number): IndexerArgs {
  const { nextN, heads, dim, maxPages } = args.shape;
  const keys = gatherKeys(args, b);
  const rows = (array: ArrayLike<number>, width: number): Float64Array =>
    asFloat64(array).slice(b * nextN * width, (b + 1) * nextN * width);
  return {
    shape: { queries: nextN, heads, dim, tokens: maxPages * pageTokens },
    q: rows(args.q, heads * dim),
    qScale: rows(args.qScale, heads),
    k: keys.values,
    kScale: keys.scales,
    w: rows(args.w, heads),
    first: new Int32Array(nextN),
    last: rows(args.lengths, 1),
    score: args.score,
  };
}

/** Logits [requests · nextN, maxPages · 64]; NaN marks the cells beyond a row's length. */
export function pagedIndexerLogits(args: PagedIndexerArgs): Float64Array {
  const { requests, nextN, heads, dim, maxPages } = args.shape;
  requireShape("pagedIndexerLogits", "q", args.q, { requests, nextN, heads, dim });
  requireShape("pagedIndexerLogits", "qScale", args.qScale, { requests, nextN, heads });
  requireShape("pagedIndexerLogits", "w", args.w, { requests, nextN, heads });
  requireShape("pagedIndexerLogits", "blockTable", args.blockTable, { requests, maxPages });
  requireShape("pagedIndexerLogits", "lengths", args.lengths, { requests, nextN });
  const cells = nextN * maxPages * pageTokens;
  const logits = new Float64Array(requests * cells);
  for (let b = 0; b < requests; b++) logits.set(indexerLogits(requestOf(args, b)), b * cells);
  return logits;
}
