/** What differs between CUDA and WebGPU when a case is checked and timed. */
import type { Manifest } from "../compiler/ir/manifest.ts";
import type { CudaDevice, GpuState } from "../targets/cuda/runtime/driver.ts";
import { type Mode, timeRounds } from "../targets/cuda/runtime/measure.ts";
import type { Device, DeviceBuffer, Executable, Launch } from "../targets/device.ts";
import type { WebGpuDevice } from "../targets/wgsl/runtime.ts";
import { medianOrNull, type Spread, spreadOf } from "./statistics.ts";

/** How a figure was taken: a mode of CUDA, or a clock of WebGPU, which knows no modes. */
export type How = Mode | "timestamp" | "wall";

export interface Timed {
  readonly how: How;
  /** Microseconds of one round. */
  readonly time: Spread;
  /** What p10 and p90 are made of: samples, each of `rounds` rounds. WebGPU tells the least and the greatest of its launches instead. */
  readonly samples: number;
  readonly rounds: number;
  readonly state: State;
}

/** Medians of the readings taken meanwhile; null where nothing was readable. */
export type State = Omit<GpuState, "driver">;

export interface Timer {
  readonly device: Device;
  /** Bytes of the last cache; 0 where inputs are not rotated. */
  readonly cacheBytes: number;
  /** Most bytes of buffers that are held at once. */
  readonly memoryBytes: number;
  fill(buffer: DeviceBuffer, byte: number): void;
  /** Drops a kernel's code, where the device holds it until it closes. */
  unload(executable: Executable): void;
  /** Whether two buffers of one size hold the same bytes. */
  equal(a: DeviceBuffer, b: DeviceBuffer): Promise<boolean>;
  time(rounds: readonly (readonly Launch[])[], mode: Mode): Promise<Timed>;
}

const unread: State = { smMHz: null, memoryMHz: null, watts: null, limitWatts: null };

export async function cudaTimer(device: CudaDevice): Promise<Timer> {
  const differ = await device.load(differManifest, differText);
  return {
    device,
    cacheBytes: device.info.l2Bytes,
    memoryBytes: 0.9 * device.info.totalBytes,
    fill: (buffer, byte) => device.fill(buffer, byte),
    unload: (executable) => device.unload(executable),
    async equal(a, b) {
      const count = device.alloc(4);
      device.launch({ executable: differ, buffers: { a, b, count }, dims: { words: Math.ceil(a.bytes / 4) } });
      const found = await device.read(count);
      device.free(count);
      return found.every((byte) => byte === 0);
    },
    async time(rounds, mode) {
      const { microseconds, rounds: perSample, states } = await timeRounds(device, rounds, mode);
      const medianOf = (key: keyof State): number | null => medianOrNull(states.map((state) => state[key]));
      const state = { smMHz: medianOf("smMHz"), memoryMHz: medianOf("memoryMHz"), watts: medianOf("watts"), limitWatts: medianOf("limitWatts") };
      return { how: mode, time: spreadOf(microseconds), samples: microseconds.length, rounds: perSample, state };
    },
  };
}

const timedLaunches = 20;
/** Milliseconds of launches that do not count: a GPU that waited for its inputs runs at a fifth of its clock. */
const warmUp = 500;

/** Times each launch of a round by itself and adds up; inputs are not rotated. */
export const webGpuTimer = (device: WebGpuDevice): Timer => ({
  device,
  cacheBytes: 0,
  memoryBytes: Infinity,
  unload: () => {},
  fill: (buffer, byte) => device.write(buffer, new Uint8Array(buffer.bytes).fill(byte)),
  equal: async (a, b) => Buffer.compare(await device.read(a), await device.read(b)) === 0,
  async time(rounds) {
    const total = { median: 0, p10: 0, p90: 0 };
    let how: How = "wall";
    for (const launch of rounds[0]!) {
      for (const start = performance.now(); performance.now() - start < warmUp; ) await device.time(launch, timedLaunches);
      const { median, min, max, clock } = await device.time(launch, timedLaunches);
      total.median += median;
      total.p10 += min;
      total.p90 += max;
      how = clock;
    }
    return { how, time: total, samples: timedLaunches, rounds: 1, state: unread };
  },
});

const differText = `extern "C" __global__ void differ(const unsigned *a, const unsigned *b, unsigned *count, int words) {
  for (long long i = blockIdx.x * 512ll + threadIdx.x; i < words; i += gridDim.x * 512ll)
    if (a[i] != b[i]) atomicAdd(count, 1u);
}
`;
const differManifest: Manifest = {
  format: 1,
  kernel: "differ",
  target: "cuda:sm_80",
  entry: "differ",
  file: "kernel.cu",
  source: "bench/timer.ts",
  spec: null,
  tune: {},
  params: [
    ...(["a", "b"] as const).map((name) => ({ name, access: "in" as const, axes: [], fields: [], bytes: 0 })),
    { name: "count", access: "inout", axes: [], fields: [], bytes: 4 },
  ],
  dims: [{ name: "words" }],
  tensorMaps: [],
  blocks: { op: "min", args: [1024, { op: "ceilDiv", args: ["words", 512] }] },
  threads: 512,
  sharedBytes: 0,
  features: [],
  limits: {},
  sha256: "",
};
