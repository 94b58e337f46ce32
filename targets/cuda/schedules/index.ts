/** Schedules by kernel name; a kernel that is not here runs with the compiler's defaults. */
import type { Scheduled } from "../../../compiler/target.ts";
import { notingForm } from "../../../dsl/kernels/score_form.ts";
import type { Dsa } from "../../../dsl/kernels/spec.ts";
import type { CudaArch } from "../target.ts";
import { hopper } from "./hopper.ts";
import { portable } from "./portable.ts";

export function cudaSchedule(kernel: string, spec: unknown, arch: CudaArch): Scheduled {
  const own = arch.features.includes("wgmma") ? hopper[kernel]?.(spec as Dsa) : undefined;
  const common = portable[kernel] ?? {};
  const schedule = typeof common === "function" ? common(spec as Dsa) : common;
  return own ?? notingForm(kernel, spec, schedule, "the portable schedule has no linear form");
}
