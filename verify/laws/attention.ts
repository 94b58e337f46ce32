/** Laws of sparse attention. */
import { withSettings } from "../../dsl/kernels/settings.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  denseMla,
  generateMla,
  generateScores,
  mlaArgs,
  mlaBudget,
  type AttentionResult,
  type AttentionShape,
} from "../../reference/index.ts";
import { bytesOf, poisoned } from "../checks/check.ts";
import { attentionOutputs, attentionTarget, compareAttention } from "../checks/sparse_mla.ts";
import { decodeProblem, type DecodeProblem } from "../checks/sparse_mla_decode.ts";
import type { Buffers, Executor } from "../executor.ts";
import { requireVerdict, type ExecutorOf, type Law } from "./law.ts";
import { select } from "./selection.ts";

const decoded = ({ out, lse, maxLogit }: Buffers): AttentionResult => ({
  out: decodeArray("bf16", out!),
  lse: decodeArray("f32", lse!),
  max: decodeArray("f32", maxLogit!),
});

const sumOf = (a: AttentionResult, b: AttentionResult): AttentionResult => {
  const add = (x: Float64Array, y: Float64Array): Float64Array => x.map((value, i) => value + y[i]!);
  return { out: add(a.out, b.out), lse: add(a.lse, b.lse), max: add(a.max, b.max) };
};

/** Both decode kernels in turn. */
async function decodeAttention(dsa: Dsa, executorOf: ExecutorOf, { inputs, sink, dims }: DecodeProblem): Promise<Buffers> {
  const rows = dims.Q * dsa.splits * dsa.heads;
  const outputs = { partial: poisoned(4 * rows * dsa.dV), partialMax: poisoned(4 * rows), partialSum: poisoned(4 * rows) };
  const partials = await (await executorOf("sparse_mla_decode", dsa)).run({ ...inputs, ...outputs }, dims);
  const combine = await executorOf("sparse_mla_combine", dsa);
  return combine.run({ ...partials, sink: bytesOf(sink), ...attentionOutputs(dims.Q, dsa) }, { Q: dims.Q });
}

const budgetOf = (dsa: Dsa, { arithmetic, tune }: Executor, { args }: DecodeProblem): AttentionResult =>
  mlaBudget(args, attentionTarget(arithmetic, tune.BJ ?? 1, dsa.splits));

export const splitsMerge: Law = {
  name: "attention over splits of the slots, merged, is attention over all of them",
  kernels: ["sparse_mla_decode", "sparse_mla_combine"],
  async holds(dsa, executorOf, seed) {
    const whole = withSettings(dsa, { splits: "1" });
    const split = withSettings(dsa, { splits: String(Math.max(dsa.splits, 2)) });
    const pages = Math.ceil((dsa.topK + 1) / dsa.pageTokens);
    const problem = decodeProblem(dsa, {
      queries: 1,
      pages,
      kind: "normal",
      records: "arbitrary",
      slots: "withEmpty",
      lengths: "full",
      sink: dsa.sink ? "normal" : "none",
      pageGap: 0,
      seed,
    });
    const budgets = await Promise.all(
      [whole, split].map(async (spec) => budgetOf(spec, await executorOf("sparse_mla_decode", spec), problem)),
    );
    const [want, got] = [await decodeAttention(whole, executorOf, problem), await decodeAttention(split, executorOf, problem)];
    requireVerdict(compareAttention(problem.args.shape, decoded(want), sumOf(budgets[0]!, budgets[1]!), decoded(got)));
  },
};

export const everythingSelected: Law = {
  name: "selecting at least as many tokens as there are is dense attention",
  kernels: ["topk", "sparse_mla"],
  async holds(dsa, executorOf, seed) {
    const tokens = Math.min(dsa.topK, 50);
    const shape: AttentionShape = { queries: 1, heads: dsa.heads, slots: dsa.topK, tokens, dQk: dsa.dV + dsa.dRope, dV: dsa.dV };
    const problem = generateMla({ seed, kind: "normal", slotKind: "distinct", sink: "none", rowLengths: false, shape });
    const scores = generateScores({ seed, kind: "normal", queries: 1, tokens, k: dsa.topK });
    const idx = await select(await executorOf("topk", dsa), dsa, scores, 1);
    const attention = await executorOf("sparse_mla", dsa);
    const inputs = { q: problem.q.bytes, kv: problem.kv.bytes, idx: bytesOf(idx), lengths: bytesOf(Int32Array.of(dsa.topK)) };
    const sink = bytesOf(new Float32Array(dsa.heads).fill(-Infinity));
    const got = await attention.run({ ...inputs, sink, ...attentionOutputs(1, dsa) }, { Q: 1, T: tokens, kvPitch: shape.dQk });
    const args = { ...mlaArgs(problem), idx, scale: dsa.smScale };
    const want = denseMla({ shape, q: args.q, kv: args.kv, scale: dsa.smScale, first: [0], last: [tokens] });
    const budget = mlaBudget(args, attentionTarget(attention.arithmetic, attention.tune.BJ ?? 1, 1));
    requireVerdict(compareAttention(shape, want, budget, decoded(got)));
  },
};
