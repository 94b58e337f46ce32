/**
 * The language's operations as Tile IR: each checks its operands, infers axes, extents and dtype of the result, and emits one node.
 * The checks repeat what the types say in the editor, with the place and the other end.
 */
import { dtypes, isFloat, type DType } from "../../dsl/dtype.ts";
import { dependsOnOrder } from "../../dsl/unordered.ts";
import { type CompileError, diagnostic, type Note, type Span } from "../diagnostics.ts";
import { type Expr, int, type ScalarType } from "../ir/expr.ts";
import { computeType } from "../ir/plan.ts";
import type { Axis, Coord, ReduceFn, TileOp, TileType, TileValue, TileView } from "../ir/tile.ts";
import { type Builder, locOf } from "./builder.ts";
import { literalTo, toExpr } from "./scalar.ts";
import { labelOf, type Naming } from "./scope.ts";
import {
  axisNames, describeTile, describeValue, isPlainObject, isTile, kind, refOf, scalarRef, sized,
  type BlocksRef, type GlobalRef, type ScalarRef, type TileRef, type Value, type ViewRef,
} from "./value.ts";

/** One call of an operation. */
export interface Call {
  readonly name: string;
  readonly args: readonly Value[];
  /** Where argument i stands; the call itself where it is missing. */
  argSpan(i: number): Span;
  readonly span: Span;
  readonly naming: Naming;
  readonly build: Builder;
  /** The lambda's body as an expression of the given variables. */
  lambda(f: Value, params: readonly { readonly name: string; readonly type: ScalarType }[], span: Span): Expr;
  /** Names of a function's parameters, as its author wrote them. */
  paramNames(f: Value, count: number): readonly string[];
}

// ---- Reading arguments -----------------------------------------------------------------------------------------------------------------

const isDtype = (x: Value): x is DType => dtypes.some((d) => d === x);

/** Argument i is not what the operation takes. */
export const wrongArg = (call: Call, i: number, value: Value, form: string, callee = call.name): CompileError =>
  diagnostic("E-FRONT-13", call.argSpan(i), { callee, what: describeValue(value), form });

export function tileArg(call: Call, i: number): TileValue {
  const value = call.args[i];
  if (isTile(value)) return value.tile;
  throw wrongArg(call, i, value, "give it a tile, what load, map or gemm return");
}

export function viewArg(call: Call, i: number): ViewRef {
  const ref = refOf(call.args[i]);
  if (ref?.[kind] === "View") return ref;
  throw wrongArg(call, i, call.args[i], "give it a view: argument.tile({ … })");
}

export function staticArg<T extends string | number>(call: Call, value: Value, type: "string" | "number", i: number, what: string): T {
  if (typeof value === type) return value as T;
  if (refOf(value)) throw diagnostic("E-SUBSET-07", call.argSpan(i), { what });
  throw wrongArg(call, i, value, `${what} is a ${type}`);
}

export function countArg(call: Call, value: Value, i: number, what: string): number {
  const count = staticArg<number>(call, value, "number", i, what);
  if (!Number.isInteger(count) || count <= 0) throw diagnostic("E-DIM-06", call.argSpan(i), { what, found: count });
  return count;
}

function dtypeArg(call: Call, i: number, allowed: readonly DType[], fallback?: DType): DType {
  const value = call.args[i] ?? fallback;
  if (isDtype(value) && allowed.includes(value)) return value;
  throw diagnostic("E-DTYPE-07", call.argSpan(i), { op: call.name, dtype: String(value), allowed: allowed.join(", ") });
}

/** An axis or a list of them, all of the tile. */
function axesArg(call: Call, i: number, tiles: readonly TileValue[]): readonly string[] {
  const value = call.args[i];
  const names: readonly Value[] = Array.isArray(value) ? value : [value];
  return names.map((name) => {
    const axis = staticArg<string>(call, name, "string", i, "an axis");
    for (const tile of tiles) {
      if (!tile.axes.some((a) => a.name === axis)) {
        throw diagnostic("E-AXIS-01", call.argSpan(i), { op: call.name, axis, axes: axisNames(tile.axes) }, [definedAt(call, tile)]);
      }
    }
    return axis;
  });
}

