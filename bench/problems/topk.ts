/**
 * Top-k of R rows of N scores.
 *
 * | data | what it is |
 * |---|---|
 * | normal | standard normal |
 * | relu | normal, the negative half 0 |
 * | plateau | 99 % zeros among positive scores: the k-th lies on the plateau of long rows |
 * | constant | one value |
 * | oneBin | 1 + n · 2^-20, all in one bin of f16 |
 * | quantised | normal, rounded to multiples of 1/32: ties at the k-th |
 * | correlated | normal, in runs of 64 about a common value |
 */
import type { KernelName } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { decodeArray, elementBytes, encodeArray, pageSlots, raggedIndices, topK } from "../../reference/index.ts";
import { all, compare } from "../../verify/verdict.ts";
import { bytesOf, normalFloats, sampleOf } from "../data.ts";
import { type Problem, requireSizes } from "./problem.ts";

/** Rows that are compared; a row of 2^17 takes some 20 ms to sort. */
const checked = 48;
const run = 64;

/** What a form takes beside the scores, for windows that are whole rows; and what it makes of the tokens selected from row q. */
interface Form {
  readonly inputs: Readonly<Record<string, Uint8Array>>;
  readonly dims: Readonly<Record<string, number>>;
  want(idx: Int32Array, q: number): Int32Array;
}

const problemOf = (kernel: KernelName, formOf: (dsa: Dsa, R: number, N: number) => Form): Problem => ({
  kernels: [kernel],
  sizes: { R: "rows", N: "scores of each" },
  data: ["normal", "relu", "plateau", "constant", "oneBin", "quantised", "correlated"],
  rate: "bytes",
  prepare(dsa, sizes, data) {
    const { R = 0, N = 0 } = sizes;
    requireSizes(R >= 1 && N >= 1, sizes, "R and N are at least 1.");
    const k = dsa.topK;
    const pitch = Math.ceil(N / 16) * 16;
    const scores = scoresOf(data, R * pitch);
    const size = elementBytes(dsa.logitsDtype);
    const logits = dsa.logitsDtype === "f32" ? bytesOf(scores) : encodeArray(dsa.logitsDtype, scores);
    const form = formOf(dsa, R, N);
    return {
      inputs: { logits, ...form.inputs },
      dims: { ...form.dims, T: N, logitsPitch: pitch },
      async check({ read }) {
        const verdicts = [];
        for (const q of sampleOf(R, checked, 2)) {
          const row = decodeArray(dsa.logitsDtype, logits.subarray(q * pitch * size, (q * pitch + N) * size));
          const want = topK({ shape: { queries: 1, tokens: N, k }, scores: row, first: [0], last: [N] });
          const got = new Int32Array((await read("idx", 4 * q * k, 4 * k)).slice().buffer);
          verdicts.push(compare({ output: `idx of q ${q}`, axes: { j: k }, got, want: form.want(want, q), budget: 0 }));
        }
        return all(verdicts);
      },
    };
  },
});

const wholeRows = (R: number, N: number) => ({ first: new Uint8Array(4 * R), last: bytesOf(new Int32Array(R).fill(N)) });
const asTheyAre = (idx: Int32Array): Int32Array => idx;

export const topKProblem = problemOf("topk", (_, R, N) => ({ inputs: wholeRows(R, N), dims: { Q: R }, want: asTheyAre }));
export const topKWindowProblem = problemOf("topk_window", (_, R, N) => ({ inputs: wholeRows(R, N), dims: { Q: R }, want: asTheyAre }));
export const topKRaggedProblem = problemOf("topk_ragged", ({ topK: k }, R, N) => {
  const offset = Int32Array.from({ length: R }, (_, q) => q * N);
  return {
    inputs: { ...wholeRows(R, N), offset: bytesOf(offset) },
    dims: { Q: R },
    want: (idx, q) => raggedIndices({ shape: { queries: 1, k }, idx, offset: [offset[q]!] }),
  };
});
/** Requests of nextN rows; their pages lie in the reverse order. */
export const topKSlotsProblem = problemOf("topk_slots", ({ topK: k, nextN, pageTokens }, R, N) => {
  requireSizes(R % nextN === 0, { R, N }, "R is a multiple of nextN.");
  const requests = R / nextN;
  const entries = Math.ceil(N / pageTokens);
  const blockTable = Int32Array.from({ length: requests * entries }, (_, i) => requests * entries - 1 - i);
  return {
    inputs: { lengths: wholeRows(R, N).last, blockTable: bytesOf(blockTable) },
    dims: { B: requests, I: entries },
    want(idx, q) {
      const start = Math.floor(q / nextN) * entries;
      return pageSlots({ shape: { requests: 1, nextN: 1, k, entries, pageTokens }, idx, blockTable: blockTable.subarray(start, start + entries) });
    },
  };
});

function scoresOf(data: string, count: number): Float32Array {
  const scores = normalFloats(count, 1);
  switch (data) {
    case "normal":
      return scores;
    case "relu":
      return scores.map((x) => Math.max(x, 0));
    case "plateau":
      return scores.map((x) => Math.max(x - 2.326, 0)); // 1 % of a normal distribution lies above
    case "constant":
      return scores.fill(0.5);
    case "oneBin":
      return scores.map((x) => 1 + Math.round(Math.min(Math.abs(x) * 128, 511)) * 2 ** -20);
    case "quantised":
      return scores.map((x) => Math.round(x * 32) / 32);
    case "correlated": {
      const common = normalFloats(Math.ceil(count / run), 3);
      return scores.map((x, i) => common[Math.floor(i / run)]! + 0.1 * x);
    }
    default:
      throw new RangeError(`scores are not "${data}"`);
  }
}
