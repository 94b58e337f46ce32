/** Runs generated WGSL on a WebGPU adapter through Dawn. */
import type { Manifest } from "../../compiler/ir/manifest.ts";
import { checkView, type Device, type DeviceBuffer, DeviceError, type Executable, type Launch, planLaunch } from "../device.ts";
import { type AdapterKind, type AdapterReport, openAdapter, type OpenedDevice } from "./adapter.ts";
import { paced } from "./dawn.ts";
import { gridOf, requireKernel, requireLimit } from "./limits.ts";
import { compileModule, showMessages } from "./validate.ts";

/**
 * Opens a WebGPU device. "auto" (the default) takes a GPU if there is one, otherwise the embedded software adapter.
 * Throws a DeviceError with the reason when there is none of the kind asked for.
 */
export async function openWebGpu(options: { readonly adapter?: AdapterKind | "auto" } = {}): Promise<WebGpuDevice> {
  return new WebGpuDevice(await openAdapter(options.adapter ?? "auto"));
}

// bit values of the WebGPU specification; the globals that hold them do not exist in Node
const usage = { mapRead: 0x1, copySrc: 0x4, copyDst: 0x8, uniform: 0x40, storage: 0x80, queryResolve: 0x200 };
const visibleToCompute = 0x4;
const mapForRead = 0x1;
const maxQueries = 4096;

const compareWithManifest = "compare the WGSL text, the buffers and the dims with the manifest of the kernel";

class WebGpuBuffer implements DeviceBuffer {
  readonly owner: WebGpuDevice;
  readonly bytes: number;
  readonly gpu: GPUBuffer;
  freed = false;
  constructor(owner: WebGpuDevice, bytes: number, gpu: GPUBuffer) {
    this.owner = owner;
    this.bytes = bytes;
    this.gpu = gpu;
  }
}

/** Part of a buffer, for bindings. */
class WebGpuView implements DeviceBuffer {
  readonly of: WebGpuBuffer;
  readonly from: number;
  readonly bytes: number;
  constructor(of: WebGpuBuffer, from: number, bytes: number) {
    this.of = of;
    this.from = from;
    this.bytes = bytes;
  }
}

class WebGpuExecutable implements Executable {
  readonly owner: WebGpuDevice;
  readonly manifest: Manifest;
  readonly pipeline: GPUComputePipeline;
  constructor(owner: WebGpuDevice, manifest: Manifest, pipeline: GPUComputePipeline) {
    this.owner = owner;
    this.manifest = manifest;
    this.pipeline = pipeline;
  }
}

/** A launch whose arguments are checked and bound; `encode` may be called for any number of passes. */
interface BoundLaunch {
  readonly encode: (pass: GPUComputePassEncoder) => void;
  /** Call once everything encoded is submitted. */
  readonly release: () => void;
}

export class WebGpuDevice implements Device {
  readonly kind = "webgpu";
  readonly #opened: OpenedDevice;
  readonly #device: GPUDevice;
  /** Why no call can succeed any more. */
  #gone: DeviceError | undefined;
  /** An error that Dawn raised and nobody has been told of yet. */
  #fault: DeviceError | undefined;
  /** What an error is attributed to: Dawn reports errors of a call before the call returns. */
  #doing = "opening the device";

