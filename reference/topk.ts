/**
 * Top-k selection: the k tokens that a query attends to.
 *
 * **Order.** Token a goes before token b when
 *
 * ```text
 * score(a) > score(b), or the scores are equal and a < b        (a, b: token indices)
 * ```
 *
 * where −0 equals +0, and NaN equals NaN and lies below −infinity. This is a total order, so the first k tokens of a window are one
 * particular set, whatever the scores are: all equal, all NaN, or a plateau of zeros that k cuts through.
 *
 * **Output** [queries, k] int32: the selected token indices in *ascending index* order, then −1. A window of at most k tokens gives
 * all its tokens, and its scores are not consulted (they may be NaN or never written).
 *
 * **Method.** Sort a copy of the window's scores by value; the k-th best value is the threshold. Everything above the threshold is in;
 * of the tokens equal to it the lowest indices fill what is left. One ascending walk emits both kinds in order.
 * @module
 */

import { requireShape } from "./shape.ts";

export interface TopKArgs {
  readonly shape: { readonly queries: number; readonly tokens: number; readonly k: number };
  /** [queries, tokens]; only cells inside the windows are read. */
  readonly scores: ArrayLike<number>;
  /** First token of each window [queries]. */
  readonly first: ArrayLike<number>;
  /** One past the last token of each window [queries]. */
  readonly last: ArrayLike<number>;
  /** Whether index 0 is token 0 ("row", the default) or the first token of the window ("window"). */
  readonly indexBase?: "row" | "window";
}

/** Indices [queries, k] of the k best tokens of every window, ascending, padded with −1. */
export function topK(args: TopKArgs): Int32Array {
  const { queries, tokens, k } = args.shape;
  requireShape("topK", "scores", args.scores, { queries, tokens });
  requireShape("topK", "first", args.first, { queries });
  requireShape("topK", "last", args.last, { queries });
  const indices = new Int32Array(queries * k).fill(-1);
  for (let t = 0; t < queries; t++) {
    const first = Math.max(args.first[t]!, 0);
    const last = Math.min(args.last[t]!, tokens);
    const base = args.indexBase === "window" ? first : 0;
    const out = indices.subarray(t * k, (t + 1) * k);
    if (last - first <= k) {
      for (let s = first; s < last; s++) out[s - first] = s - base;
    } else {
      selectRow(args.scores, t * tokens, first, last, base, out);
    }
  }
  return indices;
}

/** Fills `out` with the best out.length of the tokens [first, last), of which there are more. */
function selectRow(scores: ArrayLike<number>, rowAt: number, first: number, last: number, base: number, out: Int32Array): void {
  const k = out.length;
  const window = new Float64Array(last - first);
  for (let s = first; s < last; s++) window[s - first] = scores[rowAt + s]!;
  const ascending = window.slice().sort(); // NaN last
  let numbers = ascending.length;
  while (numbers > 0 && Number.isNaN(ascending[numbers - 1]!)) numbers--;
  const threshold = k <= numbers ? ascending[numbers - k]! : NaN;

  // with a NaN threshold every number is above it
  const isAbove = (x: number): boolean => (Number.isNaN(threshold) ? !Number.isNaN(x) : x > threshold);
  const isEqual = (x: number): boolean => (Number.isNaN(threshold) ? Number.isNaN(x) : x === threshold);
  let above = 0;
  for (let i = 0; i < window.length; i++) if (isAbove(window[i]!)) above++;
  let equalsLeft = k - above;
  let filled = 0;
  for (let i = 0; i < window.length && filled < k; i++) {
    const x = window[i]!;
    const taken = isAbove(x) || (isEqual(x) && equalsLeft-- > 0);
    if (taken) out[filled++] = first + i - base;
  }
}
