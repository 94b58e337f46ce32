import { afterEach, beforeEach, expect, test } from "vitest";
import type { Manifest } from "../../../../compiler/ir/manifest.ts";
import { type DeviceBuffer, DeviceError, type Executable } from "../../../../targets/device.ts";
import { openAdapter, type OpenedDevice } from "../../../../targets/wgsl/adapter.ts";
import { WebGpuDevice } from "../../../../targets/wgsl/runtime.ts";
import { foldKernel } from "./fold_kernel.ts";

let opened: OpenedDevice;
let device: WebGpuDevice;
beforeEach(async () => {
  opened = await openAdapter("software");
  device = new WebGpuDevice(opened);
});
afterEach(() => device.close());

async function loadFold(on = device, changes: Partial<Manifest> = {}): Promise<Executable> {
  const { manifest, text } = foldKernel(changes);
  return on.load(manifest, text);
}

const caught = (call: () => unknown): DeviceError => {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(DeviceError);
    return error as DeviceError;
  }
  throw new Error("expected a DeviceError, and nothing was thrown");
};
const rejected = async (promise: Promise<unknown>): Promise<DeviceError> => {
  const error: unknown = await promise.then(() => undefined, (e: unknown) => e);
  expect(error).toBeInstanceOf(DeviceError);
  return error as DeviceError;
};

test("a WGSL error shows Tint's message, the numbered line and a caret", async () => {
  const { manifest, text } = foldKernel();
  const { message } = await rejected(device.load(manifest, text.replace("f32(dims.factor)", "dims.factor")));
  expect(message).toContain("fold: Tint rejects the WGSL of fold.wgsl");
  expect(message).toContain("error at 12:12: no matching overload for 'operator * (f32, i32)'\n   10 |     return;\n");
  expect(message).toContain("   12 |   acc[i] = acc[i] * dims.factor + x[i];\n      |            ^");
  await device.sync(); // the error was told once
});

test("a text that does not fit its manifest fails to load", async () => {
  expect((await rejected(loadFold(device, { entry: "unfold" }))).message).toMatch(/load of fold failed: .*unfold/);
  const { manifest, text } = foldKernel();
  const { message } = await rejected(device.load(manifest, text.replace("var<storage, read> x", "var<storage, read_write> x")));
  expect(message).toMatch(/load of fold failed: .*ReadOnlyStorage/);
});

test("dims and buffers are checked before the launch", async () => {
  const executable = await loadFold();
  const [x, acc] = [device.alloc(16), device.alloc(16)];
  const complaint = (buffers: Record<string, DeviceBuffer>, dims: Record<string, number>): string =>
    caught(() => device.launch({ executable, buffers, dims })).message;
  expect(complaint({ x, acc }, {})).toContain('dim "n" is undefined');
  expect(complaint({ x, acc }, { n: 1.5 })).toContain('dim "n" is 1.5');
  expect(complaint({ x }, { n: 4 })).toContain('no buffer for "acc"');
  expect(complaint({ x, acc }, { n: 5 })).toContain('buffer "x" has 16 bytes and needs 20');
});

test("a dim that is no multiple of its divisor is refused, with the next multiple", async () => {
  const executable = await loadFold(device, { dims: [{ name: "n", multipleOf: 4 }, { name: "factor", default: 2 }] });
  const buffers = { x: device.alloc(64), acc: device.alloc(64) };
  const { message } = caught(() => device.launch({ executable, buffers, dims: { n: 10 } }));
  expect(message).toContain('dim "n" is 10, not a multiple of 4');
  expect(message).toContain("round it up to 12");
  device.launch({ executable, buffers, dims: { n: 12 } });
});

test("a freed buffer cannot be used or freed again", async () => {
  const executable = await loadFold();
  const [x, acc] = [device.alloc(16), device.alloc(16)];
  device.free(x);
  expect(caught(() => device.free(x)).message).toContain("free: the buffer of 16 bytes was freed before");
  expect(caught(() => device.write(x, new Uint8Array(16))).message).toContain("was freed before");
  expect((await rejected(device.read(x))).message).toContain("was freed before");
  const launch = { executable, buffers: { x, acc }, dims: { n: 4 } };
  expect(caught(() => device.launch(launch)).message).toContain('fold, buffer "x": the buffer of 16 bytes was freed before');
});

test("a write must match its buffer", () => {
  expect(caught(() => device.write(device.alloc(8), new Uint8Array(9))).message).toContain("write of 9 bytes to a buffer of 8");
  expect(caught(() => device.alloc(-1)).message).toContain("cannot allocate -1 bytes");
});

