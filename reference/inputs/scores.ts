/**
 * Score rows for top-k, one distribution for every way in which selection kernels are known to fail.
 *
 * | kind | what it is | what it breaks |
 * |---|---|---|
 * | normal | standard normal | nothing; the only kind that many suites have |
 * | constant | one value | candidate buffers that overflow with ties |
 * | reluPlateauBelow, Equal, Above | zeros, and fewer than, exactly, more than k positive scores | ties at zero cut by k |
 * | mostlyZero | zeros, and a positive score in a hundred | plateaus whose share of the row, not of k, is given |
 * | halfZeros | +0 and −0 on half of the row, normals on the other | plateaus of both signs above the threshold |
 * | twoValued | two values, the larger on about half of the row | ties at the threshold |
 * | ascending, descending | an arithmetic progression | running thresholds that never or always admit |
 * | oneFp16Bin | 1 + n · 2^−20, all in one f16 bin | coarse digits in f16 |
 * | subnormal | multiples of 2^−149 of both signs | flushing, f16 digits |
 * | signedZeros | mostly +0 and −0 | radix keys in which −0 < +0 |
 * | withInf | infinities of both signs among normals | infinite padding |
 * | lowest | −infinity and the most negative number, and few normals | padding with the most negative number |
 * | withNan | NaN of both signs among normals | thresholds that are never reached |
 * | beyond65504 | magnitudes above f16's largest | f16 digits that overflow |
 * | huge | normals times 1e37 | sums and differences of scores |
 * | oneOutlier | one score of 3e38 above tiny ones | affine buckets |
 * | lastBit | one value and its next three neighbours | keys that drop low bits |
 * | quantised | positive multiples of 1/32 and zeros | ties everywhere, one of them cut by k |
 * | runs | 64 neighbours alike | bounds from samples of neighbours, which see fewer scores than they count |
 * | hotSpan | a progression of 2k scores somewhere among −infinities | samples that mostly miss it |
 * | mixed | NaN, infinities, zeros of both signs and few numbers | all of these at once |
 * | allNan | NaN of both signs | thresholds that no score reaches |
 * @module
 */

import { permutation, randomOf, type Random } from "./random.ts";

export const scoreKinds = [
  "normal",
  "constant",
  "reluPlateauBelow",
  "reluPlateauEqual",
  "reluPlateauAbove",
  "mostlyZero",
  "halfZeros",
  "twoValued",
  "ascending",
  "descending",
  "oneFp16Bin",
  "subnormal",
  "signedZeros",
  "withInf",
  "lowest",
  "withNan",
  "beyond65504",
  "huge",
  "oneOutlier",
  "lastBit",
  "quantised",
  "runs",
  "hotSpan",
  "mixed",
  "allNan",
] as const;
export type ScoreKind = (typeof scoreKinds)[number];

/** The largest number of f32. */
const LARGEST = (2 - 2 ** -23) * 2 ** 127;

export interface ScoresSpec {
  readonly seed: number;
  readonly kind: ScoreKind;
  readonly queries: number;
  readonly tokens: number;
  /** Where the plateaus are cut. */
  readonly k: number;
}

/** f32 scores [queries, tokens]. */
export function generateScores({ seed, kind, queries, tokens, k }: ScoresSpec): Float32Array {
  const random = randomOf(seed);
  const scores = new Float32Array(queries * tokens);
  for (let t = 0; t < queries; t++) fillRow(random, kind, scores.subarray(t * tokens, (t + 1) * tokens), k);
  if (kind === "withNan" || kind === "mixed" || kind === "allNan") setNanSigns(scores);
  return scores;
}

function fillRow(random: Random, kind: ScoreKind, row: Float32Array, k: number): void {
  const fill = (draw: (i: number) => number): void => {
    for (let i = 0; i < row.length; i++) row[i] = draw(i);
  };
  switch (kind) {
    case "normal":
      return fill(() => random.normal());
    case "constant":
      row.fill(random.normal());
      return;
    case "reluPlateauBelow":
      return fillPlateau(random, row, Math.floor(k / 2));
    case "reluPlateauEqual":
      return fillPlateau(random, row, k);
    case "reluPlateauAbove":
      return fillPlateau(random, row, k + Math.ceil((row.length - k) / 2));
    case "mostlyZero":
      return fill(() => (random.uniform() < 0.01 ? Math.abs(random.normal()) : 0));
    case "halfZeros":
      return fill(() => (random.uniform() < 0.5 ? 0 * random.sign() : random.normal()));
    case "twoValued": {
      const low = random.normal();
      return fill(() => (random.uniform() < 0.5 ? low : low + 1));
    }
    case "ascending":
      return fill((i) => (i - row.length / 2) / 8);
    case "descending":
      return fill((i) => (row.length / 2 - i) / 8);
    case "oneFp16Bin":
      return fill(() => 1 + random.integer(0, 511) * 2 ** -20);
    case "subnormal":
      return fill(() => random.integer(-1000, 1000) * 2 ** -149);
    case "signedZeros":
      return fill(() => (random.uniform() < 0.05 ? random.normal() : 0 * random.sign()));
    case "withInf":
      return fill(() => (random.uniform() < 0.2 ? random.sign() * Infinity : random.normal()));
    case "lowest":
      return fill(() => (random.uniform() < 0.05 ? random.normal() : random.uniform() < 0.5 ? -Infinity : -LARGEST));
    case "withNan":
      return fill(() => (random.uniform() < 0.2 ? NaN : random.normal()));
    case "beyond65504":
      return fill(() => random.sign() * (65504 + 1e6 * random.uniform()));
    case "huge":
      return fill(() => 1e37 * random.normal());
    case "oneOutlier":
      fill(() => 1e-3 * random.normal());
      row[random.integer(0, row.length - 1)] = 3e38;
      return;
    case "lastBit":
      return fill(() => 1.5 + random.integer(0, 3) * 2 ** -23);
    case "quantised":
      return fill(() => Math.max(Math.round(32 * random.normal()), 0) / 32);
    case "runs": {
      let [run, left] = [0, 0];
      return fill(() => {
        if (left-- === 0) [run, left] = [random.normal(), 63];
        return run + 1e-3 * random.normal();
      });
    }
    case "hotSpan": {
      const start = random.integer(0, Math.max(row.length - 2 * k, 0));
      return fill((i) => (i >= start && i < start + 2 * k ? (i - start) / 8 : -Infinity));
    }
    case "mixed": {
      const values = [NaN, Infinity, -Infinity, 0, -0, 1, -1];
      return fill(() => values[random.integer(0, values.length - 1)]!);
    }
    case "allNan":
      row.fill(NaN);
      return;
  }
}

/** `positive` random tokens get a positive score, the rest 0. */
function fillPlateau(random: Random, row: Float32Array, positive: number): void {
  row.fill(0);
  for (const token of permutation(random, row.length).subarray(0, positive)) row[token] = Math.abs(random.normal()) + 2 ** -10;
}

/** Gives every other NaN the sign bit: a key made from bits sees two kinds of NaN where arithmetic sees one. */
function setNanSigns(scores: Float32Array): void {
  const bits = new Uint32Array(scores.buffer);
  let nans = 0;
  for (let i = 0; i < scores.length; i++) if (Number.isNaN(scores[i]!)) bits[i] = nans++ % 2 === 0 ? 0x7fc00000 : 0xffc00000;
}
