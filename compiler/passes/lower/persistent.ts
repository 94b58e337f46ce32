/**
 * Blocks that stay. "even": each block finds its share of all iterations in a prologue (a sum over the work items, in which every thread
 * takes some of them); the copying role then walks the share and sends every piece, an item and a range of iterations, through a header.
 */
import { add, binary, int, mul, select, sub, substitute, variable, type Expr } from "../../ir/expr.ts";
import type { Persistence, Pipe, PlanStmt } from "../../ir/plan.ts";
import type { GridDim } from "../../ir/tile.ts";
import { hostExpr, multipleOf, type Lowering, type Turns } from "./context.ts";
import { scalarElement } from "./element.ts";
import { fill, headerScalar, headerWord, placeTurn } from "./rings.ts";
import { scanThreads } from "./scan.ts";

type Even = Extract<Persistence, { kind: "even" }>;
type Lower = (ctx: Lowering, list: readonly PlanStmt[]) => void;

const blockIndex: Expr = { kind: "BlockIndex", type: "i32" };
const blockCount: Expr = { kind: "BlockCount", type: "i32" };
const call = (fn: "min" | "max", a: Expr, b: Expr): Expr => ({ kind: "Call", type: "i32", fn, args: [a, b] });

/** Where a block's share starts and how long it is. */
export interface Share {
  readonly item: Expr;
  readonly unit: Expr;
  readonly units: Expr;
}

/** Axes are shorter than this: blocks of so many positions, or more, are one. */
const LONGEST_AXIS = 2 ** 30;
const countOf = (d: GridDim): Expr => (d.step >= LONGEST_AXIS ? int(1) : hostExpr(d.count));
const itemsOf = (ctx: Lowering): Expr => ctx.plan.kernel.grid.map(countOf).reduce(mul);

/** Splits an item number into the grid's indices, the last one fastest. */
export function gridOf(ctx: Lowering, item: Expr): void {
  let rest = item;
  const { grid } = ctx.plan.kernel;
  [...grid].reverse().forEach((d, i) => {
    const count = countOf(d);
    const position = i === grid.length - 1 ? rest : binary("%", rest, count);
    ctx.emit({ kind: "Let", name: d.index.name, value: add(hostExpr(d.lo), mul(position, int(d.step))) });
    ctx.learnGrid(d);
    rest = binary("/", rest, count);
  });
}

/** Iterations of an item's loop and what they cost, with the item's scalars in scope. */
function itemWork(ctx: Lowering, p: Even, item: Expr, lower: Lower): { lo: Expr; hi: Expr; iterations: Expr; padding: Expr; cost: Expr } {
  gridOf(ctx, item);
  lower(ctx, p.scalars);
  const lo = ctx.bind("lo_of_item", p.lo);
  const hi = ctx.bind("hi_of_item", p.hi);
  const length = sub(hi, lo);
  const iterations = ctx.bind("iterations", select(binary("<", lo, hi), binary("/", add(length, int(p.step - 1)), int(p.step)), int(0)));
  const padded = call("max", add(iterations, int(p.padding)), int(p.least));
  const cost = ctx.bind("cost", select(binary(">", iterations, int(0)), padded, int(0)));
  return { lo, hi, iterations, padding: sub(cost, iterations), cost };
}

