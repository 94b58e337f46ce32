/**
 * Exact top-k of the window [first, last) of every row: score descending, then token index ascending (-0 equals +0, NaN below -inf).
 * Output: token indices ascending, then -1.
 *
 * Guess, filter, prove: a sample of the row gives a bound that a few more than k scores should exceed. One pass keeps those in a bag. If
 * they are at least k and all fit, the top k is among them, whatever the sample was, and is selected on chip. A bound on a plateau (a
 * frequent score that k cuts through) leaves fewer: the rest are the first ones of the plateau. Any other wrong guess is rescued by a
 * radix select over the row, which needs neither luck nor room.
 */
import {
  append, bag, bitmap, blocks, clz32, div, each, gatherRuns, histogram, input, iota, kernel, load, map, mask, orderedKey, output, scalar, scan, store, sum,
} from "../index.ts";
import type { Range, Tile } from "../index.ts";
import type { Dsa } from "./spec.ts";

/** No key is greater. */
const LAST_KEY = 0xffffffff;

/** Keys from `lo` up to and including `hi`, of which there are `count`; the wanted one is the `want`-th of them from the top. */
interface Digits {
  readonly lo: number;
  readonly hi: number;
  readonly want: number;
  readonly count: number;
}

/**
 * The bin in which the wanted key lies. Bins divide the keys from lo to `fine` evenly; keys beyond are in the last one. `all` calls back
 * with the keys, in one tile or in several.
 */
function narrow<A extends string>(all: (count: (keys: Tile<"u32", A>) => void) => void, { lo, hi, want }: Digits, fine: number, bins: number, digits = histogram(bins)): Digits {
  const shift = Math.max(32 - Math.log2(bins) - clz32((fine - lo) | 0), 0);
  all((keys) => {
    digits.add(
      map([keys], (k) => Math.min((k - lo) >>> shift, bins - 1), "u32"),
      mask([keys], (k) => k >= lo && k <= hi),
    );
  });
  const { bin, above, inBin } = digits.find(want);
  const start = (lo + ((bin << shift) >>> 0)) >>> 0;
  return { lo: start, hi: bin === bins - 1 ? hi : (start + ((1 << shift) >>> 0) - 1) >>> 0, want: want - above, count: inBin };
}
/** Nothing is left to divide. */
const isSettled = ({ lo, hi, want, count }: Digits): boolean => lo === hi || want === count;

