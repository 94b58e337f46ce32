/** CUDA for sm_80 and later: cooperative copies, mma.sync, lane shuffles; for sm_90a also Hopper's barriers, tensor copies and wgmma. */
import type { Target } from "../../compiler/target.ts";
import { cudaEntry, emitCuda } from "./emit.ts";
import { cudaInstructionsOf } from "./instructions.ts";
import { cudaSchedule } from "./schedules/index.ts";
import { cudaArch, cudaLimits, type CudaTarget } from "./target.ts";

const KiB = 1024;

export function cudaTarget(name: CudaTarget): Target {
  const arch = cudaArch(name);
  const instructions = new Map(cudaInstructionsOf(arch).map((i) => [i.name, i]));
  return {
    name,
    machine: {
      name,
      warp: cudaLimits.warp,
      maxThreads: cudaLimits.maxThreads,
      maxSharedBytes: arch.sharedPerBlock,
      exchangeBytes: 4 * KiB,
      instructions: new Set(instructions.keys()),
      ieeeFloats: true,
      storeGranule: 1,
      ...(arch.features.some((f) => f === "wgmma") && { registers: cudaLimits.registersPerMultiprocessor }),
    },
    instructions,
    file: "kernel.cu",
    scheduleOf: (kernel, spec) => cudaSchedule(kernel, spec, arch),
    emit: (kernel, options) => emitCuda(kernel, { target: name, ...options }),
    entryOf: cudaEntry,
    needs: () => ({ features: [name.slice("cuda:".length)], limits: {} }),
  };
}
