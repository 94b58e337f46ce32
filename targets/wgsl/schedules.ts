/** Schedules by kernel name; a kernel that is not here runs with the compiler's defaults. Block sizes fit 16 KiB of workgroup memory. */
import type { Schedule } from "../../compiler/target.ts";
import { notingForm } from "../../dsl/kernels/score_form.ts";

const topK: Schedule = { threads: 256, tune: { ROOM: 1, SAMPLE: 2048, SPAN: 8192 } }; // no room for a bag of k items in 16 KiB

const schedules: Readonly<Record<string, Schedule>> = {
  indexer_logits: { threads: 128, tune: { BQ: 1, BT: 32, CHUNK: 512 } },
  paged_indexer_logits: { threads: 128, tune: { PAGES: 4 } },
  topk: topK,
  topk_window: topK,
  topk_ragged: topK,
  topk_slots: topK,
  sparse_mla: { threads: 128, tune: { BH: 16, BJ: 8 } },
  sparse_mla_decode: { threads: 128, tune: { BH: 16, BJ: 8 } },
  sparse_mla_combine: { threads: 128, tune: { BH: 2 } },
};

export const wgslSchedule = (kernel: string, spec: unknown): Schedule => notingForm(kernel, spec, schedules[kernel] ?? {}, "the schedules for WGSL have no linear form");
