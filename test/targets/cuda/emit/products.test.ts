/** The simulated machine runs Hopper's records as a Hopper GPU does (test/targets/cuda/runtime/hopper_gpu.test.ts): layouts, fragments, rings. */
import { describe, expect, it } from "vitest";
import { runLoop } from "../../../../compiler/interp/loop.ts";
import { verifyLoop } from "../../../../compiler/ir/verify_loop.ts";
import { fromBytes, toBytes } from "../../../../dsl/dtype.ts";
import { cudaTarget } from "../../../../targets/cuda/index.ts";
import { cudaInstructionsOf } from "../../../../targets/cuda/instructions.ts";
import { cudaArchs } from "../../../../targets/cuda/target.ts";
import { productData, productKernel, productShapes, scattered } from "./product_kernels.ts";
import { ringScores, ringValues } from "./role_kernels.ts";

const target = cudaTarget("cuda:sm_90a");
const records = cudaInstructionsOf(cudaArchs.sm_90a);
const sequence = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));

describe("products", () => {
  for (const shape of productShapes) {
    const kernel = productKernel(shape);
    it(kernel.name, () => {
      const { buffers, expected } = productData(shape);
      verifyLoop(kernel, target, "test");
      runLoop(kernel, records, buffers, {}, { seed: 1 });
      expect(fromBytes("f32", buffers.out)).toEqual(fromBytes("f32", expected));
    });
  }
});

describe("rings", () => {
  const values = (count: number, seed: number): number[] => sequence(count, (i) => (scattered(seed, i, 5) - 2) / 2);
  for (const [T, multiprocessors] of [[1, 2], [300, 1], [500, 3]] as const)
    it(`ring_scores over ${T} keys on ${multiprocessors} multiprocessors`, () => {
      const [q, keys] = [values(128 * 128, 3), values(T * 128, 5)];
      const buffers = { q: toBytes("e4m3", q), keys: toBytes("e4m3", keys), out: new Uint8Array(4 * T * 128) };
      verifyLoop(ringScores, target, "test");
      runLoop(ringScores, records, buffers, { T }, { seed: T, multiprocessors });
      const out = fromBytes("f32", buffers.out);
      for (let t = 0; t < T; t += 7)
        expect([...out.subarray(t * 128, t * 128 + 128)]).toEqual(
          sequence(128, (n) => sequence(128, (d) => keys[t * 128 + d]! * q[n * 128 + d]!).reduce((x, y) => x + y)),
        );
    });
  for (const T of [1, 64, 200])
    it(`ring_values over ${T} rows`, () => {
      const [weights, rows, factor] = [values(64 * T, 1), values(T * 128, 2), values(128, 9)];
      const buffers = { weights: toBytes("f32", weights), rows: toBytes("bf16", rows), factor: toBytes("f32", factor), out: new Uint8Array(4 * 64 * 128) };
      verifyLoop(ringValues, target, "test");
      runLoop(ringValues, records, buffers, { T }, { seed: T });
      expect([...fromBytes("f32", buffers.out)].map((x) => x + 0)).toEqual(
        sequence(64 * 128, (i) => {
          const [m, n] = [Math.floor(i / 128), i % 128];
          return factor[n]! * sequence(T, (t) => weights[m * T + t]! * rows[t * 128 + n]!).reduce((x, y) => x + y) + 0;
        }),
      );
    });
});
