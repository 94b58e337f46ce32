/**
 * Quantisers, and the two cache layouts that hold their results.
 *
 * **Group quantisation to e4m3.** A group of values shares one f32 scale s:
 *
 * ```text
 * amax = max(max_i |x_i|, 1e-4)
 * s    = amax · fl(1/448)            rule "multiply"   (DeepSeek-V3.2 act_quant, scale_fmt none)
 * s    = amax / 448                  rule "divide"     (DeepGEMM, vLLM and SGLang key stores)
 * s    = the power of two >= either  rule "pow2"       (scale_fmt ue8m0; for a bf16 amax both give the same power)
 * code = e4m3(fl(x_i / s)), saturating
 * ```
 *
 * All steps are f32 operations rounded to nearest. The floor of 1e-4 keeps the all-zero group finite: without it the scale is 0 and
 * the group reads back as NaN. "multiply" and "divide" often differ in the last bit of s, so a cache must be read with the scale
 * that was stored beside it, never with a recomputed one. With "pow2" every code · s is exact, and stays exact in bf16.
 *
 * **Indexer page** (64 tokens, D channels, planar): bytes [0, 64·D) hold the codes, token-major; bytes [64·D, 64·D + 256) hold
 * 64 f32 scales. For D = 128: 8192 + 256 = 8448 bytes. The page stride may be larger.
 *
 * ```text
 * code of (page p, token j, channel d)   p · stride + D · j + d
 * scale of (page p, token j)             p · stride + 64 · D + 4 · j
 * ```
 *
 * **Latent record** (one token): dV e4m3 latent codes, then dV/128 f32 scales of 128 channels each, then dRope bf16 RoPE values.
 * For 512 and 64: 512 + 16 + 128 = 656 bytes. Slot i lies in page ⌊i / pageTokens⌋ at offset i mod pageTokens.
 * Reading is part of the semantics: the serving kernels round the scale to bf16 and the product to bf16, so
 *
 * ```text
 * latent value = bf16(e4m3(code) · bf16(s))
 * ```
 *
 * which is exact for "pow2" and two roundings away from code · s otherwise.
 * @module
 */

import { decode, decodeArray, encode, encodeArray, roundTo } from "./formats.ts";
import { requireShape } from "./shape.ts";

export type ScaleRule = "multiply" | "divide" | "pow2";

export const pageTokens = 64;
export const latentGroup = 128;
const e4m3Max = 448;
const amaxFloor = Math.fround(1e-4);

/** The f32 scale of a group whose largest magnitude is `amax`. */
export function groupScale(amax: number, rule: ScaleRule): number {
  const floored = Math.max(Math.fround(amax), amaxFloor);
  if (rule === "divide") return Math.fround(floored / e4m3Max);
  const scale = Math.fround(floored * Math.fround(1 / e4m3Max));
  return rule === "multiply" ? scale : roundTo("ue8m0", scale);
}

export interface Quantised {
  /** e4m3 codes, one a value. */
  readonly codes: Uint8Array;
  /** One scale a group. */
  readonly scales: Float32Array;
}

/** Quantises consecutive groups of `group` values. Throws on NaN and infinities, which have no scale. */
export function quantiseGroups(x: ArrayLike<number>, group: number, rule: ScaleRule): Quantised {
  requireShape("quantiseGroups", "x", x, { groups: Math.floor(x.length / group), group });
  const codes = new Uint8Array(x.length);
  const scales = new Float32Array(x.length / group);
  for (let g = 0; g < scales.length; g++) {
    let amax = 0;
    for (let i = g * group; i < (g + 1) * group; i++) {
      if (!Number.isFinite(x[i]!)) {
        throw new RangeError(
          `quantiseGroups: value ${i} is ${x[i]}, and only finite values have a scale. Look at the stage that produced it.`,
        );
      }
      amax = Math.max(amax, Math.abs(x[i]!));
    }
    const scale = groupScale(amax, rule);
    scales[g] = scale;
    for (let i = g * group; i < (g + 1) * group; i++) codes[i] = encode("e4m3", Math.fround(Math.fround(x[i]!) / scale));
  }
  return { codes, scales };
}

