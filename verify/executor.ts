/** The executions that are held to the reference. Each takes exactly the same bytes, and says what its arithmetic promises. */
import { runLoop } from "../compiler/interp/loop.ts";
import { interpretTile } from "../compiler/interp/tile.ts";
import type { LoopKernel } from "../compiler/ir/loop.ts";
import type { Manifest } from "../compiler/ir/manifest.ts";
import type { TileKernel } from "../compiler/ir/tile.ts";
import type { Target } from "../compiler/target.ts";
import type { Kernel } from "../dsl/index.ts";
import {
  cudaAccuracy,
  f32Accumulator,
  hopperFp8Accumulator,
  roundedAccuracy,
  tensorCoreAccumulator,
  wgslAccuracy,
  type Aligned,
  type AnyOrder,
  type ScalarAccuracy,
} from "../reference/index.ts";
import { type Device, type DeviceBuffer, DeviceError, type Executable } from "../targets/device.ts";

/** Bytes by parameter name, little endian, exactly as on the device. */
export type Buffers = Readonly<Record<string, Uint8Array>>;
export type Dims = Readonly<Record<string, number>>;

/** How an execution adds up products, and how exact its scalar functions are: what error budgets start from. */
export interface Arithmetic {
  readonly accumulator: AnyOrder;
  /** Of products of e4m3 with e4m3, where the text multiplies them without widening them first. */
  readonly e4m3?: Aligned;
  /** Sums of max(x, 0) are two halves: see `LogitsTarget.split`. */
  readonly split?: boolean;
  readonly scalars: ScalarAccuracy;
}

/** One way to run one kernel. */
export interface Executor {
  /** What runs: "eager", "tile", "loop wgsl", "wgsl", "cuda:sm_80", … */
  readonly target: string;
  /** Where it runs: "CPU", or what the driver calls the device. */
  readonly device: string;
  /** Values of the kernel's tune numbers. */
  readonly tune: Readonly<Record<string, number>>;
  readonly arithmetic: Arithmetic;
  /** Multiply-adds that one case may have so that it takes a fraction of a second here. */
  readonly budget: number;
  /**
   * Runs all blocks. `buffers` holds inputs, and outputs with the bytes that they have before; the caller's bytes stay as they are.
   * Resolves to the outputs. Rejects with a DeviceError when a device refuses, or when bytes outside an output were written.
   */
  run(buffers: Buffers, dims: Dims): Promise<Buffers>;
  /** Whether `launches` launches on the same bytes leave the same bits. Devices only. */
  repeatsBitwise?(buffers: Buffers, dims: Dims, launches: number): Promise<boolean>;
}

const rounded: Arithmetic = { accumulator: f32Accumulator, scalars: roundedAccuracy };

/** What the arithmetic of a target promises; simulations of a target keep the target's promise. `ran`: the text that is run. */
export function arithmeticOf(target: string, ran: Pick<Manifest, "products" | "algebra"> = {}): Arithmetic {
  const split = ran.algebra?.includes("splitRelu") ?? false;
  const narrow = ran.products?.some((name) => name.startsWith("wgmma.") && name.includes(".e4m3")) ?? false;
  if (target === "wgsl") return { accumulator: f32Accumulator, scalars: wgslAccuracy, split };
  if (target.startsWith("cuda:"))
    return { accumulator: tensorCoreAccumulator, scalars: cudaAccuracy, split, ...(narrow && { e4m3: hopperFp8Accumulator }) };
  throw new RangeError(`nothing is known of the arithmetic of target "${target}". Add it to arithmeticOf in verify/executor.ts.`);
}

/** Copies the outputs, so that a run in place leaves the caller's bytes alone. */
function inPlace(buffers: Buffers, outputs: readonly string[], run: (copies: Record<string, Uint8Array>) => void): Buffers {
  const written = Object.fromEntries(outputs.map((name) => [name, buffers[name]!.slice()]));
  run({ ...buffers, ...written });
  return written;
}

/** The kernel's text itself, run as TypeScript; `changes` replaces tune numbers. */
export function eagerExecutor(kernel: Kernel, changes: Readonly<Record<string, number>> = {}): Executor {
  const outputs = Object.keys(kernel.args).filter((name) => kernel.args[name]!.access === "out");
  return {
    target: "eager",
    device: "CPU",
    tune: { ...kernel.tune, ...changes },
    arithmetic: rounded,
    budget: 4e6,
    run: async (buffers, dims) => inPlace(buffers, outputs, (copies) => kernel.run(copies, dims, changes)),
  };
}

