/**
 * Sparse MLA operands: slot lists, queries and rows in bf16, latent records.
 *
 * | slots | what they are |
 * |---|---|
 * | distinct | distinct tokens in random order; −1 beyond the number of tokens |
 * | withEmpty | distinct, and every slot is −1 with probability 0.3 |
 * | duplicates | few tokens, named many times |
 * | allEmpty | −1 only |
 * | onlyLast | only the last slot names a token |
 * | outOfRange | distinct, and indices from the number of tokens up with probability 0.3 |
 * | extreme | distinct, and INT_MAX or INT_MIN with probability 0.3 |
 *
 * | kind | what it is |
 * |---|---|
 * | normal | logits of a few units |
 * | largeLogits | logits up to about ±1e4: nothing survives without subtracting the maximum |
 * | offsetLogits | the last column adds 1000 to every logit: all of them are large and near each other |
 * | nanUnselected | rows that no slot names are NaN |
 * | uniform | q is 0, so all slots weigh the same: lse is ln(filled slots) and notices one slot among thousands |
 * @module
 */

import { narrowTensor, type NarrowTensor } from "../formats.ts";
import { latentGroup, readLatentRecords, writeLatentRecords, type LatentLayout, type ScaleRule } from "../quantise.ts";
import { softmaxScale, type AttentionShape, type SparseMlaArgs } from "../sparse_mla.ts";
import { drawArray, permutation, randomOf, type Random } from "./random.ts";

export const slotKinds = ["distinct", "withEmpty", "duplicates", "allEmpty", "onlyLast", "outOfRange", "extreme"] as const;
export type SlotKind = (typeof slotKinds)[number];

const intMax = 2 ** 31 - 1;
const intMin = -(2 ** 31);

/** Slot lists [queries, slots]. */
export function generateSlots(spec: { seed: number; kind: SlotKind; queries: number; slots: number; tokens: number }): Int32Array {
  const { seed, kind, queries, slots, tokens } = spec;
  const random = randomOf(seed);
  const idx = new Int32Array(queries * slots).fill(-1);
  for (let t = 0; t < queries; t++) {
    const row = idx.subarray(t * slots, (t + 1) * slots);
    if (kind !== "allEmpty") row.set(permutation(random, tokens).subarray(0, slots));
    const some = (draw: () => number): void => {
      for (let j = 0; j < slots; j++) if (random.uniform() < 0.3) row[j] = draw();
    };
    if (kind === "withEmpty") some(() => -1);
    if (kind === "outOfRange") some(() => tokens + random.integer(0, 1000));
    if (kind === "extreme") some(() => (random.uniform() < 0.5 ? intMax : intMin));
    if (kind === "duplicates") {
      const few = row.slice(0, Math.max(1, Math.min(Math.floor(slots / 4), tokens)));
      for (let j = 0; j < slots; j++) row[j] = few[random.integer(0, few.length - 1)]!;
    }
    if (kind === "onlyLast") {
      row.fill(-1);
      row[slots - 1] = random.integer(0, tokens - 1);
    }
  }
  return idx;
}

export const mlaKinds = ["normal", "largeLogits", "offsetLogits", "nanUnselected", "uniform"] as const;
export type MlaKind = (typeof mlaKinds)[number];
export const sinkKinds = ["none", "normal", "infinite"] as const;
export type SinkKind = (typeof sinkKinds)[number];

export interface MlaSpec {
  readonly seed: number;
  readonly kind: MlaKind;
  readonly slotKind: SlotKind;
  /** "infinite": +infinity, −infinity and ordinary sinks in turn. */
  readonly sink: SinkKind;
  /** Whether rows get random lengths of 0 … slots. */
  readonly rowLengths: boolean;
  readonly shape: AttentionShape;
}

/** A problem over bf16 rows as a device takes it. */
export interface MlaCase {
  readonly shape: AttentionShape;
  /** [queries, heads, dQk], bf16 */
  readonly q: NarrowTensor;
  /** [tokens, dQk], bf16 */
  readonly kv: NarrowTensor;
  /** [queries, slots] */
  readonly idx: Int32Array;
  readonly scale: number;
  /** [heads] */
  readonly sink?: Float32Array | undefined;
  /** [queries] */
  readonly length?: Int32Array | undefined;
}

