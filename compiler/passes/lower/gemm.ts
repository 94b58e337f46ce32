/** Products: by the multiply-add of each thread, or by the tensor cores of a warp. */
import { add, binary, int, mul, type Expr } from "../../ir/expr.ts";
import { registerCount, REST, type PlacedDigit } from "../../ir/layout.ts";
import type { GemmPlan, PlanStmt, Stage } from "../../ir/plan.ts";
import type { TileValue } from "../../ir/tile.ts";
import { axisNames } from "../../ir/walk.ts";
import type { Lowering } from "./context.ts";
import { element, registerIndex, stageBuffer } from "./element.ts";
import { fill } from "./elementwise.ts";
import { wgmma } from "./wgmma.ts";
import { coordsAt, overDigits, overRegistersWide, slowestFirst } from "./work.ts";

type Gemm = Extract<PlanStmt, { kind: "Gemm" }>;

export function gemm(ctx: Lowering, s: Gemm): void {
  if (s.plan.atom === "wgmma") return wgmma(ctx, s);
  ctx.source(s.value.loc);
  const { layout } = s.plan;
  const names = axisNames(s.value);
  const sharesAcc = s.op.acc && ctx.plan.registers.get(s.op.acc.id) === ctx.plan.registers.get(s.value.id) && ctx.place(s.op.acc).kind === "Stored";
  const array = ctx.declareRegisters(s.value, "f32", registerCount(layout));
  const { acc } = s.op;
  if (!acc) fill(ctx, array, registerCount(layout), { kind: "Const", type: "f32", value: 0 });
  else if (!sharesAcc) overRegistersWide(ctx, layout, s.value.axes, (at) => ctx.emit({ kind: "SetRegister", array, index: registerIndex(layout, at.digits!, names), value: element(ctx, acc, at) }));
  if (s.plan.atom === "fma") multiplyAdd(ctx, s, array);
  else tensorCores(ctx, s, array, s.plan.atom);
}

/** Every thread: for each step of the contraction, a column of a times a row of b. */
function multiplyAdd(ctx: Lowering, s: Gemm, array: string): void {
  const { op, plan, value } = s;
  const { layout } = plan;
  const names = axisNames(value);
  const ofRow = (axis: string | null) => axis !== null && op.a.axes.some((a) => a.name === axis);
  const ofColumn = (axis: string | null) => axis !== null && op.b.axes.some((a) => a.name === axis);
  const rowDigits = slowestFirst(layout).filter((i) => ofRow(layout.registers[i]!.axis));
  const columnDigits = slowestFirst(layout).filter((i) => !ofRow(layout.registers[i]!.axis));
  const batched = slowestFirst(layout).some((i) => ofRow(layout.registers[i]!.axis) && ofColumn(layout.registers[i]!.axis));
  const contracted = op.a.axes.filter((a) => op.over.includes(a.name));

  const steps = (rest: typeof contracted, at: ReadonlyMap<string, Expr>): void => {
    const [axis, ...more] = rest;
    if (!axis) return step(at);
    ctx.repeated(axis.name, axis.extent, (k) => steps(more, new Map([...at, [axis.name, k]])));
  };
  const zeros = () => layout.registers.map((): Expr => int(0));
  const count = (digits: readonly number[]) => digits.reduce((n, i) => n * layout.registers[i]!.size, 1);
  const indexIn = (digits: readonly number[], values: readonly Expr[]): Expr => {
    let stride = 1;
    return [...digits].reverse().reduce<Expr>((sum, i) => {
      const term = mul(values[i]!, int(stride));
      stride *= layout.registers[i]!.size;
      return add(sum, term);
    }, int(0));
  };
  const read = (v: TileValue, values: readonly Expr[], at: ReadonlyMap<string, Expr>): Expr => element(ctx, v, { coords: new Map([...coordsAt(ctx, layout, value.axes, values), ...at]) });
  const step = (at: ReadonlyMap<string, Expr>): void => {
    const rows = ctx.array(`${op.a.label}_part`, "f32", count(rowDigits));
    overDigits(ctx, layout.registers, rowDigits, zeros(), (values) => ctx.emit({ kind: "SetRegister", array: rows, index: indexIn(rowDigits, values), value: read(op.a, values, at) }));
    if (batched) {
      overDigits(ctx, layout.registers, slowestFirst(layout), zeros(), (values) => accumulate(values, { kind: "Reg", type: "f32", array: rows, index: indexIn(rowDigits, values) }, read(op.b, values, at)));
      return;
    }
    const columns = ctx.array(`${op.b.label}_part`, "f32", count(columnDigits));
    overDigits(ctx, layout.registers, columnDigits, zeros(), (values) => ctx.emit({ kind: "SetRegister", array: columns, index: indexIn(columnDigits, values), value: read(op.b, values, at) }));
    overDigits(ctx, layout.registers, [...rowDigits, ...columnDigits], zeros(), (values) =>
      accumulate(values, { kind: "Reg", type: "f32", array: rows, index: indexIn(rowDigits, values) }, { kind: "Reg", type: "f32", array: columns, index: indexIn(columnDigits, values) }),
    );
  };
  const accumulate = (values: readonly Expr[], a: Expr, b: Expr): void => {
    const index = registerIndex(layout, values, names);
    ctx.emit({ kind: "SetRegister", array, index, value: binary("+", { kind: "Reg", type: "f32", array, index }, binary("*", a, b)) });
  };
  steps(contracted, new Map());
}

