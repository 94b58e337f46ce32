/**
 * CUDA devices through the driver API.
 *
 * A device's driver calls run on one thread of the addon, in the order of the calls made here; none of them holds up the event
 * loop. As on the GPU itself, what fails in a call without a promise (alloc, write, launch, free) is told by the next promise
 * (read, sync, load, time); calls between the two are skipped.
 */
import type { DType } from "../../../dsl/dtype.ts";
import { evaluate, type Manifest, type TensorMap } from "../../../compiler/ir/manifest.ts";
import { cudaLimits } from "../target.ts";
import { checkView, type Device, type DeviceBuffer, DeviceError, type Executable, type Launch, planLaunch } from "../../device.ts";
import { type Compiler, compileForDevice, findCompiler } from "./compile.ts";
import { describe, isLoss, lossReport, lostHint, outOfMemoryHint } from "./faults.ts";
import { loadNative } from "./native.ts";
import type { GpuState, Handle, Native, NativeArgument, NativeDevice, NativeFault, NativeInfo, NativeLaunch } from "./native.ts";

export { compileWithNvcc, type KernelUsage } from "./compile.ts";
export type { GpuState } from "./native.ts";

export interface CudaInfo {
  readonly name: string;
  readonly computeCapability: readonly [major: number, minor: number];
  readonly multiprocessors: number;
  readonly l2Bytes: number;
  /** Most shared memory that one block can ask for. */
  readonly maxSharedPerBlock: number;
  readonly totalBytes: number;
  /** Newest CUDA version that the driver runs, e.g. "13.0". */
  readonly driver: string;
  /** What compiles kernels, e.g. "NVRTC 13.0"; undefined when there is no compiler. */
  readonly compiler: string | undefined;
}

/** A loaded kernel with what the driver says of its code. localBytes counts spills and local arrays, per thread. */
export interface CudaExecutable extends Executable {
  readonly registers: number;
  readonly localBytes: number;
  readonly staticSharedBytes: number;
}

/** What to time: `launches` one after another, over and over, `perSample` of them between two events. */
export interface Measurement {
  readonly launches: readonly Launch[];
  readonly perSample: number;
  readonly samples: number;
  /** Runs before each sample and is not timed: it should last until the host has enqueued the whole sample. */
  readonly hold?: Launch;
  /** A sample is enqueued while the one before it still runs, so that the queue is never empty. */
  readonly overlap?: boolean;
}

export interface CudaDevice extends Device {
  readonly kind: "cuda";
  readonly info: CudaInfo;
  /** Sets every byte of a buffer, in order with launches. */
  fill(buffer: DeviceBuffer, byte: number): void;
  /** Microseconds of each sample. NaN marks one that began before the host had enqueued it, because its `hold` was too short. */
  measure(measurement: Measurement): Promise<number[]>;
  /** Clocks and power at the moment; null where NVML is not to be had. */
  state(): GpuState | null;
  load(manifest: Manifest, text: string): Promise<CudaExecutable>;
  /** Drops a kernel's code before close() does. */
  unload(executable: Executable): void;
}

/** Opens device `ordinal` (default 0). Throws DeviceError without a driver, without that device, or without a way to build the addon. */
export async function openCuda({ ordinal = 0 }: { ordinal?: number } = {}): Promise<CudaDevice> {
  const native = await loadNative();
  const device = new native.Device();
  startedDevices.add(device);
  try {
    return new Cuda(native, device, await device.open([process.env.TOKENSIEVE_LIBCUDA || "libcuda.so.1"], ordinal));
  } catch (error) {
    device.close();
    throw describe(error);
  }
}

/**
 * process.exit() runs the exit handlers of the CUDA driver while other threads go on: none of ours may then be inside it.
 * Closed devices stay here, for their threads may still be at work.
 */
const startedDevices = new Set<NativeDevice>();
process.once("exit", () => startedDevices.forEach((device) => device.abandon()));

export interface CudaStatus {
  /** True when a kernel can be compiled and run. */
  readonly available: boolean;
  readonly reason?: string;
  readonly hint?: string;
  readonly device?: CudaInfo;
}

/** What `doctor` reports of CUDA on this machine. Never throws, prints nothing. */
export async function cudaStatus(): Promise<CudaStatus> {
  try {
    const device = await openCuda();
    device.close();
    const { info } = device;
    return { available: info.compiler !== undefined, device: info, ...(info.compiler === undefined && parts(noCompiler())) };
  } catch (error) {
    return { available: false, ...(error instanceof DeviceError ? parts(error) : { reason: String(error) }) };
  }
}
const parts = ({ message, hint }: DeviceError): { reason: string; hint: string } => ({ reason: message.split("\n  try: ")[0] ?? "", hint });

