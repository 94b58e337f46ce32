/**
 * Launches of a program: its kernels on one chunk after another. Everything is worked out from manifests before the first launch, so that
 * the device never waits for the host between two of them.
 */
import { evaluate, type HostExpr, type Manifest, type Param, textFor } from "../compiler/ir/manifest.ts";
import type { Program } from "../dsl/programs/program.ts";
import { type Device, type DeviceBuffer, DeviceError, type Executable, type Launch } from "./device.ts";
import { translate, type Translation } from "./program_words.ts";

type Dims = Readonly<Record<string, number>>;

/** Texts of each kernel of a program, in its order: those of the tiers, and last the one for all other launches. */
export type ProgramTexts<T extends { readonly manifest: Manifest } = { readonly manifest: Manifest }> = readonly (readonly T[])[];

/** Bytes of scratch that a caller without a wish gets. */
export const DEFAULT_SCRATCH_BYTES = 64_000_000;

/** Rows are positions of the program's axis. */
export interface ChunkPlan {
  /** The dim that counts them, and how many there are in all. */
  readonly dim: string;
  readonly total: number;
  /** Chunks begin at multiples of it: whole blocks of every kernel, and views that are aligned. */
  readonly tile: number;
  /** Rows of every chunk but the last. */
  readonly rows: number;
  readonly chunks: number;
  /** Scratch bytes of one row. */
  readonly rowBytes: number;
  /** Bytes of each scratch argument. */
  readonly scratch: Readonly<Record<string, number>>;
  /** All dims of the kernels; `dim` is that of a chunk in a launch. */
  readonly dims: Dims;
}

/** Rows of scratch start at multiples of so many elements, where the caller gives no pitch. */
export const PITCH_GRANULE = 16;

/**
 * The largest chunks whose scratch fits into `limit` bytes:
 * rows = floor(limit / rowBytes), rounded down to the tile unless that is all rows; without scratch one chunk has all. A limit that holds no tile is a DeviceError.
 */
export function planChunks(program: Program, texts: ProgramTexts, given: Dims, limit: number, alignment: number): ChunkPlan {
  const params = paramsOf(program, texts);
  const dim = dimOf(program, params);
  const scratch = program.scratch.map((name) => named(program, params, name));
  const dims = withPitches(program, texts, scratch, given);
  const total = evaluate(dim, dims);
  const tile = tileOf(program, texts, dims, alignment);
  const rowBytes = scratch.reduce((sum, param) => sum + rowStride(param, dims), 0);
  const fitting = rowBytes === 0 ? Infinity : Math.floor(limit / rowBytes);
  const rows = fitting >= total ? total : Math.floor(fitting / tile) * tile;
  if (rows < 1 && total > 0) {
    const least = Math.min(tile, total);
    throw new DeviceError(
      `${program.name}: ${limit} bytes of scratch hold ${fitting} rows of ${rowBytes} bytes, and a chunk has ${least} at least`,
      `allow ${least * rowBytes} bytes of scratch or more`,
    );
  }
  const chunks = total === 0 ? 0 : Math.ceil(total / rows);
  const bytes = Object.fromEntries(scratch.map((param) => [param.name, evaluate(param.bytes, { ...dims, [dim]: Math.max(rows, 1) })]));
  return { dim, total, tile, rows, chunks, rowBytes, scratch: bytes, dims };
}

/** The launches of one chunk. */
export interface Chunk {
  readonly start: number;
  readonly rows: number;
  readonly launches: readonly Launch[];
}

/**
 * All launches, to be made in this order on one device. `buffers` has one for each argument of the kernels, scratch ones of `plan.scratch`
 * bytes among them; they must live until the launches have run.
 */
export function chunksOf(device: Device, program: Program, executables: ProgramTexts<Executable>, buffers: Readonly<Record<string, DeviceBuffer>>, plan: ChunkPlan): Chunk[] {
  const params = paramsOf(program, executables);
  const kernels = executables.map((texts) => ({ texts, ...translationOf(program, texts) }));
  return Array.from({ length: plan.chunks }, (_, i): Chunk => {
    const start = i * plan.rows;
    const rows = Math.min(plan.rows, plan.total - start);
    const dims = { ...plan.dims, [plan.dim]: rows };
    const parts = Object.fromEntries(
      [...params.values()].map((param): [string, DeviceBuffer] => {
        const buffer = buffers[param.name];
        if (buffer === undefined) throw new DeviceError(`${program.name}: no buffer for "${param.name}"`, `pass buffers for ${[...params.keys()].join(", ")}`);
        const from = isCut(program, param) ? start * rowStride(param, dims) : 0;
        return [param.name, isCut(program, param) ? device.view(buffer, from, evaluate(param.bytes, dims)) : buffer];
      }),
    );
    const launches = kernels.map(({ texts, dimsOf, buffersOf }): Launch => {
      const own = dimsOf(dims);
      return { executable: textFor(texts, own), buffers: buffersOf(parts), dims: own };
    });
    return { start, rows, launches };
  });
}

