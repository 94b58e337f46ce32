/** Chooses how each gemm multiplies and how its result lies over threads and registers. */
import { assemble, distribute, REST, vectorWidth, type PlacedDigit, type Slot } from "../ir/layout.ts";
import type { GemmPlan, Machine } from "../ir/plan.ts";
import { byteSize, type DType } from "../../dsl/dtype.ts";
import { diagnostic } from "../diagnostics.ts";
import type { Axis, TileKernel, TileOp, TileValue } from "../ir/tile.ts";
import { axisNames } from "../ir/walk.ts";

type Gemm = Extract<TileOp, { kind: "Gemm" }>;

/** Free axes of one operand, batch axes (in both, not contracted) and the contracted extent. */
export function gemmAxes(op: Gemm): { batch: Axis[]; rows: Axis[]; columns: Axis[]; depth: number } {
  const has = (v: TileValue, name: string) => v.axes.some((a) => a.name === name);
  const free = op.a.axes.filter((a) => !op.over.includes(a.name));
  return {
    batch: free.filter((a) => has(op.b, a.name)),
    rows: free.filter((a) => !has(op.b, a.name)),
    columns: op.b.axes.filter((a) => !op.over.includes(a.name) && !has(op.a, a.name)),
    depth: op.a.axes.reduce((n, a) => (op.over.includes(a.name) ? n * a.extent : n), 1),
  };
}

/** `inline`: what tiles that have no storage of their own are made of. */
export function selectAtom(op: Gemm, machine: Machine, threads: number, inline: ReadonlyMap<number, TileOp>): GemmPlan {
  const { batch, rows, columns, depth } = gemmAxes(op);
  const atom = matrixAtom(op, machine);
  const readable = [op.a, op.b].every((v) => splits(v, op.over) && inRowsOfEight(v, op.over, inline)) && sameOrder(op);
  if (atom && batch.length === 0 && depth % 16 === 0 && readable) return tensorPlan(atom, rows, columns, threads / machine.warp, threads);
  return fmaPlan([...batch, ...rows], columns, threads);
}

const narrow = new Set(["e4m3", "e5m2"]);

function matrixAtom(op: Gemm, machine: Machine): GemmPlan["atom"] | undefined {
  for (const wide of ["bf16", "f16"] as const) {
    const fits = [op.a, op.b].every((v) => v.dtype === wide || narrow.has(v.dtype));
    if (fits && machine.instructions.has(`mma.m16n8k16.${wide}`)) return `mma.m16n8k16.${wide}`;
  }
  return undefined;
}

/** ldmatrix reads eight rows of 16 bytes: the contracted axes, or the free ones, must lie together innermost. */
function splits(v: TileValue, over: readonly string[]): boolean {
  const contracted = v.axes.map((a) => over.includes(a.name));
  return contracted.filter((c, i) => i > 0 && c !== contracted[i - 1]).length <= 1;
}

/** Each row is eight elements of the innermost axis from a multiple of eight on: a free axis fills whole rows, and no slice shifts them. */
function inRowsOfEight(v: TileValue, over: readonly string[], inline: ReadonlyMap<number, TileOp>): boolean {
  const last = v.axes.at(-1);
  return last !== undefined && (over.includes(last.name) || last.extent % 8 === 0) && shift(v, inline) % 8 === 0;
}

/** How far slices move a tile in what is stored behind it: a divisor of the elements is enough to know. */
function shift(v: TileValue, inline: ReadonlyMap<number, TileOp>): number {
  const op = inline.get(v.id);
  if (op?.kind === "Rename") return shift(op.of, inline);
  if (op?.kind !== "Slice") return 0;
  const at = op.of.axes.findIndex((a) => a.name === op.axis);
  return shift(op.of, inline) + op.start * extentOf(op.of.axes.slice(at + 1));
}

/** Both operands count the contracted positions in one order. */
const sameOrder = ({ a, b, over }: Gemm): boolean => {
  const order = (v: TileValue): string => axisNames(v).filter((name) => over.includes(name)).join();
  return order(a) === order(b);
};

const extentOf = (axes: readonly Axis[]): number => axes.reduce((n, a) => n * a.extent, 1);
const powerOfTwoAtLeast = (n: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, n)));
const powerOfTwoAtMost = (n: number): number => 2 ** Math.floor(Math.log2(Math.max(1, n)));

/** Pads the outermost axis until the product of extents fills one atom. */
function padded(axes: readonly Axis[], least: number): Axis[] {
  const [outer = { name: "", extent: 1 }, ...inner] = axes;
  const rest = extentOf(inner);
  return [{ ...outer, extent: Math.max(outer.extent, Math.ceil(least / rest)) }, ...inner];
}

const MOST_COLUMNS = 256;
/** Bytes of a line of shared memory as wgmma reads it. */
const LONGEST_LINE = 128;
/** Groups that a wait can leave under way, and the one that it waits for. */
const MOST_PARTS = 4;

