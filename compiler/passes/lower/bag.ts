/**
 * Bags: in shared memory, the words of each field side by side, and a counter. A thread counts what it adds, a warp takes one stretch for all its
 * lanes; who comes first decides where an item stands, which nothing that reads the bag can see.
 */
import { add, and, binary, constant, convert, int, select, sub, variable, type Expr } from "../../ir/expr.ts";
import type { Layout } from "../../ir/layout.ts";
import { computeType, type PlanStmt } from "../../ir/plan.ts";
import type { TileValue } from "../../ir/tile.ts";
import { asWord, wordIndex, type BagMemory } from "./bag_memory.ts";
import type { Lowering } from "./context.ts";
import { element, registerIndex, type Cursor } from "./element.ts";
import { itemAxis, overItemsTogether } from "./items.ts";
import { coordsAt, insideTile, overDigits, slowestFirst } from "./work.ts";

export function declareBag(ctx: Lowering, s: Extract<PlanStmt, { kind: "Bag" }>): void {
  ctx.source(s.loc);
  const { capacity, fields, name } = s;
  const { bags } = ctx;
  if (!bags.has(name)) {
    bags.set(name, { capacity, fields, buffer: ctx.collective(name), counter: ctx.sharedBuffer(`${name}_added`, "u32", 1, `items added to ${name}`) });
  }
  ctx.when(binary("==", ctx.thread, int(0)), () => ctx.emit({ kind: "StoreShared", buffer: bags.get(name)!.counter, index: int(0), values: [constant("u32", 0)] }));
}

export function addToBag(ctx: Lowering, s: Extract<PlanStmt, { kind: "BagAdd" }>, bag: BagMemory): void {
  ctx.source(s.loc);
  const axis = itemAxis(ctx, s.keep.axes, [...s.items, s.keep]);
  if (!axis) return addRegisters(ctx, s, bag);
  overItemsTogether(ctx, axis, (at, inside) => {
    const kept = ctx.bind("kept", convert("u32", and(inside, convert("bool", element(ctx, s.keep, at)))));
    put(ctx, bag, kept, (write) => write(kept, () => valuesAt(ctx, s.items, bag, at)));
  });
}

/** At most 32 registers at a time: which of them are kept is one word. */
function addRegisters(ctx: Lowering, s: Extract<PlanStmt, { kind: "BagAdd" }>, bag: BagMemory): void {
  const { layout } = s;
  const names = s.keep.axes.map((a) => a.name);
  const own = ctx.firstCopy(layout);
  overWords(ctx, layout, (word, each) => {
    const bits = ctx.array("kept", "u32", 1);
    const kept: Expr = { kind: "Reg", type: "u32", array: bits, index: int(0) };
    ctx.emit({ kind: "SetRegister", array: bits, index: int(0), value: constant("u32", 0) });
    const at = (digits: readonly Expr[]): Cursor => ({ coords: coordsAt(ctx, layout, s.keep.axes, digits), layout, digits: [...digits] });
    const bit = (digits: readonly Expr[]): Expr => sub(registerIndex(layout, digits, names), word);
    each((digits) => {
      const cursor = at(digits);
      const keep = and(own, and(insideTile(ctx, layout, s.keep.axes, cursor.coords), convert("bool", element(ctx, s.keep, cursor))));
      const value = select(keep, shiftedOne(bit(digits)), constant("u32", 0));
      ctx.emit({ kind: "SetRegister", array: bits, index: int(0), value: { kind: "Binary", type: "u32", op: "|", a: kept, b: value } });
    });
    // what was compared stays compared: tests of the bits below must not become the comparisons again
    if (ctx.machine.instructions.has("opaque")) ctx.emit({ kind: "Call", instruction: "opaque", operands: [{ kind: "Registers", array: bits, index: int(0), count: 1 }] });
    const count = ctx.bind("added", { kind: "Call", type: "u32", fn: "popcount", args: [kept] });
    put(ctx, bag, count, (write) =>
      each((digits) => write({ kind: "Binary", type: "u32", op: "&", a: kept, b: shiftedOne(bit(digits)) }, () => valuesAt(ctx, s.items, bag, at(digits)))),
    );
  });
}
const shiftedOne = (by: Expr): Expr => (by.kind === "Const" ? constant("u32", 2 ** by.value) : { kind: "Binary", type: "u32", op: "<<", a: constant("u32", 1), b: by });

