/** Operations that run along axes: reductions, scans and gemm. */
import { isFloat, type FloatType } from "./dtype.ts";
import { arrange, describe, describeBlock, extents, isBlock, jointShape, makeTile } from "./tile.ts";
import { product, requireAxis, roundAll, type Shape } from "./tile.ts";
import type { AnyTile, Tile, TileType } from "./types.ts";
import { dependsOnOrder, requireOrder, type Ordered } from "./unordered.ts";

/** Floats reduce to f32, truth values to i32, integers stay. */
export type Reduced<D extends TileType> = D extends FloatType ? "f32" : D extends "bool" ? "i32" : D;
export type ReduceFn = "sum" | "max" | "min";

const reducedType = <D extends TileType>(dtype: D): Reduced<D> => (dtype === "bool" ? "i32" : isFloat(dtype) ? "f32" : dtype) as Reduced<D>;

/** Each takes the running value and the next element. max and min skip NaN, as fmaxf and fminf do. */
const steps: Readonly<Record<ReduceFn, { readonly start: number; readonly step: (running: number, x: number) => number }>> = {
  sum: { start: 0, step: (running, x) => running + x },
  max: { start: -Infinity, step: (running, x) => (x > running ? x : running) },
  min: { start: Infinity, step: (running, x) => (x < running ? x : running) },
};

const ofNothing: Readonly<Record<ReduceFn, Readonly<Record<"f32" | "i32" | "u32", number>>>> = {
  sum: { f32: 0, i32: 0, u32: 0 },
  max: { f32: -Infinity, i32: -(2 ** 31), u32: 0 },
  min: { f32: Infinity, i32: 2 ** 31 - 1, u32: 2 ** 32 - 1 },
};

/** Sum along axes. Floats are added in f64 and rounded to f32 once; integers wrap around. */
export const sum = <D extends TileType, A extends string, K extends A>(
  tile: Tile<D, A>,
  over: K | readonly K[],
): Tile<Reduced<D>, Exclude<A, K>> => reduce("sum", tile, over);
/** Largest element along axes. NaN is skipped; NaN alone gives -Infinity. */
export const max = <D extends TileType, A extends string, K extends A>(
  tile: Tile<D, A>,
  over: K | readonly K[],
): Tile<Reduced<D>, Exclude<A, K>> => reduce("max", tile, over);
/** Smallest element along axes. NaN is skipped; NaN alone gives Infinity. */
export const min = <D extends TileType, A extends string, K extends A>(
  tile: Tile<D, A>,
  over: K | readonly K[],
): Tile<Reduced<D>, Exclude<A, K>> => reduce("min", tile, over);

function reduce<D extends TileType, A extends string, K extends A>(
  fn: ReduceFn,
  tile: Tile<D, A>,
  over: K | readonly K[],
): Tile<Reduced<D>, Exclude<A, K>> {
  const gone = axisList(fn, [tile], over);
  if (dependsOnOrder(fn, tile)) requireOrder(fn, tile, gone);
  const kept = tile.axes.filter((a): a is Exclude<A, K> => !gone.some((g) => g === a));
  const from = arrange(tile, [...kept, ...gone]);
  const count = product(extents(gone, tile.shape));
  const out = new Float64Array(product(extents(kept, tile.shape)));
  const dtype = reducedType(tile.dtype);
  const { step } = steps[fn];
  const start = count > 0 ? steps[fn].start : ofNothing[fn][dtype as "f32" | "i32" | "u32"]; // a bag may be empty
  for (let i = 0, at = 0; i < out.length; i++) {
    let running = start;
    for (const end = at + count; at < end; at++) running = step(running, from[at]!);
    out[i] = running;
  }
  return makeTile(dtype, kept, tile.shape, roundAll(dtype, out));
}

/** Running reduction along one axis, the element itself included. */
export function scan<D extends TileType, A extends string>(tile: Tile<D, A>, axis: NoInfer<Ordered<A>>, fn: ReduceFn = "sum"): Tile<Reduced<D>, A> {
  requireAxis("scan", tile, axis);
  requireOrder("scan", tile, [axis]);
  const axes = [...tile.axes.filter((a) => a !== axis), axis];
  const from = arrange(tile, axes);
  const out = new Float64Array(from.length);
  const { start, step } = steps[fn];
  let running = start;
  for (let i = 0; i < out.length; i++) {
    if (i % tile.shape[axis] === 0) running = start;
    running = step(running, from[i]!);
    out[i] = running;
  }
  const dtype = reducedType(tile.dtype);
  return makeTile(dtype, axes, tile.shape, roundAll(dtype, out));
}

