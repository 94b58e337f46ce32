/**
 * What the device can do, measured in the same run by kernels that do nothing else: read and copy of 2 GiB, and chains of wgmma on random
 * operands that stay in shared memory. No library is needed; products of real sizes by cuBLAS reach some 10 % less than the chains.
 */
import type { Ceilings } from "../compiler/cost.ts";
import type { Manifest } from "../compiler/ir/manifest.ts";
import type { CudaDevice } from "../targets/cuda/runtime/driver.ts";
import { type Mode, timeRounds } from "../targets/cuda/runtime/measure.ts";
import type { DeviceBuffer, Launch } from "../targets/device.ts";
import { quantile } from "./statistics.ts";

export interface MeasuredCeilings {
  /** Bytes a second. */
  readonly read: number;
  /** Bytes a second, those read and those written. */
  readonly copy: number;
  /** FLOP a second by dtype and by how it was timed; none on devices without wgmma. */
  readonly tensor: Readonly<Partial<Record<"e4m3" | "bf16", Readonly<Partial<Record<Mode, number>>>>>>;
}

/** The ceilings that bound a launch timed in `mode`: a warm card's tensor cores are slower. */
export const ceilingsFor = ({ read, copy, tensor }: MeasuredCeilings, mode: Mode): Ceilings => ({
  memory: Math.max(read, copy),
  tensor: Object.fromEntries(Object.entries(tensor).flatMap(([dtype, by]) => (by[mode] === undefined ? [] : [[dtype, by[mode]]]))),
});

/** Measures all of it, tensor cores in each of the modes. */
export async function measureCeilings(device: CudaDevice, modes: readonly Mode[]): Promise<MeasuredCeilings> {
  const words = 2 ** Math.min(27, Math.floor(Math.log2(device.info.totalBytes / 64))); // of 16 bytes: 2 GiB, or a quarter of a small memory
  const buffers = [device.alloc(16 * words), device.alloc(16 * words)] as const;
  try {
    const memory = await memoryKernels(device, words, buffers);
    device.launch(memory.scramble); // data moves differently when it is all zeros
    const bytes = 16 * words;
    const read = bytes / (await seconds(device, memory.read, "queued"));
    const copy = (2 * bytes) / (await seconds(device, memory.copy, "queued"));
    const tensor: Partial<Record<"e4m3" | "bf16", Partial<Record<Mode, number>>>> = {};
    if (device.info.computeCapability.join(".") === "9.0") {
      for (const dtype of ["e4m3", "bf16"] as const) {
        const { launch, flops } = await tensorChain(device, dtype, buffers[0]);
        tensor[dtype] = {};
        for (const mode of modes) tensor[dtype][mode] = flops / (await seconds(device, launch, mode));
      }
    }
    return { read, copy, tensor };
  } finally {
    for (const buffer of buffers) device.free(buffer);
  }
}

async function seconds(device: CudaDevice, launch: Launch, mode: Mode): Promise<number> {
  const { microseconds } = await timeRounds(device, [[launch]], mode);
  return quantile(microseconds, 0.5) / 1e6;
}

const source = "bench/ceilings.ts";
const manifestOf = (entry: string, over: Pick<Manifest, "target" | "params" | "dims" | "blocks" | "threads" | "sharedBytes">): Manifest => ({
  ...{ format: 1, kernel: entry, entry, file: "kernel.cu", source, spec: null, tune: {}, tensorMaps: [], features: [], limits: {}, sha256: "" },
  ...over,
});
const param = (name: string, bytes: number): Manifest["params"][number] => ({ name, access: "inout", axes: [], fields: [], bytes });

// ---- Memory ----------------------------------------------------------------------------------------------------------------------------

const memoryText = `
struct alignas(16) Word { unsigned x, y, z, w; };
extern "C" __global__ void __launch_bounds__(512) scramble(Word *from, Word *to, int words) {
  for (int i = blockIdx.x * 512 + threadIdx.x; i < words; i += gridDim.x * 512) {
    unsigned h = i * 2654435761u;
    h ^= h >> 15, h *= 2246822519u, h ^= h >> 13;
    from[i] = {h, h * 3u, h * 5u, h * 7u};
  }
}
extern "C" __global__ void __launch_bounds__(512) read(Word *from, Word *to, int words) {
  const int step = gridDim.x * 512;
  unsigned sum = 0;
  for (int i = blockIdx.x * 512 + threadIdx.x; i < words; i += 4 * step) {
    Word v[4];
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = i + j * step < words ? from[i + j * step] : Word{};
#pragma unroll
    for (int j = 0; j < 4; j++) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
  }
  if (sum == 0x12345678u) to->x = sum;
}
extern "C" __global__ void __launch_bounds__(512) copy(Word *from, Word *to, int words) {
  const int step = gridDim.x * 512;
  for (int i = blockIdx.x * 512 + threadIdx.x; i < words; i += 4 * step) {
    Word v[4];
#pragma unroll
    for (int j = 0; j < 4; j++) v[j] = i + j * step < words ? from[i + j * step] : Word{};
#pragma unroll
    for (int j = 0; j < 4; j++) if (i + j * step < words) to[i + j * step] = v[j];
  }
}
`;

type MemoryKernel = "scramble" | "read" | "copy";

