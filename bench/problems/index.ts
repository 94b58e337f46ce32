/** Every problem by name. */
import type { Problem } from "./problem.ts";
import { checkSelectionProblem } from "./check_selection.ts";
import { indexerLogitsProblem } from "./indexer_logits.ts";
import { pagedIndexerLogitsProblem } from "./paged_indexer_logits.ts";
import { sparseMlaProblem } from "./sparse_mla.ts";
import { sparseMlaDecodeProblem } from "./sparse_mla_decode.ts";
import { streamingTopKProblem } from "./streaming_topk.ts";
import { topKProblem, topKRaggedProblem, topKSlotsProblem, topKWindowProblem } from "./topk.ts";

export const problems = {
  indexer_logits: indexerLogitsProblem,
  paged_indexer_logits: pagedIndexerLogitsProblem,
  topk: topKProblem,
  topk_window: topKWindowProblem,
  topk_ragged: topKRaggedProblem,
  topk_slots: topKSlotsProblem,
  streaming_topk: streamingTopKProblem,
  check_selection: checkSelectionProblem,
  sparse_mla: sparseMlaProblem,
  sparse_mla_decode: sparseMlaDecodeProblem,
} satisfies Readonly<Record<string, Problem>>;
export type ProblemName = keyof typeof problems;
