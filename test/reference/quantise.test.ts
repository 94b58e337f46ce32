import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, decodeArray, roundTo } from "../../reference/formats.ts";
import { drawArray, permutation, randomOf } from "../../reference/inputs/random.ts";
import {
  denseLatentLayout,
  dequantiseGroups,
  groupScale,
  indexerPageBytes,
  latentRecordBytes,
  quantiseGroups,
  readIndexerPages,
  readLatentRecords,
  writeIndexerPages,
  writeLatentRecords,
} from "../../reference/quantise.ts";

const seed = fc.integer({ min: 0, max: 2 ** 30 });
const rule = fc.constantFrom("multiply", "divide", "pow2" as const);

/** Every bf16 number in [1e-4, 1e30). */
const bf16Amaxes = Array.from({ length: 0x7f80 }, (_, code) => decode("bf16", code)).filter((x) => x >= 1e-4 && x < 1e30);

describe("scales", () => {
  test("the power of two is the same whether amax is multiplied, divided, or put through log2, for every bf16 amax", () => {
    const bitCeil = (scale: number): number => {
      const view = new DataView(new ArrayBuffer(4));
      view.setFloat32(0, scale);
      const bits = view.getUint32(0);
      return 2 ** (Math.floor(bits / 2 ** 23) - 127 + (bits % 2 ** 23 === 0 ? 0 : 1));
    };
    expect(bf16Amaxes.length).toBe(14456);
    for (const amax of bf16Amaxes) {
      const scale = groupScale(amax, "pow2");
      expect(scale).toBe(bitCeil(Math.fround(amax * Math.fround(1 / 448))));
      expect(scale).toBe(bitCeil(Math.fround(amax / 448)));
      expect(scale).toBe(2 ** Math.ceil(Math.fround(Math.log2(Math.fround(amax / 448)))));
    }
  });

  test("multiplying by 1/448 and dividing by 448 differ, by one ulp, for about half of all bf16 amaxes", () => {
    const differing = bf16Amaxes.filter((amax) => groupScale(amax, "multiply") !== groupScale(amax, "divide"));
    expect(differing.length / bf16Amaxes.length).toBeGreaterThan(0.5);
    expect(differing.length / bf16Amaxes.length).toBeLessThan(0.6);
    for (const amax of differing)
      expect(Math.abs(groupScale(amax, "multiply") / groupScale(amax, "divide") - 1)).toBeLessThanOrEqual(2 ** -23);
  });

  test("amax = 448 · 2^n gives 2^n, and everything up to 1e-4 gives one scale", () => {
    for (let n = -20; n <= 20; n++)
      for (const r of ["multiply", "divide", "pow2"] as const) expect(groupScale(448 * 2 ** n, r)).toBe(2 ** n);
    expect(groupScale(0, "divide")).toBe(groupScale(1e-5, "divide"));
  });
});

describe("group quantisation", () => {
  test("the largest value of a group is kept to half a step, nothing saturates early, and zero groups stay zero", () => {
    fc.assert(
      fc.property(seed, rule, fc.integer({ min: -12, max: 40 }), (s, r, exponent) => {
        const random = randomOf(s);
        const x = drawArray(256, (i) => (i < 128 ? roundTo("bf16", 2 ** exponent * random.normal()) : 0));
        const quantised = quantiseGroups(x, 128, r);
        const back = dequantiseGroups(quantised);
        const amax = Math.max(...x.map(Math.abs));
        for (let i = 0; i < 128; i++) {
          // half a step is 2^-4 of the value, or of the smallest normal code 2^-6
          const halfStep = Math.max(Math.abs(x[i]!), quantised.scales[0]! * 2 ** -6) * 2 ** -4;
          expect(Math.abs(back[i]! - x[i]!)).toBeLessThanOrEqual(halfStep * (1 + 2 ** -20));
        }
        expect(amax / quantised.scales[0]!).toBeLessThanOrEqual(448 * (1 + 2 ** -22));
        expect([...back.subarray(128)].every((value) => value === 0)).toBe(true);
      }),
    );
  });

  test("power-of-two scales leave code · scale exact in bf16", () => {
    const random = randomOf(7);
    const back = dequantiseGroups(
      quantiseGroups(
        drawArray(1280, () => random.normal()),
        128,
        "pow2",
      ),
    );
    for (const value of back) expect(roundTo("bf16", value)).toBe(value);
  });

  test("what has no scale is refused", () => {
    expect(() => quantiseGroups([1, NaN], 2, "pow2")).toThrow("quantiseGroups: value 1 is NaN");
    expect(() => quantiseGroups([1, 2, 3], 2, "pow2")).toThrow("x has 3 elements, but [groups 1, group 2] needs 2");
  });
});