export interface WarpgroupRequest {
  readonly threads: number;
  /** Accumulators in flight. */
  readonly parts: number;
  /** Column axes that a reduction takes away. */
  readonly folded: ReadonlySet<string>;
  /** Tiles in slots of rings, brought or made there. */
  readonly inSlots: (v: TileValue) => boolean;
  /** Tiles that threads compute and put into shared memory. */
  readonly isComputed: (v: TileValue) => boolean;
  /** The product whose last instructions take the columns of this one along. */
  readonly leader?: { readonly op: Gemm; readonly parts: number };
}

/**
 * A product by wgmma. Warps lie along the rows. Columns of the axes in `folded`, which a reduction takes away, go to a thread's own
 * registers as far as the others can fill the lanes: the reduction then needs no shuffle. A first operand that travels through no ring comes
 * from registers, its contracted axis lying as an accumulator's columns do; a second one may be computed into shared memory. Throws E-MMA-01
 * where wgmma does not fit.
 */
export function warpgroupPlan(value: TileValue, op: Gemm, { threads, parts, folded, inSlots, isComputed, leader }: WarpgroupRequest, kernel: TileKernel, machine: Machine): GemmPlan {
  const { batch, rows, columns, depth } = gemmAxes(op);
  const refuse = (reason: string) => diagnostic("E-MMA-01", { ...value.loc, length: value.label.length }, { product: value.label, kernel: kernel.name, target: machine.name, reason });
  const [m, n] = [extentOf(rows), extentOf(columns)];
  const dtypes = new Set([op.a.dtype, op.b.dtype]);
  const fromRegisters = !inSlots(op.a);
  if (!machine.instructions.has("wgmmaFence")) throw refuse("the target has no such instructions");
  if (!inSlots(op.b) && !isComputed(op.b)) throw refuse(`it reads ${op.b.label}, which travels through no ring`);
  if (batch.length > 0) throw refuse(`axis ${batch[0]!.name} is in both operands and is not contracted`);
  if (op.over.length !== 1) throw refuse("it contracts more than one axis");
  if (dtypes.size !== 1 || !["e4m3", "bf16", "f16"].includes(op.a.dtype)) throw refuse(`it multiplies ${op.a.dtype} by ${op.b.dtype}; wgmma takes e4m3, bf16 or f16 on both sides`);
  const step = 32 / byteSize(op.a.dtype as DType);
  if (depth % step !== 0) throw refuse(`${depth} contracted positions are no multiple of ${step}`);
  if (fromRegisters && op.a.dtype === "e4m3") throw refuse(`${op.a.label} would come from registers, which e4m3 cannot`);
  if (m % 64 !== 0 || (m * 2) % threads !== 0) throw refuse(`${m} rows (${rows.map((a) => a.name).join(", ")}) are no multiple of 64 for each of ${threads / 128} warpgroups`);
  const rowTiles = (m * 2) / threads;
  if (rowTiles % parts !== 0 && parts % rowTiles !== 0) throw refuse(`${parts} parts do not divide the ${rowTiles} tiles of rows that each warpgroup multiplies`);
  const granule = 8 * columnPartsOf(parts, rowTiles);
  if (n % granule !== 0) throw refuse(`${n} columns (${columns.map((a) => a.name).join(", ")}) are no multiple of ${granule}${granule > 8 ? ", eight for each part" : ""}`);
  const registers = (rowTiles * n) / 2 / parts;
  if (parts > MOST_PARTS) throw refuse(`${parts} parts would be under way, at most ${MOST_PARTS} can be told apart`);
  if (registers > MOST_COLUMNS / 2) throw refuse(`a part would take ${registers} registers of each thread, at most ${MOST_COLUMNS / 2} are possible`);
  if (!inSlots(op.b) && op.b.axes.at(-1)?.name !== op.over[0]) throw refuse(`${op.b.label} is computed, and its last axis is not the contracted one`);
  if (leader) {
    const width = instructionColumns(extentOf(gemmAxes(leader.op).columns), leader.parts);
    if (rowTiles > 1) throw refuse(`each warpgroup multiplies ${rowTiles} tiles of rows, and its columns go along with those of one`);
    if (depth * byteSize(op.a.dtype as DType) > LONGEST_LINE) throw refuse(`the ${depth} contracted positions take several lines of ${LONGEST_LINE} bytes, so its columns lie behind no others`);
    if (width + n > MOST_COLUMNS) throw refuse(`with those before them, its columns are ${width + n}, at most ${MOST_COLUMNS} are possible`);
  }
  const rowDigits = distribute(rows, [
    { name: "row", on: "thread", size: 8, order: 1 },
    { name: "half", on: "register", size: 2, order: 1 },
    { name: "warpRow", on: "thread", size: threads / 32, order: 2 },
  ]);
  const columnDigits = foldedFirst(columns, folded);
  const contracted = op.a.axes.filter((a) => op.over.includes(a.name));
  const fragment = assemble([...foldedFirst(contracted, new Set()), ...slower(rowDigits)], threads);
  return { atom: "wgmma", parts, ...(fromRegisters && { fragment }), rows: slower(rowDigits), columns: columnDigits, layout: assemble([...columnDigits, ...slower(rowDigits)], threads) };
}

