/**
 * Exact top-k of the window [first, last) of every row: score descending, then token index ascending (-0 equals +0, NaN below -inf). Rows
 * of the output are in the order of tokens, then -1. Its forms say tokens in the words of those who read them:
 *
 * | kernel | a selected token is written as |
 * |---|---|
 * | `topk` | its index in the row |
 * | `topk_window` | its index in the window |
 * | `topk_ragged` | its index in the row plus the row's offset |
 * | `topk_slots` | its slot in a paged cache |
 *
 * All but `topk` also say how many entries of each row are selected: k, or the length of a shorter window.
 *
 * Guess, filter, prove: a sample of the row gives a bound that a few more than k scores should exceed. One pass keeps those in a bag. If
 * they are at least k and all fit, the top k is among them, whatever the sample was, and is selected on chip. A bound on a plateau (a
 * frequent score that k cuts through) leaves fewer: the rest are the first ones of the plateau. Any other wrong guess is rescued by
 * digits of the row's own keys, which needs neither luck nor room.
 */
import {
  append, bag, bitmap, blocks, clz32, div, each, full, gather, gatherRuns, histogram, input, iota, kernel, load, map, mask, mod, orderedKey, output, scalar, scan, store, sum,
} from "../index.ts";
import type { Bitmap, Range, Tile, View } from "../index.ts";
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
/** Nothing is left to divide. */
const isSettled = ({ lo, hi, want, count }: Digits): boolean => lo === hi || want === count;

/** Some of a set of scores: what is computed from each key and its token, and where something holds for them. */
interface Part<A extends string> {
  readonly numbers: (f: (key: number, token: number) => number) => Tile<"u32", A>;
  readonly where: (holds: (key: number, token: number) => boolean) => Tile<"bool", A>;
}
/** A set of scores, part by part. */
type Scores<A extends string> = (visit: (part: Part<A>) => void) => void;

const keyItself = (key: number): number => key;

/** The bin in which the wanted number lies. Bins divide the numbers from lo to `fine` evenly; numbers beyond are in the last one. */
function narrow<A extends string>(scores: Scores<A>, number: (key: number, token: number) => number, { lo, hi, want }: Digits, fine: number, bins: number, digits = histogram(bins)): Digits {
  const shift = Math.max(32 - Math.log2(bins) - clz32((fine - lo) | 0), 0);
  scores(({ numbers, where }) => {
    digits.add(
      numbers((k, t) => Math.min((number(k, t) - lo) >>> shift, bins - 1)),
      where((k, t) => number(k, t) >= lo && number(k, t) <= hi),
    );
  });
  const { bin, above, inBin } = digits.find(want);
  const start = (lo + ((bin << shift) >>> 0)) >>> 0;
  return { lo: start, hi: bin === bins - 1 ? hi : (start + ((1 << shift) >>> 0) - 1) >>> 0, want: want - above, count: inBin };
}

/** What is selected: all keys above `least`, and of those equal to it the tokens up to `lastTie`. */
interface Cut {
  readonly least: number;
  readonly lastTie: number;
}

/** The cut that leaves the best, which digits have narrowed down to `start`; all tokens lie in the `length` ones before `end`. */
function cutOf<A extends string>(scores: Scores<A>, start: Digits, end: number, length: number, bins: number): Cut {
  let found = start;
  for (const _ of each(Math.ceil(32 / Math.log2(bins)))) {
    if (!isSettled(found)) found = narrow(scores, keyItself, found, found.hi, bins);
  }
  const least = found.lo;
  // of equal keys the first ones are wanted: the last ones counted from the window's end
  let lastTie = end;
  if (found.count > found.want) {
    const fromEnd = (key: number, token: number): number => (key === least ? end - token : 0) >>> 0;
    const last = length >>> 0;
    let ties = narrow(scores, fromEnd, { lo: 1, hi: last, want: found.want, count: found.count }, last, bins);
    for (const _ of each(Math.ceil(31 / Math.log2(bins)) - 1)) {
      if (!isSettled(ties)) ties = narrow(scores, fromEnd, ties, ties.hi, bins);
    }
    lastTie = end - (ties.lo | 0);
  }
  return { least, lastTie };
}

