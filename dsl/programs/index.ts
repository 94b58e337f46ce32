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

export const programs = { streaming_topk: streamingTopK } satisfies Readonly<Record<string, DsaProgram>>;
export type ProgramName = keyof typeof programs;
