import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeArray } from "../../reference/formats.ts";
import { generateIndexer, generatePagedIndexer, generateWindows, indexerKinds, windowKinds } from "../../reference/inputs/indexer.ts";
import { generateMla, generateRecords, generateSlots, recordKinds, slotKinds } from "../../reference/inputs/mla.ts";
import { randomOf } from "../../reference/inputs/random.ts";
import { generateScores, scoreKinds } from "../../reference/inputs/scores.ts";
import { denseLatentLayout } from "../../reference/quantise.ts";
import { indexerLogits } from "../../reference/indexer.ts";
import { indexerArgs } from "../../reference/inputs/indexer.ts";

const count = <T>(values: Iterable<T>, keep: (value: T) => boolean): number => [...values].filter(keep).length;

test("the same seed gives the same numbers everywhere, another seed others", () => {
  const random = randomOf(42);
  expect([random.uniform(), random.uniform()]).toEqual([0.9705673231091424, 0.8457159529613436]);
  for (const kind of scoreKinds) {
    const spec = { kind, queries: 2, tokens: 50, k: 10 };
    expect(generateScores({ ...spec, seed: 1 })).toEqual(generateScores({ ...spec, seed: 1 }));
  }
  expect(generateScores({ seed: 1, kind: "normal", queries: 1, tokens: 9, k: 1 })).not.toEqual(
    generateScores({ seed: 2, kind: "normal", queries: 1, tokens: 9, k: 1 }),
  );
});

test("normal numbers have mean 0 and variance 1", () => {
  const random = randomOf(1);
  const values = Array.from({ length: 20000 }, () => random.normal());
  expect(values.reduce((a, b) => a + b) / 20000).toBeCloseTo(0, 1);
  expect(values.reduce((a, b) => a + b * b) / 20000).toBeCloseTo(1, 1);
});

describe("score rows are what their kind says", () => {
  const [tokens, k] = [400, 100];
  const row = (kind: (typeof scoreKinds)[number]): Float32Array => generateScores({ seed: 3, kind, queries: 1, tokens, k });
  const positive = (values: Float32Array): number => count(values, (x) => x > 0);
  const distinct = (values: Float32Array): number => new Set(values).size;
  const f16Bins = (values: Float32Array): number => new Set([...values].map((x) => Math.round(x * 2 ** 10))).size; // f16 steps within [1, 2)

  test("plateaus have fewer, exactly, and more than k positive scores", () => {
    expect(positive(row("reluPlateauBelow"))).toBeLessThan(k);
    expect(positive(row("reluPlateauEqual"))).toBe(k);
    expect(positive(row("reluPlateauAbove"))).toBeGreaterThan(k);
    for (const kind of ["reluPlateauBelow", "reluPlateauEqual", "reluPlateauAbove"] as const)
      expect(count(row(kind), (x) => x === 0)).toBeGreaterThan(0);
  });

  test("the rest", () => {
    expect(distinct(row("constant"))).toBe(1);
    expect(distinct(row("twoValued"))).toBe(2);
    expect([...row("ascending")]).toEqual([...row("ascending")].sort((a, b) => a - b));
    expect([...row("descending")]).toEqual([...row("ascending")].toReversed().map((x) => x + 1 / 8));
    expect([f16Bins(row("oneFp16Bin")), distinct(row("oneFp16Bin")) > 100]).toEqual([1, true]);
    expect(Math.max(...row("subnormal").map(Math.abs))).toBeLessThan(2 ** -126);
    expect(count(row("signedZeros"), (x) => Object.is(x, -0))).toBeGreaterThan(100);
    expect(count(row("signedZeros"), (x) => Object.is(x, 0))).toBeGreaterThan(100);
    for (const infinity of [Infinity, -Infinity]) expect(count(row("withInf"), (x) => x === infinity)).toBeGreaterThan(10);
    for (const value of [-Infinity, -Math.fround(3.4028234663852886e38)]) expect(count(row("lowest"), (x) => x === value)).toBeGreaterThan(k);
    expect(new Set([...new Uint32Array(row("withNan").buffer)].filter((_, i) => Number.isNaN(row("withNan")[i]!)))).toEqual(
      new Set([0x7fc00000, 0xffc00000]),
    );
    expect(Math.min(...row("beyond65504").map(Math.abs))).toBeGreaterThanOrEqual(65504);
    expect(count(row("mostlyZero"), (x) => x === 0)).toBeGreaterThan(0.95 * tokens);
    expect(positive(row("mostlyZero"))).toBeGreaterThan(0);
    for (const zero of [0, -0]) expect(count(row("halfZeros"), (x) => Object.is(x, zero))).toBeGreaterThan(tokens / 8);
    expect(count(row("halfZeros"), (x) => x !== 0)).toBeGreaterThan(tokens / 4);
    expect(Math.max(...row("huge"))).toBeGreaterThan(1e37);
    expect(row("huge").every(Number.isFinite)).toBe(true);
    expect(count(row("oneOutlier"), (x) => x > 1)).toBe(1);
    expect(distinct(row("lastBit"))).toBe(4);
    expect([...row("quantised")].every((x) => x >= 0 && Number.isInteger(32 * x))).toBe(true);
    const steps = row("runs").map((x, i, all) => Math.abs(x - (all[i - 1] ?? x)));
    expect(count(steps, (step) => step > 0.1)).toBeLessThan(tokens / 64);
    expect(Math.max(...steps)).toBeGreaterThan(0.1);
    expect(count(row("hotSpan"), (x) => x >= 0)).toBe(2 * k);
    expect(count(row("hotSpan"), (x) => x === -Infinity)).toBe(tokens - 2 * k);
    for (const value of [NaN, Infinity, -Infinity, 0, -0]) expect(count(row("mixed"), (x) => Object.is(x, value))).toBeGreaterThan(20);
    expect(count(row("allNan"), Number.isNaN)).toBe(tokens);
  });
});

