/** A device in this process: it runs kernels eagerly, those of dsl/kernels or `own` ones, and whoever holds it can plant faults. */
import { kernels, type KernelName } from "../../dsl/kernels/index.ts";
import type { Kernel } from "../../dsl/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { checkView, type Device, type DeviceBuffer, type Launch } from "../../targets/device.ts";
import type { Timed, Timer } from "../../bench/timer.ts";

export interface EagerDevice {
  readonly device: Device;
  readonly timer: Timer;
  /** Bytes of a buffer, to look at and to change. */
  bytesOf(buffer: DeviceBuffer): Uint8Array;
  /** Runs after every launch of a kernel. */
  afterLaunch: (launch: Launch, count: number) => void;
  /** Sets of buffers that were timed. */
  timedRounds: readonly (readonly Launch[])[];
  held(): number;
  loaded(): number;
}

const state = { smMHz: 1500, memoryMHz: 3200, watts: 612, limitWatts: null };

interface Options {
  readonly cacheBytes?: number;
  readonly memoryBytes?: number;
  readonly median?: number;
  /** By name. */
  readonly own?: Readonly<Record<string, Kernel>>;
}

export function eagerDevice(spec: Dsa, { cacheBytes = 0, memoryBytes = Infinity, median = 100, own = {} }: Options = {}): EagerDevice {
  const memory = new Map<DeviceBuffer, Uint8Array>();
  const views = new WeakMap<DeviceBuffer, Uint8Array>();
  let [launches, loaded] = [0, 0];
  const bytesOf = (buffer: DeviceBuffer): Uint8Array => {
    const bytes = memory.get(buffer) ?? views.get(buffer);
    if (!bytes) throw new Error("a buffer that is not there");
    return bytes;
  };
  const device: Device = {
    kind: "cuda",
    name: "eager",
    isGpu: true,
    alloc(bytes) {
      const buffer = { bytes };
      memory.set(buffer, new Uint8Array(bytes));
      return buffer;
    },
    write: (buffer, data) => bytesOf(buffer).set(data),
    read: async (buffer) => bytesOf(buffer).slice(),
    readPart: async (buffer, from, bytes) => bytesOf(buffer).slice(from, from + bytes),
    free: (buffer) => void memory.delete(buffer),
    viewAlignment: 16,
    view(buffer, from, bytes) {
      checkView(buffer, from, bytes, 16);
      const view = { bytes };
      views.set(view, bytesOf(buffer).subarray(from, from + bytes));
      return view;
    },
    load: async (manifest) => (loaded++, { manifest }),
    launch(launch) {
      const { manifest } = launch.executable;
      const kernel = own[manifest.kernel] ?? (kernels[manifest.kernel as KernelName](spec) as Kernel);
      const buffers = Object.fromEntries(manifest.params.map(({ name }) => [name, bytesOf(launch.buffers[name]!)]));
      const dims = Object.fromEntries(manifest.dims.flatMap(({ name }) => (launch.dims[name] === undefined ? [] : [[name, launch.dims[name]]])));
      kernel.run(buffers, dims, manifest.tune);
      result.afterLaunch(launch, launches++);
    },
    sync: async () => {},
    time: () => Promise.reject(new Error("not here")),
    close: () => {},
  };
  const timer: Timer = {
    device,
    cacheBytes,
    memoryBytes,
    unload: () => void loaded--,
    fill: (buffer, byte) => void bytesOf(buffer).fill(byte),
    equal: async (a, b) => Buffer.compare(bytesOf(a), bytesOf(b)) === 0,
    async time(rounds, mode): Promise<Timed> {
      result.timedRounds = rounds;
      return { how: mode, time: { median, p10: 0.9 * median, p90: 1.2 * median }, samples: 15, rounds: 20, state };
    },
  };
  const result: EagerDevice = { device, timer, bytesOf, afterLaunch: () => {}, timedRounds: [], held: () => memory.size, loaded: () => loaded };
  return result;
}
