/** Running reductions and ordered lists: a scan over the threads of the block between scans of each thread's own elements. */
import { add, and, binary, constant, convert, int, mul, select, sub, variable, type Expr } from "../../ir/expr.ts";
import { registerCount, type Layout } from "../../ir/layout.ts";
import { computeType, type PlanStmt } from "../../ir/plan.ts";
import type { ReduceFn, TileValue } from "../../ir/tile.ts";
import type { Lowering } from "./context.ts";
import { address, element, isTrue, registerIndex, type Cursor } from "./element.ts";
import { combine, identity, reducedType, type Number } from "./reduce.ts";
import { coordsAt, insideTile, overRegisters } from "./work.ts";

/** Combines the values of all lower threads (identity for thread 0). */
export const beforeThread = (ctx: Lowering, fn: ReduceFn, type: Number, value: Expr, scanning: number): Expr => scanThreads(ctx, fn, type, value, scanning, false).before;

/** Combines the values of all lower threads (identity for thread 0), and those of all threads; the latter only if they are wanted. */
export function scanThreads(ctx: Lowering, fn: ReduceFn, type: Number, value: Expr, scanning: number, wantsTotal = true): { before: Expr; total: Expr } {
  const warps = ctx.machine.warp > 0 && scanning === ctx.threads && scanning % ctx.machine.warp === 0;
  if (!warps) return scanByMemory(ctx, fn, type, value, scanning);
  const adds = fn === "sum" && type !== "f32" && ["warpScanAdd", "warpReduceAdd"].every((name) => ctx.machine.instructions.has(name));
  return adds ? scanByWarps(ctx, type, value, wantsTotal) : scanByShuffles(ctx, fn, type, value);
}

/** Whole numbers, with instructions for the sums within a warp. */
function scanByWarps(ctx: Lowering, type: Number, value: Expr, wantsTotal: boolean): { before: Expr; total: Expr } {
  const { warp } = ctx.machine;
  const warps = ctx.threads / warp;
  const own = ctx.bind("own", value);
  const lane = ctx.once("lane", binary("%", ctx.thread, int(warp)));
  const upTo = ctx.array("upto", type, 1);
  const register = (array: string) => ({ kind: "Registers", array, index: int(0), count: 1 }) as const;
  ctx.emit({ kind: "SetRegister", array: upTo, index: int(0), value: own }, { kind: "Call", instruction: "warpScanAdd", operands: [register(upTo)] });
  const inWarp: Expr = { kind: "Reg", type, array: upTo, index: int(0) };
  const sum = (wish: string, of: Expr): Expr => {
    const array = ctx.array(wish, type, 1);
    ctx.emit({ kind: "Call", instruction: "warpReduceAdd", operands: [register(array), { kind: "Value", value: of }] });
    return { kind: "Reg", type, array, index: int(0) };
  };
  const total = (of: Expr): Expr => (wantsTotal ? sum("total", of) : constant(type, 0));
  if (warps === 1) return { before: ctx.bind("before_thread", sub(inWarp, own)), total: total(own) };
  const buffer = ctx.scratch(type, warp);
  ctx.when(binary("==", lane, int(warp - 1)), () => ctx.emit({ kind: "StoreShared", buffer, index: binary("/", ctx.thread, int(warp)), values: [inWarp] }));
  const part = ctx.bind("part", select(binary("<", lane, int(warps)), { kind: "Shared", type, buffer, index: lane }, constant(type, 0)));
  const all = total(part);
  const below = sum("below", select(binary("<", lane, binary("/", ctx.thread, int(warp))), part, constant(type, 0)));
  return { before: ctx.bind("before_thread", sub(add(below, inWarp), own)), total: all };
}

