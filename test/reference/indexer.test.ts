import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  generateIndexer,
  generatePagedIndexer,
  indexerArgs,
  indexerKinds,
  pagedIndexerArgs,
  windowKinds,
} from "../../reference/inputs/indexer.ts";
import { permutation, randomOf } from "../../reference/inputs/random.ts";
import { indexerLogits, pagedIndexerLogits, requestOf, type IndexerArgs } from "../../reference/indexer.ts";
import { indexerPageBytes } from "../../reference/quantise.ts";

const shape = fc.record({
  queries: fc.integer({ min: 1, max: 4 }),
  heads: fc.integer({ min: 1, max: 4 }),
  dim: fc.constantFrom(8, 16),
  tokens: fc.integer({ min: 1, max: 20 }),
});
const problem = fc
  .record({
    seed: fc.integer({ min: 0, max: 2 ** 30 }),
    kind: fc.constantFrom(...indexerKinds),
    windows: fc.constantFrom(...windowKinds),
    shape,
    operands: fc.constantFrom(
      { format: "e4m3", rule: "pow2" } as const,
      { format: "e4m3", rule: "divide" } as const,
      { format: "bf16" } as const,
    ),
    score: fc.constantFrom("relu" as const, "softplus" as const),
  })
  .map(generateIndexer);

const isVisible = ({ first, last, shape }: IndexerArgs, cell: number): boolean => {
  const t = Math.floor(cell / shape.tokens);
  const s = cell % shape.tokens;
  return s >= first[t]! && s < last[t]!;
};
const expectClose = (a: ArrayLike<number>, b: ArrayLike<number>, tolerance = 1e-12): void => {
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) {
    if (Number.isNaN(b[i]!)) expect(a[i]).toBeNaN();
    else expect(Math.abs(a[i]! - b[i]!)).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(b[i]!)));
  }
};

