/** For schedules with roles: a product whose columns are folded in parts behind it, and one that accumulates over a loop. */
import { blocks, cast, div, each, full, gather, gemm, input, inputRecord, field, iota, kernel, load, map, max, min, mod, output, rename, scalar, slice, store, sum } from "../../../../dsl/index.ts";

interface Sizes {
  readonly dtype: "e4m3" | "bf16";
  readonly heads: number;
  readonly depth: number;
}

/** Scores of a window of tokens for each query, summed over heads: the window decides how long a block's loop is. */
export const windows = ({ dtype, heads, depth }: Sizes) =>
  kernel("windows", {
    args: {
      q: input(dtype, { q: "Q", h: heads, d: depth }),
      k: input(dtype, { t: "T", d: depth }),
      w: input("f32", { q: "Q", h: heads }),
      scale: input("f32", { t: "T" }),
      first: input("i32", { q: "Q" }),
      last: input("i32", { q: "Q" }),
      y: output("f32", { q: "Q", t: "T" }, { pitch: { q: "yPitch" } }),
    },
    tune: { BQ: 2, BT: 64 },
    grid: (a, { BQ }) => ({ qb: blocks("q", 0, a.q.size.q, BQ) }),
    body(a, { BT }, { qb }) {
      const lo = scalar(min(load(a.first.tile({ q: qb }), 0x7fffffff), "q"));
      const hi = scalar(max(load(a.last.tile({ q: qb })), "q"));
      const q = load(a.q.tile({ q: qb }));
      const w = load(a.w.tile({ q: qb }));
      const start = lo - (lo & 15);
      for (const tb of blocks("t", start, hi, BT)) {
        const k = load(a.k.tile({ t: tb }));
        const scale = load(a.scale.tile({ t: tb }));
        const dot = gemm(k, q, "d");
        const score = sum(map([dot, w], (s, w) => Math.max(s, 0) * w), "h");
        store(a.y.tile({ q: qb, t: tb }), map([score, scale], (s, k) => s * k));
      }
    },
  });

/** c = a b^T, in slices of the contracted axis. */
export const matmul = ({ dtype }: Pick<Sizes, "dtype">) =>
  kernel("matmul", {
    args: { a: input(dtype, { m: "M", k: "K" }, { pitch: { m: "aPitch" } }), b: input(dtype, { n: "N", k: "K" }, { pitch: { n: "bPitch" } }), c: output("bf16", { m: "M", n: "N" }, { pitch: { m: "cPitch" } }) },
    tune: { BM: 64, BN: 32, BK: 64 },
    grid: (a, { BM, BN }) => ({ mb: blocks("m", 0, a.a.size.m, BM), nb: blocks("n", 0, a.b.size.n, BN) }),
    body(a, { BM, BN, BK }, { mb, nb }) {
      let acc = full({ m: BM, n: BN }, 0);
      for (const kb of blocks("k", 0, a.a.size.k, BK)) {
        const x = load(a.a.tile({ m: mb, k: kb }));
        const y = load(a.b.tile({ n: nb, k: kb }));
        acc = gemm(x, y, "k", acc);
      }
      store(a.c.tile({ m: mb, n: nb }), cast("bf16", acc));
    },
  });

/** c = a b: the columns of b lie together in memory. */
export const matmulColumns = kernel("matmul_columns", {
  args: { a: input("bf16", { m: "M", k: "K" }), b: input("bf16", { k: "K", n: "N" }, { pitch: { k: "bPitch" } }), c: output("f32", { m: "M", n: "N" }) },
  tune: { BM: 64, BN: 64, BK: 32 },
  grid: (a, { BM, BN }) => ({ mb: blocks("m", 0, a.a.size.m, BM), nb: blocks("n", 0, a.b.size.n, BN) }),
  body(a, { BM, BN, BK }, { mb, nb }) {
    let acc = full({ m: BM, n: BN }, 0);
    for (const kb of blocks("k", 0, a.a.size.k, BK)) {
      const x = load(a.a.tile({ m: mb, k: kb }));
      const y = load(a.b.tile({ k: kb, n: nb }));
      acc = gemm(x, y, "k", acc);
    }
    store(a.c.tile({ m: mb, n: nb }), acc);
  },
});

