/** Between device memory and tiles: `load`, `gather`, `store`. */
import { byteSize, decodeTable, round, writeElement, type DType } from "./dtype.ts";
import type { Tensor } from "./memory.ts";
import { quoteAll } from "./names.ts";
import { arrange, describe, describeBlock, extents, forRows, isBlock, makeTile, product } from "./tile.ts";
import type { AnyView, Tile, View } from "./types.ts";
import { insideBox, readable, shapeOf, writable, type Box, type Storable } from "./view.ts";

/** Reads a block; positions outside the tensor take the value `fill` (rounded to the dtype). Axes in the tensor's order. */
export function load<D extends DType, A extends string>(view: View<D, A>, fill = 0): Tile<D, A> {
  const tensor = readable("load", view);
  const shape = shapeOf(view);
  const data = new Float64Array(product(extents(view.axes, shape)));
  if (fill !== 0) data.fill(round(view.dtype, fill));
  const box = insideBox(tensor, view, view.axes, shape);
  if (box) readBox(tensor, box, 0, data, 0);
  return makeTile(view.dtype, view.axes, shape, data);
}

/**
 * Picks positions along some axes of a view by index tiles, all of one axis list: result[j, rest] = view[index[j], rest].
 * An index outside the tensor gives zeros. Result axes: those of the index tiles, then the view's without the picked ones.
 */
export function gather<D extends DType, A extends string, K extends A, J extends string>(
  view: View<D, A>,
  indices: { readonly [P in K]: Tile<"i32", J> },
): Tile<D, J | Exclude<A, K>> {
  const tensor = readable("gather", view);
  const picks = Object.entries<Tile<"i32", J>>(indices);
  const index = checkPicks(tensor, view, picks);
  const rest = view.axes.filter((a): a is Exclude<A, K> => !Object.hasOwn(indices, a));
  const shape = { ...shapeOf(view), ...index.shape };
  const restSize = product(extents(rest, shape));
  const data = new Float64Array(index.data.length * restSize);
  const atZero = Object.fromEntries(picks.map(([axis]) => [axis, 0]));
  const box = insideBox(tensor, { ...view, selection: { ...view.selection, ...atZero } }, rest, shape);
  const columns = picks.map(([axis, tile]) => ({
    at: arrange(tile, index.axes),
    extent: tensor.size[axis]!,
    stride: tensor.layout.strides[axis]!,
  }));
  for (let j = 0; box && j < index.data.length; j++) {
    let shift = 0;
    let inside = true;
    for (const { at, extent, stride } of columns) {
      inside &&= at[j]! >= 0 && at[j]! < extent;
      shift += at[j]! * stride;
    }
    if (inside) readBox(tensor, box, shift, data, j * restSize);
  }
  return makeTile(view.dtype, [...index.axes, ...rest], shape, data);
}

/**
 * Picks runs along one axis of a view that is cut to a range there: result[j, t, rest] = view[start[j] + t, rest], t over the range.
 * Elements outside the tensor are zeros. Result axes: those of the index tile, then the view's.
 */
export function gatherRuns<D extends DType, A extends string, K extends A, J extends string>(
  view: View<D, A>,
  starts: { readonly [P in K]: Tile<"i32", J> },
): Tile<D, J | A> {
  const tensor = readable("gatherRuns", view);
  const [pick, ...more] = Object.entries<Tile<"i32", J>>(starts);
  if (!pick || more.length > 0) throw new TypeError("gatherRuns: give one index tile, for the axis that the runs lie along.");
  const [axis, index] = pick;
  const range = view.selection[axis];
  if (typeof range !== "object") throw new TypeError(`gatherRuns: axis "${axis}" is not cut to a range, which says how long a run is.`);
  if (index.dtype !== "i32") throw new TypeError(`gatherRuns: the index of "${axis}" is ${describe(index)}, not i32. Give map the dtype "i32".`);
  const clash = (index.axes as readonly string[]).find((a) => (view.axes as readonly string[]).includes(a));
  if (clash !== undefined) throw new TypeError(`gatherRuns: the result would have axis "${clash}" twice. Rename the index tile's.`);
  const run = shapeOf(view);
  const shape = { ...run, ...index.shape };
  const size = product(extents(view.axes, run));
  const data = new Float64Array(index.data.length * size);
  index.data.forEach((start, j) => {
    const at = { ...view, selection: { ...view.selection, [axis]: { ...range, start: range.start + start } } };
    const box = insideBox(tensor, at, view.axes, run);
    if (box) readBox(tensor, box, 0, data, j * size);
  });
  return makeTile(view.dtype, [...index.axes, ...view.axes], shape, data);
}

