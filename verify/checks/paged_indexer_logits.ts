/** Indexer logits over the paged cache against the reference. */
import fc from "fast-check";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  elementBytes,
  generateIndexer,
  indexerKinds,
  indexerLogits,
  logitsBudget,
  permutation,
  randomOf,
  type IndexerArgs,
  type IndexerCase,
  type IndexerKind,
  type Random,
  type ScaleRule,
} from "../../reference/index.ts";
import { all, compare, packedRows, untouchedGaps, type Verdict } from "../verdict.ts";
import { affordable, bytesOf, extent, poisoned, seed, type Check, type Shape } from "./check.ts";
import { logitsPitch, logitsTarget, referenceScore, scaleRules } from "./indexer_logits.ts";

const keyKinds = indexerKinds.filter((kind) => kind !== "nanOutsideWindows"); // what nobody owns is NaN in every cache
export interface PagedShape extends Shape {
  readonly requests: number;
  /** Width of the block table. */
  readonly maxPages: number;
  readonly kind: Exclude<IndexerKind, "nanOutsideWindows">;
  readonly rule: ScaleRule;
  /** Pages inside a request's length may have an id that names no page. */
  readonly missingPages: boolean;
  /** Bytes between pages. */
  readonly pageGap: number;
  /** Columns by which the logits are narrower than the block table's tokens. */
  readonly trim: number;
  readonly gap: number;
  readonly seed: number;
}

/** A cache in which requests own scattered pages, and the keys of each request in token order. */
export interface PagedKeys {
  readonly cache: Uint8Array;
  readonly pageBytes: number;
  /** [requests, maxPages] */
  readonly blockTable: Int32Array;
  /** [requests · nextN] */
  readonly lengths: Int32Array;
}

export const pagedIndexerLogitsCheck: Check<PagedShape> = {
  fixed(dsa) {
    const base = { requests: 2, maxPages: 2, rule: "divide", missingPages: false, pageGap: 16, trim: 0, gap: 5, seed: 1 } as const;
    return [
      ...keyKinds.map((kind) => ({ ...base, kind })),
      { ...base, kind: "normal", rule: "pow2", missingPages: true, pageGap: 0, trim: Math.min(3, dsa.pageTokens - 1), gap: 0 },
    ];
  },

  shapes: (dsa, budget) => fc.record(pagedShapes(dsa, budget)),

  prepare(dsa, shape) {
    const paged = pagedProblem(dsa, shape);
    const { rows, tokens } = paged;
    const { buffers, dims } = pagedInputs(dsa, paged, shape.gap);
    const [rowBytes, pitchBytes] = [tokens, dims.logitsPitch].map((n) => n * elementBytes(dsa.logitsDtype)) as [number, number];
    return {
      buffers,
      dims,
      judge({ logits }, { arithmetic }) {
        const got = decodeArray(dsa.logitsDtype, packedRows(logits!, rows, rowBytes, pitchBytes));
        const target = logitsTarget(dsa, arithmetic);
        const verdicts: Verdict[] = [untouchedGaps("logits", logits!, rows, rowBytes, pitchBytes)];
        for (let b = 0; b < shape.requests; b++) {
          const args = requestOf(dsa, paged, b);
          const cells = dsa.nextN * tokens;
          const axes = { [`request ${b}, n`]: dsa.nextN, t: tokens };
          const [want, budget] = [indexerLogits(args), logitsBudget(args, target)];
          verdicts.push(compare({ output: "logits", axes, got: got.subarray(b * cells, (b + 1) * cells), want, budget }));
        }
        return all(verdicts);
      },
    };
  },
};

/** What shapes are drawn from, field by field. */
export function pagedShapes(dsa: Dsa, budget: number) {
  const pages = affordable(budget, dsa.nextN * dsa.indexerHeads * dsa.indexerDim * dsa.pageTokens, 2, 40);
  const maxRequests = Math.min(pages, 4);
  return {
    requests: fc.integer({ min: 1, max: maxRequests }),
    maxPages: extent(1, Math.max(2, Math.floor(pages / maxRequests))),
    kind: fc.constantFrom(...keyKinds),
    rule: fc.constantFrom(...scaleRules),
    missingPages: fc.boolean(),
    pageGap: fc.constantFrom(0, 16, 256),
    trim: fc.integer({ min: 0, max: dsa.pageTokens - 1 }),
    gap: fc.constantFrom(0, 1, 5, 64),
    seed,
  };
}

/** Queries, and keys by token of each request: request b owns the keys from b · maxPages · pageTokens on. */
export interface PagedProblem extends PagedKeys {
  readonly problem: IndexerCase;
  /** requests · nextN */
  readonly rows: number;
  /** Columns of the logits. */
  readonly tokens: number;
}

export function pagedProblem(dsa: Dsa, { requests, maxPages, kind, rule, missingPages, pageGap, trim, seed }: PagedShape): PagedProblem {
  const { nextN, indexerHeads: heads, indexerDim: dim, pageTokens } = dsa;
  const capacity = maxPages * pageTokens;
  const rows = requests * nextN;
  const problem = generateIndexer({
    seed,
    kind,
    windows: "causalTail",
    shape: { queries: rows, heads, dim, tokens: requests * capacity },
    operands: dsa.indexDtype === "e4m3" ? { format: "e4m3", rule } : { format: dsa.indexDtype },
  });
  const random = randomOf(seed);
  const lengths = drawLengths(random, requests, nextN, capacity);
  const keys = writePages(dsa, problem, { random, requests, maxPages, lengths, missingPages, pageGap });
  return { ...keys, problem, rows, tokens: capacity - trim };
}