/** Element-wise work on tiles of any size, row by row. */
export const scaledRows = ({ rows, columns }: { readonly rows: number; readonly columns: number }) =>
  kernel("scaled_rows", {
    args: { x: input("f32", { n: "N", m: rows, j: columns }), w: input("f32", { n: "N", j: columns }), y: output("f32", { n: "N", m: rows, j: columns }), total: output("f32", { m: rows, j: columns }) },
    tune: {},
    grid: () => ({ one: each(1) }),
    body(a, {}, {}) {
      let total = full({ m: rows, j: columns }, 0);
      for (const n of each(a.x.size.n)) {
        const w = load(a.w.tile({ n }));
        const x = load(a.x.tile({ n }));
        const scaled = map([x, w], (x, w) => x * w);
        total = map([total, scaled], (t, s) => t + s);
        store(a.y.tile({ n }), scaled);
      }
      store(a.total.tile({}), total);
    },
  });

/** Scalars of all types on their way to a loop whose iterations are dealt out, in windows that may start before the first token. */
export const steered = kernel("steered", {
  args: {
    x: input("f32", { t: "T" }),
    w: input("f32", { q: "Q", h: 4 }),
    first: input("i32", { q: "Q" }),
    last: input("i32", { q: "Q" }),
    y: output("f32", { q: "Q", t: "T" }),
  },
  tune: {},
  grid: (a) => ({ q: each(a.w.size.q) }),
  body(a, {}, { q }) {
    const lo = scalar(load(a.first.tile({ q })));
    const hi = scalar(load(a.last.tile({ q })));
    const peak = scalar(max(load(a.w.tile({ q })), "h"));
    const w = load(a.w.tile({ q }));
    const flip = lo < 0;
    for (const tb of blocks("t", lo, hi, 32)) {
      const x = load(a.x.tile({ t: tb }));
      store(a.y.tile({ q, t: tb }), map([x, sum(w, "h")], (x, w) => (flip ? -x : x) * peak + w));
    }
  },
});

/** Loops that carry scalars: one steers copies, one does not; a branch decides whether a tile is brought at all. */
export const carried = kernel("carried", {
  args: { x: input("f32", { t: "T" }), skip: input("i32", { n: "N" }), y: output("f32", { n: "N", t: 64 }), count: output("f32", { n: "N" }) },
  tune: {},
  grid: (a) => ({ n: each(a.skip.size.n) }),
  body(a, {}, { n }) {
    const skip = scalar(load(a.skip.tile({ n })));
    let at = 0;
    let brought = 0;
    let total = full({ t: 64 }, 0);
    for (const i of each(6)) {
      if ((i & 3) !== skip) {
        const x = load(a.x.tile({ t: { axis: "t", start: at, size: 64 } }));
        total = map([total, x], (t, x) => t + x);
        brought = brought + 1;
      }
      at = at + 8 + (skip & 1);
    }
    store(a.y.tile({ n }), total);
    store(a.count.tile({ n }), full({}, brought));
  },
});

/** Copies start where a sum over all tiles before points. */
export const found = kernel("found", {
  args: { x: input("f32", { t: "T" }), y: output("f32", { n: "N", t: 64 }) },
  tune: {},
  grid: () => ({ n: each(1) }),
  body(a, {}, { n }) {
    let at = 0;
    for (const i of each(3)) {
      const x = load(a.x.tile({ t: { axis: "t", start: at, size: 64 } }));
      at = scalar(max(cast("i32", x), "t"));
      store(a.y.tile({ n: i }), map([x], (x) => x + n));
    }
  },
});

/** Two tiles beside each other, with a loop between them. */
export const around = kernel("around", {
  args: { x: input("f32", { n: "N", t: 64 }), w: input("f32", { t: 64 }), v: input("f32", { t: 64 }), y: output("f32", { t: 64 }) },
  tune: {},
  grid: () => ({ one: each(1) }),
  body(a, {}, {}) {
    const w = load(a.w.tile({}));
    let total = full({ t: 64 }, 0);
    for (const n of each(a.x.size.n)) {
      const x = load(a.x.tile({ n }));
      total = map([total, x, w], (t, x, w) => t + x * w);
    }
    const v = load(a.v.tile({}));
    store(a.y.tile({}), map([total, v], (t, v) => t + v));
  },
});

