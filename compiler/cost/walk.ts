/**
 * Runs the scalar control flow of a kernel and counts what hangs on it.
 *
 * A loop whose index decides nothing but where tiles lie is not run: its body is counted once, times its trips, over the boxes that all
 * its trips touch together. Dimensions of the grid are loops like any other.
 */
import { byteSize } from "../../dsl/dtype.ts";
import { type Block, compileOp, type Context, copier, type FieldMemory, scalar } from "../interp/tile.ts";
import { type Expr, int, isConst } from "../ir/expr.ts";
import { evaluate, type Param } from "../ir/manifest.ts";
import { printExpr } from "../ir/print_tile.ts";
import type { Axis, GridDim, TileKernel, TileOp, TileStmt, TileType, TileView } from "../ir/tile.ts";
import { statements } from "../ir/walk.ts";
import { decidersOf, type Flow, flowOf, type Key, reachedFrom, tileKey, variablesOf } from "./flow.ts";
import { arithmeticOf } from "./arithmetic.ts";
import { type Interval, touch, type Touched } from "./sectors.ts";

export type Buffers = Readonly<Record<string, Uint8Array>>;
export type Dims = Readonly<Record<string, number>>;
type For = Extract<TileStmt, { kind: "For" }>;

/** What was counted, filled in while the walk goes on. */
export interface Count {
  readonly read: Touched;
  readonly written: Touched;
  readonly gemmFlops: Partial<Record<TileType, number>>;
  otherFlops: number;
  readonly assumed: Set<string>;
}

/** Counts all blocks of one launch. Bytes that decide control flow and are not in `buffers` are a RangeError. */
export function walk(kernel: TileKernel, buffers: Buffers, dims: Dims, count: Count): void {
  const program = kernel.grid.reduceRight<readonly TileStmt[]>((body, dim) => [loopOf(dim, dims, body, kernel)], kernel.body);
  const slots = new Map<string, number>();
  const slot = (name: string): number => {
    if (!slots.has(name)) slots.set(name, slots.size);
    return slots.get(name)!;
  };
  const filled = new Set([...statements(program)].flatMap((s) => (s.kind === "AppendFill" ? [s.append] : [])));
  const memory = bindFields(kernel.params, buffers, dims);
  const run = compileBody(program, { slot, memory, buffers, flow: flowOf(program), filled, spread: [], count });
  const scalars: number[] = [];
  for (const { name } of kernel.dims) scalars[slot(name)] = dims[name]!;
  run({ tiles: [], scalars, histograms: new Map(), bags: new Map(), bitmaps: new Map(), appends: new Map(), weight: 1, trips: new Map() });
}

/** A dimension of the grid as a loop. */
const loopOf = ({ index, lo, step, count }: GridDim, dims: Dims, body: readonly TileStmt[], { loc }: TileKernel): For => {
  const first = evaluate(lo, dims);
  return { kind: "For", index, lo: int(first), hi: int(first + step * evaluate(count, dims)), step, tiles: [], scalars: [], body, loc };
};

/** Fields of buffers that are not given have no bytes; nobody reads them. */
function bindFields(params: readonly Param[], buffers: Buffers, dims: Dims): Context["memory"] {
  const fields = new Map<string, FieldMemory>();
  for (const p of params) {
    const { buffer, byteOffset, byteLength } = buffers[p.name] ?? new Uint8Array();
    const view = new DataView(buffer, byteOffset, byteLength);
    for (const { name, axes, offset } of p.fields) {
      const sized = [...p.axes, ...axes].map((a) => ({ size: evaluate(a.size, dims), stride: evaluate(a.stride, dims) }));
      fields.set(`${p.name}.${name}`, { view, offset, axes: sized });
    }
  }
  return ({ param, field }) => fields.get(`${param}.${field}`)!;
}

interface State extends Block {
  /** Trips of all loops around that are not run. */
  weight: number;
  /** Trips of each of them, by its index. */
  readonly trips: Map<string, number>;
}
type Step = (state: State) => void;

/** A loop around that is not run. */
interface Spread {
  readonly loop: For;
  /** By how much a scalar grows from trip to trip; undefined when that is not one number. */
  readonly slope: (e: Expr) => number | undefined;
}

