/** Scalar code: nested branches that carry scalars and tiles, hashing with bit operations, and every function of the language. */
import {
  abs,
  bitsOf,
  blocks,
  ceil,
  cos,
  div,
  each,
  exp,
  exp2,
  floatOf,
  floor,
  full,
  input,
  iota,
  kernel,
  load,
  log,
  log1p,
  log2,
  map,
  max,
  mod,
  output,
  popcount,
  scalar,
  sin,
  sqrt,
  store,
  sum,
  tanh,
} from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

/** Each row is treated as its mode says; chunks alternate; rows of an unknown mode keep their bytes. */
export const branches = kernel("branches", {
  args: {
    x: input("f32", { r: "R", c: "C" }),
    mode: input("i32", { r: "R" }),
    y: output("f32", { r: "R", c: "C" }),
    taken: output("i32", { r: "R", one: 1 }),
    skipped: output("i32", { r: "R", one: 1 }),
  },
  tune: { BC: 16 },
  grid: (a) => ({ r: each(a.x.size.r) }),
  body(a, { BC }, { r }) {
    const mode = scalar(load(a.mode.tile({ r })));
    let taken = 0;
    let skipped = 0;
    if (mode >= 0 && mode < 4) {
      let state = full({ c: BC }, 0);
      let limit = mode === 3 ? 1 : 1e30;
      for (const cb of blocks("c", 0, a.x.size.c, BC)) {
        const x = load(a.x.tile({ r, c: cb }));
        const odd = mod(div(cb.start, BC), 2) === 1;
        if (mode === 0 || (mode === 1 && odd)) {
          state = map([state, x], (s, x) => s + x);
          taken += 1;
        } else if (mode === 2) {
          const top = scalar(max(x, "c"));
          if (top > 0.5) {
            state = map([x], (x) => x * top);
            taken += 2;
          } else {
            skipped += 1;
          }
        } else {
          skipped += 1;
          limit = Math.min(limit, Math.abs(scalar(sum(x, "c"))));
        }
        store(
          a.y.tile({ r, c: cb }),
          map([state, x], (s, x) => Math.min(s, limit) + x),
        );
      }
    }
    store(a.taken.tile({ r }), full({ one: 1 }, taken, "i32"));
    store(a.skipped.tile({ r }), full({ one: 1 }, skipped, "i32"));
  },
});

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** A mixing function over words, and the number of ones of the result. */
export const hash = kernel("hash", {
  args: { x: input("u32", { i: "N" }), seed: input("u32", { one: 1 }), y: output("u32", { i: "N" }), ones: output("i32", { i: "N" }) },
  tune: { BI: 128 },
  grid: (a, { BI }) => ({ ib: blocks("i", 0, a.x.size.i, BI) }),
  body(a, _tune, { ib }) {
    const seed = scalar(load(a.seed.tile({ one: 0 })));
    const mixed = map(
      [load(a.x.tile({ i: ib })), iota(ib)],
      (x, i) => {
        const spread = (x ^ seed ^ (i >>> 0)) >>> 0;
        const once = ((spread ^ (spread >>> 16)) * 0x45d9) >>> 0;
        const turned = rotate(once, 13) >>> 0;
        return ~(turned ^ (turned >>> 9)) >>> 0;
      },
      "u32",
    );
    store(a.y.tile({ i: ib }), mixed);
    store(
      a.ones.tile({ i: ib }),
      map([mixed], (m) => popcount(m), "i32"),
    );
  },
});

const FUNCTIONS = 16;

/** Each function of the language in a row of its own. */
export const functions = kernel("functions", {
  args: { x: input("f32", { i: "N" }), y: output("f32", { f: FUNCTIONS, i: "N" }) },
  tune: { BI: 64 },
  grid: (a, { BI }) => ({ ib: blocks("i", 0, a.x.size.i, BI) }),
  body(a, _tune, { ib }) {
    const x = load(a.x.tile({ i: ib }), 1);
    const rows = [
      map([x], (x) => exp(x / 4)),
      map([x], (x) => exp2(x / 4)),
      map([x], (x) => log(abs(x) + 1)),
      map([x], (x) => log2(abs(x) + 1)),
      map([x], (x) => log1p(abs(x))),
      map([x], (x) => sqrt(abs(x))),
      map([x], (x) => abs(x)),
      map([x], (x) => floor(x)),
      map([x], (x) => ceil(x)),
      map([x], (x) => tanh(x)),
      map([x], (x) => sin(x)),
      map([x], (x) => cos(x)),
      map([x], (x) => floatOf((bitsOf(x) ^ 0x80000000) >>> 0)),
      map([x], (x) => (x > 0 ? 1 : x < 0 ? -1 : 0)),
      map([x], (x) => Math.max(-1, Math.min(x, 1))),
      map([x], (x) => (bitsOf(x) >>> 31 === 1 ? 3 : 4)),
    ];
    for (const [f, row] of rows.entries()) store(a.y.tile({ f, i: ib }), row);
  },
});

export const examples: readonly Example[] = [
  { kernel: "branches", dims: { R: { min: 1, max: 6 }, C: { min: 1, max: 90 } }, inputs: { mode: { min: -1, max: 4 } } },
  { kernel: "hash", dims: { N: { min: 1, max: 300 } } },
  { kernel: "functions", dims: { N: { min: 1, max: 100 } }, inputs: { x: { min: -3, max: 3 } } },
];