/** Arguments that a caller fills, those that it reads, and scratch. */
export function argumentsOf(program: Program, texts: ProgramTexts): Readonly<Record<"inputs" | "results" | "scratch", readonly Param[]>> {
  const params = [...paramsOf(program, texts).values()];
  const own = params.filter((param) => !program.scratch.includes(param.name));
  return { inputs: own.filter((p) => p.access === "in"), results: own.filter((p) => p.access !== "in"), scratch: params.filter((p) => !own.includes(p)) };
}

/** What the program's words are in one of its kernels, of which `texts` has those of all tiers. */
export const translationOf = ({ words = {} }: Program, texts: ProgramTexts[number]): Translation => {
  const { manifest } = texts.at(-1)!;
  return translate(manifest, words[manifest.kernel]);
};

/** Chunks begin at multiples of it. Dims on which no stride of a cut argument depends may be left out. */
export function tileOf(program: Program, texts: ProgramTexts, given: Dims, alignment: number): number {
  const names = texts.flatMap((tiers) => translationOf(program, tiers).dims.map((dim) => dim.name));
  const dims = { ...Object.fromEntries(names.map((name) => [name, 1])), ...given };
  const blocks = program.tile === undefined ? [] : texts.flat().map(({ manifest }) => manifest.tune[program.tile!] ?? 1);
  const views = [...paramsOf(program, texts).values()].filter((param) => isCut(program, param)).map((param) => {
    const stride = rowStride(param, dims);
    return alignment / greatestDivisor(alignment, stride);
  });
  return [...blocks, ...views].reduce((a, b) => (a * b) / greatestDivisor(a, b), 1);
}

/** Bytes from one row to the next. */
export const rowStride = (param: Param, dims: Dims): number => evaluate(param.axes[0]!.stride, dims);

/** By name; where kernels share one, the writer's. */
function paramsOf(program: Program, texts: ProgramTexts): Map<string, Param> {
  const params = new Map<string, Param>();
  for (const { params: own } of texts.map((tiers) => translationOf(program, tiers)))
    for (const param of own) if (!params.has(param.name) || param.access !== "in") params.set(param.name, param);
  return params;
}

const isCut = ({ axis, scratch }: Program, param: Param): boolean => param.axes[0]?.axis === axis && !scratch.includes(param.name);

function named({ name, axis }: Program, params: ReadonlyMap<string, Param>, wanted: string): Param {
  const param = params.get(wanted);
  if (param?.axes[0]?.axis !== axis) throw new TypeError(`program ${name}: scratch "${wanted}" is no argument with the outermost axis "${axis}"`);
  return param;
}

function dimOf({ name, axis }: Program, params: ReadonlyMap<string, Param>): string {
  const inner = [...params.values()].find((param) => param.axes.slice(1).some((a) => a.axis === axis));
  if (inner) throw new TypeError(`program ${name}: "${inner.name}" has axis "${axis}" inside another, and its parts would lie apart`);
  const sizes = new Set([...params.values()].flatMap((param) => (param.axes[0]?.axis === axis ? [param.axes[0].size] : [])));
  const [dim, ...more] = sizes;
  if (typeof dim !== "string" || more.length > 0) throw new TypeError(`program ${name}: axis "${axis}" has the sizes ${[...sizes].join(", ") || "of no argument"}, and must have one dim`);
  return dim;
}

/** Pitches of scratch rows are rounded up, so that every row is aligned; all others have the kernels' own defaults. */
function withPitches(program: Program, texts: ProgramTexts, scratch: readonly Param[], given: Dims): Dims {
  const own = new Set(scratch.flatMap((param) => param.axes.flatMap(({ stride }) => dimsIn(stride))));
  const dims: Record<string, number> = { ...given };
  for (const { name, default: packed } of texts.flatMap((tiers) => translationOf(program, tiers).dims)) {
    if (dims[name] !== undefined || packed === undefined) continue;
    const value = evaluate(packed, dims);
    dims[name] = own.has(name) ? Math.ceil(value / PITCH_GRANULE) * PITCH_GRANULE : value;
  }
  return dims;
}

const dimsIn = (e: HostExpr): string[] => (typeof e === "string" ? [e] : typeof e === "number" ? [] : e.args.flatMap(dimsIn));

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));