/** A value of a dtype, as an expression in the type that the dtype is computed in. */
const valueArg = (call: Call, i: number, dtype: TileType): Expr =>
  literalTo(computeType(dtype), toExpr(call.args[i] ?? 0, call.argSpan(i)), call.argSpan(i));

/** `{ axis, start, size }`, what blocks(…) yields and authors build themselves. */
function rangeOf(call: Call, value: Value, i: number): { readonly axis: Axis; readonly start: Expr } {
  if (!isPlainObject(value) || !("axis" in value && "start" in value && "size" in value)) {
    throw wrongArg(call, i, value, "give it a range: { axis, start, size }");
  }
  const name = staticArg<string>(call, value["axis"], "string", i, "a range's axis");
  const extent = countArg(call, value["size"], i, "a range's size");
  return { axis: { name, extent }, start: integer(value["start"], call.argSpan(i), "a range's start") };
}

/** An i32 expression. */
export function integer(value: Value, span: Span, what: string): Expr {
  const e = toExpr(value, span);
  if (e.type === "f32") throw diagnostic("E-DTYPE-08", span, { what, type: e.type });
  return literalTo("i32", e, span);
}

const definedAt = (call: Call, tile: TileValue): Note => ({
  span: call.build.spanOf(tile),
  text: `${tile.label} is ${describeTile(tile)}`,
});

// ---- Checks of axes --------------------------------------------------------------------------------------------------------------------

/** Refuses an axis whose order the operation would show. */
function requireOrder(call: Call, tile: TileValue, names: readonly string[]): void {
  const axis = tile.axes.find((a) => a.held && names.includes(a.name));
  if (axis) throw diagnostic("E-AXIS-14", call.span, { op: call.name, axis: axis.name }, [definedAt(call, tile)]);
}

/** The same items of the same bag, or no items. */
const sameHeld = (a: Axis, b: Axis): boolean => (a.held?.kind === "Var" ? a.held.name : undefined) === (b.held?.kind === "Var" ? b.held.name : undefined);

/** An axis of one name has one extent in all operands. */
function checkExtents(call: Call, tiles: readonly TileValue[]): void {
  const seen = new Map<string, { readonly axis: Axis; readonly tile: TileValue }>();
  for (const tile of tiles) {
    for (const axis of tile.axes) {
      const known = seen.get(axis.name);
      if (known && !(known.axis.extent === axis.extent && sameHeld(known.axis, axis))) {
        const notes = [definedAt(call, known.tile), definedAt(call, tile)];
        const positions = (a: Axis): number | string => (a.held ? "the items of a bag as" : a.extent);
        throw diagnostic("E-AXIS-02", call.span, { op: call.name, axis: axis.name, a: positions(known.axis), b: positions(axis) }, notes);
      }
      seen.set(axis.name, known ?? { axis, tile });
    }
  }
}

export const sameAxes = (a: readonly Axis[], b: readonly Axis[]): boolean =>
  a.length === b.length && a.every((x) => b.some((y) => x.name === y.name && x.extent === y.extent && sameHeld(x, y)));

export function checkTarget(call: Call, i: number, tile: TileValue, target: readonly Axis[]): void {
  if (sameAxes(tile.axes, target)) return;
  throw diagnostic("E-AXIS-04", call.argSpan(i), { op: call.name, tile: sized(tile.axes), target: sized(target) }, [definedAt(call, tile)]);
}

export function oneAxis(call: Call, i: number, axes: readonly Axis[]): Axis {
  const [axis, ...more] = axes;
  if (axis && more.length === 0) return axis;
  throw diagnostic("E-AXIS-10", call.argSpan(i), { op: call.name, axes: axisNames(axes) });
}