test("windows lie within the tokens and do what their kind says", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.constantFrom(...windowKinds),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 0, max: 40 }),
      (seed, kind, queries, tokens) => {
        const { first, last } = generateWindows({ seed, kind, queries, tokens });
        for (let t = 0; t < queries; t++) {
          expect(first[t]).toBeGreaterThanOrEqual(0);
          expect(last[t]).toBeLessThanOrEqual(tokens);
          expect(last[t]).toBeGreaterThanOrEqual(first[t]!);
          if (kind === "emptyRows" && t % 2 === 0) expect(first[t]).toBe(last[t]);
          if (kind === "causalTail" && tokens >= queries) expect([first[t], last[t]]).toEqual([0, tokens - queries + t + 1]);
        }
      },
    ),
  );
});

describe("indexer cases", () => {
  const shape = { queries: 3, heads: 4, dim: 32, tokens: 40 };
  const of = (kind: (typeof indexerKinds)[number], format: "e4m3" | "bf16" = "e4m3") =>
    generateIndexer({ seed: 6, kind, windows: "causalTail", shape, operands: format === "e4m3" ? { format, rule: "divide" } : { format } });

  test("values are what the bytes store", () => {
    for (const kind of indexerKinds) {
      for (const format of ["e4m3", "bf16"] as const) {
        const { q, k } = of(kind, format);
        expect([q.format, k.format]).toEqual([format, format]);
        expect(decodeArray(format, q.bytes)).toEqual(q.values);
        expect(decodeArray(format, k.bytes)).toEqual(k.values);
      }
    }
  });

  test("kinds do what they say", () => {
    const visible = (logits: Float64Array): number[] => [...logits].filter((x) => !Number.isNaN(x));
    expect(visible(indexerLogits(indexerArgs(of("allNegativeDots")))).every((x) => x === 0)).toBe(true);
    expect(visible(indexerLogits(indexerArgs(of("negativeWeights")))).every((x) => x <= 0)).toBe(true);
    const { qScale } = of("dominantHead");
    for (let t = 0; t < 3; t++) for (let h = 1; h < 4; h++) expect(qScale[4 * t]! / qScale[4 * t + h]!).toBeGreaterThan(1);
    expect([...of("zeroKey").k.values.subarray(0, 32)].every((x) => x === 0)).toBe(true);
    const poisoned = of("nanOutsideWindows");
    expect(Number.isNaN(poisoned.kScale[39]!) && Number.isNaN(poisoned.k.values[39 * 32]!)).toBe(true);
    expect(poisoned.k.bytes[39 * 32]).toBe(0x7f);
    expect(visible(indexerLogits(indexerArgs(poisoned))).length).toBe(poisoned.last.reduce((a, b) => a + b));
  });
});

