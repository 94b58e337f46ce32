/** Selections of S queries of the last S of N tokens, held to their windows: topK different tokens in ascending order, with a fault in every 16th row. */
import { selectionFaults } from "../../reference/index.ts";
import { compare } from "../../verify/verdict.ts";
import { bytesOf, distinctRows } from "../data.ts";
import { type Problem, requireSizes } from "./problem.ts";

const spoiltEvery = 16;

export const checkSelectionProblem: Problem = {
  kernels: ["check_selection"],
  sizes: { S: "queries", N: "tokens" },
  data: ["normal"],
  rate: "bytes",
  prepare(dsa, sizes) {
    const { S = 0, N = 0 } = sizes;
    requireSizes(S >= 1 && N >= S, sizes, "S queries are the last of N tokens, so S lies between 1 and N.");
    const slots = dsa.topK;
    const idx = distinctRows(S, slots, Math.max(N - S, 1), 1);
    for (let t = 0; t < S; t++) {
      const row = idx.subarray(t * slots, (t + 1) * slots);
      const filled = row.filter((token) => token >= 0).sort();
      row.set(filled);
      if (t % spoiltEvery === 0) row[t % slots] = N;
    }
    const first = new Int32Array(S);
    const last = Int32Array.from({ length: S }, (_, t) => N - S + t + 1);
    return {
      inputs: { idx: bytesOf(idx), first: bytesOf(first), last: bytesOf(last) },
      dims: { Q: S },
      async check({ read }) {
        const want = selectionFaults({ shape: { queries: S, slots }, idx, first, last });
        const got = new Int32Array((await read("faults", 0, 4 * S)).slice().buffer);
        return compare({ output: "faults", axes: { q: S }, got, want, budget: 0 });
      },
    };
  },
};
