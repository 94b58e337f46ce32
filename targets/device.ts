/**
 * What every runtime offers: buffers, kernels loaded from (manifest, text), launches in order.
 * CUDA (`targets/cuda/runtime`) and WebGPU (`targets/wgsl/runtime.ts`) implement it.
 */
import { evaluate, type Manifest, MULTIPROCESSORS } from "../compiler/ir/manifest.ts";

/** Device memory. Free it with `free`; a buffer of a closed device is gone. */
export interface DeviceBuffer {
  readonly bytes: number;
}

/** A kernel that is ready to launch on one device. */
export interface Executable {
  readonly manifest: Manifest;
}

export interface Launch {
  readonly executable: Executable;
  /** One buffer per manifest param, by name. */
  readonly buffers: Readonly<Record<string, DeviceBuffer>>;
  readonly dims: Readonly<Record<string, number>>;
}

export interface Device {
  readonly kind: "cuda" | "webgpu";
  /** What the driver or Dawn calls it, e.g. "NVIDIA H200" or "swiftshader-device-subzero". */
  readonly name: string;
  /** False for adapters that emulate a GPU on the CPU. */
  readonly isGpu: boolean;
  /** Zero-filled device memory. Sizes are rounded up inside, to 4 bytes at least; `bytes` is what was asked for. */
  alloc(bytes: number): DeviceBuffer;
  /** `data` has exactly `buffer.bytes` bytes. */
  write(buffer: DeviceBuffer, data: Uint8Array): void;
  /** Waits for all launches before it, then copies out. */
  read(buffer: DeviceBuffer): Promise<Uint8Array>;
  /** As `read`, of the `bytes` bytes from byte `from` on. */
  readPart(buffer: DeviceBuffer, from: number, bytes: number): Promise<Uint8Array>;
  free(buffer: DeviceBuffer): void;
  /** Views begin at multiples of so many bytes. */
  readonly viewAlignment: number;
  /** The `bytes` bytes of a buffer from byte `from` on, for launches alone. It needs no free, and dies with its buffer. */
  view(buffer: DeviceBuffer, from: number, bytes: number): DeviceBuffer;
  /** Compiles; a compiler error becomes a DeviceError with the compiler's log and the text's lines. */
  load(manifest: Manifest, text: string): Promise<Executable>;
  /** Enqueues; launches run in the order given. */
  launch(launch: Launch): void;
  /** Resolves when all that was enqueued has run. Never blocks the event loop. */
  sync(): Promise<void>;
  /** Median, least and greatest device time in microseconds of one launch over `repeats` launches. */
  time(launch: Launch, repeats: number): Promise<{ median: number; min: number; max: number }>;
  close(): void;
}

/** A fault of the device, driver or generated text, with what to try. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";
  readonly hint: string;
  constructor(message: string, hint: string) {
    super(`${message}\n  try: ${hint}`);
    this.hint = hint;
  }
}

/** Throws unless a view lies in its buffer and is aligned. */
export function checkView(buffer: DeviceBuffer, from: number, bytes: number, alignment: number): void {
  const told = `view of ${bytes} bytes at ${from} of a buffer of ${buffer.bytes}`;
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(bytes) || from < 0 || bytes < 0 || from + bytes > buffer.bytes) throw new DeviceError(told, "stay within the buffer");
  if (from % alignment !== 0) throw new DeviceError(told, `begin at a multiple of ${alignment} bytes`);
}

export interface LaunchPlan {
  /** Value of every manifest dim, in manifest order. */
  readonly dims: readonly number[];
  readonly blocks: number;
}

/**
 * Resolves dims and checks every buffer against the manifest before anything is launched. `multiprocessors` of the device, where the
 * runtime knows them, for grids that fill it.
 */
export function planLaunch({ executable, buffers, dims }: Launch, multiprocessors?: number): LaunchPlan {
  const { manifest } = executable;
  const values: Record<string, number> = { ...dims };
  for (const dim of manifest.dims) {
    if (values[dim.name] === undefined && dim.default !== undefined) values[dim.name] = evaluate(dim.default, values);
    const value = values[dim.name];
    if (value === undefined || !Number.isInteger(value) || value < 0 || value > 0x7fffffff)
      throw new DeviceError(
        `${manifest.kernel}: dim "${dim.name}" is ${value}`,
        `pass dims with every one of: ${manifest.dims.map((d) => d.name).join(", ")}; each an integer from 0 to 2147483647`,
      );
    if (dim.multipleOf !== undefined && value % dim.multipleOf !== 0)
      throw new DeviceError(`${manifest.kernel}: dim "${dim.name}" is ${value}, not a multiple of ${dim.multipleOf}`, `round it up to ${Math.ceil(value / dim.multipleOf) * dim.multipleOf} and pad the rows`);
  }
  for (const param of manifest.params) {
    const need = evaluate(param.bytes, values);
    const buffer = buffers[param.name];
    if (buffer === undefined)
      throw new DeviceError(`${manifest.kernel}: no buffer for "${param.name}"`, `pass buffers for ${manifest.params.map((p) => p.name).join(", ")}`);
    if (buffer.bytes < need)
      throw new DeviceError(`${manifest.kernel}: buffer "${param.name}" has ${buffer.bytes} bytes and needs ${need}`, "check its dims and pitch");
  }
  const machine = multiprocessors === undefined ? values : { [MULTIPROCESSORS]: multiprocessors, ...values };
  return { dims: manifest.dims.map((d) => values[d.name]!), blocks: evaluate(manifest.blocks, machine) };
}
