/**
 * How much of the true attention a selection of tokens holds, in f64 and on the trace's own values.
 *
 * The attention mass of a query is what its indexer was trained towards: the main heads' probabilities over tokens 0..t, summed over heads
 * and normalised to 1. The recall of k tokens is the mass that they hold. Source: DeepSeek-V3.2 paper, dense warm-up.
 */
import { valuesOf, type TraceLayer } from "./index.ts";

/** A layer with its tensors as numbers; decode once, then ask for any query. */
export interface LayerValues extends Pick<TraceLayer, "positions" | "smScale" | "heads" | "dQk" | "indexHeads" | "indexDim"> {
  readonly q: Float64Array;
  readonly rows: Float64Array;
  readonly indexQ: Float64Array;
  readonly indexK: Float64Array;
  readonly indexW: Float64Array;
}

export const decodeLayer = (layer: TraceLayer): LayerValues => ({
  ...layer,
  q: valuesOf(layer.qAbsorbed),
  rows: valuesOf(layer.kvRows),
  indexQ: valuesOf(layer.indexQ),
  indexK: valuesOf(layer.indexK),
  indexW: valuesOf(layer.indexW),
});

function dot(a: Float64Array, aStart: number, b: Float64Array, bStart: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aStart + i]! * b[bStart + i]!;
  return sum;
}

/** Tokens that a query sees: its own position and everything before. */
const visible = (layer: LayerValues, query: number): number => layer.positions[query]! + 1;

/** [t + 1]: the heads' probabilities, summed and normalised to 1. */
export function attentionMass(layer: LayerValues, query: number): Float64Array {
  const { heads, dQk, smScale } = layer;
  const mass = new Float64Array(visible(layer, query));
  for (let head = 0; head < heads; head++) {
    const logits = mass.map((_, s) => smScale * dot(layer.q, (query * heads + head) * dQk, layer.rows, s * dQk, dQk));
    const max = logits.reduce((a, b) => Math.max(a, b));
    const weights = logits.map((z) => Math.exp(z - max));
    const total = weights.reduce((a, b) => a + b);
    for (let s = 0; s < mass.length; s++) mass[s]! += weights[s]! / total / heads;
  }
  return mass;
}

/** [t + 1]: I(t, s) from unquantised values. */
export function indexScores(layer: LayerValues, query: number): Float64Array {
  const { indexHeads, indexDim } = layer;
  return new Float64Array(visible(layer, query)).map((_, s) => {
    let score = 0;
    for (let head = 0; head < indexHeads; head++) {
      const at = query * indexHeads + head;
      score += layer.indexW[at]! * Math.max(0, dot(layer.indexQ, at * indexDim, layer.indexK, s * indexDim, indexDim));
    }
    return score;
  });
}

/** The k best tokens, or all where there are fewer: score descending, then token index ascending. */
export const topTokens = (scores: Float64Array, k: number): number[] =>
  [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, k);

export const slidingWindow = (tokens: number, k: number): number[] =>
  Array.from({ length: Math.min(k, tokens) }, (_, i) => tokens - 1 - i);

export const massHeld = (mass: Float64Array, tokens: readonly number[]): number => tokens.reduce((sum, token) => sum + mass[token]!, 0);

export interface Recall {
  /** Best k by index score, by mass itself (no selection of k can do better), and the last k. */
  readonly indexer: number;
  readonly oracle: number;
  readonly window: number;
}

/** Mean over the trace's queries, for each k. */
export function recallTable(layer: LayerValues, sizes: readonly number[]): ReadonlyMap<number, Recall> {
  const queries = layer.positions.map((_, query) => {
    const mass = attentionMass(layer, query);
    return { mass, byScore: topTokens(indexScores(layer, query), mass.length), byMass: topTokens(mass, mass.length) };
  });
  const mean = (held: (query: (typeof queries)[number]) => number): number =>
    queries.reduce((sum, query) => sum + held(query), 0) / queries.length;
  return new Map(
    sizes.map((k) => [
      k,
      {
        indexer: mean(({ mass, byScore }) => massHeld(mass, byScore.slice(0, k))),
        oracle: mean(({ mass, byMass }) => massHeld(mass, byMass.slice(0, k))),
        window: mean(({ mass }) => massHeld(mass, slidingWindow(mass.length, k))),
      },
    ]),
  );
}
