/** Matrix products with an epilogue, in f32 and bf16, and a batched one. Sizes are run-time numbers and need not fill tiles. */
import { blocks, cast, full, gemm, input, kernel, load, map, output, scalarFn, store, tanh, type ScalarFn } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

const relu = scalarFn("relu", (x) => Math.max(x, 0));
const gelu = scalarFn("gelu", (x) => 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))));

/** y = activation(a b + bias) */
const denseLayer = (name: string, dtype: "f32" | "bf16", activation: ScalarFn) =>
  kernel(name, {
    args: {
      a: input(dtype, { m: "M", k: "K" }, { pitch: { m: "aPitch" } }),
      b: input(dtype, { k: "K", n: "N" }),
      bias: input("f32", { n: "N" }),
      y: output(dtype, { m: "M", n: "N" }, { pitch: { m: "yPitch" } }),
    },
    tune: { BM: 16, BN: 16, BK: 32 },
    grid: (a, { BM, BN }) => ({ mb: blocks("m", 0, a.a.size.m, BM), nb: blocks("n", 0, a.b.size.n, BN) }),
    body(a, { BM, BN, BK }, { mb, nb }) {
      let acc = full({ m: BM, n: BN }, 0);
      for (const kb of blocks("k", 0, a.a.size.k, BK)) {
        acc = gemm(load(a.a.tile({ m: mb, k: kb })), load(a.b.tile({ k: kb, n: nb })), "k", acc);
      }
      const y = map([acc, load(a.bias.tile({ n: nb }))], (x, bias) => activation(x + bias));
      store(a.y.tile({ m: mb, n: nb }), cast(dtype, y));
    },
  });
export const denseRelu = denseLayer("dense_relu_f32", "f32", relu);
export const denseGelu = denseLayer("dense_gelu_bf16", "bf16", gelu);

/** y[b] = x[b] w[b], with more than one matrix a block */
export const batchedGemm = kernel("batched_gemm", {
  args: {
    x: input("f16", { b: "B", m: 12, k: 24 }),
    w: input("f16", { b: "B", k: 24, n: 20 }),
    y: output("f32", { b: "B", m: 12, n: 20 }),
  },
  tune: { BB: 2 },
  grid: (a, { BB }) => ({ bb: blocks("b", 0, a.x.size.b, BB) }),
  body(a, _tune, { bb }) {
    store(a.y.tile({ b: bb }), gemm(load(a.x.tile({ b: bb })), load(a.w.tile({ b: bb })), "k"));
  },
});

const upTo = (max: number) => ({ min: 1, max });
export const examples: readonly Example[] = [
  { kernel: "denseRelu", dims: { M: upTo(40), N: upTo(40), K: upTo(70) } },
  { kernel: "denseGelu", dims: { M: upTo(40), N: upTo(40), K: upTo(70) } },
  { kernel: "batchedGemm", dims: { B: upTo(5) } },
];
