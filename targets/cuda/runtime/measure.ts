/**
 * Device time of launches, by three methods that answer different questions.
 *
 * | mode | what lies between two events | what it tells |
 * |---|---|---|
 * | single | one round, launched into an idle queue | the kernel and the launch gap before it, about 8 µs on an H200 |
 * | queued | 20 or 40 rounds, fewer of many launches, enqueued behind a kernel that spins | the kernel among others, at the clocks of a cool card |
 * | sustained | rounds for 0.7 s after 0.2 s of the same, the queue never empty | the kernel at the clocks that the power limit leaves |
 */
import type { Manifest } from "../../../compiler/ir/manifest.ts";
import { DeviceError, type Launch } from "../../device.ts";
import type { CudaDevice, CudaExecutable, GpuState } from "./driver.ts";

export const modes = ["single", "queued", "sustained"] as const;
export type Mode = (typeof modes)[number];

export interface Timing {
  readonly mode: Mode;
  /** Microseconds of one round, one entry for each pair of events. */
  readonly microseconds: readonly number[];
  /** Rounds between two events. */
  readonly rounds: number;
  /** Readings taken meanwhile, at least one; empty without NVML. */
  readonly states: readonly GpuState[];
}

/** Launches of which the driver's queue takes twice as many without holding up the host. */
const deepest = 400;
const warmUp = 0.2e6; // microseconds
const sustained = 0.7e6;
const samples = 15;

/**
 * Times rounds of launches. Each round is one use of a kernel, or of several that belong together; rounds follow each other in turn, so
 * that with buffers of their own they do not find each other's data in the cache.
 */
export async function timeRounds(device: CudaDevice, rounds: readonly (readonly Launch[])[], mode: Mode): Promise<Timing> {
  const launches = rounds.flat();
  const perRound = launches.length / rounds.length;
  const hold = await holdOn(device);
  await device.measure({ launches, perSample: launches.length, samples: 1 }); // first uses load code and touch memory
  const estimate = Math.min(...(await device.measure({ launches, perSample: 5 * perRound, samples: 3 }))) / 5;
  const watch = watchState(device);
  try {
    switch (mode) {
      case "single":
        return { mode, rounds: 1, microseconds: await device.measure({ launches, perSample: perRound, samples: 2 * samples }), states: watch() };
      case "queued": {
        const count = Math.max(1, Math.min(estimate < 100 ? 40 : 20, Math.floor(deepest / perRound)));
        const perSample = count * perRound;
        const measured = await device.measure({ launches, perSample, samples, hold: hold(300 + 15 * perSample) });
        const valid = measured.filter((us) => !Number.isNaN(us));
        if (valid.length < samples / 2)
          throw new DeviceError(
            `the host enqueued ${perSample} launches too slowly: only ${valid.length} of ${samples} samples count`,
            "end what else runs on this machine's CPUs",
          );
        return { mode, rounds: count, microseconds: valid.map((us) => us / count), states: watch() };
      }
      case "sustained": {
        const count = Math.max(1, Math.min(Math.floor(deepest / perRound), Math.ceil(10_000 / estimate)));
        const of = (duration: number): number => Math.max(5, Math.ceil(duration / (count * estimate)));
        const skipped = of(warmUp);
        const measured = await device.measure({
          launches,
          perSample: count * perRound,
          samples: skipped + of(sustained),
          overlap: true,
        });
        return { mode, rounds: count, microseconds: measured.slice(skipped).map((us) => us / count), states: watch() };
      }
    }
  } finally {
    watch();
  }
}

/** Reads clocks and power while something else is awaited; a call of the result ends that and returns the readings. */
function watchState(device: CudaDevice): () => GpuState[] {
  const states: GpuState[] = [];
  const read = (): void => {
    const state = device.state();
    if (state) states.push(state);
  };
  const timer = setInterval(read, 20);
  let ended = false;
  return () => {
    if (!ended && states.length === 0) read(); // what is short ends before the first tick
    ended = true;
    clearInterval(timer);
    return states;
  };
}

const holdText = `extern "C" __global__ void hold(int microseconds) {
  unsigned long long start, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
  do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); while (now - start < 1000ull * microseconds);
}
`;
const holdManifest: Manifest = {
  format: 1,
  kernel: "hold",
  target: "cuda:sm_80",
  entry: "hold",
  file: "kernel.cu",
  source: "targets/cuda/runtime/measure.ts",
  spec: null,
  tune: {},
  params: [],
  dims: [{ name: "microseconds" }],
  tensorMaps: [],
  blocks: 1,
  threads: 1,
  sharedBytes: 0,
  features: [],
  limits: {},
  sha256: "",
};

const holds = new WeakMap<CudaDevice, Promise<CudaExecutable>>();

/** A launch that keeps the device busy for a while. */
async function holdOn(device: CudaDevice): Promise<(microseconds: number) => Launch> {
  const loading = holds.get(device) ?? device.load(holdManifest, holdText);
  holds.set(device, loading);
  const executable = await loading;
  return (microseconds) => ({ executable, buffers: {}, dims: { microseconds } });
}