interface Walk extends Context {
  readonly buffers: Buffers;
  readonly flow: Flow;
  /** Lists that are filled to their end. */
  readonly filled: ReadonlySet<string>;
  readonly spread: readonly Spread[];
  readonly count: Count;
}

const isRun = (key: Key, { flow }: Walk): boolean => flow.needed.has(key) && !flow.opaque.has(key);
const isOpaque = (keys: readonly Key[], { flow }: Walk): boolean => keys.some((key) => flow.opaque.has(key));

function compileBody(body: readonly TileStmt[], cx: Walk): Step {
  const steps = body.flatMap((s) => compileStmt(s, cx));
  return (state) => {
    for (const step of steps) step(state);
  };
}

function compileStmt(s: TileStmt, cx: Walk): readonly Step[] {
  const arithmetic = arithmeticOf(s);
  const counted = arithmetic ? [countArithmetic(arithmetic, cx)] : [];
  switch (s.kind) {
    case "Define":
      return [...counted, ...accessesOf(s.op, cx), ...(isRun(tileKey(s.value), cx) ? [compute(s, cx)] : [])];
    case "Let": {
      if (!isRun(s.scalar.name, cx)) return [];
      const [to, value] = [cx.slot(s.scalar.name), scalar(s.expr, cx)];
      return [({ scalars }) => void (scalars[to] = value(scalars))];
    }
    case "ToScalar": {
      if (!isRun(s.scalar.name, cx)) return [];
      const [to, { id }] = [cx.slot(s.scalar.name), s.of];
      return [({ scalars, tiles }) => void (scalars[to] = tiles[id]![0]!)];
    }
    case "For":
      return compileFor(s, cx);
    case "If":
      return compileIf(s, cx);
    case "Store":
      return [access(s.view, cx.count.written, cx)];
    case "Append":
      if (cx.filled.has(s.name)) return [access(s.view, cx.count.written, cx)];
      return [assume(`line ${s.loc.line}: what is pushed to ${s.name} is not counted`, cx)];
    default:
      return counted;
  }
}

function countArithmetic({ gemm, other }: NonNullable<ReturnType<typeof arithmeticOf>>, { count }: Walk): Step {
  return ({ weight }) => {
    if (gemm) count.gemmFlops[gemm.dtype] = (count.gemmFlops[gemm.dtype] ?? 0) + weight * gemm.flops;
    count.otherFlops += weight * other;
  };
}

function compute({ op, value }: Extract<TileStmt, { kind: "Define" }>, cx: Walk): Step {
  if ((op.kind === "Load" || op.kind === "Gather") && !cx.buffers[op.view.param])
    throw new RangeError(`the cost depends on what "${op.view.param}" holds. Give its bytes.`);
  const make = compileOp(op, value, cx);
  return (state) => void (state.tiles[value.id] = make(state));
}

/** What is counted from here on holds if `text` does. */
const assume = (text: string, { count }: Walk): Step => () => void count.assumed.add(text);

// ---- Control flow ----------------------------------------------------------------------------------------------------------------------

function compileIf(s: Extract<TileStmt, { kind: "If" }>, cx: Walk): readonly Step[] {
  const way = (name: "then" | "otherwise"): Step => {
    const body = compileBody(s[name], cx);
    const tiles = s.tiles.filter((m) => isRun(tileKey(m.result), cx)).map((m) => [m.result, m[name]] as const);
    const scalars = s.scalars.filter((m) => isRun(m.result.name, cx)).map((m) => [m.result.name, m[name].name] as const);
    const join = copier(tiles, scalars, cx);
    return (state) => (body(state), join(state));
  };
  const then = way("then");
  if (isOpaque(decidersOf(s), cx)) return [assume(`line ${s.loc.line}: ${printExpr(s.cond)} holds`, cx), then];
  const otherwise = way("otherwise");
  const cond = scalar(s.cond, cx);
  return [(state) => (cond(state.scalars) !== 0 ? then : otherwise)(state)];
}

