/** Building blocks of the eager operations: shapes, row-major order, strided walks. Not part of the language. */
import { round } from "./dtype.ts";
import { quoteAll } from "./names.ts";
import type { AnyTile, Tile, TileType } from "./types.ts";

export type Shape = Readonly<Record<string, number>>;

export const product = (factors: readonly number[]): number => factors.reduce((a, b) => a * b, 1);
export const extents = (axes: readonly string[], shape: Shape): number[] => axes.map((a) => shape[a]!);

/** A tile of the given axis order; `data` is row-major and already rounded to `dtype`. */
export function makeTile<D extends TileType, A extends string>(dtype: D, axes: readonly A[], shape: Shape, data: Float64Array): Tile<D, A> {
  const own = Object.fromEntries(axes.map((a) => [a, shape[a]])) as Record<A, number>;
  return { dtype, axes, shape: own, data };
}

/** `(h 16, c 576)`, for messages. */
export const describeBlock = (axes: readonly string[], shape: Shape): string =>
  `(${axes.map((a) => `${a} ${shape[a]}`).join(", ") || "no axes"})`;
/** `a bf16 tile (h 16, c 576)`, for messages. */
export const describe = (t: AnyTile): string => `${/^[efi]/.test(t.dtype) ? "an" : "a"} ${t.dtype} tile ${describeBlock(t.axes, t.shape)}`;
/** Whether a tile has exactly the given axes and extents, in any order. */
export const isBlock = (t: AnyTile, axes: readonly string[], shape: Shape): boolean =>
  t.axes.length === axes.length && axes.every((a) => t.shape[a] === shape[a]);

/** Rounds every value in place. */
export function roundAll(dtype: TileType, data: Float64Array): Float64Array {
  if (dtype === "f32") for (let i = 0; i < data.length; i++) data[i] = Math.fround(data[i]!);
  else if (dtype !== "bool") for (let i = 0; i < data.length; i++) data[i] = round(dtype, data[i]!);
  return data;
}

/** Throws unless `tile` has the axis. */
export function requireAxis(operation: string, tile: AnyTile, axis: string): void {
  if (!tile.axes.includes(axis)) {
    throw new TypeError(`${operation}: there is no axis "${axis}" in ${describe(tile)}. Name one of ${quoteAll(tile.axes)}.`);
  }
}

/** Extents of all axes of all tiles. An axis must have one extent everywhere. */
export function jointShape(operation: string, tiles: readonly AnyTile[]): Shape {
  const shape: Record<string, number> = {};
  for (const tile of tiles) {
    for (const axis of tile.axes) {
      const extent = tile.shape[axis]!;
      const known = (shape[axis] ??= extent);
      if (known === extent) continue;
      throw new RangeError(
        `${operation}: axis "${axis}" has extent ${known} and ${extent} in ${tiles.map(describe).join(" and ")}. ` +
          `Axes of one name are one axis: load the same block, or rename one of them.`,
      );
    }
  }
  return shape;
}

/** Elements from one index of each of `axes` to the next in a row-major tile; 0 along an axis that it lacks. */
export function stridesOf(tile: AnyTile, axes: readonly string[]): number[] {
  return axes.map((axis) => {
    const at = tile.axes.indexOf(axis);
    return at < 0 ? 0 : product(extents(tile.axes.slice(at + 1), tile.shape));
  });
}

/**
 * Walks all positions of `sizes` but those of the last axis in row-major order: calls `row(offsets)` with one offset for each list of
 * strides. The caller runs along the last axis itself. `offsets` is reused from call to call.
 */
export function forRows(
  sizes: readonly number[],
  strides: readonly (readonly number[])[],
  row: (offsets: readonly number[]) => void,
): void {
  if (sizes.includes(0)) return;
  const offsets = strides.map(() => 0);
  const outer = sizes.length - 1;
  const walk = (axis: number): void => {
    if (axis >= outer) return row(offsets);
    for (let i = 0; i < sizes[axis]!; i++) {
      walk(axis + 1);
      for (let s = 0; s < strides.length; s++) offsets[s]! += strides[s]![axis]!;
    }
    for (let s = 0; s < strides.length; s++) offsets[s]! -= strides[s]![axis]! * sizes[axis]!;
  };
  walk(0);
}

/** The values of a tile in row-major order of `axes`, a permutation of its axes. The tile's own data where the order is already that. */
export function arrange(tile: AnyTile, axes: readonly string[]): Float64Array {
  if (axes.every((axis, i) => axis === tile.axes[i])) return tile.data;
  const sizes = extents(axes, tile.shape);
  const from = stridesOf(tile, axes);
  const count = sizes.at(-1)!;
  const step = from.at(-1)!;
  const data = new Float64Array(tile.data.length);
  let to = 0;
  forRows(sizes, [from], ([start]) => {
    for (let i = 0; i < count; i++) data[to++] = tile.data[start! + i * step]!;
  });
  return data;
}
