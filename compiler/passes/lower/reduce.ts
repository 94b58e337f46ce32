/** Reductions: registers first, then lanes by shuffles, then warps through shared memory. Always in the same order. */
import { add, binary, constant, convert, int, mul, select, sub, variable, type Expr, type ScalarType } from "../../ir/expr.ts";
import { project, registerCount } from "../../ir/layout.ts";
import { computeType, type PlanStmt } from "../../ir/plan.ts";
import type { ReduceFn } from "../../ir/tile.ts";
import { axisNames } from "../../ir/walk.ts";
import { thread, type Lowering } from "./context.ts";
import { element, registerIndex } from "./element.ts";
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

export function reduce(ctx: Lowering, s: Extract<PlanStmt, { kind: "Reduce" }>): void {
  ctx.source(s.value.loc);
  const { op, plan } = s;
  const { layout } = plan;
  const type = reducedType(computeType(op.of.dtype));
  const kept = axisNames(s.value);
  const result = project(layout, kept);
  const array = ctx.declareRegisters(s.value, type, registerCount(result));
  const isKept = (i: number) => kept.includes(layout.registers[i]!.axis!);
  const order = slowestFirst(layout);
  overDigits(ctx, layout.registers, order.filter(isKept), [], (outer) => {
    const total = ctx.name(`${s.value.label}_${op.fn}`);
    ctx.emit({ kind: "Variable", name: total, type, init: identity(op.fn, type) });
    const so = variable(type, total);
    overDigits(ctx, layout.registers, order.filter((i) => !isKept(i)), [...outer], (digits) => {
      const coords = coordsAt(ctx, layout, op.of.axes, digits);
      const value = convert(type, element(ctx, op.of, { coords, layout, digits: [...digits] }));
      const masked = select(insideTile(ctx, layout, op.of.axes, coords), value, identity(op.fn, type));
      ctx.emit({ kind: "Assign", name: total, value: combine(op.fn, so, masked) });
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

/** Joins partial results of threads that differ in some digits; every one of them gets the result. A few registers at a time, as the exchange has room. */
function join(ctx: Lowering, array: string, type: Number, registers: number, fn: ReduceFn, joins: readonly { stride: number; size: number }[]): void {
  const { threads } = ctx.plan;
  const together = Math.max(1, Math.min(registers, Math.floor(ctx.machine.exchangeBytes / (4 * threads))));
  const buffer = ctx.scratch(type, together * threads);
  const base = joins.reduce<Expr>((t, j) => sub(t, mul(binary("%", binary("/", thread, int(j.stride)), int(j.size)), int(j.stride))), thread);
  const group = ctx.once("group", base);
  for (let from = 0; from < registers; from += together) {
    const count = Math.min(together, registers - from);
    const own = (r: Expr): Expr => add(r, int(from));
    ctx.unrolled("r", count, (r) => ctx.emit({ kind: "StoreShared", buffer, index: add(mul(r, int(threads)), thread), values: [{ kind: "Reg", type, array, index: own(r) }] }));
    ctx.unrolled("r", count, (r) => {
      const total = ctx.name("joined");
      ctx.emit({ kind: "Variable", name: total, type, init: identity(fn, type) });
      const over = (rest: readonly { stride: number; size: number }[], t: Expr): void => {
        const [j, ...more] = rest;
        if (!j) return ctx.emit({ kind: "Assign", name: total, value: combine(fn, variable(type, total), { kind: "Shared", type, buffer, index: add(mul(r, int(threads)), t) }) });
        ctx.repeated("part", j.size, (part) => over(more, add(t, mul(part, int(j.stride)))));
      };
      over(joins, group);
      ctx.emit({ kind: "SetRegister", array, index: own(r), value: variable(type, total) });
    });
  }
}