  constructor(opened: OpenedDevice) {
    this.#opened = opened;
    this.#device = opened.device;
    this.#device.addEventListener("uncapturederror", (event) => {
      event.preventDefault(); // or Dawn prints it
      const { error } = event as GPUUncapturedErrorEvent;
      this.#fault ??= new DeviceError(`${this.#doing} failed: ${error.message}`, compareWithManifest);
    });
    void this.#device.lost.then(({ reason, message }) => {
      this.#gone ??= new DeviceError(
        `the device is lost (${reason}: ${message}); the last call was ${this.#doing}`,
        "open a new device; if a kernel did it, run it with smaller dims: drivers reset a GPU that is busy for seconds",
      );
    });
  }

  get name(): string {
    return this.info.device;
  }
  get isGpu(): boolean {
    return this.info.isGpu;
  }
  get info(): AdapterReport {
    return this.#opened.report;
  }
  get limits(): AdapterReport["limits"] {
    return this.info.limits;
  }
  get features(): AdapterReport["features"] {
    return this.info.features;
  }

  alloc(bytes: number): DeviceBuffer {
    this.#begin(`alloc of ${bytes} bytes`);
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new DeviceError(`cannot allocate ${bytes} bytes`, "give an integer from 0 up");
    const size = roundUp(Math.max(bytes, 1), 16); // every byte stays reachable through an array of vec4
    requireLimit(this.info, `a buffer of ${bytes} bytes`, "maxBufferSize", size);
    return new WebGpuBuffer(this, bytes, this.#device.createBuffer({ size, usage: usage.storage | usage.copySrc | usage.copyDst }));
  }

  write(buffer: DeviceBuffer, data: Uint8Array): void {
    this.#begin(`write of ${data.byteLength} bytes`);
    const { gpu, bytes } = this.#own(buffer, "write");
    if (data.byteLength !== bytes)
      throw new DeviceError(`write of ${data.byteLength} bytes to a buffer of ${bytes}`, "pass as many bytes as were allocated");
    const whole = bytes - (bytes % 4); // WebGPU writes whole words; the slack behind the last byte is ours
    this.#device.queue.writeBuffer(gpu, 0, data, 0, whole);
    if (whole < bytes) this.#device.queue.writeBuffer(gpu, whole, Uint8Array.from({ length: 4 }, (_, i) => data[whole + i] ?? 0));
  }

  read(buffer: DeviceBuffer): Promise<Uint8Array> {
    return this.readPart(buffer, 0, buffer.bytes);
  }

  async readPart(buffer: DeviceBuffer, from: number, bytes: number): Promise<Uint8Array> {
    this.#begin("read");
    const { gpu } = this.#own(buffer, "read");
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(bytes) || from < 0 || bytes < 0 || from + bytes > buffer.bytes)
      throw new DeviceError(`read of ${bytes} bytes at ${from} from a buffer of ${buffer.bytes}`, "read within the buffer");
    const first = bytes === 0 ? 0 : from - (from % 4); // WebGPU copies whole words, one at least
    const size = bytes === 0 ? 4 : roundUp(from + bytes, 4) - first;
    const staging = this.#device.createBuffer({ size, usage: usage.mapRead | usage.copyDst });
    try {
      const encoder = this.#device.createCommandEncoder();
      encoder.copyBufferToBuffer(gpu, first, staging, 0, size);
      this.#device.queue.submit([encoder.finish()]);
      await this.#settle(() => staging.mapAsync(mapForRead));
      return new Uint8Array(staging.getMappedRange().slice(from - first, from - first + bytes));
    } finally {
      staging.destroy();
    }
  }

  free(buffer: DeviceBuffer): void {
    this.#begin("free");
    const own = this.#own(buffer, "free");
    own.freed = true;
    own.gpu.destroy();
  }

  get viewAlignment(): number {
    return this.limits["minStorageBufferOffsetAlignment"]!;
  }

  view(buffer: DeviceBuffer, from: number, bytes: number): DeviceBuffer {
    this.#begin("view");
    const of = this.#own(buffer, "view");
    checkView(buffer, from, bytes, this.viewAlignment);
    return new WebGpuView(of, from, bytes);
  }

  async load(manifest: Manifest, text: string): Promise<Executable> {
    const label = manifest.kernel;
    this.#begin(`load of ${label}`);
    requireKernel(this.info, manifest);
    const { module, messages } = await this.#settle(() => compileModule(this.#device, text));
    const errors = messages.filter((m) => m.type === "error");
    if (errors.length > 0)
      throw new DeviceError(
        `${label}: Tint rejects the WGSL of ${manifest.file}\n${showMessages(text, errors)}`,
        "report it with the kernel file, unless the text was edited by hand",
      );
    this.#begin(`load of ${label}`); // another call may have run meanwhile
    const bindGroupLayout = this.#device.createBindGroupLayout({ label, entries: layoutEntries(manifest) });
    const layout = this.#device.createPipelineLayout({ label, bindGroupLayouts: [bindGroupLayout] });
    const compute = { module, entryPoint: manifest.entry };
    const pipeline = await this.#settle(() => this.#device.createComputePipelineAsync({ label, layout, compute }));
    return new WebGpuExecutable(this, manifest, pipeline);
  }

  launch(launch: Launch): void {
    this.#begin(`launch of ${launch.executable.manifest.kernel}`);
    const bound = this.#bind(launch);
    if (!bound) return;
    const encoder = this.#device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    bound.encode(pass);
    pass.end();
    this.#device.queue.submit([encoder.finish()]);
    bound.release();
  }

  async sync(): Promise<void> {
    await this.#settle(() => this.#device.queue.onSubmittedWorkDone());
  }

  /**
   * Microseconds of one launch, after one launch to warm up. `clock` says where they come from: "timestamp" is the device's own clock
   * around each launch; "wall" is the host's clock around submissions of several launches, each share including the cost of submitting.
   * At most 2048 repeats.
   */
  async time(launch: Launch, repeats: number): Promise<{ median: number; min: number; max: number; clock: "timestamp" | "wall" }> {
    const { kernel } = launch.executable.manifest;
    this.#begin(`timing of ${kernel}`);
    if (!Number.isInteger(repeats) || repeats < 1 || repeats > maxQueries / 2)
      throw new DeviceError(`${kernel}: cannot time ${repeats} repeats`, `ask for 1 to ${maxQueries / 2}`);
    this.launch(launch);
    await this.sync();
    const bound = this.#bind(launch);
    if (!bound) throw new DeviceError(`${kernel}: nothing to time, the launch has 0 blocks`, "give dims that are not empty");
    const clock = this.features.includes("timestamp-query") ? "timestamp" : "wall";
    const samples = await (clock === "timestamp" ? this.#timeByQueries(bound, repeats) : this.#timeByWall(bound, repeats));
    bound.release();
    samples.sort((a, b) => a - b);
    const middle = (samples.length - 1) / 2;
    return { median: (samples[Math.floor(middle)]! + samples[Math.ceil(middle)]!) / 2, min: samples[0]!, max: samples.at(-1)!, clock };
  }

  close(): void {
    this.#gone ??= new DeviceError("the device is closed", "open a new one with openWebGpu()");
    this.#device.destroy();
  }

  /** Every public call starts here. */
  #begin(doing: string): void {
    if (this.#gone) throw this.#gone;
    this.#doing = doing;
  }

  /** Waits for Dawn, then throws what went wrong up to now: a lost device, else an error of an earlier call, else one of this call. */
  async #settle<T>(call: () => Promise<T>): Promise<T> {
    if (this.#gone) throw this.#gone;
    const doing = this.#doing;
    const value = await paced(call).catch((error: Error) => {
      this.#fault ??= new DeviceError(`${doing} failed: ${error.message}`, compareWithManifest);
    });
    if (this.#gone) throw this.#gone;
    const fault = this.#fault;
    this.#fault = undefined;
    if (fault) throw fault;
    return value as T;
  }

  #own(buffer: DeviceBuffer, what: string): WebGpuBuffer {
    if (!(buffer instanceof WebGpuBuffer) || buffer.owner !== this)
      throw new DeviceError(`${what}: the buffer belongs to another device`, "allocate it with alloc() of this device");
    if (buffer.freed)
      throw new DeviceError(`${what}: the buffer of ${buffer.bytes} bytes was freed before`, "free a buffer once, after its last use");
    return buffer;
  }

  /** Undefined when there is nothing to run. */
  #bind(launch: Launch): BoundLaunch | undefined {
    const { executable } = launch;
    const { kernel, params } = executable.manifest;
    if (!(executable instanceof WebGpuExecutable) || executable.owner !== this)
      throw new DeviceError(`${kernel} was loaded on another device`, "load it with load() of this device");
    const { dims, blocks } = planLaunch(launch);
    const entries: GPUBindGroupEntry[] = params.map(({ name }, binding) => {
      const given = launch.buffers[name]!;
      const { of, from, bytes } = given instanceof WebGpuView ? given : { of: given, from: 0, bytes: given.bytes };
      const { gpu } = this.#own(of, `${kernel}, buffer "${name}"`);
      const size = Math.min(roundUp(Math.max(bytes, 1), 16), gpu.size - from); // whole vectors, as in alloc
      requireLimit(this.info, `${kernel}, buffer "${name}" of ${size} bytes`, "maxStorageBufferBindingSize", size);
      return { binding, resource: { buffer: gpu, offset: from, size } };
    });
    if (blocks === 0) return undefined;
    const { x, y } = gridOf(this.info, kernel, blocks);
    const uniform = dims.length > 0 ? this.#uniform(dims) : undefined;
    if (uniform) entries.push({ binding: params.length, resource: { buffer: uniform } });
    const bindGroup = this.#device.createBindGroup({ label: kernel, layout: executable.pipeline.getBindGroupLayout(0), entries });
    return {
      encode: (pass) => {
        pass.setPipeline(executable.pipeline);
        pass.setBindGroup(0, bindGroup);
        pass.dispatchWorkgroups(x, y);
      },
      release: () => uniform?.destroy(),
    };
  }

  #uniform(dims: readonly number[]): GPUBuffer {
    const buffer = this.#device.createBuffer({ size: roundUp(dims.length * 4, 16), usage: usage.uniform, mappedAtCreation: true });
    new Int32Array(buffer.getMappedRange()).set(dims);
    buffer.unmap();
    return buffer;
  }

  async #timeByQueries(bound: BoundLaunch, repeats: number): Promise<number[]> {
    const querySet = this.#device.createQuerySet({ type: "timestamp", count: 2 * repeats });
    const resolved = this.#device.createBuffer({ size: 16 * repeats, usage: usage.queryResolve | usage.copySrc });
    const staging = this.#device.createBuffer({ size: 16 * repeats, usage: usage.mapRead | usage.copyDst });
    try {
      const encoder = this.#device.createCommandEncoder();
      for (let i = 0; i < repeats; i++) {
        const timestampWrites = { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 };
        const pass = encoder.beginComputePass({ timestampWrites });
        bound.encode(pass);
        pass.end();
      }
      encoder.resolveQuerySet(querySet, 0, 2 * repeats, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, 16 * repeats);
      this.#device.queue.submit([encoder.finish()]);
      await this.#settle(() => staging.mapAsync(mapForRead));
      const nanoseconds = new BigUint64Array(staging.getMappedRange());
      return Array.from({ length: repeats }, (_, i) => Number(nanoseconds[2 * i + 1]! - nanoseconds[2 * i]!) / 1000);
    } finally {
      for (const resource of [querySet, resolved, staging]) resource.destroy();
    }
  }

  async #timeByWall(bound: BoundLaunch, repeats: number): Promise<number[]> {
    const rounds = Math.min(repeats, 5);
    const perRound = Math.ceil(repeats / rounds);
    const samples: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const encoder = this.#device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (let i = 0; i < perRound; i++) bound.encode(pass);
      pass.end();
      const start = performance.now();
      this.#device.queue.submit([encoder.finish()]);
      await this.sync();
      samples.push(((performance.now() - start) * 1000) / perRound);
    }
    return samples;
  }
}

function layoutEntries({ params, dims }: Manifest): GPUBindGroupLayoutEntry[] {
  const types = params.map(({ access }): GPUBufferBindingType => (access === "in" ? "read-only-storage" : "storage"));
  if (dims.length > 0) types.push("uniform");
  return types.map((type, binding) => ({ binding, visibility: visibleToCompute, buffer: { type } }));
}

const roundUp = (x: number, multiple: number): number => Math.ceil(x / multiple) * multiple;
