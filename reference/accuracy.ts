/**
 * What a target's arithmetic promises: the constants that `bounds.ts` turns into budgets.
 *
 * **Unit roundoff** u of a format with p significant bits is 2^−p: one rounding to nearest changes a normal number by at most u times
 * itself. f32 24 bits, f16 11, bf16 8.
 *
 * **Contractions.** Let t_1 … t_n be the exact products of a dot product, and P the larger of the sum of the positive and the sum of the
 * negative ones, (Σ|t_i| + |Σt_i|) / 2: no partial sum, in whatever order, is larger than P. Two models of how a target adds them up:
 *
 * ```text
 * anyOrder   at most n roundings of partial sums, in any order or tree, and perhaps a rounding of each product:
 *            |error| <= (n · P + Σ|t_i|) · roundoff / (1 − n · roundoff)
 * aligned    in order, `group` products at a time: products and running sum are shifted to the exponent E of the largest of them and cut
 *            at 2^(E − bits), and so is the new sum:
 *            |error| <= Σ over groups  (2 + products that are no multiple of 2^(E − bits)) · 2^(E − bits)
 * ```
 *
 * The aligned bound looks at the numbers: a product of two e4m3 values has at most 8 significant bits, so all but the small
 * ones survive the cut unharmed. A bound that ignores this is too loose to notice a lost head.
 *
 * **Scalar functions** come from the vendors' tables: CUDA programming guide, "Mathematical Functions" (fast intrinsics: they bound the
 * precise ones too); WGSL specification, "Floating Point Accuracy". 1 ulp is at most 2^−23 of the result.
 * @module
 */

export interface AnyOrder {
  readonly kind: "anyOrder";
  readonly roundoff: number;
}
export interface Aligned {
  readonly kind: "aligned";
  /** Bits kept below the leading bit of the largest addend. */
  readonly bits: number;
  readonly group: number;
}
export type Accumulator = AnyOrder | Aligned;

export const f32Roundoff = 2 ** -24;
export const f32Ulp = 2 ** -23;
export const smallestNormalF32 = 2 ** -126;

/** f32 additions rounded to nearest: eager runs, FFMA, WGSL. */
export const f32Accumulator: AnyOrder = { kind: "anyOrder", roundoff: f32Roundoff };

/** bf16 and f16 tensor cores with f32 accumulators: addends cut, not rounded, to 23 bits, and once more per group of 8 or more. */
export const tensorCoreAccumulator: AnyOrder = { kind: "anyOrder", roundoff: (9 / 8) * f32Ulp };

/** fp8 tensor cores of Hopper: every addend cut to 13 bits below the largest one of an instruction, 32 products and the accumulator (measured on an H200, 2026-11-22). */
export const hopperFp8Accumulator: Aligned = { kind: "aligned", bits: 13, group: 32 };

/** γ = n · roundoff / (1 − n · roundoff), the most that n roundings add up to. Infinite once n · roundoff reaches 1. */
export function gamma(n: number, roundoff: number): number {
  const total = n * roundoff;
  return total < 1 ? total / (1 - total) : Infinity;
}

/** Bound on the error of Σ_d a[aAt + d] · b[bAt + d] over `length` products. */
export function dotError(a: Float64Array, aAt: number, b: Float64Array, bAt: number, length: number, accumulator: Accumulator): number {
  if (accumulator.kind === "aligned") return alignedDotError(a, aAt, b, bAt, length, accumulator);
  let sum = 0;
  let magnitude = 0;
  for (let d = 0; d < length; d++) {
    const product = a[aAt + d]! * b[bAt + d]!;
    sum += product;
    magnitude += Math.abs(product);
  }
  const largestPartial = (magnitude + Math.abs(sum)) / 2;
  return gamma(length, accumulator.roundoff) * (largestPartial + magnitude / length);
}

function alignedDotError(a: Float64Array, aAt: number, b: Float64Array, bAt: number, length: number, { bits, group }: Aligned): number {
  const growth = 1 + (group + 2) * 2 ** -bits; // the cuts of this group may lift a sum over the next power of two
  let sum = 0;
  let error = 0;
  for (let start = 0; start < length; start += group) {
    const end = Math.min(start + group, length);
    let next = sum;
    let largest = Math.abs(sum);
    for (let d = start; d < end; d++) {
      const product = a[aAt + d]! * b[bAt + d]!;
      largest = Math.max(largest, Math.abs(product));
      next += product;
    }
    largest = (Math.max(largest, Math.abs(next)) + error) * growth;
    if (largest === 0) continue;
    const step = 2 ** (Math.floor(Math.log2(largest)) - bits);
    let cut = 2;
    for (let d = start; d < end; d++) {
      const steps = (a[aAt + d]! * b[bAt + d]!) / step;
      if (steps !== Math.trunc(steps)) cut++;
    }
    error += cut * step;
    sum = next;
  }
  return error;
}

/** As `dotError` where only Σ|t_i| is known of the products, or a bound of it: any of them may be cut. */
export function sumError(magnitude: number, length: number, accumulator: Accumulator): number {
  if (accumulator.kind === "anyOrder") return gamma(length, accumulator.roundoff) * magnitude * (1 + 1 / length);
  const { bits, group } = accumulator;
  let error = 0;
  for (let start = 0; start < length && magnitude > 0; start += group) {
    const count = Math.min(group, length - start);
    error += (2 + count) * 2 ** (Math.floor(Math.log2((magnitude + error) * (1 + (group + 2) * 2 ** -bits))) - bits);
  }
  return error;
}

/** Accuracy of the f32 scalar functions of a target. */
export interface ScalarAccuracy {
  /** exp2 and exp of x err by at most (ulp + ulpPerUnit · |x|) ulp. */
  readonly exp: { readonly ulp: number; readonly ulpPerUnit: number };
  /** log2 and ln err by at most the larger of `absolute` and `ulp` ulp. */
  readonly log: { readonly absolute: number; readonly ulp: number };
  readonly divideUlp: number;
}

/** Functions evaluated in f64 and rounded to f32. */
export const roundedAccuracy: ScalarAccuracy = { exp: { ulp: 1, ulpPerUnit: 0 }, log: { absolute: 0, ulp: 1 }, divideUlp: 1 };
export const cudaAccuracy: ScalarAccuracy = { exp: { ulp: 2, ulpPerUnit: 1.173 }, log: { absolute: 2 ** -21, ulp: 3 }, divideUlp: 2 };
export const wgslAccuracy: ScalarAccuracy = { exp: { ulp: 3, ulpPerUnit: 2 }, log: { absolute: 2 ** -21, ulp: 3 }, divideUlp: 2.5 };

/** Accuracy of an index score f: how it passes on an error of its argument, and what its own evaluation adds. */
export interface ScoreAccuracy {
  /** Largest |f(x) − f(y)| / |x − y|. */
  readonly lipschitz: number;
  readonly absolute: number;
  readonly relative: number;
}
export const reluAccuracy: ScoreAccuracy = { lipschitz: 1, absolute: 0, relative: 0 };

/**
 * softplus as max(x, 0) + ln(1 + e), e = exp(−|x|) <= 1, on any target above. e is off by (3 + 2|x|) · e ulp <= 4 ulp, the sum
 * 1 + e in [1, 2] by 1 ulp more, the logarithm by 2^−21 more, its conversion from base 2 and the last addition by 1 ulp of the result each:
 * 5 · 2^−23 + 2^−21 < 2^−19.
 */
export const softplusAccuracy: ScoreAccuracy = { lipschitz: 1, absolute: 2 ** -19, relative: 2 * f32Ulp };
