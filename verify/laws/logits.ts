/** Laws of the indexer logits, contiguous and paged. */
import { withSettings } from "../../dsl/kernels/settings.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  elementBytes,
  generateIndexer,
  indexerArgs,
  logitsBudget,
  permutation,
  randomOf,
  type IndexerArgs,
  type IndexerCase,
} from "../../reference/index.ts";
import { bytesOf, poisoned } from "../checks/check.ts";
import { logitsPitch, logitsTarget, referenceScore } from "../checks/indexer_logits.ts";
import { pagedInputs, pagedProblem, requestOf, type PagedProblem, type PagedShape } from "../checks/paged_indexer_logits.ts";
import type { Executor } from "../executor.ts";
import { compare, packedRows } from "../verdict.ts";
import { requireVerdict, type Law } from "./law.ts";

const queries = 3;
const tokens = 70;

/** A problem in which every query sees every token. */
export function openProblem(dsa: Dsa, seed: number): IndexerCase {
  const shape = { queries, heads: dsa.indexerHeads, dim: dsa.indexerDim, tokens };
  const operands = dsa.indexDtype === "e4m3" ? ({ format: "e4m3", rule: "divide" } as const) : { format: dsa.indexDtype };
  const problem = generateIndexer({ seed, kind: "normal", windows: "causalTail", shape, operands, score: referenceScore(dsa) });
  return { ...problem, first: new Int32Array(queries), last: new Int32Array(queries).fill(tokens) };
}

/** Logits [queries, tokens] of a contiguous problem. */
export async function logitsOf(
  executor: Executor,
  dsa: Dsa,
  { shape, q, k, qScale, kScale, w, first, last }: IndexerCase,
): Promise<Float64Array> {
  const pitch = logitsPitch(dsa, shape.tokens, 0);
  const size = elementBytes(dsa.logitsDtype);
  const scales = { qScale: bytesOf(qScale), kScale: bytesOf(kScale), w: bytesOf(w) };
  const buffers = {
    q: q.bytes,
    k: k.bytes,
    ...scales,
    first: bytesOf(first),
    last: bytesOf(last),
    logits: poisoned(shape.queries * pitch * size),
  };
  const { logits } = await executor.run(buffers, { Q: shape.queries, T: shape.tokens, logitsPitch: pitch });
  return decodeArray(dsa.logitsDtype, packedRows(logits!, shape.queries, shape.tokens * size, pitch * size));
}

/** Logits [requests · nextN, tokens] of a paged problem. */
async function pagedLogitsOf(executor: Executor, dsa: Dsa, paged: PagedProblem): Promise<Float64Array> {
  const { buffers, dims } = pagedInputs(dsa, paged, 0);
  const { logits } = await executor.run(buffers, dims);
  const size = elementBytes(dsa.logitsDtype);
  return decodeArray(dsa.logitsDtype, packedRows(logits!, paged.rows, paged.tokens * size, dims.logitsPitch * size));
}

const budgetOf = (dsa: Dsa, executor: Executor, args: IndexerArgs): Float64Array =>
  logitsBudget(args, logitsTarget(dsa, executor.arithmetic));

/** Two evaluations in different orders may differ by both budgets. */
function requireNear(got: Float64Array, want: Float64Array, budgets: readonly [Float64Array, Float64Array], width: number): void {
  const budget = budgets[0].map((x, i) => x + budgets[1][i]!);
  requireVerdict(compare({ output: "logits", axes: { q: got.length / width, t: width }, got, want, budget }));
}

/** The first `keep` of every `width` elements. */
const columns = <T extends Float32Array | Float64Array | Uint8Array>(array: T, width: number, keep: number): T =>
  array.filter((_, i) => i % width < keep) as T;

export const paddingHeads: Law = {
  name: "heads with weight 0 change nothing",
  kernels: ["indexer_logits"],
  async holds(dsa, executorOf, seed) {
    const padded = withSettings(dsa, { indexerHeads: String(dsa.indexerHeads + 3) });
    const [heads, all, dim] = [dsa.indexerHeads, padded.indexerHeads, dsa.indexerDim];
    const wide = openProblem(padded, seed);
    wide.w.forEach((_, i) => i % all >= heads && (wide.w[i] = 0));
    const headBytes = wide.q.bytes.length / (queries * all);
    const narrow: IndexerCase = {
      ...wide,
      shape: { ...wide.shape, heads },
      q: {
        ...wide.q,
        bytes: columns(wide.q.bytes, all * headBytes, heads * headBytes),
        values: columns(wide.q.values, all * dim, heads * dim),
      },
      qScale: columns(wide.qScale, all, heads),
      w: columns(wide.w, all, heads),
    };
    const [many, few] = [await executorOf("indexer_logits", padded), await executorOf("indexer_logits", dsa)];
    const budgets = [budgetOf(padded, many, indexerArgs(wide)), budgetOf(dsa, few, indexerArgs(narrow))] as const;
    requireNear(await logitsOf(many, padded, wide), await logitsOf(few, dsa, narrow), budgets, tokens);
  },
};