function compileFor(s: For, cx: Walk): readonly Step[] {
  if (isOpaque(decidersOf(s), cx)) return [assume(`line ${s.loc.line}: the loop over ${s.index.name} makes no trip`, cx), carry(s, "init", "result", cx)];
  const spread = spreadOf(s, cx);
  return [spread ? compileSpread(s, { ...cx, spread: [...cx.spread, spread] }) : compileLoop(s, cx)];
}

/** Moves those variables of a loop that are known. */
const carry = ({ tiles, scalars }: For, from: "init" | "next" | "param", to: "param" | "result", cx: Walk): Step =>
  copier(
    tiles.filter((c) => isRun(tileKey(c[to]), cx)).map((c) => [c[to], c[from]]),
    scalars.filter((c) => isRun(c[to].name, cx)).map((c) => [c[to].name, c[from].name]),
    cx,
  );

function compileSpread(s: For, cx: Walk): Step {
  const [lo, hi, index] = [scalar(s.lo, cx), scalar(s.hi, cx), cx.slot(s.index.name)];
  const body = compileBody(s.body, cx);
  return (state) => {
    const first = lo(state.scalars);
    const trips = Math.max(0, Math.ceil((hi(state.scalars) - first) / s.step));
    if (trips === 0) return;
    const { weight } = state;
    state.scalars[index] = first;
    state.trips.set(s.index.name, trips);
    state.weight = weight * trips;
    body(state);
    state.weight = weight;
  };
}

function compileLoop(s: For, cx: Walk): Step {
  const [lo, hi, index] = [scalar(s.lo, cx), scalar(s.hi, cx), cx.slot(s.index.name)];
  const body = compileBody(s.body, cx);
  const [enter, advance, leave] = [carry(s, "init", "param", cx), carry(s, "next", "param", cx), carry(s, "param", "result", cx)];
  return (state) => {
    enter(state);
    const end = hi(state.scalars);
    for (let i = lo(state.scalars); i < end; i += s.step) {
      state.scalars[index] = i;
      body(state);
      advance(state);
    }
    leave(state);
  };
}

// ---- Loops that are not run --------------------------------------------------------------------------------------------------------

/** Undefined for a loop whose index decides more than places, or moves a tile in other ways than evenly and without gaps along one axis. */
function spreadOf(s: For, cx: Walk): Spread | undefined {
  if (s.tiles.some((c) => isRun(tileKey(c.param), cx)) || s.scalars.some((c) => isRun(c.param.name, cx))) return undefined;
  const inside = [...statements(s.body)];
  const moved = reachedFrom([s.index.name], cx.flow.readers);
  const lets = new Map(inside.flatMap((i) => (i.kind === "Let" ? [[i.scalar.name, i.expr] as const] : [])));
  const slope = (e: Expr): number | undefined => slopeOf(e, s.index.name, s.step, moved, lets);
  for (const i of inside) {
    const decides = (i.kind === "For" || i.kind === "If") && !isOpaque(decidersOf(i), cx);
    if (decides && decidersOf(i).some((key) => moved.has(key))) return undefined;
    if (i.kind === "Define" && i.op.kind === "Gather" && i.op.picks.some((p) => moved.has(tileKey(p.index)))) return undefined;
    const view = viewOf(i);
    if (view && !isEven(view, slope)) return undefined;
  }
  return { loop: s, slope };
}

function viewOf(s: TileStmt): TileView | undefined {
  if (s.kind === "Store" || s.kind === "Append") return s.view;
  return s.kind === "Define" && (s.op.kind === "Load" || s.op.kind === "Gather") ? s.op.view : undefined;
}

function isEven({ coords }: TileView, slope: (e: Expr) => number | undefined): boolean {
  const moving = coords.filter((c) => slope(startOf(c)) !== 0);
  const [only] = moving;
  return only === undefined || (moving.length === 1 && Math.abs(slope(startOf(only)) ?? Infinity) <= extentOf(only));
}

const startOf = (c: TileView["coords"][number]): Expr => (c.kind === "Index" ? c.at : c.start);
const extentOf = (c: TileView["coords"][number]): number => (c.kind === "Index" ? 1 : c.axis.extent);