test("paged cases: draft rows grow by one token, pages belong to one request, −1 marks the rest", () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 4 }), fc.boolean(), (seed, nextN, missingPages) => {
      const p = generatePagedIndexer({
        seed,
        kind: "normal",
        shape: { requests: 3, nextN, heads: 1, dim: 8, maxPages: 3 },
        rule: "pow2",
        missingPages,
      });
      const pages = [...p.blockTable].filter((page) => page >= 0);
      expect(new Set(pages).size).toBe(pages.length);
      for (let b = 0; b < 3; b++) {
        const lengths = [...p.lengths.subarray(b * nextN, (b + 1) * nextN)];
        const longest = lengths[nextN - 1]!;
        expect(lengths).toEqual(lengths.map((_, j) => Math.max(longest - nextN + j + 1, 0)));
        const owned = count(p.blockTable.subarray(3 * b, 3 * b + 3), (page) => page >= 0);
        const needed = Math.ceil(longest / 64);
        if (!missingPages) expect(owned).toBe(needed);
        else expect(needed - owned).toBeLessThanOrEqual(1);
      }
    }),
  );
});

test("slot lists do what their kind says", () => {
  const [queries, slots, tokens] = [4, 40, 100];
  const row = (kind: (typeof slotKinds)[number], t = 0): number[] => [
    ...generateSlots({ seed: 2, kind, queries, slots, tokens }).subarray(t * slots, (t + 1) * slots),
  ];
  const valid = (list: number[]): number[] => list.filter((s) => s >= 0 && s < tokens);
  for (let t = 0; t < queries; t++) {
    expect(new Set(valid(row("distinct", t))).size).toBe(slots);
    expect(valid(row("allEmpty", t)).length).toBe(0);
    expect(row("onlyLast", t).map((s) => s >= 0)).toEqual([...new Array<boolean>(slots - 1).fill(false), true]);
    expect(new Set(row("duplicates", t)).size).toBeLessThanOrEqual(slots / 4);
  }
  expect(count(row("withEmpty"), (s) => s === -1)).toBeGreaterThan(2);
  expect(count(row("outOfRange"), (s) => s >= tokens)).toBeGreaterThan(2);
  expect(new Set(row("extreme").filter((s) => valid([s]).length === 0))).toEqual(new Set([2 ** 31 - 1, -(2 ** 31)]));
  expect(generateSlots({ seed: 1, kind: "distinct", queries: 1, slots: 3, tokens: 2 })[2]).toBe(-1);
});

test("attention cases: bytes store the values, unselected rows are NaN where asked, logits grow where asked", () => {
  const shape = { queries: 2, heads: 2, slots: 6, tokens: 30, dQk: 24, dV: 16 };
  const of = (kind: "normal" | "nanUnselected" | "largeLogits" | "uniform") =>
    generateMla({ seed: 1, kind, slotKind: "distinct", sink: "infinite", rowLengths: true, shape });
  for (const tensor of [of("normal").q, of("normal").kv]) expect(decodeArray("bf16", tensor.bytes)).toEqual(tensor.values);
  const { kv, idx, sink } = of("nanUnselected");
  const selected = new Set(idx);
  for (let s = 0; s < 30; s++) expect(Number.isNaN(kv.values[s * 24]!)).toBe(!selected.has(s));
  expect([...sink!]).toEqual([Infinity, -Infinity]);
  expect(Math.max(...of("largeLogits").kv.values)).toBeGreaterThan(10 * Math.max(...of("normal").kv.values));
});

test("records: power-of-two scales, arbitrary scales, zero tiles", () => {
  const layout = denseLatentLayout(256, 16);
  const scales = (kind: (typeof recordKinds)[number]): number[] => {
    const { cache } = generateRecords({ seed: 1, kind, tokens: 10, layout });
    return Array.from({ length: 10 }, (_, t) => [
      ...decodeArray("f32", cache.subarray(t * (256 + 8 + 32) + 256, t * (256 + 8 + 32) + 264)),
    ]).flat();
  };
  expect(scales("pow2").every((scale) => Number.isInteger(Math.log2(scale)))).toBe(true);
  expect(scales("arbitrary").some((scale) => !Number.isInteger(Math.log2(scale)))).toBe(true);
  expect(count(scales("zeroTile"), (scale) => scale < 1e-6)).toBe(5);
  expect([...generateRecords({ seed: 1, kind: "zeroTile", tokens: 10, layout }).rows.subarray(0, 10 * 272)].every(Number.isFinite)).toBe(
    true,
  );
});
