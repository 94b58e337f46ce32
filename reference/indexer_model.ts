/**
 * The indexer of the model: from hidden states to the operands of `indexerLogits`.
 *
 * For query token t with hidden state x and low-rank query qr (the normalised tensor that the main attention's query
 * projection reads too), and H heads of D channels:
 *
 * ```text
 * q[t,h]  = quantise(hadamard(rope(Wq · qr)))       one scale a head
 * k[t]    = quantise(hadamard(rope(layerNorm(Wk · x))))   one key head, one scale a token
 * w[t,h]  = (Ww · x) · H^(−1/2) · D^(−1/2)
 * ```
 *
 * **LayerNorm** of the key (not RMSNorm), with weight and bias: y = (x − mean) / √(var + eps) · weight + bias, var = mean of squares of
 * x − mean.
 *
 * **RoPE** turns dRope of the D channels by angles position · f_i, i = 0 … dRope/2 − 1. Two things differ between models, short
 * benchmarks notice neither, so both are parameters without a default:
 *
 * ```text
 * pairing   interleaved   pair i is channels (2i, 2i + 1)
 *           halfSplit     pair i is channels (i, i + dRope/2)
 * position  first         the rotated channels are [0, dRope)
 *           last          they are [D − dRope, D)
 * (a, b) → (a cos θ − b sin θ, a sin θ + b cos θ)
 * ```
 *
 * DeepSeek-V3.2's indexer is halfSplit and first; its main attention is interleaved and last.
 *
 * **YaRN** slows the low frequencies. With f_i = theta^(−2i / dRope), n(β) = dRope · ln(L0 / (2πβ)) / (2 ln theta),
 * low = ⌊n(betaFast)⌋ and high = ⌈n(betaSlow)⌉ clamped to [0, dRope − 1]:
 *
 * ```text
 * ramp_i = clamp((i − low) / (high − low), 0, 1)
 * f'_i   = f_i / factor · ramp_i + f_i · (1 − ramp_i)
 * ```
 *
 * **Hadamard**: multiplication by the Sylvester matrix (−1)^popcount(i AND j) · D^(−1/2). It is symmetric and orthonormal, so ⟨q, k⟩ does
 * not change; it spreads outliers, which makes quantisation milder. Applied to q and k or to neither.
 *
 * **Rounding.** With rounding "bf16" the projections, the LayerNorm, RoPE and Hadamard each round their result to bf16, as the
 * serving models store them; the gates stay in full precision. With "none" the mathematics is exact to f64.
 * @module
 */

import { decodeArray, roundTo } from "./formats.ts";
import { indexerLogits } from "./indexer.ts";
import { quantiseGroups, type ScaleRule } from "./quantise.ts";
import { requireShape } from "./shape.ts";

/** out[r, o] = Σ_i x[r, i] · weight[o, i]: rows of x [rows, inputs], weight [outputs, inputs]. */
export function linear(x: ArrayLike<number>, weight: ArrayLike<number>, inputs: number): Float64Array {
  const rows = x.length / inputs;
  const outputs = weight.length / inputs;
  requireShape("linear", "x", x, { rows: Math.floor(rows), inputs });
  requireShape("linear", "weight", weight, { outputs: Math.floor(outputs), inputs });
  const out = new Float64Array(rows * outputs);
  for (let r = 0; r < rows; r++) {
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) sum += x[r * inputs + i]! * weight[o * inputs + i]!;
      out[r * outputs + o] = sum;
    }
  }
  return out;
}

/** LayerNorm over rows of weight.length channels. */
export function layerNorm(x: Float64Array, weight: ArrayLike<number>, bias: ArrayLike<number>, eps: number): Float64Array {
  const dim = weight.length;
  requireShape("layerNorm", "x", x, { rows: Math.floor(x.length / dim), dim });
  requireShape("layerNorm", "bias", bias, { dim });
  const out = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += dim) {
    let mean = 0;
    for (let c = 0; c < dim; c++) mean += x[at + c]! / dim;
    let variance = 0;
    for (let c = 0; c < dim; c++) variance += (x[at + c]! - mean) ** 2 / dim;
    for (let c = 0; c < dim; c++) out[at + c] = ((x[at + c]! - mean) / Math.sqrt(variance + eps)) * weight[c]! + bias[c]!;
  }
  return out;
}