test("buffers and kernels of another device are refused", async () => {
  const other = new WebGpuDevice(await openAdapter("software"));
  const foreign = await loadFold(other);
  const executable = await loadFold();
  const [x, acc] = [device.alloc(16), device.alloc(16)];
  const launch = { executable, buffers: { x, acc }, dims: { n: 4 } };
  expect(caught(() => device.launch({ ...launch, executable: foreign })).message).toContain("fold was loaded on another device");
  expect(caught(() => device.launch({ ...launch, buffers: { x: other.alloc(16), acc } })).message).toContain("belongs to another device");
  other.close();
});

test("limits that depend on the launch are checked, with both numbers and a remedy", async () => {
  const limits = { ...opened.report.limits, maxStorageBufferBindingSize: 64, maxBufferSize: 128, maxComputeWorkgroupsPerDimension: 1 };
  const small = new WebGpuDevice({ ...opened, report: { ...opened.report, limits } });
  const executable = await loadFold(small, { threads: 1 });
  const [x, acc, big] = [small.alloc(64), small.alloc(64), small.alloc(80)];
  const { message, hint } = caught(() => small.launch({ executable, buffers: { x: big, acc }, dims: { n: 1 } }));
  expect(message).toContain('buffer "x" of 80 bytes needs maxStorageBufferBindingSize 80, and swiftshader-device-subzero has 64');
  expect(hint).toContain("split the launch");
  const twoBlocks = caught(() => small.launch({ executable, buffers: { x, acc }, dims: { n: 2 } }));
  expect(twoBlocks.message).toContain("2 blocks exceed the square of maxComputeWorkgroupsPerDimension, 1");
  expect(caught(() => small.alloc(129)).message).toContain("needs maxBufferSize 144, and swiftshader-device-subzero has 128");
});

test("features and limits of the manifest are checked before it is compiled", async () => {
  const complaint = async (changes: Partial<Manifest>): Promise<DeviceError> => rejected(loadFold(device, changes));
  expect((await complaint({ features: ["shader-f16"] })).message).toContain("fold needs the WebGPU feature shader-f16");
  expect((await complaint({ sharedBytes: 65536 })).message).toMatch(/fold needs maxComputeWorkgroupStorageSize 65536, and .* has 32768/);
  expect((await complaint({ threads: 512 })).message).toMatch(/fold needs maxComputeInvocationsPerWorkgroup 512, and .* has 256/);
  expect((await complaint({ limits: { maxUniformBufferBindingSize: 2 ** 20 } })).hint).toBe("lower the spec value that it grows with");
});

test("an error inside Dawn comes with the next sync, once, and names the kernel", async () => {
  const executable = await loadFold();
  const [x, acc] = [device.alloc(16), device.alloc(16)];
  device.launch({ executable, buffers: { x: acc, acc }, dims: { n: 4 } }); // read and written at once: WebGPU forbids it
  device.launch({ executable, buffers: { x, acc }, dims: { n: 4 } });
  expect((await rejected(device.sync())).message).toMatch(/^launch of fold failed: .*usage/);
  await device.sync();
});

test("a lost device says so in every later call", async () => {
  const executable = await loadFold();
  const [x, acc] = [device.alloc(16), device.alloc(16)];
  device.launch({ executable, buffers: { x, acc }, dims: { n: 4 } });
  const reading = device.read(acc);
  opened.device.destroy();
  expect((await rejected(reading)).message).toContain("the device is lost (destroyed: device was destroyed); the last call was read");
  expect((await rejected(device.sync())).message).toContain("the device is lost");
  expect(caught(() => device.alloc(4)).message).toContain("the device is lost");
});

test("a closed device says so, and closing twice is harmless", async () => {
  device.close();
  device.close();
  expect(caught(() => device.alloc(4)).message).toContain("the device is closed");
  expect((await rejected(device.sync())).message).toContain("the device is closed");
});

test("timing asks for a sensible number of repeats and a launch that does something", async () => {
  const executable = await loadFold();
  const buffers = { x: device.alloc(16), acc: device.alloc(16) };
  expect((await rejected(device.time({ executable, buffers, dims: { n: 4 } }, 0))).message).toContain("cannot time 0 repeats");
  expect((await rejected(device.time({ executable, buffers, dims: { n: 0 } }, 1))).message).toContain("the launch has 0 blocks");
});