export const topK = (dsa: Dsa) =>
  kernel("topk", {
    args: {
      logits: input(dsa.logitsDtype, { q: "Q", t: "T" }, { pitch: { q: "logitsPitch" } }),
      first: input("i32", { q: "Q" }),
      last: input("i32", { q: "Q" }),
      idx: output("i32", { q: "Q", j: dsa.topK }),
    },
    /**
     * SAMPLE: scores of one round of the sample, of which long rows take several; DENSITY: scores of the whole sample for a row of one score,
     * it grows with the root of the length. BINS is a power of two. With ROOM for no more than k items every row is left to the radix select.
     */
    tune: { BT: 4096, SAMPLE: 1024, DENSITY: 12, BINS: 2048, ROOM: 5120, SPAN: 32768, WIDE: 1024 },
    grid: (a) => ({ q: each(a.logits.size.q) }),
    body(a, { BT, SAMPLE, DENSITY, BINS, ROOM, SPAN, WIDE }, { q }) {
      const lo = Math.max(scalar(load(a.first.tile({ q }))), 0);
      const hi = Math.min(scalar(load(a.last.tile({ q }))), a.logits.size.t);
      const length = hi - lo;
      const row = (t: Range<"t">) => a.logits.tile({ q, t });
      let isDone = length <= dsa.topK;
      if (isDone) {
        const slot = iota({ axis: "j", start: 0, size: dsa.topK });
        store(
          a.idx.tile({ q }),
          map([slot], (j) => (j < length ? lo + j : -1), "i32"),
        );
      }

      if (ROOM > dsa.topK && !isDone) {
        // ---- Guess: keys above `bound` are expected to be k and 4.5 deviations more; few of them above `ceiling`
        const from = (lo + 3) & -4; // the first whole vector
        const vectors = (hi - from) >> 2;
        let bound = 0;
        let ceiling = LAST_KEY;
        let isPlateau = true; // the bound is a frequent score itself
        if (vectors > 0) {
          // a jittered vector from each of equal strata
          const rounds = Math.max((Math.sqrt(length) * (DENSITY / SAMPLE)) | 0, 1);
          const strata = rounds * (SAMPLE / 4);
          const width = vectors / Math.sqrt(strata * strata); // in f32
          const sampled = (round: number): Tile<"u32", "v" | "t"> => {
            const stratum = iota({ axis: "v", start: round * (SAMPLE / 4), size: SAMPLE / 4 });
            const place = map([stratum], (v) => from + 4 * Math.max(Math.min(((v + ((v * 40503) & 0xffff) * 2 ** -16) * width) | 0, vectors - 1), 0), "i32");
            return map([gatherRuns(row({ axis: "t", start: 0, size: 4 }), { t: place })], orderedKey, "u32");
          };
          const firstRound = sampled(0);
          const inRounds = (count: (keys: Tile<"u32", "v" | "t">) => void): void => {
            count(firstRound);
            for (const round of each(rounds - 1)) count(sampled(round + 1));
          };
          const expected = div(4 * strata * dsa.topK, length);
          const spread = Math.sqrt(expected) * 4.5 + 4;
          const rank = Math.min(expected + spread, 4 * strata) | 0;
          const coarse = 32 - Math.log2(BINS);
          const digits = histogram(BINS);
          inRounds((keys) => {
            digits.add(
              map([keys], (k) => k >>> coarse, "u32"),
              mask([keys], () => true),
            );
          });
          const { bin, above, inBin } = digits.find(rank);
          const top = digits.find(Math.max(expected - spread, 1) | 0).bin;
          ceiling = ((top << coarse) >>> 0) + (2 ** coarse - 1);
          const enough = Math.max(rank >> 2, 2); // what a bin adds to the bag is cheaper than another digit
          let found: Digits = { lo: (bin << coarse) >>> 0, hi: ((bin << coarse) >>> 0) + (2 ** coarse - 1), want: rank - above, count: inBin };
          for (const _ of each(Math.ceil(32 / Math.log2(BINS)) - 1)) {
            if (found.count > enough) found = narrow(inRounds, found, found.hi, BINS);
          }
          isPlateau = found.count > enough || found.lo === 0;
          bound = isPlateau ? found.lo : (found.lo - 1) >>> 0;
        }

        // ---- Filter: the whole vectors of the window, then what is left before and behind them
        const kept = bag(ROOM, { x: "f32", t: "i32" });
        const digitsOfKept = histogram(BINS); // cleared while scores are on their way
        const whole = from + div(Math.max(hi - from, 0), BT) * BT;
        for (const tb of blocks("t", from, whole, BT)) {
          const scores = load(row(tb));
          kept.add(
            { x: scores, t: iota(tb) },
            mask([scores], (x) => orderedKey(x) > bound),
          );
        }
        for (const part of each(2)) {
          const start = part === 0 ? whole : lo;
          const end = part === 0 ? hi : Math.min(from, hi);
          for (const tb of blocks("t", start, end, BT)) {
            const x = load(row(tb));
            const t = iota(tb);
            kept.add(
              { x, t },
              mask([x, t], (x, t) => orderedKey(x) > bound && t < end),
            );
          }
        }

        // ---- Prove
        const count = kept.count;
        if (count >= dsa.topK && count <= ROOM) {
          const { x, t } = kept.items("c");
          const key = map([x], orderedKey, "u32");
          let found: Digits = { lo: (bound + 1) >>> 0, hi: LAST_KEY, want: dsa.topK, count };
          const keys = (count: (keys: Tile<"u32", "~c">) => void): void => count(key);
          found = narrow(keys, found, Math.max(ceiling, found.lo), BINS, digitsOfKept);
          for (const _ of each(Math.ceil(32 / Math.log2(BINS)))) {
            if (!isSettled(found)) found = narrow(keys, found, found.hi, BINS);
          }
          // of equal keys the first ones are wanted: the last ones counted from the window's end
          let lastTie = hi;
          if (found.count > found.want) {
            const fromEnd = map([key, t], (k, t) => (k === found.lo ? hi - t : 0) >>> 0, "u32");
            const tied = (count: (keys: Tile<"u32", "~c">) => void): void => count(fromEnd);
            const last = length >>> 0;
            let ties = narrow(tied, { lo: 1, hi: last, want: found.want, count: found.count }, last, BINS);
            for (const _ of each(Math.ceil(31 / Math.log2(BINS)) - 1)) {
              if (!isSettled(ties)) ties = narrow(tied, ties, ties.hi, BINS);
            }
            lastTie = hi - (ties.lo | 0);
          }
          const least = found.lo;
          const out = append(a.idx.tile({ q }));
          for (const span of blocks("t", lo, hi, SPAN)) {
            const marks = bitmap(SPAN);
            marks.add(
              map([t], (t) => t - span.start, "i32"),
              mask([key, t], (k, t) => t >= span.start && t < span.start + SPAN && k >= least && (k > least || t <= lastTie)),
            );
            out.pushMarked(marks, iota(span), Math.min(hi - span.start, SPAN));
          }
          out.fill(-1);
          isDone = true;
        } else if (isPlateau && count < dsa.topK) {
          const { t } = kept.items("c");
          const out = append(a.idx.tile({ q }));
          let ties = dsa.topK - count;
          for (const span of blocks("t", lo, hi, SPAN)) {
            const marks = bitmap(SPAN);
            marks.add(
              map([t], (t) => t - span.start, "i32"),
              mask([t], (t) => t >= span.start && t < span.start + SPAN),
            );
            const end = Math.min(span.start + SPAN, hi);
            for (const tb of blocks("t", span.start, end, WIDE)) {
              if (ties > 0) {
                const token = iota(tb);
                const isTie = mask([load(row(tb)), token], (x, t) => t < end && orderedKey(x) === bound);
                const rank = scan(isTie, "t");
                marks.add(
                  map([token], (t) => t - span.start, "i32"),
                  mask([isTie, rank], (tie, r) => tie !== 0 && r <= ties),
                );
                ties -= scalar(sum(isTie, "t"));
              }
            }
            out.pushMarked(marks, iota(span), end - span.start);
          }
          out.fill(-1);
          isDone = ties <= 0; // else the bound was no plateau after all, and all is written once more
        }
      }

      // ---- Rescue: four digits of eight bits over the row, then what is above the k-th key and the first ones of those equal to it
      if (!isDone) {
        let want = dsa.topK;
        let prefix = 0;
        let settled = 0; // bits of the key that prefix fixes
        for (const pass of each(4)) {
          const shift = 24 - 8 * pass;
          const bins = histogram(256);
          for (const tb of blocks("t", lo, hi, WIDE)) {
            const key = map([load(row(tb))], orderedKey, "u32");
            const digit = map([key], (k) => (k >>> shift) & 255, "u32");
            bins.add(
              digit,
              mask([key, iota(tb)], (k, t) => t < hi && ((k ^ prefix) & settled) === 0),
            );
          }
          const { bin, above } = bins.find(want);
          want -= above;
          prefix = (prefix | (bin << shift)) >>> 0;
          settled = (settled | (255 << shift)) >>> 0;
        }
        const out = append(a.idx.tile({ q }));
        let ties = want;
        for (const tb of blocks("t", lo, hi, WIDE)) {
          const token = iota(tb);
          const key = map([load(row(tb))], orderedKey, "u32");
          const isTie = mask([key, token], (k, t) => t < hi && k === prefix);
          const rank = scan(isTie, "t");
          out.push(
            token,
            mask([key, token, isTie, rank], (k, t, tie, r) => t < hi && (k > prefix || (tie !== 0 && r <= ties))),
          );
          ties -= scalar(sum(isTie, "t"));
        }
        out.fill(-1);
      }
    },
  });
