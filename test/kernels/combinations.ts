/** Constructs side by side: run-time loop bounds, several products in one loop, shifted loads, two lists, reductions over several axes. */
import {
  append,
  blocks,
  cast,
  each,
  full,
  gather,
  gemm,
  input,
  iota,
  kernel,
  load,
  map,
  mask,
  max,
  min,
  output,
  rename,
  scalar,
  scan,
  store,
  sum,
} from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

/** y[row] = sum over entries e in [start[row], start[row + 1]) of value[e] · x[column[e]]: a sparse matrix times a dense one. */
export const sparseRows = kernel("sparse_rows", {
  args: {
    start: input("i32", { r: "R1" }),
    column: input("i32", { e: "E" }),
    value: input("f32", { e: "E" }),
    x: input("bf16", { c: "C", n: 36 }),
    y: output("f32", { r: "R", n: 36 }),
  },
  tune: { BE: 8 },
  grid: (a) => ({ r: each(a.y.size.r) }),
  body(a, { BE }, { r }) {
    const lo = Math.max(scalar(load(a.start.tile({ r }))), 0);
    const hi = Math.min(scalar(load(a.start.tile({ r: r + 1 }))), a.column.size.e);
    let total = full({ n: 36 }, 0);
    for (const eb of blocks("e", lo, hi, BE)) {
      const c = map([load(a.column.tile({ e: eb }), -1), iota(eb)], (c, e) => (e < hi ? c : -1), "i32");
      const weighted = map([gather(a.x.tile({}), { c }), load(a.value.tile({ e: eb }))], (x, v) => x * v);
      total = map([total, sum(weighted, "e")], (t, s) => t + s);
    }
    store(a.y.tile({ r }), total);
  },
});

/** Causal linear attention: a state of keys times values is carried over chunks, three products a chunk. */
const [DK, DV] = [20, 24];
export const linearAttention = kernel("linear_attention", {
  args: {
    q: input("bf16", { h: "H", t: "T", d: DK }),
    k: input("bf16", { h: "H", t: "T", d: DK }),
    v: input("bf16", { h: "H", t: "T", e: DV }),
    y: output("f32", { h: "H", t: "T", e: DV }),
    state: output("f32", { h: "H", d: DK, e: DV }),
  },
  tune: { BT: 16 },
  grid: (a) => ({ h: each(a.q.size.h) }),
  body(a, { BT }, { h }) {
    let state = full({ d: DK, e: DV }, 0);
    for (const tb of blocks("t", 0, a.q.size.t, BT)) {
      const q = load(a.q.tile({ h, t: tb }));
      const k = rename(load(a.k.tile({ h, t: tb })), { t: "s" });
      const v = rename(load(a.v.tile({ h, t: tb })), { t: "s" });
      const sb = { axis: "s", start: tb.start, size: tb.size } as const;
      const p = map([gemm(q, k, "d"), iota(tb), iota(sb)], (p, t, s) => (s <= t ? p : 0));
      store(a.y.tile({ h, t: tb }), gemm(p, v, "s", gemm(q, state, "d")));
      state = gemm(k, v, "s", state);
    }
    store(a.state.tile({ h }), state);
  },
});

/** y[t] = sum of w[i] x[t + i - 2] over 5 taps; beyond the ends x is zero. */
export const convolve = kernel("convolve", {
  args: { x: input("f32", { r: "R", t: "T" }), w: input("f32", { i: 5 }), y: output("f32", { r: "R", t: "T" }) },
  tune: { BT: 48 },
  grid: (a, { BT }) => ({ r: each(a.x.size.r), tb: blocks("t", 0, a.x.size.t, BT) }),
  body(a, { BT }, { r, tb }) {
    let y = full({ t: BT }, 0);
    for (const i of [0, 1, 2, 3, 4]) {
      const tap = scalar(load(a.w.tile({ i })));
      y = map([y, load(a.x.tile({ r, t: { axis: "t", start: tb.start + i - 2, size: BT } }))], (y, x) => y + tap * x);
    }
    store(a.y.tile({ r, t: tb }), y);
  },
});

/** Indices of a row's positive and negative values in two lists; zeros keep their place in a third output, which is otherwise left alone. */
export const partition = kernel("partition", {
  args: {
    x: input("f32", { r: "R", t: "T" }),
    positive: output("i32", { r: "R", j: "J" }),
    negative: output("i32", { r: "R", j: "J" }),
    zeros: output("f32", { r: "R", t: "T" }),
  },
  tune: { BT: 40 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BT }, { r }) {
    const LIST = 64;
    const list = { axis: "j", start: 0, size: LIST } as const;
    const [up, down] = [append(a.positive.tile({ r, j: list })), append(a.negative.tile({ r, j: list }))];
    for (const tb of blocks("t", 0, a.x.size.t, BT)) {
      const x = load(a.x.tile({ r, t: tb }));
      const token = iota(tb);
      up.push(
        token,
        mask([x], (x) => x > 0),
      );
      down.push(
        token,
        mask([x], (x) => x < 0),
      );
      store(
        a.zeros.tile({ r, t: tb }),
        x,
        mask([x, token], (x, t) => x === 0 && t < a.x.size.t),
      );
    }
    up.fill(-1);
    down.fill(-1 - up.count);
  },
});

/** Reductions over one axis and both, of floats, integers and truth values; scans along the outer axis. */
export const blockStats = kernel("block_stats", {
  args: {
    x: input("f32", { b: "B", i: 12, j: 20 }),
    n: input("u32", { b: "B", i: 12, j: 20 }),
    most: output("f32", { b: "B", one: 1 }),
    least: output("u32", { b: "B", one: 1 }),
    positive: output("i32", { b: "B", i: 12 }),
    running: output("f32", { b: "B", i: 12, j: 20 }),
    lowest: output("f32", { b: "B", i: 12, j: 20 }),
    spread: output("f32", { b: "B", j: 20 }),
  },
  tune: {},
  grid: (a) => ({ b: each(a.x.size.b) }),
  body(a, _tune, { b }) {
    const x = load(a.x.tile({ b }));
    const top = scalar(max(x, ["i", "j"]));
    const bottom = scalar(min(load(a.n.tile({ b })), ["i", "j"]));
    store(a.most.tile({ b }), full({ one: 1 }, top));
    store(a.least.tile({ b }), full({ one: 1 }, bottom, "u32"));
    store(
      a.positive.tile({ b }),
      sum(
        mask([x], (x) => x > 0),
        "j",
      ),
    );
    store(a.running.tile({ b }), scan(x, "i"));
    store(a.lowest.tile({ b }), scan(scan(x, "i", "min"), "j", "min"));
    store(
      a.spread.tile({ b }),
      map(
        [
          max(x, "i"),
          min(x, "i"),
          cast(
            "f32",
            sum(
              mask([x], (x) => x === 0),
              "i",
            ),
          ),
        ],
        (hi, lo, zeros) => hi - lo + zeros,
      ),
    );
  },
});

const upTo = (max: number) => ({ min: 1, max });
export const examples: readonly Example[] = [
  {
    kernel: "sparseRows",
    dims: { R: upTo(9), R1: 10, E: upTo(60), C: upTo(30) },
    inputs: { start: { min: -2, max: "E" }, column: { min: -1, max: "C" } },
  },
  { kernel: "linearAttention", dims: { H: upTo(2), T: upTo(60) } },
  { kernel: "convolve", dims: { R: upTo(3), T: upTo(150) } },
  { kernel: "partition", dims: { R: upTo(3), T: upTo(130), J: upTo(90) } },
  { kernel: "blockStats", dims: { B: upTo(3) } },
];
