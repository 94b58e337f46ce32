/** Products by wgmma: both operands in slots of rings, the accumulator in the registers of a warpgroup's threads. */
import { byteSize, type DType } from "../../../dsl/dtype.ts";
import { add, binary, int, mul, type Expr } from "../../ir/expr.ts";
import { registerCount } from "../../ir/layout.ts";
import type { Operand } from "../../ir/loop.ts";
import type { PlanStmt, Stage, Tiling } from "../../ir/plan.ts";
import type { TileValue } from "../../ir/tile.ts";
import { columnPartsOf, gemmAxes, instructionColumns } from "../select_atoms.ts";
import type { Lowering } from "./context.ts";
import { axisNames } from "../../ir/walk.ts";
import { element, registerIndex, slotStart, stageBuffer, unrounded } from "./element.ts";
import { coordsAt, overRegistersWide } from "./work.ts";

type Gemm = Extract<PlanStmt, { kind: "Gemm" }>;
/** Bytes of the contracted axis that one instruction takes. */
const STEP_BYTES = 32;
/** Groups that a wait can leave under way; more are awaited too early, which is safe. */
const MOST_PENDING = 3;

const product = (axes: readonly { readonly extent: number }[]): number => axes.reduce((n, a) => n * a.extent, 1);

/** Issues all parts, each as a group of its own. */
export function wgmma(ctx: Lowering, s: Gemm): void {
  ctx.source(s.value.loc);
  const { op, plan, follower } = s;
  const { rows, columns, depth } = gemmAxes(op);
  const array = startAccumulator(ctx, s);
  const more = follower ? registerCount(follower.plan.layout) : 0;
  const parts = plan.parts ?? 1;
  const rowTiles = (product(rows) * 2) / ctx.threads;
  const columnParts = columnPartsOf(parts, rowTiles);
  const width = instructionColumns(product(columns), columnParts);
  const perTile = product(columns) / width;
  const a = plan.fragment ? fragment(op, s.isPacked ? packedArray(ctx, s) : packInto(ctx, s, ctx.array(`${op.a.label}_fragment`, "u32", packedCount(ctx, s)))) : operand(ctx, op.a, op.over[0]!);
  const b = operand(ctx, op.b, op.over[0]!);
  const step = STEP_BYTES / byteSize(op.a.dtype as DType);
  const group = ctx.threads === 128 ? int(0) : ctx.once("warpgroup", binary("/", { kind: "WarpIndex", type: "i32" }, int(4)));
  ctx.emit({ kind: "Call", instruction: "wgmmaFence", operands: [] });
  // in the order of the registers: each part takes as many instructions from where the last one stopped
  for (let part = 0, i = 0; part < parts; part++) {
    for (const end = (rowTiles * perTile * (part + 1)) / parts; i < end; i++) {
      const [tile, column] = [Math.floor(i / perTile), (i % perTile) * width];
      const row = add(mul(group, int(64)), int((tile * ctx.threads) / 2));
      const first = (tile * product(columns) + column) / 2;
      const count = width / 2 + (part === parts - 1 && i === end - 1 ? more : 0);
      for (let k = 0; k < depth; k += step)
        ctx.emit({
          kind: "Call",
          instruction: `wgmma.m64n${2 * count}k${step}.${op.a.dtype}${plan.fragment ? ".ra" : ""}${k === 0 && !op.acc ? ".first" : ""}`,
          operands: [{ kind: "Registers", array, index: int(first), count }, a(row, k, tile), b(int(column), k)],
        });
    }
    ctx.emit({ kind: "Call", instruction: "wgmmaCommit", operands: [] });
  }
}

/** The accumulator's registers, those of a product that goes along behind them, holding what is added to; a product without one writes them first. */
function startAccumulator(ctx: Lowering, { op, plan, value, follower }: Gemm): string {
  const own = registerCount(plan.layout);
  const array = ctx.declareRegisters(value, "f32", own + (follower ? registerCount(follower.plan.layout) : 0));
  if (follower) ctx.placeRegisters(follower.value, array, own);
  const { acc } = op;
  const inPlace = acc && ctx.place(acc).kind === "Stored" && ctx.plan.registers.get(acc.id) === ctx.plan.registers.get(value.id);
  const names = axisNames(value);
  if (acc && !inPlace) overRegistersWide(ctx, plan.layout, value.axes, (at) => ctx.emit({ kind: "SetRegister", array, index: registerIndex(plan.layout, at.digits!, names), value: element(ctx, acc, at) }));
  return array;
}

