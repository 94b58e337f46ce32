/** Naive machinery for the tests of the language: positions as objects, one element at a time. */
import fc from "fast-check";
import { round, type DType } from "../../dsl/dtype.ts";
import { Tensor } from "../../dsl/memory.ts";
import { makeTile } from "../../dsl/tile.ts";
import type { AnyGlobal, AnyTile, Global, Tile, TileType } from "../../dsl/types.ts";

export type Position = Readonly<Record<string, number>>;

/** A generator of numbers in [-1, 1): mulberry32. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

/** All positions of a block, the last axis fastest. */
export function* positions(axes: readonly string[], shape: Position): Generator<Position> {
  const [axis, ...rest] = axes;
  if (axis === undefined) return yield {};
  for (let i = 0; i < shape[axis]!; i++) for (const at of positions(rest, shape)) yield { [axis]: i, ...at };
}

/** The element of a tile at a position; axes that the tile lacks are ignored. */
export function element(tile: AnyTile, at: Position): number {
  let offset = 0;
  for (const axis of tile.axes) offset = offset * tile.shape[axis]! + at[axis]!;
  return tile.data[offset]!;
}

/** A tile computed position by position. */
export function tileOf<D extends TileType, A extends string>(
  dtype: D,
  shape: Readonly<Record<A, number>>,
  value: (at: Readonly<Record<A, number>>) => number,
): Tile<D, A> {
  const axes = Object.keys(shape) as A[];
  const values = [...positions(axes, shape)].map((at) => {
    const x = value(at as Readonly<Record<A, number>>);
    return dtype === "bool" ? x : round(dtype as DType, x);
  });
  return makeTile(dtype, axes, shape, Float64Array.from(values));
}

export const randomTile = <D extends TileType, A extends string>(
  dtype: D,
  shape: Readonly<Record<A, number>>,
  seed: number,
): Tile<D, A> => {
  const next = random(seed);
  return tileOf(dtype, shape, () =>
    dtype === "bool"
      ? Number(next() > 0)
      : dtype === "i32"
        ? Math.floor(next() * 100)
        : dtype === "u32"
          ? Math.floor((next() + 1) * 100)
          : next() * 4,
  );
};

/** A tensor over fresh bytes, packed, with an odd byte offset so that nothing relies on alignment. */
export function tensorOf<D extends DType, A extends string>(
  dtype: D,
  size: Readonly<Record<A, number>>,
  bytes: Uint8Array,
  access: "in" | "out" = "in",
): Global<D, A> {
  const shifted = new Uint8Array(bytes.byteLength + 1);
  shifted.set(bytes, 1);
  const strides: Record<string, number> = {};
  let stride = bytes.byteLength;
  for (const [axis, extent] of Object.entries<number>(size)) strides[axis] = stride /= extent;
  const tensor = new Tensor(dtype, size, { name: "t", access, memory: new DataView(shifted.buffer, 1), offset: 0, strides });
  return tensor as unknown as Global<D, A>;
}

/** The bytes of a tensor made by `tensorOf`. */
export function bytesOf(tensor: AnyGlobal): Uint8Array {
  const { memory } = (tensor as Tensor).layout;
  return new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
}

/** Fails with the position and both values unless all elements are the same number (NaN equals NaN, 0 does not equal -0). */
export function expectSame(actual: AnyTile, expected: (at: Position) => number): void {
  for (const at of positions(actual.axes, actual.shape)) {
    const [got, want] = [element(actual, at), expected(at)];
    if (!Object.is(got, want)) throw new Error(`at ${JSON.stringify(at)}: ${got}, expected ${want}`);
  }
}

export const seed = fc.integer({ min: 0, max: 2 ** 31 - 1 });
export const extent = fc.integer({ min: 1, max: 5 });
