/** Plan to Loop IR: one handler a statement kind. */
import { clusterIndex } from "../../ir/cluster.ts";
import { add, and, binary, constant, convert, int, variable, type Expr } from "../../ir/expr.ts";
import type { LoopKernel, LoopStmt } from "../../ir/loop.ts";
import { MULTIPROCESSORS, type HostExpr } from "../../ir/manifest.ts";
import { computeType, type Machine, type Plan, type PlanStmt } from "../../ir/plan.ts";
import type { Carried, ScalarValue } from "../../ir/tile.ts";
import { variablesOf } from "../../ir/walk.ts";
import { addToBag, declareBag } from "./bag.ts";
import { countOf } from "./bag_memory.ts";
import { addToBitmap, declareBitmap, pushMarked, type BitmapMemory } from "./bitmap.ts";
import { collect, dismiss, openBags } from "./cluster.ts";
import { awaitPriorLaunch, Lowering, multipleOf } from "./context.ts";
import { address, isTrue, scalarElement } from "./element.ts";
import { compute, fetch, move, stage, store } from "./elementwise.ts";
import { gemm } from "./gemm.ts";
import { addToHistogram, declareHistogram, findInHistogram } from "./histogram.ts";
import { gridOf, inTurns } from "./persistent.ts";
import { reduce, serialReduce } from "./reduce.ts";
import { awaitFull, awaitMade, fill, handOver, release } from "./rings.ts";
import { lowerRoles } from "./roles.ts";
import { push, scan } from "./scan.ts";
import { awaitPart, pack } from "./wgmma.ts";

/** What a list collective needs to remember between its statements. */
interface Lists {
  readonly views: Map<string, Extract<PlanStmt, { kind: "Append" }>["view"]>;
  readonly counts: Map<string, string>;
  readonly bins: Map<string, number>;
  readonly bitmaps: Map<string, BitmapMemory>;
}

export function lower(plan: Plan, machine: Machine): LoopKernel {
  const ctx = new Lowering(plan, machine);
  const lists: Lists = { views: new Map(), counts: new Map(), bins: new Map(), bitmaps: new Map() };
  const items = plan.kernel.grid.map((d) => d.count).reduce<HostExpr>((a, b) => (a === 1 ? b : b === 1 ? a : { op: "mul", args: [a, b] }), 1);
  const { body, pipes, threads } = plan.roles ? lowerRoles(ctx, plan, plan.roles, (c, list) => statements(c, list, lists)) : oneRole(ctx, plan, lists);
  return {
    name: plan.kernel.name,
    loc: plan.kernel.loc,
    params: plan.kernel.params,
    dims: plan.kernel.dims,
    blocks: blocksOf(plan, items),
    ...(plan.cluster && { cluster: plan.cluster }),
    threads,
    shared: ctx.layOutShared(),
    sharedBytes: ctx.sharedBytes,
    barriers: ctx.layOutBarriers(),
    pipes,
    tensorMaps: ctx.tensorMaps,
    body,
  };
}

function blocksOf({ persistence, cluster }: Plan, items: HostExpr): HostExpr {
  if (persistence?.kind === "even") return MULTIPROCESSORS;
  if (persistence) return { op: "min", args: [MULTIPROCESSORS, items] };
  return cluster ? { op: "mul", args: [items, cluster] } : items;
}

function oneRole(ctx: Lowering, plan: Plan, lists: Lists): { body: LoopStmt[]; pipes: []; threads: number } {
  const start = ctx.block(() => awaitPriorLaunch(ctx));
  const grid = ctx.block(() => gridOf(ctx, plan.cluster ? clusterIndex(plan.cluster) : { kind: "BlockIndex", type: "i32" }));
  const body = ctx.block(() => statements(ctx, plan.body, lists));
  return { body: [...start, ...grid, ...ctx.prologue, ...body], pipes: [], threads: plan.threads };
}

function statements(ctx: Lowering, list: readonly PlanStmt[], lists: Lists): void {
  for (let i = 0; i < list.length; ) {
    const s = list[i]!;
    const finds = s.kind === "HistogramFind" ? findsFrom(list, i, s) : [];
    if (s.kind === "HistogramFind") findInHistogram(ctx, finds, lists.bins.get(s.histogram)!);
    else statement(ctx, s, lists);
    i += Math.max(finds.length, 1);
  }
}

type Find = Extract<PlanStmt, { kind: "HistogramFind" }>;