/** Products behind each other, as attention has them: the second multiplies what a turn makes of the first, and adds it to what the turn shrinks. */
export const chained = ({ rows }: { readonly rows: number }) =>
  kernel("chained", {
    args: { x: input("bf16", { m: "M", c: 32 }), y: input("bf16", { t: "T", c: 32 }), z: input("bf16", { t: "T", e: 64 }), down: output("f32", { m: "M", e: 64 }), top: output("f32", { m: "M" }) },
    tune: {},
    grid: (a) => ({ mb: blocks("m", 0, a.x.size.m, rows) }),
    body(a, {}, { mb }) {
      const x = load(a.x.tile({ m: mb }));
      let top = full({ m: rows }, -1e30);
      let down = full({ m: rows, e: 64 }, 0);
      for (const tb of blocks("t", 0, a.y.size.t, 64)) {
        const y = load(a.y.tile({ t: tb }));
        const z = load(a.z.tile({ t: tb }));
        const up = gemm(x, y, "c");
        const raised = map([top, max(up, "t")], (a, b) => Math.max(a, b));
        const factor = map([top, raised], (before, after) => (before < after ? 0.5 : 1));
        const step = map([up, raised], (u, r) => (u > 0.25 * r ? 1 : -2));
        down = gemm(cast("bf16", step), z, "t", map([down, factor], (d, f) => d * f));
        top = raised;
      }
      store(a.down.tile({ m: mb }), down);
      store(a.top.tile({ m: mb }), top);
    },
  });

/** One tile, of whose rows two products are summed along different axes. */
export const crossed = kernel("crossed", {
  args: { x: input("bf16", { m: "M", c: 64 }), y: input("bf16", { t: 8, u: 8, c: 64 }), byT: output("f32", { m: "M", t: 8 }), byU: output("f32", { m: "M", u: 8 }) },
  tune: {},
  grid: (a) => ({ mb: blocks("m", 0, a.x.size.m, 64) }),
  body(a, {}, { mb }) {
    const x = load(a.x.tile({ m: mb }));
    const y = load(a.y.tile({}));
    const first = gemm(x, y, "c");
    const second = gemm(x, y, "c");
    store(a.byT.tile({ m: mb }), sum(first, "u"));
    store(a.byU.tile({ m: mb }), sum(second, "t"));
  },
});

/**
 * The same over pages of a few tokens, which lie where a table says: -1 and what the table lacks are zeros. Rows may be narrower than the blocks of them
 * that products take. Weights of four heads are read from registers.
 */
export const paged = ({ rows, page, depth, width = depth }: { readonly rows: number; readonly page: number; readonly depth: number; readonly width?: number }) =>
  kernel("paged", {
    args: {
      x: input("bf16", { m: "M", c: width }),
      y: input("bf16", { p: "P", s: page, c: width }),
      z: input("bf16", { p: "P", s: page, e: 64 }),
      w: input("f32", { p: "P", s: page, h: 4 }),
      table: input("i32", { i: "I" }),
      down: output("f32", { m: "M", e: 64 }),
    },
    tune: {},
    grid: (a) => ({ mb: blocks("m", 0, a.x.size.m, rows) }),
    body(a, {}, { mb }) {
      const columns = { axis: "c", start: 0, size: depth } as const;
      const x = load(a.x.tile({ m: mb, c: columns }));
      let down = full({ m: rows, e: 64 }, 0);
      for (const tb of blocks("t", 0, a.table.size.i * page, 64)) {
        const entry = map([iota(tb)], (t) => div(t, page), "i32");
        const known = gather(a.table.tile({}), { i: entry });
        const p = map([known, entry], (p, i) => (i < a.table.size.i ? p : -1), "i32");
        const s = map([iota(tb)], (t) => mod(t, page), "i32");
        const y = gather(a.y.tile({ c: columns }), { p, s });
        const z = gather(a.z.tile({}), { p, s });
        const w = gather(a.w.tile({}), { p, s });
        const up = gemm(x, y, "c");
        const step = map([up, sum(w, "h"), p], (u, w, p) => (p < 0 ? 3 : u > w ? 1 : -2));
        down = gemm(cast("bf16", step), z, "t", down);
      }
      store(a.down.tile({ m: mb }), down);
    },
  });