/** Columns in an accumulator's order: a pair in registers, four lanes, the rest in registers. */
function foldedFirst(axes: readonly Axis[], folded: ReadonlySet<string>): PlacedDigit[] {
  const open = [...axes].reverse().map((a) => ({ name: a.name, left: a.extent, stride: 1 }));
  const digits: PlacedDigit[] = [];
  const kept = (a: { name: string }) => !folded.has(a.name);
  const anyKept = open.some((a) => kept(a) && a.left > 1);
  const take = (slot: string, on: "thread" | "register", size: number, wanted: (a: { name: string }) => boolean) => {
    for (let n = size; n > 1; n /= 2) {
      const even = open.filter((a) => a.left % 2 === 0);
      const axis = even.find(wanted) ?? even[0];
      if (!axis) continue;
      digits.push({ axis: axis.name, size: 2, stride: axis.stride, slot, on, order: 0 });
      axis.left /= 2;
      axis.stride *= 2;
    }
  };
  take("pair", "register", 2, (a) => !anyKept || !kept(a));
  take("quad", "thread", 4, (a) => !anyKept || kept(a));
  [...open.filter((a) => !kept(a)), ...open.filter(kept)].forEach((a, i) => {
    if (a.left > 1) digits.push({ axis: a.name, size: a.left, stride: a.stride, slot: REST, on: "register", order: 1000 + i });
  });
  return digits;
}

/** Parts along the columns: a warpgroup that multiplies several tiles of rows divides these first. */
export const columnPartsOf = (parts: number, rowTiles: number): number => Math.max(1, parts / rowTiles);

/** Columns of one wgmma instruction: as many as one takes of a part. */
export function instructionColumns(columns: number, parts: number): number {
  const part = columns / parts;
  let count = Math.ceil(part / MOST_COLUMNS);
  while (part % (8 * count) !== 0) count++;
  return part / count;
}

/** Warps first along the rows, so that every product over the same rows has the same row layout. */
function tensorPlan(atom: GemmPlan["atom"], rowAxes: readonly Axis[], columnAxes: readonly Axis[], warps: number, threads: number): GemmPlan {
  const rowAxesPadded = padded(rowAxes, 16);
  const columnAxesPadded = padded(columnAxes, 8);
  const warpRows = Math.min(warps, powerOfTwoAtLeast(Math.ceil(extentOf(rowAxesPadded) / 16)));
  const rows = distribute(rowAxesPadded, [
    { name: "row", on: "thread", size: 8, order: 1 },
    { name: "half", on: "register", size: 2, order: 1 },
    { name: "warpRow", on: "thread", size: warpRows, order: 2 },
  ]);
  const columns = distribute(columnAxesPadded, [
    { name: "pair", on: "register", size: 2, order: 0 },
    { name: "quad", on: "thread", size: 4, order: 0 },
    { name: "warpColumn", on: "thread", size: warps / warpRows, order: 3 },
  ]);
  return { atom, rows: slower(rows), columns, layout: assemble([...columns, ...slower(rows)], threads) };
}

/** Register digits of rows vary slower than those of columns. */
const slower = (digits: readonly PlacedDigit[]): PlacedDigit[] => digits.map((d) => (d.on === "register" && d.slot === "rest" ? { ...d, order: d.order + 1000 } : d));

/** Each thread multiplies a small square of rows and columns, columns in vectors so that stores are wide. */
function fmaPlan(rowAxes: readonly Axis[], columnAxes: readonly Axis[], threads: number): GemmPlan {
  const rowCount = extentOf(rowAxes);
  const columnCount = extentOf(columnAxes);
  const perThread = Math.ceil((rowCount * columnCount) / threads);
  const vector = vectorWidth(columnAxes.at(-1)?.extent ?? 1, perThread);
  const columnsPerThread = Math.max(vector, powerOfTwoAtMost(Math.sqrt(perThread)));
  const rowThreads = Math.min(powerOfTwoAtLeast(rowCount), Math.max(1, threads / Math.min(threads, powerOfTwoAtLeast(columnCount / columnsPerThread))));
  const columnThreads = Math.min(threads / rowThreads, powerOfTwoAtLeast(Math.ceil(columnCount / vector)));
  const slots = (list: Slot[]) => list.filter((s) => s.size > 1);
  const columns = distribute(columnAxes, slots([
    { name: "vector", on: "register", size: vector, order: 0 },
    { name: "thread", on: "thread", size: columnThreads, order: 0 },
  ]));
  const rows = slower(distribute(rowAxes, slots([{ name: "thread", on: "thread", size: rowThreads, order: 1 }])));
  return { atom: "fma", rows, columns, layout: assemble([...columns, ...rows], threads) };
}
