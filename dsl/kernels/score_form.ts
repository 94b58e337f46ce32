/** Schedules that keep the exact score say so where a spec allows the linear form. */
import type { Schedule } from "../schedule.ts";
import type { Dsa } from "./spec.ts";

/** Kernels that sum scores over heads. */
const scoring: readonly string[] = ["indexer_logits", "paged_indexer_logits"];

/** The schedule, with a note where the spec allows the linear form and the schedule does not use it. `spec` is a Dsa, or nothing the kernel reads. */
export function notingForm(kernel: string, spec: unknown, schedule: Schedule, reason: string): Schedule {
  const asked = scoring.includes(kernel) && (spec as Dsa | undefined)?.scoreForm === "linear";
  return asked && !schedule.algebra?.includes("splitRelu") ? { ...schedule, note: `scores are exact in spite of scoreForm=linear: ${reason}` } : schedule;
}
