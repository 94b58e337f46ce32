/**
 * Exact top-k of the window [first, last) of every row: score descending, then token index ascending (-0 equals +0, NaN below -inf).
 * Output: token indices ascending, then -1. Radix select over a 32-bit key, four digits of eight bits; nothing can overflow.
 */
import { append, bitsOf, blocks, each, histogram, input, iota, kernel, load, map, mask, output, scalar, scan, sum } from "../index.ts";
import type { Dsa } from "./spec.ts";

/** Monotone image of the total order in u32, by integer operations alone: WGSL may assume that no float is NaN. */
export const orderedKey = (x: number): number => {
  const u = bitsOf(x);
  const magnitude = (u << 1) >>> 0;
  if (magnitude > 0xff000000) return 0; // NaN
  if (magnitude === 0) return 0x80000000; // both zeros
  return (u >>> 31 === 1 ? ~u : u | 0x80000000) >>> 0;
};

export const topK = (dsa: Dsa) =>
  kernel("topk", {
    args: {
      logits: input(dsa.logitsDtype, { q: "Q", t: "T" }, { pitch: { q: "logitsPitch" } }),
      first: input("i32", { q: "Q" }),
      last: input("i32", { q: "Q" }),
      idx: output("i32", { q: "Q", j: dsa.topK }),
    },
    tune: { BT: 1024 },
    grid: (a) => ({ q: each(a.logits.size.q) }),
    body(a, { BT }, { q }) {
      const lo = Math.max(scalar(load(a.first.tile({ q }))), 0);
      const hi = Math.min(scalar(load(a.last.tile({ q }))), a.logits.size.t);
      const out = append(a.idx.tile({ q }));
      if (hi - lo <= dsa.topK) {
        for (const tb of blocks("t", lo, hi, BT)) {
          const token = iota(tb);
          out.push(token, mask([token], (t) => t < hi));
        }
      } else {
        let want = dsa.topK;
        let prefix = 0;
        let settled = 0; // bits of the key that prefix fixes
        for (const pass of each(4)) {
          const shift = 24 - 8 * pass;
          const bins = histogram(256);
          for (const tb of blocks("t", lo, hi, BT)) {
            const key = map([load(a.logits.tile({ q, t: tb }))], orderedKey, "u32");
            const digit = map([key], (k) => (k >>> shift) & 255, "u32");
            bins.add(digit, mask([key, iota(tb)], (k, t) => t < hi && ((k ^ prefix) & settled) === 0));
          }
          const { bin, above } = bins.find(want);
          want -= above;
          prefix = (prefix | (bin << shift)) >>> 0;
          settled = (settled | (255 << shift)) >>> 0;
        }
        let ties = want;
        for (const tb of blocks("t", lo, hi, BT)) {
          const token = iota(tb);
          const key = map([load(a.logits.tile({ q, t: tb }))], orderedKey, "u32");
          const isTie = mask([key, token], (k, t) => t < hi && k === prefix);
          const rank = scan(isTie, "t");
          out.push(token, mask([key, token, isTie, rank], (k, t, tie, r) => t < hi && (k > prefix || (tie !== 0 && r <= ties))));
          ties -= scalar(sum(isTie, "t"));
        }
      }
      out.fill(-1);
    },
  });
