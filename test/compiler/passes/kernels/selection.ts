/** Collectives: counting, finding, ordered lists, running sums. */
import { append, blocks, each, full, histogram, input, iota, kernel, load, map, mask, output, scan, store } from "../../../../dsl/index.ts";

export const countsThenAdd = kernel("counts_then_add", {
  args: { x: input("i32", { n: "N", c: 64 }), y: output("u32", { n: "N", b: 16 }), z: output("u32", { n: "N", b: 16 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const bins = histogram(16);
    const x = load(a.x.tile({ n }));
    bins.add(map([x], (v) => v & 15, "u32"), mask([x], (v) => v > 0));
    const before = bins.counts("b");
    bins.add(map([x], (v) => v & 7, "u32"), mask([x], (v) => v > 5));
    store(a.y.tile({ n }), before);
    store(a.z.tile({ n }), bins.counts("b"));
  },
});

export const unusedFind = kernel("unused_find", {
  args: { x: input("i32", { n: "N", c: 64 }), y: output("i32", { n: "N", j: 64 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const bins = histogram(16);
    const x = load(a.x.tile({ n }));
    bins.add(map([x], (v) => v & 15, "u32"), mask([x], (v) => v > 0));
    bins.find(3);
    const out = append(a.y.tile({ n }));
    out.push(x, mask([x], (v) => v > 2));
    out.fill(-1);
  },
});

/** Fewer, as many, and more wanted than there are. */
export const findEnds = kernel("find_ends", {
  args: { x: input("i32", { n: "N", c: 64 }), y: output("i32", { n: "N", w: 4, r: 2 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const bins = histogram(16);
    const x = load(a.x.tile({ n }));
    bins.add(map([x], (v) => v & 15, "u32"), mask([x], (v) => v > 0));
    for (const w of each(4)) {
      const { bin, above } = bins.find(32 * w);
      store(a.y.tile({ n, w, r: 0 }), full({}, bin, "i32"));
      store(a.y.tile({ n, w, r: 1 }), full({}, above, "i32"));
    }
  },
});

export const longScan = kernel("long_scan", {
  args: { x: input("f32", { n: "N", c: 300 }), y: output("f32", { n: "N", c: 300 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), scan(load(a.x.tile({ n })), "c"));
  },
});

export const shortScan = kernel("short_scan", {
  args: { x: input("f32", { n: "N", c: 30 }), y: output("f32", { n: "N", c: 30 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), scan(load(a.x.tile({ n })), "c"));
  },
});

export const rowScans = kernel("row_scans", {
  args: { x: input("f32", { n: "N", r: 3, c: 20 }), y: output("f32", { n: "N", r: 3, c: 20 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    store(a.y.tile({ n }), scan(load(a.x.tile({ n })), "c", "max"));
  },
});

export const select = kernel("select", {
  args: { x: input("i32", { n: "N", t: 300 }), y: output("i32", { n: "N", j: 40 }), found: output("i32", { n: "N" }) },
  tune: { BT: 128 },
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, { BT }, { n }) {
    const bins = histogram(50);
    for (const tb of blocks("t", 0, 300, BT)) {
      const x = load(a.x.tile({ n, t: tb }));
      bins.add(map([x], (v) => Math.abs(v), "u32"), mask([x, iota(tb)], (v, t) => t < 300 && v > -50 && v < 50));
    }
    const { bin, above } = bins.find(30);
    const out = append(a.y.tile({ n }));
    for (const tb of blocks("t", 0, 300, BT)) {
      const token = iota(tb);
      out.push(token, mask([load(a.x.tile({ n, t: tb })), token], (v, t) => t < 300 && Math.abs(v) >= bin));
    }
    const count = out.count;
    out.fill(-1);
    store(a.found.tile({ n }), full({}, count - above, "i32"));
  },
});

/** Two finds of one histogram that may be made at a time, and a third that wants what the first found. */
export const findTogether = kernel("find_together", {
  args: { x: input("i32", { n: "N", c: 64 }), y: output("i32", { n: "N", w: 3, r: 3 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const bins = histogram(16);
    const x = load(a.x.tile({ n }));
    bins.add(map([x], (v) => v & 15, "u32"), mask([x], (v) => v > 0));
    const few = bins.find(3);
    const many = bins.find(20);
    const next = bins.find(few.above + few.inBin + 1);
    for (const [w, { bin, above, inBin }] of [few, many, next].entries()) {
      store(a.y.tile({ n, w, r: 0 }), full({}, bin, "i32"));
      store(a.y.tile({ n, w, r: 1 }), full({}, above, "i32"));
      store(a.y.tile({ n, w, r: 2 }), full({}, inBin, "i32"));
    }
  },
});
