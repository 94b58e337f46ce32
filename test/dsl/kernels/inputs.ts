/** Specs and data for the tests of eager kernels. */
import fc from "fast-check";
import { decode, encode, toBytes, type DType } from "../../../dsl/dtype.ts";
import { relu, softplus, type Dsa } from "../../../dsl/kernels/spec.ts";
import { random } from "../helpers.ts";

export { seed } from "../helpers.ts";

/** A small spec; tests replace what they vary. */
export const small: Dsa = {
  name: "small",
  topK: 8,
  indexerHeads: 3,
  indexerDim: 5,
  indexDtype: "e4m3",
  logitsDtype: "f32",
  score: relu,
  scoreForm: "exact",
  pageTokens: 4,
  nextN: 1,
  heads: 3,
  dV: 8,
  dRope: 4,
  smScale: 0.25,
  sink: true,
  splits: 2,
};

export const indexSpec: fc.Arbitrary<Dsa> = fc
  .record({
    indexerHeads: fc.integer({ min: 1, max: 7 }),
    indexerDim: fc.integer({ min: 1, max: 9 }),
    indexDtype: fc.constantFrom("e4m3", "bf16"),
    logitsDtype: fc.constantFrom("f32", "bf16"),
    score: fc.constantFrom(relu, softplus),
    pageTokens: fc.integer({ min: 1, max: 5 }),
    nextN: fc.integer({ min: 1, max: 3 }),
  })
  .map((changes) => ({ ...small, ...changes }));

/** The score functions, written a second time. */
export const scoreOf = (dsa: Dsa) => (x: number) => (dsa.score === relu ? (x > 0 ? x : 0) : x > 30 ? x : Math.log(1 + Math.exp(x)));

/** A buffer together with the values that it holds. */
export interface Data {
  readonly bytes: Uint8Array;
  readonly at: (...index: number[]) => number;
}

/** A packed tensor of `value(index)` rounded to the dtype. */
export function data(dtype: DType, extents: readonly number[], value: (...index: number[]) => number): Data {
  const count = extents.reduce((a, b) => a * b, 1);
  const values = Array.from({ length: count }, (_, flat) => {
    const index: number[] = [];
    for (let k = extents.length - 1, rest = flat; k >= 0; rest = Math.floor(rest / extents[k]!), k--) index.unshift(rest % extents[k]!);
    return decode(dtype, encode(dtype, value(...index)));
  });
  return { bytes: toBytes(dtype, values), at: (...index) => values[index.reduce((flat, i, k) => flat * extents[k]! + i, 0)]! };
}

export const uniform = (s: number, magnitude = 1) => {
  const next = random(s);
  return () => next() * magnitude;
};
export const scales = (s: number) => {
  const next = uniform(s, 2);
  return () => Math.abs(next());
};
export const integer = (s: number, lo: number, hi: number) => {
  const next = random(s);
  return () => lo + Math.floor(((next() + 1) / 2) * (hi - lo + 1));
};
