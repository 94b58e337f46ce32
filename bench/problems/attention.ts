/** A few heads of a few queries of sparse attention against the reference. */
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { decodeArray, type SparseMlaArgs } from "../../reference/index.ts";
import { attentionTarget, judgeAttention } from "../../verify/checks/sparse_mla.ts";
import { all, type Verdict } from "../../verify/verdict.ts";
import { sampleOf } from "../data.ts";
import type { Results } from "./problem.ts";

const checkedQueries = 4;
const checkedHeads = 4;

/** One query: where it reads and what. */
export interface SampledAttention {
  /** Bytes of its queries [heads, dV + dRope], bf16. */
  q(query: number): Uint8Array;
  /** Rows [slots, dV + dRope] of its slots, in order; the number of tokens is that of the slots. */
  rows(query: number): Float64Array;
}

/** Compares out, lse and maxLogit of some heads of some queries; all slots are filled. */
export async function judgeQueries(
  dsa: Dsa,
  queries: number,
  sampled: SampledAttention,
  { read, arithmetic }: Results,
  { block, splits }: { readonly block: number; readonly splits: number },
): Promise<Verdict> {
  const { heads, dV, topK: slots } = dsa;
  const dQk = dV + dsa.dRope;
  const verdicts: Verdict[] = [];
  for (const t of sampleOf(queries, checkedQueries, 1)) {
    const q = decodeArray("bf16", sampled.q(t));
    const rows = sampled.rows(t);
    const tokens = rows.length / dQk;
    for (const h of sampleOf(heads, checkedHeads, 2 + t)) {
      const args: SparseMlaArgs = {
        shape: { queries: 1, heads: 1, slots, tokens, dQk, dV },
        q: q.subarray(h * dQk, (h + 1) * dQk),
        kv: rows,
        idx: Int32Array.from({ length: slots }, (_, j) => (j < tokens ? j : -1)),
        scale: dsa.smScale,
        sink: [-Infinity],
      };
      const row = t * heads + h;
      const outputs = {
        out: await read("out", 2 * row * dV, 2 * dV),
        lse: await read("lse", 4 * row, 4),
        maxLogit: await read("maxLogit", 4 * row, 4),
      };
      const verdict = judgeAttention(args, outputs, attentionTarget(arithmetic, block, splits));
      const failure = verdict.failure?.replace("q 0, h 0", `q ${t}, h ${h}`);
      verdicts.push({ ...verdict, ...(failure !== undefined && { failure }) });
    }
  }
  return all(verdicts);
}