function scanByShuffles(ctx: Lowering, fn: ReduceFn, type: Number, value: Expr): { before: Expr; total: Expr } {
  const { warp } = ctx.machine;
  const warps = ctx.threads / warp;
  const own = ctx.bind("own", value);
  const lane = ctx.once("lane", binary("%", ctx.thread, int(warp)));
  const name = ctx.name("running");
  const running = variable(type, name);
  ctx.emit({ kind: "Variable", name, type, init: own });
  const up = (delta: number): Expr => {
    const other = ctx.array("lower", type, 1);
    ctx.emit({ kind: "Call", instruction: "shuffleUp", operands: [{ kind: "Registers", array: other, index: int(0), count: 1 }, { kind: "Value", value: running }, { kind: "Value", value: int(delta) }] });
    return { kind: "Reg", type, array: other, index: int(0) };
  };
  for (let delta = 1; delta < warp; delta *= 2) {
    const lower = up(delta);
    ctx.emit({ kind: "Assign", name, value: select(binary(">=", lane, int(delta)), combine(fn, lower, running), running) });
  }
  const lower = up(1);
  const inWarp = ctx.bind("in_warp", select(binary("==", lane, int(0)), identity(fn, type), lower));
  const buffer = ctx.scratch(type, warps);
  ctx.when(binary("==", lane, int(warp - 1)), () => ctx.emit({ kind: "StoreShared", buffer, index: binary("/", ctx.thread, int(warp)), values: [running] }));
  const before = ctx.name("before");
  const total = ctx.name("total");
  ctx.emit({ kind: "Variable", name: before, type, init: identity(fn, type) }, { kind: "Variable", name: total, type, init: identity(fn, type) });
  ctx.repeated("w", warps, (w) => {
    const part: Expr = { kind: "Shared", type, buffer, index: w };
    ctx.emit({ kind: "Assign", name: before, value: select(binary("<", w, binary("/", ctx.thread, int(warp))), combine(fn, variable(type, before), part), variable(type, before)) });
    ctx.emit({ kind: "Assign", name: total, value: combine(fn, variable(type, total), part) });
  });
  return { before: ctx.bind("before_thread", combine(fn, variable(type, before), inWarp)), total: variable(type, total) };
}

/**
 * Through shared memory, with three meetings whatever the number of threads: groups of about its root fold their values, then every thread
 * folds the groups before its own and the values before it in its own. Threads beyond `scanning` are copies and read along.
 */
function scanByMemory(ctx: Lowering, fn: ReduceFn, type: Number, value: Expr, scanning: number): { before: Expr; total: Expr } {
  const alone = scanning === ctx.threads;
  const position = alone ? ctx.thread : ctx.bind("position", binary("%", ctx.thread, int(scanning)));
  const size = 2 ** Math.ceil(Math.log2(scanning) / 2);
  const groups = Math.ceil(scanning / size);
  const buffer = ctx.scratch(type, scanning);
  const store = (to: string, index: Expr, stored: Expr): void => ctx.emit({ kind: "StoreShared", buffer: to, index, values: [stored] });
  const read = (from: string, index: Expr): Expr => ({ kind: "Shared", type, buffer: from, index });
  const fold = (name: string, count: number, write: (i: Expr) => Expr): void => ctx.repeated("i", count, (i) => ctx.emit({ kind: "Assign", name, value: write(i) }));
  const running = (wish: string): string => {
    const name = ctx.name(wish);
    ctx.emit({ kind: "Variable", name, type, init: identity(fn, type) });
    return name;
  };
  const own = ctx.bind("own", value);
  if (alone) store(buffer, position, own);
  else ctx.when(binary("<", ctx.thread, int(scanning)), () => store(buffer, position, own));
  const sums = ctx.groupSums(type, groups);
  ctx.when(binary("<", ctx.thread, int(groups)), () => {
    const sum = running("sum");
    fold(sum, size, (i) => combine(fn, variable(type, sum), read(buffer, add(mul(ctx.thread, int(size)), i))));
    store(sums, ctx.thread, variable(type, sum));
  });
  const group = ctx.bind("group_of_thread", binary("/", position, int(size)));
  const [before, total] = [running("before"), running("total")];
  ctx.repeated("g", groups, (g) => {
    const part = ctx.bind("part", read(sums, g));
    ctx.emit({ kind: "Assign", name: before, value: select(binary("<", g, group), combine(fn, variable(type, before), part), variable(type, before)) });
    ctx.emit({ kind: "Assign", name: total, value: combine(fn, variable(type, total), part) });
  });
  fold(before, size, (i) => {
    const at = ctx.bind("at", add(mul(group, int(size)), i));
    return select(binary("<", at, position), combine(fn, variable(type, before), read(buffer, at)), variable(type, before));
  });
  return { before: variable(type, before), total: variable(type, total) };
}

/** Threads that hold different elements of a one-axis layout. */
const scanningThreads = (layout: Layout): number => layout.threads.reduce((n, d) => (d.axis === null ? n : n * d.size), 1);

/** Runs `write` for each stretch of the axis that all threads hold together; `write` gets each thread's own consecutive elements. */
function overStretches(ctx: Lowering, layout: Layout, of: TileValue, write: (lanes: readonly Cursor[]) => void): void {
  const first = layout.registers[0];
  const perThread = first && first.stride === 1 ? first.size : 1;
  const rest = perThread > 1 ? layout.registers.slice(1) : layout.registers;
  const stretches = rest.reduce((n, d) => n * d.size, 1);
  ctx.repeated("stretch", stretches, (stretch) => {
    let below = 1;
    const slow = rest.map((d): Expr => {
      const digit = binary("%", binary("/", stretch, int(below)), int(d.size));
      below *= d.size;
      return stretches === d.size ? stretch : digit;
    });
    write(
      Array.from({ length: perThread }, (_, lane): Cursor => {
        const digits = perThread > 1 ? [int(lane), ...slow] : slow;
        return { coords: coordsAt(ctx, layout, of.axes, digits), layout, digits };
      }),
    );
  }, true);
}

