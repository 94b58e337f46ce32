import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { generateMla, generateRecords, mlaArgs, mlaKinds, sinkKinds, slotKinds } from "../../reference/inputs/mla.ts";
import { permutation, randomOf } from "../../reference/inputs/random.ts";
import { denseLatentLayout } from "../../reference/quantise.ts";
import {
  denseAsSparse,
  denseMla,
  meanProbabilities,
  mergeSplits,
  softmaxScale,
  sparseMla,
  type AttentionResult,
  type SparseMlaArgs,
} from "../../reference/sparse_mla.ts";
import { topK } from "../../reference/topk.ts";

const anyCase = fc.record({
  seed: fc.integer({ min: 0, max: 2 ** 30 }),
  kind: fc.constantFrom(...mlaKinds),
  slotKind: fc.constantFrom(...slotKinds),
  sink: fc.constantFrom(...sinkKinds),
  rowLengths: fc.boolean(),
  shape: fc.record({
    queries: fc.integer({ min: 1, max: 3 }),
    heads: fc.integer({ min: 1, max: 3 }),
    slots: fc.integer({ min: 1, max: 12 }),
    tokens: fc.integer({ min: 1, max: 16 }),
    dQk: fc.constant(12),
    dV: fc.constantFrom(8, 12),
  }),
});
const problem = anyCase.map(generateMla).map(mlaArgs);

const expectSame = (a: AttentionResult, b: AttentionResult, tolerance = 1e-9): void => {
  for (const field of ["out", "lse", "max"] as const) {
    expect(a[field].length).toBe(b[field].length);
    a[field].forEach((x, i) => {
      const y = b[field][i]!;
      if (Number.isFinite(y)) expect(Math.abs(x - y)).toBeLessThanOrEqual(tolerance * (1 + Math.abs(y)));
      else expect(x).toBe(y);
    });
  }
};
const validSlots = ({ shape, idx, length }: SparseMlaArgs, t: number): number[] =>
  Array.from({ length: Math.min(length?.[t] ?? shape.slots, shape.slots) }, (_, j) => idx[t * shape.slots + j]!).filter(
    (s) => s >= 0 && s < shape.tokens,
  );
const slotsOf = (args: SparseMlaArgs, from: number, to: number): SparseMlaArgs => {
  const { queries, slots } = args.shape;
  const width = to - from;
  const idx = Int32Array.from({ length: queries * width }, (_, i) => args.idx[Math.floor(i / width) * slots + from + (i % width)]!);
  const length = args.length && Int32Array.from(args.length, (n) => Math.max(0, Math.min(n - from, width)));
  return { ...args, shape: { ...args.shape, slots: width }, idx, length, sink: undefined };
};

