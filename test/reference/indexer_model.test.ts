import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  applyRope,
  causalIndexerScores,
  hadamard,
  hadamardMatrix,
  indexerOperands,
  layerNorm,
  linear,
  ropeFrequencies,
  type IndexerModel,
  type Rope,
} from "../../reference/indexer_model.ts";
import { drawArray, randomOf } from "../../reference/inputs/random.ts";
import { roundTo } from "../../reference/formats.ts";
import { topK } from "../../reference/topk.ts";

const seed = fc.integer({ min: 0, max: 2 ** 30 });
const vector = (s: number, length: number): Float64Array => {
  const random = randomOf(s);
  return drawArray(length, () => random.normal());
};
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);
const yarnV32 = { factor: 40, originalLength: 4096, betaFast: 32, betaSlow: 1 };

describe("RoPE", () => {
  const rope = fc.record({
    pairing: fc.constantFrom("interleaved", "halfSplit" as const),
    position: fc.constantFrom("first", "last" as const),
  });
  const frequencies = ropeFrequencies(8, 10000);

  test("keeps norms, and scores depend on the distance only", () => {
    fc.assert(
      fc.property(rope, seed, fc.nat(5000), fc.nat(5000), fc.nat(5000), (layout, s, a, b, shift) => {
        const [q, k] = [vector(s, 12), vector(s + 1, 12)];
        const turn = (x: Float64Array, position: number): Float64Array => applyRope(x, 12, [position], { ...layout, frequencies });
        expect(dot(turn(q, a), turn(q, a))).toBeCloseTo(dot(q, q), 9);
        expect(dot(turn(q, a), turn(k, b))).toBeCloseTo(dot(turn(q, a + shift), turn(k, b + shift)), 8);
      }),
    );
  });

  test("the four layouts turn the channels that they name", () => {
    const turned = (pairing: Rope["pairing"], position: Rope["position"]): number[] => {
      const quarterTurns = { pairing, position, frequencies: [Math.PI / 2, 0] };
      return [...applyRope(Float64Array.of(1, 2, 3, 4, 5, 6), 6, [1], quarterTurns)].map((x) => Math.round(1e9 * x) / 1e9);
    };
    expect(turned("interleaved", "first")).toEqual([-2, 1, 3, 4, 5, 6]);
    expect(turned("halfSplit", "first")).toEqual([-3, 2, 1, 4, 5, 6]);
    expect(turned("interleaved", "last")).toEqual([1, 2, -4, 3, 5, 6]);
    expect(turned("halfSplit", "last")).toEqual([1, 2, -5, 4, 3, 6]);
  });

  test("halfSplit is interleaved on reordered channels", () => {
    const x = vector(4, 8);
    const toHalves = (values: Float64Array): Float64Array =>
      Float64Array.from({ length: 8 }, (_, i) => values[i < 4 ? 2 * i : 2 * (i - 4) + 1]!);
    const interleaved = applyRope(x, 8, [17], { pairing: "interleaved", position: "first", frequencies });
    const halfSplit = applyRope(toHalves(x), 8, [17], { pairing: "halfSplit", position: "first", frequencies });
    expect(halfSplit).toEqual(toHalves(interleaved));
  });

  test("YaRN of DeepSeek-V3.2 keeps the fast pairs, divides the slow ones by 40, and blends between", () => {
    const plain = ropeFrequencies(64, 10000);
    const scaled = ropeFrequencies(64, 10000, yarnV32);
    // n(32) = 10.47, n(1) = 22.51
    for (let i = 0; i <= 10; i++) expect(scaled[i]).toBe(plain[i]);
    for (let i = 23; i < 32; i++) expect(scaled[i]).toBeCloseTo(plain[i]! / 40, 15);
    expect(scaled[16]).toBeCloseTo((plain[16]! / 40) * (6 / 13) + plain[16]! * (7 / 13), 15);
  });

  test("more pairs than channels are refused", () => {
    expect(() => applyRope(new Float64Array(4), 4, [0], { pairing: "halfSplit", position: "first", frequencies: [1, 1, 1] })).toThrow(
      "3 pairs need 6 channels",
    );
  });
});

describe("Hadamard", () => {
  test.each([1, 2, 8, 128])("of %i channels is symmetric and orthonormal", (dim) => {
    const matrix = hadamardMatrix(dim);
    const square = linear(matrix, matrix, dim);
    for (let i = 0; i < dim; i++) {
      for (let j = 0; j < dim; j++) {
        expect(matrix[i * dim + j]).toBe(matrix[j * dim + i]);
        expect(square[i * dim + j]).toBeCloseTo(i === j ? 1 : 0, 12);
      }
    }
  });

  test("is Sylvester's doubling", () => {
    const [small, large] = [hadamardMatrix(4), hadamardMatrix(8)];
    const entry = (i: number, j: number): number => small[(i % 4) * 4 + (j % 4)]! * (i >= 4 && j >= 4 ? -1 : 1) * Math.SQRT1_2;
    for (let i = 0; i < 8; i++) for (let j = 0; j < 8; j++) expect(large[i * 8 + j]).toBeCloseTo(entry(i, j), 15);
  });

  test("keeps inner products and spreads one outlier over all channels", () => {
    const [q, k] = [vector(1, 128), vector(2, 128)];
    expect(dot(hadamard(q, 128), hadamard(k, 128))).toBeCloseTo(dot(q, k), 10);
    const outlier = new Float64Array(128);
    outlier[5] = 100;
    for (const x of hadamard(outlier, 128)) expect(Math.abs(x)).toBeCloseTo(100 / Math.sqrt(128), 10);
  });

  test("other sizes are refused", () => {
    expect(() => hadamardMatrix(96)).toThrow("Sylvester matrices exist for powers of two");
  });
});