export const permutedKeys: Law = {
  name: "permuting the keys permutes the logits",
  kernels: ["indexer_logits"],
  async holds(dsa, executorOf, seed) {
    const problem = openProblem(dsa, seed);
    const order = permutation(randomOf(seed), tokens); // key s of the permuted problem is key order[s]
    const keyBytes = problem.k.bytes.length / tokens;
    const bytes = problem.k.bytes.map((_, i) => problem.k.bytes[order[Math.floor(i / keyBytes)]! * keyBytes + (i % keyBytes)]!);
    const permuted: IndexerCase = {
      ...problem,
      k: { ...problem.k, bytes },
      kScale: problem.kScale.map((_, s) => problem.kScale[order[s]!]!),
    };
    const executor = await executorOf("indexer_logits", dsa);
    const plain = await logitsOf(executor, dsa, problem);
    const want = plain.map((_, i) => plain[Math.floor(i / tokens) * tokens + order[i % tokens]!]!);
    requireVerdict(
      compare({
        output: "permuted logits",
        axes: { q: queries, t: tokens },
        got: await logitsOf(executor, dsa, permuted),
        want,
        budget: 0,
      }),
    );
  },
};

const pagedShape = (seed: number): PagedShape => ({
  requests: 2,
  maxPages: 2,
  kind: "normal",
  rule: "divide",
  missingPages: false,
  pageGap: 16,
  trim: 0,
  gap: 0,
  seed,
});

export const pagedEqualsRagged: Law = {
  name: "paged keys give the logits of contiguous ones",
  kernels: ["indexer_logits", "paged_indexer_logits"],
  async holds(dsa, executorOf, seed) {
    const paged = pagedProblem(dsa, pagedShape(seed));
    const [fromPages, contiguous] = [await executorOf("paged_indexer_logits", dsa), await executorOf("indexer_logits", dsa)];
    const got = await pagedLogitsOf(fromPages, dsa, paged);
    const cells = dsa.nextN * paged.tokens;
    for (let b = 0; b < 2; b++) {
      const args = requestOf(dsa, paged, b);
      const budgets = [budgetOf(dsa, fromPages, args), budgetOf(dsa, contiguous, args)] as const;
      requireNear(
        got.subarray(b * cells, (b + 1) * cells),
        await logitsOf(contiguous, dsa, requestCase(dsa, paged, b)),
        budgets,
        paged.tokens,
      );
    }
  },
};

/** Request b of a paged problem as bytes of a contiguous one. */
function requestCase(dsa: Dsa, { problem, tokens, lengths }: PagedProblem, b: number): IndexerCase {
  const { nextN, indexerHeads: heads, indexerDim: dim } = dsa;
  const size = elementBytes(dsa.indexDtype);
  const part = <T extends Float32Array | Float64Array | Uint8Array | Int32Array>(array: T, count: number): T =>
    array.slice(b * count, (b + 1) * count) as T;
  return {
    shape: { queries: nextN, heads, dim, tokens },
    q: { ...problem.q, bytes: part(problem.q.bytes, nextN * heads * dim * size) },
    qScale: part(problem.qScale, nextN * heads),
    k: { ...problem.k, bytes: part(problem.k.bytes, tokens * dim * size) },
    kScale: part(problem.kScale, tokens),
    w: part(problem.w, nextN * heads),
    first: new Int32Array(nextN),
    last: part(lengths, nextN),
  };
}

export const flattenedDrafts: Law = {
  name: "draft tokens as requests of their own give the same logits",
  kernels: ["paged_indexer_logits"],
  async holds(dsa, executorOf, seed) {
    const drafts = withSettings(dsa, { nextN: "3" });
    const single = withSettings(dsa, { nextN: "1" });
    const paged = pagedProblem(drafts, pagedShape(seed));
    const rows = Array.from({ length: paged.rows }, (_, row) => Math.floor(row / drafts.nextN));
    const blockTable = Int32Array.from(rows.flatMap((b) => [...paged.blockTable.subarray(b * 2, (b + 1) * 2)]));
    const [native, flat] = [await executorOf("paged_indexer_logits", drafts), await executorOf("paged_indexer_logits", single)];
    const [got, want] = [await pagedLogitsOf(native, drafts, paged), await pagedLogitsOf(flat, single, { ...paged, blockTable })];
    const cells = drafts.nextN * paged.tokens;
    for (let b = 0; b < 2; b++) {
      const args = requestOf(drafts, paged, b);
      const budgets = [budgetOf(drafts, native, args), budgetOf(single, flat, args)] as const;
      requireNear(got.subarray(b * cells, (b + 1) * cells), want.subarray(b * cells, (b + 1) * cells), budgets, paged.tokens);
    }
  },
};
