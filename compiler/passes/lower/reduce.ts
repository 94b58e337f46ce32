/** Reductions: registers first, then lanes by shuffles, then warps through shared memory. Always in the same order. */
import { add, binary, constant, convert, int, mul, select, sub, variable, type Expr, type ScalarType } from "../../ir/expr.ts";
import { project, registerCount, type Layout } from "../../ir/layout.ts";
import { computeType, type PlanStmt } from "../../ir/plan.ts";
import type { ReduceFn } from "../../ir/tile.ts";
import { axisNames } from "../../ir/walk.ts";
import type { Lowering } from "./context.ts";
import { element, registerIndex } from "./element.ts";
import { itemAxis, overItems } from "./items.ts";
import { coordsAt, insideTile, overDigits, slowestFirst } from "./work.ts";

export type Number = "f32" | "i32" | "u32";

export function identity(fn: ReduceFn, type: Number): Expr {
  if (fn === "sum") return constant(type, 0);
  const least = { f32: -Infinity, i32: -(2 ** 31), u32: 0 };
  const most = { f32: Infinity, i32: 2 ** 31 - 1, u32: 2 ** 32 - 1 };
  return constant(type, (fn === "max" ? least : most)[type]);
}
export const combine = (fn: ReduceFn, a: Expr, b: Expr): Expr => (fn === "sum" ? binary("+", a, b) : { kind: "Call", type: a.type, fn, args: [a, b] });
/** Type in which values are reduced: truth values count. */
export const reducedType = (type: ScalarType): Number => (type === "bool" ? "i32" : type);

/** Elements folded one after the other into one register; more run as two chains, for a sum waits for the one before it. */
const LONGEST_CHAIN = 16;

/** Partial results of reductions that come in parts, by value id. */
const partials = new WeakMap<Lowering, Map<number, string>>();

export function reduce(ctx: Lowering, s: Extract<PlanStmt, { kind: "Reduce" }>): void {
  ctx.source(s.value.loc);
  const { op, plan, part = { index: 0, count: 1 } } = s;
  const { layout } = plan;
  const type = reducedType(computeType(op.of.dtype));
  const kept = axisNames(s.value);
  const result = project(layout, kept);
  const isKept = (i: number) => kept.includes(layout.registers[i]!.axis!);
  const order = slowestFirst(layout);
  const folded = order.filter((i) => !isKept(i));
  const fastest = folded.at(-1);
  const long = folded.reduce((n, i) => n * layout.registers[i]!.size, 1) > LONGEST_CHAIN && fastest !== undefined && layout.registers[fastest]!.size % 2 === 0;
  if (!long && part.count === 1) return reduceAtOnce(ctx, s, type, result);

  // one register for each result and chain; everything is folded in one walk over the operand
  const array = ctx.declareRegisters(s.value, type, registerCount(result));
  const chains = long ? 2 : 1;
  const count = registerCount(result);
  const known = partials.get(ctx) ?? new Map<number, string>();
  partials.set(ctx, known);
  if (part.index === 0) {
    known.set(s.value.id, ctx.array(`${s.value.label}_${op.fn}`, type, count * chains));
    ctx.unrolled("r", count * chains, (index) => ctx.emit({ kind: "SetRegister", array: known.get(s.value.id)!, index, value: identity(op.fn, type) }));
  }
  const totals = known.get(s.value.id)!;
  const slowest = layout.registers.length - 1;
  const visit = (digits: readonly Expr[]): void => {
    const coords = coordsAt(ctx, layout, op.of.axes, digits);
    const value = convert(type, element(ctx, op.of, { coords, layout, digits: [...digits] }));
    const masked = select(insideTile(ctx, layout, op.of.axes, coords), value, identity(op.fn, type));
    const chain = long ? binary("%", digits[fastest!]!, int(2)) : int(0);
    const index = add(mul(registerIndex(layout, digits, kept), int(chains)), chain);
    ctx.emit({ kind: "SetRegister", array: totals, index, value: combine(op.fn, { kind: "Reg", type, array: totals, index }, masked) });
  };
  if (part.count === 1) overDigits(ctx, layout.registers, order, [], visit);
  else {
    const each = layout.registers[slowest]!.size / part.count;
    ctx.unrolled(layout.registers[slowest]!.axis!, each, (i) => {
      const values: Expr[] = [];
      values[slowest] = add(i, int(part.index * each));
      overDigits(ctx, layout.registers, order.slice(1), values, visit);
    });
  }
  if (part.index < part.count - 1) return;
  ctx.unrolled("r", count, (r) => {
    const chain = (c: number): Expr => ({ kind: "Reg", type, array: totals, index: add(mul(r, int(chains)), int(c)) });
    ctx.emit({ kind: "SetRegister", array, index: r, value: long ? combine(op.fn, chain(0), chain(1)) : chain(0) });
  });
  for (const mask of plan.shuffles) {
    const other = ctx.array("other", type, count);
    ctx.unrolled("r", count, (r) => {
      const own: Expr = { kind: "Reg", type, array, index: r };
      ctx.emit({ kind: "Call", instruction: "shuffleXor", operands: [{ kind: "Registers", array: other, index: r, count: 1 }, { kind: "Value", value: own }, { kind: "Value", value: int(mask) }] });
      ctx.emit({ kind: "SetRegister", array, index: r, value: combine(op.fn, own, { kind: "Reg", type, array: other, index: r }) });
    });
  }
  if (plan.joins.length > 0) join(ctx, array, type, count, op.fn, plan.joins);
}

