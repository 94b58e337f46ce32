/**
 * Gives every stored tile a layout, following the data: a product's layout comes from its atom, element-wise work takes the
 * layout of an operand, a reduction keeps what is left. Where layouts disagree the operand is staged through shared memory.
 */
import { byteSize } from "../../dsl/dtype.ts";
import { linearLayout, project, renameAxes, runLayout, sameLayout, spread, startsWith, type Layout } from "../ir/layout.ts";
import type { GemmPlan, Machine, ReducePlan } from "../ir/plan.ts";
import type { Axis, TileKernel, TileOp, TileStmt, TileValue } from "../ir/tile.ts";
import { axisNames, inputsOf, statements, uncut } from "../ir/walk.ts";
import type { Bound } from "./bind_schedule.ts";
import type { Placement } from "./place_values.ts";
import { selectAtom, warpgroupPlan, type WarpgroupRequest } from "./select_atoms.ts";

/** Elements that a thread makes and stores at once: sixteen bytes of bf16. */
const MADE_TOGETHER = 8;

export interface Layouts {
  readonly layouts: ReadonlyMap<number, Layout>;
  readonly gemms: ReadonlyMap<number, GemmPlan>;
  readonly reduces: ReadonlyMap<number, ReducePlan>;
  /** Layout of the work of a Store, HistogramAdd or AppendPush. */
  readonly work: ReadonlyMap<TileStmt, Layout>;
  readonly staged: ReadonlySet<number>;
}

