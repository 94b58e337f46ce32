/** Operations on tiles. Axes are matched by name; every result is rounded to its dtype once. */
import { round, type DType } from "./dtype.ts";
import { describe, extents, forRows, jointShape, makeTile, product, requireAxis, roundAll, stridesOf, type Shape } from "./tile.ts";
import type { AnyTile, Only, Range, Tile, TileType } from "./types.ts";
import { requireOrder, type Ordered } from "./unordered.ts";

// ---- Making tiles ----------------------------------------------------------------------------------------------------------------------

// NoInfer in results: without it TypeScript would take D from where the result goes when `dtype` is left out, and call f32 whatever fits

/** A tile whose elements are all `value`. Axes in the order of `shape`. */
export function full<A extends string, D extends DType = "f32">(
  shape: Readonly<Record<A, number>>,
  value: number,
  dtype?: D,
): Tile<NoInfer<D>, A> {
  const type = dtype ?? ("f32" as D);
  const axes = Object.keys(shape) as A[];
  for (const axis of axes) checkExtent("full", axis, shape[axis]);
  return makeTile(type, axes, shape, new Float64Array(product(extents(axes, shape))).fill(round(type, value)));
}

/** The positions of a range: start, start + 1, …, as an i32 tile of the range's axis. */
export function iota<N extends string>(range: Range<N>): Tile<"i32", N> {
  checkExtent("iota", range.axis, range.size);
  const data = new Float64Array(range.size).map((_, i) => range.start + i);
  return makeTile("i32", [range.axis], { [range.axis]: range.size }, data);
}

/** Converts to another dtype: floats round to nearest even, fractions are truncated towards integers, bool becomes 0 or 1. */
export function cast<D extends DType, A extends string>(dtype: D, tile: Tile<TileType, A>): Tile<D, A> {
  return makeTile(dtype, tile.axes, tile.shape, roundAll(dtype, tile.data.slice()));
}

/** Positions [lo, hi) of one axis. The bounds are compile-time constants. */
export function slice<D extends TileType, A extends string>(tile: Tile<D, A>, axis: NoInfer<Ordered<A>>, lo: number, hi: number): Tile<D, A> {
  requireAxis("slice", tile, axis);
  requireOrder("slice", tile, [axis]);
  if (!(Number.isInteger(lo) && Number.isInteger(hi) && 0 <= lo && lo < hi && hi <= tile.shape[axis])) {
    throw new RangeError(
      `slice: [${lo}, ${hi}) is not a part of axis "${axis}" of ${describe(tile)}. The bounds need 0 <= lo < hi <= ${tile.shape[axis]}.`,
    );
  }
  const shape: Shape = { ...tile.shape, [axis]: hi - lo };
  const inner = product(extents(tile.axes.slice(tile.axes.indexOf(axis) + 1), tile.shape));
  const data = new Float64Array(product(extents(tile.axes, shape)));
  const block = (hi - lo) * inner;
  for (let to = 0, from = lo * inner; to < data.length; to += block, from += tile.shape[axis] * inner) {
    data.set(tile.data.subarray(from, from + block), to);
  }
  return makeTile(tile.dtype, tile.axes, shape, data);
}

/** Axis names after `rename`: those that M maps are replaced. */
export type Renamed<A extends string, M> = A extends keyof M ? (M[A] extends string ? M[A] : never) : A;

/** Gives axes other names: `rename(x, { j: "k" })`. The values stay. */
export function rename<D extends TileType, A extends string, const M extends { readonly [K in A]?: string }>(
  tile: Tile<D, A>,
  names: M & Only<M, A>,
): Tile<D, Renamed<A, M>> {
  const renames = names as Readonly<Record<string, string>>;
  for (const axis of Object.keys(renames)) requireAxis("rename", tile, axis);
  requireOrder("rename", tile, Object.keys(renames));
  const axes = tile.axes.map((a) => renames[a] ?? a) as Renamed<A, M>[];
  const twice = axes.find((a, i) => axes.indexOf(a) !== i);
  if (twice !== undefined) {
    throw new TypeError(`rename: two axes of ${describe(tile)} would be called "${twice}". Names of axes are unique within a tile.`);
  }
  const shape = Object.fromEntries(axes.map((a, i) => [a, tile.shape[tile.axes[i]!]]));
  return makeTile(tile.dtype, axes, shape, tile.data);
}

/** The element of a tile without axes: a number that all threads of a block share, fit for `if` and `for`. Bool gives 0 or 1. */
export function scalar(tile: Tile<TileType, never>): number {
  if (tile.axes.length > 0) throw new TypeError(`scalar: ${describe(tile)} is not one number. Reduce its axes first.`);
  return tile.data[0]!;
}

// ---- Element by element ----------------------------------------------------------------------------------------------------------------