/** By how much `e` grows when `index` grows by `step`. */
function slopeOf(e: Expr, index: string, step: number, moved: ReadonlySet<Key>, lets: ReadonlyMap<string, Expr>): number | undefined {
  const slope = (x: Expr): number | undefined => slopeOf(x, index, step, moved, lets);
  if (!variablesOf(e).some((name) => moved.has(name))) return 0;
  if (e.kind === "Var") {
    const bound = lets.get(e.name);
    return e.name === index ? step : bound && slope(bound);
  }
  if (e.kind !== "Binary") return undefined;
  const [a, b] = [slope(e.a), slope(e.b)];
  if (a === undefined || b === undefined) return undefined;
  if (e.op === "+") return a + b;
  if (e.op === "-") return a - b;
  if (e.op !== "*") return undefined;
  return isConst(e.a) ? e.a.value * b : isConst(e.b) ? a * e.b.value : undefined;
}

// ---- Memory ------------------------------------------------------------------------------------------------------------------------

function accessesOf(op: TileOp, cx: Walk): readonly Step[] {
  if (op.kind === "Load") return [access(op.view, cx.count.read, cx)];
  return op.kind === "Gather" ? [gather(op, cx)] : [];
}

function access(view: TileView, touched: Touched, cx: Walk): Step {
  const [box, memory, sectors, bytes] = [boxOf(view, cx), cx.memory(view), touched.get(view.param)!, byteSize(view.dtype)];
  return (state) => touch(sectors, memory, box(state), bytes);
}

function gather(op: Extract<TileOp, { kind: "Gather" }>, cx: Walk): Step {
  const { view, picks } = op;
  const [box, memory, sectors, bytes] = [boxOf(view, cx), cx.memory(view), cx.count.read.get(view.param)!, byteSize(view.dtype)];
  if (isOpaque(picks.map((p) => tileKey(p.index)), cx)) {
    return assume(`rows of ${view.param} that are picked by results are not counted`, cx);
  }
  const orders = picks.map((p) => positionsOf(p.index.axes, picks[0]!.index.axes));
  return (state) => {
    const placed = box(state);
    const picked = picks.map((p, i) => {
      const [interval, isRun] = [placed[p.coord]!, view.coords[p.coord]!.kind === "Block"];
      if (!isRun) interval.count = 1;
      return { interval, from: isRun ? interval.start : 0, values: state.tiles[p.index.id]!, order: orders[i]! };
    });
    const rows = orders[0]!.length;
    for (let j = 0; j < rows; j++) {
      for (let i = 0; i < picked.length; i++) {
        const { interval, from, values, order } = picked[i]!;
        interval.start = from + values[order[j]!]!;
      }
      touch(sectors, memory, placed, bytes);
    }
  };
}

/** Where element j of a tile with axes `like` lies in one with axes `own`, which are the same in another order. */
function positionsOf(own: readonly Axis[], like: readonly Axis[]): Int32Array {
  const strides = like.map(({ name }) => own.slice(own.findIndex((a) => a.name === name) + 1).reduce((n, a) => n * a.extent, 1));
  return new Int32Array(like.reduce((n, a) => n * a.extent, 1)).map((_, j) => {
    let [rest, at] = [j, 0];
    for (let i = like.length - 1; i >= 0; i--) {
      const digit = rest % like[i]!.extent;
      rest = (rest - digit) / like[i]!.extent;
      at += digit * strides[i]!;
    }
    return at;
  });
}

/** The box of all trips of the loops around that are not run. */
function boxOf({ coords }: TileView, cx: Walk): (state: State) => Interval[] {
  const parts = coords.map((c) => ({
    start: scalar(startOf(c), cx),
    extent: extentOf(c),
    moves: cx.spread.flatMap(({ loop, slope }) => {
      const by = slope(startOf(c))!;
      return by === 0 ? [] : [{ index: loop.index.name, by }];
    }),
  }));
  return ({ scalars, trips }) =>
    parts.map(({ start, extent, moves }) => {
      let [from, count] = [start(scalars), extent];
      for (const { index, by } of moves) {
        const reach = by * (trips.get(index)! - 1);
        from += Math.min(0, reach);
        count += Math.abs(reach);
      }
      return { start: from, count };
    });
}