export function scan(ctx: Lowering, s: Extract<PlanStmt, { kind: "Scan" }>): void {
  ctx.source(s.value.loc);
  const { op, layout } = s;
  const type = reducedType(computeType(op.of.dtype));
  const array = ctx.declareRegisters(s.value, type, registerCount(layout));
  if (op.of.axes.length > 1) return scanPerElement(ctx, s, type, array);
  const base = ctx.name(`${s.value.label}_base`);
  ctx.emit({ kind: "Variable", name: base, type, init: identity(op.fn, type) });
  overStretches(ctx, layout, op.of, (lanes) => {
    const values = lanes.map((at) => ctx.bind("item", select(insideTile(ctx, layout, op.of.axes, at.coords), convert(type, element(ctx, op.of, at)), identity(op.fn, type))));
    const { before, total } = scanThreads(ctx, op.fn, type, values.reduce((a, b) => combine(op.fn, a, b)), scanningThreads(layout));
    let running = ctx.bind("sofar", combine(op.fn, variable(type, base), before));
    lanes.forEach((at, i) => {
      running = ctx.bind("sofar", combine(op.fn, running, values[i]!));
      ctx.emit({ kind: "SetRegister", array, index: registerIndex(layout, at.digits!, [op.axis]), value: running });
    });
    ctx.emit({ kind: "Assign", name: base, value: combine(op.fn, variable(type, base), total) });
  });
}

/** Tiles of several axes: each element folds its own prefix from shared memory. */
function scanPerElement(ctx: Lowering, s: Extract<PlanStmt, { kind: "Scan" }>, type: Number, array: string): void {
  const { op, layout } = s;
  const axes = s.value.axes.map((a) => a.name);
  overRegisters(ctx, layout, s.value.axes, (at) => {
    const name = ctx.name("running");
    ctx.emit({ kind: "Variable", name, type, init: identity(op.fn, type) });
    const index = ctx.name(op.axis);
    const body = ctx.block(() => {
      const value = convert(type, element(ctx, op.of, { coords: new Map(at.coords).set(op.axis, variable("i32", index)) }));
      ctx.emit({ kind: "Assign", name, value: combine(op.fn, variable(type, name), value) });
    });
    ctx.emit({ kind: "For", name: index, lo: int(0), hi: add(at.coords.get(op.axis)!, int(1)), step: 1, unroll: false, body });
    ctx.emit({ kind: "SetRegister", array, index: registerIndex(layout, at.digits!, axes), value: variable(type, name) });
  });
}

/** Appends the kept elements in order. `count` is the list's length variable. */
export function push(ctx: Lowering, s: Extract<PlanStmt, { kind: "AppendPush" }>, view: Extract<PlanStmt, { kind: "Append" }>["view"], count: string): void {
  ctx.source(s.loc);
  const { layout } = s;
  const length = variable("i32", count);
  const axis = view.coords.find((c) => c.kind === "Block")!;
  const listAxis = axis.kind === "Block" ? axis.axis.name : "";
  overStretches(ctx, layout, s.of, (lanes) => {
    const keeps = lanes.map((at) => ctx.bind("keep", and(insideTile(ctx, layout, s.of.axes, at.coords), convert("bool", element(ctx, s.keep, at)))));
    const own = keeps.map((k) => convert("i32", k)).reduce(add);
    const { before, total } = scanThreads(ctx, "sum", "i32", own, scanningThreads(layout));
    const name = ctx.name("at");
    ctx.emit({ kind: "Variable", name, type: "i32", init: add(length, before) });
    const position = variable("i32", name);
    ctx.facts.learn(name, { min: 0 });
    lanes.forEach((at, i) => {
      const value = convert(computeType(view.dtype), element(ctx, s.of, at));
      const { coords, guard, lastGuard } = address(ctx, view, new Map([[listAxis, position]]), () => undefined);
      ctx.when(keeps[i]!, () => {
        const may = and(ctx.firstCopy(layout), and(guard, and(lastGuard, binary("<", position, int(axis.kind === "Block" ? axis.axis.extent : 0)))));
        ctx.emit({ kind: "StoreGlobal", param: view.param, field: view.field, coords, values: [value], ...(may !== isTrue && { guard: may }), aligned: true });
        ctx.emit({ kind: "Assign", name, value: add(position, int(1)) });
      });
    });
    ctx.emit({ kind: "Assign", name: count, value: add(length, total) });
  });
}
