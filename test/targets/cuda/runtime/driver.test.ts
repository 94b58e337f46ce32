/** The CUDA runtime over a fake driver: ownership, order, errors, arguments and the event loop. */
import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { clearTrace, manifest, text, trace } from "./fake.ts";
import { MULTIPROCESSORS, type TensorMap } from "../../../../compiler/ir/manifest.ts";
import type { Launch } from "../../../../targets/device.ts";
import { type CudaDevice, cudaStatus, openCuda } from "../../../../targets/cuda/runtime/driver.ts";
import { buildAddon } from "../../../../targets/cuda/runtime/build.ts";

let device: CudaDevice;
beforeEach(async () => {
  clearTrace();
  device = await openCuda();
}, 120_000); // the first call builds the addon
afterEach(() => closed(device));

/** Closes and waits until the threads of this test's devices have freed everything. */
async function closed(device: CudaDevice): Promise<void> {
  device.close();
  const count = (event: string): number => trace().filter((other) => other.startsWith(event)).length;
  while (count("context released") < count("context retained")) await new Promise((resolve) => setTimeout(resolve, 1));
}
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** Runs a script over the fake driver in a Node of its own. */
const runNode = (script: string, ...flags: string[]): { stdout: string; stderr: string; status: number | null } => {
  const setup = `
    import { manifest, text } from ${JSON.stringify(`${import.meta.dirname}/fake.ts`)};
    import { openCuda } from ${JSON.stringify(`${import.meta.dirname}/../../../../targets/cuda/runtime/driver.ts`)};
    const device = await openCuda();`;
  const args = ["--import", "tsx", ...flags, "--input-type=module", "-e", setup + script];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, NODE_OPTIONS: "" }, timeout: 100_000 });
};

describe("device", () => {
  test("reports what the driver says", () => {
    expect(device.name).toBe("Fake H200");
    expect(device.info).toEqual({
      name: "Fake H200",
      computeCapability: [9, 0],
      multiprocessors: 132,
      l2Bytes: 52428800,
      maxSharedPerBlock: 232448,
      totalBytes: 1 << 20,
      driver: "12.8",
      compiler: "NVRTC 12.8",
    });
  });

  test("status is available and holds the same figures", async () => {
    expect(await cudaStatus()).toEqual({ available: true, device: device.info });
  });

  test("an ordinal without a device is an error that says how many there are", async () => {
    await expect(openCuda({ ordinal: 1 })).rejects.toThrow(/CUDA device 1 of 1\n.*ordinal/);
  });
});

describe("memory", () => {
  test("starts as zeros and holds what was written", async () => {
    const buffer = device.alloc(6);
    expect(await device.read(buffer)).toEqual(bytes(0, 0, 0, 0, 0, 0));
    const data = bytes(1, 2, 3);
    device.write(buffer, data);
    data.fill(9); // the device has its own copy
    expect(await device.read(buffer)).toEqual(bytes(1, 2, 3, 0, 0, 0));
  });

  test("sizes round up to 4 bytes inside, also 0", async () => {
    expect([device.alloc(0).bytes, device.alloc(5).bytes]).toEqual([0, 5]);
    await device.sync();
    expect(trace().filter((event) => event.startsWith("alloc"))).toEqual(["alloc 4", "alloc 8"]);
  });

  test("free returns it at once, close returns the rest", async () => {
    const [first] = [device.alloc(64), device.alloc(128)];
    device.free(first);
    await device.sync();
    expect(trace()).toContain("free 64");
    expect(trace()).not.toContain("free 128");
    await closed(device);
    expect(trace().slice(-2)).toEqual(["free 128", "context released, 0 bytes in use"]);
  });

  test("double free and use after free are errors, even when the slot serves another buffer", async () => {
    const freed = device.alloc(16);
    device.free(freed);
    const successor = device.alloc(16);
    device.write(successor, bytes(7));
    expect(() => device.free(freed)).toThrow(/16 bytes is freed twice/);
    expect(() => device.write(freed, bytes(1))).toThrow(/write: a buffer is used after it was freed/);
    await expect(device.read(freed)).rejects.toThrow(/read: a buffer is used after it was freed/);
    expect((await device.read(successor))[0]).toBe(7);
  });

  test("a buffer of another device is refused", async () => {
    const other = await openCuda();
    expect(() => device.free(other.alloc(4))).toThrow(/not of this device/);
    other.close();
  });

  test("a write past the end is refused", () => {
    expect(() => device.write(device.alloc(2), bytes(1, 2, 3))).toThrow(/write of 3 bytes to a buffer of 2/);
  });

  test("running out of memory rejects the next promise, once, and frees still work", async () => {
    expect(() => device.alloc(2 << 20)).toThrow(/alloc of 2097152 bytes on a device with 1048576/);
    const large = device.alloc(1 << 20);
    const failed = device.alloc(64);
    device.write(failed, bytes(1)); // skipped
    await expect(device.sync()).rejects.toThrow(/allocation of 64 bytes: CUDA_ERROR_OUT_OF_MEMORY\n.*free buffers/);
    await device.sync();
    await expect(device.read(failed)).rejects.toThrow(/64 bytes has no memory: its alloc failed/);
    device.free(failed);
    device.free(large);
    await device.read(device.alloc(1 << 20));
  });

  test("what follows a failure is skipped until the failure was told", async () => {
    const executable = await device.load(manifest(), text("scale"));
    const [good] = [device.alloc(4), device.alloc(1 << 20)]; // the second fails
    const launch = { executable, buffers: { x: good }, dims: { n: 1 } };
    device.launch(launch);
    await expect(device.sync()).rejects.toThrow(/OUT_OF_MEMORY/);
    expect(trace().filter((event) => event.startsWith("launch"))).toEqual([]);
    device.launch(launch);
    await device.sync();
    expect(trace().filter((event) => event.startsWith("launch")).length).toBe(1);
  });

  test("a forgotten buffer is freed by the garbage collector, with a warning", () => {
    const { stderr, stdout } = runNode(
      `device.alloc(48);
       process.on("warning", ({ message }) => { console.log(message); process.exit(); });
       setInterval(() => globalThis.gc(), 5);`,
      "--expose-gc",
    );
    expect(stderr + stdout).toMatch(/CUDA buffer of 48 bytes was garbage-collected; free it/);
  });
});

