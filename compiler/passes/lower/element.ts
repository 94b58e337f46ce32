/** The value of one element of a tile at a position: from registers, shared memory, device memory, or computed on the spot. */
import { byteSize, type DType } from "../../../dsl/dtype.ts";
import { add, and, binary, childrenOf, constant, convert, int, mul, sub, substitute, withChildren, type Expr } from "../../ir/expr.ts";
import { project, renameAxes, sameLayout, type Layout } from "../../ir/layout.ts";
import { computeType, type Pipe, type Stage } from "../../ir/plan.ts";
import { tilesOf } from "../../ir/plan_walk.ts";
import type { ScalarValue, TileOp, TileValue, TileView } from "../../ir/tile.ts";
import { axisNames, definedTiles } from "../../ir/walk.ts";
import { itemField } from "./bag_memory.ts";
import { hostExpr, type Hoist, type Lowering } from "./context.ts";
import { compareNumbers } from "./ordered.ts";
import { ringAt, tiledIndex } from "./rings.ts";

/** A position in the iteration space of some work. */
export interface Cursor {
  /** Position along each axis, relative to the tile. */
  readonly coords: ReadonlyMap<string, Expr>;
  /** Layout of the work, with a value for each register digit; absent where registers cannot be read. */
  readonly layout?: Layout;
  readonly digits?: readonly Expr[];
  /** Set while several consecutive positions along one axis are computed together. */
  readonly vector?: Vector;
}
export interface Vector {
  readonly axis: string;
  readonly width: number;
  /** Coordinate of lane 0 along the axis. */
  readonly start: Expr;
  /** 0 … width - 1; the cursor's coordinate along the axis includes it. */
  readonly lane: Expr;
  /** Wide loads and values common to all lanes, by value id. */
  readonly loaded: Map<number, string>;
  readonly common: Map<number, Expr>;
  /** Statements that stand before those of all lanes. */
  readonly before: Hoist;
}

export const isTrue: Expr = constant("bool", 1);

/** The single element of a tile that becomes a scalar. */
export const scalarElement = (ctx: Lowering, { of, scalar }: { readonly of: TileValue; readonly scalar: ScalarValue }): Expr =>
  convert(scalar.type, element(ctx, of, { coords: new Map(), layout: { threads: [{ axis: null, size: ctx.threads, stride: 0 }], registers: [] }, digits: [] }));

export function element(ctx: Lowering, v: TileValue, at: Cursor): Expr {
  const vector = at.vector;
  if (vector && !axisNames(v).includes(vector.axis) && ctx.place(v).kind === "Inline") {
    const known = vector.common.get(v.id);
    if (known) return known;
    const value = ctx.into(vector.before, () => ctx.bind(v.label, compute(ctx, v, { ...at, coords: firstLane(at, vector) })));
    vector.common.set(v.id, value);
    return value;
  }
  return compute(ctx, v, at);
}

const firstLane = (at: Cursor, vector: Vector): Map<string, Expr> => new Map(at.coords).set(vector.axis, vector.start);

function compute(ctx: Lowering, v: TileValue, at: Cursor): Expr {
  const place = ctx.place(v);
  if (place.kind === "Inline") return evaluate(ctx, v, place.op, at);
  if (place.layout && at.layout && at.digits && sameLayout(project(at.layout, axisNames(v)), place.layout)) return register(ctx, v, at);
  if (place.stage) return staged(ctx, v, at);
  throw new Error(`lower: "${v.label}" is read where neither its registers nor shared memory serve`);
}

/** Index into the registers of a tile with only some axes of the work's layout. */
export function registerIndex(layout: Layout, digits: readonly Expr[], axes: readonly string[]): Expr {
  let index: Expr = int(0);
  let stride = 1;
  layout.registers.forEach((d, i) => {
    if (d.axis === null || !axes.includes(d.axis)) return;
    index = add(index, mul(digits[i]!, int(stride)));
    stride *= d.size;
  });
  return index;
}

