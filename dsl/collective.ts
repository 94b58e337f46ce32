/** Operations in which all elements of a block take part in turn: counting and ordered appending. They are what selection is made of. */
import { marksOf, requireMask, type Bitmap } from "./bitmap.ts";
import { writeElement, type DType } from "./dtype.ts";
import { arrange, describe, makeTile } from "./tile.ts";
import type { Tile, View } from "./types.ts";
import { requireOrder } from "./unordered.ts";
import { insideBox, shapeOf, writable, type Storable } from "./view.ts";

/** Counters of a block, all zero at first. */
export interface Histogram {
  /** Adds one to the counter of each element's bin wherever `keep` holds. A bin outside [0, bins) is a RangeError. */
  add<A extends string>(bin: Tile<"u32" | "i32", A>, keep: Tile<"bool", NoInfer<A>>): void;
  /**
   * The largest bin such that it and those above count at least `want` elements (0 if there is none), the count strictly above it, and
   * the count of the bin itself.
   */
  find(want: number): { readonly bin: number; readonly above: number; readonly inBin: number };
  /** The counters as a tile of one axis. */
  counts<N extends string>(axis: N): Tile<"u32", N>;
}

export function histogram(bins: number): Histogram {
  if (!(Number.isSafeInteger(bins) && bins > 0)) throw new RangeError(`histogram: ${bins} bins. The number of bins is a positive integer.`);
  const counters = new Float64Array(bins);
  return {
    add(bin, keep) {
      requireMask("histogram.add", bin, keep);
      const kept = arrange(keep, bin.axes);
      bin.data.forEach((b, i) => {
        if (kept[i] === 0) return;
        if (!(b >= 0 && b < bins)) {
          throw new RangeError(`histogram.add: bin ${b} is outside the ${bins} bins. Exclude the element in the mask.`);
        }
        counters[b]!++;
      });
    },
    find(want) {
      let above = 0;
      for (let bin = bins - 1; bin > 0; bin--) {
        const reached = above + counters[bin]!;
        if (reached >= want) return { bin, above, inBin: counters[bin]! };
        above = reached;
      }
      return { bin: 0, above, inBin: counters[0]! };
    },
    counts: (axis) => makeTile("u32", [axis], { [axis]: bins }, counters.slice()),
  };
}

/** An ordered list that is written to the positions of a view, first to last. It starts empty. */
export interface Append<D extends DType> {
  /** Appends the kept elements of a tile of one axis in the order of that axis. What does not fit the view is dropped. */
  push<J extends string>(tile: Tile<Storable<D>, J>, keep: Tile<"bool", NoInfer<J>>): void;
  /**
   * Appends the value at every marked position of a bitmap, in the order of positions. `values` has one axis, as long as the bitmap, and is
   * computed from positions, numbers and arguments. All marks lie below `limit` (default: the bitmap's size).
   */
  pushMarked<T extends string>(marks: Bitmap, values: Tile<Storable<D>, T>, limit?: number): void;
  /** Writes `value` to every position behind the elements appended so far. */
  fill(value: number): void;
  /** Elements appended so far, at most the view's extent. */
  readonly count: number;
}

export function append<D extends DType, A extends string>(view: View<D, A>): Append<D> {
  if (view.axes.length !== 1) {
    throw new TypeError(`append: the view has ${view.axes.length} axes (${view.axes.join(", ")}). Select positions of all axes but one.`);
  }
  const capacity = shapeOf(view)[view.axes[0]!]!;
  const tensor = writable("append", view, view.dtype);
  const box = insideBox(tensor, view, view.axes, shapeOf(view));
  let count = 0;
  const write = (position: number, value: number): void => {
    const inside = position - (box?.firstElement ?? 0);
    if (box && inside >= 0 && inside < box.sizes[0]!) {
      writeElement(view.dtype, tensor.layout.memory, box.firstByte + inside * box.bytes[0]!, value);
    }
  };
  return {
    push(tile, keep) {
      if (tile.axes.length !== 1) throw new TypeError(`append.push: ${describe(tile)} has no single order. Push tiles of one axis.`);
      writable("append.push", view, tile.dtype);
      requireMask("append.push", tile, keep);
      requireOrder("append.push", tile, tile.axes);
      tile.data.forEach((value, i) => {
        if (keep.data[i] !== 0 && count < capacity) write(count++, value);
      });
    },
    pushMarked(marks, values, limit = Infinity) {
      const { size, marked } = marksOf(marks);
      if (values.data.length !== size || values.axes.length !== 1) {
        throw new TypeError(`append.pushMarked: ${describe(values)} does not have the ${size} positions of the bitmap.`);
      }
      requireOrder("append.pushMarked", values, values.axes);
      writable("append.pushMarked", view, values.dtype);
      for (const p of marked) {
        if (p >= limit) throw new RangeError(`append.pushMarked: position ${p} is marked, which is not below the limit ${limit}.`);
        if (count < capacity) write(count++, values.data[p]!);
      }
    },
    fill(value) {
      for (let position = count; position < capacity; position++) write(position, value);
    },
    get count() {
      return count;
    },
  };
}
