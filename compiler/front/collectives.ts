/** Histograms, appends, bags and bitmaps: how they are made, and what can be called on them. */
import type { DType } from "../../dsl/dtype.ts";
import { unordered } from "../../dsl/unordered.ts";
import { diagnostic } from "../diagnostics.ts";
import { binary, int, select, type Expr } from "../ir/expr.ts";
import { computeType } from "../ir/plan.ts";
import type { BagField, TileOp, TileStmt, TileValue } from "../ir/tile.ts";
import { bodiesOf, inputsOf, statements } from "../ir/walk.ts";
import { locOf } from "./builder.ts";
import { literalTo, toExpr } from "./scalar.ts";
import { labelOf } from "./scope.ts";
import {
  axesOfView, type Call, checkDtype, checkStorable, checkTarget, countArg, integer, keepArg, oneAxis, resolveView, staticArg, tileArg, viewArg, writable, wrongArg,
} from "./tile_ops.ts";
import { type AppendRef, type BagRef, type BitmapRef, type CollectiveRef, type HistogramRef, isPlainObject, isTile, kind, scalarRef, type Value } from "./value.ts";

const i32 = (name: string) => scalarRef({ kind: "Var", type: "i32", name });
/** What a part of a result is called: after the variable that gets the whole, if it has one. */
const partName = (call: Call, key: string): string => (call.naming.base === "" ? key : `${call.naming.base}.${key}`);

// ---- Making them -----------------------------------------------------------------------------------------------------------------------

function histogram(call: Call): HistogramRef {
  const bins = countArg(call, call.args[0], 0, "the number of bins");
  const name = call.build.unique(labelOf(call.naming, "histogram"));
  call.build.emit({ kind: "Histogram", name, bins, loc: locOf(call.span) });
  return { [kind]: "Histogram", name, bins };
}

function append(call: Call): AppendRef {
  const ref = viewArg(call, 0);
  writable(call, ref);
  const view = resolveView(call, 0, ref);
  oneAxis(call, 0, axesOfView(view));
  const name = call.build.unique(labelOf(call.naming, "append"));
  call.build.emit({ kind: "Append", name, view, loc: locOf(call.span) });
  return { [kind]: "Append", name, dtype: view.dtype };
}

const itemDtypes: readonly Value[] = ["f32", "i32", "u32"];
const isItemDtype = (value: Value): value is BagField["dtype"] => itemDtypes.includes(value);

function bag(call: Call): BagRef {
  const capacity = countArg(call, call.args[0], 0, "the capacity");
  const given = call.args[1];
  if (!isPlainObject(given) || Object.keys(given).length === 0) throw wrongArg(call, 1, given, 'bag(capacity, { x: "f32", t: "i32" })');
  const fields = Object.entries(given).map(([name, dtype]): BagField => {
    if (isItemDtype(dtype)) return { name, dtype };
    throw diagnostic("E-DTYPE-07", call.argSpan(1), { op: call.name, dtype: String(dtype), allowed: itemDtypes.join(", ") });
  });
  const name = call.build.unique(labelOf(call.naming, "bag"));
  call.build.emit({ kind: "Bag", name, capacity, fields, loc: locOf(call.span) });
  return { [kind]: "Bag", name, capacity, fields };
}

function bitmap(call: Call): BitmapRef {
  const size = countArg(call, call.args[0], 0, "the number of positions");
  const name = call.build.unique(labelOf(call.naming, "bitmap"));
  call.build.emit({ kind: "Bitmap", name, size, loc: locOf(call.span) });
  return { [kind]: "Bitmap", name, size };
}

/** By name. */
export const collectives: Readonly<Record<string, (call: Call) => CollectiveRef>> = { histogram, append, bag, bitmap };

// ---- Their methods ---------------------------------------------------------------------------------------------------------------------

type Methods<R> = Readonly<Record<string, (call: Call, of: R) => Value>>;

