/** Indexer logits of decode: B requests of N tokens each, in pages that lie anywhere in the cache. */
import { decodeArray, elementBytes, permutation, randomOf } from "../../reference/index.ts";
import { all } from "../../verify/verdict.ts";
import { bytesOf, normalFloats, normals, sampleOf, uniformFloats } from "../data.ts";
import { judgeLogits } from "./cells.ts";
import { checkedCells, checkedRows, codeDeviation, type Problem, requireSizes } from "./problem.ts";

export const pagedIndexerLogitsProblem: Problem = {
  kernels: ["paged_indexer_logits"],
  sizes: { B: "requests", N: "tokens of each" },
  data: ["normal"],
  rate: "bytes",
  prepare(dsa, sizes) {
    const { B = 0, N = 0 } = sizes;
    const { indexerHeads: heads, indexerDim: dim, indexDtype, nextN, pageTokens } = dsa;
    requireSizes(B >= 1 && N >= nextN, sizes, `B is at least 1, and N at least nextN, which is ${nextN}.`);
    const deviation = indexDtype === "e4m3" ? codeDeviation : 1;
    const rows = B * nextN;
    const width = dim * elementBytes(indexDtype);
    const pageBytes = pageTokens * (width + 4);
    const perRequest = Math.ceil(N / pageTokens);
    const pageCount = B * perRequest;
    const q = normals(indexDtype, rows * heads * dim, deviation, 1);
    const qScale = uniformFloats(rows * heads, 0.004, 0.012, 3);
    const w = normalFloats(rows * heads, 5).map((x) => x * (heads * dim) ** -0.5);
    const blockTable = permutation(randomOf(6), pageCount);
    const lengths = Int32Array.from({ length: rows }, (_, r) => N - nextN + (r % nextN) + 1);
    const pages = new Uint8Array(pageCount * pageBytes);
    const keys = normals(indexDtype, pageCount * pageTokens * dim, deviation, 2);
    const scales = bytesOf(uniformFloats(pageCount * pageTokens, 0.004, 0.012, 4));
    for (let p = 0; p < pageCount; p++) {
      pages.set(keys.subarray(p * pageTokens * width, (p + 1) * pageTokens * width), p * pageBytes);
      pages.set(scales.subarray(4 * p * pageTokens, 4 * (p + 1) * pageTokens), p * pageBytes + pageTokens * width);
    }
    const pitch = Math.ceil(N / 16) * 16;
    const size = elementBytes(dsa.logitsDtype);
    return {
      inputs: { q, pages, blockTable: bytesOf(blockTable), qScale: bytesOf(qScale), w: bytesOf(w), lengths: bytesOf(lengths) },
      dims: { B, P: pageCount, I: perRequest, T: N, pageBytes, logitsPitch: pitch },
      flops: 2 * heads * dim * lengths.reduce((pairs, length) => pairs + length, 0),
      async check({ read, arithmetic }) {
        const verdicts = [];
        for (const r of sampleOf(rows, checkedRows, 7)) {
          const tokens = sampleOf(lengths[r]!, checkedCells, 8 + r);
          const pageOf = (s: number): number => blockTable[Math.floor(r / nextN) * perRequest + Math.floor(s / pageTokens)]!;
          const keyAt = (s: number): number => pageOf(s) * pageBytes + (s % pageTokens) * width;
          const scaleAt = (s: number): number => pageOf(s) * pageTokens + (s % pageTokens);
          const sampled = {
            place: `b ${Math.floor(r / nextN)}, n ${r % nextN}`,
            tokens,
            q: q.subarray(r * heads * width, (r + 1) * heads * width),
            keys: tokens.map((s) => pages.subarray(keyAt(s), keyAt(s) + width)),
            qScale: qScale.subarray(r * heads, (r + 1) * heads),
            kScale: tokens.map((s) => new DataView(scales.buffer).getFloat32(4 * scaleAt(s), true)),
            w: w.subarray(r * heads, (r + 1) * heads),
            row: decodeArray(dsa.logitsDtype, await read("logits", r * pitch * size, lengths[r]! * size)),
          };
          verdicts.push(judgeLogits(dsa, sampled, arithmetic));
        }
        return all(verdicts);
      },
    };
  },
};
