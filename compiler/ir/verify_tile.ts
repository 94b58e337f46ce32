/**
 * The rules of Tile IR: one line for each kind of op and statement. They are also its specification: what is not refused here, every
 * pass and every interpreter must understand.
 */
import { isFloat, type DType } from "../../dsl/dtype.ts";
import type { Expr, ScalarType } from "./expr.ts";
import { printHost } from "./print_tile.ts";
import type { Axis, ScalarValue, TileKernel, TileOp, TileStmt, TileType, TileValue, TileView } from "./tile.ts";
import { VerifyError } from "./verify_error.ts";
import { complaintOf } from "./verify_expr.ts";
import { inputsOf, readsOf } from "./walk.ts";

/** Each rule: a condition, or the complaint of a part. */
type Verdict = boolean | string | undefined;

const computed = (dtype: TileType): ScalarType => (dtype === "i32" || dtype === "u32" || dtype === "bool" ? dtype : "f32");
const reduced = (dtype: TileType): TileType => (dtype === "bool" ? "i32" : isFloat(dtype) ? "f32" : dtype);
const isFloatTile = (t: TileValue): boolean => t.dtype !== "bool" && isFloat(t.dtype);
const extentOf = (axes: readonly Axis[], name: string): number | undefined => axes.find((a) => a.name === name)?.extent;
const same = (a: readonly Axis[], b: readonly Axis[]): boolean => a.length === b.length && a.every((x) => extentOf(b, x.name) === x.extent);
const without = (axes: readonly Axis[], names: readonly string[]): readonly Axis[] => axes.filter((a) => !names.includes(a.name));
/** The axes of several tiles together; undefined where one name has two extents. */
function union(lists: readonly (readonly Axis[])[]): readonly Axis[] | undefined {
  const all = new Map<string, Axis>();
  for (const axis of lists.flat()) {
    if ((all.get(axis.name)?.extent ?? axis.extent) !== axis.extent) return undefined;
    all.set(axis.name, axis);
  }
  return [...all.values()];
}
const blocksOf = (view: TileView): readonly Axis[] => view.coords.flatMap((c) => (c.kind === "Block" ? [c.axis] : []));
const storable = (from: TileType, to: DType): boolean => from === to || (from !== "bool" && isFloat(from) && isFloat(to));

const opRules: { readonly [K in TileOp["kind"]]: (op: Extract<TileOp, { kind: K }>, v: TileValue) => Verdict } = {
  Load: (op, v) => same(v.axes, blocksOf(op.view)) && v.dtype === op.view.dtype && op.fill.type === computed(v.dtype),
  Gather: (op, v) =>
    v.dtype === op.view.dtype && op.picks.length > 0 &&
    op.picks.every((p) => p.index.dtype === "i32" && op.view.coords[p.coord] !== undefined && same(p.index.axes, op.picks[0]!.index.axes)) &&
    same(v.axes, [...op.picks[0]!.index.axes, ...blocksOf(op.view)]),
  Full: (op, v) => op.value.type === computed(v.dtype),
  Iota: (op, v) => op.start.type === "i32" && v.dtype === "i32" && v.axes.length === 1,
  Slice: (op, v) => {
    const [whole, part] = [extentOf(op.of.axes, op.axis), extentOf(v.axes, op.axis)];
    const inside = whole !== undefined && part !== undefined && op.start >= 0 && op.start + part <= whole;
    return inside && v.dtype === op.of.dtype && same(without(v.axes, [op.axis]), without(op.of.axes, [op.axis]));
  },
  Rename: (op, v) => v.dtype === op.of.dtype && same(v.axes, op.of.axes.map((a) => ({ ...a, name: op.axes[a.name] ?? a.name }))),
  Cast: (op, v) => v.dtype !== "bool" && same(v.axes, op.of.axes),
  Map: (op, v) => {
    const axes = union(op.inputs.map((t) => t.axes));
    const covered = axes !== undefined && same(v.axes, axes) && op.inputs.some((t) => same(t.axes, axes));
    return covered && op.params.length === op.inputs.length && op.body.type === computed(v.dtype);
  },
  Reduce: (op, v) =>
    v.dtype === reduced(op.of.dtype) && op.over.every((a) => extentOf(op.of.axes, a) !== undefined) && same(v.axes, without(op.of.axes, op.over)),
  Scan: (op, v) => v.dtype === reduced(op.of.dtype) && extentOf(op.of.axes, op.axis) !== undefined && same(v.axes, op.of.axes),
  Gemm: (op, v) => {
    const axes = union([op.a.axes, op.b.axes]);
    return (
      isFloatTile(op.a) && isFloatTile(op.b) && v.dtype === "f32" && axes !== undefined && same(v.axes, without(axes, op.over)) &&
      op.over.every((k) => extentOf(op.a.axes, k) !== undefined && extentOf(op.b.axes, k) !== undefined) &&
      (!op.acc || (op.acc.dtype === "f32" && same(op.acc.axes, v.axes)))
    );
  },
  Counts: (_op, v) => v.dtype === "u32" && v.axes.length === 1,
  Items: (_op, v) => v.axes.length === 1 && v.axes[0]!.held?.type === "i32",
};

