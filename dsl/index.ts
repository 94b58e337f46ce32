/** The language: everything that a kernel file imports. */
export type { DType } from "./dtype.ts";
export type { Global, Range, Tile, TileType, View } from "./types.ts";
export { gather, gatherRuns, load, store } from "./transfer.ts";
export { cast, full, iota, map, mask, rename, scalar, slice } from "./ops.ts";
export { gemm, max, min, scan, sum } from "./reduce.ts";
export { append, histogram } from "./collective.ts";
export { bag } from "./bag.ts";
export { bitmap, type Bitmap } from "./bitmap.ts";
export { abs, bitsOf, ceil, clz32, cos, div, exp, exp2, floatOf, floor, log, log1p, log2, mod, popcount, sin, sqrt, tanh } from "./math.ts";
export { orderedKey, orderedValue } from "./math.ts";
export { scalarFn, type ScalarFn } from "./math.ts";
export { field, input, inputRecord, output, outputRecord } from "./args.ts";
export { blocks, each, kernel, type Kernel } from "./kernel.ts";
export type { Bounds, RoleSchedule, Schedule, Scheduled, Schedules, Tier } from "./schedule.ts";
