/** WGSL for any WebGPU device: the default limits, no assumption about subgroups. */
import type { Target } from "../../compiler/target.ts";
import { emitWgsl, wgslEntry, wgslSharedBytes } from "./emit.ts";
import { wgslInstructions } from "./instructions.ts";
import { wgslSchedule } from "./schedules.ts";
import { wgslLimits } from "./target.ts";

const KiB = 1024;

export function wgslTarget(): Target {
  const instructions = new Map(wgslInstructions.map((i) => [i.name, i]));
  return {
    name: "wgsl",
    machine: {
      name: "wgsl",
      warp: 0,
      maxThreads: wgslLimits.maxComputeInvocationsPerWorkgroup,
      maxSharedBytes: wgslLimits.maxComputeWorkgroupStorageSize,
      exchangeBytes: KiB,
      instructions: new Set(instructions.keys()),
      ieeeFloats: false,
    storeGranule: 4,
    },
    instructions,
    file: "kernel.wgsl",
    scheduleOf: wgslSchedule,
    emit: (kernel, options) => emitWgsl(kernel, { ...options, enabledFeatures: [] }),
    entryOf: wgslEntry,
    needs: (kernel) => ({
      features: [],
      limits: {
        maxComputeWorkgroupStorageSize: wgslSharedBytes(kernel),
        maxComputeInvocationsPerWorkgroup: kernel.threads,
        maxStorageBuffersPerShaderStage: kernel.params.length,
      },
    }),
  };
}