export function checkDtype(call: Call, i: number, tile: TileValue, ok: boolean, allowed: string): void {
  if (!ok) throw diagnostic("E-DTYPE-04", call.argSpan(i), { op: call.name, dtype: tile.dtype, allowed }, [definedAt(call, tile)]);
}

const isFloatTile = (dtype: TileType): boolean => dtype !== "bool" && isFloat(dtype);
/** What sum, max, min and scan make of a dtype. */
const reducedType = (dtype: TileType): DType => (dtype === "bool" ? "i32" : isFloat(dtype) ? "f32" : dtype);

// ---- Views -----------------------------------------------------------------------------------------------------------------------------

/** `global.tile({ axis: index or range, … })`. */
export function tileOfGlobal(call: Call, global: GlobalRef): ViewRef {
  const selection = call.args[0];
  if (!isPlainObject(selection)) {
    throw wrongArg(call, 0, selection, `${global.name}.tile({ axis: index or range })`, `${global.name}.tile`);
  }
  const unknown = Object.keys(selection).find((key) => !global.axes.some((a) => a.name === key));
  if (unknown !== undefined) throw diagnostic("E-AXIS-06", call.argSpan(0), { name: global.name, axis: unknown, axes: axisNames(global.axes) });
  const selected = global.axes.map(({ name }): Coord | undefined => {
    const at = selection[name];
    if (at === undefined) return undefined;
    if (!isPlainObject(at)) return { kind: "Index", at: integer(at, call.argSpan(0), `the position along "${name}"`) };
    const { axis, start } = rangeOf(call, at, 0);
    if (axis.name !== name) throw diagnostic("E-AXIS-07", call.argSpan(0), { range: axis.name, axis: name });
    return { kind: "Block", axis, start };
  });
  return { [kind]: "View", global, selected };
}

/** The view as IR; axes that are neither selected nor in `picked` are taken whole and need a fixed size. */
export function resolveView(call: Call, i: number, { global, selected }: ViewRef, picked: readonly string[] = []): TileView {
  const coords = global.axes.map(({ name, size }, c): Coord => {
    const at = selected[c];
    if (at) return at;
    if (picked.includes(name)) return { kind: "Index", at: int(0) }; // replaced by the index tile
    if (typeof size === "string") throw diagnostic("E-DIM-01", call.argSpan(i), { name: global.name, axis: name, size });
    return { kind: "Block", axis: { name, extent: size }, start: int(0) };
  });
  return { param: global.param, field: global.field, dtype: global.dtype, coords };
}
export const axesOfView = (view: TileView): readonly Axis[] => view.coords.flatMap((c) => (c.kind === "Block" ? [c.axis] : []));

function readable(call: Call, view: ViewRef): void {
  if (view.global.writable) throw diagnostic("E-DIM-07", call.argSpan(0), { name: view.global.name });
}
export function writable(call: Call, view: ViewRef): void {
  if (!view.global.writable) throw diagnostic("E-DIM-05", call.argSpan(0), { name: view.global.name });
}

/** What fits a global's dtype without a cast. */
export function checkStorable(call: Call, i: number, tile: TileValue, dtype: DType): void {
  const ok = tile.dtype === dtype || (isFloatTile(tile.dtype) && isFloat(dtype));
  checkDtype(call, i, tile, ok, isFloat(dtype) ? "a float dtype" : dtype);
}

export function keepArg(call: Call, i: number): TileValue {
  const keep = tileArg(call, i);
  checkDtype(call, i, keep, keep.dtype === "bool", "bool, what mask makes,");
  return keep;
}

// ---- Operations ------------------------------------------------------------------------------------------------------------------------

const define = (call: Call, op: TileOp, dtype: TileType, axes: readonly Axis[]): TileRef =>
  call.build.define(op, labelOf(call.naming, call.name), dtype, axes, call.span);

function load(call: Call): TileRef {
  const ref = viewArg(call, 0);
  readable(call, ref);
  const view = resolveView(call, 0, ref);
  return define(call, { kind: "Load", view, fill: valueArg(call, 1, view.dtype) }, view.dtype, axesOfView(view));
}