export interface Yarn {
  readonly factor: number;
  /** Context length of the first training stage, L0. */
  readonly originalLength: number;
  readonly betaFast: number;
  readonly betaSlow: number;
}

/** Rotation frequencies f_i [dRope / 2] in radians per position, scaled by YaRN when given. */
export function ropeFrequencies(dRope: number, theta: number, yarn?: Yarn): Float64Array {
  const frequencies = Float64Array.from({ length: dRope / 2 }, (_, i) => theta ** ((-2 * i) / dRope));
  if (!yarn) return frequencies;
  const pairAt = (beta: number): number => (dRope * Math.log(yarn.originalLength / (2 * Math.PI * beta))) / (2 * Math.log(theta));
  const low = Math.max(Math.floor(pairAt(yarn.betaFast)), 0);
  const high = Math.min(Math.ceil(pairAt(yarn.betaSlow)), dRope - 1);
  return frequencies.map((f, i) => {
    // a ramp of no width is a step
    const ramp = Math.min(Math.max((i - low) / Math.max(high - low, 1e-3), 0), 1);
    return (f / yarn.factor) * ramp + f * (1 - ramp);
  });
}

export interface Rope {
  readonly pairing: "interleaved" | "halfSplit";
  readonly position: "first" | "last";
  /** f_i of each pair; dRope is twice their number. */
  readonly frequencies: ArrayLike<number>;
}

/**
 * Rotates every row of x.
 * @param x [rows, dim]
 * @param positions token position of each row [rows]
 */
export function applyRope(x: Float64Array, dim: number, positions: ArrayLike<number>, rope: Rope): Float64Array {
  const pairs = rope.frequencies.length;
  requireShape("applyRope", "x", x, { rows: positions.length, dim });
  if (2 * pairs > dim)
    throw new RangeError(`applyRope: ${pairs} pairs need ${2 * pairs} channels, but rows have ${dim}. Check the frequencies.`);
  const start = rope.position === "first" ? 0 : dim - 2 * pairs;
  const out = x.slice();
  for (let r = 0; r < positions.length; r++) {
    for (let i = 0; i < pairs; i++) {
      const a = r * dim + start + (rope.pairing === "interleaved" ? 2 * i : i);
      const b = rope.pairing === "interleaved" ? a + 1 : a + pairs;
      const angle = positions[r]! * rope.frequencies[i]!;
      out[a] = x[a]! * Math.cos(angle) - x[b]! * Math.sin(angle);
      out[b] = x[a]! * Math.sin(angle) + x[b]! * Math.cos(angle);
    }
  }
  return out;
}

/** The orthonormal Sylvester matrix [dim, dim]; dim is a power of two. */
export function hadamardMatrix(dim: number): Float64Array {
  if (!Number.isInteger(Math.log2(dim)))
    throw new RangeError(`hadamard: dim is ${dim}, but Sylvester matrices exist for powers of two. Turn hadamard off.`);
  const signs = [1];
  for (let size = 1; size < dim; size *= 2) {
    for (let i = 0; i < size; i++) signs.push(-signs[i]!); // the parity of size + i is the other one
  }
  return Float64Array.from({ length: dim * dim }, (_, at) => signs[Math.floor(at / dim) & (at % dim)]! * dim ** -0.5);
}

/** Every row of x [rows, dim] times the Sylvester matrix. */
export const hadamard = (x: Float64Array, dim: number): Float64Array => linear(x, hadamardMatrix(dim), dim);

