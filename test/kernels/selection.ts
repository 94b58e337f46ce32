/** Kernels that keep some of what they read: stream compaction, trimmed statistics, runs from a table, the order of floats as integers. */
import {
  append, bag, bitmap, blocks, clz32, div, each, floatOf, full, gather, gatherRuns, histogram, input, iota, kernel, load, map, mask, max, min, mod, orderedKey, orderedValue, output, rename, scalar, store, sum,
} from "../../dsl/index.ts";
import type { Schedules } from "../../dsl/schedule.ts";
import type { Example } from "../../verify/examples.ts";

/** Columns of a row whose value is above the row's threshold, ascending; the first KEPT of them, then -1; and how many there are. */
const KEPT = 24;
export const compactRows = kernel("compact_rows", {
  args: {
    x: input("f32", { r: "R", c: "C" }, { pitch: { r: "xPitch" } }),
    above: input("f32", { r: "R" }),
    columns: output("i32", { r: "R", j: KEPT }),
    found: output("i32", { r: "R" }),
  },
  tune: { BC: 128, ROOM: 96, SPAN: 64 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BC, ROOM, SPAN }, { r }) {
    const columns = a.x.size.c;
    const bound = orderedKey(scalar(load(a.above.tile({ r }))));
    const kept = bag(ROOM, { x: "f32", c: "i32" });
    for (const cb of blocks("c", 0, columns, BC)) {
      const x = load(a.x.tile({ r, c: cb }));
      const c = iota(cb);
      kept.add(
        { x, c },
        mask([x, c], (x, c) => orderedKey(x) > bound && c < columns),
      );
    }
    const out = append(a.columns.tile({ r }));
    if (kept.count <= ROOM) {
      const { c } = kept.items("item");
      for (const cb of blocks("c", 0, columns, SPAN)) {
        const marks = bitmap(SPAN);
        marks.add(
          map([c], (c) => c - cb.start, "i32"),
          mask([c], (c) => c >= cb.start && c < cb.start + SPAN),
        );
        out.pushMarked(marks, iota(cb), Math.min(columns - cb.start, SPAN));
      }
    } else {
      for (const cb of blocks("c", 0, columns, BC)) {
        const c = iota(cb);
        out.push(
          c,
          mask([load(a.x.tile({ r, c: cb })), c], (x, c) => orderedKey(x) > bound && c < columns),
        );
      }
    }
    out.fill(-1);
    store(a.found.tile({ r }), full({}, kept.count, "i32"));
  },
});

/**
 * Twice the values of a row above its threshold in order, then 0, and where a table of chunks says that each comes from: chunk[c / CHUNK] * CHUNK +
 * c % CHUNK, or -1 where the table has none.
 */
const CHUNK = 5;
export const compactChunks = kernel("compact_chunks", {
  args: {
    x: input("f32", { r: "R", c: "C" }, { pitch: { r: "xPitch" } }),
    above: input("f32", { r: "R" }),
    chunk: input("i32", { r: "R", i: "I" }),
    values: output("f32", { r: "R", j: KEPT }),
    places: output("i32", { r: "R", j: KEPT }),
  },
  tune: { SPAN: 96 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { SPAN }, { r }) {
    const columns = a.x.size.c;
    const bound = scalar(load(a.above.tile({ r })));
    const values = append(a.values.tile({ r }));
    const places = append(a.places.tile({ r }));
    for (const cb of blocks("c", 0, columns, SPAN)) {
      const c = iota(cb);
      const x = load(a.x.tile({ r, c: cb }));
      const marks = bitmap(SPAN);
      marks.add(
        map([c], (c) => c - cb.start, "i32"),
        mask([x, c], (x, c) => x > bound && c < columns),
      );
      const chunk = gather(a.chunk.tile({ r }), { i: map([c], (c) => div(c, CHUNK), "i32") });
      values.pushMarked(
        marks,
        map([x], (x) => x + x),
      );
      places.pushMarked(
        marks,
        map([chunk, c], (chunk, c) => (chunk < 0 ? -1 : chunk * CHUNK + mod(c, CHUNK)), "i32"),
      );
    }
    values.fill(0);
    places.fill(-1);
  },
});

/**
 * Of the values of a row that are positive, if they are not more than ROOM: count, sum, least, greatest, the count of the even ones, their
 * least, and the level (in eighths of 256) that at least a third of them reach, with how many lie in it. Zeros and the ends of i32 if there
 * are none.
 */
const STATISTICS = 8;
export const trimmedStatistics = kernel("trimmed_statistics", {
  args: { x: input("i32", { r: "R", c: "C" }), y: output("i32", { r: "R", s: STATISTICS }) },
  tune: { BC: 96, ROOM: 80 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BC, ROOM }, { r }) {
    const columns = a.x.size.c;
    const positive = bag(ROOM, { x: "i32" });
    for (const cb of blocks("c", 0, columns, BC)) {
      const x = load(a.x.tile({ r, c: cb }));
      positive.add({ x }, mask([x], (x) => x > 0)); // beyond the row are zeros
    }
    const { x } = positive.items("p");
    const even = bag(ROOM, { x: "i32", half: "u32", ratio: "f32" });
    const isEven = mask([x], (x) => (x & 1) === 0);
    even.add({ x, half: map([x], (x) => x >>> 1, "u32"), ratio: map([x], (x) => x * 0.00390625) }, isEven);
    const evens = even.items("e");
    const levels = histogram(8);
    levels.add(
      map([x], (x) => x >> 5, "i32"),
      mask([x], (x) => x < 256),
    );
    const held = positive.count <= ROOM ? positive.count : 0;
    const { bin, inBin } = levels.find((held + 2) >> 1);
    const exact = scalar(sum(mask([evens.x, evens.half, evens.ratio], (x, half, ratio) => x >>> 1 === half && ratio * 256 === x), "~e"));
    const results = [
      positive.count,
      scalar(sum(x, "~p")),
      scalar(min(x, "~p")),
      scalar(max(x, "~p")),
      exact,
      scalar(min(evens.x, "~e")),
      bin,
      inBin,
    ];
    for (const [s, value] of results.entries()) store(a.y.tile({ r, s }), full({}, value, "i32"));
  },
});

