/** Compute, Stage, Move and Store: one value after the other. */
import { byteSize } from "../../../dsl/dtype.ts";
import { diagnostic } from "../../diagnostics.ts";
import { add, and, binary, convert, int, mul, type Expr } from "../../ir/expr.ts";
import { RUN_COPY } from "../../ir/instruction.ts";
import { covered, registerCount, type Layout } from "../../ir/layout.ts";
import { computeType, type PlanStmt, type Stage } from "../../ir/plan.ts";
import type { TileOp, TileValue } from "../../ir/tile.ts";
import { axisNames } from "../../ir/walk.ts";
import type { Lowering } from "./context.ts";
import { address, element, evaluate, indexIn, isAligned, isTrue, limitOf, registerIndex, stageBuffer, staged, stageIndex, unrounded, type Cursor } from "./element.ts";
import { loadTile } from "./load_tile.ts";
import { copyRun } from "./thread_copies.ts";
import { coordsAt, insideTile, overDigits, overRegisters, overRegistersWide, overVectors, slowestFirst } from "./work.ts";

export function compute(ctx: Lowering, s: Extract<PlanStmt, { kind: "Compute" }>): void {
  ctx.source(s.value.loc);
  const array = ctx.declareRegisters(s.value, computeType(s.value.dtype), registerCount(s.layout));
  const axes = axisNames(s.value);
  if (s.op.kind === "Full") return fill(ctx, array, registerCount(s.layout), convert(computeType(s.value.dtype), s.op.value));
  const { op } = s;
  const each = (): void =>
    overRegistersWide(ctx, s.layout, s.value.axes, (at) => ctx.emit({ kind: "SetRegister", array, index: registerIndex(s.layout, at.digits!, axes), value: evaluate(ctx, s.value, op, at) }));
  if (op.kind === "Load" || op.kind === "Gather") loadTile(ctx, s.value, op, s.layout, array, each);
  else each();
}

/** From a slot of a ring into registers. */
export function fetch(ctx: Lowering, s: Extract<PlanStmt, { kind: "Fetch" }>): void {
  ctx.source(s.value.loc);
  if (s.words) return fetchWords(ctx, s);
  const array = ctx.declareRegisters(s.value, computeType(s.value.dtype), registerCount(s.layout));
  const axes = axisNames(s.value);
  overRegisters(ctx, s.layout, s.value.axes, (at) => ctx.emit({ kind: "SetRegister", array, index: registerIndex(s.layout, at.digits!, axes), value: staged(ctx, s.value, at) }));
}

/** As it lies in the slot: each run of elements that a thread holds is a few whole words. */
function fetchWords(ctx: Lowering, { value, layout, stage }: Extract<PlanStmt, { kind: "Fetch" }>): void {
  const each = 4 / byteSize(stage.dtype);
  const array = ctx.declareWords(value, stage.dtype, registerCount(layout) / each);
  const axes = axisNames(value);
  const count = layout.registers[0]!.size / each;
  overDigits(ctx, layout.registers, slowestFirst(layout).slice(0, -1), [int(0)], (digits) =>
    ctx.emit({
      kind: "Call",
      instruction: `loadShared.${count}`,
      operands: [
        { kind: "Registers", array, index: binary("/", registerIndex(layout, digits, axes), int(each)), count },
        { kind: "SharedAddress", buffer: stageBuffer(ctx, value), index: stageIndex(ctx, value, coordsAt(ctx, layout, value.axes, digits)) },
      ],
    }),
  );
}

/** The same value in all registers. */
export function fill(ctx: Lowering, array: string, registers: number, value: Expr): void {
  ctx.unrolled("r", registers, (index) => ctx.emit({ kind: "SetRegister", array, index, value }));
}

export function move(ctx: Lowering, s: Extract<PlanStmt, { kind: "Move" }>): void {
  const to = ctx.declareRegisters(s.to, computeType(s.to.dtype), registerCount(s.layout));
  const from = ctx.registers(s.from);
  ctx.unrolled("r", registerCount(s.layout), (r) => ctx.emit({ kind: "SetRegister", array: to, index: r, value: { kind: "Reg", type: computeType(s.from.dtype), array: from, index: r } }));
}

