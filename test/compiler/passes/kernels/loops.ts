/** What loops carry: variables that swap, rotate, take a view of another, or nest. */
import { blocks, each, full, gather, input, iota, kernel, load, map, max, output, rename, scalar, store, sum } from "../../../../dsl/index.ts";

export const swap = kernel("swap", {
  args: { x: input("f32", { n: "N", c: 64 }), y: output("f32", { n: "N", c: 64 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let p = map([load(a.x.tile({ n }))], (x) => x + 1);
    let q = map([p], (x) => x * 2);
    for (const _ of blocks("c", 0, a.x.size.n, 4)) {
      const t = p;
      p = q;
      q = t;
    }
    store(a.y.tile({ n }), map([p, q], (p, q) => p - 3 * q));
  },
});

export const rotate = kernel("rotate", {
  args: { x: input("f32", { n: "N", c: 64 }), y: output("f32", { n: "N", c: 64 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let q = map([load(a.x.tile({ n }))], (x) => x + 1);
    let p = map([q], (x) => x * 2);
    for (const _ of blocks("c", 0, a.x.size.n, 4)) {
      const next = map([p, q], (p, q) => p + q);
      p = q;
      q = next;
    }
    store(a.y.tile({ n }), map([p, q], (p, q) => p - 3 * q));
  },
});

export const mirror = kernel("mirror", {
  args: { x: input("f32", { n: "N", c: 64 }), y: output("f32", { n: "N", c: 64 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let p = map([load(a.x.tile({ n }))], (x) => x + 1);
    let q = rename(map([p], (x) => x * 2), { c: "d" });
    for (const _ of blocks("c", 0, a.x.size.n, 4)) {
      const next = rename(p, { c: "d" });
      p = map([p], (x) => x * 3);
      q = next;
    }
    store(a.y.tile({ n }), map([p, rename(q, { d: "c" })], (p, q) => p - 3 * q));
  },
});

export const nested = kernel("nested", {
  args: { x: input("f32", { n: "N", c: 40 }), y: output("f32", { n: "N", c: 40 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let p = map([load(a.x.tile({ n }))], (x) => x + 1);
    let best = max(p, "c");
    for (const ab of blocks("c", 0, a.x.size.n, 3)) {
      let r = map([p], (p) => p * 2);
      for (const _ of blocks("c", 0, ab.start + 2, 1)) {
        const t = r;
        r = map([p, r, best], (p, r, b) => p + r - b);
        p = map([t], (t) => t + 1);
      }
      best = max(r, "c");
      if (ab.start > 2) p = r;
    }
    store(a.y.tile({ n }), map([p, best], (p, b) => p + b));
  },
});

export const carriedScalars = kernel("carried_scalars", {
  args: { x: input("i32", { n: "N", c: 40 }), y: output("i32", { n: "N", c: 40 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let p = 1;
    let q = 2;
    for (const cb of blocks("c", 0, 40, 8)) {
      const s = scalar(sum(load(a.x.tile({ n, c: cb })), "c"));
      const t = p;
      p = q;
      q = t + s;
      store(a.y.tile({ n, c: cb }), map([load(a.x.tile({ n, c: cb })), iota(cb)], (x, i) => x * p - q + i, "i32"));
    }
  },
});

/** Each scalar's next value is the other one. */
export const swappedScalars = kernel("swapped_scalars", {
  args: { x: input("i32", { n: "N", c: 40 }), y: output("i32", { n: "N", c: 40 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let p = 1;
    let q = 2;
    for (const cb of blocks("c", 0, 40, 8)) {
      store(a.y.tile({ n, c: cb }), map([load(a.x.tile({ n, c: cb }))], (x) => x * p - q, "i32"));
      const t = p;
      p = q;
      q = t;
    }
  },
});

export const branches = kernel("branches", {
  args: { x: input("f32", { n: "N", c: 50 }), f: input("i32", { n: "N" }), y: output("f32", { n: "N", c: 50 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let p = map([load(a.x.tile({ n }))], (x) => x + 1);
    const s = scalar(load(a.f.tile({ n })));
    let q = map([p], (x) => x * x);
    if (s > 3) {
      const total = sum(p, "c");
      p = map([q, total], (x, t) => x - t);
      q = p;
    } else {
      q = map([p, q], (a, b) => a + b);
    }
    store(a.y.tile({ n }), map([p, q], (p, q) => p - 3 * q));
  },
});

/** The variable is read in the loop alone; what is computed before the loop is read once a turn. */
export const readInside = kernel("read_inside", {
  args: { x: input("f32", { n: "N", c: 32 }), y: output("f32", { n: "N", c: 32 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const before = map([load(a.x.tile({ n }))], (v) => v * v);
    let running = map([load(a.x.tile({ n }))], (v) => v + 1);
    for (const b of blocks("c", 0, a.x.size.n, 4)) {
      running = map([running, before], (r, v) => r + v + b.start);
      store(a.y.tile({ n }), running);
    }
  },
});

/** A loop over a window of each row, which may be empty; loads inside may be made an iteration ahead. */
export const windowSums = kernel("window_sums", {
  args: { x: input("f32", { n: "N", t: "T" }, { pitch: { n: "xPitch" } }), lo: input("i32", { n: "N" }), hi: input("i32", { n: "N" }), y: output("f32", { n: "N", c: 4 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const lo = Math.max(scalar(load(a.lo.tile({ n }))) & 3, 0);
    const hi = Math.min(scalar(load(a.hi.tile({ n }))) & 127, a.x.size.t);
    let total = full({ c: 4 }, 0);
    for (const tb of blocks("t", lo, hi, 4)) {
      const part = load(a.x.tile({ n, t: tb }));
      const t = iota(tb);
      total = map([total, rename(map([part, t], (x, t) => (t < hi ? x : 0)), { t: "c" })], (s, x) => s + x);
    }
    store(a.y.tile({ n }), total);
  },
});

/** Rows are picked by what a loop carries, and by what a branch chose: other threads than those that hold an index read its row. */
export const chasedRows = kernel("chased_rows", {
  args: { x: input("f32", { r: "R", k: 8 }), start: input("i32", { n: "N", m: 16 }), y: output("f32", { n: "N", m: 16 }) },
  tune: {},
  grid: (a) => ({ n: each(a.start.size.n) }),
  body(a, {}, { n }) {
    let row = map([load(a.start.tile({ n }))], (i) => i & 7, "i32");
    let best = full({ m: 16 }, 0);
    for (const turn of each(4)) {
      best = max(gather(a.x.tile({ k: { axis: "k", start: 0, size: 8 } }), { r: row }), "k");
      if (turn === 2) row = map([best], (b) => (b > 0 ? 1 : -1), "i32");
      row = map([row, best], (i, b) => (b > 0.5 ? i + 1 : i), "i32");
    }
    store(a.y.tile({ n }), best);
  },
});