/** All threads of the block: finds its share, equal in units for all blocks. */
export function findShare(ctx: Lowering, p: Even, threads: number, lower: Lower): Share {
  ctx.emit({ kind: "Comment", text: `this block's share of all iterations over ${p.index}` });
  const outer = ctx.threads;
  ctx.threads = threads;
  const { thread } = ctx;
  const share = ctx.sharedBuffer("share", "i32", 2, "first item of this block, units of it that belong to others");
  // for a launch without work; the sum's barrier stands between this and the word of the thread that finds the share
  ctx.when(binary("==", thread, int(0)), () => {
    ctx.emit({ kind: "StoreShared", buffer: share, index: int(0), values: [int(0)] }, { kind: "StoreShared", buffer: share, index: int(1), values: [int(0)] });
  });
  const items = ctx.bind("items", itemsOf(ctx));
  const each = ctx.bind("items_each", binary("/", add(items, int(threads - 1)), int(threads)));
  const first = ctx.bind("first_item", call("min", mul(thread, each), items));
  const end = ctx.bind("end_item", call("min", add(first, each), items));
  const counter = (wish: string): Expr => {
    const name = ctx.name(wish);
    ctx.emit({ kind: "Variable", name, type: "i32", init: int(0) });
    return variable("i32", name);
  };
  const loop = (write: (item: Expr) => void): void => {
    let name = "";
    ctx.alone = true; // every thread finds the scalars of items of its own
    const body = ctx.block(() => {
      name = ctx.name("item");
      ctx.facts.learn(name, { min: 0 });
      write(variable("i32", name));
    });
    ctx.alone = false;
    ctx.emit({ kind: "For", name, lo: first, hi: end, step: 1, unroll: false, together: 4, body });
  };
  const mine = counter("own_units");
  loop((item) => add1(ctx, mine, itemWork(ctx, p, item, lower).cost));
  const { before, total } = scanThreads(ctx, "sum", "i32", mine, threads);
  // the first total % blocks shares are one unit longer
  const even = ctx.bind("even", binary("/", total, blockCount));
  const longer = ctx.bind("longer", sub(total, mul(even, blockCount)));
  const begin = ctx.bind("begin", add(mul(blockIndex, even), call("min", blockIndex, longer)));
  const units = ctx.bind("units", add(even, select(binary("<", blockIndex, longer), int(1), int(0))));
  ctx.when(binary("&&", binary("<=", before, begin), binary("<", begin, add(before, mine))), () => {
    const reached = ctx.name("reached");
    ctx.emit({ kind: "Variable", name: reached, type: "i32", init: before });
    const at = variable("i32", reached);
    loop((item) => {
      const { cost } = itemWork(ctx, p, item, lower);
      ctx.when(binary("&&", binary("<=", at, begin), binary("<", begin, add(at, cost))), () =>
        ctx.emit({ kind: "StoreShared", buffer: share, index: int(0), values: [item] }, { kind: "StoreShared", buffer: share, index: int(1), values: [sub(begin, at)] }),
      );
      add1(ctx, at, cost);
    });
  });
  ctx.threads = outer;
  const read = (i: number): Expr => ({ kind: "Shared", type: "i32", buffer: share, index: int(i) });
  return { item: read(0), unit: read(1), units };
}
const add1 = (ctx: Lowering, v: Expr, by: Expr): void => ctx.emit({ kind: "Assign", name: v.kind === "Var" ? v.name : "", value: add(v, by) });

/** The copying role: one piece of an item after the other until the share is used up, then the word that there is no more. */
export function sendWork(ctx: Lowering, p: Even, share: Share, body: readonly PlanStmt[], lower: Lower): void {
  const start = (wish: string, init: Expr): Expr => {
    const name = ctx.name(wish);
    ctx.emit({ kind: "Variable", name, type: "i32", init });
    ctx.facts.learn(name, { min: 0 });
    return variable("i32", name);
  };
  const item = start("item", share.item);
  const unit = start("unit", share.unit);
  const left = start("left", share.units);
  const loop = ctx.block(() => {
    const work = itemWork(ctx, p, item, lower);
    const take = ctx.bind("take", call("min", left, sub(work.cost, unit)));
    // the padding comes first: an item's iterations start behind it
    const skip = ctx.bind("skip", call("max", sub(unit, work.padding), int(0)));
    const stop = ctx.bind("stop", call("max", sub(add(unit, take), work.padding), int(0)));
    ctx.when(binary("<", skip, stop), () => {
      const ends = [add(work.lo, mul(skip, int(p.step))), call("min", work.hi, add(work.lo, mul(stop, int(p.step))))];
      ["from", "to"].forEach((end, i) => {
        ctx.emit({ kind: "Let", name: `${p.index}_${end}`, value: ends[i]! });
        ctx.facts.learn(`${p.index}_${end}`, ctx.facts.of(ends[i]!));
      });
      lower(ctx, body);
    });
    for (const [v, next] of [[left, sub(left, take)], [unit, int(0)], [item, add(item, int(1))]] as const) ctx.emit({ kind: "Assign", name: v.kind === "Var" ? v.name : "", value: next });
  });
  ctx.emit({ kind: "While", cond: binary(">", left, int(0)), body: loop });
  ctx.lastCopyOnly(() => fill(ctx, p.pipe, [], false));
}

