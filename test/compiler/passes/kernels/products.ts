/** Products: accumulators, slices, ragged, batched and reordered operands. */
import { blocks, cast, each, full, gather, gemm, input, iota, kernel, load, map, output, slice, store, sum } from "../../../../dsl/index.ts";

export const attention = kernel("attention", {
  args: { q: input("bf16", { m: "M", c: 32 }), kv: input("bf16", { t: "T", c: 32 }), y: output("bf16", { m: "M", c: 16 }), l: output("f32", { m: "M" }) },
  tune: { BM: 16, BT: 16 },
  grid: (a, { BM }) => ({ mb: blocks("m", 0, a.q.size.m, BM) }),
  body(a, { BM, BT }, { mb }) {
    const q = load(a.q.tile({ m: mb }));
    let o = full({ m: BM, c: 16 }, 0);
    let l = full({ m: BM }, 0);
    for (const tb of blocks("t", 0, a.kv.size.t, BT)) {
      const kv = load(a.kv.tile({ t: tb }));
      const s = gemm(q, kv, "c");
      const p = cast("bf16", map([s, iota(tb)], (s, t) => (t < a.kv.size.t ? Math.max(s, 0) : 0)));
      l = map([l, sum(p, "t")], (l, s) => l + s);
      o = gemm(p, slice(kv, "c", 0, 16), "t", o);
    }
    store(a.y.tile({ m: mb }), map([o, l], (o, l) => (l > 0 ? o / l : 0)));
    store(a.l.tile({ m: mb }), l);
  },
});

export const sliceDepth = kernel("slice_depth", {
  args: { x: input("bf16", { n: "N", m: 16, k: 40 }), w: input("bf16", { j: 16, k: 40 }), y: output("f32", { n: "N", m: 16, j: 16 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const x = load(a.x.tile({ n }));
    const w = load(a.w.tile({}));
    store(a.y.tile({ n }), gemm(slice(x, "k", 4, 20), slice(w, "k", 4, 20), "k"));
  },
});

export const sliceColumns = kernel("slice_columns", {
  args: { x: input("bf16", { n: "N", m: 16, k: 32 }), w: input("bf16", { k: 32, j: 40 }), y: output("f32", { n: "N", m: 16, j: 16 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const x = load(a.x.tile({ n }));
    const w = load(a.w.tile({}));
    store(a.y.tile({ n }), gemm(x, slice(w, "j", 4, 20), "k"));
  },
});

export const sliceEnds = kernel("slice_ends", {
  args: { x: input("bf16", { n: "N", m: 48, k: 16 }), w: input("bf16", { k: 16, j: 48 }), y: output("f32", { n: "N", m: 24, j: 24 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(slice(load(a.x.tile({ n })), "m", 24, 48), slice(load(a.w.tile({})), "j", 24, 48), "k"));
  },
});

export const sliceEndsAcross = kernel("slice_ends_across", {
  args: { x: input("bf16", { n: "N", k: 16, m: 48 }), w: input("bf16", { j: 48, k: 16 }), y: output("f32", { n: "N", m: 24, j: 24 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(slice(load(a.x.tile({ n })), "m", 24, 48), slice(load(a.w.tile({})), "j", 24, 48), "k"));
  },
});

export const raggedProduct = kernel("ragged_product", {
  args: { x: input("bf16", { n: "N", m: 13, k: 32 }), w: input("bf16", { k: 32, j: 11 }), y: output("f32", { n: "N", m: 13, j: 11 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(load(a.x.tile({ n })), load(a.w.tile({})), "k"));
  },
});

export const twoColumnAxes = kernel("two_column_axes", {
  args: { x: input("bf16", { n: "N", m: 16, k: 16 }), w: input("bf16", { k: 16, a: 2, c: 12 }), y: output("f32", { n: "N", m: 16, a: 2, c: 12 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(load(a.x.tile({ n })), load(a.w.tile({})), "k"));
  },
});

export const transposedProduct = kernel("transposed_product", {
  args: { x: input("bf16", { n: "N", k: 16, m: 24 }), w: input("bf16", { k: 16, a: 2, c: 24 }), y: output("f32", { n: "N", m: 24, a: 2, c: 24 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(load(a.x.tile({ n })), load(a.w.tile({})), "k"));
  },
});

export const batchProduct = kernel("batch_product", {
  args: { x: input("bf16", { n: "N", h: 3, m: 16, k: 32 }), w: input("bf16", { h: 3, k: 32, j: 11 }), y: output("f32", { n: "N", h: 3, m: 16, j: 11 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(load(a.x.tile({ n })), load(a.w.tile({})), "k"));
  },
});

export const reorderedDepth = kernel("reordered_depth", {
  args: { x: input("bf16", { n: "N", m: 16, p: 4, q: 8 }), w: input("bf16", { j: 16, q: 8, p: 4 }), y: output("f32", { n: "N", m: 16, j: 16 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(load(a.x.tile({ n })), load(a.w.tile({})), ["p", "q"]));
  },
});

export const gatheredProduct = kernel("gathered_product", {
  args: { x: input("bf16", { n: "N", t: 64, c: 32 }), idx: input("i32", { n: "N", j: 16 }), y: output("f32", { n: "N", j: 16, t: 8 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let acc = full({ j: 16, t: 8 }, 0);
    const idx = load(a.idx.tile({ n }));
    const g = gather(a.x.tile({ n }), { t: idx });
    for (const tb of blocks("t", 0, 64, 8)) {
      acc = gemm(g, load(a.x.tile({ n, t: tb })), "c", acc);
    }
    store(a.y.tile({ n }), acc);
  },
});

/** A depth that no tensor core contracts. */
export const oddDepth = kernel("odd_depth", {
  args: { x: input("bf16", { n: "N", m: 16, k: 24 }), w: input("bf16", { j: 16, k: 24 }), y: output("f32", { n: "N", m: 16, j: 16 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(load(a.x.tile({ n })), load(a.w.tile({})), "k"));
  },
});

/** Eight-bit operands, staged as sixteen bits. */
export const narrowProduct = kernel("narrow_product", {
  args: { x: input("e4m3", { n: "N", m: 16, k: 32 }), w: input("e4m3", { j: 16, k: 32 }), y: output("f32", { n: "N", m: 16, j: 16 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), gemm(load(a.x.tile({ n })), load(a.w.tile({})), "k"));
  },
});
