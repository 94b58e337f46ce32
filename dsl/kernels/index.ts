/** All kernels: name to factory. A factory makes the kernel of one `Dsa` spec. */
import type { Kernel } from "../kernel.ts";
import { checkSelection } from "./check_selection.ts";
import { indexerLogits } from "./indexer_logits.ts";
import { pagedIndexerLogits } from "./paged_indexer_logits.ts";
import { sparseMla } from "./sparse_mla.ts";
import { GROUP, sparseMlaCombine, sparseMlaDecode } from "./sparse_mla_decode.ts";
import type { Dsa } from "./spec.ts";
import { topK, topKRagged, topKSlots, topKWindow } from "./topk.ts";

export const kernels = {
  indexer_logits: indexerLogits,
  paged_indexer_logits: pagedIndexerLogits,
  topk: topK,
  topk_window: topKWindow,
  topk_ragged: topKRagged,
  topk_slots: topKSlots,
  check_selection: checkSelection,
  sparse_mla: sparseMla,
  sparse_mla_decode: sparseMlaDecode,
  sparse_mla_combine: sparseMlaCombine,
} satisfies Readonly<Record<string, (dsa: Dsa) => Kernel>>;
export type KernelName = keyof typeof kernels;

/**
 * Kernels that a spec has. Decode needs the 656-byte kind of record: RoPE columns behind the latent ones (V4 has them inside), and
 * latents in whole groups that share a scale.
 */
export function kernelsOf(dsa: Dsa): KernelName[] {
  const hasRecords = dsa.dRope > 0 && dsa.dV % GROUP === 0;
  const names = Object.keys(kernels) as KernelName[];
  return names.filter((name) => hasRecords || !(name === "sparse_mla_decode" || name === "sparse_mla_combine"));
}