/** Searches of one histogram that follow each other, and may be made at a time: none wants what another finds. */
function findsFrom(list: readonly PlanStmt[], start: number, first: Find): readonly Find[] {
  const finds: Find[] = [];
  const known = new Set<string>();
  for (const s of list.slice(start)) {
    if (s.kind !== "HistogramFind" || s.histogram !== first.histogram || [...variablesOf(s.want)].some((name) => known.has(name))) break;
    finds.push(s);
    [s.bin, s.above, s.inBin].forEach((v) => known.add(v.name));
  }
  return finds;
}

function statement(ctx: Lowering, s: Exclude<PlanStmt, Find>, lists: Lists): void {
  switch (s.kind) {
    case "Compute":
      return compute(ctx, s);
    case "Stage":
      return stage(ctx, s);
    case "Fetch":
      return fetch(ctx, s);
    case "Fill":
      if (ctx.turns?.pipes.some((p) => p.name === s.pipe)) return fill(ctx, s.pipe, s.copies);
      return ctx.lastCopyOnly(() => fill(ctx, s.pipe, s.copies));
    case "AwaitFull":
      return awaitFull(ctx, s.pipe);
    case "HandOver":
      return handOver(ctx, s.pipe);
    case "AwaitMade":
      return awaitMade(ctx, s.pipe);
    case "Release":
      return release(ctx, s.pipe);
    case "Copy":
      throw new Error(`lower: no role copies "${s.value.label}"`);
    case "Await":
      return awaitPart(ctx, s);
    case "SerialReduce":
      return serialReduce(ctx, s);
    case "Move":
      return move(ctx, s);
    case "Gemm":
      return gemm(ctx, s);
    case "Pack":
      return pack(ctx, s.of);
    case "Reduce":
      return reduce(ctx, s);
    case "Scan":
      return scan(ctx, s);
    case "Store":
      return store(ctx, s);
    case "Let":
      ctx.source(s.scalar.loc);
      return scalar(ctx, s.scalar, s.expr, "Let");
    case "ToScalar":
      ctx.source(s.scalar.loc);
      return scalar(ctx, s.scalar, scalarElement(ctx, s), ctx.together ? "Uniform" : "Let");
    case "For":
      return loop(ctx, s, lists);
    case "If":
      return branch(ctx, s, lists);
    case "Histogram":
      return declareHistogram(ctx, s, lists.bins);
    case "HistogramAdd":
      return addToHistogram(ctx, s);
    case "Bag":
      return declareBag(ctx, s);
    case "BagAdd":
      return addToBag(ctx, s, ctx.bags.get(s.bag)!);
    case "BagCount":
      return scalar(ctx, s.scalar, countOf(ctx.bags.get(s.bag)!), "Uniform");
    case "OpenBags":
      return openBags(ctx);
    case "Collect":
      return collect(ctx, s, ctx.plan.cluster!);
    case "Dismiss":
      return dismiss(ctx, ctx.plan.cluster!);
    case "Bitmap":
      return declareBitmap(ctx, s, lists.bitmaps);
    case "BitmapAdd":
      return addToBitmap(ctx, s, lists.bitmaps.get(s.bitmap)!);
    case "AppendMarked":
      return pushMarked(ctx, s, lists.bitmaps.get(s.bitmap)!, { view: lists.views.get(s.append)!, count: lists.counts.get(s.append)!, stage: ctx.partOf(s) });
    case "Append": {
      lists.views.set(s.name, s.view);
      const count = ctx.name(`${s.name}_count`);
      lists.counts.set(s.name, count);
      ctx.emit({ kind: "Variable", name: count, type: "i32", init: int(0) });
      return;
    }
    case "AppendPush":
      return push(ctx, s, lists.views.get(s.append)!, lists.counts.get(s.append)!);
    case "AppendFill":
      return appendFill(ctx, s, lists);
    case "AppendCount": {
      const pushed = variable("i32", lists.counts.get(s.append)!);
      const list = lists.views.get(s.append)!.coords.find((c) => c.kind === "Block");
      // what did not fit was dropped, but counted
      const held: Expr = list?.kind === "Block" ? { kind: "Call", type: "i32", fn: "min", args: [pushed, int(list.axis.extent)] } : pushed;
      return scalar(ctx, s.scalar, held, "Uniform");
    }
  }
}

function scalar(ctx: Lowering, v: ScalarValue, value: Expr, kind: "Let" | "Uniform"): void {
  ctx.facts.learn(v.name, ctx.facts.of(value));
  ctx.emit({ kind, name: v.name, value });
}

type For = Extract<PlanStmt, { kind: "For" }>;