class Cuda implements CudaDevice {
  readonly kind = "cuda";
  readonly isGpu = true;
  readonly viewAlignment = cudaLimits.viewAlignment;
  readonly info: CudaInfo;
  readonly #addon: Native;
  readonly #pciBusId: string;
  readonly #native: NativeDevice;
  readonly #compiler: Compiler | undefined;
  readonly #buffers = new WeakMap<DeviceBuffer, Handle>();
  readonly #views = new WeakMap<DeviceBuffer, { readonly of: DeviceBuffer; readonly from: number }>();
  readonly #kernels = new WeakMap<Executable, Handle>();
  #closed = false;
  /** What the first report of a lost device said. */
  #lost: string | undefined;

  // Safety nets: who relies on them holds device memory until a garbage collection that may never come.
  readonly #forgottenBuffers = new FinalizationRegistry<{ handle: Handle; bytes: number }>(({ handle, bytes }) => {
    if (this.#closed) return;
    process.emitWarning(`a CUDA buffer of ${bytes} bytes was garbage-collected; free it with device.free(buffer)`);
    this.#native.free(handle);
  });
  readonly #forgottenKernels = new FinalizationRegistry<Handle>((handle) => {
    if (!this.#closed) this.#native.unload(handle);
  });

  constructor(native: Native, device: NativeDevice, info: NativeInfo) {
    const driverMajor = Math.floor(info.driverVersion / 1000);
    this.#addon = native;
    this.#pciBusId = info.pciBusId;
    this.#native = device;
    this.#compiler = findCompiler(native, driverMajor);
    this.info = {
      name: info.name,
      computeCapability: [info.major, info.minor],
      multiprocessors: info.multiprocessors,
      l2Bytes: info.l2Bytes,
      maxSharedPerBlock: info.maxSharedPerBlock,
      totalBytes: info.totalBytes,
      driver: `${driverMajor}.${(info.driverVersion % 1000) / 10}`,
      compiler: this.#compiler && (this.#compiler.kind === "nvrtc" ? `NVRTC ${this.#compiler.version}` : this.#compiler.path),
    };
  }

  get name(): string {
    return this.info.name;
  }

  alloc(bytes: number): DeviceBuffer {
    this.#assertUsable();
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new DeviceError(`alloc of ${bytes} bytes`, "pass an integer of at least 0");
    if (bytes > this.info.totalBytes)
      throw new DeviceError(`alloc of ${bytes} bytes on a device with ${this.info.totalBytes}`, outOfMemoryHint);
    const handle = this.#native.alloc(bytes);
    const buffer: DeviceBuffer = Object.freeze({ bytes });
    this.#buffers.set(buffer, handle);
    this.#forgottenBuffers.register(buffer, { handle, bytes }, buffer);
    return buffer;
  }

  write(buffer: DeviceBuffer, data: Uint8Array): void {
    this.#assertUsable();
    if (data.byteLength > buffer.bytes)
      throw new DeviceError(`write of ${data.byteLength} bytes to a buffer of ${buffer.bytes}`, "allocate as much as is written");
    usingBuffer("write", () => this.#native.write(this.#handleOf(buffer), data));
  }

  fill(buffer: DeviceBuffer, byte: number): void {
    this.#assertUsable();
    usingBuffer("fill", () => this.#native.fill(this.#handleOf(buffer), byte));
  }

  read(buffer: DeviceBuffer): Promise<Uint8Array> {
    return this.readPart(buffer, 0, buffer.bytes);
  }

  readPart(buffer: DeviceBuffer, from: number, bytes: number): Promise<Uint8Array> {
    return this.#awaited(() => {
      if (!Number.isSafeInteger(from) || !Number.isSafeInteger(bytes) || from < 0 || bytes < 0 || from + bytes > buffer.bytes)
        throw new DeviceError(`read of ${bytes} bytes at ${from} from a buffer of ${buffer.bytes}`, "read within the buffer");
      return usingBuffer("read", () => this.#native.read(this.#handleOf(buffer), from, bytes));
    });
  }

  view(buffer: DeviceBuffer, from: number, bytes: number): DeviceBuffer {
    this.#assertUsable();
    this.#handleOf(buffer);
    checkView(buffer, from, bytes, this.viewAlignment);
    const view: DeviceBuffer = Object.freeze({ bytes });
    this.#views.set(view, { of: buffer, from });
    return view;
  }

  /** Quiet on a lost device, so that clean-up does not hide the first error. */
  free(buffer: DeviceBuffer): void {
    this.#assertOpen();
    const handle = this.#handleOf(buffer);
    try {
      this.#native.free(handle);
    } catch {
      throw new DeviceError(`a buffer of ${buffer.bytes} bytes is freed twice`, "free each buffer once, where it was allocated");
    }
    this.#forgottenBuffers.unregister(buffer);
  }

  async load(manifest: Manifest, text: string): Promise<CudaExecutable> {
    this.#assertUsable();
    const { kernel, entry, sharedBytes, target, threads } = manifest;
    const [major, minor] = this.info.computeCapability;
    if (sharedBytes > this.info.maxSharedPerBlock)
      throw new DeviceError(
        `${kernel} needs ${sharedBytes} bytes of shared memory per block and ${this.name} has ${this.info.maxSharedPerBlock}`,
        "lower the tile sizes or ring depths of its schedule",
      );
    if (this.#compiler === undefined) throw noCompiler();
    const image = await compileForDevice(this.#compiler, { kernel, text, target }, 10 * major + minor);
    const { handle, maxThreads, ...attributes } = await this.#awaited(() => this.#native.load(image, entry, sharedBytes));
    if (threads > maxThreads) {
      this.#native.unload(handle);
      throw new DeviceError(
        `${kernel} has ${threads} threads per block; with ${attributes.registers} registers each the device runs at most ${maxThreads}`,
        `state __launch_bounds__(${threads}) in the text, or lower the threads of its schedule`,
      );
    }
    const executable: CudaExecutable = Object.freeze({ manifest, ...attributes });
    this.#kernels.set(executable, handle);
    this.#forgottenKernels.register(executable, handle, executable);
    return executable;
  }

  unload(executable: Executable): void {
    this.#assertOpen();
    const handle = this.#kernelOf(executable);
    this.#kernels.delete(executable);
    this.#forgottenKernels.unregister(executable);
    this.#native.unload(handle);
  }

  launch(launch: Launch): void {
    this.#assertUsable();
    const native = this.#lower(launch);
    if (native.blocks > 0) usingBuffer(launch.executable.manifest.kernel, () => this.#native.launch(native));
  }

  sync(): Promise<void> {
    return this.#awaited(() => this.#native.sync());
  }

  async time(launch: Launch, repeats: number): Promise<{ median: number; min: number; max: number }> {
    this.#assertUsable();
    if (!Number.isInteger(repeats) || repeats < 1) throw new DeviceError(`time with ${repeats} repeats`, "pass an integer of at least 1");
    const native = this.#lower(launch);
    const { kernel } = launch.executable.manifest;
    if (native.blocks === 0) throw new DeviceError(`${kernel}: nothing to time, its grid is empty`, "check the dims");
    const sorted = await this.#awaited(() => usingBuffer(kernel, () => this.#native.time(native, repeats)));
    sorted.sort((a, b) => a - b);
    const at = (index: number): number => sorted[index]!;
    const half = (repeats - 1) / 2;
    return { median: (at(Math.floor(half)) + at(Math.ceil(half))) / 2, min: at(0), max: at(repeats - 1) };
  }

  measure({ launches, hold, perSample, samples, overlap = false }: Measurement): Promise<number[]> {
    return this.#awaited(() => {
      const counts = [launches.length, perSample, samples];
      if (!counts.every((n) => Number.isInteger(n) && n > 0))
        throw new DeviceError(`measure of ${counts.join(", ")} launches, per sample, samples`, "pass integers of at least 1");
      const lowered = [...launches, ...(hold ? [hold] : [])].map((launch) => {
        const native = this.#lower(launch);
        const { kernel } = launch.executable.manifest;
        if (native.blocks === 0) throw new DeviceError(`${kernel}: nothing to time, its grid is empty`, "check the dims");
        return native;
      });
      const of = { launches: lowered.slice(0, launches.length), perSample, samples, overlap };
      const plan = hold ? { ...of, hold: lowered.at(-1)! } : of;
      return usingBuffer("measure", () => this.#native.measure(plan));
    });
  }

  state(): GpuState | null {
    const library = process.env.TOKENSIEVE_LIBNVML || "libnvidia-ml.so.1";
    return this.#addon.nvmlRead([library], this.#pciBusId);
  }

  /** Work under way ends first, then everything of the device is freed; returns at once. */
  close(): void {
    this.#closed = true;
    this.#native.close();
  }

  /** Arguments in the kernel's order: tensor maps, pointers, dims. */
  #lower(launch: Launch): NativeLaunch {
    const { manifest } = launch.executable;
    const kernel = this.#kernelOf(launch.executable);
    const { blocks, dims } = planLaunch(launch, this.info.multiprocessors);
    const values = Object.fromEntries(manifest.dims.map((dim, i) => [dim.name, dims[i]!]));
    const placeOf = (param: string): Place => {
      const buffer = launch.buffers[param]!;
      const { of, from } = this.#views.get(buffer) ?? { of: buffer, from: 0 };
      return { buffer: this.#handleOf(of), offset: from };
    };
    return {
      kernel,
      blocks,
      threads: manifest.threads,
      sharedBytes: manifest.sharedBytes,
      awaitsPrior: manifest.awaitsPrior ?? false,
      arguments: [
        ...manifest.tensorMaps.map((map) => tensorMapArgument(manifest.kernel, map, placeOf(map.param), values)),
        ...manifest.params.map((param): NativeArgument => ({ kind: "pointer", ...placeOf(param.name) })),
        ...dims.map((value): NativeArgument => ({ kind: "i32", value })),
      ],
    };
  }

  #handleOf(buffer: DeviceBuffer): Handle {
    const handle = this.#buffers.get(buffer);
    if (handle === undefined) throw new DeviceError("this buffer is not of this device", "use buffers that this device's alloc returned");
    return handle;
  }

  #kernelOf(executable: Executable): Handle {
    const handle = this.#kernels.get(executable);
    if (handle === undefined)
      throw new DeviceError(`${executable.manifest.kernel} is not loaded on this device`, "launch what this device's load returned");
    return handle;
  }

  #assertOpen(): void {
    if (this.#closed) throw new DeviceError(`${this.name} is closed`, "call openCuda for a new device");
  }

  #assertUsable(): void {
    this.#assertOpen();
    this.#assertNotLost();
  }

  #assertNotLost(): void {
    if (this.#lost !== undefined) throw new DeviceError(`${this.name} is lost: ${this.#lost}`, lostHint);
  }

  async #awaited<T>(start: () => Promise<T>): Promise<T> {
    this.#assertUsable();
    const started = start();
    try {
      return await started;
    } catch (error) {
      this.#assertNotLost(); // another call may have reported the loss meanwhile
      if (!isLoss(error)) throw describe(error);
      this.#lost = error.message;
      throw lossReport(error);
    }
  }
}