describe("contiguous logits", () => {
  test("one cell, by hand", () => {
    const base = {
      shape: { queries: 1, heads: 2, dim: 2, tokens: 1 },
      q: [1, 2, 3, -4],
      qScale: [0.5, 2],
      k: [5, 6],
      kScale: [0.25],
      w: [-1, 10],
      first: [0],
      last: [1],
    };
    // <q0,k> = 17, scaled 2.125; <q1,k> = -9, scaled -4.5
    expect(indexerLogits(base)[0]).toBe(-2.125);
    expect(indexerLogits({ ...base, score: (x) => x * x })[0]).toBe(-(2.125 ** 2) + 10 * 4.5 ** 2);
    expect(indexerLogits({ ...base, score: "softplus" })[0]).toBeCloseTo(
      -Math.log(1 + Math.exp(2.125)) + 10 * Math.log(1 + Math.exp(-4.5)),
      12,
    );
  });

  test("exactly the cells inside the windows have a value, and NaN elsewhere does not reach them", () => {
    fc.assert(
      fc.property(problem, (p) => {
        const args = indexerArgs(p);
        indexerLogits(args).forEach((logit, cell) => expect(Number.isNaN(logit)).toBe(!isVisible(args, cell)));
      }),
    );
  });

  test("permuting the tokens permutes the columns", () => {
    fc.assert(
      fc.property(problem, fc.integer(), (p, seed) => {
        const { tokens, dim, queries } = p.shape;
        const whole = { ...indexerArgs(p), first: new Int32Array(queries), last: new Int32Array(queries).fill(tokens) };
        const order = permutation(randomOf(seed), tokens);
        const k = new Float64Array(tokens * dim);
        order.forEach((from, to) => k.set(p.k.values.subarray(from * dim, (from + 1) * dim), to * dim));
        const permuted = indexerLogits({ ...whole, k, kScale: Float64Array.from(order, (from) => p.kScale[from]!) });
        const logits = indexerLogits(whole);
        const wanted = logits.map((_, cell) => logits[cell - (cell % tokens) + order[cell % tokens]!]!);
        expect(permuted).toEqual(wanted);
      }),
    );
  });

  test("a head with gate 0 changes nothing", () => {
    fc.assert(
      fc.property(problem, (p) => {
        const { queries, heads, dim } = p.shape;
        const pad = (values: ArrayLike<number>, width: number, value: number): Float64Array => {
          const row = width * heads;
          return Float64Array.from({ length: queries * (row + width) }, (_, i) => {
            const column = i % (row + width);
            return column < row ? values[Math.floor(i / (row + width)) * row + column]! : value;
          });
        };
        const args = indexerArgs(p);
        const padded = {
          ...args,
          shape: { ...p.shape, heads: heads + 1 },
          q: pad(args.q, dim, 1),
          qScale: pad(args.qScale, 1, 3),
          w: pad(args.w, 1, 0),
        };
        expectClose(indexerLogits(padded), indexerLogits(args), 0);
      }),
    );
  });

  test("ReLU lets scales through, softplus does not", () => {
    fc.assert(
      fc.property(problem, (p) => {
        const args = { ...indexerArgs(p), score: "relu" as const };
        const { heads, tokens } = p.shape;
        const folded = {
          ...args,
          qScale: Float64Array.from(args.qScale).fill(1),
          kScale: Float64Array.from(args.kScale).fill(1),
          w: Float64Array.from(args.w, (w, row) => w * args.qScale[row]!),
        };
        const hoisted = indexerLogits(folded).map((logit, cell) => logit * args.kScale[cell % tokens]!);
        expect(heads).toBeGreaterThan(0);
        expectClose(hoisted, indexerLogits(args), 1e-9);
      }),
    );
    const args = {
      shape: { queries: 1, heads: 1, dim: 1, tokens: 1 },
      q: [1],
      qScale: [2],
      k: [1],
      kScale: [1],
      w: [1],
      first: [0],
      last: [1],
      score: "softplus" as const,
    };
    expect(indexerLogits({ ...args, qScale: [1], w: [2] })[0]).not.toBeCloseTo(indexerLogits(args)[0]!, 3);
  });

  test("when all dots are negative every ReLU logit is 0", () => {
    const p = generateIndexer({
      seed: 1,
      kind: "allNegativeDots",
      windows: "causalTail",
      shape: { queries: 2, heads: 3, dim: 16, tokens: 9 },
      operands: { format: "e4m3", rule: "pow2" },
    });
    const args = indexerArgs(p);
    indexerLogits(args).forEach((logit, cell) => isVisible(args, cell) && expect(logit + 0).toBe(0));
  });

  test("softplus does not overflow", () => {
    const args = {
      shape: { queries: 1, heads: 1, dim: 1, tokens: 2 },
      q: [1e5],
      qScale: [1],
      k: [1, -1],
      kScale: [1, 1],
      w: [1],
      first: [0],
      last: [2],
    };
    expect([...indexerLogits({ ...args, score: "softplus" })]).toEqual([1e5, 0]);
  });
});

