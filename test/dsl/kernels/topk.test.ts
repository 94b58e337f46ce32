import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { byteSize, encode, fromBytes, toBytes, writeElement } from "../../../dsl/dtype.ts";
import { topK } from "../../../dsl/kernels/topk.ts";
import { orderedKey } from "../../../dsl/math.ts";
import { integer, seed, small, uniform } from "./inputs.ts";

/** The order of the contract: score descending (NaN last, -0 equals +0), then token ascending. */
function select(scores: readonly number[], first: number, last: number, k: number): number[] {
  const rank = (x: number) => (Number.isNaN(x) ? -Infinity : x);
  const before = (a: number, b: number) => {
    const [x, y] = [scores[a]!, scores[b]!];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return rank(x) === rank(y) ? a - b : rank(y) - rank(x);
  };
  const tokens = scores.map((_, t) => t).filter((t) => t >= first && t < last);
  const chosen = tokens
    .sort(before)
    .slice(0, k)
    .sort((a, b) => a - b);
  return [...chosen, ...Array<number>(k - chosen.length).fill(-1)];
}

function run(
  rows: readonly (readonly number[])[],
  windows: readonly (readonly [number, number])[],
  k: number,
  dtype: "f32" | "bf16" = "f32",
  tune: Readonly<Record<string, number>> = { BT: 16 },
  gap = 0,
): number[][] {
  const T = rows[0]!.length;
  const logits = new Uint8Array(rows.length * (T + gap) * byteSize(dtype)).fill(0x7f);
  const view = new DataView(logits.buffer);
  rows.forEach((row, i) => row.forEach((x, t) => writeElement(dtype, view, (i * (T + gap) + t) * byteSize(dtype), x)));
  const idx = new Uint8Array(4 * k * rows.length).fill(0xaa);
  const buffers = {
    logits,
    first: toBytes(
      "i32",
      windows.map(([a]) => a),
    ),
    last: toBytes(
      "i32",
      windows.map(([, b]) => b),
    ),
    idx,
  };
  topK({ ...small, topK: k, logitsDtype: dtype }).run(buffers, { T, logitsPitch: T + gap }, tune);
  const all = [...fromBytes("i32", idx)];
  return rows.map((_, i) => all.slice(i * k, (i + 1) * k));
}

/** Scores whose order is easy to get wrong. */
const nasty = {
  normal: uniform,
  "few values": (s: number) => integer(s, -2, 2),
  "zero plateau of both signs": (s: number) => {
    const pick = integer(s, 0, 5);
    return () => [0, -0, 0, -0, 1, -1][pick()]!;
  },
  "NaN and infinities": (s: number) => {
    const pick = integer(s, 0, 6);
    return () => [NaN, -Infinity, Infinity, -Infinity, 0, NaN, 2][pick()]!;
  },
  "last mantissa bits": (s: number) => {
    const pick = integer(s, 0, 9);
    return () => Math.fround(1 + pick() * 2 ** -23);
  },
  "around the end of a digit": (s: number) => {
    const [near, far] = [integer(s, -8, 8), integer(s + 1, -1024, 1024)];
    return () => 2.5 + (far() < 0 ? near() : far() * 64) * 2 ** -22;
  },
  subnormals: (s: number) => {
    const pick = integer(s, -4, 4);
    return () => pick() * 2 ** -149;
  },
  "beyond f16": (s: number) => {
    const pick = integer(s, 65000, 66000);
    return () => pick() * 1000;
  },
};

describe.each(Object.entries(nasty))("%s", (_, kind) => {
  test("selects the set of the contract, in token order, in every window", () => {
    fc.assert(
      fc.property(
        seed,
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 20 }),
        fc.constantFrom("f32", "bf16"),
        // room for no item at all leaves every row to the rescue; of eight bins the last one is often cut short
        fc.record({ BT: fc.constantFrom(1, 7, 16, 1024), ROOM: fc.constantFrom(5120, 24, 1), BINS: fc.constantFrom(2048, 8), SAMPLE: fc.constantFrom(1024, 16) }),
        fc.integer({ min: 0, max: 3 }),
        (s, T, k, dtype, tune, gap) => {
          const next = kind(s);
          const bound = integer(s + 1, -2, T + 2);
          const rows = Array.from({ length: 3 }, () => Array.from({ length: T }, () => fromBytes(dtype, toBytes(dtype, [next()]))[0]!));
          const windows = rows.map(() => [bound(), bound()] as const);
          expect(run(rows, windows, k, dtype, tune, gap)).toEqual(rows.map((row, i) => select(row, ...windows[i]!, k)));
        },
      ),
      // the example: few values whose k-th lies in a bin that is cut short
      { numRuns: 100, examples: [[1991423791, 28, 3, "f32", { BT: 1, ROOM: 1, BINS: 8, SAMPLE: 1024 }, 0]] },
    );
  });
});

test.each([
  ["all equal: the first k", Array<number>(50).fill(0.5), 0, 50, [0, 1, 2, 3]],
  ["window of exactly k is the identity, NaN included", [5, NaN, 1, 2, 9, 9], 1, 5, [1, 2, 3, 4]],
  ["one more than k drops the smallest", [3, 1, 2, 4, 5], 0, 5, [0, 2, 3, 4]],
  ["empty window", [1, 2, 3], 2, 2, [-1, -1, -1, -1]],
  ["reversed window", [1, 2, 3], 3, 1, [-1, -1, -1, -1]],
  ["all NaN", Array<number>(9).fill(NaN), 0, 9, [0, 1, 2, 3]],
  ["-inf outranks NaN", [NaN, -Infinity, NaN, -Infinity, NaN, -Infinity, -Infinity], 0, 7, [1, 3, 5, 6]],
  ["scores outside the window do not matter", [9, 9, 1, 2, 3, 4, 5, 9, 9], 2, 7, [3, 4, 5, 6]],
])("%s", (_, row, first, last, expected) => {
  expect(run([row], [[first, last]], 4)).toEqual([expected]);
});

test("the key is monotone in the contract's order, NaN lowest, zeros equal", () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true }), fc.float({ noNaN: true }), (x, y) => {
      expect(Math.sign(orderedKey(x) - orderedKey(y)) + 0).toBe(Math.sign(x === y ? 0 : x < y ? -1 : 1));
      expect(orderedKey(x)).toBeGreaterThan(orderedKey(NaN));
      expect(orderedKey(x)).toBe(orderedKey(x) >>> 0);
    }),
  );
  expect(encode("u32", orderedKey(-0))).toBe(orderedKey(0));
});