describe("sparse MLA", () => {
  test("two slots, by hand", () => {
    const args = {
      shape: { queries: 1, heads: 1, slots: 3, tokens: 3, dQk: 2, dV: 1 },
      q: [1, 2],
      kv: [3, 4, NaN, NaN, 5, 6],
      idx: [2, -1, 0],
      scale: 0.1,
    };
    const { out, lse, max } = sparseMla(args);
    const [z2, z0] = [1.7, 1.1];
    expect(max[0]).toBeCloseTo(z2, 12);
    expect(lse[0]).toBeCloseTo(Math.log(Math.exp(z2) + Math.exp(z0)), 12);
    expect(out[0]).toBeCloseTo((5 * Math.exp(z2) + 3 * Math.exp(z0)) / (Math.exp(z2) + Math.exp(z0)), 12);
    const withSink = sparseMla({ ...args, sink: [0.5] });
    expect(withSink.out[0]).toBeCloseTo((5 * Math.exp(z2) + 3 * Math.exp(z0)) / (Math.exp(z2) + Math.exp(z0) + Math.exp(0.5)), 12);
    expect(withSink.lse[0]).toBe(lse[0]);
  });

  test("is finite wherever a slot is filled, and 0, +inf, −inf where none is", () => {
    fc.assert(
      fc.property(problem, (args) => {
        const { out, lse, max } = sparseMla(args);
        const { heads, dV } = args.shape;
        lse.forEach((value, row) => {
          const outs = [...out.subarray(row * dV, (row + 1) * dV)];
          if (validSlots(args, Math.floor(row / heads)).length === 0) {
            expect([value, max[row]]).toEqual([Infinity, -Infinity]);
            expect(outs.every((x) => x === 0)).toBe(true);
          } else {
            expect([value, max[row]!, ...outs].every(Number.isFinite)).toBe(true);
            expect(value).toBeGreaterThanOrEqual(max[row]!);
          }
        });
      }),
      { numRuns: 300 },
    );
  });

  test("softmax laws: weights sum to 1, a shift of all logits moves lse only, scaling values scales out", () => {
    fc.assert(
      fc.property(problem, (given) => {
        // a constant value column reads the sum of the weights; a key column on which q is 1 and kv a constant shifts every logit
        const { queries, heads, tokens, dQk, slots } = given.shape;
        const args = { ...given, sink: undefined, shape: { queries, heads, tokens, slots, dQk: dQk + 2, dV: 1 } };
        const widen = (values: ArrayLike<number>, head: number, tail: number): Float64Array =>
          Float64Array.from({ length: (values.length / dQk) * (dQk + 2) }, (_, i) => {
            const column = i % (dQk + 2);
            const row = Math.floor(i / (dQk + 2));
            return column === 0 ? head : column <= dQk ? values[row * dQk + column - 1]! : tail;
          });
        const q = widen(given.q, 0, 1);
        const plain = sparseMla({ ...args, q, kv: widen(given.kv, 1, 0) });
        const shifted = sparseMla({ ...args, q, kv: widen(given.kv, 3, 5) });
        plain.lse.forEach((lse, row) => {
          if (lse === Infinity) return;
          expect(plain.out[row]).toBeCloseTo(1, 9);
          expect(shifted.out[row]).toBeCloseTo(3, 9);
          expect(shifted.lse[row]).toBeCloseTo(lse + 5 * args.scale, 8);
        });
      }),
    );
  });

  test("the order of the slots does not matter; a duplicate counts as ln 2 more logit", () => {
    fc.assert(
      fc.property(problem, fc.integer(), (args, seed) => {
        const whole = { ...args, length: undefined };
        const { queries, slots } = args.shape;
        const order = permutation(randomOf(seed), slots);
        const idx = Int32Array.from({ length: queries * slots }, (_, i) => args.idx[Math.floor(i / slots) * slots + order[i % slots]!]!);
        expectSame(sparseMla({ ...whole, idx }), sparseMla(whole));

        const twice = Int32Array.from(
          { length: queries * slots * 2 },
          (_, i) => args.idx[Math.floor(i / (2 * slots)) * slots + (i % slots)]!,
        );
        const once = sparseMla({ ...whole, sink: undefined });
        const doubled = sparseMla({ ...whole, sink: undefined, idx: twice, shape: { ...args.shape, slots: 2 * slots } });
        expectSame(doubled, { ...once, lse: once.lse.map((x) => x + Math.LN2) });
      }),
    );
  });

  test("splitting the slots and merging equals the whole, empty parts and sinks included", () => {
    fc.assert(
      fc.property(problem, fc.array(fc.nat(12), { maxLength: 3 }), fc.boolean(), (args, cuts, minusInfinity) => {
        const { slots, heads } = args.shape;
        const edges = [0, ...cuts.map((cut) => Math.min(cut, slots)).sort((a, b) => a - b), slots];
        const parts = edges.slice(1).map((to, i) => sparseMla(slotsOf(args, edges[i]!, to)));
        const marked = parts.map((part) => ({ ...part, lse: part.lse.map((x) => (x === Infinity && minusInfinity ? -Infinity : x)) }));
        expectSame(mergeSplits(marked, heads, args.sink ?? undefined), sparseMla(args));
      }),
      { numRuns: 300 },
    );
  });

  test("infinite sinks: −inf has no effect, +inf takes everything", () => {
    const args = mlaArgs(
      generateMla({
        seed: 3,
        kind: "normal",
        slotKind: "distinct",
        sink: "none",
        rowLengths: false,
        shape: { queries: 1, heads: 2, slots: 4, tokens: 9, dQk: 12, dV: 8 },
      }),
    );
    const plain = sparseMla(args);
    const sunk = sparseMla({ ...args, sink: [-Infinity, Infinity] });
    expect(sunk.out.slice(0, 8)).toEqual(plain.out.slice(0, 8));
    expect([...sunk.out.slice(8)].every((x) => x === 0)).toBe(true);
    expect(sunk.lse).toEqual(plain.lse);
  });

  test("a head and a query alone give what they give together", () => {
    fc.assert(
      fc.property(problem, (args) => {
        const { queries, heads, slots, dQk, dV } = args.shape;
        const whole = sparseMla(args);
        const [t, h] = [queries - 1, heads - 1];
        const row = t * heads + h;
        const alone = sparseMla({
          ...args,
          shape: { ...args.shape, queries: 1, heads: 1 },
          q: Array.from(args.q).slice(row * dQk, (row + 1) * dQk),
          idx: Array.from(args.idx).slice(t * slots, (t + 1) * slots),
          sink: args.sink && [args.sink[h]!],
          length: args.length && [args.length[t]!],
        });
        expect(alone.out).toEqual(whole.out.slice(row * dV, (row + 1) * dV));
        expect(alone.lse[0]).toBe(whole.lse[row]);
      }),
    );
  });

  test("shapes that do not fit are refused", () => {
    const shape = { queries: 1, heads: 1, slots: 1, tokens: 1, dQk: 2, dV: 3 };
    expect(() => sparseMla({ shape, q: [1, 2], kv: [1, 2], idx: [0], scale: 1 })).toThrow("dV is 3 and dQk 2");
    expect(() => sparseMla({ shape: { ...shape, dV: 2 }, q: [1, 2], kv: [1], idx: [0], scale: 1 })).toThrow(
      "kv has 1 elements, but [tokens 1, dQk 2] needs 2",
    );
    expect(() => mergeSplits([], 1)).toThrow("there is no part to merge");
  });
});

