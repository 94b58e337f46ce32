/** Verdicts over cells that were picked out of a large result. */
import type { IndexerArgs } from "../../reference/index.ts";
import { decodeArray, indexerLogits, logitsBudget } from "../../reference/index.ts";
import { logitsTarget, referenceScore } from "../../verify/checks/indexer_logits.ts";
import type { Arithmetic } from "../../verify/executor.ts";
import { compare, type Verdict } from "../../verify/verdict.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";

/** One query of indexer logits over a few of its tokens. */
export interface SampledQuery {
  /** How a message names the query: "q 17". */
  readonly place: string;
  readonly tokens: readonly number[];
  /** Bytes of the query as stored, and of the key of each token. */
  readonly q: Uint8Array;
  readonly keys: readonly Uint8Array[];
  readonly qScale: Float32Array;
  readonly kScale: readonly number[];
  readonly w: Float32Array;
  /** The whole row of logits up to the end of the window. */
  readonly row: Float64Array;
}

/** Every cell of the row must have been written (its poison is NaN), and those of the sampled tokens must lie within their budget. */
export function judgeLogits(dsa: Dsa, { place, tokens, q, keys, qScale, kScale, w, row }: SampledQuery, arithmetic: Arithmetic): Verdict {
  const unwritten = row.findIndex((x) => Number.isNaN(x));
  if (unwritten >= 0) return { worst: Infinity, cells: row.length, failure: `logits[${place}, t ${unwritten}] was not written, or is NaN` };
  const args: IndexerArgs = {
    shape: { queries: 1, heads: dsa.indexerHeads, dim: dsa.indexerDim, tokens: tokens.length },
    q: decodeArray(dsa.indexDtype, q),
    qScale,
    k: decodeArray(dsa.indexDtype, joined(keys)),
    kScale,
    w,
    first: [0],
    last: [tokens.length],
    score: referenceScore(dsa),
  };
  const verdict = compare({
    output: "logits",
    axes: { sample: tokens.length },
    got: tokens.map((t) => row[t]!),
    want: indexerLogits(args),
    budget: logitsBudget(args, logitsTarget(dsa, arithmetic)),
  });
  const failure = verdict.failure?.replace(/sample (\d+)/, (_, i: string) => `${place}, t ${tokens[Number(i)]}`);
  return { ...verdict, ...(failure !== undefined && { failure }) };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all;
}
