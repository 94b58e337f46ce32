/** Lays out the slot of a ring, a dense box that TMA or threads write, and what threads compute or make for wgmma, in the order in which a product wants its rows. */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import { diagnostic } from "../diagnostics.ts";
import { REST, type PlacedDigit } from "../ir/layout.ts";
import type { GemmPlan, Machine, Stage, Tiling, TilingDigit } from "../ir/plan.ts";
import type { Axis, TileKernel, TileOp, TileValue, TileView } from "../ir/tile.ts";
import { inputsOf } from "../ir/walk.ts";

/** A product on tensor cores that reads the tile. */
export interface Reader {
  readonly plan: GemmPlan;
  readonly side: "rows" | "columns";
  /** The contracted axis. */
  readonly over: string;
  /** What it takes of the tile. */
  readonly cuts: readonly Cut[];
}
export interface Cut {
  readonly axis: string;
  readonly start: number;
}

const WHOLE_LINES = "wgmma reads whole lines, and cuts between them: 32, 64 or 128 bytes along the contracted axis, or 128 along the other";
const DIFFERENT_ORDERS = "two products want its rows in different orders";

/** Slots start at multiples of this many bytes; swizzled ones at multiples of their pattern. */
const ALIGNMENT = 128;
const PATTERN = 1024;

/** `inline`: for a tile that threads copy by cp.async, the tiles that are computed wherever they are read, among which its indices must be. */
export function ringStage(kernel: TileKernel, machine: Machine, value: TileValue, op: TileOp | undefined, readers: readonly Reader[], inline?: ReadonlyMap<number, TileOp>): Stage {
  const refuse = (reason: string, instead?: string) => complaintOfRing(kernel, machine, value, reason, instead);
  if (op?.kind !== "Load" && op?.kind !== "Gather") throw refuse("only loads and gathers can go there");
  if (op.kind === "Load" && !(op.fill.kind === "Const" && op.fill.value === 0)) throw refuse(`${inline ? "cp.async" : "TMA"} fills with zeros alone`);
  if (inline) checkIndices(op, inline, refuse);
  const other = readers.find((r) => r.plan.atom !== "wgmma");
  if (other) throw refuse(`a product reads it by ${other.plan.atom}: name that product in the schedule's mma`);
  const inner = [...op.view.coords].reverse().find((c) => c.kind === "Block");
  const tilings = readers.map((r) => (inner?.kind === "Block" ? operandTiling(value, inner.axis, op.view.dtype, r) : undefined));
  if (tilings.includes(undefined)) throw refuse(WHOLE_LINES);
  const tiling = readers.length > 0 ? forAll(tilings) : plainTiling(value, op.view);
  if (!tiling) throw refuse(DIFFERENT_ORDERS);
  const size = byteSize(op.view.dtype);
  if ((tiling.digits[0]!.size * size) % 16 !== 0) throw refuse(`its innermost run of ${tiling.digits[0]!.size * size} bytes is no multiple of 16`);
  if (inline) return stageOf(value, op.view.dtype, tiling);
  const byThreads = "leave it out of the schedule's stage, or name it in the role's cpAsync";
  if (tiling.digits.length > 5) throw refuse(`its box has ${tiling.digits.length} dimensions, a tensor map has five at most`, byThreads);
  const large = tiling.digits.find((d) => d.size > 256);
  if (large) throw refuse(`its box is ${large.size} long along ${large.axis}, at most 256 are possible`, byThreads);
  return stageOf(value, op.view.dtype, tiling);
}

export const complaintOfRing = ({ name }: TileKernel, machine: Machine, { label, loc }: TileValue, reason: string, instead = "leave it out of the schedule's stage") =>
  diagnostic("E-SCHEDULE-02", { ...loc, length: label.length }, { label, kernel: name, target: machine.name, reason, instead });

/** Which rows to bring follows from inputs, positions and scalars: the role that brings them finds it by itself. */
function checkIndices(op: TileOp, inline: ReadonlyMap<number, TileOp>, refuse: (reason: string, instead?: string) => Error): void {
  for (const v of inputsOf(op)) {
    const index = inline.get(v.id);
    if (!index || !FOUND_ANYWHERE.has(index.kind))
      throw refuse(`only the computing role knows "${v.label}", by which its rows are picked`, "make the indices from loads, gathers and maps alone, or leave it out of the schedule's stage");
    checkIndices(index, inline, refuse);
  }
}
const FOUND_ANYWHERE: ReadonlySet<TileOp["kind"]> = new Set(["Load", "Gather", "Full", "Iota", "Slice", "Rename", "Cast", "Map"]);

/** The second operand of wgmma that threads compute; its products want its rows in one order, and its last axis is contracted. */
export function computedStage(kernel: TileKernel, machine: Machine, value: TileValue, readers: readonly Reader[]): Stage {
  const refuse = (reason: string) => diagnostic("E-MMA-01", { ...value.loc, length: value.label.length }, { product: value.label, kernel: kernel.name, target: machine.name, reason });
  const other = readers.find((r) => r.plan.atom !== "wgmma" || r.side !== "columns");
  if (other) throw refuse(`it is computed, and read by ${other.plan.atom} as ${other.side} too`);
  const tilings = readers.map((r) => operandTiling(value, value.axes.at(-1)!, value.dtype as DType, r));
  const tiling = forAll(tilings);
  if (!tiling) throw refuse(`it is computed, and ${DIFFERENT_ORDERS}`);
  return stageOf(value, value.dtype as DType, tiling);
}

