import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  cudaAccuracy,
  dotError,
  f32Accumulator,
  hopperFp8Accumulator,
  sumError,
  tensorCoreAccumulator,
  wgslAccuracy,
  type Accumulator,
} from "../../reference/accuracy.ts";
import { logitsBudget, mlaBudget, pagedLogitsBudget, type AttentionTarget } from "../../reference/bounds.ts";
import { roundTo } from "../../reference/formats.ts";
import { indexerLogits, pagedIndexerLogits, requestOf, type IndexerArgs } from "../../reference/indexer.ts";
import {
  generateIndexer,
  generatePagedIndexer,
  indexerArgs,
  indexerKinds,
  pagedIndexerArgs,
  windowKinds,
} from "../../reference/inputs/indexer.ts";
import { generateMla, mlaArgs, mlaKinds, sinkKinds, slotKinds } from "../../reference/inputs/mla.ts";
import { randomOf } from "../../reference/inputs/random.ts";
import { sparseMla, type AttentionResult, type SparseMlaArgs } from "../../reference/sparse_mla.ts";
import { alignedSum, anyOrderSum, chainSum, simulateLogits, simulateMla, simulateSplitLogits } from "./simulated.ts";

const seed = fc.integer({ min: 0, max: 2 ** 30 });

/** The largest |actual − wanted| / budget; infinite where one side is special and the other is not. */
function worst(actual: ArrayLike<number>, wanted: ArrayLike<number>, budget: ArrayLike<number>): number {
  let ratio = 0;
  for (let i = 0; i < wanted.length; i++) {
    if (Object.is(actual[i], wanted[i]) || actual[i] === wanted[i]) continue;
    const own = Math.abs(actual[i]! - wanted[i]!) / budget[i]!;
    ratio = Number.isNaN(own) ? Infinity : Math.max(ratio, own);
  }
  return ratio;
}

