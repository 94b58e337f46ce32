/** Sparse attention of decode, both kernels: B requests, each over topK different records of its own N, in random order. */
import { latentGroup, latentRecordBytes, readLatentRecords } from "../../reference/index.ts";
import { bytesOf, distinctRows, normals, uniformFloats } from "../data.ts";
import { judgeQueries } from "./attention.ts";
import { codeDeviation, type Problem, requireSizes } from "./problem.ts";

export const sparseMlaDecodeProblem: Problem = {
  kernels: ["sparse_mla_decode", "sparse_mla_combine"],
  sizes: { B: "requests", N: "records of each" },
  data: ["normal"],
  rate: "flops",
  prepare(dsa, sizes) {
    const { B = 0, N = 0 } = sizes;
    const { heads, dV, dRope, topK: slots, nextN, pageTokens } = dsa;
    requireSizes(B >= 1 && N >= 1 && N % pageTokens === 0, sizes, `B is at least 1, and N a multiple of a page's ${pageTokens} tokens.`);
    const queries = B * nextN;
    const recordBytes = latentRecordBytes(dV, dRope);
    const q = normals("bf16", queries * heads * (dV + dRope), 1, 1);
    const cache = recordsOf(B * N, dV, dRope);
    const idx = distinctRows(queries, slots, N, 3).map((slot, i) => (slot < 0 ? -1 : slot + N * Math.floor(i / (slots * nextN))));
    return {
      inputs: {
        q,
        cache,
        idx: bytesOf(idx),
        lengths: bytesOf(new Int32Array(queries).fill(slots)),
        sink: bytesOf(new Float32Array(heads).fill(-Infinity)),
      },
      dims: { Q: queries, P: (B * N) / pageTokens, pageBytes: pageTokens * recordBytes },
      flops: 2 * queries * heads * Math.min(slots, N) * (2 * dV + dRope),
      check(results) {
        const rows = (t: number): Float64Array => {
          const picked = idx.subarray(t * slots, (t + 1) * slots).filter((slot) => slot >= 0);
          const records = new Uint8Array(picked.length * recordBytes);
          picked.forEach((slot, j) => records.set(cache.subarray(slot * recordBytes, (slot + 1) * recordBytes), j * recordBytes));
          return readLatentRecords(records, { dV, dRope, pageTokens: 1, pageStride: recordBytes });
        };
        const width = 2 * heads * (dV + dRope);
        const block = results.tune.sparse_mla_decode?.BJ ?? 1;
        return judgeQueries(dsa, queries, { q: (t) => q.subarray(t * width, (t + 1) * width), rows }, results, { block, splits: dsa.splits });
      },
    };
  },
};

/** Records one after another: codes, scales for every 128 of them, rope columns. */
function recordsOf(count: number, dV: number, dRope: number): Uint8Array {
  const groups = dV / latentGroup;
  const bytes = latentRecordBytes(dV, dRope);
  const codes = normals("e4m3", count * dV, codeDeviation, 2);
  const scales = bytesOf(uniformFloats(count * groups, 0.004, 0.012, 4));
  const rope = normals("bf16", count * dRope, 1, 5);
  const records = new Uint8Array(count * bytes);
  for (let i = 0; i < count; i++) {
    records.set(codes.subarray(i * dV, (i + 1) * dV), i * bytes);
    records.set(scales.subarray(4 * i * groups, 4 * (i + 1) * groups), i * bytes + dV);
    records.set(rope.subarray(2 * i * dRope, 2 * (i + 1) * dRope), i * bytes + dV + 4 * groups);
  }
  return records;
}
