/** Kernels that count: histogram equalisation in two kernels, and clipping at a percentile. */
import {
  blocks,
  cast,
  div,
  each,
  full,
  gather,
  histogram,
  input,
  iota,
  kernel,
  load,
  map,
  mask,
  output,
  scan,
  store,
} from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

const LEVELS = 256;

/** cdf[image, v] = number of pixels of at most v */
export const cumulativeCounts = kernel("cumulative_counts", {
  args: { pixels: input("i32", { image: "N", p: "P" }), cdf: output("i32", { image: "N", v: LEVELS }) },
  tune: { BP: 128 },
  grid: (a) => ({ image: each(a.pixels.size.image) }),
  body(a, { BP }, { image }) {
    const count = a.pixels.size.p;
    const bins = histogram(LEVELS);
    for (const pb of blocks("p", 0, count, BP)) {
      bins.add(
        load(a.pixels.tile({ image, p: pb })),
        mask([iota(pb)], (p) => p < count),
      );
    }
    store(a.cdf.tile({ image }), cast("i32", scan(bins.counts("v"), "v")));
  },
});

/** Each pixel becomes the share of pixels that are not brighter, in units of 1/255. */
export const equalise = kernel("equalise", {
  args: {
    pixels: input("i32", { image: "N", p: "P" }),
    cdf: input("i32", { image: "N", v: LEVELS }),
    y: output("i32", { image: "N", p: "P" }),
  },
  tune: { BP: 64 },
  grid: (a, { BP }) => ({ image: each(a.pixels.size.image), pb: blocks("p", 0, a.pixels.size.p, BP) }),
  body(a, _tune, { image, pb }) {
    const pixel = load(a.pixels.tile({ image, p: pb }));
    const rank = gather(a.cdf.tile({ image }), { v: pixel });
    const pixels = a.pixels.size.p;
    store(
      a.y.tile({ image, p: pb }),
      map([rank], (r) => div(r * 255, pixels), "i32"),
    );
  },
});

/** Values above the level that a quarter of the row reaches become that level. */
export const percentileClip = kernel("percentile_clip", {
  args: { x: input("i32", { r: "R", c: "C" }), y: output("i32", { r: "R", c: "C" }), level: output("i32", { r: "R", one: 1 }) },
  tune: { BC: 64 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BC }, { r }) {
    const columns = a.x.size.c;
    const bins = histogram(LEVELS);
    for (const cb of blocks("c", 0, columns, BC))
      bins.add(
        load(a.x.tile({ r, c: cb })),
        mask([iota(cb)], (c) => c < columns),
      );
    const { bin } = bins.find((columns + 3) >> 2);
    for (const cb of blocks("c", 0, columns, BC)) {
      const x = load(a.x.tile({ r, c: cb }));
      store(
        a.y.tile({ r, c: cb }),
        map([x], (x) => Math.min(x, bin), "i32"),
      );
    }
    store(a.level.tile({ r }), full({ one: 1 }, bin, "i32"));
  },
});

const pixel = { min: 0, max: LEVELS - 1 };
const sizes = { N: { min: 1, max: 3 }, P: { min: 1, max: 300 } };
export const examples: readonly Example[] = [
  { kernel: "cumulativeCounts", dims: sizes, inputs: { pixels: pixel } },
  { kernel: "equalise", dims: sizes, inputs: { pixels: { min: -3, max: LEVELS + 3 }, cdf: { min: 0, max: "P" } } },
  { kernel: "percentileClip", dims: { R: { min: 1, max: 3 }, C: { min: 1, max: 200 } }, inputs: { x: pixel } },
];