export function inferLayouts(kernel: TileKernel, placement: Placement, machine: Machine, bound: Bound): Layouts {
  const { inline } = placement;
  const { threads, rings, made } = bound;
  const whole = (v: TileValue): TileValue => uncut(v, placement.definitions);
  const inSlots = (v: TileValue): boolean => rings.has(whole(v).id) || made.has(whole(v).id);
  const folded = foldedAxes(kernel, inline);
  const products = productsOf(kernel, inline);
  const layouts = new Map<number, Layout>();
  const gemms = new Map<number, GemmPlan>();
  const reduces = new Map<number, ReducePlan>();
  const work = new Map<TileStmt, Layout>();
  const staged = new Set(placement.staged);
  /** What the previous round found staged: consumers stand after their operands. */
  let demanded = new Set<number>();
  /** Layouts in which tiles that come from rings are read, innermost loops first: they have none of their own. */
  const wishes = new Map<number, { readonly layout: Layout; readonly depth: number }>();
  let depth = 0;
  /** What wgmma reads from shared memory: tiles in rings, of which other readers take single elements there, and tiles that threads store as they are multiplied. */
  const operands = new Set([...statements(kernel.body)].flatMap((s) => (s.kind === "Define" && s.op.kind === "Gemm" && bound.products.has(s.value.id) ? [whole(s.op.b).id, ...(inSlots(s.op.a) ? [whole(s.op.a).id] : [])] : [])));
  const fromRing = (v: TileValue): boolean => {
    const op = inline.get(v.id);
    return rings.has(v.id) || wishes.has(v.id) || (op !== undefined && op.kind !== "Load" && op.kind !== "Gather" && inputsOf(op).every(fromRing));
  };
  /** Maps over nothing but tiles from rings. */
  const free = new Set<number>();

  /** Layouts that reading `v` would meet for free, best first, in v's axis names. */
  function offered(v: TileValue): Layout[] {
    const op = inline.get(v.id);
    if (!op) {
      const own = layouts.get(v.id);
      return own ? [own] : [];
    }
    if (op.kind === "Map") return [...op.inputs].sort((a, b) => b.axes.length - a.axes.length).flatMap(offered);
    if (op.kind === "Cast") return offered(op.of);
    if (op.kind === "Rename") return offered(op.of).map((l) => renameAxes(l, op.axes));
    return [];
  }
  /** The layout in which to do work over the axes of `v`, given the tiles that it reads. */
  function chosen(v: TileValue, reads: readonly TileValue[]): Layout {
    const axes = axisNames(v);
    const candidates = [...reads].sort((a, b) => b.axes.length - a.axes.length).flatMap(offered);
    const full = candidates.find((l) => axes.every((axis) => covers(l, axis, v)));
    // whole words of shared memory are written by one thread
    const least = placement.onlyStaged.has(v.id) && v.dtype !== "bool" && byteSize(v.dtype) < 4 ? (operands.has(v.id) ? 4 / byteSize(v.dtype) : 2) : 1;
    const natural = full && project(full, axes);
    const isWhole = (l: Layout): boolean => (operands.has(v.id) ? startsWith(l, axes.at(-1)!, least) : !isPacked(v) || fillsWords(l, v));
    return natural && (least === 1 || isWhole(natural)) ? natural : linearLayout(v.axes, threads, least);
  }
  /** The layout in which to fold `of`: where an operand has all of the folded axes in registers, other axes spread over the threads that hold copies. */
  function folding(of: TileValue, over: readonly string[]): Layout {
    const candidates = offered(of);
    const isWhole = (l: Layout): boolean => of.axes.every((a) => covers(l, a.name, of));
    const inRegisters = (l: Layout): boolean => over.every((axis) => covers(l, axis, of) && !l.threads.some((d) => d.axis === axis));
    const part = candidates.some(isWhole) ? undefined : candidates.find(inRegisters);
    return part ? spread(part, of.axes.filter((a) => !covers(part, a.name, of))) : chosen(of, [of]);
  }
  /** Tensor cores read narrow operands as they are; what else reads them takes wider storage. */
  const isPacked = (v: TileValue): boolean => (products.get(v.id) ?? []).some((product) => (gemms.get(product)?.atom ?? "fma") !== "fma");
  const covers = (l: Layout, axis: string, v: TileValue): boolean => [...l.threads, ...l.registers].some((d) => d.axis === axis) || v.axes.find((a) => a.name === axis)?.extent === 1;

  /** Reading `v` in work under `layout`: stored tiles whose registers do not match are staged. */
  function meet(v: TileValue, layout: Layout): void {
    const op = inline.get(v.id);
    if (!op) {
      const wish = wishes.get(v.id);
      if (((rings.has(v.id) && !operands.has(v.id)) || free.has(v.id)) && (!wish || wish.depth < depth)) wishes.set(v.id, { layout: project(layout, axisNames(v)), depth });
      const own = layouts.get(v.id);
      if (own && !sameLayout(own, project(layout, axisNames(v)))) staged.add(v.id);
    } else if (op.kind === "Map") op.inputs.forEach((x) => meet(x, layout));
    else if (op.kind === "Cast") meet(op.of, layout);
    else if (op.kind === "Rename") meet(op.of, renameAxes(layout, Object.fromEntries(Object.entries(op.axes).map(([from, to]) => [to, from]))));
    else if (op.kind === "Slice") source(op.of);
  }
  /** A tile read at positions of another thread. */
  function source(v: TileValue): void {
    const op = inline.get(v.id);
    if (!op) staged.add(v.id);
    else if (op.kind === "Map") op.inputs.forEach(source);
    else if (op.kind === "Cast" || op.kind === "Rename" || op.kind === "Slice") source(op.of);
  }

  const isComputed = (v: TileValue): boolean => {
    const op = placement.definitions.get(v.id);
    return placement.staged.has(v.id) && op !== undefined && op.kind !== "Load" && op.kind !== "Gather";
  };
  const leaderOf = (v: TileValue): Pick<WarpgroupRequest, "leader"> => {
    const leader = bound.leaders.get(v.id);
    const op = leader && placement.definitions.get(leader.id);
    return op?.kind === "Gemm" ? { leader: { op, parts: bound.products.get(leader!.id)! } } : {};
  };

  function define(value: TileValue, op: TileOp): void {
    if (op.kind === "Gather") op.picks.forEach((p) => source(p.index)); // also of a gather that is inline
    if (inline.has(value.id)) return;
    switch (op.kind) {
      case "Gemm": {
        const parts = bound.products.get(value.id);
        const plan = parts === undefined ? selectAtom(op, machine, threads, inline) : warpgroupPlan(value, op, { threads, parts, folded: folded.get(value.id) ?? new Set(), inSlots, isComputed, ...leaderOf(value) }, kernel, machine);
        gemms.set(value.id, plan);
        layouts.set(value.id, project(plan.layout, axisNames(value)));
        if (plan.fragment) meet(op.a, plan.fragment);
        else source(op.a);
        source(op.b);
        if (op.acc) meet(op.acc, plan.layout);
        return;
      }
      case "Reduce": {
        const layout = folding(op.of, op.over);
        meet(op.of, layout);
        reduces.set(value.id, reducePlan(layout, op.over, machine));
        layouts.set(value.id, project(layout, axisNames(value)));
        return;
      }
      case "Scan": {
        const layout = linearLayout(op.of.axes, threads);
        if (op.of.axes.length === 1) meet(op.of, layout);
        else source(op.of); // every element folds its own prefix
        layouts.set(value.id, layout);
        return;
      }
      case "Map":
      case "Cast": {
        const reads = op.kind === "Map" ? op.inputs : [op.of];
        if (made.has(value.id)) {
          const layout = runLayout(value.axes, bound.makers!, MADE_TOGETHER);
          reads.forEach((v) => meet(v, layout));
          layouts.set(value.id, layout);
          return;
        }
        if (reads.every(fromRing)) {
          free.add(value.id);
          layouts.set(value.id, wishes.get(value.id)?.layout ?? linearLayout(value.axes, threads));
          return;
        }
        const direct = (staged.has(value.id) || demanded.has(value.id)) && reads.flatMap(offered).length === 0;
        if (direct) return reads.forEach(source); // computed straight into shared memory
        const layout = chosen(value, reads);
        reads.forEach((v) => meet(v, layout));
        layouts.set(value.id, layout);
        return;
      }
      default:
        // loads go to shared memory directly, or to registers when they may not be repeated
        if (rings.has(value.id)) {
          const wish = wishes.get(value.id);
          if (wish) layouts.set(value.id, wish.layout);
        } else if (!staged.has(value.id)) layouts.set(value.id, linearLayout(value.axes, threads));
    }
  }

  function visit(body: readonly TileStmt[]): void {
    for (const s of body) {
      if (s.kind === "Define") define(s.value, s.op);
      else if (s.kind === "For") {
        depth++;
        visit(s.body);
        depth--;
        for (const c of s.tiles) {
          const own = chosen(c.param, [c.next]);
          layouts.set(c.param.id, own);
          layouts.set(c.result.id, own);
          meet(c.init, own);
          meet(c.next, own);
        }
      } else if (s.kind === "If") {
        visit(s.then);
        visit(s.otherwise);
        for (const m of s.tiles) {
          const layout = chosen(m.result, [m.then, m.otherwise]);
          layouts.set(m.result.id, layout);
          meet(m.then, layout);
          meet(m.otherwise, layout);
        }
      } else if (s.kind === "Store") {
        const wide = (l: Layout) => machine.storeGranule === 1 || storesWords(l, s, machine);
        const natural = chosen(s.of, s.keep ? [s.of, s.keep] : [s.of]);
        const layout = wide(natural) ? natural : linearLayout(inMemoryOrder(s), threads, machine.storeGranule / byteSize(s.view.dtype));
        meet(s.of, layout);
        if (s.keep) meet(s.keep, layout);
        work.set(s, layout);
      } else if (s.kind === "HistogramAdd") {
        const layout = chosen(s.bin, [s.bin, s.keep]);
        meet(s.bin, layout);
        meet(s.keep, layout);
        work.set(s, layout);
      } else if (s.kind === "BagAdd" || s.kind === "BitmapAdd") {
        const reads = s.kind === "BagAdd" ? [...s.items, s.keep] : [s.position, s.keep];
        const layout = chosen(s.keep, reads);
        reads.forEach((v) => meet(v, layout));
        work.set(s, layout);
      } else if (s.kind === "AppendPush") {
        const layout = linearLayout(s.of.axes, threads);
        meet(s.of, layout);
        meet(s.keep, layout);
        work.set(s, layout);
      } else if (s.kind === "ToScalar") meet(s.of, { threads: [{ axis: null, size: threads, stride: 0 }], registers: [] });
    }
  }
  // what a loop carries takes the layout of its next value, which may depend on it: a few rounds settle it
  for (let round = 0; round < 3; round++) {
    demanded = new Set(staged);
    staged.clear();
    placement.staged.forEach((id) => staged.add(id));
    visit(kernel.body);
  }
  return { layouts, gemms, reduces, work, staged };
}