describe("logits", () => {
  const spec = fc.record({
    seed,
    kind: fc.constantFrom(...indexerKinds),
    windows: fc.constantFrom(...windowKinds),
    shape: fc.record({
      queries: fc.constant(2),
      heads: fc.constantFrom(1, 3, 16),
      dim: fc.constantFrom(16, 64, 128),
      tokens: fc.integer({ min: 1, max: 6 }),
    }),
    operands: fc.constantFrom(
      { format: "e4m3", rule: "pow2" } as const,
      { format: "e4m3", rule: "multiply" } as const,
      { format: "bf16" } as const,
    ),
    score: fc.constantFrom("relu" as const, "softplus" as const),
  });
  const f32Target = { accumulator: f32Accumulator, output: "f32" } as const;

  test("any valid f32 evaluation is within budget: any order, chain, scales inside or folded", () => {
    fc.assert(
      fc.property(spec, fc.boolean(), fc.constantFrom(anyOrderSum, chainSum), (s, fold, sum) => {
        const args = indexerArgs(generateIndexer(s));
        const actual = simulateLogits(randomOf(s.seed), args, sum, fold && s.score === "relu");
        expect(worst(actual, indexerLogits(args), logitsBudget(args, f32Target))).toBeLessThanOrEqual(1);
      }),
      { numRuns: 150 },
    );
  });

  test("gates so small that their product with a scale is subnormal are within budget", () => {
    fc.assert(
      fc.property(spec, (s) => {
        const problem = generateIndexer({ ...s, kind: "normal", score: "relu" });
        const args = indexerArgs({ ...problem, w: problem.w.map((w) => w * 2 ** -130), kScale: problem.kScale.map((k) => k * 2 ** 90) });
        const actual = simulateLogits(randomOf(s.seed), args, chainSum, true);
        expect(worst(actual, indexerLogits(args), logitsBudget(args, f32Target))).toBeLessThanOrEqual(1);
      }),
      { numRuns: 50 },
    );
  });

  const narrow = alignedSum(hopperFp8Accumulator);

  test("narrow accumulators are within their own budget", () => {
    fc.assert(
      fc.property(spec, (s) => {
        const args = indexerArgs(generateIndexer({ ...s, operands: { format: "e4m3", rule: "pow2" } }));
        const actual = simulateLogits(randomOf(s.seed), args, narrow, false);
        expect(
          worst(actual, indexerLogits(args), logitsBudget(args, { ...f32Target, accumulator: hopperFp8Accumulator })),
        ).toBeLessThanOrEqual(1);
      }),
      { numRuns: 150 },
    );
  });

  test("narrow accumulators are outside f32's budget", () => {
    fc.assert(
      fc.property(seed, (s) => {
        const shape = { queries: 2, heads: 1, dim: 128, tokens: 30 };
        const args = indexerArgs(
          generateIndexer({ seed: s, kind: "normal", windows: "causalTail", shape, operands: { format: "e4m3", rule: "pow2" } }),
        );
        expect(worst(simulateLogits(randomOf(s), args, narrow, false), indexerLogits(args), logitsBudget(args, f32Target))).toBeGreaterThan(
          1,
        );
      }),
      { numRuns: 20 },
    );
  });

  describe("in two halves", () => {
    const e4m3 = spec.map((s) => ({ ...s, operands: { format: "e4m3", rule: "pow2" } as const, score: "relu" as const }));
    test.each<[string, Accumulator, typeof narrow]>([
      ["in any order", f32Accumulator, anyOrderSum],
      ["on narrow accumulators", hopperFp8Accumulator, narrow],
    ])("are within their own budget %s", (_, accumulator, sum) => {
      let largest = 0;
      fc.assert(
        fc.property(e4m3, (s) => {
          const args = indexerArgs(generateIndexer(s));
          const actual = simulateSplitLogits(randomOf(s.seed), args, sum);
          const ratio = worst(actual, indexerLogits(args), logitsBudget(args, { accumulator, output: "f32", split: true }));
          largest = Math.max(largest, ratio);
          expect(ratio).toBeLessThanOrEqual(1);
        }),
        { numRuns: 100 },
      );
      expect(largest).toBeGreaterThan(0.003);
    });
    test("are outside the budget of whole scores, where a product is exact but four pieces are not", () => {
      const tokens = 400;
      const args: IndexerArgs = {
        shape: { queries: tokens, heads: 1, dim: 1, tokens: 1 },
        q: Float64Array.from({ length: tokens }, (_, i) => 1 + (i % 8) / 8),
        k: Float64Array.of(1.5),
        qScale: new Float32Array(tokens).fill(1),
        kScale: Float32Array.of(1),
        w: Float32Array.from({ length: tokens }, (_, i) => Math.sin(i)),
        first: new Array<number>(tokens).fill(0),
        last: new Array<number>(tokens).fill(1),
        score: "relu",
      };
      const ratio = (split: boolean): number =>
        worst(simulateSplitLogits(randomOf(5), args, chainSum), indexerLogits(args), logitsBudget(args, { ...f32Target, split }));
      expect(ratio(false)).toBeGreaterThan(1);
      expect(ratio(true)).toBeLessThanOrEqual(1);
    });
    test.each([f32Accumulator, hopperFp8Accumulator])("a sum known by its magnitude alone errs by at least as much as a known one", (accumulator) => {
      const values = fc.array(fc.double({ min: -300, max: 300, noNaN: true }), { minLength: 1, maxLength: 130 });
      fc.assert(
        fc.property(values, (a) => {
          const ones = new Float64Array(a.length).fill(1);
          const magnitude = a.reduce((sum, x) => sum + Math.abs(x), 0);
          const known = dotError(Float64Array.from(a), 0, ones, 0, a.length, accumulator);
          expect(sumError(magnitude, a.length, accumulator) * (1 + 2 ** -40)).toBeGreaterThanOrEqual(known);
        }),
      );
    });
    test("a lost head shows", () => {
      const shape = { queries: 2, heads: 64, dim: 128, tokens: 30 };
      const operands = { format: "e4m3", rule: "pow2" } as const;
      const args = indexerArgs(generateIndexer({ seed: 6, kind: "normal", windows: "causalTail", shape, operands }));
      const lost = { ...args, w: Array.from(args.w, (w, i) => (i % 64 === 17 ? 0 : w)) };
      for (const accumulator of [f32Accumulator, hopperFp8Accumulator]) {
        const actual = simulateSplitLogits(randomOf(6), lost, chainSum);
        expect(worst(actual, indexerLogits(args), logitsBudget(args, { accumulator, output: "f32", split: true }))).toBeGreaterThan(1);
      }
    });
  });

  test("a bf16 output adds its half ulp", () => {
    const args = indexerArgs(
      generateIndexer({
        seed: 4,
        kind: "normal",
        windows: "causalTail",
        shape: { queries: 2, heads: 8, dim: 64, tokens: 40 },
        operands: { format: "bf16" },
      }),
    );
    const wanted = indexerLogits(args);
    const rounded = wanted.map((logit) => roundTo("bf16", logit));
    expect(worst(rounded, wanted, logitsBudget(args, { ...f32Target, output: "bf16" }))).toBeLessThanOrEqual(1);
    expect(worst(rounded, wanted, logitsBudget(args, f32Target))).toBeGreaterThan(1);
  });

  describe.each<[string, Accumulator]>([
    ["f32", f32Accumulator],
    ["fp8 tensor cores", hopperFp8Accumulator],
  ])("of %s, real size: a planted fault is outside the budget", (_, accumulator) => {
    const args = indexerArgs(
      generateIndexer({
        seed: 9,
        kind: "normal",
        windows: "causalTail",
        shape: { queries: 2, heads: 64, dim: 128, tokens: 12 },
        operands: { format: "e4m3", rule: "divide" },
      }),
    );
    const budget = logitsBudget(args, { accumulator, output: "f32" });
    const wanted = indexerLogits(args);
    const swap = (values: ArrayLike<number>, a: number, b: number, width: number): number[] => {
      const copy = Array.from(values);
      for (let i = 0; i < width; i++) [copy[a * width + i], copy[b * width + i]] = [copy[b * width + i]!, copy[a * width + i]!];
      return copy;
    };
    const faults: Record<string, Partial<IndexerArgs>> = {
      "the scale of one head is dropped": { qScale: Array.from(args.qScale, (x, i) => (i === 70 ? 1 : x)) },
      "the scale of one key is the neighbour's": { kScale: swap(args.kScale, 3, 4, 1) },
      "two gates are swapped": { w: swap(args.w, 5, 6, 1) },
      "two query heads are swapped": { q: swap(args.q, 0, 1, 128) },
      "two keys are swapped": { k: swap(args.k, 2, 3, 128) },
      "one head is lost": { w: Array.from(args.w, (x, i) => (i % 64 === 63 ? 0 : x)) },
      "there is no ReLU": { score: (x) => x },
      "a quarter of the channels is lost": { q: Array.from(args.q, (x, i) => (i % 128 >= 96 ? 0 : x)) },
      "a window ends one token early": { last: Array.from(args.last, (x) => x - 1) },
    };
    test.each(Object.keys(faults))("%s", (name) => {
      expect(worst(indexerLogits({ ...args, ...faults[name] }), wanted, budget)).toBeGreaterThan(1);
    });
  });

  test("paged budgets are those of each request's contiguous problem", () => {
    const p = generatePagedIndexer({
      seed: 5,
      kind: "normal",
      shape: { requests: 2, nextN: 2, heads: 2, dim: 16, maxPages: 2 },
      rule: "pow2",
      missingPages: true,
    });
    const args = pagedIndexerArgs(p);
    const budget = pagedLogitsBudget(args, f32Target);
    expect(budget.slice(256)).toEqual(logitsBudget(requestOf(args, 1), f32Target));
    pagedIndexerLogits(args).forEach((logit, cell) => expect(Number.isNaN(budget[cell])).toBe(Number.isNaN(logit)));
  });

  test("a score without a known accuracy is refused", () => {
    const args = {
      shape: { queries: 1, heads: 1, dim: 1, tokens: 1 },
      q: [1],
      qScale: [1],
      k: [1],
      kScale: [1],
      w: [1],
      first: [0],
      last: [1],
      score: Math.tanh,
    };
    expect(() => logitsBudget(args, f32Target)).toThrow("Pass scoreAccuracy");
    expect(logitsBudget(args, { ...f32Target, scoreAccuracy: { lipschitz: 1, absolute: 0, relative: 2 ** -22 } })[0]).toBeLessThan(1e-6);
  });
});