/** A tile that a role makes for products of another, in its slot. */
export function madeStage(kernel: TileKernel, machine: Machine, value: TileValue, readers: readonly Reader[]): Stage {
  const refuse = (reason: string) =>
    diagnostic("E-SCHEDULE-03", { ...value.loc, length: value.label.length }, { kernel: kernel.name, target: machine.name, reason: `a role makes "${value.label}", but ${reason}`, instead: "leave it out of makes" });
  const other = readers.find((r) => r.plan.atom !== "wgmma");
  if (readers.length === 0) throw refuse("no product reads it");
  if (other) throw refuse(`a product reads it by ${other.plan.atom}: name that product in the schedule's mma`);
  const tilings = readers.map((r) => operandTiling(value, value.axes.at(-1)!, value.dtype as DType, r));
  if (tilings.includes(undefined)) throw refuse(WHOLE_LINES);
  const tiling = forAll(tilings);
  if (!tiling) throw refuse(DIFFERENT_ORDERS);
  return stageOf(value, value.dtype as DType, tiling);
}

function stageOf(value: TileValue, dtype: DType, tiling: Tiling): Stage {
  const granule = (tiling.swizzle > 0 ? PATTERN : ALIGNMENT) / byteSize(dtype);
  return { buffer: value.label, dtype, axes: value.axes.map((a) => ({ ...a, stride: 0 })), elements: Math.ceil(elementsOf(tiling) / granule) * granule, tiling };
}
const elementsOf = (tiling: Tiling): number => tiling.digits.reduce((n, d) => n * d.size, 1);

/** Both in one slot, the second right behind the first: so lie the rows of two products whose columns are computed together. */
export function behind(first: TileValue, slot: Stage, second: Stage): { readonly slot: Stage; readonly second: Stage } {
  const at = elementsOf(slot.tiling!);
  const granule = PATTERN / byteSize(slot.dtype);
  return {
    slot: { ...slot, elements: Math.ceil((at + elementsOf(second.tiling!)) / granule) * granule },
    second: { ...second, elements: elementsOf(second.tiling!), behind: { value: first, at } },
  };
}

/** As in memory, innermost axis first; axes of indices, which lie anywhere, last. */
function plainTiling(value: TileValue, view: TileView): Tiling {
  const inMemory = view.coords.flatMap((c) => (c.kind === "Block" ? [c.axis.name] : []));
  const order = [...value.axes.map((a) => a.name).filter((a) => !inMemory.includes(a)), ...inMemory].reverse();
  const digits = order.map((axis): TilingDigit => ({ axis, size: value.axes.find((a) => a.name === axis)!.extent, stride: 1 }));
  return { digits, swizzle: 0 };
}

/** Products may contract the lines of a tile or not, as long as they count them alike. */
function forAll([first, ...others]: readonly (Tiling | undefined)[]): Tiling | undefined {
  const order = (t: Tiling | undefined): string => JSON.stringify([t?.digits, t?.swizzle]);
  if (others.some((t) => order(t) !== order(first))) return undefined;
  return first && others.some((t) => t?.major !== first.major) ? { ...first, major: "both" } : first;
}

/** Lines of up to 128 bytes along the innermost axis; then the rows of the product (or its contracted positions), then further lines, of which it may take some. */
function operandTiling(value: TileValue, inner: Axis, dtype: DType, { plan, side, over, cuts }: Reader): Tiling | undefined {
  const line = lineOf(dtype, inner.extent);
  if (!line || cuts.some((c) => c.axis !== inner.name || c.start % line.elements !== 0)) return undefined;
  const first: TilingDigit = { axis: inner.name, size: line.elements, stride: 1 };
  const further: TilingDigit = { axis: inner.name, size: inner.extent / line.elements, stride: line.elements };
  const contracted = value.axes.find((a) => a.name === over)!;
  const free = numbered(plan[side]);
  const identity = free.length === 1 && free[0]!.stride === 1;
  if (inner.name === over) return { digits: whole([first, ...free, further]), swizzle: line.swizzle, major: "k" };
  if (!identity || free[0]!.axis !== inner.name || line.swizzle !== 128) return undefined;
  return { digits: whole([first, { axis: over, size: contracted.extent, stride: 1 }, further]), swizzle: line.swizzle, major: "mn" };
}

const whole = (digits: readonly TilingDigit[]): TilingDigit[] => digits.filter((d, i) => d.size > 1 || i === 0);

function lineOf(dtype: DType, extent: number): { readonly elements: number; readonly swizzle: 32 | 64 | 128 } | undefined {
  const bytes = extent * byteSize(dtype);
  const swizzle = ([128, 64, 32] as const).find((s) => bytes % s === 0);
  return swizzle && { elements: swizzle / byteSize(dtype), swizzle };
}

/** The digits of a product's row or column number, fastest first. */
function numbered(digits: readonly PlacedDigit[]): TilingDigit[] {
  const slots = ["row", "pair", "quad", "half", "warpRow", REST];
  const out: { axis: string; size: number; stride: number }[] = [];
  for (const d of [...digits].sort((a, b) => slots.indexOf(a.slot) - slots.indexOf(b.slot))) {
    if (d.axis === null) continue;
    const last = out.at(-1);
    if (last && last.axis === d.axis && last.stride * last.size === d.stride) last.size *= d.size;
    else out.push({ axis: d.axis, size: d.size, stride: d.stride });
  }
  return out;
}
