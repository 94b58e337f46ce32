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
import { affordable, bytesOf, extent, poisoned, seed, type Check, type Shape } from "./check.ts";
import { logitsPitch } from "./indexer_logits.ts";

/** aroundK: lengths of 0, 1, k − 1, k, k + 1 and the whole row; outside: windows that begin or end beyond the row, or end before they begin. */
const selectionWindows = [...windowKinds, "aroundK", "outside"] as const;
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

  prepare(dsa, shape) {
    const { queries, tokens } = shape;
    const windows = windowsOf({ seed: shape.seed, kind: shape.windows, queries, tokens }, dsa.topK);
    const { logits, pitch, scores } = logitsOf(dsa, shape, queries, windows);
    return {
      buffers: { logits, first: bytesOf(windows.first), last: bytesOf(windows.last), idx: poisoned(4 * queries * dsa.topK, 0x5a) },
      dims: { Q: queries, T: tokens, logitsPitch: pitch },
      judge({ idx }) {
        const want = topK({ shape: { queries, tokens, k: dsa.topK }, scores, ...windows });
        return compare({ output: "idx", axes: { q: queries, j: dsa.topK }, got: integers(idx!), want, budget: 0 });
      },
    };
  },
};

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

export const integers = (bytes: Uint8Array): Int32Array => new Int32Array(bytes.slice().buffer);

/** Scores with bait outside the windows: as the kernel takes them, and as numbers. */
export function logitsOf(dsa: Dsa, { tokens, kind, unseen, gap, seed }: ScoresShape, queries: number, windows: Windows) {
  const drawn = generateScores({ seed, kind, queries, tokens, k: Math.min(dsa.topK, tokens) });
  for (let i = 0; i < drawn.length; i++) {
    const [t, s] = [Math.floor(i / tokens), i % tokens];
    if (s < windows.first[t]! || s >= windows.last[t]!) drawn[i] = unseen === "nan" ? NaN : Infinity;
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
  if (kind !== "aroundK" && kind !== "outside") return generateWindows({ seed, kind, queries, tokens });
  const random = randomOf(seed);
  const windows = { first: new Int32Array(queries), last: new Int32Array(queries) };
  for (let t = 0; t < queries; t++) {
    if (kind === "aroundK") {
      const length = Math.min([k - 1, k, k + 1, tokens, 0, 1][(t + seed) % 6]!, tokens);
      windows.first[t] = random.integer(0, tokens - length);
      windows.last[t] = windows.first[t]! + length;
    } else {
      const [before, behind] = [random.integer(0, 9), random.integer(0, 9)];
      const inverted = (t + seed) % 3 === 2;
      windows.first[t] = inverted ? tokens + behind : -before;
      windows.last[t] = inverted ? -before : tokens + behind;
    }
  }
  return windows;
}