/** Steps of 16 that a product with a packed operand takes, and tiles of rows that it has. */
const stepsOf = ({ a, over }: Gemm["op"]): number => a.axes.find((x) => x.name === over[0])!.extent / 16;
const rowTilesOf = (ctx: Lowering, { op }: Gemm): number => (product(gemmAxes(op).rows) * 2) / ctx.threads;
const packedCount = (ctx: Lowering, s: Gemm): number => 4 * stepsOf(s.op) * rowTilesOf(ctx, s);
/** Where an operand waits that is packed before its product. */
const packedArray = (ctx: Lowering, s: Gemm): string => ctx.declareRegisters({ ...s.op.a, id: -1 - s.op.a.id, label: `${s.op.a.label}_fragment` }, "u32", packedCount(ctx, s));

export function pack(ctx: Lowering, s: Gemm): void {
  ctx.source(s.value.loc);
  packInto(ctx, s, packedArray(ctx, s));
}

/** Packs the first operand into the registers that wgmma takes it from: for each step rows g and g + 8 of a pair of columns, then of the pair eight on. */
function packInto(ctx: Lowering, s: Gemm, array: string): string {
  const { a } = s.op;
  const layout = s.plan.fragment!;
  const steps = stepsOf(s.op);
  const rowTiles = rowTilesOf(ctx, s);
  const value = (tile: number, step: number, half: number, eight: number, pair: number): Expr => {
    // register digits: pair, half, columns by eight, then row tiles
    const digits = layout.registers.map((_, i) => int([pair, half, 2 * step + eight, tile][i]!));
    return unrounded(a.dtype, element(ctx, a, { coords: coordsAt(ctx, layout, a.axes, digits), layout, digits })); // packing rounds
  };
  for (let tile = 0; tile < rowTiles; tile++)
    for (let step = 0; step < steps; step++)
      for (let r = 0; r < 4; r++)
        ctx.emit({
          kind: "Call",
          instruction: `pack.${a.dtype}`,
          operands: [
            { kind: "Registers", array, index: int(4 * (tile * steps + step) + r), count: 1 },
            { kind: "Value", value: value(tile, step, r % 2, r >> 1, 0) },
            { kind: "Value", value: value(tile, step, r % 2, r >> 1, 1) },
          ],
        });
  return array;
}
function fragment(op: Gemm["op"], array: string): (row: Expr, k: number, tile: number) => Operand {
  const steps = stepsOf(op);
  return (_row, k, tile) => ({ kind: "Registers", array, index: int(4 * (tile * steps + k / 16)), count: 4 });
}

/** Registers of a part may be read from here on. */
export function awaitPart(ctx: Lowering, s: Extract<PlanStmt, { kind: "Await" }>): void {
  const array = ctx.registers(s.value);
  if (s.last) ctx.emit({ kind: "Call", instruction: "schedulingFence", operands: [] });
  const own = registersOf(ctx, s.value) / s.parts;
  const count = own + (s.follower && s.part === s.parts - 1 ? registersOf(ctx, s.follower) : 0);
  ctx.emit({ kind: "Call", instruction: `wgmmaWait.${Math.min(s.pending, MOST_PENDING)}.${count}`, operands: [{ kind: "Registers", array, index: int(s.part * own), count }] });
}
function registersOf(ctx: Lowering, v: TileValue): number {
  const place = ctx.place(v);
  return place.kind === "Stored" && place.layout ? registerCount(place.layout) : 1;
}

/** How wgmma reads a staged tile, or what is cut from one, from a row (or column) and contracted position on. */
function operand(ctx: Lowering, v: TileValue, over: string): (row: Expr, k: number, tile?: number) => Operand {
  const place = ctx.place(v);
  if (place.kind === "Inline" && place.op.kind === "Slice") {
    const { of, axis, start } = place.op;
    const whole = operand(ctx, of, over);
    return axis === over ? (row, k) => whole(row, k + start) : (row, k) => whole(add(row, int(start)), k);
  }
  const stage: Stage | undefined = place.kind === "Stored" ? place.stage : undefined;
  const tiling: Tiling | undefined = stage?.tiling;
  if (!stage || !tiling?.major || tiling.swizzle === 0) throw new Error(`lower: wgmma cannot read "${v.label}": it does not lie as it wants it`);
  const { swizzle, digits } = tiling;
  const major = digits[0]!.axis === over ? "k" : "mn";
  const line = digits[0]!.size;
  const lines = digits.reduce((n, d) => n * d.size, 1) / line;
  const depth = v.axes.find((x) => x.name === over)!.extent;
  const buffer = stageBuffer(ctx, v);
  const base = slotStart(ctx, v);
  const free = (lines * line) / depth;
  return (row, k) => {
    // major "k": panels of one line a row; "mn": panels of one line a contracted position
    const inSlot = major === "k" ? add(mul(row, int(line)), int(Math.floor(k / line) * free * line + (k % line))) : add(mul(binary("/", row, int(line)), int(depth * line)), int(k * line));
    return { kind: "Matrix", buffer, index: add(base, inSlot), major, swizzle, stride: 8 * swizzle, leading: major === "k" ? 16 : depth * swizzle };
  };
}
