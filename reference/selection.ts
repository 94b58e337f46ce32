/**
 * What a row of selected tokens has to be: tokens of the window in ascending order, then −1. Indices that were recorded and are used again
 * are held to it.
 * @module
 */

import { requireShape } from "./shape.ts";

export interface SelectionArgs {
  readonly shape: { readonly queries: number; readonly slots: number };
  /** [queries, slots] */
  readonly idx: ArrayLike<number>;
  /** First token of each window [queries]; below 0 counts as 0. */
  readonly first: ArrayLike<number>;
  /** One past the last token of each window [queries]. */
  readonly last: ArrayLike<number>;
}

/**
 * Slots of each query [queries] that break the rule: a token outside the window, one not above the number in the slot before (which also
 * finds what comes twice, and what stands behind a −1), or a number below −1.
 */
export function selectionFaults({ shape: { queries, slots }, idx, first, last }: SelectionArgs): Int32Array {
  requireShape("selectionFaults", "idx", idx, { queries, slots });
  requireShape("selectionFaults", "first", first, { queries });
  requireShape("selectionFaults", "last", last, { queries });
  return Int32Array.from({ length: queries }, (_, t) => {
    const row = Array.from({ length: slots }, (_, j) => idx[t * slots + j]!);
    return row.filter((token, j) => {
      if (token === -1) return false;
      const before = j === 0 ? null : row[j - 1]!;
      const inWindow = token >= 0 && token >= first[t]! && token < last[t]!;
      return !inWindow || (before !== null && (before < 0 || before >= token));
    }).length;
  });
}