function gather(call: Call): TileRef {
  const ref = viewArg(call, 0);
  readable(call, ref);
  const { global } = ref;
  const indices = call.args[1];
  if (!isPlainObject(indices) || Object.keys(indices).length === 0) {
    throw wrongArg(call, 1, indices, "gather(view, { axis: indexTile })");
  }
  const picks = Object.entries(indices).map(([axis, value]) => {
    const coord = global.axes.findIndex((a) => a.name === axis);
    if (coord < 0) throw diagnostic("E-AXIS-06", call.argSpan(1), { name: global.name, axis, axes: axisNames(global.axes) });
    if (ref.selected[coord]) throw diagnostic("E-AXIS-13", call.argSpan(1), { axis });
    if (!isTile(value)) throw wrongArg(call, 1, value, "index tiles have the dtype i32");
    checkDtype(call, 1, value.tile, value.tile.dtype === "i32", "i32");
    return { coord, index: value.tile };
  });
  const index = picks[0]!.index;
  for (const { index: other } of picks) {
    if (!sameAxes(index.axes, other.axes)) {
      const notes = [definedAt(call, index), definedAt(call, other)];
      throw diagnostic("E-AXIS-08", call.argSpan(1), { a: sized(index.axes), b: sized(other.axes) }, notes);
    }
  }
  const view = resolveView(call, 0, ref, Object.keys(indices));
  const rest = axesOfView(view);
  const twice = rest.find((a) => index.axes.some((b) => a.name === b.name));
  if (twice) throw diagnostic("E-AXIS-09", call.span, { op: "gather", axis: twice.name }, [definedAt(call, index)]);
  return define(call, { kind: "Gather", view, picks }, view.dtype, [...index.axes, ...rest]);
}

function gatherRuns(call: Call): TileRef {
  const ref = viewArg(call, 0);
  readable(call, ref);
  const { global } = ref;
  const [pick, ...more] = isPlainObject(call.args[1]) ? Object.entries(call.args[1]) : [];
  if (!pick || more.length > 0) throw wrongArg(call, 1, call.args[1], "gatherRuns(view, { axis: indexTile }), one axis");
  const [axis, value] = pick;
  const coord = global.axes.findIndex((a) => a.name === axis);
  if (coord < 0) throw diagnostic("E-AXIS-06", call.argSpan(1), { name: global.name, axis, axes: axisNames(global.axes) });
  if (ref.selected[coord]?.kind !== "Block") throw diagnostic("E-AXIS-15", call.argSpan(0), { axis });
  if (!isTile(value)) throw wrongArg(call, 1, value, "index tiles have the dtype i32");
  const index = value.tile;
  checkDtype(call, 1, index, index.dtype === "i32", "i32");
  const view = resolveView(call, 0, ref);
  const rest = axesOfView(view);
  const twice = rest.find((a) => index.axes.some((b) => a.name === b.name));
  if (twice) throw diagnostic("E-AXIS-09", call.span, { op: "gatherRuns", axis: twice.name }, [definedAt(call, index)]);
  return define(call, { kind: "Gather", view, picks: [{ coord, index }] }, view.dtype, [...index.axes, ...rest]);
}

function gemm(call: Call): TileRef {
  const [a, b] = [tileArg(call, 0), tileArg(call, 1)];
  checkDtype(call, 0, a, isFloatTile(a.dtype), "a float dtype");
  checkDtype(call, 1, b, isFloatTile(b.dtype), "a float dtype");
  checkExtents(call, [a, b]);
  const over = axesArg(call, 2, [a, b]);
  requireOrder(call, a, over);
  const has = (t: TileValue, axis: Axis) => t.axes.some((x) => x.name === axis.name);
  const kept = (axis: Axis) => !over.includes(axis.name);
  const axes = [...a.axes.filter((x) => has(b, x) && kept(x)), ...a.axes.filter((x) => !has(b, x)), ...b.axes.filter((x) => !has(a, x))];
  if (call.args[3] === undefined) return define(call, { kind: "Gemm", a, b, over }, "f32", axes);
  const acc = tileArg(call, 3);
  checkDtype(call, 3, acc, acc.dtype === "f32", "f32");
  checkTarget(call, 3, acc, axes);
  return define(call, { kind: "Gemm", a, b, over, acc }, "f32", axes);
}