test("LayerNorm centres, scales, then applies weight and bias", () => {
  const x = vector(9, 64);
  const plain = layerNorm(x, new Float64Array(64).fill(1), new Float64Array(64), 0);
  expect(dot(plain, new Float64Array(64).fill(1))).toBeCloseTo(0, 10);
  expect(dot(plain, plain)).toBeCloseTo(64, 9);
  const shifted = layerNorm(
    x.map((value) => 3 * value + 7),
    new Float64Array(64).fill(2),
    new Float64Array(64).fill(5),
    0,
  );
  shifted.forEach((value, i) => expect(value).toBeCloseTo(2 * plain[i]! + 5, 9));
  expect([...layerNorm(new Float64Array(2), [1, 1], [4, 5], 1e-6)]).toEqual([4, 5]);
});

describe("the whole indexer", () => {
  const [tokens, hidden, qRank, heads, dim] = [24, 20, 12, 4, 32];
  const weights = {
    q: vector(1, heads * dim * qRank),
    k: vector(2, dim * hidden),
    kNormWeight: vector(3, dim).map((x) => 1 + x / 10),
    kNormBias: vector(4, dim).map((x) => x / 10),
    w: vector(5, heads * hidden),
  };
  const x = vector(6, tokens * hidden);
  const qr = vector(7, tokens * qRank);
  const positions = Int32Array.from({ length: tokens }, (_, t) => t);
  const exact: IndexerModel = {
    heads,
    dim,
    rope: { pairing: "halfSplit", position: "first", frequencies: ropeFrequencies(16, 10000, yarnV32) },
    hadamard: true,
    normEps: 1e-6,
    quantise: "none",
    rounding: "none",
  };
  const scores = (model: IndexerModel): Float64Array => causalIndexerScores(model, indexerOperands(model, weights, x, qr, positions));

  test("without rounding, Hadamard changes no score", () => {
    const [on, off] = [scores(exact), scores({ ...exact, hadamard: false })];
    on.forEach((score, cell) => (Number.isNaN(score) ? expect(off[cell]).toBeNaN() : expect(score).toBeCloseTo(off[cell]!, 9)));
  });

  test("only distances matter: shifting all positions changes no score", () => {
    const shifted = causalIndexerScores(
      exact,
      indexerOperands(
        exact,
        weights,
        x,
        qr,
        positions.map((p) => p + 1000),
      ),
    );
    const plain = scores(exact);
    shifted.forEach((score, cell) => cell % tokens <= Math.floor(cell / tokens) && expect(score).toBeCloseTo(plain[cell]!, 8));
  });

  test("a wrong pairing or position changes the scores", () => {
    const right = scores(exact);
    for (const wrong of [{ pairing: "interleaved" }, { position: "last" }] as const) {
      const other = scores({ ...exact, rope: { ...exact.rope, ...wrong } });
      expect(other.some((score, cell) => Math.abs(score - right[cell]!) > 0.05)).toBe(true);
    }
  });

  test("as served (bf16, e4m3) it stays near the exact scores and picks mostly the same tokens", () => {
    const right = scores(exact);
    const served = scores({ ...exact, quantise: "pow2", rounding: "bf16" });
    const last = Int32Array.from({ length: tokens }, (_, t) => t + 1);
    const select = (row: Float64Array): Int32Array =>
      topK({ shape: { queries: tokens, tokens, k: 8 }, scores: row, first: new Int32Array(tokens), last });
    const [a, b] = [select(right), select(served)];
    let shared = 0;
    let selected = 0;
    for (let t = 0; t < tokens; t++) {
      const other = new Set(b.slice(t * 8, (t + 1) * 8));
      for (const token of a.slice(t * 8, (t + 1) * 8)) {
        if (token < 0) continue;
        selected++;
        if (other.has(token)) shared++;
      }
    }
    expect(shared / selected).toBeGreaterThan(0.9);
    expect(served.some((score, cell) => score !== right[cell])).toBe(true);
  });

  test("q and k come out as e4m3 numbers, with one scale a head vector", () => {
    const operands = indexerOperands({ ...exact, quantise: "divide", rounding: "bf16" }, weights, x, qr, positions);
    expect(operands.qScale.length).toBe(tokens * heads);
    expect(operands.kScale.length).toBe(tokens);
    for (const value of [...operands.q, ...operands.k]) expect(roundTo("e4m3", value)).toBe(value);
    expect(Math.max(...operands.k.map(Math.abs))).toBe(448);
  });
});