/** A tile folded into a scalar by one thread. */
export function serialReduce(ctx: Lowering, s: Extract<PlanStmt, { kind: "SerialReduce" }>): void {
  ctx.source(s.scalar.loc);
  const { op } = s;
  const type = reducedType(computeType(op.of.dtype));
  const total = ctx.name(`${s.scalar.name}_${op.fn}`);
  ctx.emit({ kind: "Variable", name: total, type, init: identity(op.fn, type) });
  const over = (axes: typeof op.of.axes, coords: ReadonlyMap<string, Expr>): void => {
    const [axis, ...rest] = axes;
    if (axis) return ctx.unrolled(axis.name, axis.extent, (i) => over(rest, new Map(coords).set(axis.name, i)));
    ctx.emit({ kind: "Assign", name: total, value: combine(op.fn, variable(type, total), convert(type, element(ctx, op.of, { coords }))) });
  };
  over(op.of.axes, new Map());
  ctx.emit({ kind: "Let", name: s.scalar.name, value: convert(s.scalar.type, variable(type, total)) });
  ctx.facts.learn(s.scalar.name, {});
}

function reduceAtOnce(ctx: Lowering, s: Extract<PlanStmt, { kind: "Reduce" }>, type: Number, result: Layout): void {
  const { op, plan } = s;
  const { layout } = plan;
  const kept = axisNames(s.value);
  const array = ctx.declareRegisters(s.value, type, registerCount(result));
  const isKept = (i: number) => kept.includes(layout.registers[i]!.axis!);
  const order = slowestFirst(layout);
  overDigits(ctx, layout.registers, order.filter(isKept), [], (outer) => {
    const total = ctx.name(`${s.value.label}_${op.fn}`);
    ctx.emit({ kind: "Variable", name: total, type, init: identity(op.fn, type) });
    const so = variable(type, total);
    const take = (value: Expr): void => ctx.emit({ kind: "Assign", name: total, value: combine(op.fn, so, value) });
    const items = itemAxis(ctx, op.of.axes, [op.of]);
    if (items) overItems(ctx, items, (at) => take(convert(type, element(ctx, op.of, at))));
    else
      overDigits(ctx, layout.registers, order.filter((i) => !isKept(i)), [...outer], (digits) => {
        const coords = coordsAt(ctx, layout, op.of.axes, digits);
        const value = convert(type, element(ctx, op.of, { coords, layout, digits: [...digits] }));
        take(select(insideTile(ctx, layout, op.of.axes, coords), value, identity(op.fn, type)));
      });
    for (const mask of plan.shuffles) {
      const other = ctx.array("other", type, 1);
      ctx.emit({
        kind: "Call",
        instruction: "shuffleXor",
        operands: [
          { kind: "Registers", array: other, index: int(0), count: 1 },
          { kind: "Value", value: so },
          { kind: "Value", value: int(mask) },
        ],
      });
      ctx.emit({ kind: "Assign", name: total, value: combine(op.fn, so, { kind: "Reg", type, array: other, index: int(0) }) });
    }
    ctx.emit({ kind: "SetRegister", array, index: registerIndex(layout, outer, kept), value: so });
  });
  if (plan.joins.length > 0) join(ctx, array, type, registerCount(result), op.fn, plan.joins);
}

interface Join {
  readonly stride: number;
  readonly size: number;
}
/** Partial results that one thread folds at most, one after the other. */
const MOST_PARTS = 32;

/** Joins partial results of threads that differ in some digits; every one of them gets the result. Many are joined in steps of about their root. */
function join(ctx: Lowering, array: string, type: Number, registers: number, fn: ReduceFn, joins: readonly Join[]): void {
  const parts = joins.reduce((n, j) => n * j.size, 1);
  if (parts <= MOST_PARTS) return joinAtOnce(ctx, array, type, registers, fn, joins);
  for (const j of joins.flatMap(halves)) joinAtOnce(ctx, array, type, registers, fn, [j]);
}
/** Sizes are powers of two, as threads are. */
function halves(j: Join): readonly Join[] {
  if (j.size <= MOST_PARTS) return [j];
  const size = 2 ** Math.ceil(Math.log2(j.size) / 2);
  return [{ stride: j.stride, size }, { stride: j.stride * size, size: j.size / size }];
}

/** A few registers at a time, as the exchange has room. */
function joinAtOnce(ctx: Lowering, array: string, type: Number, registers: number, fn: ReduceFn, joins: readonly Join[]): void {
  const { threads } = ctx;
  const together = Math.max(1, Math.min(registers, Math.floor(ctx.machine.exchangeBytes / (4 * threads))));
  const buffer = ctx.scratch(type, together * threads);
  const base = joins.reduce<Expr>((t, j) => sub(t, mul(binary("%", binary("/", ctx.thread, int(j.stride)), int(j.size)), int(j.stride))), ctx.thread);
  const group = ctx.once("group", base);
  for (let from = 0; from < registers; from += together) {
    const count = Math.min(together, registers - from);
    const own = (r: Expr): Expr => add(r, int(from));
    ctx.unrolled("r", count, (r) => ctx.emit({ kind: "StoreShared", buffer, index: add(mul(r, int(threads)), ctx.thread), values: [{ kind: "Reg", type, array, index: own(r) }] }));
    ctx.unrolled("r", count, (r) => {
      const total = ctx.name("joined");
      ctx.emit({ kind: "Variable", name: total, type, init: identity(fn, type) });
      const over = (rest: readonly Join[], t: Expr): void => {
        const [j, ...more] = rest;
        if (!j) return ctx.emit({ kind: "Assign", name: total, value: combine(fn, variable(type, total), { kind: "Shared", type, buffer, index: add(mul(r, int(threads)), t) }) });
        ctx.repeated("part", j.size, (part) => over(more, add(t, mul(part, int(j.stride)))));
      };
      over(joins, group);
      ctx.emit({ kind: "SetRegister", array, index: own(r), value: variable(type, total) });
    });
  }
}