/** A staged operand behind the slices and renames that the product sees. */
interface Operand {
  /** As the product sees it. */
  readonly tile: TileValue;
  readonly value: TileValue;
  readonly stage: Stage;
  /** Axis names of the product, by axis of the stage. */
  readonly seenAs: ReadonlyMap<string, string>;
  readonly offset: Expr;
}

function resolve(ctx: Lowering, v: TileValue): Operand {
  const place = ctx.place(v);
  if (place.kind === "Stored" && place.stage) return { tile: v, value: v, stage: place.stage, seenAs: new Map(place.stage.axes.map((a) => [a.name, a.name])), offset: int(0) };
  if (place.kind === "Inline" && place.op.kind === "Slice") {
    const { of, axis, start } = place.op;
    const inner = resolve(ctx, of);
    const own = [...inner.seenAs].find(([, seen]) => seen === axis)![0];
    return { ...inner, tile: v, offset: add(inner.offset, int(start * inner.stage.axes.find((a) => a.name === own)!.stride)) };
  }
  if (place.kind === "Inline" && place.op.kind === "Rename") {
    const { of, axes } = place.op;
    const inner = resolve(ctx, of);
    return { ...inner, tile: v, seenAs: new Map([...inner.seenAs].map(([own, seen]) => [own, axes[seen] ?? seen])) };
  }
  throw new Error(`lower: the operand "${v.label}" of a tensor-core product is not staged`);
}

/** Value of each slot (or of several that follow each other) of a product's row or column index. */
type Slots = Readonly<Record<string, Expr>>;

/** Position along each axis, from the values of the slots that its digits belong to. */
function coordsOf(digits: readonly PlacedDigit[], slots: Slots): Map<string, Expr> {
  const coords = new Map<string, Expr>();
  for (const [name, value] of Object.entries(slots)) {
    const own = merged(digits.filter((d) => name.split(" ").includes(d.slot)));
    const size = own.reduce((n, d) => n * d.size, 1);
    let below = 1;
    for (const d of own) {
      const quotient = binary("/", value, int(below));
      below *= d.size;
      if (d.axis === null) continue;
      const digit = below === size ? quotient : binary("%", quotient, int(d.size));
      coords.set(d.axis, add(coords.get(d.axis) ?? int(0), mul(digit, int(d.stride))));
    }
  }
  return coords;
}

/** Digits that continue each other along one axis as one digit. */
function merged(digits: readonly PlacedDigit[]): PlacedDigit[] {
  const out: PlacedDigit[] = [];
  for (const d of digits) {
    const last = out.at(-1);
    if (last && last.axis === d.axis && (d.axis === null || last.stride * last.size === d.stride)) out[out.length - 1] = { ...last, size: last.size * d.size };
    else out.push(d);
  }
  return out;
}

const slotSize = (digits: readonly PlacedDigit[], slot: string): number => digits.filter((d) => d.slot === slot).reduce((n, d) => n * d.size, 1);

