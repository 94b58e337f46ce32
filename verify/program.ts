/** Programs as executors: launched back to back, and once more chunk by chunk, so that what they hand from kernel to kernel can be judged too. */
import { evaluate, type Manifest, type Param } from "../compiler/ir/manifest.ts";
import type { DsaProgram } from "../dsl/programs/index.ts";
import type { Device, DeviceBuffer, Executable } from "../targets/device.ts";
import { argumentsOf, type Chunk, type ChunkPlan, chunksOf, planChunks, rowStride, tileOf } from "../targets/program.ts";
import { poisoned } from "./checks/check.ts";
import { arithmeticOf, type Buffers, type Dims, type Executor, guarded, unguarded } from "./executor.ts";

export interface Text {
  readonly manifest: Manifest;
  readonly text: string;
}

/** A run's outputs are the results, and each scratch argument as if it had existed whole, its rows packed. */
export interface ProgramExecutor extends Executor {
  /** Chunks begin at multiples of it. `dims.tiles` of a run says how many of them a chunk may have. */
  readonly tile: number;
}

/** `texts` has those of each kernel in the order of its tiers; `named` says what runs. Rejects when the device refuses a text. */
export async function programExecutor(
  device: Device,
  program: DsaProgram,
  texts: readonly (readonly Text[])[],
  named: Pick<Executor, "target" | "budget">,
): Promise<ProgramExecutor> {
  const executables: Executable[][] = [];
  for (const tiers of texts) {
    const loaded: Executable[] = [];
    for (const { manifest, text } of tiers) loaded.push(await device.load(manifest, text));
    executables.push(loaded);
  }
  const manifests = texts.flat().map(({ manifest }) => manifest);
  const tile = tileOf(program, executables, {}, device.viewAlignment);
  const { inputs, results, scratch } = argumentsOf(program, executables);

  const planOf = ({ tiles = 1, ...dims }: Dims): ChunkPlan => {
    const { rowBytes } = planChunks(program, executables, dims, Infinity, device.viewAlignment);
    return planChunks(program, executables, dims, tiles * tile * rowBytes, device.viewAlignment);
  };

  /** Uploads everything; `use` gets the chunks of launches, and what reads and resets. */
  const withMemory = async <T>(buffers: Buffers, dims: Dims, use: (memory: Memory) => Promise<T>): Promise<T> => {
    const plan = planOf(dims);
    const held = new Map<string, DeviceBuffer>();
    const bytesOf = new Map<string, Uint8Array>([
      ...[...inputs, ...results].map((param) => [param.name, buffers[param.name]!] as const),
      ...scratch.map((param) => [param.name, poisoned(plan.scratch[param.name]!)] as const),
    ]);
    const upload = (name: string): void => {
      const bytes = guarded(bytesOf.get(name)!);
      const buffer = held.get(name) ?? device.alloc(bytes.byteLength);
      held.set(name, buffer);
      device.write(buffer, bytes);
    };
    try {
      for (const name of bytesOf.keys()) upload(name);
      const chunks = chunksOf(device, program, executables, Object.fromEntries(held), plan);
      return await use({
        plan,
        chunks,
        reset: () => [...results, ...scratch].forEach((param) => upload(param.name)),
        read: async (name) => unguarded(program.name, name, await device.read(held.get(name)!), bytesOf.get(name)!.byteLength),
      });
    } finally {
      for (const buffer of held.values()) device.free(buffer);
    }
  };

  const launch = async ({ chunks, reset, read }: Memory): Promise<Record<string, Uint8Array>> => {
    reset();
    for (const { launches } of chunks) launches.forEach((one) => device.launch(one));
    const outputs: Record<string, Uint8Array> = {};
    for (const { name } of [...results, ...scratch]) outputs[name] = await read(name);
    return Object.fromEntries(results.map(({ name }) => [name, outputs[name]!]));
  };

  const observe = async ({ chunks, plan, reset, read }: Memory): Promise<Record<string, Uint8Array>> => {
    const whole = scratch.map((param) => ({ param, bytes: rowBytesOf(param, plan), stride: rowStride(param, plan.dims), rows: [] as Uint8Array[] }));
    reset();
    for (const { rows, launches } of chunks) {
      launches.forEach((one) => device.launch(one));
      for (const { param, bytes, stride, rows: seen } of whole) {
        const now = await read(param.name);
        for (let row = 0; row < rows; row++) seen.push(now.slice(row * stride, row * stride + bytes));
      }
    }
    return Object.fromEntries(whole.map(({ param, rows }) => [param.name, new Uint8Array(Buffer.concat(rows))]));
  };

  return {
    ...named,
    device: device.name,
    tune: Object.assign({}, ...manifests.map(({ tune }) => tune)) as Dims,
    arithmetic: arithmeticOf(texts[0]![0]!.manifest.target, {
      products: manifests.flatMap(({ products = [] }) => products),
      algebra: manifests.flatMap(({ algebra = [] }) => algebra),
    }),
    tile,
    run: (buffers, dims) => withMemory(buffers, dims, async (memory) => ({ ...(await launch(memory)), ...(await observe(memory)) })),
    repeatsBitwise: (buffers, dims, launches) =>
      withMemory(buffers, dims, async (memory) => {
        const first = await launch(memory);
        for (let i = 1; i < launches; i++) {
          const again = await launch(memory);
          if (results.some(({ name }) => Buffer.compare(first[name]!, again[name]!) !== 0)) return false;
        }
        return true;
      }),
  };
}

interface Memory {
  readonly plan: ChunkPlan;
  readonly chunks: readonly Chunk[];
  /** Poisons results and scratch. */
  reset(): void;
  read(name: string): Promise<Uint8Array>;
}

/** Bytes of a row without the gap behind it. */
const rowBytesOf = (param: Param, { dim, dims }: ChunkPlan): number => evaluate(param.bytes, { ...dims, [dim]: 1 });