async function memoryKernels(
  device: CudaDevice,
  words: number,
  [from, to]: readonly [DeviceBuffer, DeviceBuffer],
): Promise<Readonly<Record<MemoryKernel, Launch>>> {
  const launchOf = async (entry: MemoryKernel): Promise<Launch> => {
    const params = [param("from", 16 * words), param("to", 16 * words)];
    const shape = { params, dims: [{ name: "words" }], blocks: 4 * device.info.multiprocessors, threads: 512, sharedBytes: 0 };
    const executable = await device.load(manifestOf(entry, { target: "cuda:sm_80", ...shape }), memoryText);
    return { executable, buffers: { from, to }, dims: { words } };
  };
  return { scramble: await launchOf("scramble"), read: await launchOf("read"), copy: await launchOf("copy") };
}

// ---- Tensor cores ----------------------------------------------------------------------------------------------------------------------

const rounds = 1024;
const warpgroups = 2;
/** Rows of A and of B, 128 bytes each: one wgmma is m64n256 and 32 bytes deep. */
const [m, n, depthBytes] = [64, 256, 32];
/** wgmma instructions of a warpgroup between two waits. */
const perRound = 8;
const operandBytes = 128 * (warpgroups * m + n);

/** One block a multiprocessor, two warpgroups, each with an A of its own. */
async function tensorChain(device: CudaDevice, dtype: "e4m3" | "bf16", out: DeviceBuffer): Promise<{ launch: Launch; flops: number }> {
  const shape = {
    params: [param("out", 4 * warpgroups * 128)],
    dims: [{ name: "rounds" }],
    blocks: device.info.multiprocessors,
    threads: warpgroups * 128,
    sharedBytes: operandBytes + 1024, // the operands start at a multiple of 1024
  };
  const executable = await device.load(manifestOf("chain", { target: "cuda:sm_90a", ...shape }), chainText(dtype));
  const depth = dtype === "e4m3" ? depthBytes : depthBytes / 2;
  const flops = 2 * m * n * depth * perRound * rounds * warpgroups * device.info.multiprocessors;
  return { launch: { executable, buffers: { out }, dims: { rounds } }, flops };
}

/** Text of the chain; the compiler must neither spill its accumulators nor serialise it. */
export function chainText(dtype: "e4m3" | "bf16"): string {
  const registers = Array.from({ length: n / 2 }, (_, i) => i);
  const type = dtype === "e4m3" ? "m64n256k32.f32.e4m3.e4m3" : "m64n256k16.f32.bf16.bf16";
  const scales = dtype === "e4m3" ? "p, 1, 1" : "p, 1, 1, 0, 0";
  const fill =
    dtype === "e4m3"
      ? `const float b = normal(h + 1);
    unsigned short low, high;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(128 * a), "f"(128 * b));
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(128 * normal(h + 2)), "f"(128 * normal(h + 3)));
    word = high << 16 | low;`
      : `asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(a), "f"(normal(h + 1)));`;
  return `
// Nearly normal: the sum of four uniform numbers.
__device__ float normal(unsigned seed) {
  float sum = -2;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    seed = seed * 747796405u + 2891336453u;
    const unsigned h = ((seed >> ((seed >> 28) + 4)) ^ seed) * 277803737u;
    sum += (h >> 8) * 0x1p-24f;
  }
  return 1.73f * sum;
}
// Rows of 128 bytes with the 128-byte swizzle, eight rows 1024 bytes apart.
__device__ unsigned long long descriptor(unsigned address) {
  return (unsigned long long)(address >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
__device__ __forceinline__ void multiply(float (&d)[${n / 2}], unsigned long long a, unsigned long long b) {
  asm volatile(
      "{.reg .pred p; setp.eq.u32 p, 0, 0; wgmma.mma_async.sync.aligned.${type} {${registers.map((i) => `%${i}`).join(", ")}}, %${n / 2}, %${n / 2 + 1}, ${scales};}"
      : ${registers.map((i) => `"+f"(d[${i}])`).join(", ")}
      : "l"(a), "l"(b));
}
extern "C" __global__ void __launch_bounds__(${128 * warpgroups}, 1) chain(float *out, int rounds) {
  extern __shared__ unsigned char memory[];
  const unsigned base = __cvta_generic_to_shared(memory), aligned = (base + 1023) / 1024 * 1024;
  unsigned *operands = reinterpret_cast<unsigned *>(memory + (aligned - base));
  for (int i = threadIdx.x; i < ${operandBytes / 4}; i += ${128 * warpgroups}) {
    const unsigned h = (blockIdx.x * ${operandBytes / 4} + i) * 4;
    const float a = normal(h);
    unsigned word;
    ${fill}
    operands[i] = word;
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  const unsigned warpgroup = threadIdx.x / 128;
  const unsigned long long a = descriptor(aligned + warpgroup * ${128 * m}), b = descriptor(aligned + ${128 * m * warpgroups});
  float d[${n / 2}] = {};
  for (int round = 0; round < rounds; round++) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
    for (int k = 0; k < ${perRound}; k++) multiply(d, a + k % 4 * ${depthBytes / 16}, b + k % 4 * ${depthBytes / 16});
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < ${n / 2}; i++) sum += d[i];
  out[threadIdx.x] = sum;
}
`;
}
