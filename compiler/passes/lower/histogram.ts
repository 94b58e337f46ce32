/** Histograms: counters in shared memory, added to atomically, searched from the top by all threads together. */
import { add, and, binary, constant, convert, int, mul, select, sub, variable, type Expr } from "../../ir/expr.ts";
import type { PlanStmt } from "../../ir/plan.ts";
import type { ScalarValue } from "../../ir/tile.ts";
import { clear } from "./clear.ts";
import type { Lowering } from "./context.ts";
import { element, isTrue, type Cursor } from "./element.ts";
import { itemAxis, overItems } from "./items.ts";
import { beforeThread } from "./scan.ts";
import { insideTile, overRegisters } from "./work.ts";

export function declareHistogram(ctx: Lowering, s: Extract<PlanStmt, { kind: "Histogram" }>, bins: Map<string, number>): void {
  ctx.source(s.loc);
  bins.set(s.name, s.bins);
  clear(ctx, ctx.collective(s.name), s.bins);
}

export function addToHistogram(ctx: Lowering, s: Extract<PlanStmt, { kind: "HistogramAdd" }>): void {
  ctx.source(s.loc);
  const count = (at: Cursor, inside: Expr): void => {
    const keep = and(inside, convert("bool", element(ctx, s.keep, at)));
    ctx.when(keep, () => ctx.emit({ kind: "Atomic", fn: "add", buffer: ctx.collective(s.histogram), index: convert("i32", element(ctx, s.bin, at)), value: constant("u32", 1) }));
  };
  const axis = itemAxis(ctx, s.bin.axes, [s.bin, s.keep]);
  if (axis) return overItems(ctx, axis, (at) => count(at, isTrue));
  ctx.when(ctx.firstCopy(s.layout), () => overRegisters(ctx, s.layout, s.bin.axes, (at) => count(at, insideTile(ctx, s.layout, s.bin.axes, at.coords))));
}

type Find = Extract<PlanStmt, { kind: "HistogramFind" }>;

/** Threads take runs of bins from the top; those whose runs cross what each find wants publish its bin. The finds are of one histogram. */
export function findInHistogram(ctx: Lowering, finds: readonly Find[], bins: number): void {
  const { histogram, loc } = finds[0]!;
  ctx.source(loc);
  const { threads } = ctx;
  const each = Math.ceil(bins / threads);
  const even = each * threads === bins;
  const binOf = (r: number): Expr => sub(int(bins - 1), add(mul(ctx.thread, int(each)), int(r)));
  const wants = finds.map((s) => ctx.bind("want", convert("u32", s.want)));
  const counts = Array.from({ length: each }, (_, r) => {
    const bin = binOf(r);
    const counter: Expr = { kind: "Shared", type: "u32", buffer: ctx.collective(histogram), index: even ? bin : { kind: "Call", type: "i32", fn: "max", args: [bin, int(0)] } };
    return ctx.bind("count", even ? counter : select(binary(">=", bin, int(0)), counter, constant("u32", 0)));
  });
  const own = ctx.bind("counts", counts.reduce(add));
  const before = beforeThread(ctx, "sum", "u32", own, threads);
  const after = ctx.bind("after", add(before, own));
  const found = ctx.scratch("i32", 3 * finds.length);

  function publish(want: Expr, at: number): void {
    // nothing is wanted: the top bin; too much is wanted: bin 0
    const none = and(binary("==", ctx.thread, int(0)), binary("==", want, constant("u32", 0)));
    const all = and(binary("==", ctx.thread, int(Math.ceil(bins / each) - 1)), binary("<", after, want));
    ctx.when(binary("||", and(binary("<", before, want), binary(">=", after, want)), binary("||", none, all)), () => {
      const part = (wish: string, init: Expr): string => {
        const name = ctx.name(wish);
        ctx.emit({ kind: "Variable", name, type: "u32", init });
        return name;
      };
      const [above, inBin, down] = [part("above", before), part("in_bin", counts[0]!), part("down", constant("u32", 0))];
      const [aboveSoFar, inThis] = [variable("u32", above), variable("u32", inBin)];
      counts.slice(1).forEach((count, i) => {
        const isBin = even ? isTrue : binary(">=", binOf(i + 1), int(0));
        ctx.when(and(isBin, binary("<", add(aboveSoFar, inThis), want)), () => {
          ctx.emit({ kind: "Assign", name: above, value: add(aboveSoFar, inThis) }, { kind: "Assign", name: inBin, value: count }, { kind: "Assign", name: down, value: constant("u32", i + 1) });
        });
      });
      const results = [sub(binOf(0), convert("i32", variable("u32", down))), convert("i32", aboveSoFar), convert("i32", inThis)];
      results.forEach((value, i) => ctx.emit({ kind: "StoreShared", buffer: found, index: int(at + i), values: [value] }));
    });
  }
  wants.forEach((want, i) => publish(want, 3 * i));

  finds.forEach((s, i) => {
    const read = (v: ScalarValue, part: number): void => {
      ctx.emit({ kind: "Uniform", name: v.name, value: convert(v.type, { kind: "Shared", type: "i32", buffer: found, index: int(3 * i + part) }) });
    };
    ctx.facts.learn(s.bin.name, { min: 0, max: bins - 1 });
    ctx.facts.learn(s.above.name, { min: 0 });
    read(s.bin, 0);
    if (ctx.isRead(s.above.name)) read(s.above, 1);
    if (ctx.isRead(s.inBin.name)) read(s.inBin, 2);
  });
}
