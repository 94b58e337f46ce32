/** All programs by name. */
import { kernelsOf, type KernelName } from "../kernels/index.ts";
import type { Dsa } from "../kernels/spec.ts";
import type { Flat, Program, Words } from "./program.ts";

export type { Flat, Program, Words } from "./program.ts";

/** Programs of the kernels in `dsl/kernels`. */
export interface DsaProgram extends Program {
  readonly kernels: readonly KernelName[];
  readonly words?: Readonly<Partial<Record<KernelName, Words>>>;
}

/** Beside the operands of attention those of the indexer need names of their own. */
const indexerArgs = { q: "indexQ", qScale: "indexQScale", w: "indexW" };
/** Attention ends where the selection does. */
const selectedSlots = { lengths: "count" };
/** Queries of a batch are next_n rows of each request. */
const queriesOfRequests: Flat = { axis: "q", dim: "Q", outer: { axis: "b", dim: "B" }, inner: { axis: "n", field: "nextN" } };

/**
 * Index scores and their top-k, for a chunk of queries at a time: no buffer of queries × context exists. Exact and the same from run to run
 * because both kernels are.
 */
const streamingTopK: DsaProgram = { name: "streaming_topk", kernels: ["indexer_logits", "topk"], axis: "q", scratch: ["logits"], tile: "BQ" };

/**
 * Sparse attention of prefill from operands to results, with scratch for the scores of one chunk alone. `offset` is where a query's sequence begins among
 * the `kvRows` rows of kv, less where it begins among the T index keys: 0 where both lie in the same order.
 */
const prefill: DsaProgram = {
  name: "prefill",
  kernels: ["indexer_logits", "topk_ragged", "sparse_mla"],
  axis: "q",
  scratch: ["logits"],
  tile: "BQ",
  words: {
    indexer_logits: { args: { ...indexerArgs, k: "indexK", kScale: "indexKScale" } },
    sparse_mla: { args: selectedSlots, dims: { T: "kvRows" } },
  },
};

/**
 * Sparse attention of decode over paged caches, with scratch for the scores and the splits of one chunk of requests. Page p of the index keys and page
 * p of the latent records belong together: one block table names both.
 */
const decode: DsaProgram = {
  name: "decode",
  kernels: ["paged_indexer_logits", "topk_slots", "sparse_mla_decode", "sparse_mla_combine"],
  axis: "b",
  scratch: ["logits", "partial", "partialMax", "partialSum"],
  words: {
    paged_indexer_logits: { args: { ...indexerArgs, pages: "indexPages" }, dims: { pageBytes: "indexPageBytes" } },
    sparse_mla_decode: { args: selectedSlots, flat: queriesOfRequests },
    sparse_mla_combine: { flat: queriesOfRequests },
  },
};

/**
 * Attention to indices that are supplied, for training that uses those of sampling again: nothing is scored or selected. `faults` counts the
 * slots of each row that are no selection of its window; attention leaves out those that name no token of the cache.
 */
const replay: DsaProgram = { name: "replay", kernels: ["check_selection", "sparse_mla"], axis: "q", scratch: [], tile: "BQ" };

export const programs = { streaming_topk: streamingTopK, prefill, decode, replay } satisfies Readonly<Record<string, DsaProgram>>;
export type ProgramName = keyof typeof programs;

/** Programs whose kernels a spec has. */
export function programsOf(dsa: Dsa): ProgramName[] {
  const own = kernelsOf(dsa);
  return (Object.keys(programs) as ProgramName[]).filter((name) => programs[name].kernels.every((kernel) => own.includes(kernel)));
}