function register(ctx: Lowering, v: TileValue, at: Cursor): Expr {
  const { array, first, words } = ctx.registersOf(v);
  if (words) return wordElement(ctx, v, at, array, words);
  return { kind: "Reg", type: computeType(v.dtype), array, index: add(registerIndex(at.layout!, at.digits!, axisNames(v)), int(first)) };
}

/** An element out of words: those of a vector are taken apart together. */
function wordElement(ctx: Lowering, v: TileValue, at: Cursor, array: string, dtype: DType): Expr {
  const each = 4 / byteSize(dtype);
  const type = computeType(v.dtype);
  const unpacked = (index: Expr, width: number): string => {
    const elements = ctx.array(`${v.label}_elements`, type, width);
    for (let i = 0; i < width / each; i++)
      ctx.emit({
        kind: "Call",
        instruction: `unpack.${dtype}`,
        operands: [{ kind: "Registers", array: elements, index: int(i * each), count: each }, { kind: "Registers", array, index: add(binary("/", index, int(each)), int(i)), count: 1 }],
      });
    return elements;
  };
  const indexOf = (digits: readonly Expr[]): Expr => registerIndex(at.layout!, digits, axisNames(v));
  const { vector } = at;
  if (vector && vector.axis === at.layout!.registers[0]?.axis && vector.width % each === 0) {
    const elements = vector.loaded.get(v.id) ?? ctx.into(vector.before, () => unpacked(indexOf([int(0), ...at.digits!.slice(1)]), vector.width));
    vector.loaded.set(v.id, elements);
    return { kind: "Reg", type, array: elements, index: vector.lane };
  }
  const index = indexOf(at.digits!);
  return { kind: "Reg", type, array: unpacked(index, each), index: binary("%", index, int(each)) };
}

/** Shared-memory index of a position; positions in the padding of a layout read the last element. */
export function stageIndex(ctx: Lowering, v: TileValue, coords: ReadonlyMap<string, Expr>): Expr {
  const place = ctx.place(v);
  if (place.kind !== "Stored" || !place.stage) throw new Error(`lower: "${v.label}" is not in shared memory`);
  const within = new Map<string, Expr>(
    v.axes.map(({ name, extent }) => {
      const coord = coords.get(name)!;
      return [name, ctx.facts.of(coord).max < extent ? coord : { kind: "Call", type: "i32", fn: "min", args: [coord, int(extent - 1)] }];
    }),
  );
  return indexIn(ctx, v, place.stage, within);
}

/** Index of a position inside the tile in its stage. */
export const indexIn = (ctx: Lowering, v: TileValue, stage: Stage, coords: ReadonlyMap<string, Expr>): Expr =>
  stage.tiling ? add(slotStart(ctx, v), tiledIndex(stage, coords)) : stage.axes.reduce<Expr>((sum, a) => add(sum, mul(coords.get(a.name)!, int(a.stride))), int(0));

export function staged(ctx: Lowering, v: TileValue, at: Cursor): Expr {
  const type = v.dtype === "bool" ? "u32" : computeType(v.dtype);
  const value: Expr = { kind: "Shared", type, buffer: stageBuffer(ctx, v), index: stageIndex(ctx, v, at.coords) };
  return v.dtype === "bool" ? binary("!=", value, constant("u32", 0)) : value;
}

