/** The language: everything that a kernel file imports. */
export type { DType } from "./dtype.ts";
export type { Global, Range, Tile, TileType, View } from "./types.ts";
export { cast, full, gather, gemm, iota, load, map, mask, max, min, rename, scalar, scan, slice, store, sum } from "./ops.ts";
export { append, histogram } from "./collective.ts";
export { abs, bitsOf, ceil, cos, div, exp, exp2, floatOf, floor, log, log1p, log2, mod, popcount, scalarFn, sin, sqrt, tanh } from "./math.ts";
export { blocks, each, field, input, inputRecord, kernel, output, outputRecord, type Kernel } from "./kernel.ts";