/** Rules of statements beyond "everything read is defined before". */
const stmtRules: { readonly [K in TileStmt["kind"]]: (s: Extract<TileStmt, { kind: K }>) => Verdict } = {
  Define: (s) => (opRules[s.op.kind] as (op: TileOp, v: TileValue) => Verdict)(s.op, s.value),
  Let: (s) => s.scalar.type === s.expr.type,
  ToScalar: (s) => s.of.axes.length === 0 && s.scalar.type === computed(s.of.dtype),
  For: (s) =>
    s.step > 0 && s.index.type === "i32" && s.lo.type === "i32" && s.hi.type === "i32" &&
    s.tiles.every((c) => [c.init, c.next, c.result].every((t) => t.dtype === c.param.dtype && same(t.axes, c.param.axes))) &&
    s.scalars.every((c) => [c.init, c.next, c.result].every((x) => x.type === c.param.type)),
  If: (s) =>
    s.cond.type === "bool" &&
    s.tiles.every((m) => [m.then, m.otherwise].every((t) => t.dtype === m.result.dtype && same(t.axes, m.result.axes))) &&
    s.scalars.every((m) => m.then.type === m.result.type && m.otherwise.type === m.result.type),
  Store: (s) =>
    same(s.of.axes, blocksOf(s.view)) && storable(s.of.dtype, s.view.dtype) && (!s.keep || (s.keep.dtype === "bool" && same(s.keep.axes, s.of.axes))),
  Histogram: (s) => Number.isInteger(s.bins) && s.bins > 0,
  HistogramAdd: (s) => (s.bin.dtype === "i32" || s.bin.dtype === "u32") && s.keep.dtype === "bool" && same(s.bin.axes, s.keep.axes),
  HistogramFind: (s) => s.want.type === "i32" && [s.bin, s.above, s.inBin].every((x) => x.type === "i32"),
  Bag: (s) => Number.isInteger(s.capacity) && s.capacity > 0 && s.fields.length > 0,
  BagAdd: (s) => s.keep.dtype === "bool" && s.items.every((v) => same(v.axes, s.keep.axes)),
  BagCount: (s) => s.scalar.type === "i32",
  Bitmap: (s) => Number.isInteger(s.size) && s.size > 0,
  BitmapAdd: (s) => (s.position.dtype === "i32" || s.position.dtype === "u32") && s.keep.dtype === "bool" && same(s.position.axes, s.keep.axes),
  AppendMarked: (s) => s.of.axes.length === 1 && s.limit.type === "i32",
  Append: (s) => blocksOf(s.view).length === 1,
  AppendPush: (s) => s.of.axes.length === 1 && s.keep.dtype === "bool" && same(s.of.axes, s.keep.axes),
  AppendFill: () => true,
  AppendCount: (s) => s.scalar.type === "i32",
};

/** What is in reach of a statement. */
interface Scope {
  /** By id. */
  readonly tiles: Map<number, TileValue>;
  readonly scalars: Map<string, ScalarType>;
  /** By name, the statement that makes each. */
  readonly collectives: Map<string, TileStmt>;
}