/** map and mask: a lambda over the elements of tiles. */
function elementwise(call: Call, dtype: TileType): TileRef {
  const list = call.args[0];
  const inputs = (Array.isArray(list) ? list : [list]).map((value: Value) => {
    if (isTile(value)) return value.tile;
    throw wrongArg(call, 0, value, `${call.name}([tile, …], (x, …) => …)`);
  });
  checkExtents(call, inputs);
  const names = new Set(inputs.flatMap((t) => t.axes.map((a) => a.name)));
  const cover = inputs.find((t) => t.axes.length === names.size);
  if (!cover) throw diagnostic("E-AXIS-03", call.argSpan(0), { axes: [...names].join(", ") || "none" }, inputs.map((t) => definedAt(call, t)));
  const given = call.paramNames(call.args[1], inputs.length);
  const params = inputs.map((t, i) => ({ name: given[i]!, type: computeType(t.dtype) }));
  const body = literalTo(computeType(dtype), call.lambda(call.args[1], params, call.argSpan(1)), call.argSpan(1));
  return define(call, { kind: "Map", inputs, params: params.map((p) => p.name), body }, dtype, cover.axes);
}

const computed = ["f32", "i32", "u32"] as const;

function cast(call: Call): TileRef {
  const dtype = dtypeArg(call, 0, dtypes);
  const of = tileArg(call, 1);
  return define(call, { kind: "Cast", of }, dtype, of.axes);
}

function slice(call: Call): TileRef {
  const of = tileArg(call, 0);
  const [axis] = axesArg(call, 1, [of]);
  requireOrder(call, of, [axis!]);
  const { extent } = of.axes.find((a) => a.name === axis)!;
  const lo = staticArg<number>(call, call.args[2], "number", 2, "a slice's bound");
  const hi = staticArg<number>(call, call.args[3], "number", 3, "a slice's bound");
  if (!(Number.isInteger(lo) && Number.isInteger(hi) && lo >= 0 && lo < hi && hi <= extent)) {
    throw diagnostic("E-AXIS-11", call.span, { lo, hi, extent, axis: axis! }, [definedAt(call, of)]);
  }
  const axes = of.axes.map((a) => (a.name === axis ? { name: a.name, extent: hi - lo } : a));
  return define(call, { kind: "Slice", of, axis: axis!, start: lo }, of.dtype, axes);
}

function rename(call: Call): TileRef {
  const of = tileArg(call, 0);
  const names = call.args[1];
  if (!isPlainObject(names)) throw wrongArg(call, 1, names, "rename(tile, { old: \"new\" })");
  const axes = Object.fromEntries(Object.entries(names).map(([old, name]) => [old, staticArg<string>(call, name, "string", 1, "an axis")]));
  const unknown = Object.keys(axes).find((old) => !of.axes.some((a) => a.name === old));
  if (unknown !== undefined) {
    throw diagnostic("E-AXIS-01", call.argSpan(1), { op: "rename", axis: unknown, axes: axisNames(of.axes) }, [definedAt(call, of)]);
  }
  requireOrder(call, of, Object.keys(axes));
  const renamed = of.axes.map((a) => ({ ...a, name: axes[a.name] ?? a.name }));
  const twice = renamed.find((a, i) => renamed.findIndex((b) => b.name === a.name) !== i);
  if (twice) throw diagnostic("E-AXIS-09", call.argSpan(1), { op: "rename", axis: twice.name }, [definedAt(call, of)]);
  return define(call, { kind: "Rename", of, axes }, of.dtype, renamed);
}

