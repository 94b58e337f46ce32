/**
 * Indexer operands: windows, contiguous problems, paged problems.
 *
 * | kind | what it is |
 * |---|---|
 * | normal | standard normal q and k |
 * | allNegativeDots | q ≥ 0 and k ≤ 0: every ReLU score is 0 |
 * | negativeWeights | every gate is negative, so is every logit |
 * | dominantHead | head scales spread over 2^−10 … 2^10, head 0 the largest |
 * | zeroKey | every third key is zero, which no quantiser may divide by |
 * | nanOutsideWindows | tokens that no query sees hold NaN values and NaN scales |
 *
 * | windows | what they are |
 * |---|---|
 * | causalTail | the queries are the last tokens of one sequence |
 * | packedSegments | neighbouring sequences share the token axis; no window crosses a border |
 * | emptyRows | every other query sees nothing |
 * | unalignedStarts | random starts and lengths |
 * @module
 */

import { decodeArray, narrowTensor, type NarrowTensor } from "../formats.ts";
import {
  indexerPageBytes,
  pageTokens,
  quantiseGroups,
  readIndexerPages,
  writeIndexerPages,
  type IndexerPageLayout,
  type ScaleRule,
} from "../quantise.ts";
import type { IndexerArgs, IndexerShape, PagedIndexerArgs, Score } from "../indexer.ts";
import { drawArray, permutation, randomOf, type Random } from "./random.ts";

export const windowKinds = ["causalTail", "packedSegments", "emptyRows", "unalignedStarts"] as const;
export type WindowKind = (typeof windowKinds)[number];

export interface Windows {
  /** [queries] */
  readonly first: Int32Array;
  /** [queries] */
  readonly last: Int32Array;
}

/** Windows [first, last) within [0, tokens). */
export function generateWindows(spec: { seed: number; kind: WindowKind; queries: number; tokens: number }): Windows {
  const { seed, kind, queries, tokens } = spec;
  const random = randomOf(seed);
  const windows = { first: new Int32Array(queries), last: new Int32Array(queries) };
  const segments = Math.max(Math.min(3, queries, tokens), 1);
  for (let t = 0; t < queries; t++) {
    const causalEnd = Math.max(tokens - queries + t + 1, 0);
    const segment = Math.floor((t * segments) / Math.max(queries, 1));
    switch (kind) {
      case "causalTail":
        windows.last[t] = causalEnd;
        break;
      case "packedSegments":
        windows.first[t] = Math.floor((segment * tokens) / segments);
        windows.last[t] = random.integer(windows.first[t]!, Math.floor(((segment + 1) * tokens) / segments));
        break;
      case "emptyRows":
        windows.first[t] = random.integer(0, tokens);
        windows.last[t] = t % 2 === 0 ? windows.first[t]! : random.integer(windows.first[t]!, tokens);
        break;
      case "unalignedStarts":
        windows.first[t] = random.integer(0, tokens);
        windows.last[t] = random.integer(windows.first[t]!, tokens);
        break;
    }
  }
  return windows;
}

export const indexerKinds = ["normal", "allNegativeDots", "negativeWeights", "dominantHead", "zeroKey", "nanOutsideWindows"] as const;
export type IndexerKind = (typeof indexerKinds)[number];

/** How q and k are stored: e4m3 with scales by a rule, or plain floats with scales of 1. */
export type OperandFormat = { readonly format: "e4m3"; readonly rule: ScaleRule } | { readonly format: "bf16" | "f16" | "f32" };

export interface IndexerSpec {
  readonly seed: number;
  readonly kind: IndexerKind;
  readonly windows: WindowKind;
  readonly shape: IndexerShape;
  readonly operands: OperandFormat;
  readonly score?: Score;
}

/** A contiguous problem as a device takes it. */
export interface IndexerCase extends Windows {
  readonly shape: IndexerShape;
  /** [queries, heads, dim] */
  readonly q: NarrowTensor;
  /** [queries, heads] */
  readonly qScale: Float32Array;
  /** [tokens, dim] */
  readonly k: NarrowTensor;
  /** [tokens] */
  readonly kScale: Float32Array;
  /** [queries, heads] */
  readonly w: Float32Array;
  readonly score?: Score | undefined;
}

interface Operand {
  readonly tensor: NarrowTensor;
  /** f32, one a row. */
  readonly scales: Float32Array;
}

function operandOf(values: Float64Array, dim: number, operands: OperandFormat): Operand {
  if (operands.format !== "e4m3")
    return { tensor: narrowTensor(operands.format, values), scales: new Float32Array(values.length / dim).fill(1) };
  const { codes, scales } = quantiseGroups(values, dim, operands.rule);
  return { tensor: { format: "e4m3", bytes: codes, values: decodeArray("e4m3", codes) }, scales };
}

function queryValues(random: Random, kind: IndexerKind, rows: number, heads: number, dim: number): Float64Array {
  const values = drawArray(rows * heads * dim, () => (kind === "allNegativeDots" ? Math.abs(random.normal()) : random.normal()));
  if (kind !== "dominantHead") return values;
  const headScale = drawArray(heads, (h) => 2 ** (h === 0 ? 10 : random.integer(-10, 9)));
  return values.map((value, i) => value * headScale[Math.floor(i / dim) % heads]!);
}

function keyValues(random: Random, kind: IndexerKind, tokens: number, dim: number): Float64Array {
  return drawArray(tokens * dim, (i) => {
    const value = random.normal();
    if (kind === "zeroKey" && Math.floor(i / dim) % 3 === 0) return 0;
    return kind === "allNegativeDots" ? -Math.abs(value) : value;
  });
}