const tensorMapTypes: Readonly<Record<DType, number>> = { e4m3: 0, e5m2: 0, ue8m0: 0, u32: 2, i32: 3, f16: 6, f32: 7, bf16: 9 };
const tensorMapSwizzles: Readonly<Record<TensorMap["swizzle"], number>> = { 0: 0, 32: 1, 64: 2, 128: 3 };

interface Place {
  readonly buffer: Handle;
  /** Bytes from its start. */
  readonly offset: number;
}

/** Buffers start at multiples of 256 bytes and views at multiples of 16, so the map's address is as even as its offset. */
function tensorMapArgument(kernel: string, map: TensorMap, { buffer, offset }: Place, dims: Readonly<Record<string, number>>): NativeArgument {
  const strides = map.strides.map((stride) => evaluate(stride, dims));
  const uneven = (what: string, hint: string): DeviceError =>
    new DeviceError(`${kernel}: tensor map "${map.name}" of "${map.param}" ${what} bytes, and the copies need multiples of 16`, hint);
  if (map.offset % 16 !== 0) throw uneven(`starts at ${map.offset}`, "this is a fault of the compiler: report the manifest");
  const stride = strides.find((s) => s % 16 !== 0);
  if (stride !== undefined) throw uneven(`has a stride of ${stride}`, "pad the rows of that tensor and pass their pitch in dims");
  return {
    kind: "tensorMap",
    buffer,
    offset: offset + map.offset,
    dataType: tensorMapTypes[map.dtype],
    swizzle: tensorMapSwizzles[map.swizzle],
    sizes: map.sizes.map((size) => Math.max(1, evaluate(size, dims))), // nothing of an empty tensor is copied, and the driver refuses its map
    strides,
    box: map.box,
  };
}

/** Turns the addon's report of a stale handle into one that names the operation. */
function usingBuffer<T>(operation: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if ((error as NativeFault).code !== "STALE_HANDLE") throw error;
    throw new DeviceError(`${operation}: a buffer is used after it was freed`, "free it after the last launch, read or write that names it");
  }
}

const noCompiler = (): DeviceError =>
  new DeviceError(
    "no CUDA compiler: neither NVRTC (libnvrtc.so) nor nvcc was found",
    "install NVRTC (in every CUDA toolkit; also in the pip package nvidia-cuda-nvrtc), or set TOKENSIEVE_LIBNVRTC to its path",
  );