/**
 * Sum over `over` of a * b, plus `acc`, in f32: accumulated in f64 and rounded once. Axes of both operands that are not contracted are
 * batch axes. Result axes: batch axes, those of a alone, those of b alone; `acc` has exactly these, in any order.
 */
export function gemm<A extends string, B extends string, K extends A & B>(
  a: Tile<FloatType, A>,
  b: Tile<FloatType, B>,
  over: K | readonly K[],
  acc?: Tile<"f32", NoInfer<Exclude<A | B, K>>>,
): Tile<"f32", Exclude<A | B, K>> {
  for (const operand of [a, b]) requireFloat(operand);
  const shape = jointShape("gemm", [a, b]);
  const inner: readonly string[] = axisList("gemm", [a, b], over);
  requireOrder("gemm", a, inner);
  const axesOfA: readonly string[] = a.axes;
  const axesOfB: readonly string[] = b.axes;
  const batch = axesOfA.filter((x) => axesOfB.includes(x) && !inner.includes(x));
  const rows = axesOfA.filter((x) => !axesOfB.includes(x));
  const columns = axesOfB.filter((x) => !axesOfA.includes(x));
  const axes = [...batch, ...rows, ...columns] as Exclude<A | B, K>[];
  const size = (names: readonly string[]) => product(extents(names, shape));
  const out = new Float64Array(size(axes));
  if (acc) {
    checkAccumulator(acc, axes, shape);
    out.set(arrange(acc, axes));
  }
  const left = arrange(a, [...batch, ...rows, ...inner]);
  const right = arrange(b, [...batch, ...columns, ...inner]);
  for (let n = 0; n < size(batch); n++) {
    addProduct(left, right, out, n, size(rows), size(columns), size(inner));
  }
  return makeTile("f32", axes, shape, roundAll("f32", out));
}

/** Adds the product of the n-th matrices of `a` (rows x inner) and `b` (columns x inner) to the n-th of `out` (rows x columns). */
function addProduct(a: Float64Array, b: Float64Array, out: Float64Array, n: number, rows: number, columns: number, inner: number): void {
  for (let i = 0; i < rows; i++) {
    const from = (n * rows + i) * inner;
    const to = (n * rows + i) * columns;
    let j = 0;
    // four sums at a time: one alone would wait for its own additions
    for (; j + 4 <= columns; j += 4) {
      let b0 = (n * columns + j) * inner;
      let b1 = b0 + inner;
      let b2 = b1 + inner;
      let b3 = b2 + inner;
      let s0 = out[to + j]!;
      let s1 = out[to + j + 1]!;
      let s2 = out[to + j + 2]!;
      let s3 = out[to + j + 3]!;
      for (let k = from; k < from + inner; k++) {
        const x = a[k]!;
        s0 += x * b[b0++]!;
        s1 += x * b[b1++]!;
        s2 += x * b[b2++]!;
        s3 += x * b[b3++]!;
      }
      out[to + j] = s0;
      out[to + j + 1] = s1;
      out[to + j + 2] = s2;
      out[to + j + 3] = s3;
    }
    for (; j < columns; j++) {
      let sum = out[to + j]!;
      for (let k = 0; k < inner; k++) sum += a[from + k]! * b[(n * columns + j) * inner + k]!;
      out[to + j] = sum;
    }
  }
}

function requireFloat(operand: AnyTile): void {
  if (!isFloat(operand.dtype)) throw new TypeError(`gemm: ${describe(operand)} is not of a float dtype. Cast it first.`);
}

function checkAccumulator(acc: AnyTile, axes: readonly string[], shape: Shape): void {
  if (acc.dtype === "f32" && isBlock(acc, axes, shape)) return;
  throw new TypeError(
    `gemm: the accumulator is ${describe(acc)} but the result is an f32 tile ${describeBlock(axes, shape)}. They must be alike.`,
  );
}

/** `over` as a list of distinct axes, each of which all operands have. */
function axisList<K extends string>(operation: string, operands: readonly AnyTile[], over: K | readonly K[]): readonly K[] {
  const axes = typeof over === "string" ? [over] : [...new Set(over)];
  for (const axis of axes) for (const operand of operands) requireAxis(operation, operand, axis);
  return axes;
}