/** code · scale of every value, exact in f64. */
export function dequantiseGroups({ codes, scales }: Quantised): Float64Array {
  const group = codes.length / scales.length;
  const values = decodeArray("e4m3", codes);
  for (let i = 0; i < values.length; i++) values[i] = values[i]! * scales[Math.floor(i / group)]!;
  return values;
}

export interface IndexerPageLayout {
  /** Channels of a key. */
  readonly dim: number;
  /** Bytes from one page to the next, at least `indexerPageBytes(dim)`. */
  readonly pageStride: number;
}
export const indexerPageBytes = (dim: number): number => pageTokens * dim + 4 * pageTokens;

function requireStride(stage: string, stride: number, least: number): void {
  if (stride >= least && stride % 4 === 0) return;
  throw new RangeError(
    `${stage}: pageStride is ${stride}, but pages hold ${least} bytes and strides are multiples of 4. Use ${least} for a dense cache.`,
  );
}

/**
 * Writes quantised keys into a cache of planar pages.
 * @param keys codes [tokens, dim], one scale a token
 * @param pages physical page of each run of 64 tokens, length ⌈tokens / 64⌉
 * @param pageCount pages of the cache
 * @param fill byte of everything that no token owns; the default decodes as NaN, so that a stray read shows
 */
export function writeIndexerPages(
  keys: Quantised,
  pages: Int32Array,
  pageCount: number,
  layout: IndexerPageLayout,
  fill = 0xff,
): Uint8Array {
  const { dim, pageStride } = layout;
  const tokens = keys.scales.length;
  requireStride("writeIndexerPages", pageStride, indexerPageBytes(dim));
  requireShape("writeIndexerPages", "keys.codes", keys.codes, { tokens, dim });
  requireShape("writeIndexerPages", "pages", pages, { pages: Math.ceil(tokens / pageTokens) });
  const cache = new Uint8Array(pageCount * pageStride).fill(fill);
  const view = new DataView(cache.buffer);
  for (let t = 0; t < tokens; t++) {
    const page = pages[Math.floor(t / pageTokens)]!;
    if (page < 0 || page >= pageCount)
      throw new RangeError(`writeIndexerPages: token ${t} goes to page ${page} of ${pageCount}. Check the page list.`);
    const token = t % pageTokens;
    cache.set(keys.codes.subarray(t * dim, (t + 1) * dim), page * pageStride + dim * token);
    view.setFloat32(page * pageStride + pageTokens * dim + 4 * token, keys.scales[t]!, true);
  }
  return cache;
}

/** Keys of a whole cache by slot = 64 · page + token: values [slots, dim] without their scale, scales [slots]. */
export interface IndexerKeys {
  readonly values: Float64Array;
  readonly scales: Float64Array;
}

export function readIndexerPages(cache: Uint8Array, layout: IndexerPageLayout): IndexerKeys {
  const { dim, pageStride } = layout;
  requireStride("readIndexerPages", pageStride, indexerPageBytes(dim));
  const pageCount = Math.floor(cache.length / pageStride);
  const values = new Float64Array(pageCount * pageTokens * dim);
  const scales = new Float64Array(pageCount * pageTokens);
  for (let page = 0; page < pageCount; page++) {
    const codesAt = page * pageStride;
    const scalesAt = codesAt + pageTokens * dim;
    values.set(decodeArray("e4m3", cache.subarray(codesAt, scalesAt)), page * pageTokens * dim);
    scales.set(decodeArray("f32", cache.subarray(scalesAt, scalesAt + 4 * pageTokens)), page * pageTokens);
  }
  return { values, scales };
}