const histogramMethods: Methods<HistogramRef> = {
  add(call, of) {
    const [bin, keep] = [tileArg(call, 0), keepArg(call, 1)];
    checkDtype(call, 0, bin, bin.dtype === "i32" || bin.dtype === "u32", "i32 or u32");
    checkTarget(call, 1, keep, bin.axes);
    call.build.emit({ kind: "HistogramAdd", histogram: of.name, bin, keep, loc: locOf(call.span) });
    return undefined;
  },
  find(call, of) {
    const part = (key: string) => call.build.scalar(partName(call, key), "i32", call.span);
    const found = { bin: part("bin"), above: part("above"), inBin: part("inBin") };
    call.build.emit({ kind: "HistogramFind", histogram: of.name, want: integer(call.args[0], call.argSpan(0), "the wanted count"), ...found, loc: locOf(call.span) });
    return { bin: i32(found.bin.name), above: i32(found.above.name), inBin: i32(found.inBin.name) };
  },
  counts(call, of) {
    const name = staticArg<string>(call, call.args[0], "string", 0, "the axis of counts");
    return call.build.define({ kind: "Counts", histogram: of.name }, labelOf(call.naming, call.name), "u32", [{ name, extent: of.bins }], call.span);
  },
};

const appendMethods: Methods<AppendRef> = {
  push(call, of) {
    const [tile, keep] = [tileArg(call, 0), keepArg(call, 1)];
    oneAxis(call, 0, tile.axes);
    checkTarget(call, 1, keep, tile.axes);
    checkStorable(call, 0, tile, of.dtype);
    if (tile.axes[0]!.held) throw diagnostic("E-AXIS-14", call.argSpan(0), { op: call.name, axis: tile.axes[0]!.name });
    call.build.emit({ kind: "AppendPush", append: of.name, of: tile, keep, loc: locOf(call.span) });
    return undefined;
  },
  pushMarked(call, of) {
    const marks = call.args[0] as CollectiveRef | undefined;
    if (marks?.[kind] !== "Bitmap") throw wrongArg(call, 0, call.args[0], "give it a bitmap: bitmap(size)");
    const values = tileArg(call, 1);
    const axis = oneAxis(call, 1, values.axes);
    if (axis.extent !== marks.size) throw diagnostic("E-AXIS-16", call.argSpan(1), { op: call.name, axis: axis.name, extent: axis.extent, size: marks.size });
    checkStorable(call, 1, values, of.dtype);
    const limit = call.args[2] === undefined ? int(marks.size) : integer(call.args[2], call.argSpan(2), "the limit");
    call.build.emit({ kind: "AppendMarked", append: of.name, bitmap: marks.name, of: values, limit, loc: locOf(call.span) });
    return undefined;
  },
  fill(call, of) {
    call.build.emit({ kind: "AppendFill", append: of.name, value: valueOf(call, 0, of.dtype), loc: locOf(call.span) });
    return undefined;
  },
  count(call, of) {
    const scalar = call.build.scalar(labelOf(call.naming, `${of.name}.count`), "i32", call.span);
    call.build.emit({ kind: "AppendCount", append: of.name, scalar });
    return i32(scalar.name);
  },
};
const valueOf = (call: Call, i: number, dtype: DType): Expr => literalTo(computeType(dtype), toExpr(call.args[i] ?? 0, call.argSpan(i)), call.argSpan(i));

