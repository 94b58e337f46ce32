/** The CUDA runtime on a real GPU: what the fake driver cannot show. Skipped where there is none. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Manifest, Param } from "../../../../compiler/ir/manifest.ts";
import { type CudaDevice, cudaStatus, openCuda } from "../../../../targets/cuda/runtime/driver.ts";

const { available, device: found } = await cudaStatus();
const hasTensorMaps = available && found!.computeCapability[0] >= 9;

const words = (name: string, access: Param["access"]): Param => ({
  name,
  access,
  axes: [{ axis: "n", size: "n", stride: 4 }],
  fields: [{ name: "", dtype: "i32", offset: 0, axes: [] }],
  bytes: { op: "mul", args: ["n", 4] },
});
const manifest = (entry: string, overrides: Partial<Manifest> = {}): Manifest => ({
  ...{ format: 1, kernel: entry, entry, target: "cuda:sm_80", file: "kernel.cu", source: "kernel.ts", spec: {}, tune: {} },
  ...{ params: [words("x", "in"), words("y", "out")], dims: [{ name: "n" }], tensorMaps: [], blocks: { op: "ceilDiv", args: ["n", 128] } },
  ...{ threads: 128, sharedBytes: 0, features: [], limits: {}, sha256: "" },
  ...overrides,
});

const addOne = `extern "C" __global__ void addOne(const int *x, int *y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] + 1;
}`;
/** Reverses each block's 128 words through the last words of a large dynamic allocation. */
const reverse = `extern "C" __global__ void reverse(const int *x, int *y, int n) {
  extern __shared__ int tile[];
  int *last = tile + 25000 - 128;
  last[threadIdx.x] = x[blockIdx.x * 128 + threadIdx.x];
  __syncthreads();
  y[blockIdx.x * 128 + threadIdx.x] = last[127 - threadIdx.x];
}`;
const spin = `extern "C" __global__ void spin(const int *x, int *y, int n) {
  unsigned long long start, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
  do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); while (now - start < 300000000ull);
}`;
const wild = `extern "C" __global__ void wild(const int *x, int *y, int n) { *(volatile int *)16 = 1; }`;
/** One block copies the box at (4, 2) of an 8-column image of x through the tensor map. */
const tensorMapText = `struct alignas(128) TensorMap { char opaque[128]; };
extern "C" __global__ void box(const __grid_constant__ TensorMap map, const int *x, int *y, int n) {
  __shared__ alignas(128) int tile[8];
  __shared__ alignas(8) unsigned long long full;
  const unsigned bar = __cvta_generic_to_shared(&full), to = __cvta_generic_to_shared(tile);
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(bar));
    asm volatile("fence.proxy.async.shared::cta;");
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], 32;" ::"r"(bar) : "memory");
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
                 ::"r"(to), "l"(&map), "r"(4), "r"(2), "r"(bar) : "memory");
  }
  __syncthreads();
  unsigned done = 0;
  while (!done)
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], 0; selp.u32 %0, 1, 0, p;}" : "=r"(done) : "r"(bar) : "memory");
  if (threadIdx.x < 8) y[threadIdx.x] = tile[threadIdx.x];
}`;

