/** Forms of top-k against the reference, exactly: what they say of the tokens, and how many they select. */
import fc from "fast-check";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { pageSlots, raggedIndices, randomOf, selectedCounts, topK, type Windows } from "../../reference/index.ts";
import { all, compare } from "../verdict.ts";
import { bytesOf, integers, poisoned, type Check } from "./check.ts";
import { logitsOf, scoresShapes, sweepOf, topKCheck, windowsOf, type ScoresShape, type TopKShape } from "./topk.ts";

/** Scores that take another way through the kernel each: in the bag, cut by a plateau, cut by ties, not to be guessed. */
const ways = ["normal", "reluPlateauBelow", "quantised", "hotSpan", "mixed"] as const;
const fixed: Check<TopKShape>["fixed"] = (dsa, budget) => {
  const cases = topKCheck.fixed(dsa, budget);
  return [...ways.map((kind) => ({ ...cases[0]!, kind })), ...cases.filter((c) => c.windows !== "causalTail")];
};

/** The same cases as those of `topk`; `entries`: arguments of the form, and what it makes of the selected tokens. */
const formCheck = (formOf: (dsa: Dsa, shape: TopKShape, windows: Windows) => { readonly inputs: Readonly<Record<string, Uint8Array>>; want(idx: Int32Array): Int32Array }): Check<TopKShape> => ({
  fixed,
  shapes: topKCheck.shapes,
  sweep: topKCheck.sweep!,
  prepare(dsa, shape) {
    const { queries, tokens } = shape;
    const k = dsa.topK;
    const windows = windowsOf({ seed: shape.seed, kind: shape.windows, queries, tokens }, k);
    const { logits, pitch, scores } = logitsOf(dsa, shape, queries, windows);
    const form = formOf(dsa, shape, windows);
    const want = form.want(topK({ shape: { queries, tokens, k }, scores, ...windows }));
    const counts = selectedCounts({ shape: { queries, tokens, k }, ...windows });
    return {
      buffers: {
        logits,
        first: bytesOf(windows.first),
        last: bytesOf(windows.last),
        ...form.inputs,
        idx: poisoned(4 * queries * k, 0x5a),
        count: poisoned(4 * queries, 0x5a),
      },
      dims: { Q: queries, T: tokens, logitsPitch: pitch },
      judge: ({ idx, count }) =>
        all([
          compare({ output: "idx", axes: { q: queries, j: k }, got: integers(idx!), want, budget: 0 }),
          compare({ output: "count", axes: { q: queries }, got: integers(count!), want: counts, budget: 0 }),
        ]),
    };
  },
});

export const topKWindowCheck = formCheck((dsa, { queries }, { first }) => ({
  inputs: {},
  want: (idx) => raggedIndices({ shape: { queries, k: dsa.topK }, idx, offset: first.map((s) => -Math.max(s, 0)) }),
}));

export const topKRaggedCheck = formCheck((dsa, { queries, seed }) => {
  const random = randomOf(seed + 1);
  const offset = Int32Array.from({ length: queries }, () => random.integer(0, 2 ** 30));
  return { inputs: { offset: bytesOf(offset) }, want: (idx) => raggedIndices({ shape: { queries, k: dsa.topK }, idx, offset }) };
});

export interface TopKSlotsShape extends ScoresShape {
  readonly requests: number;
  readonly lengths: "full" | "aroundK" | "any";
  /** Entries that the table has too few. */
  readonly short: number;
}
const lengthKinds = ["full", "aroundK", "any"] as const;

export const topKSlotsCheck: Check<TopKSlotsShape> = {
  fixed(dsa, budget) {
    const { tokens } = topKCheck.fixed(dsa, budget)[0]!;
    const base = { requests: 2, tokens, lengths: "full", unseen: "infinity", short: 0, gap: 0, seed: 1 } as const;
    return [
      ...ways.map((kind) => ({ ...base, requests: 1, kind })),
      ...lengthKinds.map((lengths) => ({ ...base, kind: "normal" as const, lengths, unseen: "nan" as const, gap: 5 })),
      { ...base, kind: "descending", short: 1 },
    ];
  },

  sweep: (_, budget) => sweepOf(budget, (scores) => ({ requests: 1, lengths: "full", short: 0, ...scores })),

  shapes: (dsa, budget) =>
    fc.record({ requests: fc.integer({ min: 1, max: 2 }), lengths: fc.constantFrom(...lengthKinds), short: fc.integer({ min: 0, max: 1 }), ...scoresShapes(dsa, budget) }),

  prepare(dsa, shape) {
    const { requests, tokens, seed } = shape;
    const { nextN, pageTokens, topK: k } = dsa;
    const rows = requests * nextN;
    const random = randomOf(seed + 1);
    const lengths = Int32Array.from({ length: rows });
    for (let b = 0; b < requests; b++) {
      const drawn = { full: tokens, aroundK: [0, 1, k - 1, k, k + 1][random.integer(0, 4)]!, any: random.integer(0, tokens + 3) }[shape.lengths];
      // row n of a request of length L sees L − nextN + n + 1 tokens
      for (let n = 0; n < nextN; n++) lengths[b * nextN + n] = Math.max(drawn - nextN + n + 1, 0);
    }
    const entries = Math.max(Math.ceil(tokens / pageTokens) - shape.short, 1);
    const blockTable = Int32Array.from({ length: requests * entries }, () => (random.uniform() < 0.1 ? [-1, -(2 ** 31)][random.integer(0, 1)]! : random.integer(0, 2 ** 20)));
    const windows = { first: new Int32Array(rows), last: lengths };
    const { logits, pitch, scores } = logitsOf(dsa, shape, rows, windows);
    const selected = topK({ shape: { queries: rows, tokens, k }, scores, ...windows });
    const want = pageSlots({ shape: { requests, nextN, k, entries, pageTokens }, idx: selected, blockTable });
    const counts = selectedCounts({ shape: { queries: rows, tokens, k }, ...windows });
    return {
      buffers: {
        logits,
        lengths: bytesOf(lengths),
        blockTable: bytesOf(blockTable),
        idx: poisoned(4 * rows * k, 0x5a),
        count: poisoned(4 * rows, 0x5a),
      },
      dims: { B: requests, I: entries, T: tokens, logitsPitch: pitch },
      judge: ({ idx, count }) =>
        all([
          compare({ output: "idx", axes: { b: requests, n: nextN, j: k }, got: integers(idx!), want, budget: 0 }),
          compare({ output: "count", axes: { b: requests, n: nextN }, got: integers(count!), want: counts, budget: 0 }),
        ]),
    };
  },
};
