/** What each CUDA architecture offers, as data; sizes as in the CUDA C++ Programming Guide, technical specifications per compute capability. */

export type CudaTarget = `cuda:sm_${string}`;

export interface CudaArch {
  /** Compute capability times ten. */
  readonly capability: number;
  /** Bytes of shared memory that one block may take (opt-in, dynamic). */
  readonly sharedPerBlock: number;
  readonly features: readonly CudaFeature[];
}

/** `fp8Convert`: cvt between f32 or f16 and e4m3 or e5m2. `tma`, `wgmma`: need an architecture-specific target (sm_90a). */
export type CudaFeature = "cpAsync" | "mmaBf16" | "bf16Convert" | "fp8Convert" | "mbarrier" | "cluster" | "tma" | "wgmma";

const KiB = 1024;
const ampere: readonly CudaFeature[] = ["cpAsync", "mmaBf16", "bf16Convert", "mbarrier"];
const ada: readonly CudaFeature[] = [...ampere, "fp8Convert"];
const hopper: readonly CudaFeature[] = [...ada, "cluster", "tma"];

export const cudaArchs = {
  sm_80: { capability: 80, sharedPerBlock: 163 * KiB, features: ampere },
  sm_86: { capability: 86, sharedPerBlock: 99 * KiB, features: ampere },
  sm_89: { capability: 89, sharedPerBlock: 99 * KiB, features: ada },
  sm_90: { capability: 90, sharedPerBlock: 227 * KiB, features: hopper },
  sm_90a: { capability: 90, sharedPerBlock: 227 * KiB, features: [...hopper, "wgmma"] },
  sm_100: { capability: 100, sharedPerBlock: 227 * KiB, features: hopper },
  sm_120: { capability: 120, sharedPerBlock: 99 * KiB, features: hopper },
} as const satisfies Record<string, CudaArch>;

export const cudaLimits = {
  warp: 32,
  maxThreads: 1024,
  maxRegistersPerThread: 255,
  registersPerMultiprocessor: 65536,
  /** Bytes: of the widest accesses and of tensor maps. */
  viewAlignment: 16,
  /** Blocks along x, where all blocks of a launch lie. */
  maxBlocks: 2 ** 31 - 1,
} as const;

/** The architecture of a target such as "cuda:sm_90a". An unknown one is a RangeError that lists those known. */
export function cudaArch(target: CudaTarget): CudaArch {
  const known: Readonly<Record<string, CudaArch>> = cudaArchs;
  const arch = known[target.slice("cuda:".length)];
  if (!arch)
    throw new RangeError(
      `no CUDA architecture "${target}"; known: ${Object.keys(known)
        .map((a) => `cuda:${a}`)
        .join(", ")}`,
    );
  return arch;
}