function tensorCores(ctx: Lowering, s: Gemm, array: string, atom: Exclude<GemmPlan["atom"], "fma" | "wgmma">): void {
  const { op, plan } = s;
  const { rows, columns } = plan;
  const lane = ctx.once("lane", binary("%", ctx.thread, int(32)));
  const warp = binary("/", ctx.thread, int(32));
  const warpRows = slotSize(rows, "warpRow");
  const warpRow = ctx.once("warp_row", binary("%", warp, int(warpRows)));
  const warpColumn = ctx.once("warp_column", binary("/", warp, int(warpRows)));
  const rowTiles = slotSize(rows, REST);
  const columnTiles = slotSize(columns, REST);
  const depth = op.a.axes.reduce((n, a) => (op.over.includes(a.name) ? n * a.extent : n), 1);

  const a = resolve(ctx, op.a);
  const b = resolve(ctx, op.b);
  const aInner = innerIsContracted(a, op.over);
  const bInner = innerIsContracted(b, op.over);
  const eighth = ctx.once("lane_row", binary("%", lane, int(8)));
  const bit3 = ctx.once("lane_half", binary("%", binary("/", lane, int(8)), int(2)));
  const bit4 = ctx.once("lane_quarter", binary("/", lane, int(16)));

  ctx.repeated("k", depth / 16, (step) => {
    const k = mul(step, int(16));
    const aRegisters = ctx.array(`${op.a.label}_fragment`, "u32", 4 * rowTiles);
    ctx.unrolled("m", rowTiles, (tile) => {
      // four 8x8 blocks: rows 0-7 and 8-15, then the second half of the contraction
      const free = coordsOf(rows, { row: aInner ? eighth : int(0), half: bit3, warpRow, [REST]: tile });
      const depthAt = add(k, add(mul(bit4, int(8)), aInner ? int(0) : eighth));
      loadMatrix(ctx, aInner ? "ldmatrix.x4" : "ldmatrix.x4.trans", aRegisters, mul(tile, int(4)), 4, a, free, depthAt, op.over);
    });
    const pairs = Math.floor(columnTiles / 2);
    const two = (tile: Expr, count: 1 | 2) => {
      const bRegisters = ctx.array(`${op.b.label}_fragment`, "u32", 2 * count);
      const mine = count === 2 ? add(tile, bit4) : tile;
      const free = coordsOf(columns, { "pair quad": bInner ? eighth : int(0), warpColumn, [REST]: mine });
      const depthAt = add(k, add(mul(bit3, int(8)), bInner ? int(0) : eighth));
      loadMatrix(ctx, `ldmatrix.x${2 * count}${bInner ? "" : ".trans"}`, bRegisters, int(0), 2 * count, b, free, depthAt, op.over);
      ctx.unrolled("m", rowTiles, (m) =>
        ctx.unrolled("n", count, (n) =>
          ctx.emit({
            kind: "Call",
            instruction: atom,
            operands: [
              { kind: "Registers", array, index: mul(add(mul(m, int(columnTiles)), add(tile, n)), int(4)), count: 4 },
              { kind: "Registers", array: aRegisters, index: mul(m, int(4)), count: 4 },
              { kind: "Registers", array: bRegisters, index: mul(n, int(2)), count: 2 },
            ],
          }),
        ),
      );
    };
    if (pairs > 0) ctx.repeated("n_pair", pairs, (p) => two(mul(p, int(2)), 2), true);
    if (columnTiles % 2 === 1) two(int(columnTiles - 1), 1);
  }, true);
}

/** Whether the contracted axes lie innermost in shared memory. */
const innerIsContracted = (o: Operand, over: readonly string[]): boolean => over.includes(o.seenAs.get(o.stage.axes.at(-1)!.name)!);

/** Loads 8x8 blocks: each lane gives the address of eight consecutive elements. */
function loadMatrix(ctx: Lowering, instruction: string, registers: string, at: Expr, count: number, o: Operand, free: ReadonlyMap<string, Expr>, depth: Expr, over: readonly string[]): void {
  let index = o.offset;
  let depthStride = 0;
  for (const axis of [...o.stage.axes].reverse()) {
    const seen = o.seenAs.get(axis.name)!;
    if (over.includes(seen)) {
      depthStride ||= axis.stride;
      continue;
    }
    const coord = free.get(seen) ?? int(0);
    const { extent } = o.tile.axes.find((a) => a.name === seen)!;
    const last = extent - (axis === o.stage.axes.at(-1) ? 8 : 1); // along the innermost axis eight elements are read
    const fits = ctx.facts.of(coord).max <= last;
    index = add(index, mul(fits ? coord : { kind: "Call", type: "i32", fn: "min", args: [coord, int(last)] }, int(axis.stride)));
  }
  ctx.emit({
    kind: "Call",
    instruction,
    operands: [
      { kind: "Registers", array: registers, index: at, count },
      { kind: "SharedAddress", buffer: stageBuffer(ctx, o.value), index: add(index, mul(depth, int(depthStride))) },
    ],
  });
}
