/** The check of every kernel and of every program. */
import type { KernelName } from "../../dsl/kernels/index.ts";
import type { ProgramName } from "../../dsl/programs/index.ts";
import type { Check } from "./check.ts";
import { checkSelectionCheck } from "./check_selection.ts";
import { decodeCheck } from "./decode.ts";
import { indexerLogitsCheck } from "./indexer_logits.ts";
import { pagedIndexerLogitsCheck } from "./paged_indexer_logits.ts";
import { prefillCheck } from "./prefill.ts";
import { replayCheck } from "./replay.ts";
import { sparseMlaCheck } from "./sparse_mla.ts";
import { sparseMlaCombineCheck } from "./sparse_mla_combine.ts";
import { sparseMlaDecodeCheck } from "./sparse_mla_decode.ts";
import { streamingTopKCheck } from "./streaming_topk.ts";
import { topKCheck } from "./topk.ts";
import { topKRaggedCheck, topKSlotsCheck, topKWindowCheck } from "./topk_forms.ts";

export const checks: { readonly [K in KernelName]: Check } = {
  indexer_logits: indexerLogitsCheck,
  paged_indexer_logits: pagedIndexerLogitsCheck,
  topk: topKCheck,
  topk_window: topKWindowCheck,
  topk_ragged: topKRaggedCheck,
  topk_slots: topKSlotsCheck,
  check_selection: checkSelectionCheck,
  sparse_mla: sparseMlaCheck,
  sparse_mla_decode: sparseMlaDecodeCheck,
  sparse_mla_combine: sparseMlaCombineCheck,
};

/** Chunks of a program begin at multiples of `tile`, which shapes are made around. */
export const programChecks: { readonly [P in ProgramName]: (tile: number) => Check } = {
  streaming_topk: streamingTopKCheck,
  prefill: prefillCheck,
  decode: decodeCheck,
  replay: replayCheck,
};
