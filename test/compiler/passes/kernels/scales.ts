/** Sums of products in which scales can move, and some in which they must not. */
import { blocks, exp, gemm, input, kernel, load, log1p, map, output, store, sum } from "../../../../dsl/index.ts";

const argsOf = (dtype: "bf16" | "e4m3") => ({
  a: input(dtype, { q: 2, h: 8, d: 16 }),
  b: input(dtype, { t: "T", d: 16 }),
  aScale: input("f32", { q: 2, h: 8 }, { nonNegative: true }),
  bScale: input("f32", { t: "T" }, { nonNegative: true }),
  gate: input("f32", { q: 2, h: 8 }),
  y: output("f32", { t: "T", q: 2 }),
});

/** y[t, q] = sum over h of gate * score(aScale * bScale * <a, b>). */
const scored = (name: string, score: (x: number) => number, dtype: "bf16" | "e4m3" = "bf16") =>
  kernel(name, {
    args: argsOf(dtype),
    tune: {},
    grid: (a) => ({ tc: blocks("t", 0, a.b.size.t, 64) }),
    body(a, {}, { tc }) {
      const left = load(a.a.tile({}));
      const aScale = load(a.aScale.tile({}));
      const gate = load(a.gate.tile({}));
      for (const tb of blocks("t", tc.start, Math.min(tc.start + tc.size, a.b.size.t), 16)) {
        const bScale = load(a.bScale.tile({ t: tb }));
        const dot = gemm(load(a.b.tile({ t: tb })), left, "d");
        const head = map([dot, aScale, bScale, gate], (s, as, bs, g) => score(s * as * bs) * g);
        store(a.y.tile({ t: tb }), sum(head, "h"));
      }
    },
  });

export const reluScores = scored("relu_scores", (x) => Math.max(x, 0));
export const narrowReluScores = scored("narrow_relu_scores", (x) => Math.max(x, 0), "e4m3");
export const leakyScores = scored("leaky_scores", (x) => (x > 0 ? x : 0.125 * x));
export const clippedScores = scored("clipped_scores", (x) => Math.min(Math.max(x, 0), 4));
export const softScores = scored("soft_scores", (x) => Math.max(x, 0) + log1p(exp(-Math.abs(x))));

/** The gate is inside the maximum, and no promise says that it is not negative. */
export const gatedInside = kernel("gated_inside", {
  args: { x: input("f32", { t: "T", h: 32 }), scale: input("f32", { t: "T" }, { nonNegative: true }), gate: input("f32", { h: 32 }), y: output("f32", { t: "T" }) },
  tune: {},
  grid: (a) => ({ tb: blocks("t", 0, a.x.size.t, 8) }),
  body(a, {}, { tb }) {
    const head = map([load(a.x.tile({ t: tb })), load(a.scale.tile({ t: tb })), load(a.gate.tile({}))], (x, s, g) => Math.max(x * g * s, 0) * -0.5);
    store(a.y.tile({ t: tb }), sum(head, "h"));
  },
});

/** What is summed is read again, so that moving its scale would save nothing. */
export const readTwice = kernel("read_twice", {
  args: { x: input("f32", { t: "T", h: 32 }), scale: input("f32", { t: "T" }), y: output("f32", { t: "T" }), z: output("f32", { t: "T", h: 32 }) },
  tune: {},
  grid: (a) => ({ tb: blocks("t", 0, a.x.size.t, 8) }),
  body(a, {}, { tb }) {
    const scaled = map([load(a.x.tile({ t: tb })), load(a.scale.tile({ t: tb }))], (x, s) => x * s);
    store(a.y.tile({ t: tb }), sum(scaled, "h"));
    store(a.z.tile({ t: tb }), scaled);
  },
});

/** The product of gate and scale changes in the outer loop alone, and so do offsets with qb; mix changes in both, twice the offset in neither. */
export const nestedLoops = kernel("nested_loops", {
  args: {
    ...argsOf("bf16"),
    a: input("bf16", { q: 6, h: 8, d: 16 }),
    aScale: input("f32", { q: 6, h: 8 }, { nonNegative: true }),
    gate: input("f32", { q: 6, h: 8 }),
    mix: input("f32", { t: "T", h: 8 }),
    offset: input("f32", { t: 16 }),
    y: output("f32", { t: "T", q: 6 }),
  },
  tune: {},
  grid: (a) => ({ tc: blocks("t", 0, a.b.size.t, 64) }),
  body(a, {}, { tc }) {
    const offset = load(a.offset.tile({}));
    for (const qb of blocks("q", 0, 6, 2)) {
      const left = load(a.a.tile({ q: qb }));
      const aScale = load(a.aScale.tile({ q: qb }));
      const gate = load(a.gate.tile({ q: qb }));
      for (const tb of blocks("t", tc.start, Math.min(tc.start + tc.size, a.b.size.t), 16)) {
        const bScale = load(a.bScale.tile({ t: tb }));
        const mix = load(a.mix.tile({ t: tb.start }));
        const dot = gemm(load(a.b.tile({ t: tb })), left, "d");
        const head = map([dot, aScale, bScale, gate, mix], (s, as, bs, g, m) => Math.max(s * as * bs, 0) * g * m * (qb.start + 1));
        const twice = map([offset], (x) => x * 2);
        const offsets = map([twice], (x) => x + qb.start);
        store(a.y.tile({ t: tb, q: qb }), map([sum(head, "h"), offsets], (y, x) => y + x));
      }
    }
  },
});