describe("paged logits", () => {
  const paged = fc
    .record({
      seed: fc.integer({ min: 0, max: 2 ** 30 }),
      kind: fc.constantFrom("normal", "zeroKey", "negativeWeights" as const),
      shape: fc.record({
        requests: fc.integer({ min: 1, max: 3 }),
        nextN: fc.integer({ min: 1, max: 4 }),
        heads: fc.integer({ min: 1, max: 3 }),
        dim: fc.constant(8),
        maxPages: fc.integer({ min: 1, max: 3 }),
      }),
      rule: fc.constantFrom("pow2", "divide" as const),
      pageStride: fc.constantFrom(indexerPageBytes(8), indexerPageBytes(8) + 100),
      missingPages: fc.boolean(),
      score: fc.constantFrom("relu" as const, "softplus" as const),
    })
    .map(generatePagedIndexer);

  test("equal the contiguous logits of the gathered keys, and every cell within a length has a value", () => {
    fc.assert(
      fc.property(paged, (p) => {
        const args = pagedIndexerArgs(p);
        const { requests, nextN, maxPages } = p.shape;
        const tokens = maxPages * 64;
        const logits = pagedIndexerLogits(args);
        for (let b = 0; b < requests; b++) {
          expect(logits.slice(b * nextN * tokens, (b + 1) * nextN * tokens)).toEqual(indexerLogits(requestOf(args, b)));
        }
        logits.forEach((logit, cell) => expect(Number.isNaN(logit)).toBe(cell % tokens >= p.lengths[Math.floor(cell / tokens)]!));
      }),
      { numRuns: 40 },
    );
  });

  test("each cell is the formula over the key in its page, and over a zero key where there is no page", () => {
    fc.assert(
      fc.property(paged, (p) => {
        const args = pagedIndexerArgs(p);
        const { nextN, heads, dim, maxPages } = p.shape;
        const logits = pagedIndexerLogits(args);
        const score = (x: number): number => (p.score === "relu" ? Math.max(x, 0) : Math.log(1 + Math.exp(x)));
        p.lengths.forEach((length, row) => {
          for (let s = 0; s < length; s++) {
            const page = p.blockTable[Math.floor(row / nextN) * maxPages + Math.floor(s / 64)]!;
            const slot = page * 64 + (s % 64);
            let wanted = 0;
            for (let h = 0; h < heads; h++) {
              let dot = 0;
              for (let d = 0; d < dim; d++)
                dot += page < 0 ? 0 : p.q.values[(row * heads + h) * dim + d]! * args.keys.values[slot * dim + d]!;
              wanted += p.w[row * heads + h]! * score(page < 0 ? 0 : dot * p.qScale[row * heads + h]! * args.keys.scales[slot]!);
            }
            expect(logits[row * maxPages * 64 + s]).toBeCloseTo(wanted, 9);
          }
        });
      }),
      { numRuns: 15 },
    );
  });

  test("draft rows taken one request each give what they give together", () => {
    fc.assert(
      fc.property(paged, (p) => {
        const args = pagedIndexerArgs(p);
        const { requests, nextN, maxPages } = p.shape;
        const blockTable = Int32Array.from({ length: requests * nextN * maxPages }, (_, i) => {
          const row = Math.floor(i / maxPages);
          return p.blockTable[Math.floor(row / nextN) * maxPages + (i % maxPages)]!;
        });
        const flat = { ...args, shape: { ...p.shape, requests: requests * nextN, nextN: 1 }, blockTable };
        expect(pagedIndexerLogits(flat)).toEqual(pagedIndexerLogits(args));
      }),
      { numRuns: 20 },
    );
  });

  test("no page id outside the cache reads anything", () => {
    const p = generatePagedIndexer({
      seed: 2,
      kind: "normal",
      shape: { requests: 1, nextN: 1, heads: 2, dim: 8, maxPages: 1 },
      rule: "pow2",
      missingPages: false,
    });
    const args = pagedIndexerArgs(p);
    const pageCount = args.keys.scales.length / 64;
    const keys = { values: new Float64Array(args.keys.values.length).fill(1), scales: new Float64Array(args.keys.scales.length).fill(1) };
    for (const page of [-1, -2, -(2 ** 31), pageCount, 2 ** 31 - 1]) {
      const logits = pagedIndexerLogits({ ...args, keys, lengths: [64], blockTable: [page], score: (x) => x + 1 });
      expect(logits).toEqual(new Float64Array(64).fill(p.w[0]! + p.w[1]!));
    }
  });

  test("a block table of another shape is refused", () => {
    const p = generatePagedIndexer({
      seed: 1,
      kind: "normal",
      shape: { requests: 2, nextN: 1, heads: 1, dim: 8, maxPages: 2 },
      rule: "pow2",
      missingPages: false,
    });
    expect(() => pagedIndexerLogits({ ...pagedIndexerArgs(p), blockTable: [0, 1, 2] })).toThrow(
      "blockTable has 3 elements, but [requests 2, maxPages 2] needs 4",
    );
  });
});
