/** Hopper's own instructions on a Hopper GPU: matrix layouts, fragments, rings between roles. Skipped where there is none. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LoopKernel } from "../../../../compiler/ir/loop.ts";
import type { Manifest } from "../../../../compiler/ir/manifest.ts";
import { fromBytes, toBytes } from "../../../../dsl/dtype.ts";
import { cudaEntry, emitCuda } from "../../../../targets/cuda/emit.ts";
import { type CudaDevice, cudaStatus, openCuda } from "../../../../targets/cuda/runtime/driver.ts";
import { sourceLine } from "../../../compiler/interp/loop_kernels.ts";
import { productData, productKernel, productShapes, scattered } from "../emit/product_kernels.ts";
import { ringScores, ringValues } from "../emit/role_kernels.ts";

const { available, device: found } = await cudaStatus();
const isHopper = available && found!.computeCapability.join(".") === "9.0";

const manifestOf = (kernel: LoopKernel): Manifest => ({
  ...{ format: 1, kernel: kernel.name, entry: cudaEntry(kernel), target: "cuda:sm_90a", file: "kernel.cu", source: kernel.loc.file, spec: {}, tune: {} },
  ...{ params: kernel.params, dims: kernel.dims, tensorMaps: kernel.tensorMaps, blocks: kernel.blocks, threads: kernel.threads },
  ...{ sharedBytes: kernel.sharedBytes, features: [], limits: {}, sha256: "" },
});

describe.skipIf(!isHopper)("on a Hopper GPU", () => {
  let device: CudaDevice;
  beforeAll(async () => {
    device = await openCuda();
  });
  afterAll(() => device.close());

  /** Bytes of `out` after a launch; it holds NaN before. */
  async function run(kernel: LoopKernel, inputs: Record<string, Uint8Array>, dims: Record<string, number>, bytes: number): Promise<Uint8Array> {
    const executable = await device.load(manifestOf(kernel), emitCuda(kernel, { target: "cuda:sm_90a", header: [], sourceLine }));
    const contents = { ...inputs, out: new Uint8Array(bytes).fill(0xff) };
    const buffers = Object.fromEntries(Object.entries(contents).map(([name, data]) => {
      const buffer = device.alloc(data.byteLength);
      device.write(buffer, data);
      return [name, buffer];
    }));
    device.launch({ executable, buffers, dims });
    const out = await device.read(buffers.out!);
    Object.values(buffers).forEach((buffer) => device.free(buffer));
    device.unload(executable);
    return out;
  }

  for (const shape of productShapes) {
    const kernel = productKernel(shape);
    test(kernel.name, async () => {
      const { buffers: { a, b, out }, expected } = productData(shape);
      expect(fromBytes("f32", await run(kernel, { a, b }, {}, out.byteLength))).toEqual(fromBytes("f32", expected));
    });
  }

  /** Multiples of 1/2 from -1 to 1, whose sums of products tensor cores find exactly. */
  const values = (count: number, seed: number): Float64Array => Float64Array.from({ length: count }, (_, i) => (scattered(seed, i, 5) - 2) / 2);
  const difference = (a: Float64Array, b: Float64Array): number =>
    a.reduce((most, x, i) => Math.max(most, Number.isNaN(x) ? Infinity : Math.abs(x - b[i]!)), 0);

  for (const T of [1, 128, 1000, 40_000])
    test(`ring_scores over ${T} keys`, async () => {
      const [q, keys] = [values(128 * 128, 3), values(T * 128, 5)];
      const out = await run(ringScores, { q: toBytes("e4m3", q), keys: toBytes("e4m3", keys) }, { T }, 4 * T * 128);
      const expected = new Float64Array(T * 128);
      for (let t = 0; t < T; t++)
        for (let n = 0; n < 128; n++) for (let d = 0; d < 128; d++) expected[t * 128 + n]! += keys[t * 128 + d]! * q[n * 128 + d]!;
      expect(difference(fromBytes("f32", out), expected)).toBe(0);
    });

  for (const T of [1, 64, 200, 1024])
    test(`ring_values over ${T} rows`, async () => {
      const [weights, rows, factor] = [values(64 * T, 1), values(T * 128, 2), values(128, 9)];
      const inputs = { weights: toBytes("f32", weights), rows: toBytes("bf16", rows), factor: toBytes("f32", factor) };
      const out = await run(ringValues, inputs, { T }, 4 * 64 * 128);
      const expected = new Float64Array(64 * 128);
      for (let m = 0; m < 64; m++)
        for (let n = 0; n < 128; n++) for (let t = 0; t < T; t++) expected[m * 128 + n]! += factor[n]! * weights[m * T + t]! * rows[t * 128 + n]!;
      expect(difference(fromBytes("f32", out), expected)).toBe(0);
    });
});