const bagMethods: Methods<BagRef> = {
  add(call, of) {
    const given = call.args[0];
    if (!isPlainObject(given)) throw wrongArg(call, 0, given, `add({ ${of.fields.map((f) => f.name).join(", ")} }, keep)`);
    const keep = keepArg(call, 1);
    const items = of.fields.map(({ name, dtype }) => {
      const value = given[name];
      if (!isTile(value)) throw wrongArg(call, 0, value, `give it a tile for "${name}"`);
      checkTarget(call, 1, keep, value.tile.axes);
      checkStorable(call, 0, value.tile, dtype);
      return value.tile;
    });
    call.build.emit({ kind: "BagAdd", bag: of.name, items, keep, loc: locOf(call.span) });
    return undefined;
  },
  count: (call, of) => i32(countOf(call, of, labelOf(call.naming, `${of.name}.count`))),
  items(call, of) {
    const axis = unordered(staticArg<string>(call, call.args[0], "string", 0, "the axis of items"));
    const count: Expr = { kind: "Var", type: "i32", name: countOf(call, of, `${of.name}.added`) };
    // an overfull bag has lost items
    const { expr: held } = call.build.name(select(binary("<=", count, int(of.capacity)), count, int(0)), `${of.name}.held`, call.span);
    const field = ({ name, dtype }: BagField, i: number): readonly [string, Value] => {
      const axes = [{ name: axis, extent: of.capacity, held }];
      return [name, call.build.define({ kind: "Items", bag: of.name, field: i }, partName(call, name), dtype, axes, call.span)];
    };
    return Object.fromEntries(of.fields.map(field));
  },
};
function countOf(call: Call, of: BagRef, name: string): string {
  const scalar = call.build.scalar(name, "i32", call.span);
  call.build.emit({ kind: "BagCount", bag: of.name, scalar });
  return scalar.name;
}

const bitmapMethods: Methods<BitmapRef> = {
  add(call, of) {
    const [position, keep] = [tileArg(call, 0), keepArg(call, 1)];
    checkDtype(call, 0, position, position.dtype === "i32" || position.dtype === "u32", "i32 or u32");
    checkTarget(call, 1, keep, position.axes);
    call.build.emit({ kind: "BitmapAdd", bitmap: of.name, position, keep, loc: locOf(call.span) });
    return undefined;
  },
};

/** What can be called on a collective; "count" is a property. */
export const methodsOf = (of: CollectiveRef): Methods<CollectiveRef> =>
  ({ Histogram: histogramMethods, Append: appendMethods, Bag: bagMethods, Bitmap: bitmapMethods })[of[kind]] as Methods<CollectiveRef>;

// ---- Bags are filled first and then looked at ------------------------------------------------------------------------------------------

/** Throws where an item is added to a bag that has been looked at: what was seen would change. */
export function checkBags(body: readonly TileStmt[], shown = new Set<string>()): void {
  for (const s of body) {
    if (s.kind === "Bag") shown.delete(s.name);
    if (s.kind === "Define" && s.op.kind === "Items") shown.add(s.op.bag);
    if (s.kind === "BagAdd" && shown.has(s.bag)) throw diagnostic("E-SUBSET-13", { ...s.loc, length: 1 }, { name: s.bag });
    for (const inner of bodiesOf(s)) checkBags(inner, shown);
    if (s.kind === "For") checkBags(s.body, shown); // the next time round
  }
}

// ---- Values at marked positions are computed by the thread that finds the mark -----------------------------------------------------------

/** Throws where such a value depends on more than positions, numbers and arguments: no thread has all of that at hand. */
export function checkMarked(body: readonly TileStmt[]): void {
  const all = [...statements(body)];
  const definitions = new Map(all.flatMap((s) => (s.kind === "Define" ? [[s.value.id, s.op] as const] : [])));
  const check = (v: TileValue, name: string): void => {
    const op = definitions.get(v.id);
    if (!op || !pointwise.includes(op.kind)) throw diagnostic("E-SUBSET-14", { ...v.loc, length: 1 }, { name, part: v.label });
    inputsOf(op).forEach((input) => check(input, name));
  };
  for (const s of all) if (s.kind === "AppendMarked") check(s.of, s.of.label);
}
const pointwise: readonly TileOp["kind"][] = ["Iota", "Full", "Map", "Cast", "Load", "Gather", "Slice", "Rename"];
