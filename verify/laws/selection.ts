/** Laws of the selection. */
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { decode, encodeArray, permutation, randomOf } from "../../reference/index.ts";
import { bytesOf, integers, poisoned } from "../checks/check.ts";
import { logitsPitch } from "../checks/indexer_logits.ts";
import type { Executor } from "../executor.ts";
import { compare, pitchedRows } from "../verdict.ts";
import { logitsOf, openProblem } from "./logits.ts";
import { requireVerdict, type Law } from "./law.ts";

/** Indices [rows, topK] of logits [rows, length], all of which every row sees. */
export async function select(executor: Executor, dsa: Dsa, logits: ArrayLike<number>, rows: number): Promise<Int32Array> {
  const length = logits.length / rows;
  const pitch = logitsPitch(dsa, length, 0);
  const stored = encodeArray(dsa.logitsDtype, logits);
  const size = stored.length / logits.length;
  const windows = { first: bytesOf(new Int32Array(rows)), last: bytesOf(new Int32Array(rows).fill(length)) };
  const buffers = {
    logits: pitchedRows(stored, rows, length * size, pitch * size, 0xff),
    ...windows,
    idx: poisoned(4 * rows * dsa.topK, 0x5a),
  };
  const { idx } = await executor.run(buffers, { Q: rows, T: length, logitsPitch: pitch });
  return integers(idx!);
}

export const permutedScores: Law = {
  name: "permuting distinct scores permutes the selected tokens",
  kernels: ["topk"],
  async holds(dsa, executorOf, seed) {
    const length = 2 * dsa.topK + 5;
    const executor = await executorOf("topk", dsa);
    // all different, in f32 and in bf16
    const scores = Float64Array.from(permutation(randomOf(seed), length), (code) => decode("bf16", 0x3000 + code));
    const order = permutation(randomOf(seed + 1), length); // token s of the permuted row is token order[s]
    const want = await select(executor, dsa, scores, 1);
    const permuted = await select(
      executor,
      dsa,
      scores.map((_, s) => scores[order[s]!]!),
      1,
    );
    const got = [...permuted].map((token) => order[token]!).sort((a, b) => a - b);
    requireVerdict(compare({ output: "permuted idx", axes: { j: dsa.topK }, got, want, budget: 0 }));
  },
};

export const scaledWeights: Law = {
  name: "weights times 32 give logits times 32 and select the same tokens",
  kernels: ["indexer_logits", "topk"],
  async holds(dsa, executorOf, seed) {
    const problem = openProblem(dsa, seed);
    const { queries, tokens } = problem.shape;
    const narrow = { ...dsa, topK: Math.min(dsa.topK, 33) };
    const [logits, topk] = [await executorOf("indexer_logits", dsa), await executorOf("topk", narrow)];
    const plain = await logitsOf(logits, dsa, problem);
    const scaled = await logitsOf(logits, dsa, { ...problem, w: problem.w.map((w) => 32 * w) });
    requireVerdict(
      compare({ output: "scaled logits", axes: { q: queries, t: tokens }, got: scaled, want: plain.map((x) => 32 * x), budget: 0 }),
    );
    const [got, want] = [await select(topk, narrow, scaled, queries), await select(topk, narrow, plain, queries)];
    requireVerdict(compare({ output: "idx of scaled logits", axes: { q: queries, j: narrow.topK }, got, want, budget: 0 }));
  },
};
