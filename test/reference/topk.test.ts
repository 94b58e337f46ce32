import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomOf } from "../../reference/inputs/random.ts";
import { generateScores, scoreKinds } from "../../reference/inputs/scores.ts";
import { generateWindows, windowKinds } from "../../reference/inputs/indexer.ts";
import { topK } from "../../reference/topk.ts";

/** The order of the contract as a comparison, and a stable sort by it. */
function selectBySorting(scores: ArrayLike<number>, first: number, last: number, k: number): number[] {
  const tokens = Array.from({ length: Math.max(last - first, 0) }, (_, i) => first + i);
  const nanRank = (x: number): number => (Number.isNaN(x) ? 1 : 0);
  const best = tokens.sort((a, b) => {
    const [x, y] = [scores[a]!, scores[b]!];
    if (nanRank(x) !== nanRank(y)) return nanRank(x) - nanRank(y);
    return x > y ? -1 : x < y ? 1 : a - b;
  });
  const taken = best.slice(0, k).sort((a, b) => a - b);
  return [...taken, ...new Array<number>(k - taken.length).fill(-1)];
}

const spec = fc.record({
  seed: fc.integer({ min: 0, max: 2 ** 30 }),
  kind: fc.constantFrom(...scoreKinds),
  windows: fc.constantFrom(...windowKinds),
  queries: fc.integer({ min: 1, max: 4 }),
  tokens: fc.integer({ min: 1, max: 80 }),
  k: fc.integer({ min: 1, max: 40 }),
});

describe("top-k", () => {
  test("selects what a stable sort by the contract's order selects", () => {
    fc.assert(
      fc.property(spec, ({ seed, kind, windows: windowKind, queries, tokens, k }) => {
        const scores = generateScores({ seed, kind, queries, tokens, k });
        const windows = generateWindows({ seed, kind: windowKind, queries, tokens });
        const indices = topK({ shape: { queries, tokens, k }, scores, ...windows });
        for (let t = 0; t < queries; t++) {
          const row = scores.subarray(t * tokens, (t + 1) * tokens);
          expect([...indices.subarray(t * k, (t + 1) * k)]).toEqual(selectBySorting(row, windows.first[t]!, windows.last[t]!, k));
        }
      }),
      { numRuns: 500 },
    );
  });

  test("ranks NaN below −infinity and takes −0 and +0 by index", () => {
    const select = (scores: number[], k: number): number[] => [
      ...topK({ shape: { queries: 1, tokens: scores.length, k }, scores, first: [0], last: [scores.length] }),
    ];
    expect(select([NaN, -Infinity, NaN, 1], 2)).toEqual([1, 3]);
    expect(select([NaN, NaN, NaN], 2)).toEqual([0, 1]);
    expect(select([NaN, -Infinity, NaN], 2)).toEqual([0, 1]);
    expect(select([-0, 0, -0], 2)).toEqual([0, 1]);
    expect(select([0, 0, 0, 5, 0], 3)).toEqual([0, 1, 3]);
  });

  test("a window of at most k tokens is the identity, whatever its scores are", () => {
    const indices = topK({
      shape: { queries: 3, tokens: 6, k: 4 },
      scores: new Float64Array(18).fill(NaN),
      first: [2, 0, 5],
      last: [6, 3, 5],
    });
    expect([...indices]).toEqual([2, 3, 4, 5, 0, 1, 2, -1, -1, -1, -1, -1]);
  });

  test("indices count from the window's first token when asked to", () => {
    const scores = [9, 9, 1, 5, 3, 4];
    const base = { shape: { queries: 1, tokens: 6, k: 2 }, scores, first: [2], last: [6] };
    expect([...topK(base)]).toEqual([3, 5]);
    expect([...topK({ ...base, indexBase: "window" })]).toEqual([1, 3]);
    expect([...topK({ ...base, first: [4], indexBase: "window" })]).toEqual([0, 1]);
  });

  test("a row alone selects what it selects in a batch", () => {
    const [queries, tokens, k] = [5, 60, 7];
    const scores = generateScores({ seed: 11, kind: "twoValued", queries, tokens, k });
    const all = topK({ shape: { queries, tokens, k }, scores, first: new Int32Array(queries), last: new Int32Array(queries).fill(tokens) });
    for (let t = 0; t < queries; t++) {
      const alone = topK({
        shape: { queries: 1, tokens, k },
        scores: scores.subarray(t * tokens, (t + 1) * tokens),
        first: [0],
        last: [tokens],
      });
      expect(alone).toEqual(all.slice(t * k, (t + 1) * k));
    }
  });

  test("permuting tokens without ties permutes the selection; scaling by a power of two keeps it", () => {
    const random = randomOf(2);
    const scores = Array.from({ length: 50 }, (_, i) => i + random.uniform() / 2);
    const select = (row: number[]): Set<number> =>
      new Set(topK({ shape: { queries: 1, tokens: 50, k: 9 }, scores: row, first: [0], last: [50] }));
    const reversed = select(scores.toReversed());
    expect(select(scores)).toEqual(new Set([...reversed].map((i) => 49 - i)));
    expect(select(scores.map((x) => 8 * x))).toEqual(select(scores));
  });

  test("a score array of another shape is refused", () => {
    expect(() => topK({ shape: { queries: 2, tokens: 3, k: 1 }, scores: [1, 2], first: [0, 0], last: [3, 3] })).toThrow(
      "topK: scores has 2 elements, but [queries 2, tokens 3] needs 6",
    );
  });
});
