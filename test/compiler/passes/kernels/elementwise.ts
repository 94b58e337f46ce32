/** Element-wise work and reductions. */
import { blocks, each, full, gather, input, kernel, load, map, max, output, scalar, store, sum } from "../../../../dsl/index.ts";

export const softmaxRows = kernel("softmax_rows", {
  args: { x: input("f32", { n: "N", c: 100 }), y: output("f32", { n: "N", c: 100 }) },
  tune: { B: 3 },
  grid: (a, { B }) => ({ n: blocks("n", 0, a.x.size.n, B) }),
  body(a, {}, { n }) {
    const x = load(a.x.tile({ n }));
    const m = max(x, "c");
    const e = map([x, m], (x, m) => Math.exp(x - m));
    store(a.y.tile({ n }), map([e, sum(e, "c")], (e, s) => e / s));
  },
});

export const sums = kernel("sums", {
  args: { x: input("f32", { n: "N", a: 5, b: 7, c: 9 }), y: output("f32", { n: "N", b: 7 }), z: output("f32", { n: "N" }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const x = load(a.x.tile({ n }));
    store(a.y.tile({ n }), sum(sum(x, "a"), "c"));
    store(a.z.tile({ n }), sum(sum(sum(x, "a"), "b"), "c"));
  },
});

export const gatherRows = kernel("gather_rows", {
  args: { x: input("f32", { t: "T", c: 5 }), idx: input("i32", { n: "N", j: 7 }), y: output("f32", { n: "N", j: 7, c: 5 }), m: output("f32", { n: "N", c: 5 }) },
  tune: {},
  grid: (a) => ({ n: each(a.idx.size.n) }),
  body(a, {}, { n }) {
    const rows = gather(a.x.tile({}), { t: load(a.idx.tile({ n })) });
    store(a.y.tile({ n }), rows);
    store(a.m.tile({ n }), max(rows, "j"));
  },
});

/** Blocks that begin before the tensor and end behind it: what lies outside is 0. */
export const slidingBlocks = kernel("sliding_blocks", {
  args: { x: input("f32", { n: "N", m: 8, c: 40 }), first: input("i32", { n: "N" }), y: output("f32", { n: "N", m: 8, c: 32 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const first = scalar(load(a.first.tile({ n })));
    let total = full({ m: 8, c: 32 }, 0);
    for (const cb of blocks("c", first, 40, 32)) total = map([total, load(a.x.tile({ n, c: cb }))], (t, x) => t + x);
    store(a.y.tile({ n }), total);
  },
});

/** Nothing needs `unread`, `idle` or what the loop carries for it. */
export const deadCode = kernel("dead_code", {
  args: { x: input("f32", { n: "N", c: 32 }), y: output("f32", { n: "N", c: 32 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const x = load(a.x.tile({ n }));
    const unread = map([x], (v) => v * 3);
    let used = map([x], (v) => v + 1);
    let idle = map([x], (v) => v - 1);
    for (const cb of blocks("c", 0, a.x.size.n, 2)) {
      idle = map([idle, used], (i, u) => i + u);
      if (cb.start > 2) {
        used = map([used], (u) => u * 2);
        idle = map([idle, unread], (i, u) => i - u);
      }
    }
    store(a.y.tile({ n }), used);
  },
});
