/** Top-k against the reference, exactly. */
import fc from "fast-check";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  elementBytes,
  encodeArray,
  generateScores,
  generateWindows,
  randomOf,
  scoreKinds,
  topK,
  windowKinds,
  type ScoreKind,
  type Windows,
} from "../../reference/index.ts";
import { compare, pitchedRows } from "../verdict.ts";
import { affordable, bytesOf, extent, integers, poisoned, seed, type Check, type Shape, type Sweep } from "./check.ts";
import { logitsPitch } from "./indexer_logits.ts";

/**
 * aroundK: lengths of 0, 1, k − 1, k, k + 1 and the whole row; outside: windows that begin or end beyond the row, or end before they begin;
 * within: all of one length, the first at the row's start, the others anywhere.
 */
const selectionWindows = [...windowKinds, "aroundK", "outside", "within"] as const;
type SelectionWindows = (typeof selectionWindows)[number];

/** Rows of scores. */
export interface ScoresShape extends Shape {
  readonly tokens: number;
  readonly kind: ScoreKind;
  /** What the cells outside the windows hold: NaN, or a score that would win. */
  readonly unseen: "nan" | "infinity";
  readonly gap: number;
  readonly seed: number;
}
export interface TopKShape extends ScoresShape {
  readonly queries: number;
  readonly windows: SelectionWindows;
}

/** A score is read by five passes, each of several operations. */
const opsPerToken = 200;
const maxQueries = 4;
const longRow = (dsa: Dsa): number => dsa.topK + (dsa.topK >> 1) + 67;

/** Tokens of a row that "within" leaves outside of each window. */
const margin = 71;
/** Lengths of windows: at the sizes of tiles, samples, spans, tiers and vectors, and as long as contexts get. */
const sweepLengths = [1, 2, 3, 4, 5, 31, 65, 257, 1023, 1025, 2047, 2048, 2049, 2050, 4097, 8192, 8193, 12289, 20000, 33001, 65536, 70001, 131072, 2 ** 20];
/** How much more work than those of a run the cases of a sweep may have. */
const sweepOps = 4;
/** Tokens of the cases that are launched many times, at most. */
const REPEATED = 33001;
/** Numbers of tokens to select that a sweep has. */
export const sweepTopK = [1, 3, 8, 512, 1000, 1024, 2048, 4096] as const;

export const topKCheck: Check<TopKShape> = {
  fixed(dsa) {
    const base = { queries: 3, tokens: longRow(dsa), windows: "causalTail", unseen: "infinity", gap: 0, seed: 1 } as const;
    return [
      ...scoreKinds.map((kind) => ({ ...base, queries: 1, kind })),
      ...selectionWindows.map((windows) => ({ ...base, kind: "normal" as const, windows, unseen: "nan" as const, gap: 5 })),
    ];
  },

  shapes(dsa, budget) {
    const { tokens, kind, ...more } = scoresShapes(dsa, budget);
    return fc.record({ queries: fc.integer({ min: 1, max: maxQueries }), tokens, kind, windows: fc.constantFrom(...selectionWindows), ...more });
  },

  sweep: (_, budget) => sweepOf(budget, (scores) => ({ queries: 2, windows: "within", ...scores, tokens: scores.tokens + margin })),

  prepare(dsa, shape) {
    const { queries, tokens } = shape;
    const windows = windowsOf({ seed: shape.seed, kind: shape.windows, queries, tokens }, dsa.topK);
    const { logits, pitch, scores } = logitsOf(dsa, shape, queries, windows);
    const want = topK({ shape: { queries, tokens, k: dsa.topK }, scores, ...windows });
    return {
      buffers: { logits, first: bytesOf(windows.first), last: bytesOf(windows.last), idx: poisoned(4 * queries * dsa.topK, 0x5a) },
      dims: { Q: queries, T: tokens, logitsPitch: pitch },
      judge: ({ idx }) => compare({ output: "idx", axes: { q: queries, j: dsa.topK }, got: integers(idx!), want, budget: 0 }),
    };
  },
};