export type AxesOf<T> = T extends { readonly axes: readonly (infer A extends string)[] } ? A : never;
/** `unknown` if one of the tiles has all axes of all of them, else an explanation that no argument satisfies. */
export type Covered<T extends readonly AnyTile[]> = true extends {
  [K in keyof T]: [AxesOf<T[number]>] extends [AxesOf<T[K]>] ? true : false;
}[number]
  ? unknown
  : { readonly error: "one operand must have all the axes of the result" };
type Numbers<T extends readonly AnyTile[]> = { -readonly [K in keyof T]: number };
type Lambda = (...x: number[]) => number;

/**
 * `f` of the elements of tiles, broadcast by axis name; one of the tiles must have all the axes. The lambda is pure scalar code: numbers,
 * `Math`, the functions of math.ts, and scalars from outside. Bool elements arrive as 0 and 1.
 */
export function map<const T extends readonly AnyTile[], D extends "f32" | "i32" | "u32" = "f32">(
  tiles: T & Covered<T>,
  f: (...x: Numbers<T>) => number,
  dtype?: D,
): Tile<NoInfer<D>, AxesOf<T[number]>> {
  return elementwise("map", tiles, f as Lambda, dtype ?? ("f32" as D));
}

/** Where a predicate of the elements holds. Operands as in `map`. */
export function mask<const T extends readonly AnyTile[]>(
  tiles: T & Covered<T>,
  predicate: (...x: Numbers<T>) => boolean,
): Tile<"bool", AxesOf<T[number]>> {
  const truth = predicate as unknown as Lambda; // a Float64Array stores true as 1
  return elementwise("mask", tiles, truth, "bool");
}

function elementwise<D extends TileType, A extends string>(operation: string, tiles: readonly AnyTile[], f: Lambda, dtype: D): Tile<D, A> {
  const shape = jointShape(operation, tiles);
  const rank = Object.keys(shape).length;
  const cover = tiles.find((t) => t.axes.length === rank);
  if (!cover) {
    throw new TypeError(
      `${operation}: no operand has all axes of the result (${Object.keys(shape).join(", ")}): ${tiles.map(describe).join(", ")}. ` +
        `An outer product must be a gemm, or one operand must be widened first.`,
    );
  }
  const sizes = extents(cover.axes, shape);
  const strides = tiles.map((t) => stridesOf(t, cover.axes));
  const out = new Float64Array(cover.data.length);
  const row = rowLoop(
    tiles.map((t) => t.data),
    strides.map((s) => s.at(-1) ?? 0),
    sizes.at(-1) ?? 1,
    f,
    out,
  );
  let to = 0;
  forRows(sizes, strides, (offsets) => {
    to = row(offsets, to);
  });
  return makeTile(dtype, cover.axes as readonly A[], shape, roundAll(dtype, out));
}

/** The inner loop over one row, written out for the usual numbers of operands: a call with spread operands is much slower. */
function rowLoop(
  inputs: readonly Float64Array[],
  steps: readonly number[],
  count: number,
  f: Lambda,
  out: Float64Array,
): (at: readonly number[], to: number) => number {
  const [a, b, c, d] = inputs as [Float64Array, Float64Array, Float64Array, Float64Array];
  const [sa, sb, sc, sd] = steps as [number, number, number, number];
  switch (inputs.length) {
    case 1:
      return (at, to) => {
        for (let i = 0, ia = at[0]!; i < count; i++, ia += sa) out[to++] = f(a[ia]!);
        return to;
      };
    case 2:
      return (at, to) => {
        for (let i = 0, ia = at[0]!, ib = at[1]!; i < count; i++, ia += sa, ib += sb) out[to++] = f(a[ia]!, b[ib]!);
        return to;
      };
    case 3:
      return (at, to) => {
        for (let i = 0, ia = at[0]!, ib = at[1]!, ic = at[2]!; i < count; i++, ia += sa, ib += sb, ic += sc)
          out[to++] = f(a[ia]!, b[ib]!, c[ic]!);
        return to;
      };
    case 4:
      return (at, to) => {
        for (let i = 0, ia = at[0]!, ib = at[1]!, ic = at[2]!, id = at[3]!; i < count; i++, ia += sa, ib += sb, ic += sc, id += sd) {
          out[to++] = f(a[ia]!, b[ib]!, c[ic]!, d[id]!);
        }
        return to;
      };
    default:
      return (at, to) => {
        for (let i = 0; i < count; i++) out[to++] = f(...inputs.map((data, k) => data[at[k]! + i * steps[k]!]!));
        return to;
      };
  }
}

function checkExtent(operation: string, axis: string, extent: number): void {
  if (!(Number.isSafeInteger(extent) && extent > 0)) {
    throw new RangeError(`${operation}: extent ${extent} of axis "${axis}" is not a positive integer.`);
  }
}