describe.skipIf(!available)("on a GPU", () => {
  let device: CudaDevice;
  beforeAll(async () => {
    device = await openCuda();
    console.log(device.info);
  });
  afterAll(() => device.close());

  const n = 1000 * 128;
  const input = Int32Array.from({ length: n }, (_, i) => i * 7);
  async function run(kernel: Manifest, text: string): Promise<Int32Array> {
    const executable = await device.load(kernel, text);
    const buffers = { x: device.alloc(4 * n), y: device.alloc(4 * n) };
    device.write(buffers.x, new Uint8Array(input.buffer));
    device.launch({ executable, buffers, dims: { n } });
    const output = new Int32Array((await device.read(buffers.y)).buffer);
    device.free(buffers.x);
    device.free(buffers.y);
    device.unload(executable);
    return output;
  }

  test("a kernel reads and writes its buffers", async () => {
    expect(await run(manifest("addOne"), addOne)).toEqual(input.map((value) => value + 1));
  });

  test("more than 48 KiB of dynamic shared memory work", async () => {
    const expected = input.map((_, i) => input[(i & ~127) + 127 - (i & 127)]!);
    expect(await run(manifest("reverse", { sharedBytes: 100_000 }), reverse)).toEqual(expected);
  });

  test.skipIf(!hasTensorMaps)("a tensor map reaches the kernel", async () => {
    const map = { name: "map", param: "x", offset: 0, dtype: "i32", swizzle: 0, sizes: [8, 16000], strides: [32], box: [4, 2] } as const;
    const output = await run(manifest("box", { target: "cuda:sm_90", tensorMaps: [map], blocks: 1 }), tensorMapText);
    expect([...output.subarray(0, 8)]).toEqual([20, 21, 22, 23, 28, 29, 30, 31].map((i) => 7 * i));
  });

  test("a running kernel leaves the event loop free and is timed", async () => {
    const executable = await device.load(manifest("spin", { blocks: 1 }), spin);
    const launch = { executable, buffers: { x: device.alloc(4), y: device.alloc(4) }, dims: { n: 1 } };
    let ticks = 0;
    const timer = setInterval(() => ticks++, 10);
    const { min, median, max } = await device.time(launch, 2);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(20);
    expect(min).toBeGreaterThan(290_000);
    expect(median).toBeGreaterThanOrEqual(min);
    expect(max).toBeLessThan(400_000);
  });

  test("a launch that does nothing takes microseconds, for the queue hides the launch gaps", async () => {
    const executable = await device.load(manifest("addOne"), addOne);
    const launch = { executable, buffers: { x: device.alloc(4), y: device.alloc(4) }, dims: { n: 1 } };
    const timing = await device.time(launch, 200);
    console.log("addOne of one element, microseconds:", timing);
    expect(timing.min).toBeGreaterThan(0);
    expect(timing.median).toBeLessThan(20);
  });

  test("more launches than the driver queues do not hold up the event loop", async () => {
    const executable = await device.load(manifest("spin", { blocks: 1 }), spin.replace("300000000", "100000"));
    const buffers = { x: device.alloc(4), y: device.alloc(4) };
    const before = performance.now();
    for (let i = 0; i < 5000; i++) device.launch({ executable, buffers, dims: { n: 1 } });
    expect(performance.now() - before).toBeLessThan(400); // they run for 500 ms
    await device.sync();
    expect(performance.now() - before).toBeGreaterThan(500);
  });

  test("the compiler's error shows its line", async () => {
    const broken = addOne.replace("x[i]", "z[i]");
    await expect(device.load(manifest("addOne"), broken)).rejects.toThrow(/refuses the text[^]*error[^]*3 \| .*z\[i\]/);
  });

  test("running out of memory is told, and the device goes on", async () => {
    const half = [0, 1, 2].map(() => device.alloc(Math.floor(device.info.totalBytes / 2)));
    await expect(device.sync()).rejects.toThrow(/CUDA_ERROR_OUT_OF_MEMORY/);
    half.forEach((buffer) => device.free(buffer));
    expect(await run(manifest("addOne"), addOne)).toEqual(input.map((value) => value + 1));
  });

  test("a wild store is reported with the kernel, and the device is lost", async () => {
    const lost = await openCuda();
    const executable = await lost.load(manifest("wild", { blocks: 1 }), wild);
    lost.launch({ executable, buffers: { x: lost.alloc(4), y: lost.alloc(4) }, dims: { n: 1 } });
    await expect(lost.sync()).rejects.toThrow(/the device is lost in kernel wild: .*CUDA_ERROR_ILLEGAL_ADDRESS/);
    expect(() => lost.alloc(4)).toThrow(/is lost/);
    lost.close();
  });
});