const buffers = new WeakMap<Lowering, Map<number, string>>();
/** The shared buffer of a staged tile, allocated at first use. */
export function stageBuffer(ctx: Lowering, v: TileValue): string {
  const known = buffers.get(ctx) ?? new Map<number, string>();
  buffers.set(ctx, known);
  let name = known.get(v.id);
  if (name === undefined) {
    const place = ctx.place(v);
    const stage = place.kind === "Stored" ? place.stage! : undefined;
    if (!stage) throw new Error(`lower: "${v.label}" is not in shared memory`);
    if (stage.behind) name = stageBuffer(ctx, stage.behind.value);
    else if (stage.tiling) {
      const depth = pipeOf(ctx, v)?.depth;
      const { digits, swizzle } = stage.tiling;
      const box = digits.map((d) => `${d.axis} ${d.size}${d.stride === 1 ? "" : ` by ${d.stride}`}`).join(", ");
      const note = `${depth === undefined ? "" : `${depth} x `}${v.label}: ${box}${swizzle > 0 ? `, swizzle ${swizzle}` : ""}${behind(ctx, v).map((label) => `, then ${label}`).join("")}`;
      name = ctx.tiledBuffer(`${v.label}_${depth === undefined ? "shared" : "ring"}`, stage.dtype, (depth ?? 1) * stage.elements, note, swizzle > 0);
    } else name = ctx.sharedBuffer(`${v.label}_shared`, stage.dtype, stage.elements, `${v.label}: ${stage.axes.map((a) => `${a.name} ${a.extent} by ${a.stride}`).join(", ")}`);
    known.set(v.id, name);
  }
  return name;
}

/** Labels of the tiles that lie behind a tile in its slot. */
const behind = (ctx: Lowering, v: TileValue): readonly string[] => [...definedTiles(ctx.plan.kernel.body)].flatMap((t) => (stageOf(ctx, t)?.behind?.value.id === v.id ? [t.label] : []));
const stageOf = (ctx: Lowering, v: TileValue): Stage | undefined => {
  const place = ctx.plan.places.get(v.id);
  return place?.kind === "Stored" ? place.stage : undefined;
};
const pipeOf = (ctx: Lowering, v: TileValue): Pipe | undefined => ctx.plan.pipes?.find((p) => tilesOf(p).some((x) => x.id === v.id));
/** Where a tile with a tiling starts in its buffer: in the slot in which the role that is being written finds it, if it is in a ring. */
export function slotStart(ctx: Lowering, v: TileValue): Expr {
  const stage = stageOf(ctx, v)!;
  if (stage.behind) return add(slotStart(ctx, stage.behind.value), int(stage.behind.at));
  const pipe = pipeOf(ctx, v);
  return pipe ? mul(ringAt(ctx, pipe.name).slot, int(stage.elements)) : int(0);
}

/** The op of a value at a position. */
export function evaluate(ctx: Lowering, v: TileValue, op: TileOp, at: Cursor): Expr {
  switch (op.kind) {
    case "Full":
      return convert(computeType(v.dtype), op.value);
    case "Iota":
      return add(op.start, at.coords.get(v.axes[0]!.name)!);
    case "Slice": {
      const shift = (e: Expr) => add(e, int(op.start));
      const vector = at.vector?.axis === op.axis ? { ...at.vector, start: shift(at.vector.start) } : at.vector;
      return element(ctx, op.of, { coords: new Map(at.coords).set(op.axis, shift(at.coords.get(op.axis)!)), ...(vector && { vector }) });
    }
    case "Rename": {
      const back = Object.fromEntries(Object.entries(op.axes).map(([from, to]) => [to, from]));
      const coords = new Map([...at.coords].map(([axis, e]) => [back[axis] ?? axis, e]));
      const vector = at.vector && { ...at.vector, axis: back[at.vector.axis] ?? at.vector.axis };
      return element(ctx, op.of, { coords, ...(at.layout && at.digits && { layout: renameAxes(at.layout, back), digits: at.digits }), ...(vector && { vector }) });
    }
    case "Cast":
      return cast(v.dtype, element(ctx, op.of, at));
    case "Map":
      return applyMap(ctx, op, v, at);
    case "Load":
      return loadElement(ctx, v, op.view, at, op.fill, () => undefined);
    case "Gather": {
      const picks = new Map(op.picks.map((p) => [p.coord, p.index]));
      return loadElement(ctx, v, op.view, at, zero(op.view.dtype), (i) => {
        const index = picks.get(i);
        return index && ctx.bind(index.label, element(ctx, index, { coords: at.coords }));
      });
    }
    case "Items":
      return itemField(ctx.bags.get(op.bag)!, op.field, at.coords.get(v.axes[0]!.name)!);
    case "Counts":
      return { kind: "Shared", type: "u32", buffer: ctx.collective(op.histogram), index: at.coords.get(v.axes[0]!.name)! };
    default:
      throw new Error(`lower: a ${op.kind} cannot be inline ("${v.label}")`);
  }
}