/** Throws a VerifyError that names the pass if the kernel breaks a rule. */
export function verifyTile(kernel: TileKernel, pass: string): void {
  const names = new Set<string>();
  const ids = new Set<number>();
  const require = (verdict: Verdict, where: string, complaint: string): void => {
    if (verdict === false) throw new VerifyError(pass, where, complaint);
    if (typeof verdict === "string") throw new VerifyError(pass, where, verdict);
  };
  const once = (name: string, where: string): void => {
    require(!names.has(name), where, `"${name}" is defined twice`);
    names.add(name);
  };

  const scope: Scope = { tiles: new Map(), scalars: new Map(), collectives: new Map() };
  const defineScalar = (scalar: ScalarValue, into: Scope): void => {
    once(scalar.name, scalar.name);
    into.scalars.set(scalar.name, scalar.type);
  };
  const defineTile = (tile: TileValue, into: Scope): void => {
    once(tile.label, tile.label);
    require(!ids.has(tile.id), tile.label, `tile id ${tile.id} is taken`);
    require(new Set(tile.axes.map((a) => a.name)).size === tile.axes.length, tile.label, "an axis occurs twice");
    require(tile.axes.every((a) => Number.isInteger(a.extent) && a.extent > 0), tile.label, "an extent is not a positive integer");
    ids.add(tile.id);
    usesExprs(tile.axes.flatMap((a) => a.held ?? []), into, tile.label);
    into.tiles.set(tile.id, tile);
  };
  const usesTiles = (tiles: readonly TileValue[], from: Scope, where: string): void => {
    for (const tile of tiles) {
      const known = from.tiles.get(tile.id);
      require(known?.dtype === tile.dtype && same(known.axes, tile.axes), where, `tile ${tile.label} is not defined here`);
    }
  };
  const usesScalars = (scalars: readonly ScalarValue[], from: Scope, where: string): void => {
    for (const { name, type } of scalars) require(from.scalars.get(name) === type, where, `scalar ${name} is not defined here as ${type}`);
  };
  const usesExprs = (exprs: readonly Expr[], from: Scope, where: string, params: ReadonlyMap<string, ScalarType> = new Map()): void => {
    for (const e of exprs) require(complaintOf(e, (name) => params.get(name) ?? from.scalars.get(name)), where, "");
  };
  const inner = (from: Scope): Scope => ({ tiles: new Map(from.tiles), scalars: new Map(from.scalars), collectives: new Map(from.collectives) });

  function checkView(view: TileView, from: Scope, where: string): void {
    const param = kernel.params.find((p) => p.name === view.param);
    const field = param?.fields.find((f) => f.name === view.field);
    if (!param || !field) throw new VerifyError(pass, where, `there is no ${view.param}.${view.field}`);
    const axes = [...param.axes, ...field.axes];
    require(field.dtype === view.dtype, where, `${view.param} is ${field.dtype}, not ${view.dtype}`);
    require(view.coords.length === axes.length, where, `${view.param} has ${axes.length} axes, the view ${view.coords.length} coords`);
    view.coords.forEach((c, i) => {
      require(c.kind === "Index" || c.axis.name === axes[i]!.axis, where, `coord ${i} of ${view.param} is not along ${axes[i]!.axis}`);
      const at = c.kind === "Index" ? c.at : c.start;
      require(at.type === "i32", where, `coord ${i} of ${view.param} is ${at.type}`);
      usesExprs([at], from, where);
    });
  }

  function collective<K extends TileStmt["kind"]>(name: string, kind: K, from: Scope, where: string): Extract<TileStmt, { kind: K }> {
    const made = from.collectives.get(name);
    if (made?.kind !== kind) throw new VerifyError(pass, where, `there is no ${kind.toLowerCase()} ${name}`);
    return made as Extract<TileStmt, { kind: K }>;
  }
  function itemsRule(op: Extract<TileOp, { kind: "Items" }>, v: TileValue, { fields, capacity }: Extract<TileStmt, { kind: "Bag" }>, where: string): void {
    require(fields[op.field]?.dtype === v.dtype && v.axes[0]?.extent === capacity, where, "axes, dtypes or types do not fit each other");
  }

  function check(s: TileStmt, from: Scope): void {
    const where = placeOf(s);
    usesTiles(readsOf(s), from, where);
    if ("view" in s) checkView(s.view, from, where);
    switch (s.kind) {
      case "Define":
        usesTiles(inputsOf(s.op), from, where);
        if ("view" in s.op) checkView(s.op.view, from, where);
        usesExprs(exprsOf(s.op), from, where, s.op.kind === "Map" ? paramTypes(s.op) : undefined);
        if (s.op.kind === "Counts") collective(s.op.histogram, "Histogram", from, where);
        if (s.op.kind === "Items") itemsRule(s.op, s.value, collective(s.op.bag, "Bag", from, where), where);
        defineTile(s.value, from);
        break;
      case "Let":
        usesExprs([s.expr], from, where);
        defineScalar(s.scalar, from);
        break;
      case "ToScalar":
        defineScalar(s.scalar, from);
        break;
      case "For": {
        usesExprs([s.lo, s.hi], from, where);
        usesTiles(s.tiles.map((c) => c.init), from, where);
        usesScalars(s.scalars.map((c) => c.init), from, where);
        const body = inner(from);
        defineScalar(s.index, body);
        for (const c of s.tiles) defineTile(c.param, body);
        for (const c of s.scalars) defineScalar(c.param, body);
        for (const b of s.body) check(b, body);
        usesTiles(s.tiles.map((c) => c.next), body, where);
        usesScalars(s.scalars.map((c) => c.next), body, where);
        for (const c of s.tiles) defineTile(c.result, from);
        for (const c of s.scalars) defineScalar(c.result, from);
        break;
      }
      case "If": {
        usesExprs([s.cond], from, where);
        for (const way of ["then", "otherwise"] as const) {
          const body = inner(from);
          for (const b of s[way]) check(b, body);
          usesTiles(s.tiles.map((m) => m[way]), body, where);
          usesScalars(s.scalars.map((m) => m[way]), body, where);
        }
        for (const m of s.tiles) defineTile(m.result, from);
        for (const m of s.scalars) defineScalar(m.result, from);
        break;
      }
      case "Store":
        require(kernel.params.some((p) => p.name === s.view.param && p.access !== "in"), where, `${s.view.param} is an input`);
        break;
      case "Histogram":
      case "Append":
      case "Bag":
      case "Bitmap":
        once(s.name, where);
        from.collectives.set(s.name, s);
        break;
      case "HistogramAdd":
        collective(s.histogram, "Histogram", from, where);
        break;
      case "HistogramFind":
        collective(s.histogram, "Histogram", from, where);
        usesExprs([s.want], from, where);
        for (const found of [s.bin, s.above, s.inBin]) defineScalar(found, from);
        break;
      case "BagAdd": {
        const { fields } = collective(s.bag, "Bag", from, where);
        const fits = (v: TileValue, i: number): boolean => fields[i] !== undefined && storable(v.dtype, fields[i].dtype);
        require(s.items.length === fields.length && s.items.every(fits), where, "its tiles are not the bag's fields");
        break;
      }
      case "BagCount":
        collective(s.bag, "Bag", from, where);
        defineScalar(s.scalar, from);
        break;
      case "BitmapAdd":
        collective(s.bitmap, "Bitmap", from, where);
        break;
      case "AppendPush":
      case "AppendFill":
      case "AppendCount":
      case "AppendMarked":
        collective(s.append, "Append", from, where);
        if (s.kind === "AppendMarked") {
          const { size } = collective(s.bitmap, "Bitmap", from, where);
          require(s.of.axes[0]?.extent === size, where, `${s.of.label} does not have the ${size} positions of ${s.bitmap}`);
          usesExprs([s.limit], from, where);
        }
        if (s.kind === "AppendFill") usesExprs([s.value], from, where);
        if (s.kind === "AppendCount") defineScalar(s.scalar, from);
        break;
    }
    require((stmtRules[s.kind] as (s: TileStmt) => Verdict)(s), where, "axes, dtypes or types do not fit each other");
  }

  for (const dim of kernel.dims) defineScalar({ name: dim.name, type: "i32", loc: kernel.loc }, scope);
  for (const g of kernel.grid) {
    require(g.step > 0, `grid ${g.index.name}`, `step ${g.step} with count ${printHost(g.count)}`);
    defineScalar(g.index, scope);
  }
  for (const s of kernel.body) check(s, scope);
}

const paramTypes = (op: Extract<TileOp, { kind: "Map" }>): ReadonlyMap<string, ScalarType> =>
  new Map(op.params.map((p, i) => [p, computed(op.inputs[i]!.dtype)]));

/** Expressions of an op, those of its view aside. */
function exprsOf(op: TileOp): readonly Expr[] {
  if (op.kind === "Load") return [op.fill];
  if (op.kind === "Full") return [op.value];
  if (op.kind === "Iota") return [op.start];
  return op.kind === "Map" ? [op.body] : [];
}

function placeOf(s: TileStmt): string {
  const at = (loc: { readonly file: string; readonly line: number }, what: string): string => `${loc.file}:${loc.line} ${what}`;
  if (s.kind === "Define") return at(s.value.loc, `${s.value.label} (${s.op.kind})`);
  return "loc" in s ? at(s.loc, s.kind) : at(s.scalar.loc, `${s.scalar.name} (${s.kind})`);
}