const outputsOf = ({ params }: Pick<Manifest, "params">): readonly string[] => params.filter((p) => p.access !== "in").map((p) => p.name);

/** Tile IR, run by the compiler's interpreter. */
export function tileExecutor(kernel: TileKernel): Executor {
  const outputs = outputsOf(kernel);
  return {
    target: "tile",
    device: "CPU",
    tune: kernel.tune,
    arithmetic: rounded,
    budget: 1e6,
    run: async (buffers, dims) => inPlace(buffers, outputs, (copies) => interpretTile(kernel, copies, dims)),
  };
}

/** Loop IR on the simulated machine, which also tells races, reads of what nobody wrote, and stores out of range. */
export function loopExecutor(
  kernel: LoopKernel,
  target: Pick<Target, "name" | "instructions">,
  tune: Dims,
  arithmetic = arithmeticOf(target.name),
): Executor {
  const outputs = outputsOf(kernel);
  const instructions = [...target.instructions.values()];
  return {
    target: `loop ${target.name}`,
    device: "CPU",
    tune,
    arithmetic,
    budget: 2e4,
    run: async (buffers, dims) => inPlace(buffers, outputs, (copies) => runLoop(kernel, instructions, copies, dims)),
  };
}

/** Bytes behind every buffer that nobody may write; NaN in every float format, should somebody read them. */
const guardBytes = 64;
const poison = 0xff;

/** Generated text on a device. Throws a DeviceError when the device cannot load it. */
export async function deviceExecutor(device: Device, manifest: Manifest, text: string): Promise<Executor> {
  const executable = await device.load(manifest, text);
  const outputs = outputsOf(manifest);
  return {
    target: manifest.target,
    device: device.name,
    tune: manifest.tune,
    arithmetic: arithmeticOf(manifest.target, manifest),
    budget: device.isGpu ? 1e8 : 4e6,
    run: (buffers, dims) => withBuffers(device, executable, buffers, dims, (launch) => launch()),
    repeatsBitwise: (buffers, dims, launches) =>
      withBuffers(device, executable, buffers, dims, async (launch) => {
        const first = await launch();
        for (let i = 1; i < launches; i++) {
          const again = await launch();
          if (outputs.some((name) => Buffer.compare(first[name]!, again[name]!) !== 0)) return false;
        }
        return true;
      }),
  };
}

/** Uploads everything; each `launch` restores the outputs, runs, and reads them back. */
async function withBuffers<T>(
  device: Device,
  executable: Executable,
  buffers: Buffers,
  dims: Dims,
  use: (launch: () => Promise<Buffers>) => Promise<T>,
): Promise<T> {
  const { params, kernel } = executable.manifest;
  const held = new Map<string, DeviceBuffer>();
  const upload = (name: string): void => {
    const bytes = guarded(buffers[name]!);
    const buffer = held.get(name) ?? device.alloc(bytes.byteLength);
    held.set(name, buffer);
    device.write(buffer, bytes);
  };
  const launch = async (): Promise<Buffers> => {
    const outputs = outputsOf({ params });
    outputs.forEach(upload);
    device.launch({ executable, buffers: Object.fromEntries(held), dims });
    const read: Record<string, Uint8Array> = {};
    for (const name of outputs) read[name] = unguarded(kernel, name, await device.read(held.get(name)!), buffers[name]!.byteLength);
    return read;
  };
  try {
    for (const { name } of params) upload(name);
    return await use(launch);
  } finally {
    for (const buffer of held.values()) device.free(buffer);
  }
}

/** Where the guard begins: devices store whole words, so the last word of a buffer belongs to it. */
const guardAt = (bytes: number): number => Math.ceil(bytes / 4) * 4;

export function guarded(bytes: Uint8Array): Uint8Array {
  const all = new Uint8Array(guardAt(bytes.byteLength) + guardBytes).fill(poison);
  all.set(bytes);
  return all;
}

export function unguarded(kernel: string, name: string, all: Uint8Array, bytes: number): Uint8Array {
  if (all.subarray(guardAt(bytes)).some((byte) => byte !== poison)) {
    throw new DeviceError(
      `${kernel}: bytes behind the end of "${name}" were written`,
      "look at the bounds of its stores in the generated text",
    );
  }
  return all.slice(0, bytes);
}