describe("dense attention", () => {
  const shape = { queries: 3, heads: 2, tokens: 11, dQk: 12, dV: 8 };
  const { q, kv, scale } = mlaArgs(
    generateMla({ seed: 5, kind: "normal", slotKind: "distinct", sink: "none", rowLengths: false, shape: { ...shape, slots: 1 } }),
  );
  const args = { shape, q, kv, scale, first: [0, 2, 4], last: [9, 10, 4] };

  test("is sparse attention over the top-k of any scores once k covers the window", () => {
    const idx = topK({
      shape: { queries: 3, tokens: 11, k: 11 },
      scores: new Float64Array(33).fill(NaN),
      first: args.first,
      last: args.last,
    });
    expectSame(denseMla(args), sparseMla({ shape: { ...shape, slots: 11 }, q, kv, scale, idx }));
  });

  test("mean probabilities of a row sum to 1, and a selection's share is exp(its lse − the whole lse)", () => {
    const whole = denseAsSparse(args);
    const mean = meanProbabilities(whole);
    const { lse } = sparseMla(whole);
    const part = sparseMla({ ...whole, shape: { ...shape, slots: 3 }, idx: [1, 5, 7, 2, 3, 9, -1, -1, -1] });
    for (let t = 0; t < 3; t++) {
      const row = mean.subarray(t * 11, (t + 1) * 11);
      expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(t === 2 ? 0 : 1, 12);
    }
    const share = [0, 1].reduce((sum, h) => sum + Math.exp(part.lse[h]! - lse[h]!) / 2, 0);
    expect(mean[1]! + mean[5]! + mean[7]!).toBeCloseTo(share, 12);
  });
});

test("decode over latent records is sparse MLA over their rows; unused and unnamed slots never leak", () => {
  const { rows } = generateRecords({ seed: 1, kind: "zeroTile", tokens: 70, layout: denseLatentLayout(128, 16) });
  const tokens = rows.length / 144;
  expect(tokens).toBe(128);
  const random = randomOf(2);
  const shape = { queries: 2, heads: 2, slots: 40, tokens, dQk: 144, dV: 128 };
  const idx = Int32Array.from({ length: 80 }, () => random.integer(-3, 69));
  const { out, lse } = sparseMla({ shape, q: Array.from({ length: 2 * 2 * 144 }, () => random.normal() / 4), kv: rows, idx, scale: 0.1 });
  expect([...out, ...lse].every(Number.isFinite)).toBe(true);
});

test("the softmax scale of DeepSeek-V3.2 is 0.1352338", () => {
  expect(softmaxScale(192)).toBeCloseTo(0.0721688, 7);
  expect(softmaxScale(192, { factor: 40, mscale: 1 })).toBeCloseTo(0.1352338, 7);
});
