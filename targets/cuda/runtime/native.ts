/** The typed face of the addon (addon.cc). Only driver.ts and compile.ts use it. */
import { createRequire } from "node:module";
import { buildAddon } from "./build.ts";

/** Slot and generation of a native object; never an address. A stale one is found out. */
export type Handle = number;

export type NativeArgument =
  | { readonly kind: "pointer"; readonly buffer: Handle; /** Bytes from the buffer's start. */ readonly offset: number }
  | { readonly kind: "i32"; readonly value: number }
  | {
      readonly kind: "tensorMap";
      readonly buffer: Handle;
      /** Bytes from the buffer's start. */
      readonly offset: number;
      /** CUtensorMapDataType and CUtensorMapSwizzle. */
      readonly dataType: number;
      readonly swizzle: number;
      /** Elements; dimension 0 is innermost. */
      readonly sizes: readonly number[];
      /** Bytes, of dimensions 1 and up. */
      readonly strides: readonly number[];
      readonly box: readonly number[];
    };

export interface NativeLaunch {
  readonly kernel: Handle;
  /** At least 1. */
  readonly blocks: number;
  readonly threads: number;
  readonly sharedBytes: number;
  /** It may come up while the launch before it runs, for it waits by itself. */
  readonly awaitsPrior: boolean;
  /** In the order of the kernel's parameters. */
  readonly arguments: readonly NativeArgument[];
}

/** Events around samples of a cycle of launches; see Measurement in driver.ts. */
export interface NativeMeasurement {
  readonly launches: readonly NativeLaunch[];
  readonly hold?: NativeLaunch;
  readonly perSample: number;
  readonly samples: number;
  readonly overlap: boolean;
}

export interface NativeInfo {
  readonly name: string;
  /** As NVML wants it, e.g. "0000:65:00.0". */
  readonly pciBusId: string;
  readonly major: number;
  readonly minor: number;
  readonly multiprocessors: number;
  readonly l2Bytes: number;
  readonly maxSharedPerBlock: number;
  readonly totalBytes: number;
  /** 1000 × major + 10 × minor. */
  readonly driverVersion: number;
}

export interface NativeKernel {
  readonly handle: Handle;
  readonly registers: number;
  readonly localBytes: number;
  readonly staticSharedBytes: number;
  readonly maxThreads: number;
}

/**
 * Every call is queued to the device's thread; none waits. What fails in a call without a promise rejects the next
 * promise, and the calls between are skipped. Stale handles throw at once.
 */
export interface NativeDevice {
  open(libraries: readonly string[], ordinal: number): Promise<NativeInfo>;
  alloc(bytes: number): Handle;
  write(buffer: Handle, data: Uint8Array): void;
  fill(buffer: Handle, byte: number): void;
  read(buffer: Handle, from: number, bytes: number): Promise<Uint8Array>;
  free(buffer: Handle): void;
  load(image: Uint8Array, entry: string, dynamicSharedBytes: number): Promise<NativeKernel>;
  unload(kernel: Handle): void;
  launch(launch: NativeLaunch): void;
  sync(): Promise<void>;
  /** Microseconds of each launch. */
  time(launch: NativeLaunch, repeats: number): Promise<number[]>;
  /** Microseconds of each sample; NaN where `hold` ended too early. */
  measure(measurement: NativeMeasurement): Promise<number[]>;
  /** What was queued ends first; then the device is freed. */
  close(): void;
  /** For the end of the process: drops what is queued, frees the device and waits for that, at most 5 seconds. */
  abandon(): void;
}

/** What a GPU says of itself at the moment; null where it does not tell. */
export interface GpuState {
  /** The driver's own version, e.g. "580.159.04". */
  readonly driver: string | null;
  readonly smMHz: number | null;
  readonly memoryMHz: number | null;
  /** Averaged by the driver over some time, a second on many GPUs. */
  readonly watts: number | null;
  readonly limitWatts: number | null;
}

/** What the addon's promises reject with. */
export interface NativeFault extends Error {
  /** The driver's name of the error, or LIBRARY_NOT_FOUND, STALE_HANDLE, NO_MEMORY, CLOSED. */
  readonly code: string;
  /** Kernels launched since the device last waited. */
  readonly kernels: readonly string[];
}

export interface Native {
  readonly Device: new () => NativeDevice;
  /** Runs NVRTC on a thread of Node's pool; `image` is a cubin, or PTX for a compute_ architecture. Call nvrtcInfo first. */
  compile(text: string, fileName: string, options: readonly string[]): Promise<{ ok: boolean; image: Uint8Array; log: string }>;
  /** Opens NVRTC; throws when none of `libraries` can be opened. */
  nvrtcInfo(libraries: readonly string[]): { version: string; architectures: number[] };
  /** Null when none of `libraries` is an NVML that knows the device. */
  nvmlRead(libraries: readonly string[], pciBusId: string): GpuState | null;
}

let native: Promise<Native> | undefined;

/** The addon, built if need be and loaded once. Opens no CUDA library. */
export function loadNative(): Promise<Native> {
  native ??= buildAddon().then((path) => createRequire(import.meta.url)(path) as Native);
  native.catch(() => (native = undefined)); // a compiler installed meanwhile is found
  return native;
}
