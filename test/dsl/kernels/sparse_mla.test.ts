import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromBytes, round, writeElement } from "../../../dsl/dtype.ts";
import { sparseMla } from "../../../dsl/kernels/sparse_mla.ts";
import { GROUP, sparseMlaCombine, sparseMlaDecode } from "../../../dsl/kernels/sparse_mla_decode.ts";
import type { Dsa } from "../../../dsl/kernels/spec.ts";
import { data, integer, seed, small, uniform, type Data } from "./inputs.ts";

interface Row {
  readonly out: readonly number[];
  /** Sum of probability times |value|: what the roundings of out are relative to. */
  readonly size: readonly number[];
  readonly lse: number;
  readonly max: number;
}

/** One head of one query in f64, over the keys of its filled slots. */
function attend(dsa: Dsa, query: readonly number[], keys: readonly (readonly number[])[], sink: number): Row {
  const logits = keys.map((key) => dsa.smScale * key.reduce((dot, x, c) => dot + x * query[c]!, 0));
  const max = Math.max(...logits);
  const weights = logits.map((x) => Math.exp(x - max));
  const total = weights.reduce((a, b) => a + b, 0);
  const lse = max + Math.log(total);
  const share = keys.length === 0 ? 0 : 1 / (1 + Math.exp(sink - lse));
  const mix = (f: (x: number) => number) =>
    Array.from({ length: dsa.dV }, (_, c) => keys.reduce((sum, key, i) => sum + (weights[i]! / total) * f(key[c]!), 0) * share);
  return { out: mix((x) => x), size: mix(Math.abs), lse: keys.length === 0 ? Infinity : lse, max };
}

function expectRow(expected: Row, out: ArrayLike<number>, lse: number, max: number): void {
  // probabilities are bf16 (relative 2^-9 each, in numerator and denominator), and so is out
  expected.out.forEach((x, c) =>
    expect(Math.abs(out[c]! - x)).toBeLessThanOrEqual(3 * 2 ** -9 * expected.size[c]! + 2 ** -9 * Math.abs(x) + 1e-12),
  );
  if (!Number.isFinite(expected.lse)) expect(lse).toBe(expected.lse);
  else expect(Math.abs(lse - expected.lse)).toBeLessThanOrEqual(2 ** -8 + 1e-5 * Math.abs(expected.lse));
  if (!Number.isFinite(expected.max)) expect(max).toBe(expected.max);
  else expect(Math.abs(max - expected.max)).toBeLessThanOrEqual(1e-5 * (1 + Math.abs(expected.max)));
}

/** Sink logits: absent, harmless, dominating, and past the guard of `beside`. */
const sinkLogit = (s: number) => {
  const pick = integer(s, 0, 4);
  return () => [-Infinity, 0, 5, 200, Infinity][pick()]!;
};

/** Slots that a query attends to: inside the length, and naming a token. */
const filled = (idx: Data, q: number, slots: number, length: number, tokens: number): number[] =>
  Array.from({ length: slots }, (_, j) => idx.at(q, j)).filter((t, j) => j < length && t >= 0 && t < tokens);

const shapes = fc.record({
  heads: fc.integer({ min: 1, max: 5 }),
  topK: fc.integer({ min: 1, max: 11 }),
  Q: fc.integer({ min: 1, max: 3 }),
  sizes: fc.constantFrom(0.1, 3, 300),
  s: seed,
});