/** y[j, e] = table[at[j] + 1 + e]: runs that begin anywhere, before the table and behind it too. */
export const tableRuns = kernel("table_runs", {
  args: { table: input("bf16", { g: "G", t: "T" }), at: input("i32", { g: "G", j: "J" }), y: output("f32", { g: "G", j: "J", e: 8 }) },
  tune: { BJ: 16 },
  grid: (a, { BJ }) => ({ g: each(a.table.size.g), jb: blocks("j", 0, a.at.size.j, BJ) }),
  body(a, _tune, { g, jb }) {
    const runs = gatherRuns(a.table.tile({ g, t: { axis: "t", start: 1, size: 8 } }), { t: load(a.at.tile({ g, j: jb })) });
    store(a.y.tile({ g, j: jb }), rename(runs, { t: "e" }));
  },
});

/** Every fourth group of four columns of a row, as runs at computed places: their greatest value. */
export const sampledMaximum = kernel("sampled_maximum", {
  args: { x: input("f32", { r: "R", c: "C" }, { pitch: { r: "xPitch" } }), y: output("f32", { r: "R" }) },
  tune: { GROUPS: 32 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { GROUPS }, { r }) {
    const groups = (a.x.size.c + 3) >> 2;
    const group = iota({ axis: "v", start: 0, size: GROUPS });
    const at = map([group], (v) => 4 * Math.min(4 * v, groups - 1), "i32");
    const x = gatherRuns(a.x.tile({ r, c: { axis: "c", start: 0, size: 4 } }), { c: at });
    store(a.y.tile({ r }), max(x, ["v", "c"]));
  },
});

/** The order of floats as integers, from any bits; whether each is above a pivot; and leading zeros. */
export const floatOrder = kernel("float_order", {
  args: {
    bits: input("u32", { i: "N" }),
    pivot: input("u32", { one: 1 }),
    key: output("u32", { i: "N" }),
    back: output("u32", { i: "N" }),
    above: output("i32", { i: "N" }),
    zeros: output("i32", { i: "N" }),
  },
  tune: { BI: 64 },
  grid: (a, { BI }) => ({ ib: blocks("i", 0, a.bits.size.i, BI) }),
  body(a, _tune, { ib }) {
    const pivot = orderedKey(floatOf(scalar(load(a.pivot.tile({ one: 0 })))));
    const bits = load(a.bits.tile({ i: ib }));
    const key = map([bits], (b) => orderedKey(floatOf(b)), "u32");
    store(a.key.tile({ i: ib }), key);
    store(a.back.tile({ i: ib }), map([key], (k) => orderedKey(orderedValue(k)), "u32"));
    store(a.above.tile({ i: ib }), map([bits], (b) => (orderedKey(floatOf(b)) > pivot ? 1 : 0), "i32"));
    store(a.zeros.tile({ i: ib }), map([bits], (b) => clz32(b), "i32"));
  },
});

/** On Hopper several blocks share a row. */
export const schedules: Schedules = {
  compactRows: { "cuda:sm_90a": { threads: 64, tune: { BC: 32 }, ahead: ["x"], cluster: { blocks: 4, deal: "cb" } } },
  trimmedStatistics: { "cuda:sm_90a": { threads: 32, tune: { BC: 32 }, cluster: { blocks: 2, deal: "cb" } } },
};

const rows = { R: { min: 1, max: 4 }, C: { min: 1, max: 300 } };
export const examples: readonly Example[] = [
  { kernel: "compactRows", dims: rows },
  { kernel: "compactRows", dims: rows, inputs: { x: "any", above: "any" } },
  { kernel: "compactChunks", dims: { ...rows, I: { min: 1, max: 61 } }, inputs: { chunk: { min: -2, max: 9 } } },
  { kernel: "trimmedStatistics", dims: rows, inputs: { x: { min: -200, max: 255 } } },
  { kernel: "trimmedStatistics", dims: rows, inputs: { x: { min: -5, max: 0 } } },
  { kernel: "tableRuns", dims: { G: { min: 1, max: 3 }, T: { min: 1, max: 60 }, J: { min: 1, max: 40 } }, inputs: { at: { min: -9, max: 70 } } },
  { kernel: "sampledMaximum", dims: { R: { min: 1, max: 3 }, C: { min: 1, max: 600 } }, inputs: { x: { min: 1, max: 9 } } },
  { kernel: "floatOrder", dims: { N: { min: 1, max: 300 } } },
  { kernel: "floatOrder", dims: { N: { min: 1, max: 300 } }, inputs: { pivot: { min: 0, max: 1 } } },
];