/** Whether a tile's registers fill whole words of shared memory along its last axis: each word is written by one thread. */
export function fillsWords(layout: Layout, value: TileValue): boolean {
  const first = layout.registers[0];
  const last = value.axes.at(-1);
  return last !== undefined && first?.axis === last.name && first.stride === 1 && first.size % 2 === 0 && last.extent % first.size === 0;
}

/** Products that each stored tile is an operand of, through what is inline between them. */
function productsOf(kernel: TileKernel, inline: ReadonlyMap<number, TileOp>): Map<number, number[]> {
  const products = new Map<number, number[]>();
  const note = (v: TileValue, product: number): void => {
    const op = inline.get(v.id);
    if (op) inputsOf(op).forEach((x) => note(x, product));
    else products.set(v.id, [...(products.get(v.id) ?? []), product]);
  };
  for (const s of statements(kernel.body)) if (s.kind === "Define" && s.op.kind === "Gemm") [s.op.a, s.op.b].forEach((v) => note(v, s.value.id));
  return products;
}

/** Axes that reductions fold away behind a product, through what is inline between them. */
function foldedAxes(kernel: TileKernel, inline: ReadonlyMap<number, TileOp>): Map<number, Set<string>> {
  const folded = new Map<number, Set<string>>();
  const note = (v: TileValue, over: readonly string[]): void => {
    const op = inline.get(v.id);
    if (op?.kind === "Map" || op?.kind === "Cast") inputsOf(op).forEach((x) => note(x, over));
    else if (!op) folded.set(v.id, new Set([...(folded.get(v.id) ?? []), ...over]));
  };
  for (const s of statements(kernel.body)) if (s.kind === "Define" && s.op.kind === "Reduce") note(s.op.of, s.op.over);
  return folded;
}