describe("sparse MLA", () => {
  const target: AttentionTarget = {
    accumulator: f32Accumulator,
    scalars: wgslAccuracy,
    probability: "bf16",
    output: "bf16",
    block: 4,
    splits: 1,
  };
  const spec = fc.record({
    seed,
    kind: fc.constantFrom(...mlaKinds),
    slotKind: fc.constantFrom(...slotKinds),
    sink: fc.constantFrom(...sinkKinds),
    rowLengths: fc.boolean(),
    shape: fc.record({
      queries: fc.constant(2),
      heads: fc.constant(2),
      slots: fc.integer({ min: 1, max: 24 }),
      tokens: fc.integer({ min: 1, max: 40 }),
      dQk: fc.constantFrom(16, 72),
      dV: fc.constant(8),
    }),
  });
  const worstOf = (actual: AttentionResult, wanted: AttentionResult, budget: AttentionResult): number =>
    Math.max(...(["out", "lse", "max"] as const).map((field) => worst(actual[field], wanted[field], budget[field])));

  test("any valid f32 evaluation is within budget: blocks, splits, rounded P, sinks, empty rows", () => {
    const targets = fc.record({
      scalars: fc.constantFrom(wgslAccuracy, cudaAccuracy),
      probability: fc.constantFrom("bf16", "f32", "f16" as const),
      output: fc.constantFrom("bf16", "f32" as const),
      block: fc.constantFrom(1, 4, 64),
      splits: fc.constantFrom(1, 3),
    });
    fc.assert(
      fc.property(spec, targets, fc.constantFrom(anyOrderSum, chainSum), (s, t, sum) => {
        const args = mlaArgs(generateMla(s));
        const full = { ...t, accumulator: f32Accumulator };
        expect(worstOf(simulateMla(randomOf(s.seed), args, full, sum), sparseMla(args), mlaBudget(args, full))).toBeLessThanOrEqual(1);
      }),
      { numRuns: 1500 },
    );
  });

  test("a sink that takes nearly everything leaves a budget that f32 keeps", () => {
    const shape = { queries: 1, heads: 1, slots: 1, tokens: 1, dQk: 1, dV: 1 };
    for (const distance of [20, 70, 88, 95, 120]) {
      const args = { shape, q: [1], kv: [-distance], idx: [0], scale: 1, sink: [0] };
      const full = { ...target, probability: "f32", output: "f32" } as const;
      expect(worstOf(simulateMla(randomOf(distance), args, full, chainSum), sparseMla(args), mlaBudget(args, full))).toBeLessThanOrEqual(1);
    }
  });

  test("budgets are finite wherever something is selected, and 0 in empty rows", () => {
    fc.assert(
      fc.property(spec, (s) => {
        const args = mlaArgs(generateMla(s));
        const { lse } = sparseMla(args);
        const budget = mlaBudget(args, target);
        for (const b of budget.out) expect(Number.isFinite(b)).toBe(true);
        lse.forEach((value, row) => value === Infinity && expect(budget.lse[row]).toBe(0));
      }),
    );
  });

  describe("of 64 slots and 576 columns: a planted fault is outside the budget", () => {
    const shape = { queries: 1, heads: 4, slots: 64, tokens: 200, dQk: 576, dV: 512 };
    const args = mlaArgs(generateMla({ seed: 8, kind: "normal", slotKind: "distinct", sink: "normal", rowLengths: false, shape }));
    const budget = mlaBudget(args, { ...target, accumulator: tensorCoreAccumulator, scalars: cudaAccuracy, block: 64 });
    const wanted = sparseMla(args);
    const faults: Record<string, Partial<SparseMlaArgs>> = {
      "one token is missing": { idx: Array.from(args.idx, (s, j) => (j === 17 ? -1 : s)) },
      "one token is counted twice": { idx: Array.from(args.idx, (s, j) => (j === 17 ? args.idx[18]! : s)) },
      "an empty slot reads token 0": { idx: Array.from(args.idx, (s, j) => (j === 63 ? 0 : s)) },
      "the RoPE columns are left out": { q: Array.from(args.q, (x, i) => (i % 576 >= 512 ? 0 : x)) },
      "two heads are swapped": {
        q: [...Array.from(args.q).slice(576, 1152), ...Array.from(args.q).slice(0, 576), ...Array.from(args.q).slice(1152)],
      },
      "the scale derives from 576": { scale: 576 ** -0.5 },
      "the sink is dropped": { sink: undefined },
      "the sink is another head's": { sink: Array.from({ length: 4 }, (_, h) => args.sink![(h + 1) % 4]!) },
      "the length is one short": { length: [63] },
    };
    test.each(Object.keys(faults))("%s", (name) => {
      expect(worstOf(sparseMla({ ...args, ...faults[name] }), wanted, budget)).toBeGreaterThan(1);
    });
    test("lse is in base 2", () => {
      expect(
        worst(
          wanted.lse.map((x) => x * Math.LOG2E),
          wanted.lse,
          budget.lse,
        ),
      ).toBeGreaterThan(1);
    });
    test("lse includes the sink", () => {
      expect(
        worst(
          wanted.lse.map((x, h) => Math.log(Math.exp(x) + Math.exp(args.sink![h]!))),
          wanted.lse,
          budget.lse,
        ),
      ).toBeGreaterThan(1);
    });
    test("out is off by one part in 32", () => {
      expect(
        worst(
          wanted.out.map((x) => x * (1 + 2 ** -5)),
          wanted.out,
          budget.out,
        ),
      ).toBeGreaterThan(1);
    });
  });

  test("with equal weights, lse notices one missing slot among 2048", () => {
    const shape = { queries: 1, heads: 1, slots: 2048, tokens: 2048, dQk: 576, dV: 1 };
    const args = mlaArgs(generateMla({ seed: 8, kind: "uniform", slotKind: "distinct", sink: "none", rowLengths: false, shape }));
    const { lse } = mlaBudget(args, { ...target, accumulator: tensorCoreAccumulator, block: 64, splits: 4 });
    expect(worst(sparseMla({ ...args, length: [2047] }).lse, sparseMla(args).lse, lse)).toBeGreaterThan(1);
  });
});
