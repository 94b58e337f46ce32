/** The device executor over a device that lives in this process: poison, guards, and what is freed. */
import { describe, expect, test } from "vitest";
import type { Manifest } from "../../compiler/ir/manifest.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import { hopperFp8Accumulator, tensorCoreAccumulator } from "../../reference/index.ts";
import type { Device, DeviceBuffer } from "../../targets/device.ts";
import { logitsTarget } from "../../verify/checks/indexer_logits.ts";
import { arithmeticOf, deviceExecutor } from "../../verify/executor.ts";

const manifest: Manifest = {
  format: 1,
  kernel: "double",
  target: "wgsl",
  entry: "main",
  file: "kernel.wgsl",
  source: "double.ts:1",
  spec: null,
  tune: {},
  tensorMaps: [],
  blocks: 1,
  threads: 1,
  sharedBytes: 0,
  features: [],
  limits: {},
  sha256: "",
  dims: [{ name: "N" }],
  params: [
    {
      name: "x",
      access: "in",
      axes: [{ axis: "i", size: "N", stride: 1 }],
      fields: [{ name: "", dtype: "e4m3", offset: 0, axes: [] }],
      bytes: "N",
    },
    {
      name: "y",
      access: "out",
      axes: [{ axis: "i", size: "N", stride: 1 }],
      fields: [{ name: "", dtype: "e4m3", offset: 0, axes: [] }],
      bytes: "N",
    },
  ],
};

/** A device whose only kernel is a function of whole buffers. */
function deviceWith(kernel: (x: Uint8Array, y: Uint8Array, launch: number) => void): { device: Device; held: () => number } {
  const memory = new Map<DeviceBuffer, Uint8Array>();
  let launches = 0;
  const device: Device = {
    kind: "webgpu",
    name: "in memory",
    isGpu: false,
    alloc(bytes) {
      const buffer = { bytes };
      memory.set(buffer, new Uint8Array(bytes));
      return buffer;
    },
    write: (buffer, data) => memory.get(buffer)!.set(data),
    read: async (buffer) => memory.get(buffer)!.slice(),
    readPart: async (buffer, from, bytes) => memory.get(buffer)!.slice(from, from + bytes),
    free: (buffer) => void memory.delete(buffer),
    viewAlignment: 1,
    view: () => expect.unreachable("one kernel needs none"),
    load: async (of) => ({ manifest: of }),
    launch: ({ buffers }) => kernel(memory.get(buffers.x!)!, memory.get(buffers.y!)!, launches++),
    sync: async () => {},
    time: () => Promise.reject(new Error("not here")),
    close() {},
  };
  return { device, held: () => memory.size };
}

const buffers = { x: Uint8Array.of(1, 2, 3, 4, 5), y: new Uint8Array(5).fill(0xff) };
const double = (x: Uint8Array, y: Uint8Array): void => buffers.x.forEach((_, i) => (y[i] = 2 * x[i]!));

describe("deviceExecutor", () => {
  test("gives the outputs, leaves the caller's bytes alone, and frees what it took", async () => {
    const { device, held } = deviceWith((x, y) => double(x, y));
    const executor = await deviceExecutor(device, manifest, "");
    expect(await executor.run(buffers, { N: 5 })).toEqual({ y: Uint8Array.of(2, 4, 6, 8, 10) });
    expect(buffers.y).toEqual(new Uint8Array(5).fill(0xff));
    expect(held()).toBe(0);
    expect(executor).toMatchObject({ target: "wgsl", device: "in memory" });
  });

  test("a write behind an output is an error, and everything is freed all the same", async () => {
    const { device, held } = deviceWith((_, y) => (y[8] = 0));
    const executor = await deviceExecutor(device, manifest, "");
    await expect(executor.run(buffers, { N: 5 })).rejects.toThrow(/double: bytes behind the end of "y" were written/);
    expect(held()).toBe(0);
  });

  test("the last word of an output is the device's own", async () => {
    const { device } = deviceWith((x, y) => (double(x, y), (y[7] = 0)));
    const executor = await deviceExecutor(device, manifest, "");
    expect((await executor.run(buffers, { N: 5 })).y).toEqual(Uint8Array.of(2, 4, 6, 8, 10));
  });

  test("launches start from the same bytes and are compared bit by bit", async () => {
    const adds = deviceWith((x, y) => buffers.x.forEach((_, i) => (y[i] = y[i]! + x[i]!)));
    expect(await (await deviceExecutor(adds.device, manifest, "")).repeatsBitwise!(buffers, { N: 5 }, 20)).toBe(true);
    const drifts = deviceWith((_, y, launch) => (y[0] = launch === 19 ? 1 : 0));
    expect(await (await deviceExecutor(drifts.device, manifest, "")).repeatsBitwise!(buffers, { N: 5 }, 20)).toBe(false);
  });
});

test("budgets follow the products of the text: e4m3 on wgmma adds up more coarsely than on mma.sync", () => {
  expect(arithmeticOf("cuda:sm_90a", { products: ["mma.m16n8k16.bf16"] })).toEqual(arithmeticOf("cuda:sm_80"));
  expect(arithmeticOf("cuda:sm_90a", { products: ["wgmma.m64n128k16.bf16"] }).e4m3).toBeUndefined();
  const narrow = arithmeticOf("cuda:sm_90a", { products: ["wgmma.m64n128k32.e4m3.first"], algebra: ["splitRelu"] });
  expect(narrow.e4m3).toEqual(hopperFp8Accumulator);
  expect(logitsTarget(preset("v3.2"), narrow)).toEqual({ accumulator: hopperFp8Accumulator, output: "f32", split: true });
  const wide = withSettings(preset("v3.2"), { indexDtype: "bf16", score: "softplus" });
  expect(logitsTarget(wide, narrow)).toEqual({ accumulator: tensorCoreAccumulator, output: "f32", split: false });
});