/** Every length that `budget` allows times every kind of scores, at odd distances too. */
export function sweepOf<S extends ScoresShape>(budget: number, shapeOf: (scores: ScoresShape) => S): Sweep<S> {
  const lengths = sweepLengths.filter((length) => length * opsPerToken <= sweepOps * budget);
  const casesOf = (tokens: number): S[] =>
    scoreKinds.map((kind, i) => shapeOf({ tokens, kind, unseen: i % 4 === 0 ? "nan" : "infinity", gap: i % 3, seed: tokens + i }));
  return { cases: lengths.flatMap(casesOf), repeated: casesOf(Math.max(...lengths.filter((length) => length <= REPEATED))) };
}

/** What the shapes of all kernels that select have in common. */
export function scoresShapes(dsa: Dsa, budget: number) {
  const most = affordable(budget, opsPerToken * maxQueries, longRow(dsa), 20000);
  return {
    tokens: fc.oneof({ withCrossShrink: true }, extent(1, most), extent(Math.max(dsa.topK - 1, 1), Math.min(dsa.topK + 2, most))),
    kind: fc.constantFrom(...scoreKinds),
    unseen: fc.constantFrom("nan" as const, "infinity" as const),
    gap: fc.constantFrom(0, 1, 5, 64),
    seed,
  };
}

/** Scores drawn for each window, so that k cuts them as their kind says, with bait around: as the kernel takes them, and as numbers. */
export function logitsOf(dsa: Dsa, { tokens, kind, unseen, gap, seed }: ScoresShape, queries: number, windows: Windows) {
  const drawn = new Float32Array(queries * tokens).fill(unseen === "nan" ? NaN : Infinity);
  for (let t = 0; t < queries; t++) {
    const first = Math.max(windows.first[t]!, 0);
    const length = Math.min(windows.last[t]!, tokens) - first;
    if (length > 0) drawn.set(generateScores({ seed: seed + t, kind, queries: 1, tokens: length, k: Math.min(dsa.topK, length) }), t * tokens + first);
  }
  const stored = dsa.logitsDtype === "f32" ? bytesOf(drawn) : encodeArray(dsa.logitsDtype, drawn);
  const pitch = logitsPitch(dsa, tokens, gap);
  const size = elementBytes(dsa.logitsDtype);
  return {
    logits: pitchedRows(stored, queries, tokens * size, pitch * size, 0xff),
    /** In elements. */
    pitch,
    scores: decodeArray(dsa.logitsDtype, stored),
  };
}

export function windowsOf(spec: { seed: number; kind: SelectionWindows; queries: number; tokens: number }, k: number): Windows {
  const { seed, kind, queries, tokens } = spec;
  if (kind !== "aroundK" && kind !== "outside" && kind !== "within") return generateWindows({ seed, kind, queries, tokens });
  const random = randomOf(seed);
  const windows = { first: new Int32Array(queries), last: new Int32Array(queries) };
  for (let t = 0; t < queries; t++) {
    if (kind === "aroundK") {
      const length = Math.min([k - 1, k, k + 1, tokens, 0, 1][(t + seed) % 6]!, tokens);
      windows.first[t] = random.integer(0, tokens - length);
      windows.last[t] = windows.first[t]! + length;
    } else if (kind === "within") {
      const left = Math.min(margin, tokens - 1);
      windows.first[t] = t === 0 ? 0 : random.integer(0, left);
      windows.last[t] = windows.first[t]! + tokens - left;
    } else {
      const [before, behind] = [random.integer(0, 9), random.integer(0, 9)];
      const inverted = (t + seed) % 3 === 2;
      windows.first[t] = inverted ? tokens + behind : -before;
      windows.last[t] = inverted ? -before : tokens + behind;
    }
  }
  return windows;
}