describe("sparse MLA", () => {
  test("agrees with f64 loops: empty slots anywhere, duplicates, lengths, sinks, pitched rows, NaN in rows that nobody selected", () => {
    fc.assert(
      fc.property(
        shapes,
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 0, max: 6 }),
        fc.constantFrom(0, 4),
        ({ heads, topK, Q, sizes, s }, T, gap, dRope) => {
          const dsa: Dsa = { ...small, heads, topK, dRope };
          const dQk = dsa.dV + dRope;
          const pitch = dQk + gap;
          const idx = data("i32", [Q, topK], integer(s, -2, T + 1));
          const lengths = data("i32", [Q], integer(s + 1, 0, topK + 2));
          const selected = new Set(Array.from({ length: Q }, (_, q) => filled(idx, q, topK, lengths.at(q), T)).flat());
          const q = data("bf16", [Q, heads, dQk], uniform(s + 2, sizes));
          const value = uniform(s + 3, 2);
          const kv = data("bf16", [T, pitch], (t, c) => (selected.has(t) && c < dQk ? value() : NaN));
          const sink = data("f32", [heads], sinkLogit(s + 4));
          const [out, lse, maxLogit] = [
            new Uint8Array(2 * Q * heads * dsa.dV),
            new Uint8Array(4 * Q * heads),
            new Uint8Array(4 * Q * heads),
          ];
          const buffers = { q: q.bytes, kv: kv.bytes, idx: idx.bytes, lengths: lengths.bytes, sink: sink.bytes, out, lse, maxLogit };
          sparseMla(dsa).run(buffers, { T, kvPitch: pitch }, { BH: 2, BJ: 3 });
          const [o, l, m] = [fromBytes("bf16", out), fromBytes("f32", lse), fromBytes("f32", maxLogit)];
          for (let i = 0; i < Q; i++) {
            const keys = filled(idx, i, topK, lengths.at(i), T).map((t) => Array.from({ length: dQk }, (_, c) => kv.at(t, c)));
            for (let h = 0; h < heads; h++) {
              const query = Array.from({ length: dQk }, (_, c) => q.at(i, h, c));
              const row = i * heads + h;
              expectRow(attend(dsa, query, keys, sink.at(h)), o.subarray(row * dsa.dV, (row + 1) * dsa.dV), l[row]!, m[row]!);
            }
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test("an empty row: out 0, lse +inf, max -inf", () => {
    const dsa: Dsa = { ...small, heads: 1, topK: 2 };
    const [out, lse, maxLogit] = [new Uint8Array(16).fill(0x77), new Uint8Array(4), new Uint8Array(4)];
    const buffers = {
      q: data("bf16", [1, 1, 12], () => 1).bytes,
      kv: data("bf16", [1, 12], () => NaN).bytes,
      idx: data("i32", [1, 2], () => -1).bytes,
    };
    sparseMla(dsa).run({ ...buffers, lengths: data("i32", [1], () => 2).bytes, sink: data("f32", [1], () => 0).bytes, out, lse, maxLogit });
    expect([...fromBytes("bf16", out), ...fromBytes("f32", lse), ...fromBytes("f32", maxLogit)]).toEqual([
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      Infinity,
      -Infinity,
    ]);
  });

  test("a NaN in a selected row reaches out", () => {
    const dsa: Dsa = { ...small, heads: 1, topK: 1 };
    const [out, lse, maxLogit] = [new Uint8Array(16), new Uint8Array(4), new Uint8Array(4)];
    const buffers = {
      q: data("bf16", [1, 1, 12], () => 1).bytes,
      kv: data("bf16", [1, 12], (_, c) => (c === 3 ? NaN : 1)).bytes,
      idx: data("i32", [1, 1], () => 0).bytes,
    };
    sparseMla(dsa).run({ ...buffers, lengths: data("i32", [1], () => 1).bytes, sink: data("f32", [1], () => 0).bytes, out, lse, maxLogit });
    expect([...fromBytes("bf16", out)]).toEqual(Array(8).fill(NaN));
  });
});

test("sparse MLA decode and combine agree with f64 loops over the record bytes, whatever the number of splits", () => {
  fc.assert(
    fc.property(
      shapes,
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 1, max: 2 }),
      ({ heads, topK, Q, sizes, s }, splits, P, gap, groups) => {
        const dsa: Dsa = { ...small, heads, topK, splits, dV: groups * GROUP };
        const { dV, dRope, pageTokens } = dsa;
        const tokens = P * pageTokens;
        const idx = data("i32", [Q, topK], integer(s, -2, tokens + 1));
        const lengths = data("i32", [Q], integer(s + 1, 0, topK + 2));
        const selected = new Set(Array.from({ length: Q }, (_, q) => filled(idx, q, topK, lengths.at(q), tokens)).flat());

        const recordBytes = dV + 4 * groups + 2 * dRope;
        const pageBytes = pageTokens * recordBytes + gap;
        const cache = new Uint8Array(P * pageBytes).fill(0xff); // NaN in every format: records that nobody selected stay so
        const view = new DataView(cache.buffer);
        const code = data("e4m3", [tokens, dV], uniform(s + 2, 4));
        const scale = data("f32", [tokens, groups], uniform(s + 3)); // not bf16 numbers: the record's scale is rounded when it is used
        const rope = data("bf16", [tokens, dRope], uniform(s + 4, 2));
        for (const t of selected) {
          const at = Math.floor(t / pageTokens) * pageBytes + (t % pageTokens) * recordBytes;
          for (let c = 0; c < dV; c++) writeElement("e4m3", view, at + c, code.at(t, c));
          for (let g = 0; g < groups; g++) writeElement("f32", view, at + dV + 4 * g, scale.at(t, g));
          for (let r = 0; r < dRope; r++) writeElement("bf16", view, at + dV + 4 * groups + 2 * r, rope.at(t, r));
        }
        const latent = (t: number, c: number) =>
          round("bf16", Math.fround(code.at(t, c) * round("bf16", scale.at(t, Math.floor(c / GROUP)))));

        const q = data("bf16", [Q, heads, dV + dRope], uniform(s + 5, sizes / 16));
        const sink = data("f32", [heads], sinkLogit(s + 6));
        const rows = Q * splits * heads;
        const parts = {
          partial: new Uint8Array(4 * rows * dV),
          partialMax: new Uint8Array(4 * rows),
          partialSum: new Uint8Array(4 * rows),
        };
        sparseMlaDecode(dsa).run(
          { q: q.bytes, cache, idx: idx.bytes, lengths: lengths.bytes, ...parts },
          { P, pageBytes },
          { BH: 2, BJ: 3 },
        );
        const [out, lse, maxLogit] = [new Uint8Array(2 * Q * heads * dV), new Uint8Array(4 * Q * heads), new Uint8Array(4 * Q * heads)];
        sparseMlaCombine(dsa).run({ ...parts, sink: sink.bytes, out, lse, maxLogit });

        const [o, l, m] = [fromBytes("bf16", out), fromBytes("f32", lse), fromBytes("f32", maxLogit)];
        for (let i = 0; i < Q; i++) {
          const keys = filled(idx, i, topK, lengths.at(i), tokens).map((t) =>
            Array.from({ length: dV + dRope }, (_, c) => (c < dV ? latent(t, c) : rope.at(t, c - dV))),
          );
          for (let h = 0; h < heads; h++) {
            const query = Array.from({ length: dV + dRope }, (_, c) => q.at(i, h, c));
            const row = i * heads + h;
            expectRow(attend(dsa, query, keys, sink.at(h)), o.subarray(row * dV, (row + 1) * dV), l[row]!, m[row]!);
          }
        }
      },
    ),
    { numRuns: 60 },
  );
});