const zero = (dtype: DType): Expr => constant(computeType(dtype), 0);

/** The body of a map at a position; operands used more than once are named. */
function applyMap(ctx: Lowering, op: Extract<TileOp, { kind: "Map" }>, v: TileValue, at: Cursor): Expr {
  const uses = new Map<string, number>();
  const count = (e: Expr): void => {
    if (e.kind === "Var") uses.set(e.name, (uses.get(e.name) ?? 0) + 1);
    childrenOf(e).forEach(count);
  };
  count(op.body);
  const values = new Map<string, Expr>();
  op.inputs.forEach((input, i) => {
    const param = op.params[i]!;
    if (!uses.has(param)) return;
    const value = element(ctx, input, at);
    values.set(param, uses.get(param)! > 1 ? ctx.bind(param, value) : value);
  });
  const body = substitute(op.body, values);
  return convert(computeType(v.dtype), nameRepeated(ctx, ctx.machine.ieeeFloats ? compareNumbers(body, (y) => ctx.invariant("least", y)) : body));
}

/** Names subexpressions that an inlined helper uses more than once. */
function nameRepeated(ctx: Lowering, e: Expr): Expr {
  const seen = new Map<Expr, number>();
  const count = (x: Expr): void => {
    seen.set(x, (seen.get(x) ?? 0) + 1);
    if (seen.get(x) === 1) childrenOf(x).forEach(count);
  };
  count(e);
  const named = new Map<Expr, Expr>();
  const go = (x: Expr): Expr => {
    const known = named.get(x);
    if (known) return known;
    const rebuilt = withChildren(x, go);
    const heavy = x.kind === "Binary" || x.kind === "Select" || x.kind === "Call" || x.kind === "Round" || x.kind === "Convert" || x.kind === "Unary";
    const result = heavy && seen.get(x)! > 1 ? ctx.bind("part", rebuilt) : rebuilt;
    named.set(x, result);
    return result;
  };
  return go(e);
}
/** A computed value as an element of a dtype: rounded where the dtype is narrower than the compute type. */
function cast(dtype: TileValue["dtype"], value: Expr): Expr {
  const converted = convert(computeType(dtype), value);
  if (dtype !== "bf16" && dtype !== "f16" && dtype !== "e4m3" && dtype !== "e5m2" && dtype !== "ue8m0") return converted;
  return converted.kind === "Round" && converted.dtype === dtype ? converted : { kind: "Round", type: "f32", dtype, a: converted };
}

/** A value on its way to where it is rounded to `dtype` anyway. */
export const unrounded = (dtype: TileValue["dtype"], value: Expr): Expr => (value.kind === "Round" && value.dtype === dtype ? value.a : value);

export interface Address {
  readonly coords: readonly Expr[];
  /** All coordinates but the last lie inside the param. */
  readonly guard: Expr;
  /** The last coordinate lies inside. */
  readonly lastGuard: Expr;
}

/** Coordinates in the param of a position in a view; `pick` gives those of an index tile: the position itself, or where a run starts. */
export function address(ctx: Lowering, view: TileView, coords: ReadonlyMap<string, Expr>, pick: Pick): Address {
  const param = ctx.param(view.param);
  const field = param.fields.find((f) => f.name === view.field)!;
  const sizes = [...param.axes, ...field.axes].map((a) => a.size);
  const positions = view.coords.map((c, i) => {
    const picked = pick(i);
    if (c.kind === "Index") return picked ?? c.at;
    const inView = add(c.start, coords.get(c.axis.name)!);
    return picked ? add(picked, inView) : inView;
  });
  const checks = positions.map((p, i) => inside(ctx, p, sizes[i]!));
  const last = positions.length - 1;
  return { coords: positions, guard: checks.slice(0, last).reduce(and, isTrue), lastGuard: checks[last] ?? isTrue };
}