/** Marks what the cut leaves of the tokens from `start` to `end`. */
function markSelected<A extends string>(marks: Bitmap, scores: Scores<A>, { least, lastTie }: Cut, start: number, end: number): void {
  scores(({ numbers, where }) => {
    marks.add(
      numbers((_, t) => (t - start) >>> 0),
      where((k, t) => t >= start && t < end && k >= least && (k > least || t <= lastTie)),
    );
  });
}

/** One query's scores, and the list that it gets. */
interface Query {
  readonly row: (t: Range<"t">) => View<"f32" | "bf16", "t">;
  /** The window [lo, hi), inside the row. */
  readonly lo: number;
  readonly hi: number;
  /** What the list says of each token of a range, a function of the token alone. */
  readonly entryOf: <A extends string>(tokens: Range<A>) => Tile<"i32", A>;
  readonly list: View<"i32", "j">;
}

/**
 * SAMPLE: scores of one round of the sample, of which long rows take several; DENSITY: scores of the whole sample for a row of one score,
 * it grows with the root of the length. BINS is a power of two. With ROOM for no more than k items every row is left to the rescue.
 */
const selectTune = { BT: 4096, SAMPLE: 1024, DENSITY: 12, BINS: 2048, ROOM: 5120, SPAN: 32768, WIDE: 1024 };