/** The computing role: one piece after the other, as the headers say. `body` starts with the wait for the header's slot. */
export function takeWork(ctx: Lowering, p: Even, pipe: Pipe, body: readonly PlanStmt[], lower: Lower): void {
  const name = ctx.name("working");
  const working = variable("i32", name);
  ctx.emit({ kind: "Variable", name, type: "i32", init: int(1) });
  const [wait, ...rest] = body;
  const loop = ctx.block(() => {
    lower(ctx, [wait!]);
    ctx.emit({ kind: "Assign", name, value: headerWord(ctx, p.pipe, 0) });
    ctx.when(
      binary("!=", working, int(0)),
      () => {
        const { min, multiple } = ctx.facts.of(p.lo);
        pipe.header.forEach((v, i) => {
          ctx.emit({ kind: "Let", name: v.name, value: headerScalar(ctx, p.pipe, i, v.type) });
          const grid = ctx.plan.kernel.grid.find((d) => d.index.name === v.name);
          if (grid) ctx.learnGrid(grid);
          else if (v.name === `${p.index}_from`) ctx.facts.learn(v.name, { min, multiple: Math.min(multiple, multipleOf(p.step)) });
        });
        lower(ctx, rest);
      },
      true,
    );
  });
  ctx.emit({ kind: "While", cond: binary("!=", working, int(0)), body: loop });
}

/**
 * The loop's iterations that fall to this copy of the role, counted on from one run of the loop to the next. Scalars that a copying role
 * loads for its copies (a page's number) are loaded one turn ahead: they are then on their way while it waits for an empty slot.
 */
export function inTurns(ctx: Lowering, { index, copies, copy, before, pipes }: Turns, { lo, hi, step, body: statements }: Extract<PlanStmt, { kind: "For" }>, lower: Lower): void {
  const earlier = variable("i32", before);
  const turns = ctx.bind("turns", select(binary("<", lo, hi), binary("/", add(sub(hi, lo), int(step - 1)), int(step)), int(0)));
  const first = ctx.bind("first_turn", binary("%", sub(add(copy, int(copies)), binary("%", earlier, int(copies))), int(copies)));
  const indexAt = (turn: Expr): Expr => add(lo, mul(turn, int(step)));
  ctx.facts.learn(index, { min: ctx.facts.of(lo).min, multiple: ctx.facts.of(indexAt(variable("i32", "turn"))).multiple });
  const ahead = ctx.alone ? statements.flatMap((s) => (s.kind === "ToScalar" ? [s] : [])) : [];
  const loaded = ahead.map((s) => {
    const name = ctx.name(`${s.scalar.name}_ahead`);
    const at = (turn: Expr): Expr => substitute(scalarElement(ctx, s), new Map([[index, indexAt(turn)]]));
    ctx.emit({ kind: "Variable", name, type: s.scalar.type, init: at(first) });
    return { name, at, scalar: s.scalar };
  });
  let name = "";
  const body = ctx.block(() => {
    name = ctx.name("turn");
    const turn = variable("i32", name);
    ctx.facts.learn(name, { min: 0 });
    ctx.emit({ kind: "Let", name: index, value: indexAt(turn) });
    placeTurn(ctx, pipes, ctx.bind("of_all", add(earlier, turn)));
    for (const { name: next, at, scalar } of loaded)
      ctx.emit({ kind: "Let", name: scalar.name, value: variable(scalar.type, next) }, { kind: "Assign", name: next, value: at(add(turn, int(copies))) });
    lower(ctx, statements.filter((s) => !ahead.includes(s as (typeof ahead)[number])));
  });
  ctx.emit({ kind: "For", name, lo: first, hi: turns, step: copies, unroll: false, body }, { kind: "Assign", name: before, value: add(earlier, call("max", turns, int(0))) });
}

/**
 * Every role by itself: an item of each round of as many items as there are blocks. Every second round goes backwards, so that neighbours in
 * an order by size, which differ by little in a round, differ by next to nothing in all.
 */
export function strideWork(ctx: Lowering, body: readonly PlanStmt[], lower: Lower): void {
  const items = ctx.bind("items", itemsOf(ctx));
  const name = ctx.name("item");
  ctx.facts.learn(name, { min: 0 });
  ctx.emit({ kind: "Variable", name, type: "i32", init: blockIndex });
  const item = variable("i32", name);
  const toNext = ctx.name("to_next");
  ctx.emit({ kind: "Variable", name: toNext, type: "i32", init: sub(mul(sub(blockCount, blockIndex), int(2)), int(1)) });
  ctx.facts.learn(toNext, { min: 1 });
  const loop = ctx.block(() => {
    gridOf(ctx, item);
    lower(ctx, body);
    ctx.emit({ kind: "Assign", name, value: add(item, variable("i32", toNext)) });
    ctx.emit({ kind: "Assign", name: toNext, value: sub(mul(blockCount, int(2)), variable("i32", toNext)) });
  });
  ctx.emit({ kind: "While", cond: binary("<", item, items), body: loop });
}