/** Condition that a coordinate lies in [0, size), as far as it is not known. */
function inside(ctx: Lowering, e: Expr, size: number | string): Expr {
  const fact = ctx.facts.of(e);
  const notBelow = fact.min >= 0 ? isTrue : binary(">=", e, int(0));
  const notAbove = typeof size === "number" ? (fact.max < size ? isTrue : binary("<", e, int(size))) : fact.below === size ? isTrue : binary("<", e, hostExpr(size));
  return and(notBelow, notAbove);
}

/** True when `width` elements from these coordinates start at a multiple of their size. */
export function isAligned(ctx: Lowering, view: TileView, coords: readonly Expr[], width: number): boolean {
  const param = ctx.param(view.param);
  const field = param.fields.find((f) => f.name === view.field)!;
  const axes = [...param.axes, ...field.axes];
  const size = byteSize(view.dtype);
  const bytes = coords.map((c, i) => ctx.hostMultiple(axes[i]!.stride) * ctx.facts.of(c).multiple);
  return [field.offset === 0 ? 2 ** 20 : field.offset & -field.offset, ...bytes].every((b) => b % (width * size) === 0);
}

/** The position that an index tile gives for a coordinate of the view, if one does. */
type Pick = (coord: number) => Expr | undefined;

function loadElement(ctx: Lowering, v: TileValue, view: TileView, at: Cursor, fill: Expr, pick: Pick): Expr {
  const type = computeType(view.dtype);
  const { vector } = at;
  const lastCoord = view.coords.at(-1);
  if (vector && vector.width > 1 && lastCoord?.kind === "Block" && lastCoord.axis.name === vector.axis) {
    const array = vector.loaded.get(v.id) ?? ctx.into(vector.before, () => loadVector(ctx, v, view, { ...at, coords: firstLane(at, vector) }, vector.width, fill, pick));
    if (array !== undefined) {
      vector.loaded.set(v.id, array);
      return { kind: "Reg", type, array, index: vector.lane };
    }
  }
  const { coords, guard, lastGuard } = address(ctx, view, at.coords, pick);
  const all = and(guard, lastGuard);
  return { kind: "GlobalElement", type, param: view.param, field: view.field, coords, ...(all !== isTrue && { guard: all, fill: convert(type, fill) }) };
}

/** Consecutive elements in one access; undefined where the first may lie before the start of the param. */
function loadVector(ctx: Lowering, v: TileValue, view: TileView, at: Cursor, width: number, fill: Expr, pick: Pick): string | undefined {
  const { coords, guard } = address(ctx, view, at.coords, pick);
  if (ctx.facts.of(coords.at(-1)!).min < 0) return undefined;
  const type = computeType(view.dtype);
  const array = ctx.array(`${v.label}_wide`, type, width);
  ctx.emit({
    kind: "LoadGlobal",
    array,
    index: int(0),
    count: width,
    param: view.param,
    field: view.field,
    coords,
    ...(guard !== isTrue && { guard }),
    ...limitOf(ctx, view, coords, width),
    fill: convert(type, fill),
    aligned: isAligned(ctx, view, coords, width),
  });
  return array;
}

/** How many of `width` elements exist from these coordinates on, where that is not known to be all. */
export function limitOf(ctx: Lowering, view: TileView, coords: readonly Expr[], width: number): { limit?: Expr } {
  const param = ctx.param(view.param);
  const size = [...param.axes, ...param.fields.find((f) => f.name === view.field)!.axes].at(-1)!.size;
  const last = coords.at(-1)!;
  if (typeof size === "number" && ctx.facts.of(last).max + width <= size) return {};
  return { limit: sub(hostExpr(size), last) };
}