/**
 * Writes a tile to the positions of a view, rounded to the tensor's dtype. The tile has exactly the view's axes, in any order.
 * Positions outside the tensor, and those where `keep` is false, keep their bytes.
 */
export function store<D extends DType, A extends string>(
  view: View<D, A>,
  tile: Tile<Storable<D>, NoInfer<A>>,
  keep?: Tile<"bool", NoInfer<A>>,
): void {
  const tensor = writable("store", view, tile.dtype);
  const shape = shapeOf(view);
  const where = `store to "${tensor.layout.name}"`;
  for (const part of keep ? [tile, keep] : [tile]) {
    if (isBlock(part, view.axes, shape)) continue;
    throw new TypeError(
      `${where}: the view has ${describeBlock(view.axes, shape)} but gets ${describe(part)}. They must have the same axes and extents.`,
    );
  }
  if (keep && keep.dtype !== "bool") throw new TypeError(`${where}: keep is ${describe(keep)}. Make a bool tile with mask.`);
  const box = insideBox(tensor, view, view.axes, shape);
  if (!box) return;
  const values = arrange(tile, view.axes);
  const kept = keep && arrange(keep, view.axes);
  const { memory } = tensor.layout;
  const stride = box.bytes.at(-1) ?? 0;
  const count = box.sizes.at(-1) ?? 1;
  forRows(box.sizes, [box.bytes, box.elements], ([bytes, elements]) => {
    for (let i = 0; i < count; i++) {
      const from = box.firstElement + elements! + i;
      if (!kept || kept[from] !== 0) writeElement(view.dtype, memory, box.firstByte + bytes! + i * stride, values[from]!);
    }
  });
}

/** Copies a box, moved by `shift` bytes in memory, to `out` from element `to` on. */
function readBox(tensor: Tensor, box: Box, shift: number, out: Float64Array, to: number): void {
  const stride = box.bytes.at(-1) ?? 0;
  const count = box.sizes.at(-1) ?? 1;
  const firstByte = box.firstByte + shift;
  const firstElement = box.firstElement + to;
  forRows(box.sizes, [box.bytes, box.elements], ([bytes, elements]) => {
    readRow(tensor, firstByte + bytes!, stride, count, out, firstElement + elements!);
  });
}

function readRow(tensor: Tensor, at: number, stride: number, count: number, out: Float64Array, to: number): void {
  const { dtype } = tensor;
  const { memory } = tensor.layout;
  if (dtype === "f32") for (let i = 0; i < count; i++) out[to + i] = memory.getFloat32(at + i * stride, true);
  else if (dtype === "i32") for (let i = 0; i < count; i++) out[to + i] = memory.getInt32(at + i * stride, true);
  else if (dtype === "u32") for (let i = 0; i < count; i++) out[to + i] = memory.getUint32(at + i * stride, true);
  else {
    const values = decodeTable(dtype);
    if (byteSize(dtype) === 1) for (let i = 0; i < count; i++) out[to + i] = values[memory.getUint8(at + i * stride)]!;
    else for (let i = 0; i < count; i++) out[to + i] = values[memory.getUint16(at + i * stride, true)]!;
  }
}

/** Checks the index tiles of a gather and returns the first one, whose axis order is the result's. */
function checkPicks<J extends string>(
  tensor: Tensor,
  view: AnyView,
  picks: readonly (readonly [string, Tile<"i32", J>])[],
): Tile<"i32", J> {
  const where = `gather from "${tensor.layout.name}"`;
  const first = picks[0]?.[1];
  if (!first) throw new TypeError(`${where}: no index tile. Give one for each axis to pick along, or use load.`);
  for (const [axis, tile] of picks) {
    if (!view.axes.includes(axis)) {
      throw new TypeError(`${where}: the view has no axis "${axis}" to pick along. It has ${quoteAll(view.axes)}.`);
    }
    if (view.selection[axis] !== undefined) {
      throw new TypeError(`${where}: axis "${axis}" is both picked and cut to a range. Indices count from 0: leave the range out.`);
    }
    if (tile.dtype !== "i32") {
      throw new TypeError(`${where}: the index of "${axis}" is ${describe(tile)}, not i32. Give map the dtype "i32".`);
    }
    if (!isBlock(tile, first.axes, first.shape)) {
      throw new TypeError(
        `${where}: index tiles differ in their axes: ${describe(first)} and ${describe(tile)}. They must have the same ones.`,
      );
    }
  }
  const clash = first.axes.find((a) => view.axes.includes(a) && !picks.some(([axis]) => axis === a));
  if (clash !== undefined) {
    throw new TypeError(
      `${where}: the result would have axis "${clash}" twice, from the index and from the view. Rename the index tile's.`,
    );
  }
  return first;
}
