/** Kernels whose loops move tiles in every way that a count could get wrong. */
import { blocks, each, gemm, histogram, input, kernel, load, map, mask, output, rename, scalar, store, sum } from "../../../dsl/index.ts";

const args = { x: input("f32", { r: "R", c: "C" }, { pitch: { r: "xPitch" } }), n: input("i32", { r: "R" }), y: output("f32", { r: "R", c: 8 }) };

/** Backwards, over all columns but the first four. */
export const backwards = kernel("backwards", {
  args,
  tune: {},
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, _tune, { r }) {
    for (const c of blocks("c", 0, a.x.size.c - 4, 4)) {
      const start = a.x.size.c - 4 - c.start;
      store(a.y.tile({ r, c: { axis: "c", start: 0, size: 4 } }), load(a.x.tile({ r, c: { axis: "c", start, size: 4 } })));
    }
  },
});

/** 8 columns of every 24: there are gaps. */
export const gaps = kernel("gaps", {
  args,
  tune: {},
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, _tune, { r }) {
    for (const c of blocks("c", 0, a.x.size.c, 8)) store(a.y.tile({ r, c: { axis: "c", start: 0, size: 8 } }), load(a.x.tile({ r, c: { axis: "c", start: 3 * c.start, size: 8 } })));
  },
});

/** A band: row and column move together. */
export const band = kernel("band", {
  args,
  tune: {},
  grid: (a) => ({ rb: blocks("r", 0, a.x.size.r, 2) }),
  body(a, _tune, { rb }) {
    const diagonal = load(a.x.tile({ r: rb, c: { axis: "c", start: rb.start, size: 8 } }));
    store(a.y.tile({ r: rb }), diagonal);
  },
});

/** Products of the rows that say so: the branch moves no tile. */
export const sometimes = kernel("sometimes", {
  args: { ...args, w: input("bf16", { o: 8, c: "C" }) },
  tune: {},
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, _tune, { r }) {
    if (scalar(load(a.n.tile({ r }))) > 3) {
      const c = { axis: "c", start: 0, size: 16 } as const;
      store(a.y.tile({ r }), rename(gemm(load(a.w.tile({ c })), load(a.x.tile({ r, c })), "c"), { o: "c" }));
    }
  },
});

/** As many columns as each row says, in a product whose other side every row reads anew. */
export const ragged = kernel("ragged", {
  args: { ...args, w: input("bf16", { o: 8, c: "C" }) },
  tune: { BC: 16 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BC }, { r }) {
    const end = Math.min(scalar(load(a.n.tile({ r }))), a.x.size.c);
    for (const c of blocks("c", 0, end, BC)) {
      const dot = gemm(load(a.w.tile({ c })), load(a.x.tile({ r, c })), "c");
      store(a.y.tile({ r }), rename(map([dot, sum(dot, "o")], (d, s) => 2 * d + s), { o: "c" }));
    }
  },
});

/** Two loops: up to what only a run finds, and up to what that one has counted. */
export const unknownTrips = kernel("unknownTrips", {
  args,
  tune: {},
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, _tune, { r }) {
    const head = load(a.x.tile({ r, c: { axis: "c", start: 0, size: 8 } }));
    const digits = histogram(8);
    digits.add(map([head], (x) => Math.min(Math.max(x, 0), 7), "u32"), mask([head], (x) => x > 0));
    let turns = 1;
    for (const _ of blocks("c", 0, digits.find(1).bin, 1)) turns = turns + 1;
    for (const c of blocks("c", 0, 8 * turns, 8)) store(a.y.tile({ r, c: { axis: "c", start: 0, size: 8 } }), load(a.x.tile({ r, c })));
  },
});
