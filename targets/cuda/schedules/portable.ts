/** Schedules for every architecture: cooperative copies and mma.sync. Block sizes fit the 99 KiB of sm_86 and sm_89. */
import type { Schedule } from "../../../compiler/target.ts";

export const portable: Readonly<Record<string, Schedule>> = {
  indexer_logits: { threads: 256, tune: { BQ: 2, BT: 64, CHUNK: 1024 } },
  paged_indexer_logits: { threads: 256, tune: { PAGES: 8 } },
  topk: { threads: 256 },
  sparse_mla: { threads: 256, tune: { BH: 32, BJ: 32 } },
  sparse_mla_decode: { threads: 256, tune: { BH: 32, BJ: 32 } },
  sparse_mla_combine: { threads: 256, tune: { BH: 2 } },
};
