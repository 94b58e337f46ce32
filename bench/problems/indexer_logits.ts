/** Indexer logits of the last S of N tokens: query t sees keys [0, N - S + t + 1). */
import { decodeArray, elementBytes } from "../../reference/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { Arithmetic } from "../../verify/executor.ts";
import { all, type Verdict } from "../../verify/verdict.ts";
import { bytesOf, normalFloats, normals, sampleOf, uniformFloats } from "../data.ts";
import { judgeLogits } from "./cells.ts";
import { checkedCells, checkedRows, codeDeviation, type Prepared, type Problem, requireSizes } from "./problem.ts";

export const indexerLogitsProblem: Problem = {
  kernels: ["indexer_logits"],
  sizes: { S: "queries", N: "keys" },
  data: ["normal"],
  rate: "flops",
  prepare(dsa, sizes) {
    const { S = 0, N = 0 } = sizes;
    requireSizes(S >= 1 && N >= S, sizes, "S queries are the last of N tokens, so S lies between 1 and N.");
    const { indexerHeads: heads, indexerDim: dim, indexDtype } = dsa;
    const deviation = indexDtype === "e4m3" ? codeDeviation : 1;
    const q = normals(indexDtype, S * heads * dim, deviation, 1);
    const k = normals(indexDtype, N * dim, deviation, 2);
    const qScale = uniformFloats(S * heads, 0.004, 0.012, 3);
    const kScale = uniformFloats(N, 0.004, 0.012, 4);
    const w = normalFloats(S * heads, 5).map((x) => x * (heads * dim) ** -0.5);
    const last = Int32Array.from({ length: S }, (_, t) => N - S + t + 1);
    const pitch = Math.ceil(N / 16) * 16;
    const size = elementBytes(dsa.logitsDtype);
    const inputs = { q, k, qScale: bytesOf(qScale), kScale: bytesOf(kScale), w: bytesOf(w), first: new Uint8Array(4 * S), last: bytesOf(last) };
    return {
      inputs,
      dims: { Q: S, T: N, logitsPitch: pitch },
      flops: 2 * heads * dim * last.reduce((pairs, end) => pairs + end, 0),
      async check({ read, arithmetic }) {
        const verdicts = [];
        for (const t of sampleOf(S, checkedRows, 6)) {
          const row = decodeArray(dsa.logitsDtype, await read("logits", t * pitch * size, last[t]! * size));
          verdicts.push(judgeRow(dsa, inputs, t, row, arithmetic));
        }
        return all(verdicts);
      },
    };
  },
};

/** Some cells of a query's logits, up to the end of its window. */
export function judgeRow(dsa: Dsa, inputs: Prepared["inputs"], t: number, row: Float64Array, arithmetic: Arithmetic): Verdict {
  const { indexerHeads: heads, indexerDim: dim, indexDtype } = dsa;
  const width = dim * elementBytes(indexDtype);
  const tokens = sampleOf(row.length, checkedCells, 7 + t);
  const floats = (name: string): Float32Array => new Float32Array(inputs[name]!.buffer, inputs[name]!.byteOffset, inputs[name]!.byteLength / 4);
  const [qScale, kScale, w] = [floats("qScale"), floats("kScale"), floats("w")];
  const sampled = {
    place: `q ${t}`,
    tokens,
    q: inputs.q!.subarray(t * heads * width, (t + 1) * heads * width),
    keys: tokens.map((s) => inputs.k!.subarray(s * width, (s + 1) * width)),
    qScale: qScale.subarray(t * heads, (t + 1) * heads),
    kScale: tokens.map((s) => kScale[s]!),
    w: w.subarray(t * heads, (t + 1) * heads),
    row,
  };
  return judgeLogits(dsa, sampled, arithmetic);
}
