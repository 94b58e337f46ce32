/** Kernels that follow indices: rows of a paged table, and the first of the largest. */
import {
  blocks,
  div,
  each,
  field,
  full,
  gather,
  input,
  inputRecord,
  iota,
  kernel,
  load,
  map,
  max,
  min,
  mod,
  output,
  scalar,
  store,
} from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

const PAGE = 8;
const CHANNELS = 24;

/** y[i] = row idx[i] of a table whose pages lie anywhere; rows that do not exist are zero. */
export const pagedGather = kernel("paged_gather", {
  args: {
    pages: inputRecord(
      { p: "P" },
      { row: field("bf16", { s: PAGE, c: CHANNELS }, 0), gain: field("f32", { s: PAGE }, 2 * PAGE * CHANNELS) },
      { bytes: 2 * PAGE * CHANNELS + 4 * PAGE, pitch: "pageBytes" },
    ),
    table: input("i32", { b: "B" }),
    idx: input("i32", { i: "I" }),
    y: output("f32", { i: "I", c: CHANNELS }),
  },
  tune: { BI: 8 },
  grid: (a, { BI }) => ({ ib: blocks("i", 0, a.idx.size.i, BI) }),
  body(a, _tune, { ib }) {
    const row = load(a.idx.tile({ i: ib }), -1);
    const b = map([row], (r) => (r < 0 ? -1 : div(r, PAGE)), "i32");
    const known = gather(a.table.tile({}), { b }); // an entry that does not exist reads as page 0
    const p = map([known, b], (p, b) => (b < 0 || b >= a.table.size.b ? -1 : p), "i32");
    const s = map([row], (r) => (r < 0 ? -1 : mod(r, PAGE)), "i32");
    const x = gather(a.pages.row.tile({}), { p, s });
    const gain = gather(a.pages.gain.tile({}), { p, s });
    store(
      a.y.tile({ i: ib }),
      map([x, gain], (x, g) => x * g),
    );
  },
});

/** Largest value of each row and the first column that holds it. */
export const argmax = kernel("argmax", {
  args: { x: input("f32", { r: "R", c: "C" }), best: output("f32", { r: "R", one: 1 }), at: output("i32", { r: "R", one: 1 }) },
  tune: { BC: 32 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BC }, { r }) {
    let best = -Infinity;
    let at = 0x7fffffff;
    for (const cb of blocks("c", 0, a.x.size.c, BC)) {
      const x = load(a.x.tile({ r, c: cb }), -Infinity);
      const here = scalar(max(x, "c"));
      const first = scalar(
        min(
          map([x, iota(cb)], (x, c) => (x === here ? c : 0x7fffffff), "i32"),
          "c",
        ),
      );
      if (here > best) {
        best = here;
        at = first;
      }
    }
    store(a.best.tile({ r }), full({ one: 1 }, best));
    store(a.at.tile({ r }), full({ one: 1 }, at, "i32"));
  },
});

export const examples: readonly Example[] = [
  {
    kernel: "pagedGather",
    dims: { P: { min: 1, max: 6 }, B: { min: 1, max: 5 } },
    inputs: { table: { min: -1, max: "P" }, idx: { min: -2, max: 45 } },
  },
  { kernel: "argmax", dims: { R: { min: 1, max: 4 }, C: { min: 1, max: 150 } } },
];