function loop(ctx: Lowering, s: For, lists: Lists): void {
  ctx.source(s.loc);
  if (ctx.turns?.index === s.index.name) return inTurns(ctx, ctx.turns, s, (c, list) => statements(c, list, lists));
  if (s.late) return lateLoop(ctx, s, lists);
  s.scalars.forEach((c) => carry(ctx, c));
  const lo = ctx.facts.of(s.lo);
  ctx.facts.learn(s.index.name, { min: lo.min, max: ctx.facts.of(s.hi).max - 1, multiple: Math.min(lo.multiple, multipleOf(s.step)) });
  const body = ctx.loopBody(s.scalars.map((c) => c.param.name), () => {
    statements(ctx, s.body, lists);
    takeNext(ctx, s.scalars);
  });
  ctx.emit({ kind: "For", name: s.index.name, lo: s.lo, hi: s.hi, step: s.step, unroll: false, body });
  s.scalars.forEach((c) => ctx.emit({ kind: "Let", name: c.result.name, value: variable(c.param.type, c.param.name) }));
}
/** The first turn, a loop over the others, and what is left; nothing at all without turns. */
function lateLoop(ctx: Lowering, { late, ...s }: For, lists: Lists): void {
  const { first, rest } = late!;
  const second = add(s.lo, int(s.step));
  const anyTurn = ctx.facts.of(binary("-", s.hi, s.lo)).min > 0 ? constant("bool", 1) : binary("<", s.lo, s.hi);
  ctx.when(
    anyTurn,
    () => {
      loop(ctx, { ...s, hi: second, body: first }, lists);
      loop(ctx, { ...s, lo: second }, lists);
      statements(ctx, rest, lists);
    },
    true,
  );
}
function carry(ctx: Lowering, c: Carried<ScalarValue>): void {
  ctx.facts.learn(c.param.name, {});
  ctx.facts.learn(c.result.name, {});
  ctx.emit({ kind: "Variable", name: c.param.name, type: c.param.type, init: convert(c.param.type, variable(c.init.type, c.init.name)) });
}
/** All next values first: one may be computed from another variable. */
function takeNext(ctx: Lowering, scalars: readonly Carried<ScalarValue>[]): void {
  const used = new Set(scalars.map((c) => c.param.name));
  const values = scalars.map((c) => {
    const next = convert(c.param.type, variable(c.next.type, c.next.name));
    return scalars.length > 1 && used.has(c.next.name) ? ctx.bind(`next_${c.param.name}`, { kind: "Convert", type: c.param.type, a: next }) : next;
  });
  scalars.forEach((c, i) => ctx.emit({ kind: "Assign", name: c.param.name, value: values[i]! }));
}

function branch(ctx: Lowering, s: Extract<PlanStmt, { kind: "If" }>, lists: Lists): void {
  ctx.source(s.loc);
  const registersFirst: LoopStmt[] = [];
  for (const m of s.scalars) {
    registersFirst.push({ kind: "Variable", name: m.result.name, type: m.result.type, init: m.result.type === "bool" ? constant("bool", 0) : constant(m.result.type, 0) });
    ctx.facts.learn(m.result.name, {});
  }
  ctx.emit(...registersFirst);
  const side = (list: readonly PlanStmt[], pick: "then" | "otherwise") =>
    ctx.block(() => {
      statements(ctx, list, lists);
      s.scalars.forEach((m) => ctx.emit({ kind: "Assign", name: m.result.name, value: convert(m.result.type, variable(m[pick].type, m[pick].name)) }));
    });
  ctx.emit({ kind: "If", cond: s.cond, uniform: ctx.together, then: side(s.then, "then"), otherwise: side(s.otherwise, "otherwise") });
}

function appendFill(ctx: Lowering, s: Extract<PlanStmt, { kind: "AppendFill" }>, lists: Lists): void {
  ctx.source(s.loc);
  const view = lists.views.get(s.append)!;
  const coord = view.coords.find((c) => c.kind === "Block");
  if (coord?.kind !== "Block") return;
  let name = "";
  const body = ctx.block(() => {
    name = ctx.name("slot");
    const slot = variable("i32", name);
    ctx.facts.learn(name, { min: 0, max: coord.axis.extent - 1 });
    const { coords, guard, lastGuard } = address(ctx, view, new Map([[coord.axis.name, slot]]), () => undefined);
    const may = and(guard, lastGuard);
    ctx.emit({ kind: "StoreGlobal", param: view.param, field: view.field, coords, values: [convert(computeType(view.dtype), s.value)], ...(may !== isTrue && { guard: may }), aligned: true });
  });
  ctx.emit({ kind: "For", name, lo: add(variable("i32", lists.counts.get(s.append)!), ctx.thread), hi: int(coord.axis.extent), step: ctx.threads, unroll: false, body });
}