/** Gates with the model's factors H^−1/2 and D^−1/2, as f32. */
function gateValues(random: Random, kind: IndexerKind, rows: number, heads: number, dim: number): Float32Array {
  const factor = (heads * dim) ** -0.5;
  return Float32Array.from(
    drawArray(rows * heads, () => factor * (kind === "negativeWeights" ? -Math.abs(random.normal()) : random.normal())),
  );
}

/** Poisons the values and scales of all tokens that lie in no window. */
function poisonUnseen(values: Float64Array, scales: Float32Array, { first, last }: Windows): void {
  const tokens = scales.length;
  const dim = values.length / tokens;
  for (let s = 0; s < tokens; s++) {
    if (first.some((start, t) => start <= s && s < last[t]!)) continue;
    values.fill(NaN, s * dim, (s + 1) * dim);
    scales[s] = NaN;
  }
}

/** For "nanOutsideWindows" the windows leave at least the last eighth of the tokens unseen. */
export function generateIndexer({ seed, kind, windows: windowKind, shape, operands, score }: IndexerSpec): IndexerCase {
  const { queries, heads, dim, tokens } = shape;
  const random = randomOf(seed);
  const seen = kind === "nanOutsideWindows" ? tokens - Math.ceil(tokens / 8) : tokens;
  const windows = generateWindows({ seed: random.integer(0, 2 ** 30), kind: windowKind, queries, tokens: seen });
  const q = operandOf(queryValues(random, kind, queries, heads, dim), dim, operands);
  const k = operandOf(keyValues(random, kind, tokens, dim), dim, operands);
  const w = gateValues(random, kind, queries, heads, dim);
  let keys = k.tensor;
  if (kind === "nanOutsideWindows") {
    const values = keys.values.slice();
    poisonUnseen(values, k.scales, windows);
    keys = narrowTensor(keys.format, values); // rounding stored values again changes nothing
  }
  return { shape, q: q.tensor, qScale: q.scales, k: keys, kScale: k.scales, w, ...windows, score };
}

/** The same problem as the reference takes it. */
export const indexerArgs = (problem: IndexerCase): IndexerArgs => ({ ...problem, q: problem.q.values, k: problem.k.values });

export interface PagedIndexerSpec {
  readonly seed: number;
  readonly kind: Exclude<IndexerKind, "nanOutsideWindows">;
  readonly shape: PagedIndexerArgs["shape"];
  readonly rule: ScaleRule;
  /** Bytes from page to page; default without padding. */
  readonly pageStride?: number;
  /** Whether a page inside a request's length may be missing (−1). */
  readonly missingPages: boolean;
  readonly score?: Score;
}

/** A paged problem as a device takes it. Everything in the cache that no token owns decodes as NaN. */
export interface PagedIndexerCase {
  readonly shape: PagedIndexerArgs["shape"];
  /** [requests · nextN, heads, dim], e4m3 */
  readonly q: NarrowTensor;
  /** [requests · nextN, heads] */
  readonly qScale: Float32Array;
  readonly cache: Uint8Array;
  readonly layout: IndexerPageLayout;
  /** [requests · nextN, heads] */
  readonly w: Float32Array;
  /** [requests, maxPages], −1 where a request has no page. */
  readonly blockTable: Int32Array;
  /** [requests · nextN] */
  readonly lengths: Int32Array;
  readonly score?: Score | undefined;
}

/**
 * Request lengths are 0, 1, around a page, full, or random; draft row j of a request of length L sees L − nextN + j + 1 tokens,
 * none if that is negative. Pages lie in random order, and one page of the cache belongs to nobody.
 */
export function generatePagedIndexer(spec: PagedIndexerSpec): PagedIndexerCase {
  const { requests, nextN, heads, dim, maxPages } = spec.shape;
  const random = randomOf(spec.seed);
  const rows = requests * nextN;
  const operands = { format: "e4m3", rule: spec.rule } as const;
  const q = operandOf(queryValues(random, spec.kind, rows, heads, dim), dim, operands);
  const w = gateValues(random, spec.kind, rows, heads, dim);

  const pageCount = requests * maxPages + 1;
  const order = permutation(random, pageCount);
  const blockTable = new Int32Array(requests * maxPages).fill(-1);
  const lengths = new Int32Array(rows);
  const owned: number[] = [];
  for (let b = 0; b < requests; b++) {
    const capacity = maxPages * pageTokens;
    const edges = [0, 1, pageTokens - 1, pageTokens, pageTokens + 1, capacity, random.integer(0, capacity)];
    const length = Math.min(edges[random.integer(0, edges.length - 1)]!, capacity);
    for (let j = 0; j < nextN; j++) lengths[b * nextN + j] = Math.max(length - nextN + j + 1, 0);
    for (let i = 0; i < Math.ceil(length / pageTokens); i++) {
      const page = order[b * maxPages + i]!;
      blockTable[b * maxPages + i] = page;
      owned.push(page);
    }
  }
  const keys = quantiseGroups(keyValues(random, spec.kind, owned.length * pageTokens, dim), dim, spec.rule);
  const layout = { dim, pageStride: spec.pageStride ?? indexerPageBytes(dim) };
  const cache = writeIndexerPages(keys, Int32Array.from(owned), pageCount, layout);
  if (spec.missingPages) {
    for (let b = 0; b < requests; b++) blockTable[b * maxPages + random.integer(0, maxPages - 1)] = -1;
  }
  return { shape: spec.shape, q: q.tensor, qScale: q.scales, cache, layout, w, blockTable, lengths, score: spec.score };
}

/** The same problem as the reference takes it. */
export const pagedIndexerArgs = (problem: PagedIndexerCase): PagedIndexerArgs => ({
  ...problem,
  q: problem.q.values,
  keys: readIndexerPages(problem.cache, problem.layout),
});