/** Writes the entries of the k best tokens in the order of tokens, then -1. */
function select(k: number, { BT, SAMPLE, DENSITY, BINS, ROOM, SPAN, WIDE }: typeof selectTune, { row, lo, hi, entryOf, list }: Query): void {
  const length = hi - lo;
  let isDone = length <= k;
  if (isDone) {
    const slot = iota({ axis: "j", start: 0, size: k });
    const entry = entryOf({ axis: "j", start: lo, size: k });
    store(
      list,
      map([slot, entry], (j, e) => (j < length ? e : -1), "i32"),
    );
  }

  // ---- Guess: keys above `bound` are expected to be k and five deviations more; few of them above `ceiling`
  const from = (lo + 3) & -4; // the first whole vector
  const vectors = (hi - from) >> 2;
  let bound = 0;
  let ceiling = LAST_KEY;
  let isPlateau = true; // the bound is a frequent score itself
  let isShort = false; // fewer than k keys are above it
  if (!isDone) {
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
      const part = (keys: Tile<"u32", "v" | "t">): Part<"v" | "t"> => ({
        numbers: (f) => map([keys], (k) => f(k, 0), "u32"),
        where: (holds) => mask([keys], (k) => holds(k, 0)),
      });
      const sample: Scores<"v" | "t"> = (visit) => {
        visit(part(firstRound));
        for (const round of each(rounds - 1)) visit(part(sampled(round + 1)));
      };
      const expected = div(4 * strata * k, length);
      const spread = Math.sqrt(expected) * 4 + 16; // in small samples neighbours that are alike weigh most
      const rank = Math.min(expected + spread, 4 * strata) | 0;
      const coarse = 32 - Math.log2(BINS);
      const digits = histogram(BINS);
      sample(({ numbers, where }) => {
        digits.add(
          numbers((k) => k >>> coarse),
          where(() => true),
        );
      });
      const { bin, above, inBin } = digits.find(rank);
      const top = digits.find(Math.max(expected - spread, 1) | 0).bin;
      ceiling = ((top << coarse) >>> 0) + (2 ** coarse - 1);
      const enough = Math.max(rank >> 2, 2); // what a bin adds to the bag is cheaper than another digit
      let found: Digits = { lo: (bin << coarse) >>> 0, hi: ((bin << coarse) >>> 0) + (2 ** coarse - 1), want: rank - above, count: inBin };
      for (const _ of each(Math.ceil(32 / Math.log2(BINS)) - 1)) {
        if (found.count > enough) found = narrow(sample, keyItself, found, found.hi, BINS);
      }
      isPlateau = found.count > enough || found.lo === 0;
      bound = isPlateau ? found.lo : (found.lo - 1) >>> 0;
    }

    if (ROOM > k) {
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
      isShort = count < k;
      if (count >= k && count <= ROOM) {
        const { x, t } = kept.items("c");
        const key = map([x], orderedKey, "u32");
        const items: Scores<"~c"> = (visit) => {
          visit({ numbers: (f) => map([key, t], f, "u32"), where: (holds) => mask([key, t], holds) });
        };
        const above: Digits = { lo: (bound + 1) >>> 0, hi: LAST_KEY, want: k, count };
        const first = narrow(items, keyItself, above, Math.max(ceiling, above.lo), BINS, digitsOfKept);
        const cut = cutOf(items, first, hi, length, BINS);
        const out = append(list);
        for (const span of blocks("t", lo, hi, SPAN)) {
          const marks = bitmap(SPAN);
          markSelected(marks, items, cut, span.start, span.start + SPAN);
          out.pushMarked(marks, entryOf(span), Math.min(hi - span.start, SPAN));
        }
        out.fill(-1);
        isDone = true;
      } else if (isPlateau && isShort) {
        const { t } = kept.items("c");
        const out = append(list);
        let ties = k - count;
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
          out.pushMarked(marks, entryOf(span), end - span.start);
        }
        out.fill(-1);
        isDone = ties <= 0; // else the bound was no plateau after all, and all is written once more
      }
    }
  }

  // ---- Rescue: digits of the row itself
  if (!isDone) {
    const partOf = (tb: Range<"t">, end: number): Part<"t"> => {
      const key = map([load(row(tb))], orderedKey, "u32");
      const token = iota(tb);
      return { numbers: (f) => map([key, token], f, "u32"), where: (holds) => mask([key, token], (k, t) => t < end && holds(k, t)) };
    };
    const scoresOf = (start: number, end: number): Scores<"t"> => (visit) => {
      for (const tb of blocks("t", start, end, WIDE)) visit(partOf(tb, end));
    };
    // a fine digit where the k-th key is expected, and few others: above the bound, or up to twice as far below it. What is above is counted apart
    const far = (Math.min(Math.max(ceiling, bound) - bound, bound >>> 1) << 1) >>> 0;
    const floor = isShort ? (bound - far) >>> 0 : isPlateau ? bound : (bound + 1) >>> 0;
    const top = isShort ? bound : Math.max(ceiling, floor);
    const shift = Math.max(32 - Math.log2(BINS) - clz32((top - floor) | 0), 0);
    const digits = histogram(BINS);
    let over = full({ t: WIDE }, 0);
    for (const tb of blocks("t", lo, hi, WIDE)) {
      const { numbers, where } = partOf(tb, hi);
      const isOver = where((k) => k > top);
      over = map([over, isOver], (n, isOver) => (isOver !== 0 ? n + 1 : n));
      digits.add(
        numbers((k) => (k - floor) >>> shift),
        where((k) => k >= floor && k <= top),
      );
    }
    const want = k - (scalar(sum(over, "t")) | 0);
    const { bin, above, inBin } = digits.find(Math.max(want, 1));
    const start = (floor + ((bin << shift) >>> 0)) >>> 0;
    let found: Digits = { lo: 0, hi: LAST_KEY, want: k, count: length };
    if (want > 0 && above + inBin >= want) found = { lo: start, hi: (start + Math.min(((1 << shift) >>> 0) - 1, top - start)) >>> 0, want: want - above, count: inBin };
    const cut = cutOf(scoresOf(lo, hi), found, hi, length, BINS);
    const out = append(list);
    for (const span of blocks("t", lo, hi, SPAN)) {
      const end = Math.min(span.start + SPAN, hi);
      const marks = bitmap(SPAN);
      markSelected(marks, scoresOf(span.start, end), cut, span.start, end);
      out.pushMarked(marks, entryOf(span), end - span.start);
    }
    out.fill(-1);
  }
}

const selected = (length: number, k: number) => full({}, Math.max(Math.min(length, k), 0), "i32");

/** Scores, and the window [first, last) of each row. */
const windowedRows = (dsa: Dsa) => ({
  logits: input(dsa.logitsDtype, { q: "Q", t: "T" }, { pitch: { q: "logitsPitch" } }),
  first: input("i32", { q: "Q" }),
  last: input("i32", { q: "Q" }),
});
/** Lists, and how many entries of each are selected. */
const countedLists = (dsa: Dsa) => ({ idx: output("i32", { q: "Q", j: dsa.topK }), count: output("i32", { q: "Q" }) });