/** The axes of a stored tile as they lie in memory. */
const inMemoryOrder = (s: Extract<TileStmt, { kind: "Store" }>): readonly Axis[] => s.view.coords.flatMap((c) => (c.kind === "Block" ? [c.axis] : []));

/** True when each thread's registers fill whole store granules along the view's innermost axis. */
function storesWords(l: Layout, s: Extract<TileStmt, { kind: "Store" }>, machine: Machine): boolean {
  const inner = [...s.view.coords].reverse().find((c) => c.kind === "Block");
  const bytes = byteSize(s.view.dtype);
  if (bytes >= machine.storeGranule) return true;
  const first = l.registers[0];
  return inner?.kind === "Block" && first?.axis === inner.axis.name && first.stride === 1 && (first.size * bytes) % machine.storeGranule === 0;
}

function reducePlan(layout: Layout, over: readonly string[], machine: Machine): ReducePlan {
  const shuffles: number[] = [];
  const joins: { stride: number; size: number }[] = [];
  let stride = 1;
  for (const d of layout.threads) {
    if (d.axis !== null && over.includes(d.axis)) {
      const lanes = Math.max(1, Math.min(d.size, machine.warp / stride));
      for (let mask = stride; mask < stride * lanes; mask *= 2) shuffles.push(mask);
      if (d.size > lanes) joins.push({ stride: stride * lanes, size: d.size / lanes });
    }
    stride *= d.size;
  }
  return { layout, shuffles, joins };
}