export interface IndexerModel {
  readonly heads: number;
  readonly dim: number;
  readonly rope: Rope;
  readonly hadamard: boolean;
  readonly normEps: number;
  /** Scale rule of e4m3 quantisation; "none" leaves values as they are with scales of 1. */
  readonly quantise: ScaleRule | "none";
  readonly rounding: "bf16" | "none";
}

export interface IndexerWeights {
  /** [heads · dim, qRank] */
  readonly q: ArrayLike<number>;
  /** [dim, hidden] */
  readonly k: ArrayLike<number>;
  /** [dim] */
  readonly kNormWeight: ArrayLike<number>;
  /** [dim] */
  readonly kNormBias: ArrayLike<number>;
  /** [heads, hidden] */
  readonly w: ArrayLike<number>;
}

export interface IndexerOperands {
  /** [tokens, heads, dim], without scale. */
  readonly q: Float64Array;
  /** [tokens, heads] */
  readonly qScale: Float64Array;
  /** [tokens, dim], without scale. */
  readonly k: Float64Array;
  /** [tokens] */
  readonly kScale: Float64Array;
  /** Gates [tokens, heads], with both factors of the model. */
  readonly w: Float64Array;
}

/**
 * Operands of `indexerLogits` for a sequence.
 * @param x hidden states [tokens, hidden]
 * @param qr low-rank queries [tokens, qRank]
 * @param positions [tokens]
 */
export function indexerOperands(
  model: IndexerModel,
  weights: IndexerWeights,
  x: ArrayLike<number>,
  qr: ArrayLike<number>,
  positions: ArrayLike<number>,
): IndexerOperands {
  const { heads, dim } = model;
  const hidden = weights.k.length / dim;
  const qRank = weights.q.length / (heads * dim);
  requireShape("indexerOperands", "x", x, { tokens: positions.length, hidden });
  requireShape("indexerOperands", "qr", qr, { tokens: positions.length, qRank });
  requireShape("indexerOperands", "weights.w", weights.w, { heads, hidden });
  const stored = (values: Float64Array): Float64Array =>
    model.rounding === "bf16" ? values.map((value) => roundTo("bf16", value)) : values;
  const rotate = (values: Float64Array, positionOfRow: ArrayLike<number>): Float64Array => {
    const turned = stored(applyRope(values, dim, positionOfRow, model.rope));
    return model.hadamard ? stored(hadamard(turned, dim)) : turned;
  };
  const quantise = (values: Float64Array): { values: Float64Array; scales: Float64Array } => {
    if (model.quantise === "none") return { values, scales: new Float64Array(values.length / dim).fill(1) };
    const { codes, scales } = quantiseGroups(values, dim, model.quantise);
    return { values: decodeArray("e4m3", codes), scales: Float64Array.from(scales) };
  };

  const positionOfHead = Float64Array.from({ length: positions.length * heads }, (_, row) => positions[Math.floor(row / heads)]!);
  const q = quantise(rotate(stored(linear(qr, weights.q, qRank)), positionOfHead));
  const normalised = layerNorm(stored(linear(x, weights.k, hidden)), weights.kNormWeight, weights.kNormBias, model.normEps);
  const k = quantise(rotate(stored(normalised), positions));
  const w = linear(x, weights.w, hidden).map((gate) => gate * heads ** -0.5 * dim ** -0.5);
  return { q: q.values, qScale: q.scales, k: k.values, kScale: k.scales, w };
}

/** Causal ReLU logits [tokens, tokens] of a sequence whose token t sees tokens 0 … t; NaN above the diagonal. */
export function causalIndexerScores(model: IndexerModel, operands: IndexerOperands): Float64Array {
  const tokens = operands.kScale.length;
  return indexerLogits({
    shape: { queries: tokens, heads: model.heads, dim: model.dim, tokens },
    ...operands,
    first: new Int32Array(tokens),
    last: Int32Array.from({ length: tokens }, (_, t) => t + 1),
  });
}