describe("indexer pages", () => {
  test("a page of 64 tokens and 128 channels is 8192 bytes of codes, then 256 of scales", () => {
    expect(indexerPageBytes(128)).toBe(8448);
    const random = randomOf(1);
    const keys = quantiseGroups(
      drawArray(70 * 128, () => random.normal()),
      128,
      "divide",
    );
    const stride = 9000;
    const cache = writeIndexerPages(keys, Int32Array.of(2, 0), 3, { dim: 128, pageStride: stride });
    // token 69 is token 5 of the second logical page, which lies in physical page 0
    expect(cache.slice(5 * 128, 6 * 128)).toEqual(keys.codes.slice(69 * 128, 70 * 128));
    expect(new DataView(cache.buffer).getFloat32(8192 + 4 * 5, true)).toBe(keys.scales[69]);
    expect(new DataView(cache.buffer).getFloat32(2 * stride + 8192 + 4 * 63, true)).toBe(keys.scales[63]);
  });

  test("what is written is read, and unused slots read as NaN", () => {
    fc.assert(
      fc.property(
        seed,
        fc.integer({ min: 1, max: 200 }),
        fc.constantFrom(32, 64, 128),
        fc.integer({ min: 0, max: 3 }),
        (s, tokens, dim, padding) => {
          const random = randomOf(s);
          const keys = quantiseGroups(
            drawArray(tokens * dim, () => random.normal()),
            dim,
            "multiply",
          );
          const layout = { dim, pageStride: indexerPageBytes(dim) + 4 * padding };
          const pages = permutation(random, Math.ceil(tokens / 64) + 2).slice(0, Math.ceil(tokens / 64));
          const read = readIndexerPages(writeIndexerPages(keys, pages, pages.length + 2, layout), layout);
          const values = decodeArray("e4m3", keys.codes);
          for (let t = 0; t < tokens; t++) {
            const slot = 64 * pages[Math.floor(t / 64)]! + (t % 64);
            expect(read.scales[slot]).toBe(keys.scales[t]);
            expect(read.values.subarray(slot * dim, (slot + 1) * dim)).toEqual(values.subarray(t * dim, (t + 1) * dim));
          }
          expect(read.scales.filter((scale) => !Number.isNaN(scale)).length).toBe(tokens);
        },
      ),
      { numRuns: 30 },
    );
  });

  test("a stride that cannot hold a page, and a page outside the cache, are refused", () => {
    const keys = quantiseGroups(new Float64Array(128), 128, "pow2");
    expect(() => writeIndexerPages(keys, Int32Array.of(0), 1, { dim: 128, pageStride: 8192 })).toThrow("pages hold 8448 bytes");
    expect(() => writeIndexerPages(keys, Int32Array.of(1), 1, { dim: 128, pageStride: 8448 })).toThrow("token 0 goes to page 1 of 1");
  });
});

describe("latent records", () => {
  test("512 and 64 channels take 656 bytes: codes, four scales, RoPE in bf16", () => {
    expect(latentRecordBytes(512, 64)).toBe(656);
    const random = randomOf(3);
    const latent = drawArray(2 * 512, () => random.normal());
    const rope = drawArray(2 * 64, () => random.normal());
    const cache = writeLatentRecords(latent, rope, "divide", denseLatentLayout(512, 64));
    const { codes, scales } = quantiseGroups(latent, 128, "divide");
    const view = new DataView(cache.buffer);
    expect(cache.slice(656, 656 + 512)).toEqual(codes.slice(512));
    for (let g = 0; g < 4; g++) expect(view.getFloat32(656 + 512 + 4 * g, true)).toBe(scales[4 + g]);
    for (let c = 0; c < 64; c++) expect(decode("bf16", view.getUint16(656 + 528 + 2 * c, true))).toBe(roundTo("bf16", rope[64 + c]!));
  });

  test("reading rounds the scale and the product to bf16: exact for powers of two, within two roundings otherwise", () => {
    fc.assert(
      fc.property(
        seed,
        fc.constantFrom("pow2", "divide" as const),
        fc.integer({ min: 1, max: 9 }),
        fc.constantFrom(0, 656),
        (s, r, tokens, padding) => {
          const random = randomOf(s);
          const layout = { dV: 256, dRope: 32, pageTokens: 4, pageStride: 4 * latentRecordBytes(256, 32) + padding };
          const latent = drawArray(tokens * 256, (i) => (i % 256 < 128 ? 0 : random.normal())); // a zero tile in every token
          const rope = drawArray(tokens * 32, () => random.normal());
          const rows = readLatentRecords(writeLatentRecords(latent, rope, r, layout), layout);
          const exact = dequantiseGroups(quantiseGroups(latent, 128, r));
          for (let t = 0; t < tokens; t++) {
            for (let c = 0; c < 256; c++) {
              const [read, wanted] = [rows[t * 288 + c]!, exact[t * 256 + c]!];
              if (r === "pow2") expect(read).toBe(wanted);
              else expect(Math.abs(read - wanted)).toBeLessThanOrEqual(Math.abs(wanted) * (2 * 2 ** -8 + 2 ** -16));
            }
            for (let c = 0; c < 32; c++) expect(rows[t * 288 + 256 + c]).toBe(roundTo("bf16", rope[t * 32 + c]!));
          }
          expect(rows.length / 288).toBe(Math.ceil(tokens / 4) * 4);
          expect([...rows.subarray(tokens * 288)].every(Number.isNaN)).toBe(true);
        },
      ),
      { numRuns: 20 },
    );
  });

  test("with arbitrary scales a reader that skips a rounding is noticed", () => {
    const random = randomOf(5);
    const layout = denseLatentLayout(128, 0);
    const latent = drawArray(128 * 64, () => random.normal());
    const rows = readLatentRecords(writeLatentRecords(latent, [], "divide", layout), layout);
    const { codes, scales } = quantiseGroups(latent, 128, "divide");
    const bf16 = (x: number): number => roundTo("bf16", x);
    const read = (rounded: (code: number, scale: number) => number): Float64Array =>
      decodeArray("e4m3", codes).map((code, i) => rounded(code, scales[Math.floor(i / 128)]!));
    expect(rows).toEqual(read((code, scale) => bf16(code * bf16(scale))));
    expect(rows).not.toEqual(read((code, scale) => bf16(code * scale)));
    expect(rows).not.toEqual(read((code, scale) => code * bf16(scale)));
  });

  test("a latent width without whole groups is refused", () => {
    expect(() => readLatentRecords(new Uint8Array(0), denseLatentLayout(100, 0))).toThrow(
      "dV is 100, but a record has one scale per 128 channels",
    );
  });
});
