/**
 * Selections in the words of those who read them: how many tokens a row selects, and where they lie in ragged or paged memory.
 * All take the indices that `topK` gives, −1 where nothing is selected.
 * @module
 */

import { requireShape } from "./shape.ts";

/** Selected tokens of each window: k, or the length of a shorter one. */
export function selectedCounts(args: {
  readonly shape: { readonly queries: number; readonly tokens: number; readonly k: number };
  /** [queries] */
  readonly first: ArrayLike<number>;
  /** One past the last token [queries]. */
  readonly last: ArrayLike<number>;
}): Int32Array {
  const { queries, tokens, k } = args.shape;
  requireShape("selectedCounts", "first", args.first, { queries });
  requireShape("selectedCounts", "last", args.last, { queries });
  return Int32Array.from({ length: queries }, (_, t) => {
    let length = 0;
    for (let s = 0; s < tokens; s++) if (s >= args.first[t]! && s < args.last[t]!) length++;
    return Math.min(length, k);
  });
}

/** Tokens of sequences that lie one behind the other: each index plus the offset of its row [queries]. */
export function raggedIndices(args: {
  readonly shape: { readonly queries: number; readonly k: number };
  /** [queries, k] */
  readonly idx: ArrayLike<number>;
  readonly offset: ArrayLike<number>;
}): Int32Array {
  const { queries, k } = args.shape;
  requireShape("raggedIndices", "idx", args.idx, { queries, k });
  requireShape("raggedIndices", "offset", args.offset, { queries });
  return Int32Array.from(args.idx, (s, i) => (s === -1 ? -1 : s + args.offset[Math.floor(i / k)]!));
}

/**
 * Slots of tokens in a paged cache: token s of a request lies at place s mod pageTokens of the page that entry ⌊s / pageTokens⌋ of its row
 * of the table names. −1 where it names none: its entry is below 0, or behind the table.
 */
export function pageSlots(args: {
  readonly shape: { readonly requests: number; readonly nextN: number; readonly k: number; readonly entries: number; readonly pageTokens: number };
  /** [requests, nextN, k] */
  readonly idx: ArrayLike<number>;
  /** [requests, entries] */
  readonly blockTable: ArrayLike<number>;
}): Int32Array {
  const { requests, nextN, k, entries, pageTokens } = args.shape;
  requireShape("pageSlots", "idx", args.idx, { requests, nextN, k });
  requireShape("pageSlots", "blockTable", args.blockTable, { requests, entries });
  const slots = new Int32Array(requests * nextN * k).fill(-1);
  for (let b = 0; b < requests; b++) {
    for (let i = b * nextN * k; i < (b + 1) * nextN * k; i++) {
      const token = args.idx[i]!;
      if (token < 0) continue;
      const inPage = token % pageTokens;
      const entry = (token - inPage) / pageTokens;
      const page = entry < entries ? args.blockTable[b * entries + entry]! : -1;
      if (page >= 0) slots[i] = page * pageTokens + inPage;
    }
  }
  return slots;
}