/** Rows that no thread can copy by itself, 16 bytes at a time. */
export const unready = kernel("unready", {
  args: {
    x: input("bf16", { r: "R", k: "K" }),
    packed: inputRecord({ r: "R" }, { row: field("bf16", { c: 20 }, 0) }, { bytes: 48 }),
    columns: input("bf16", { k: 64, r: "R" }),
    idx: input("i32", { m: "M" }),
    y: output("f32", { m: "M", k: 32 }, { pitch: { m: "yPitch" } }),
  },
  tune: {},
  grid: (a) => ({ mb: blocks("m", 0, a.idx.size.m, 64) }),
  body(a, {}, { mb }) {
    const index = load(a.idx.tile({ m: mb }));
    for (const kb of blocks("k", 0, 64, 32)) {
      const row = gather(a.x.tile({ k: kb }), { r: index });
      const cut = gather(a.packed.row.tile({ c: { axis: "c", start: kb.start, size: 32 } }), { r: index });
      const renamed = rename(cut, { c: "k" });
      const across = gather(a.columns.tile({ k: kb }), { r: index });
      const found = gather(a.columns.tile({ k: kb }), { r: map([index, max(across, "k")], (i, x) => (x > 0 ? i : -1), "i32") });
      store(a.y.tile({ m: mb, k: { axis: "k", start: 0, size: 32 } }), map([row, renamed, across, found], (a, b, c, d) => a + b + c + d));
    }
  },
});

/** Turns of which some bring nothing. */
export const skipped = kernel("skipped", {
  args: { w: input("f32", { q: "Q", h: 4 }), x: input("f32", { t: "T", h: 4 }), skip: input("i32", { t: "T" }), y: output("f32", { q: "Q", t: "T" }) },
  tune: {},
  grid: (a) => ({ q: each(a.w.size.q) }),
  body(a, {}, { q }) {
    const w = load(a.w.tile({ q }));
    for (const tb of blocks("t", 0, a.x.size.t, 32)) {
      const skip = scalar(load(a.skip.tile({ t: tb.start })));
      if ((skip & 1) === 0) {
        const x = load(a.x.tile({ t: tb }));
        store(a.y.tile({ q, t: tb }), sum(map([x, w], (x, w) => x * w), "h"));
      }
    }
  },
});

/** Scores over windows of keys in a narrow format: the product's rows are made of them. */
export const madeWindows = ({ heads, depth }: Omit<Sizes, "dtype">) =>
  kernel("made_windows", {
    args: {
      q: input("bf16", { q: "Q", h: heads, d: depth }),
      k: input("e4m3", { t: "T", d: depth }),
      scale: input("f32", { t: "T" }),
      first: input("i32", { q: "Q" }),
      last: input("i32", { q: "Q" }),
      y: output("f32", { q: "Q", t: "T" }, { pitch: { q: "yPitch" } }),
    },
    tune: { BQ: 2, BT: 64 },
    grid: (a, { BQ }) => ({ qb: blocks("q", 0, a.q.size.q, BQ) }),
    body(a, { BT }, { qb }) {
      const lo = scalar(min(load(a.first.tile({ q: qb }), 0x7fffffff), "q"));
      const hi = scalar(max(load(a.last.tile({ q: qb })), "q"));
      const q = load(a.q.tile({ q: qb }));
      for (const tb of blocks("t", lo - (lo & 15), hi, BT)) {
        const codes = load(a.k.tile({ t: tb }));
        const scale = load(a.scale.tile({ t: tb }));
        const k = cast("bf16", map([codes, scale], (code, s) => code * s));
        const dot = gemm(k, q, "d");
        store(a.y.tile({ q: qb, t: tb }), map([sum(map([dot], (x) => Math.max(x, 0)), "h"), scale], (x, s) => x + s));
      }
    },
  });

