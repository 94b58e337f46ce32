/**
 * Index scores and their top-k for the last S of N tokens, with MB · 10^6 bytes of scratch: query t sees keys [0, N - S + t + 1). Indices are
 * compared with a sort of the logits that the same chunk left, and some of those logits with the reference.
 */
import { decodeArray, topK } from "../../reference/index.ts";
import { all, compare, type Verdict } from "../../verify/verdict.ts";
import { sampleOf } from "../data.ts";
import { indexerLogitsProblem, judgeRow } from "./indexer_logits.ts";
import { checkedRows, type Problem } from "./problem.ts";

/** Rows whose indices are compared, of which the first `checkedRows` of a sample are held to the reference's logits too. */
const sorted = 48;

export const streamingTopKProblem: Problem = {
  kernels: ["indexer_logits", "topk"],
  program: "streaming_topk",
  sizes: { S: "queries", N: "keys", MB: "10^6 bytes of scratch at most" },
  data: ["normal"],
  rate: "flops",
  prepare(dsa, { MB = 0, ...sizes }, data) {
    const { inputs, flops, dims } = indexerLogitsProblem.prepare(dsa, sizes, data);
    const { Q = 0, T = 0 } = dims;
    const last = new Int32Array(inputs.last!.slice().buffer);
    return {
      inputs,
      dims: { Q, T },
      ...(flops !== undefined && { flops }),
      scratchBytes: MB * 1e6,
      async check({ read, scratchRow, arithmetic }) {
        const k = dsa.topK;
        const verdicts: Verdict[] = [];
        const judged = new Set(sampleOf(Q, checkedRows, 6));
        const rows = [...new Set([...sampleOf(Q, sorted, 2), ...judged])].sort((a, b) => a - b);
        const selected = new Map<number, Int32Array>(); // before any chunk runs again
        for (const t of rows) selected.set(t, new Int32Array((await read("idx", 4 * t * k, 4 * k)).slice().buffer));
        for (const t of rows) {
          const row = decodeArray(dsa.logitsDtype, await scratchRow("logits", t)).subarray(0, last[t]!);
          if (judged.has(t)) verdicts.push(judgeRow(dsa, inputs, t, row, arithmetic));
          const want = topK({ shape: { queries: 1, tokens: row.length, k }, scores: row, first: [0], last: [row.length] });
          verdicts.push(compare({ output: `idx of q ${t}`, axes: { j: k }, got: selected.get(t)!, want, budget: 0 }));
        }
        return all(verdicts);
      },
    };
  },
};
