/** Narrow formats in and out: scaled groups to bf16, every code of e5m2 and e4m3, and a transpose that rounds to f16. */
import { blocks, cast, field, input, inputRecord, kernel, load, map, output, store } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

const GROUP = 32;

/** Records of two groups of e4m3 codes, each with a ue8m0 scale: MXFP8 rows. */
export const dequantise = kernel("dequantise", {
  args: {
    x: inputRecord(
      { r: "R" },
      { code: field("e4m3", { g: 2, e: GROUP }, 0), scale: field("ue8m0", { g: 2 }, 2 * GROUP) },
      { bytes: 2 * GROUP + 4, pitch: "rowBytes" },
    ),
    y: output("bf16", { r: "R", g: 2, e: GROUP }),
  },
  tune: { BR: 3 },
  grid: (a, { BR }) => ({ rb: blocks("r", 0, a.x.size.r, BR) }),
  body(a, _tune, { rb }) {
    store(
      a.y.tile({ r: rb }),
      map([load(a.x.code.tile({ r: rb })), load(a.x.scale.tile({ r: rb }))], (x, s) => x * s),
    );
  },
});

/** Every code of both 8-bit floats, and back: NaN and infinities among them. */
export const recode = kernel("recode", {
  args: {
    a: input("e4m3", { i: "N" }),
    b: input("e5m2", { i: "N" }),
    wide: output("f32", { i: "N" }),
    half: output("f16", { row: 1, i: "N" }, { pitch: { row: "halfPitch" } }),
    swapped: output("e4m3", { row: 1, i: "N" }, { pitch: { row: "swappedPitch" } }),
  },
  tune: { BI: 64 },
  grid: (a, { BI }) => ({ ib: blocks("i", 0, a.a.size.i, BI) }),
  body(a, _tune, { ib }) {
    const [x, y] = [load(a.a.tile({ i: ib })), load(a.b.tile({ i: ib }))];
    store(a.wide.tile({ i: ib }), cast("f32", x));
    store(a.half.tile({ row: 0, i: ib }), cast("f16", y));
    store(a.swapped.tile({ row: 0, i: ib }), cast("e4m3", y));
  },
});

/** Rounding to every narrow format. */
export const narrow = kernel("narrow", {
  args: {
    x: input("f32", { i: "N" }),
    bf16: output("bf16", { row: 1, i: "N" }, { pitch: { row: "bf16Pitch" } }),
    f16: output("f16", { row: 1, i: "N" }, { pitch: { row: "f16Pitch" } }),
    e4m3: output("e4m3", { row: 1, i: "N" }, { pitch: { row: "e4m3Pitch" } }),
    e5m2: output("e5m2", { row: 1, i: "N" }, { pitch: { row: "e5m2Pitch" } }),
    ue8m0: output("ue8m0", { row: 1, i: "N" }, { pitch: { row: "ue8m0Pitch" } }),
    twice: output("f32", { i: "N" }),
  },
  tune: { BI: 64 },
  grid: (a, { BI }) => ({ ib: blocks("i", 0, a.x.size.i, BI) }),
  body(a, _tune, { ib }) {
    const x = load(a.x.tile({ i: ib }));
    store(a.bf16.tile({ row: 0, i: ib }), x);
    store(a.f16.tile({ row: 0, i: ib }), x);
    store(a.e4m3.tile({ row: 0, i: ib }), x);
    store(a.e5m2.tile({ row: 0, i: ib }), x);
    store(a.ue8m0.tile({ row: 0, i: ib }), x);
    store(a.twice.tile({ i: ib }), cast("e4m3", cast("bf16", x)));
  },
});

export const transpose = kernel("transpose_f16", {
  args: { x: input("f32", { m: "M", n: "N" }), y: output("f16", { n: "N", m: "M" }, { pitch: { n: "yPitch" } }) },
  tune: { B: 16 },
  grid: (a, { B }) => ({ mb: blocks("m", 0, a.x.size.m, B), nb: blocks("n", 0, a.x.size.n, B) }),
  body(a, _tune, { mb, nb }) {
    store(a.y.tile({ n: nb, m: mb }), load(a.x.tile({ m: mb, n: nb })));
  },
});

export const examples: readonly Example[] = [
  { kernel: "dequantise", inputs: { "x.code": "any" } },
  { kernel: "recode", dims: { N: { min: 1, max: 300 } }, inputs: { a: "any", b: "any" } },
  { kernel: "narrow", dims: { N: { min: 1, max: 300 } }, inputs: { x: { min: -500, max: 500 } } },
  { kernel: "narrow", dims: { N: { min: 1, max: 300 } }, inputs: { x: { min: -0.02, max: 0.02 } } },
  { kernel: "narrow", dims: { N: { min: 1, max: 300 } }, inputs: { x: { min: -1e-5, max: 1e-5 } } },
  { kernel: "narrow", dims: { N: 100 }, inputs: { x: { min: -70000, max: 70000 } } },
  { kernel: "transpose", inputs: { x: { min: -70000, max: 70000 } } },
  { kernel: "transpose" },
];