export interface LatentLayout {
  /** Latent channels, a multiple of 128. */
  readonly dV: number;
  readonly dRope: number;
  readonly pageTokens: number;
  /** Bytes from one page to the next. */
  readonly pageStride: number;
}
export const latentRecordBytes = (dV: number, dRope: number): number => dV + 4 * (dV / latentGroup) + 2 * dRope;

/** Pages of 64 records without padding. */
export const denseLatentLayout = (dV: number, dRope: number): LatentLayout => ({
  dV,
  dRope,
  pageTokens,
  pageStride: pageTokens * latentRecordBytes(dV, dRope),
});

function requireLatentLayout(stage: string, layout: LatentLayout): void {
  if (layout.dV % latentGroup !== 0) {
    throw new RangeError(
      `${stage}: dV is ${layout.dV}, but a record has one scale per ${latentGroup} channels. Use a multiple of ${latentGroup}.`,
    );
  }
  requireStride(stage, layout.pageStride, layout.pageTokens * latentRecordBytes(layout.dV, layout.dRope));
}

function recordOffset(slot: number, layout: LatentLayout): number {
  const page = Math.floor(slot / layout.pageTokens);
  return page * layout.pageStride + (slot % layout.pageTokens) * latentRecordBytes(layout.dV, layout.dRope);
}

/**
 * Writes tokens 0, 1, … as latent records into slots 0, 1, …
 * @param latent [tokens, dV], quantised here
 * @param rope [tokens, dRope], after RoPE, rounded to bf16
 * @param fill byte of unused slots and of the padding between pages; the default decodes as NaN
 */
export function writeLatentRecords(
  latent: ArrayLike<number>,
  rope: ArrayLike<number>,
  rule: ScaleRule,
  layout: LatentLayout,
  fill = 0xff,
): Uint8Array {
  requireLatentLayout("writeLatentRecords", layout);
  const { dV, dRope } = layout;
  const tokens = latent.length / dV;
  requireShape("writeLatentRecords", "rope", rope, { tokens, dRope });
  const { codes, scales } = quantiseGroups(latent, latentGroup, rule);
  const ropeBytes = encodeArray("bf16", rope);
  const groups = dV / latentGroup;
  const cache = new Uint8Array(Math.ceil(tokens / layout.pageTokens) * layout.pageStride).fill(fill);
  for (let t = 0; t < tokens; t++) {
    const at = recordOffset(t, layout);
    cache.set(codes.subarray(t * dV, (t + 1) * dV), at);
    cache.set(encodeArray("f32", scales.subarray(t * groups, (t + 1) * groups)), at + dV);
    cache.set(ropeBytes.subarray(2 * t * dRope, 2 * (t + 1) * dRope), at + dV + 4 * groups);
  }
  return cache;
}

/** All slots of a cache of latent records as the rows [slots, dV + dRope] that attention sees. */
export function readLatentRecords(cache: Uint8Array, layout: LatentLayout): Float64Array {
  requireLatentLayout("readLatentRecords", layout);
  const { dV, dRope } = layout;
  const dQk = dV + dRope;
  const scalesBytes = 4 * (dV / latentGroup);
  const slots = Math.floor(cache.length / layout.pageStride) * layout.pageTokens;
  const rows = new Float64Array(slots * dQk);
  for (let slot = 0; slot < slots; slot++) {
    const at = recordOffset(slot, layout);
    const scales = decodeArray("f32", cache.subarray(at + dV, at + dV + scalesBytes)).map((scale) => roundTo("bf16", scale));
    for (let c = 0; c < dV; c++) {
      const scale = scales[Math.floor(c / latentGroup)]!;
      rows[slot * dQk + c] = roundTo("bf16", decode("e4m3", cache[at + c]!) * scale);
    }
    const ropeAt = at + dV + scalesBytes;
    rows.set(decodeArray("bf16", cache.subarray(ropeAt, ropeAt + 2 * dRope)), slot * dQk + dV);
  }
  return rows;
}
