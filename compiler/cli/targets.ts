/** Targets by name. */
import { didYouMean, quoteAll } from "../../dsl/names.ts";
import { cudaTarget } from "../../targets/cuda/index.ts";
import { cudaArchs, cudaLimits, type CudaTarget } from "../../targets/cuda/target.ts";
import { wgslTarget } from "../../targets/wgsl/index.ts";
import { wgslLimits } from "../../targets/wgsl/target.ts";
import type { Target } from "../target.ts";

/** What `generated/` holds. */
export const defaultTargets: readonly string[] = ["cuda:sm_80", "cuda:sm_90a", "wgsl"];
const targetNames: readonly string[] = [...Object.keys(cudaArchs).map((arch) => `cuda:${arch}`), "wgsl"];

/** An unknown name is a RangeError that lists those known. */
export function targetNamed(name: string): Target {
  if (!targetNames.includes(name))
    throw new RangeError(`no target is called "${name}".${didYouMean(name, targetNames)} The targets are ${quoteAll(targetNames)}.`);
  return name === "wgsl" ? wgslTarget() : cudaTarget(name as CudaTarget);
}

/** Bytes at whose multiples views of buffers begin, where no device says otherwise. */
export const viewAlignmentOf = (name: string): number => (name === "wgsl" ? wgslLimits.minStorageBufferOffsetAlignment : cudaLimits.viewAlignment);