/** Two products of a turn, both with an operand made of narrow tiles: one wants its rows, the other its columns. */
export const madeChained = ({ rows }: { readonly rows: number }) =>
  kernel("made_chained", {
    args: { x: input("bf16", { m: "M", c: 32 }), y: input("e4m3", { t: "T", c: 32 }), z: input("bf16", { t: "T", e: 64 }), scale: input("f32", { t: "T" }), gain: input("f32", { c: 32 }), down: output("f32", { m: "M", e: 64 }) },
    tune: {},
    grid: (a) => ({ mb: blocks("m", 0, a.x.size.m, rows) }),
    body(a, {}, { mb }) {
      const x = load(a.x.tile({ m: mb }));
      const gain = load(a.gain.tile({}));
      let down = full({ m: rows, e: 64 }, 0);
      for (const tb of blocks("t", 0, a.y.size.t, 64)) {
        const codes = load(a.y.tile({ t: tb }));
        const s = load(a.scale.tile({ t: tb }));
        const values = load(a.z.tile({ t: tb }));
        const y = cast("bf16", map([codes, s, gain], (code, s, gain) => code * s * gain));
        const z = cast("bf16", map([values, s], (value, s) => value - s));
        const up = gemm(x, y, "c");
        down = gemm(cast("bf16", map([up], (u) => (u > 0 ? 1 : -2))), z, "t", down);
      }
      store(a.down.tile({ m: mb }), down);
    },
  });

/** Rows of narrow records that lie anywhere in pages, with a factor each: threads copy them, and another role, which finds the factor by itself, makes of them what a product reads. */
export const madeRows = ({ page, depth }: { readonly page: number; readonly depth: number }) =>
  kernel("made_rows", {
    args: {
      x: input("bf16", { m: "M", c: depth }),
      records: inputRecord({ p: "P", s: page }, { codes: field("e4m3", { c: depth }, 0), factor: field("f32", {}, depth) }, { bytes: depth + 16 }),
      index: input("i32", { t: "T" }),
      y: output("f32", { m: "M", t: "T" }),
    },
    tune: {},
    grid: (a) => ({ mb: blocks("m", 0, a.x.size.m, 64) }),
    body(a, {}, { mb }) {
      const x = load(a.x.tile({ m: mb }));
      for (const tb of blocks("t", 0, a.index.size.t, 64)) {
        const at = load(a.index.tile({ t: tb }), -1);
        const p = map([at], (i) => (i < 0 ? -1 : div(i, page)), "i32");
        const s = map([at], (i) => (i < 0 ? -1 : mod(i, page)), "i32");
        const codes = gather(a.records.codes.tile({}), { p, s });
        const factor = gather(a.records.factor.tile({}), { p, s });
        const row = cast("bf16", map([codes, factor], (code, f) => code * f));
        const product = gemm(x, row, "c");
        store(a.y.tile({ m: mb, t: tb }), map([product, at], (y, i) => (i < 0 ? y - 1 : y)));
      }
    },
  });

/** Rows that two products contract, the second a part of them, and of which two others take the columns of one part each. */
export const latent = ({ rows, width, cut = 64 }: { readonly rows: number; readonly width: number; readonly cut?: number }) =>
  kernel("latent", {
    args: {
      x: input("bf16", { m: "M", c: width }),
      kv: input("bf16", { r: "R", c: width }),
      index: input("i32", { t: "T" }),
      head: output("f32", { m: "M", c: cut }),
      tail: output("f32", { m: "M", c: width - cut }),
    },
    tune: {},
    grid: (a) => ({ mb: blocks("m", 0, a.x.size.m, rows) }),
    body(a, {}, { mb }) {
      const x = load(a.x.tile({ m: mb }));
      let head = full({ m: rows, c: cut }, 0);
      let tail = full({ m: rows, c: width - cut }, 0);
      for (const tb of blocks("t", 0, a.index.size.t, 64)) {
        const kv = gather(a.kv.tile({}), { r: load(a.index.tile({ t: tb }), -1) });
        const up = gemm(x, kv, "c");
        const twice = gemm(slice(x, "c", cut, width), slice(kv, "c", cut, width), "c", up);
        const step = cast("bf16", map([twice], (u) => (u > 0 ? 1 : -2)));
        head = gemm(step, slice(kv, "c", 0, cut), "t", head);
        tail = gemm(step, slice(kv, "c", cut, width), "t", tail);
      }
      store(a.head.tile({ m: mb }), head);
      store(a.tail.tile({ m: mb }), tail);
    },
  });
