/** Sparse attention of S queries, each over topK different tokens of N, in random order. */
import { decodeArray } from "../../reference/index.ts";
import { bytesOf, distinctRows, normals } from "../data.ts";
import { judgeQueries } from "./attention.ts";
import { type Problem, requireSizes } from "./problem.ts";

export const sparseMlaProblem: Problem = {
  kernels: ["sparse_mla"],
  sizes: { S: "queries", N: "rows" },
  data: ["normal"],
  rate: "flops",
  prepare(dsa, sizes) {
    const { S = 0, N = 0 } = sizes;
    requireSizes(S >= 1 && N >= 1, sizes, "S and N are at least 1.");
    const { heads, dV, topK: slots } = dsa;
    const dQk = dV + dsa.dRope;
    const q = normals("bf16", S * heads * dQk, 1, 1);
    const kv = normals("bf16", N * dQk, 1, 2);
    const idx = distinctRows(S, slots, N, 3);
    const rowBytes = 2 * dQk;
    return {
      inputs: {
        q,
        kv,
        idx: bytesOf(idx),
        lengths: bytesOf(new Int32Array(S).fill(slots)),
        sink: bytesOf(new Float32Array(heads).fill(-Infinity)),
      },
      dims: { Q: S, T: N, kvPitch: dQk },
      flops: 2 * S * heads * Math.min(slots, N) * (dQk + dV),
      check(results) {
        const rows = (t: number): Float64Array => {
          const picked = idx.subarray(t * slots, (t + 1) * slots).filter((token) => token >= 0);
          const bytes = new Uint8Array(picked.length * rowBytes);
          picked.forEach((token, j) => bytes.set(kv.subarray(token * rowBytes, (token + 1) * rowBytes), j * rowBytes));
          return decodeArray("bf16", bytes);
        };
        const query = (t: number): Uint8Array => q.subarray(t * heads * rowBytes, (t + 1) * heads * rowBytes);
        const block = results.tune.sparse_mla?.BJ ?? 1;
        return judgeQueries(dsa, S, { q: query, rows }, results, { block, splits: 1 });
      },
    };
  },
};