/** What the kernel takes; rows of the logits are `gap` elements apart. */
export function pagedInputs(dsa: Dsa, { problem, cache, pageBytes, blockTable, lengths, rows, tokens }: PagedProblem, gap: number) {
  const pitch = logitsPitch(dsa, tokens, gap);
  const requests = rows / dsa.nextN;
  return {
    buffers: {
      q: problem.q.bytes,
      pages: cache,
      blockTable: bytesOf(blockTable),
      qScale: bytesOf(problem.qScale),
      w: bytesOf(problem.w),
      lengths: bytesOf(lengths),
      logits: poisoned(rows * pitch * elementBytes(dsa.logitsDtype)),
    },
    dims: { B: requests, P: cache.byteLength / pageBytes, I: blockTable.length / requests, T: tokens, pageBytes, logitsPitch: pitch },
  };
}

/** Lengths 0, 1, next to a page's end, full, or random; draft row j of a request of length L sees L − nextN + j + 1 tokens. */
function drawLengths(random: Random, requests: number, nextN: number, capacity: number): Int32Array {
  const lengths = new Int32Array(requests * nextN);
  for (let b = 0; b < requests; b++) {
    const edges = [0, 1, 63, 64, 65, capacity - 1, capacity, random.integer(0, capacity)];
    const length = Math.min(edges[random.integer(0, edges.length - 1)]!, capacity);
    for (let j = 0; j < nextN; j++) lengths[b * nextN + j] = Math.max(length - nextN + j + 1, 0);
  }
  return lengths;
}

interface PageOptions {
  readonly random: Random;
  readonly requests: number;
  readonly maxPages: number;
  readonly lengths: Int32Array;
  readonly missingPages: boolean;
  readonly pageGap: number;
}

/** Ids that name no page: below 0, and so far up that the address of such a page would overflow. */
const noPage = [-1, -(2 ** 31), 2 ** 31 - 1];

/**
 * Puts key s of request b (key b · capacity + s of the problem) into its page: keys token-major, then one f32 scale a token. What nobody
 * owns is 0xff, which decodes as NaN; and entries behind a request's last page name no page.
 */
export function writePages(dsa: Dsa, { k, kScale }: IndexerCase, options: PageOptions): PagedKeys {
  const { random, requests, maxPages, lengths, missingPages, pageGap } = options;
  const { pageTokens } = dsa;
  const keyBytes = dsa.indexerDim * elementBytes(k.format);
  const pageBytes = pageTokens * (keyBytes + 4) + pageGap;
  const order = permutation(random, requests * maxPages + 1); // one page belongs to nobody
  const cache = poisoned(order.length * pageBytes);
  const blockTable = Int32Array.from({ length: requests * maxPages }, () => noPage[random.integer(0, noPage.length - 1)]!);
  const scales = bytesOf(kScale);
  for (let b = 0; b < requests; b++) {
    const length = Math.max(...lengths.subarray(b * dsa.nextN, (b + 1) * dsa.nextN));
    const missing = missingPages ? random.integer(0, maxPages - 1) : -1;
    for (let s = 0; s < length; s++) {
      const i = Math.floor(s / pageTokens);
      if (i === missing) continue;
      const page = order[b * maxPages + i]!;
      blockTable[b * maxPages + i] = page;
      const [token, key] = [s % pageTokens, b * maxPages * pageTokens + s];
      cache.set(k.bytes.subarray(key * keyBytes, (key + 1) * keyBytes), page * pageBytes + token * keyBytes);
      cache.set(scales.subarray(4 * key, 4 * (key + 1)), page * pageBytes + pageTokens * keyBytes + 4 * token);
    }
  }
  return { cache, pageBytes, blockTable, lengths };
}

/** Request b as a contiguous problem: tokens of missing pages are zero keys with scale 0. */
export function requestOf(dsa: Dsa, { problem, tokens, cache, pageBytes, blockTable, lengths }: PagedProblem, b: number): IndexerArgs {
  const { nextN, indexerHeads: heads, indexerDim: dim, pageTokens } = dsa;
  const maxPages = blockTable.length / (lengths.length / nextN);
  const pageCount = cache.byteLength / pageBytes;
  const start = b * maxPages * pageTokens;
  const k = problem.k.values.slice(start * dim, (start + tokens) * dim);
  const kScale = problem.kScale.slice(start, start + tokens);
  for (let s = 0; s < tokens; s++) {
    const page = blockTable[b * maxPages + Math.floor(s / pageTokens)]!;
    if (page >= 0 && page < pageCount) continue;
    k.fill(0, s * dim, (s + 1) * dim);
    kScale[s] = 0;
  }
  const rows = <T extends Float32Array | Float64Array | Int32Array>(array: T, width: number) =>
    array.subarray(b * nextN * width, (b + 1) * nextN * width);
  return {
    shape: { queries: nextN, heads, dim, tokens },
    q: rows(problem.q.values, heads * dim),
    qScale: rows(problem.qScale, heads),
    k,
    kScale,
    w: rows(problem.w, heads),
    first: new Int32Array(nextN),
    last: rows(lengths, 1),
    score: referenceScore(dsa),
  };
}