/** Calls `write` for each stretch of up to 32 registers, with the first one's index and a way to go through them. */
function overWords(ctx: Lowering, layout: Layout, write: (first: Expr, each: (f: (digits: readonly Expr[]) => void) => void) => void): void {
  const order = slowestFirst(layout);
  let inner = 0;
  for (let size = 1; inner < layout.registers.length && size * layout.registers[inner]!.size <= 32; inner++) size *= layout.registers[inner]!.size;
  const fast = order.filter((i) => i < inner);
  overDigits(ctx, layout.registers, order.filter((i) => i >= inner), [], (outer) => {
    const start = [...outer];
    for (const i of fast) start[i] = int(0);
    const axes = layout.registers.map((d) => d.axis!);
    write(registerIndex(layout, start, axes), (f) => overDigits(ctx, layout.registers, fast, [...outer], f));
  });
}

const valuesAt = (ctx: Lowering, items: readonly TileValue[], bag: BagMemory, at: Cursor): Expr[] =>
  items.map((v, i) => asWord(convert(computeType(bag.fields[i]!.dtype), element(ctx, v, at))));

/** Takes places for `count` items of this thread and writes them: `each` calls back with every register, and whether (not 0) it is one. */
function put(ctx: Lowering, bag: BagMemory, count: Expr, each: (write: (kept: Expr, values: () => Expr[]) => void) => void): void {
  const { place, fits } = ctx.machine.instructions.has("warpScanAdd") && ctx.threads % ctx.machine.warp === 0 ? placeOfWarp(ctx, bag, count) : placeOfThread(ctx, bag, count);
  const name = ctx.name("place");
  ctx.emit({ kind: "Variable", name, type: "i32", init: convert("i32", place) });
  ctx.when(fits, () =>
    each((kept, values) =>
      ctx.when(binary("!=", kept, constant("u32", 0)), () => {
        store(ctx, bag, variable("i32", name), values());
        ctx.emit({ kind: "Assign", name, value: add(variable("i32", name), int(1)) });
      }),
    ),
  );
}

/** An overfull bag shows nothing: what does not fit as a whole need not be written. */
function placeOfThread(ctx: Lowering, bag: BagMemory, count: Expr): { place: Expr; fits: Expr } {
  const name = ctx.name("first");
  ctx.emit({ kind: "Variable", name, type: "u32", init: constant("u32", bag.capacity) });
  ctx.when(binary("!=", count, constant("u32", 0)), () => {
    const old = ctx.name("before");
    ctx.emit({ kind: "Atomic", fn: "add", buffer: bag.counter, index: int(0), value: count, old }, { kind: "Assign", name, value: variable("u32", old) });
  });
  const place = variable("u32", name);
  return { place, fits: binary("<=", add(place, count), constant("u32", bag.capacity)) };
}

/** One addition to the counter for each warp. */
function placeOfWarp(ctx: Lowering, bag: BagMemory, count: Expr): { place: Expr; fits: Expr } {
  const { warp } = ctx.machine;
  const sums = ctx.array("upto", "u32", 1);
  const upTo: Expr = { kind: "Reg", type: "u32", array: sums, index: int(0) };
  ctx.emit({ kind: "SetRegister", array: sums, index: int(0), value: count });
  ctx.emit({ kind: "Call", instruction: "warpScanAdd", operands: [{ kind: "Registers", array: sums, index: int(0), count: 1 }] });
  const name = ctx.name("first");
  ctx.emit({ kind: "Variable", name, type: "u32", init: constant("u32", 0) });
  const lane = ctx.once("lane", binary("%", ctx.thread, int(warp)));
  ctx.when(binary("==", lane, int(warp - 1)), () => {
    const old = ctx.name("before");
    ctx.emit({ kind: "Atomic", fn: "add", buffer: bag.counter, index: int(0), value: upTo, old }, { kind: "Assign", name, value: add(variable("u32", old), upTo) });
  });
  const fromLast = (wish: string, value: Expr): Expr => {
    const array = ctx.array(wish, "u32", 1);
    ctx.emit({ kind: "Call", instruction: "shuffleIndex", operands: [{ kind: "Registers", array, index: int(0), count: 1 }, { kind: "Value", value }, { kind: "Value", value: int(warp - 1) }] });
    return { kind: "Reg", type: "u32", array, index: int(0) };
  };
  const end = fromLast("end", variable("u32", name));
  const all = fromLast("all", upTo);
  return { place: ctx.bind("mine", sub(add(sub(end, all), upTo), count)), fits: binary("<=", end, constant("u32", bag.capacity)) };
}

/** One item, a word into the place of each field. */
function store(ctx: Lowering, bag: BagMemory, place: Expr, words: readonly Expr[]): void {
  words.forEach((word, field) => ctx.emit({ kind: "StoreShared", buffer: bag.buffer, index: wordIndex(bag, field, place), values: [word] }));
}
