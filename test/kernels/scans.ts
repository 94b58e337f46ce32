/** Running results: a prefix maximum whose chunks hand a scalar on, sums along both axes, and stream compaction. */
import { append, blocks, each, full, input, iota, kernel, load, map, mask, max, output, scalar, scan, store } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

export const prefixMax = kernel("prefix_max", {
  args: { x: input("f32", { r: "R", t: "T" }), y: output("f32", { r: "R", t: "T" }) },
  tune: { BT: 64 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BT }, { r }) {
    let highest = -Infinity;
    for (const tb of blocks("t", 0, a.x.size.t, BT)) {
      const x = load(a.x.tile({ r, t: tb }), -Infinity);
      const before = highest;
      store(
        a.y.tile({ r, t: tb }),
        map([scan(x, "t", "max")], (m) => Math.max(m, before)),
      );
      highest = Math.max(highest, scalar(max(x, "t")));
    }
  },
});

/** y[i, j] = sum of x over rows 0..i and columns 0..j */
export const summedArea = kernel("summed_area", {
  args: { x: input("i32", { image: "N", i: 24, j: 40 }), y: output("i32", { image: "N", i: 24, j: 40 }) },
  tune: {},
  grid: (a) => ({ image: each(a.x.size.image) }),
  body(a, _tune, { image }) {
    store(a.y.tile({ image }), scan(scan(load(a.x.tile({ image })), "j"), "i"));
  },
});

/** The positive values of each row, in order, then zeros; what is too many is dropped. */
export const compact = kernel("compact", {
  args: { x: input("f32", { r: "R", t: "T" }), y: output("f32", { r: "R", j: 50 }), count: output("i32", { r: "R", one: 1 }) },
  tune: { BT: 32 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BT }, { r }) {
    const kept = append(a.y.tile({ r }));
    for (const tb of blocks("t", 0, a.x.size.t, BT)) {
      const x = load(a.x.tile({ r, t: tb }));
      kept.push(
        x,
        mask([x, iota(tb)], (x, t) => x > 0 && t < a.x.size.t),
      );
    }
    store(a.count.tile({ r }), full({ one: 1 }, kept.count, "i32"));
    kept.fill(0);
  },
});

const rows = { R: { min: 1, max: 3 }, T: { min: 1, max: 200 } };
export const examples: readonly Example[] = [
  { kernel: "prefixMax", dims: rows },
  { kernel: "summedArea", dims: { N: { min: 1, max: 2 } }, inputs: { x: { min: -1000, max: 1000 } } },
  { kernel: "compact", dims: rows },
];
