import { afterAll, beforeAll, expect, test } from "vitest";
import { fromBytes, toBytes } from "../../../../dsl/dtype.ts";
import type { DeviceBuffer, Executable } from "../../../../targets/device.ts";
import { openAdapter } from "../../../../targets/wgsl/adapter.ts";
import { openWebGpu, WebGpuDevice } from "../../../../targets/wgsl/runtime.ts";
import { foldKernel } from "./fold_kernel.ts";

let device: WebGpuDevice;
let fold: Executable;
beforeAll(async () => {
  device = await openWebGpu({ adapter: "software" });
  const { manifest, text } = foldKernel();
  fold = await device.load(manifest, text);
});
afterAll(() => device.close());

const ramp = (n: number): number[] => Array.from({ length: n }, (_, i) => (i % 1000) + 1);

function upload(values: readonly number[]): DeviceBuffer {
  const buffer = device.alloc(values.length * 4);
  device.write(buffer, toBytes("f32", values));
  return buffer;
}
const download = async (buffer: DeviceBuffer): Promise<number[]> => [...fromBytes("f32", await device.read(buffer))];

test("runs every element once, in a last block that is not full too", async () => {
  const x = upload(ramp(130));
  const acc = upload(ramp(130));
  device.launch({ executable: fold, buffers: { x, acc }, dims: { n: 130, factor: 10 } });
  expect(await download(acc)).toEqual(ramp(130).map((v) => v * 11));
});

test("touches nothing behind the last element, and takes a dim's default", async () => {
  const x = upload(ramp(130));
  const acc = upload(ramp(130));
  device.launch({ executable: fold, buffers: { x, acc }, dims: { n: 70 } });
  expect(await download(acc)).toEqual(ramp(130).map((v, i) => (i < 70 ? v * 3 : v)));
});

test("runs launches in the order given", async () => {
  const x = upload([1, 2, 3]);
  const acc = upload([0, 0, 0]);
  for (const factor of [2, 3, 5]) device.launch({ executable: fold, buffers: { x, acc }, dims: { n: 3, factor } });
  expect(await download(acc)).toEqual([21, 42, 63]); // ((x·3) + x)·5 + x
});

test("spreads more blocks than one dimension of the grid holds", async () => {
  const n = 70001;
  const { manifest, text } = foldKernel({ threads: 1 });
  expect(n).toBeGreaterThan(device.limits["maxComputeWorkgroupsPerDimension"]!);
  const executable = await device.load(manifest, text);
  const x = upload(ramp(n));
  const acc = device.alloc(n * 4);
  device.launch({ executable, buffers: { x, acc }, dims: { n } });
  const want = ramp(n);
  expect((await download(acc)).findIndex((v, i) => v !== want[i])).toBe(-1); // toEqual takes a minute to print so long a difference
});

test("takes views of buffers, and touches nothing outside them", async () => {
  const step = device.viewAlignment;
  const words = step / 4;
  const [x, acc] = [upload(ramp(3 * words)), upload(ramp(3 * words))];
  const buffers = { x: device.view(x, 2 * step, step), acc: device.view(acc, step, 4 * (words - 1)) };
  device.launch({ executable: fold, buffers, dims: { n: words - 1, factor: 0 } });
  const want = ramp(3 * words).map((v, i) => (i >= words && i < 2 * words - 1 ? ramp(3 * words)[i + words]! : v));
  expect(await download(acc)).toEqual(want);
  expect(() => device.view(x, step - 4, 4)).toThrow(`begin at a multiple of ${step} bytes`);
  expect(() => device.launch({ executable: fold, buffers, dims: { n: words } })).toThrow(/buffer "acc" has \d+ bytes and needs/);
});

test("does nothing for zero blocks", async () => {
  const x = device.alloc(0);
  const acc = upload([7]);
  device.launch({ executable: fold, buffers: { x, acc }, dims: { n: 0 } });
  expect(await download(acc)).toEqual([7]);
  expect(await device.read(x)).toEqual(new Uint8Array(0));
});

test("keeps sizes that are no multiple of a word, and zero-fills", async () => {
  const buffer = device.alloc(7);
  expect(await device.read(buffer)).toEqual(new Uint8Array(7));
  const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6, 7);
  device.write(buffer, bytes);
  expect(await device.read(buffer)).toEqual(bytes);
});

test("reads any part of a buffer, and nothing beyond it", async () => {
  const bytes = Uint8Array.from({ length: 11 }, (_, i) => i + 1);
  const buffer = device.alloc(11);
  device.write(buffer, bytes);
  for (const [from, count] of [[0, 11], [3, 1], [3, 6], [4, 4], [10, 1], [11, 0], [0, 0]] as const)
    expect(await device.readPart(buffer, from, count), `${count} bytes at ${from}`).toEqual(bytes.slice(from, from + count));
  await expect(device.readPart(buffer, 9, 3)).rejects.toThrow(/read of 3 bytes at 9 from a buffer of 11/);
  device.free(buffer);
});

test("reads what was there when it was called, with several reads in flight", async () => {
  const x = upload([1]);
  const acc = upload([0]);
  const launch = { executable: fold, buffers: { x, acc }, dims: { n: 1 } };
  device.launch(launch);
  const first = download(acc);
  device.launch(launch);
  const second = download(acc);
  expect([await second, await first]).toEqual([[3], [1]]);
});

test("waiting leaves setImmediate as it was", async () => {
  const before = globalThis.setImmediate;
  const syncing = device.sync();
  expect(globalThis.setImmediate).toBe(before);
  await syncing;
  expect(globalThis.setImmediate).toBe(before);
});

test("times by the device's clock", async () => {
  const x = upload(ramp(4096));
  const acc = device.alloc(4096 * 4);
  const { median, min, max, clock } = await device.time({ executable: fold, buffers: { x, acc }, dims: { n: 4096, factor: 0 } }, 5);
  expect(clock).toBe("timestamp");
  expect(min).toBeGreaterThan(0);
  expect([min, median, max]).toEqual([min, median, max].sort((a, b) => a - b));
});

test("times by the host's clock on an adapter without timestamps", async () => {
  const opened = await openAdapter("software");
  const plain = new WebGpuDevice({ ...opened, report: { ...opened.report, features: [] } });
  const { manifest, text } = foldKernel();
  const executable = await plain.load(manifest, text);
  const buffers = { x: plain.alloc(256), acc: plain.alloc(256) };
  const { min, median, max, clock } = await plain.time({ executable, buffers, dims: { n: 64 } }, 7);
  expect(clock).toBe("wall");
  expect(min).toBeGreaterThan(0);
  expect([min, median, max]).toEqual([min, median, max].sort((a, b) => a - b));
  plain.close();
});
