/** Schedules by kernel name; a kernel that is not here runs with the compiler's defaults. Block sizes fit the 99 KiB of sm_86 and sm_89. */
import type { Schedule } from "../../compiler/target.ts";

const schedules: Readonly<Record<string, Schedule>> = {
  indexer_logits: { threads: 256, tune: { BQ: 2, BT: 64, CHUNK: 1024 } },
  paged_indexer_logits: { threads: 256, tune: { PAGES: 8 } },
  topk: { threads: 256, tune: { BT: 1024 } },
  sparse_mla: { threads: 256, tune: { BH: 32, BJ: 32 } },
  sparse_mla_decode: { threads: 256, tune: { BH: 32, BJ: 32 } },
  sparse_mla_combine: { threads: 256, tune: { BH: 2 } },
};

export const cudaSchedule = (kernel: string): Schedule => schedules[kernel] ?? {};
