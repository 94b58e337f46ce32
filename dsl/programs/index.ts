/** All programs by name. */
import type { KernelName } from "../kernels/index.ts";
import type { Program } from "./program.ts";

export type { Program } from "./program.ts";

/** Programs of the kernels in `dsl/kernels`. */
export interface DsaProgram extends Program {
  readonly kernels: readonly KernelName[];
}

/**
 * Index scores and their top-k, for a chunk of queries at a time: no buffer of queries × context exists. Exact and the same from run to run
 * because both kernels are.
 */
const streamingTopK: DsaProgram = { name: "streaming_topk", kernels: ["indexer_logits", "topk"], axis: "q", scratch: ["logits"], tile: "BQ" };

/**
 * Attention to indices that are supplied, for training that uses those of sampling again: nothing is scored or selected. `faults` counts the
 * slots of each row that are no selection of its window; attention leaves out those that name no token of the cache.
 */
const replay: DsaProgram = { name: "replay", kernels: ["check_selection", "sparse_mla"], axis: "q", scratch: [], tile: "BQ" };

export const programs = { streaming_topk: streamingTopK, replay } satisfies Readonly<Record<string, DsaProgram>>;
export type ProgramName = keyof typeof programs;
