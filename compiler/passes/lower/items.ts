/** Work over the items of a bag: threads take every T-th of those that it holds, as many turns as that takes. */
import { add, binary, int, mul, variable, type Expr } from "../../ir/expr.ts";
import type { Axis, TileValue } from "../../ir/tile.ts";
import { inputsOf } from "../../ir/walk.ts";
import type { Lowering } from "./context.ts";
import type { Cursor } from "./element.ts";

/** The axis of items that all of some work runs along, where every tile that it reads can be computed at any item. */
export function itemAxis(ctx: Lowering, axes: readonly Axis[], reads: readonly TileValue[]): (Axis & { readonly held: Expr }) | undefined {
  const [axis, ...more] = axes;
  if (!axis?.held || more.length > 0 || !reads.every((v) => isAnywhere(ctx, v))) return undefined;
  return { ...axis, held: axis.held };
}

/** Its value at a position does not depend on the thread that asks. */
function isAnywhere(ctx: Lowering, v: TileValue): boolean {
  const place = ctx.place(v);
  if (place.kind === "Inline") return inputsOf(place.op).every((input) => isAnywhere(ctx, input));
  return place.stage !== undefined || v.axes.length === 0;
}

/**
 * Threads go on alone: `write` must not make them meet. Each takes a run of items: what was added together lies together and often goes to
 * one place, where neighbouring threads would wait for each other. Runs of odd lengths start in different banks.
 */
export function overItems(ctx: Lowering, axis: Axis & { readonly held: Expr }, write: (at: Cursor) => void): void {
  const least = ctx.bind("items_each", binary("/", add(axis.held, int(ctx.threads - 1)), int(ctx.threads)));
  const run = ctx.bind("run", { kind: "Binary", type: "i32", op: "|", a: least, b: int(1) });
  const first = ctx.bind("first_item", mul(ctx.thread, run));
  let name = "";
  const body = ctx.block(() => {
    name = ctx.name("item");
    ctx.facts.learn(name, { min: 0, max: axis.extent - 1 });
    write(cursorAt(ctx, axis, variable("i32", name)));
  });
  ctx.emit({ kind: "For", name, lo: first, hi: { kind: "Call", type: "i32", fn: "min", args: [add(first, run), axis.held] }, step: 1, unroll: false, body });
}

/** All threads take as many turns; `write` gets whether this thread has an item in this one. */
export function overItemsTogether(ctx: Lowering, axis: Axis & { readonly held: Expr }, write: (at: Cursor, inside: Expr) => void): void {
  const { threads } = ctx;
  let name = "";
  const turns = binary("/", add(axis.held, int(threads - 1)), int(threads));
  const body = ctx.block(() => {
    name = ctx.name("turn");
    const item = ctx.bind("item", add(mul(variable("i32", name), int(threads)), ctx.thread));
    // a thread without an item looks at the first one
    const at = ctx.bind("at", { kind: "Select", type: "i32", cond: binary("<", item, axis.held), then: item, otherwise: int(0) });
    write(cursorAt(ctx, axis, at), binary("<", item, axis.held));
  });
  ctx.emit({ kind: "For", name, lo: int(0), hi: turns, step: 1, unroll: false, body });
}

/** Tiles without axes are read from registers; the layout says that all threads hold them. */
const cursorAt = (ctx: Lowering, axis: Axis, item: Expr): Cursor => ({
  coords: new Map([[axis.name, item]]),
  layout: { threads: [{ axis: axis.name, size: ctx.threads, stride: 1 }], registers: [] },
  digits: [],
});