export const topK = (dsa: Dsa) =>
  kernel("topk", {
    args: { ...windowedRows(dsa), idx: output("i32", { q: "Q", j: dsa.topK }) },
    tune: selectTune,
    grid: (a) => ({ q: each(a.logits.size.q) }),
    body(a, tune, { q }) {
      const lo = Math.max(scalar(load(a.first.tile({ q }))), 0);
      const hi = Math.min(scalar(load(a.last.tile({ q }))), a.logits.size.t);
      select(dsa.topK, tune, { row: (t) => a.logits.tile({ q, t }), lo, hi, entryOf: (t) => iota(t), list: a.idx.tile({ q }) });
    },
  });

export const topKWindow = (dsa: Dsa) =>
  kernel("topk_window", {
    args: { ...windowedRows(dsa), ...countedLists(dsa) },
    tune: selectTune,
    grid: (a) => ({ q: each(a.logits.size.q) }),
    body(a, tune, { q }) {
      const lo = Math.max(scalar(load(a.first.tile({ q }))), 0);
      const hi = Math.min(scalar(load(a.last.tile({ q }))), a.logits.size.t);
      store(a.count.tile({ q }), selected(hi - lo, dsa.topK));
      select(dsa.topK, tune, {
        row: (t) => a.logits.tile({ q, t }),
        lo,
        hi,
        entryOf: (t) => map([iota(t)], (t) => t - lo, "i32"),
        list: a.idx.tile({ q }),
      });
    },
  });

/** `offset`: where the tokens of a query's sequence begin among those of all sequences. */
export const topKRagged = (dsa: Dsa) =>
  kernel("topk_ragged", {
    args: { ...windowedRows(dsa), offset: input("i32", { q: "Q" }), ...countedLists(dsa) },
    tune: selectTune,
    grid: (a) => ({ q: each(a.logits.size.q) }),
    body(a, tune, { q }) {
      const lo = Math.max(scalar(load(a.first.tile({ q }))), 0);
      const hi = Math.min(scalar(load(a.last.tile({ q }))), a.logits.size.t);
      const offset = scalar(load(a.offset.tile({ q })));
      store(a.count.tile({ q }), selected(hi - lo, dsa.topK));
      select(dsa.topK, tune, {
        row: (t) => a.logits.tile({ q, t }),
        lo,
        hi,
        entryOf: (t) => map([iota(t)], (t) => t + offset, "i32"),
        list: a.idx.tile({ q }),
      });
    },
  });

/**
 * What decode needs between `paged_indexer_logits` and `sparse_mla_decode`: row n of request b sees the first lengths[b, n] tokens, and
 * token t lies in slot blockTable[b, t / pageTokens] * pageTokens + t % pageTokens. A token whose page is below 0,
 * or behind the table, is written as -1.
 */
export const topKSlots = (dsa: Dsa) =>
  kernel("topk_slots", {
    args: {
      logits: input(dsa.logitsDtype, { b: "B", n: dsa.nextN, t: "T" }, { pitch: { n: "logitsPitch" } }),
      lengths: input("i32", { b: "B", n: dsa.nextN }),
      blockTable: input("i32", { b: "B", i: "I" }),
      idx: output("i32", { b: "B", n: dsa.nextN, j: dsa.topK }),
      count: output("i32", { b: "B", n: dsa.nextN }),
    },
    tune: selectTune,
    grid: (a) => ({ b: each(a.logits.size.b), n: each(dsa.nextN) }),
    body(a, tune, { b, n }) {
      const hi = Math.min(scalar(load(a.lengths.tile({ b, n }))), a.logits.size.t);
      const held = a.blockTable.size.i * dsa.pageTokens;
      store(a.count.tile({ b, n }), selected(hi, dsa.topK));
      select(dsa.topK, tune, {
        row: (t) => a.logits.tile({ b, n, t }),
        lo: 0,
        hi,
        entryOf(t) {
          const token = iota(t);
          const page = gather(a.blockTable.tile({ b }), { i: map([token], (t) => div(t, dsa.pageTokens), "i32") });
          return map([page, token], (p, t) => (p < 0 || t >= held ? -1 : p * dsa.pageTokens + mod(t, dsa.pageTokens)), "i32");
        },
        list: a.idx.tile({ b, n }),
      });
    },
  });