/** Ordinary sinks lie about ln(slots), where they take a visible share. */
function generateSink(random: Random, kind: SinkKind, heads: number, slots: number): Float32Array | undefined {
  if (kind === "none") return undefined;
  const infinities = [Infinity, -Infinity];
  return Float32Array.from({ length: heads }, (_, h) =>
    kind === "infinite" && h % 3 < 2 ? infinities[h % 3]! : Math.log(slots) + random.normal(),
  );
}

/** The scale is that of a 192-wide head, whatever dQk is, as f32. */
export function generateMla({ seed, kind, slotKind, sink, rowLengths, shape }: MlaSpec): MlaCase {
  const { queries, heads, slots, tokens, dQk } = shape;
  const random = randomOf(seed);
  const idx = generateSlots({ seed: random.integer(0, 2 ** 30), kind: slotKind, queries, slots, tokens });
  const scale = Math.fround(softmaxScale(192));
  // ⟨q, kv⟩ has standard deviation √dQk times those of its factors: about 2 units of logit, or 3000
  const spread = Math.sqrt((kind === "largeLogits" ? 3000 : 2) / (scale * Math.sqrt(dQk)));
  const q = drawArray(queries * heads * dQk, () => (kind === "uniform" ? 0 : spread * random.normal()));
  const kv = drawArray(tokens * dQk, () => spread * random.normal());
  if (kind === "offsetLogits") {
    const column = Math.sqrt(1000 / scale);
    for (let at = dQk - 1; at < q.length; at += dQk) q[at] = column;
    for (let at = dQk - 1; at < kv.length; at += dQk) kv[at] = column;
  }
  if (kind === "nanUnselected") {
    const selected = new Set(idx);
    for (let s = 0; s < tokens; s++) if (!selected.has(s)) kv.fill(NaN, s * dQk, (s + 1) * dQk);
  }
  return {
    shape,
    q: narrowTensor("bf16", q),
    kv: narrowTensor("bf16", kv),
    idx,
    scale,
    sink: generateSink(random, sink, heads, slots),
    length: rowLengths ? Int32Array.from({ length: queries }, () => random.integer(0, slots)) : undefined,
  };
}

/** The same problem as the reference takes it. */
export const mlaArgs = (problem: MlaCase): SparseMlaArgs => ({ ...problem, q: problem.q.values, kv: problem.kv.values });

export const recordKinds = ["pow2", "arbitrary", "zeroTile"] as const;
export type RecordKind = (typeof recordKinds)[number];

export interface Records {
  readonly cache: Uint8Array;
  readonly layout: LatentLayout;
  /** Rows [slots, dV + dRope] as attention sees them, NaN in slots that hold no token. */
  readonly rows: Float64Array;
}

/**
 * Latent records of `tokens` tokens: "pow2" with power-of-two scales, "arbitrary" with amax / 448, "zeroTile" arbitrary with one
 * all-zero group of 128 channels in every other token.
 */
export function generateRecords(spec: { seed: number; kind: RecordKind; tokens: number; layout: LatentLayout }): Records {
  const { seed, kind, tokens, layout } = spec;
  const { dV, dRope } = layout;
  const random = randomOf(seed);
  const latent = narrowTensor(
    "bf16",
    drawArray(tokens * dV, () => random.normal()),
  ).values;
  if (kind === "zeroTile") {
    for (let t = 0; t < tokens; t += 2) {
      const start = t * dV + latentGroup * random.integer(0, dV / latentGroup - 1);
      latent.fill(0, start, start + latentGroup);
    }
  }
  const rope = drawArray(tokens * dRope, () => random.normal());
  const rule: ScaleRule = kind === "pow2" ? "pow2" : "divide";
  const cache = writeLatentRecords(latent, rope, rule, layout);
  return { cache, layout, rows: readLatentRecords(cache, layout) };
}