describe("kernels", () => {
  test("are compiled for the device, set up, launched with the manifest's grid, and unloaded", async () => {
    const wide = manifest({ sharedBytes: 100_000, threads: 256 });
    const executable = await device.load(wide, text("scale"));
    expect(executable).toEqual({ manifest: wide, registers: 40, localBytes: 30, staticSharedBytes: 10 });
    const x = device.alloc(400);
    device.launch({ executable, buffers: { x }, dims: { n: 100 } });
    await device.sync();
    device.unload(executable);
    await device.sync();
    const events = trace().map((event) => event.replace(/ [0-9a-f]{16},64000000$/, ""));
    expect(events).toEqual([
      ...["context retained", "compile scale.cu --gpu-architecture=sm_90", "load", "attribute scale 8 100000", "alloc 400"],
      ...["launch scale 4,1,1 256,1,1 100000", "waited", "unload scale", "waited"],
    ]);
    expect(() => device.launch({ executable, buffers: { x }, dims: { n: 100 } })).toThrow(/scale is not loaded/);
  });

  test("that wait for the launch before them may come up early", async () => {
    for (const awaitsPrior of [undefined, true] as const) {
      const executable = await device.load(manifest({ ...(awaitsPrior && { awaitsPrior }) }), text("scale"));
      device.launch({ executable, buffers: { x: device.alloc(400) }, dims: { n: 100 } });
      await device.sync();
    }
    expect(trace().flatMap((event) => /^early|^launch scale 4,1,1/.exec(event) ?? [])).toEqual(["launch scale 4,1,1", "early", "launch scale 4,1,1"]);
  });

  test("take tensor maps, then pointers, then dims, each at its alignment", async () => {
    const executable = await device.load(
      manifest({
        dims: [{ name: "n" }, { name: "pitch", default: { op: "mul", args: ["n", 4] } }],
        params: [{ ...manifest().params[0]!, name: "x" }, { ...manifest().params[0]!, name: "y" }],
        tensorMaps: [{ name: "yMap", param: "y", offset: 32, dtype: "bf16", swizzle: 128, sizes: [64, "n"], strides: ["pitch"], box: [64, 8] }],
      }),
      `extern "C" __global__ void scale(const __grid_constant__ TensorMap yMap, float *x, float *y, int n, int pitch) {}`,
    );
    device.launch({ executable, buffers: { x: device.alloc(80), y: device.alloc(80) }, dims: { n: 20 } });
    await device.sync();
    const values = trace().find((event) => event.startsWith("launch"))!.split(" ").at(-1)!.split(",");
    const [map, x, y, n, pitch] = values.map((hex) => Buffer.from(hex, "hex"));
    const [type, rank, address, swizzle, ...rest] = Array.from({ length: 9 }, (_, i) => map!.readBigUInt64LE(8 * i));
    expect([type, rank, swizzle, ...rest]).toEqual([9n, 2n, 3n, 64n, 20n, 80n, 64n, 8n]);
    expect(address).toBe(y!.readBigUInt64LE() + 32n);
    expect(x).not.toEqual(y);
    expect([n!.readInt32LE(), pitch!.readInt32LE()]).toEqual([20, 80]);
  });

  test("with tensor maps off the 16-byte grid are refused", async () => {
    const map = { name: "m", param: "x", offset: 0, dtype: "f32", swizzle: 0, sizes: ["n", 2], strides: [{ op: "mul", args: ["n", 4] }], box: [4, 1] } as const;
    const launchOf = async (tensorMap: TensorMap, n: number): Promise<Launch> => ({
      executable: await device.load(manifest({ tensorMaps: [tensorMap] }), text("scale").replace("float", "const __grid_constant__ TensorMap m, float")),
      buffers: { x: device.alloc(4 * n) },
      dims: { n },
    });
    const [odd, shifted, even] = [await launchOf(map, 21), await launchOf({ ...map, offset: 8 }, 20), await launchOf(map, 20)];
    expect(() => device.launch(odd)).toThrow(
      'scale: tensor map "m" of "x" has a stride of 84 bytes, and the copies need multiples of 16\n  try: pad the rows of that tensor',
    );
    expect(() => device.launch(shifted)).toThrow('scale: tensor map "m" of "x" starts at 8 bytes');
    device.launch(even);
    await device.sync();
  });

  test("on a view get the address of its first byte, tensor maps too", async () => {
    const map = { name: "m", param: "x", offset: 32, dtype: "f32", swizzle: 0, sizes: ["n"], strides: [], box: [4] } as const;
    const executable = await device.load(manifest({ tensorMaps: [map] }), text("scale").replace("float", "const __grid_constant__ TensorMap m, float"));
    const whole = device.alloc(400);
    for (const x of [whole, device.view(whole, 160, 80)]) device.launch({ executable, buffers: { x }, dims: { n: 20 } });
    await device.sync();
    const addresses = trace().flatMap((event) => (/^launch scale/.test(event) ? [event.split(" ").at(-1)!.split(",").map((hex) => Buffer.from(hex, "hex"))] : []));
    const [base, viewed] = addresses.map(([encoded, pointer]) => [encoded!.readBigUInt64LE(16), pointer!.readBigUInt64LE()]);
    expect(base).toEqual([base![1]! + 32n, base![1]]);
    expect(viewed).toEqual(base!.map((address) => address + 160n));
    expect(() => device.view(whole, 8, 16)).toThrow("view of 16 bytes at 8 of a buffer of 400\n  try: begin at a multiple of 16 bytes");
    expect(() => device.view(whole, 320, 81)).toThrow(/view of 81 bytes at 320 of a buffer of 400\n {2}try: stay within/);
    expect(() => device.launch({ executable, buffers: { x: device.view(whole, 160, 80) }, dims: { n: 21 } })).toThrow('buffer "x" has 80 bytes and needs 84');
    const view = device.view(whole, 160, 80);
    device.free(whole);
    expect(() => device.launch({ executable, buffers: { x: view }, dims: { n: 20 } })).toThrow(/scale: a buffer is used after it was freed/);
  });

  test("of an empty tensor get a map of one element", async () => {
    const map = { name: "m", param: "x", offset: 0, dtype: "f32", swizzle: 0, sizes: ["n"], strides: [], box: [4] } as const;
    const source = text("scale").replace("float", "const __grid_constant__ TensorMap m, float");
    const executable = await device.load(manifest({ tensorMaps: [map], blocks: 1 }), source);
    device.launch({ executable, buffers: { x: device.alloc(0) }, dims: { n: 0 } });
    await device.sync();
    const [encoded] = trace().find((event) => event.startsWith("launch"))!.split(" ").at(-1)!.split(",");
    expect(Buffer.from(encoded!, "hex").readBigUInt64LE(32)).toBe(1n);
  });

  test("fill the device with blocks where the grid asks for its multiprocessors", async () => {
    const executable = await device.load(manifest({ blocks: { op: "min", args: [MULTIPROCESSORS, "n"] } }), text("scale"));
    for (const n of [7, 1000]) device.launch({ executable, buffers: { x: device.alloc(4 * n) }, dims: { n } });
    await device.sync();
    expect(trace().flatMap((event) => /^launch scale (\d+),1,1 /.exec(event)?.[1] ?? [])).toEqual(["7", String(device.info.multiprocessors)]);
  });

  test("with a tensor map that the driver refuses fail with its figures", async () => {
    const map = { name: "m", param: "x", offset: 0, dtype: "f32", swizzle: 0, sizes: ["n"], strides: [], box: [0] } as const;
    const executable = await device.load(manifest({ tensorMaps: [map] }), text("scale"));
    device.launch({ executable, buffers: { x: device.alloc(80) }, dims: { n: 20 } });
    await expect(device.sync()).rejects.toThrow(
      /tensor map with sizes \[20\], byte strides \[\], box \[0\], swizzle mode 0: CUDA_ERROR_INVALID_VALUE/,
    );
  });

  test("with an empty grid are not launched", async () => {
    const executable = await device.load(manifest(), text("scale"));
    device.launch({ executable, buffers: { x: device.alloc(0) }, dims: { n: 0 } });
    await device.sync();
    expect(trace().filter((event) => event.startsWith("launch"))).toEqual([]);
  });

  test("do not launch on a freed buffer", async () => {
    const executable = await device.load(manifest(), text("scale"));
    const x = device.alloc(4);
    device.free(x);
    expect(() => device.launch({ executable, buffers: { x }, dims: { n: 1 } })).toThrow(/scale: a buffer is used after it was freed/);
  });

  test("are timed from the second launch on", async () => {
    const executable = await device.load(manifest(), text("scale", "us 10"));
    const launch = { executable, buffers: { x: device.alloc(4) }, dims: { n: 1 } };
    const { median, min, max } = await device.time(launch, 100); // more than one batch
    expect([min, median, max].map(Math.round)).toEqual([20, 515, 1010]);
    const events = trace().map((event) => event.split(" ")[0]).filter((event) => /launch|host|waited/.test(event!));
    // the host function holds the stream until the batch is enqueued
    const batch = (launches: number): string[] => [...Array<string>(launches).fill("launch"), "host", "waited"];
    expect(events).toEqual(["launch", "waited", ...batch(64), ...batch(36)]);
  });

  test("that the compiler refuses show its log and their line", async () => {
    await expect(device.load(manifest(), text("scale", "refuse 2"))).rejects.toThrow(
      /scale: NVRTC 12.8 refuses the text for sm_90\nscale.cu\(2\): error: planted\n {2}2 \| extern "C" __global__ void scale/,
    );
  });

  test("that the driver refuses show the log of its assembler", async () => {
    await expect(device.load(manifest(), text("scale", "jit-error 1"))).rejects.toThrow(
      /load of scale \(ptxas fatal: planted\): CUDA_ERROR_INVALID_PTX/,
    );
  });

  test("whose entry is not in the text are refused and leave no module behind", async () => {
    await expect(device.load(manifest({ entry: "other" }), text("scale"))).rejects.toThrow(
      /look-up of the entry "other": CUDA_ERROR_NOT_FOUND/,
    );
    await closed(device);
    expect(trace().filter((event) => /load/.test(event)).length).toBe(2);
  });

  test("that cannot fit the device are refused before they are compiled or launched", async () => {
    await expect(device.load(manifest({ sharedBytes: 300_000 }), text("scale"))).rejects.toThrow(
      /scale needs 300000 bytes of shared memory per block and Fake H200 has 232448/,
    );
    await expect(device.load(manifest({ target: "cuda:sm_100a" }), text("scale"))).rejects.toThrow(
      /cuda:sm_100a does not run on this device, which is sm_90/,
    );
    expect(trace()).toEqual(["context retained"]);
    await expect(device.load(manifest({ threads: 512 }), text("scale", "maxThreads 256"))).rejects.toThrow(
      /512 threads per block; with 40 registers each the device runs at most 256/,
    );
  });
});