function full(call: Call): TileRef {
  const shape = call.args[0];
  if (!isPlainObject(shape)) throw wrongArg(call, 0, shape, "full({ axis: extent }, value)");
  const axes = Object.entries(shape).map(([name, extent]) => ({ name, extent: countArg(call, extent, 0, `the extent of axis "${name}"`) }));
  const dtype = dtypeArg(call, 2, dtypes, "f32");
  return define(call, { kind: "Full", value: valueArg(call, 1, dtype) }, dtype, axes);
}

function iota(call: Call): TileRef {
  const { axis, start } = rangeOf(call, call.args[0], 0);
  return define(call, { kind: "Iota", start }, "i32", [axis]);
}

function reduce(call: Call, fn: ReduceFn): TileRef {
  const of = tileArg(call, 0);
  const over = axesArg(call, 1, [of]);
  if (dependsOnOrder(fn, of)) requireOrder(call, of, over);
  return define(call, { kind: "Reduce", fn, of, over }, reducedType(of.dtype), of.axes.filter((a) => !over.includes(a.name)));
}

function scan(call: Call): TileRef {
  const of = tileArg(call, 0);
  const [axis] = axesArg(call, 1, [of]);
  requireOrder(call, of, [axis!]);
  const fn = call.args[2] ?? "sum";
  if (fn !== "sum" && fn !== "max" && fn !== "min") {
    throw wrongArg(call, 2, fn, "scan(tile, axis, \"sum\" | \"max\" | \"min\")");
  }
  return define(call, { kind: "Scan", fn, of, axis: axis! }, reducedType(of.dtype), of.axes);
}

function scalar(call: Call): ScalarRef {
  const of = tileArg(call, 0);
  if (of.axes.length > 0) throw diagnostic("E-AXIS-05", call.span, { axes: axisNames(of.axes) }, [definedAt(call, of)]);
  const value = call.build.scalar(labelOf(call.naming, "scalar"), computeType(of.dtype), call.span);
  call.build.emit({ kind: "ToScalar", scalar: value, of });
  return scalarRef({ kind: "Var", type: value.type, name: value.name });
}

function store(call: Call): undefined {
  const ref = viewArg(call, 0);
  writable(call, ref);
  const view = resolveView(call, 0, ref);
  const of = tileArg(call, 1);
  checkTarget(call, 1, of, axesOfView(view));
  checkStorable(call, 1, of, view.dtype);
  const keep = call.args[2] === undefined ? undefined : keepArg(call, 2);
  if (keep) checkTarget(call, 2, keep, axesOfView(view));
  call.build.emit({ kind: "Store", view, of, ...(keep && { keep }), loc: locOf(call.span) });
}

function blocks(call: Call): BlocksRef {
  const axis = staticArg<string>(call, call.args[0], "string", 0, "the axis of blocks");
  const step = countArg(call, call.args[3], 3, "the step of blocks");
  const [lo, hi] = [1, 2].map((i) => integer(call.args[i], call.argSpan(i), "a bound of blocks")) as [Expr, Expr];
  return { [kind]: "Blocks", axis, lo, hi, step, span: call.span };
}

function each(call: Call): BlocksRef {
  return { [kind]: "Blocks", axis: undefined, lo: int(0), hi: integer(call.args[0], call.argSpan(0), "the count of each"), step: 1, span: call.span };
}

/** The operations of the language that make or use IR values, by name. */
export const operations: Readonly<Record<string, (call: Call) => Value>> = {
  load, gather, gemm, cast, slice, rename, full, iota, scan, scalar, store, gatherRuns, blocks, each,
  map: (call) => elementwise(call, dtypeArg(call, 2, computed, "f32")),
  mask: (call) => elementwise(call, "bool"),
  sum: (call) => reduce(call, "sum"),
  max: (call) => reduce(call, "max"),
  min: (call) => reduce(call, "min"),
};
