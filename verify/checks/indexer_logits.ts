/** Contiguous indexer logits against the reference. */
import fc from "fast-check";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  elementBytes,
  generateIndexer,
  indexerArgs,
  indexerKinds,
  indexerLogits,
  logitsBudget,
  windowKinds,
  type IndexerKind,
  type LogitsTarget,
  type ScaleRule,
  type Score,
  type WindowKind,
} from "../../reference/index.ts";
import type { Arithmetic } from "../executor.ts";
import { all, compare, packedRows, untouchedGaps } from "../verdict.ts";
import { affordable, bytesOf, extent, poisoned, seed, type Check, type Shape } from "./check.ts";

export interface IndexerShape extends Shape {
  readonly queries: number;
  readonly tokens: number;
  readonly kind: IndexerKind;
  readonly windows: WindowKind;
  /** Windows at the ends of the tokens reach beyond them. */
  readonly overhang: boolean;
  readonly rule: ScaleRule;
  /** Elements between the rows of the logits, before rounding up to whole words. */
  readonly gap: number;
  readonly seed: number;
}

const maxQueries = 5;
const mostTokens = (dsa: Dsa, budget: number): number => affordable(budget, maxQueries * dsa.indexerHeads * dsa.indexerDim, 67, 1000);
export const scaleRules = ["multiply", "divide", "pow2"] as const satisfies readonly ScaleRule[];

/** The reference's own score of that name. Another function is the spec's; budgets then need to be told its accuracy. */
export const referenceScore = ({ score }: Dsa): Score => (score.name === "relu" || score.name === "softplus" ? score.name : score.f);

/** What budgets of the logits start from. */
export const logitsTarget = ({ indexDtype, logitsDtype, score }: Dsa, { accumulator, e4m3, split }: Arithmetic): LogitsTarget => ({
  accumulator: (indexDtype === "e4m3" && e4m3) || accumulator,
  output: logitsDtype,
  split: (split ?? false) && score.name === "relu",
});

/** A problem of the scorer, and the buffers that it reads. */
export function scorerProblem(dsa: Dsa, { queries, tokens, kind, windows, overhang, rule, seed }: Pick<IndexerShape, "queries" | "tokens" | "kind" | "windows" | "overhang" | "rule" | "seed">) {
  const shape = { queries, heads: dsa.indexerHeads, dim: dsa.indexerDim, tokens };
  const operands = dsa.indexDtype === "e4m3" ? { format: "e4m3" as const, rule } : { format: dsa.indexDtype };
  const problem = generateIndexer({ seed, kind, windows, shape, operands, score: referenceScore(dsa) });
  if (overhang) {
    problem.first.forEach((first, t) => first === 0 && (problem.first[t] = -7));
    problem.last.forEach((last, t) => last === tokens && (problem.last[t] = tokens + 9));
  }
  const { q, k, qScale, kScale, w, first, last } = problem;
  const inputs = { q: q.bytes, k: k.bytes, qScale: bytesOf(qScale), kScale: bytesOf(kScale), w: bytesOf(w), first: bytesOf(first), last: bytesOf(last) };
  return { problem, inputs };
}

/** A pitch of rows of a narrow output is a whole number of words. */
export function logitsPitch(dsa: Dsa, tokens: number, gap: number): number {
  const perWord = 4 / elementBytes(dsa.logitsDtype);
  return Math.ceil((tokens + gap) / perWord) * perWord;
}

export const indexerLogitsCheck: Check<IndexerShape> = {
  fixed(dsa, budget) {
    const tokens = Math.min(mostTokens(dsa, budget), 131);
    const base = { queries: 3, tokens, windows: "unalignedStarts", overhang: false, rule: "divide", gap: 5, seed: 1 } as const;
    return [
      ...indexerKinds.map((kind) => ({ ...base, kind })),
      ...windowKinds.map((windows) => ({ ...base, kind: "normal" as const, windows, overhang: true, rule: "pow2" as const, gap: 0 })),
    ];
  },

  shapes(dsa, budget) {
    return fc.record({
      queries: fc.integer({ min: 1, max: maxQueries }),
      tokens: extent(1, mostTokens(dsa, budget)),
      kind: fc.constantFrom(...indexerKinds),
      windows: fc.constantFrom(...windowKinds),
      overhang: fc.boolean(),
      rule: fc.constantFrom(...scaleRules),
      gap: fc.constantFrom(0, 1, 5, 64),
      seed,
    });
  },

  prepare(dsa, { queries, tokens, kind, windows, overhang, rule, gap, seed }) {
    const { problem, inputs } = scorerProblem(dsa, { queries, tokens, kind, windows, overhang, rule, seed });
    const pitch = logitsPitch(dsa, tokens, gap);
    const [rowBytes, pitchBytes] = [tokens, pitch].map((n) => n * elementBytes(dsa.logitsDtype)) as [number, number];
    return {
      buffers: { ...inputs, logits: poisoned(queries * pitchBytes) },
      dims: { Q: queries, T: tokens, logitsPitch: pitch },
      judge({ logits }, { arithmetic }) {
        const args = indexerArgs(problem);
        return all([
          untouchedGaps("logits", logits!, queries, rowBytes, pitchBytes),
          compare({
            output: "logits",
            axes: { q: queries, t: tokens },
            got: decodeArray(dsa.logitsDtype, packedRows(logits!, queries, rowBytes, pitchBytes)),
            want: indexerLogits(args),
            budget: logitsBudget(args, logitsTarget(dsa, arithmetic)),
          }),
        ]);
      },
    };
  },
};