export function stage(ctx: Lowering, s: Extract<PlanStmt, { kind: "Stage" }>): void {
  ctx.source(s.value.loc);
  const place = ctx.place(s.value);
  const layout = s.layout ?? (s.op || place.kind !== "Stored" ? undefined : place.layout);
  if (layout) stageUnder(ctx, s.value, s.op, layout, s.stage);
  else stageByOp(ctx, s.value, s.op!, s.stage);
}

/** What is written: truth values count, and the store itself rounds. */
function stored(stage: Stage, value: Expr): Expr {
  if (value.type === "bool") return convert("u32", value);
  return unrounded(stage.dtype, value);
}

/** Writes a tile to shared memory as it lies in registers, or computes it from registers that lie so. */
function stageUnder(ctx: Lowering, value: TileValue, op: TileOp | undefined, layout: Layout, stage: Stage): void {
  const buffer = stageBuffer(ctx, value);
  const last = stage.axes.at(-1);
  const startsAt = (width: number): boolean => stage.axes.every((a) => (a === last ? a.extent : a.stride) % width === 0);
  ctx.when(ctx.firstCopy(layout), () =>
    overVectors(ctx, layout, value.axes, (lanes) => {
      let width = lanes[0]?.vector?.axis === last?.name ? lanes.length : 1;
      while (!startsAt(width)) width /= 2;
      for (let lane = 0; lane < lanes.length; lane += width) {
        const group = lanes.slice(lane, lane + width);
        const at = group[0]!;
        const values = group.map((lane) => stored(stage, op ? evaluate(ctx, value, op, lane) : element(ctx, value, lane)));
        ctx.when(insideTile(ctx, layout, value.axes, at.coords), () => ctx.emit({ kind: "StoreShared", buffer, index: indexIn(ctx, value, stage, at.coords), values }));
      }
    }),
  );
}

/** Computes or loads a tile straight into shared memory: consecutive threads take consecutive runs of the innermost axis. */
function stageByOp(ctx: Lowering, value: TileValue, op: TileOp, stage: Stage): void {
  const buffer = stageBuffer(ctx, value);
  const inner = stage.axes.at(-1) ?? { name: "", extent: 1, stride: 1 };
  const outer = stage.axes.slice(0, -1);
  const width = runWidth(stage, inner.extent);
  const runs = Math.ceil(inner.extent / width);
  const total = outer.reduce((n, a) => n * a.extent, runs);
  const { threads } = ctx;
  const rounds = Math.ceil(total / threads);
  ctx.repeated("i", rounds, (round) => {
    const run = ctx.bind("run", add(mul(round, int(threads)), ctx.thread));
    const write = () => {
      const coords = new Map<string, Expr>();
      const start = ctx.bind(inner.name || "at", mul(binary("%", run, int(runs)), int(width)));
      let rest = binary("/", run, int(runs));
      [...outer].reverse().forEach((axis, i) => {
        coords.set(axis.name, ctx.bind(axis.name, i === outer.length - 1 ? rest : binary("%", rest, int(axis.extent))));
        rest = binary("/", rest, int(axis.extent));
      });
      const first = new Map(coords).set(inner.name, start);
      if (copyAsIs(ctx, value, op, stage, buffer, first, width)) return;
      const shared = { axis: inner.name, width, start, loaded: new Map<number, string>(), common: new Map<number, Expr>(), before: ctx.hoist() };
      const body = ctx.block(() => {
        const lane = (i: number): Cursor => ({ coords: new Map(coords).set(inner.name, add(start, int(i))), vector: { ...shared, lane: int(i) } });
        const values = Array.from({ length: width }, (_, i) => stored(stage, evaluate(ctx, value, op, lane(i))));
        ctx.emit({ kind: "StoreShared", buffer, index: indexIn(ctx, value, stage, first), values });
      });
      ctx.emit(...shared.before.statements, ...body);
    };
    if (total % threads === 0) write();
    else ctx.when(binary("<", run, int(total)), write);
  }, rounds <= 8);
}

/** Elements that one thread writes at once: sixteen bytes where every row starts at a multiple of them, else one word. */
function runWidth(stage: Stage, inner: number): number {
  const size = byteSize(stage.dtype);
  const wide = 16 / size;
  if (inner % wide === 0 && stage.axes.slice(0, -1).every((outer) => outer.stride % wide === 0)) return Math.min(wide, 8);
  return Math.max(1, 4 / size);
}

