/** Schedules for every architecture: cooperative copies and mma.sync. Block sizes fit the 99 KiB of sm_86 and sm_89. */
import type { Schedule } from "../../../compiler/target.ts";
import type { Dsa } from "../../../dsl/kernels/spec.ts";

const topK = (dsa: Dsa): Schedule => ({ threads: 256, tune: { ROOM: Math.min(Math.max(5120, Math.ceil(dsa.topK * 2.25)), 10240) } });

export const portable: Readonly<Record<string, Schedule | ((dsa: Dsa) => Schedule)>> = {
  indexer_logits: { threads: 256, tune: { BQ: 2, BT: 64, CHUNK: 1024 } },
  paged_indexer_logits: { threads: 256, tune: { PAGES: 8 } },
  topk: topK,
  topk_window: topK,
  topk_ragged: topK,
  topk_slots: topK,
  sparse_mla: { threads: 256, tune: { BH: 32, BJ: 32 } },
  sparse_mla_decode: { threads: 256, tune: { BH: 32, BJ: 32 } },
  sparse_mla_combine: { threads: 256, tune: { BH: 2 } },
};
