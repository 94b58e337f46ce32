/** Bitmaps: words in shared memory. Marking sets bits in any order; going through the words gives the marks in theirs. */
import { add, and, binary, constant, convert, int, mul, sub, variable, type Expr } from "../../ir/expr.ts";
import { computeType, type PlanStmt } from "../../ir/plan.ts";
import type { TileValue } from "../../ir/tile.ts";
import { clear } from "./clear.ts";
import type { Lowering } from "./context.ts";
import { address, element, isTrue, type Cursor } from "./element.ts";
import { itemAxis, overItems } from "./items.ts";
import { scanThreads } from "./scan.ts";
import { insideTile, overRegisters } from "./work.ts";

export interface BitmapMemory {
  readonly size: number;
  readonly buffer: string;
}

export function declareBitmap(ctx: Lowering, s: Extract<PlanStmt, { kind: "Bitmap" }>, bitmaps: Map<string, BitmapMemory>): void {
  ctx.source(s.loc);
  const words = Math.ceil(s.size / 32);
  const buffer = ctx.collective(s.name);
  bitmaps.set(s.name, { size: s.size, buffer });
  clear(ctx, buffer, words);
}

export function addToBitmap(ctx: Lowering, s: Extract<PlanStmt, { kind: "BitmapAdd" }>, { buffer }: BitmapMemory): void {
  ctx.source(s.loc);
  const mark = (at: Cursor, inside: Expr): void =>
    ctx.when(and(inside, convert("bool", element(ctx, s.keep, at))), () => {
      const position = ctx.bind("marked", convert("u32", element(ctx, s.position, at)));
      const bit: Expr = { kind: "Binary", type: "u32", op: "<<", a: constant("u32", 1), b: { kind: "Binary", type: "u32", op: "&", a: position, b: constant("u32", 31) } };
      ctx.emit({ kind: "Atomic", fn: "or", buffer, index: convert("i32", shiftRight(position, 5)), value: bit });
    });
  const axis = itemAxis(ctx, s.position.axes, [s.position, s.keep]);
  if (axis) return overItems(ctx, axis, (at) => mark(at, isTrue));
  ctx.when(ctx.firstCopy(s.layout), () => overRegisters(ctx, s.layout, s.position.axes, (at) => mark(at, insideTile(ctx, s.layout, s.position.axes, at.coords))));
}
const shiftRight = (a: Expr, by: number): Expr => ({ kind: "Binary", type: "u32", op: ">>>", a, b: constant("u32", by) });

/** The list that the marks go to: its view, and the name of its length. */
export interface Target {
  readonly view: Extract<PlanStmt, { kind: "Append" }>["view"];
  readonly count: string;
  /** Shared memory in which the list's part is put together, so that whole lines are written; absent where there is no room. */
  readonly stage: { readonly buffer: string; readonly elements: number } | undefined;
}

/** Each thread takes a run of words, counts the marks before it, and writes the values of those of its run. */
export function pushMarked(ctx: Lowering, s: Extract<PlanStmt, { kind: "AppendMarked" }>, marks: BitmapMemory, to: Target): void {
  ctx.source(s.loc);
  const { threads } = ctx;
  const words = Math.ceil(marks.size / 32);
  const used = ctx.bind("words", { kind: "Call", type: "i32", fn: "min", args: [binary("/", add(s.limit, int(31)), int(32)), int(words)] });
  const each = ctx.bind("words_each", binary("/", add(used, int(threads - 1)), int(threads)));
  const first = ctx.bind("from", mul(ctx.thread, each));
  const end = ctx.bind("to", { kind: "Call", type: "i32", fn: "min", args: [add(first, each), used] });
  const word = (w: Expr): Expr => ({ kind: "Shared", type: "u32", buffer: marks.buffer, index: w });

  const own = ctx.name("own");
  ctx.emit({ kind: "Variable", name: own, type: "i32", init: int(0) });
  loop(ctx, "w", first, end, (w) => ctx.emit({ kind: "Assign", name: own, value: add(variable("i32", own), convert("i32", popcount(word(w)))) }));
  const { before, total } = scanThreads(ctx, "sum", "i32", variable("i32", own), threads);

  const length = variable("i32", to.count);
  const { stage } = to;
  const next = ctx.name("at");
  const at = variable("i32", next);
  ctx.emit({ kind: "Variable", name: next, type: "i32", init: stage === undefined ? add(length, before) : before });
  loop(ctx, "w", first, end, (w) => {
    const bits = ctx.name("bits");
    const left = variable("u32", bits);
    ctx.emit({ kind: "Variable", name: bits, type: "u32", init: word(w) });
    const base = ctx.bind("base", mul(w, int(32)));
    loop(ctx, "mark", int(0), ctx.bind("marks", convert("i32", popcount(left))), () => {
      const others = ctx.bind("others", { kind: "Binary", type: "u32", op: "&", a: left, b: sub(left, constant("u32", 1)) });
      // the lowest bit alone, less one, is a one for each position below it
      const position = add(base, convert("i32", popcount(sub({ kind: "Binary", type: "u32", op: "^", a: left, b: others }, constant("u32", 1)))));
      if (stage === undefined) write(ctx, to, at, valueAt(ctx, s.of, position));
      else ctx.when(binary("<", at, int(stage.elements)), () => ctx.emit({ kind: "StoreShared", buffer: stage.buffer, index: at, values: [convert("u32", position)] }));
      ctx.emit({ kind: "Assign", name: bits, value: others }, { kind: "Assign", name: next, value: add(at, int(1)) });
    });
  });
  if (stage !== undefined) {
    const count = ctx.bind("listed", { kind: "Call", type: "i32", fn: "min", args: [total, int(stage.elements)] });
    loop(ctx, "i", ctx.thread, count, (i) => {
      const position = convert("i32", { kind: "Shared", type: "u32", buffer: stage.buffer, index: i });
      write(ctx, to, ctx.bind("slot", add(length, i)), valueAt(ctx, s.of, position));
    }, threads);
  }
  ctx.emit({ kind: "Assign", name: to.count, value: add(length, total) });
}

/** The value at a marked position. */
function valueAt(ctx: Lowering, v: TileValue, at: Expr): Expr {
  const position = ctx.bind("position", at);
  const [axis] = v.axes;
  if (position.kind === "Var") ctx.facts.learn(position.name, { min: 0, max: axis!.extent - 1 });
  return element(ctx, v, { coords: new Map([[axis!.name, position]]) });
}

const popcount = (word: Expr): Expr => ({ kind: "Call", type: "u32", fn: "popcount", args: [word] });

function loop(ctx: Lowering, wish: string, lo: Expr, hi: Expr, write: (index: Expr) => void, step = 1): void {
  let name = "";
  const body = ctx.block(() => {
    name = ctx.name(wish);
    ctx.facts.learn(name, { min: 0 });
    write(variable("i32", name));
  });
  ctx.emit({ kind: "For", name, lo, hi, step, unroll: false, body });
}

/** One element of the list; what does not fit the view is dropped. */
function write(ctx: Lowering, { view }: Target, slot: Expr, value: Expr): void {
  const coord = view.coords.find((c) => c.kind === "Block");
  if (coord?.kind !== "Block") return;
  const { coords, guard, lastGuard } = address(ctx, view, new Map([[coord.axis.name, slot]]), () => undefined);
  const inView = binary("<", slot, int(coord.axis.extent));
  ctx.emit({ kind: "StoreGlobal", param: view.param, field: view.field, coords, values: [convert(computeType(view.dtype), value)], guard: and(guard, and(lastGuard, inView)), aligned: true });
}
