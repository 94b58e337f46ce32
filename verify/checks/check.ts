/** What a check of one kernel is: cases from small records, and a judgement by the reference. */
import fc from "fast-check";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { Buffers, Dims, Executor } from "../executor.ts";
import type { Verdict } from "../verdict.ts";

/** A small record that data is made from; it shrinks, and a report prints it. */
export type Shape = Readonly<Record<string, number | string | boolean>>;

export interface Check<S extends Shape = Shape> {
  /** Cases that every run starts with, so that no distribution is left to chance. They are among `shapes`, or they would not shrink. */
  fixed(spec: Dsa, budget: number): readonly S[];
  /** Random cases of about `budget` multiply-adds; two queries are always allowed. */
  shapes(spec: Dsa, budget: number): fc.Arbitrary<S>;
  prepare(spec: Dsa, shape: S): Case;
  /** More cases than every run can have. */
  sweep?(spec: Dsa, budget: number): Sweep<S>;
}

/** Sizes times kinds of data. */
export interface Sweep<S extends Shape = Shape> {
  readonly cases: readonly S[];
  /** Some of them, each of which many launches must leave the same bits of. */
  readonly repeated: readonly S[];
}

export interface Case {
  /** Inputs, and poisoned outputs. */
  readonly buffers: Buffers;
  readonly dims: Dims;
  /** Compares with the reference. Budgets follow the arithmetic and the tune numbers of what ran. */
  judge(outputs: Buffers, ran: Pick<Executor, "arithmetic" | "tune">): Verdict;
}

/** A buffer full of one byte. The default is NaN in every float format; i32 outputs take another, for it is −1 there, which is a result. */
export const poisoned = (bytes: number, byte = 0xff): Uint8Array => new Uint8Array(bytes).fill(byte);

/** The bytes of a typed array, without a copy. */
export const bytesOf = (array: Int32Array | Float32Array): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
/** Bytes as i32, copied: views of them may start anywhere. */
export const integers = (bytes: Uint8Array): Int32Array => new Int32Array(bytes.slice().buffer);

export const seed = fc.integer({ min: 0, max: 2 ** 30 });

const edges = [1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 2047, 2048, 2049];
/** Extents from `least` to `most`, often next to the sizes that tiles and pages have. */
export function extent(least: number, most: number): fc.Arbitrary<number> {
  const within = edges.filter((edge) => edge >= least && edge <= most);
  const any = fc.integer({ min: least, max: Math.max(least, most) });
  return within.length === 0 ? any : fc.oneof({ withCrossShrink: true }, any, fc.constantFrom(...within));
}

/** How many of something that costs `each` multiply-adds a budget pays for, from `least` to `most`. */
export const affordable = (budget: number, each: number, least: number, most: number): number =>
  Math.min(Math.max(Math.floor(budget / each), least), most);