describe("waiting", () => {
  test("for a slow kernel leaves the event loop free, and launches queue up meanwhile", async () => {
    const executable = await device.load(manifest(), text("scale", "sleep 400"));
    const x = device.alloc(4);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const before = performance.now();
    device.launch({ executable, buffers: { x }, dims: { n: 1 } });
    const waiting = device.sync();
    device.launch({ executable, buffers: { x }, dims: { n: 1 } });
    device.free(device.alloc(8));
    expect(performance.now() - before).toBeLessThan(300);
    await waiting;
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(5);
  });

  test("for the compiler leaves the event loop free", async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    await device.load(manifest(), text("scale", "compile-sleep 150"));
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(5);
  });

  test("ends before close, which frees everything after it", async () => {
    const executable = await device.load(manifest(), text("scale", "sleep 50"));
    const x = device.alloc(4);
    device.launch({ executable, buffers: { x }, dims: { n: 1 } });
    const read = device.read(x);
    device.close();
    expect(await read).toEqual(bytes(0, 0, 0, 0));
    expect(() => device.alloc(4)).toThrow(/Fake H200 is closed/);
    await expect(device.sync()).rejects.toThrow(/Fake H200 is closed/);
    device.close();
  });
});

describe("a lost device", () => {
  test("is reported once with its kernels, then by every call; clean-up stays quiet", async () => {
    const good = await device.load(manifest(), text("scale"));
    const bad = await device.load(manifest({ kernel: "topk", entry: "topk" }), text("topk", "fault 700"));
    const x = device.alloc(4);
    device.launch({ executable: good, buffers: { x }, dims: { n: 1 } });
    await device.sync(); // acquits scale
    device.launch({ executable: bad, buffers: { x }, dims: { n: 1 } });
    const [first, second] = await Promise.allSettled([device.read(x), device.sync()]);
    expect(String(first.status === "rejected" && first.reason)).toMatch(
      /the device is lost in kernel topk: wait for the device: CUDA_ERROR_ILLEGAL_ADDRESS \(an illegal memory access.*\n.*compute-sanitizer/,
    );
    expect(String(second.status === "rejected" && second.reason)).toMatch(/Fake H200 is lost: wait for the device/);
    expect(() => device.alloc(4)).toThrow(/Fake H200 is lost/);
    expect(() => device.launch({ executable: good, buffers: { x }, dims: { n: 1 } })).toThrow(/Fake H200 is lost/);
    await expect(device.load(manifest(), text("scale"))).rejects.toThrow(/Fake H200 is lost/);
    device.free(x);
    await closed(device);
    expect(trace().at(-1)).toBe("context released, 0 bytes in use");
  });

  test("names every kernel that may have done it", async () => {
    const good = await device.load(manifest(), text("scale"));
    const bad = await device.load(manifest({ kernel: "topk", entry: "topk" }), text("topk", "fault 700"));
    const x = device.alloc(4);
    for (const executable of [good, bad, good]) device.launch({ executable, buffers: { x }, dims: { n: 1 } });
    await expect(device.sync()).rejects.toThrow(/in one of the kernels scale, topk \(launched since the last sync or read\)/);
  });
});

describe("the end of a process or thread", () => {
  const freed = (): boolean => trace().at(-1) === "context released, 0 bytes in use";
  const enqueue = `
    const executable = await device.load(manifest(), text("scale", "sleep 20"));
    const launch = () => device.launch({ executable, buffers: { x: device.alloc(4) }, dims: { n: 1 } });`;

  test("waits for open promises and for nothing else, and frees the device's memory", () => {
    const child = runNode(`${enqueue} launch(); device.sync().then(() => console.log("done"));`);
    expect(child).toMatchObject({ stdout: "done\n", stderr: "", status: 0 });
    expect(freed()).toBe(true);
  });

  test("by process.exit drops what is queued", () => {
    const child = runNode(`${enqueue} launch(); device.sync(); for (let i = 0; i < 1000; i++) launch(); process.exit(3);`);
    expect(child).toMatchObject({ stdout: "", stderr: "", status: 3 });
    expect(trace().filter((event) => event.startsWith("launch")).length).toBeLessThan(1000);
    expect(freed()).toBe(true);
  });

  test("of a Worker leaves the device of the main thread alone", async () => {
    const script = `
      import { createRequire } from "node:module";
      const { Device } = createRequire(import.meta.url)(${JSON.stringify(await buildAddon())});
      const device = new Device();
      await device.open([process.env.TOKENSIEVE_LIBCUDA], 0);
      device.alloc(4);`;
    const child = runNode(`
      import { Worker } from "node:worker_threads";
      new Worker(${JSON.stringify(script)}, { eval: true }).on("exit", async (code) => {
        console.log(code, await device.read(device.alloc(1)));
      });`);
    expect(child).toMatchObject({ stdout: "0 Uint8Array(1) [ 0 ]\n", stderr: "", status: 0 });
    expect(freed()).toBe(true);
  });
});