/** A run that needs no conversion goes from device to shared memory without passing registers. */
function copyAsIs(ctx: Lowering, value: TileValue, op: TileOp, stage: Stage, buffer: string, coords: ReadonlyMap<string, Expr>, width: number): boolean {
  if (op.kind !== "Load" && op.kind !== "Gather") return false;
  if (stage.dtype !== op.view.dtype || width * byteSize(stage.dtype) !== RUN_COPY.bytes || !ctx.machine.instructions.has(RUN_COPY.instruction)) return false;
  if (op.kind === "Load" && !(op.fill.kind === "Const" && op.fill.value === 0)) return false;
  const lastCoord = op.view.coords.at(-1);
  if (lastCoord?.kind !== "Block" || lastCoord.axis.name !== value.axes.at(-1)?.name) return false;
  const picks = new Map(op.kind === "Gather" ? op.picks.map((p) => [p.coord, p.index] as const) : []);
  const from = address(ctx, op.view, coords, (i) => {
    const index = picks.get(i);
    return index && ctx.bind(index.label, element(ctx, index, { coords }));
  });
  if (!isAligned(ctx, op.view, from.coords, width) || limitOf(ctx, op.view, from.coords, width).limit) return false;
  copyRun(ctx, op.view, from.coords, from.guard, (i) => picks.has(i), { kind: "SharedAddress", buffer, index: indexIn(ctx, value, stage, coords) });
  return true;
}

export function store(ctx: Lowering, s: Extract<PlanStmt, { kind: "Store" }>): void {
  ctx.source(s.loc);
  const { layout, view } = s;
  const lastCoord = [...view.coords].reverse().find((c) => c.kind === "Block");
  const lastIsInner = view.coords.at(-1) === lastCoord;
  ctx.when(ctx.firstCopy(layout), () =>
    overVectors(ctx, layout, s.of.axes, (lanes) => {
      const together = lanes.length > 1 && !s.keep && lastIsInner && lastCoord?.kind === "Block" && lanes[0]!.vector!.axis === lastCoord.axis.name && wholeVector(ctx, layout, s.of, lanes);
      for (const group of together ? [lanes] : lanes.map((at) => [at])) {
        const at = group[0]!;
        const { coords, guard, lastGuard } = address(ctx, view, at.coords, () => undefined);
        const values = group.map((lane) => unrounded(view.dtype, convert(computeType(view.dtype), element(ctx, s.of, lane))));
        const keep = s.keep ? element(ctx, s.keep, at) : isTrue;
        const all = and(and(insideTile(ctx, layout, s.of.axes, at.coords), keep), group.length > 1 ? guard : and(guard, lastGuard));
        const aligned = isAligned(ctx, view, coords, group.length);
        const bytes = group.length * byteSize(view.dtype);
        if (bytes % ctx.machine.storeGranule !== 0 || (bytes > byteSize(view.dtype) && !aligned && ctx.machine.storeGranule > byteSize(view.dtype)))
          throw diagnostic("E-STORE-01", { ...s.loc, length: 1 }, { dtype: view.dtype, param: view.param, target: ctx.machine.name, granule: ctx.machine.storeGranule, elements: ctx.machine.storeGranule / byteSize(view.dtype) });
        ctx.emit({
          kind: "StoreGlobal",
          param: view.param,
          field: view.field,
          coords,
          values,
          ...(all !== isTrue && { guard: all }),
          ...(group.length > 1 && limitOf(ctx, view, coords, group.length)),
          aligned,
        });
      }
    }),
  );
}

/** A vector is stored as one when all its lanes are in the tile together. */
function wholeVector(ctx: Lowering, layout: Layout, of: TileValue, lanes: readonly Cursor[]): boolean {
  const axis = of.axes.find((a) => a.name === lanes[0]!.vector!.axis)!;
  const padded = covered(layout, axis.name) > axis.extent;
  return (!padded || axis.extent % lanes.length === 0) && ctx.facts.of(lanes[0]!.coords.get(axis.name)!).min >= 0;
}

