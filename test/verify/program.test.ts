/** Programs: chunks of one axis, on every execution, and what becomes of it when a chunk is cut wrongly. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { compileTiers, jobOf, textOf } from "../../compiler/cli/jobs.ts";
import { targetNamed } from "../../compiler/cli/targets.ts";
import { runLoop } from "../../compiler/interp/loop.ts";
import { evaluate } from "../../compiler/ir/manifest.ts";
import type { Compiled } from "../../compiler/pipeline.ts";
import type { Kernel } from "../../dsl/index.ts";
import { kernels, type KernelName } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { programs } from "../../dsl/programs/index.ts";
import type { Device, DeviceBuffer, Launch } from "../../targets/device.ts";
import { argumentsOf, chunksOf, planChunks, rowStride } from "../../targets/program.ts";
import { openWebGpu, type WebGpuDevice } from "../../targets/wgsl/runtime.ts";
import { hostDevice } from "../../verify/host_device.ts";
import { programExecutor, type ProgramExecutor } from "../../verify/program.ts";
import { describeFailure, verifyProgram } from "../../verify/verify.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 }); // the machine may be busy

const program = programs.streaming_topk;
const spec = withSettings(preset("v3.2"), { topK: "9", indexerHeads: "3", indexerDim: "32" });
const narrow = withSettings(spec, { logitsDtype: "bf16", topK: "16" });

const textsFor = (target: string, of: Dsa): Promise<Compiled[][]> => Promise.all(program.kernels.map((kernel) => compileTiers(jobOf(textOf(kernel), target, of))));
const wgsl = new Map(await Promise.all([spec, narrow].map(async (of) => [of, await textsFor("wgsl", of)] as const)));

/** The texts of dsl/kernels, run as TypeScript. */
const eagerDevice = (of: Dsa): Device => hostDevice("CPU", ({ kernel, tune }, buffers, dims) => (kernels[kernel as KernelName](of) as Kernel).run(buffers, dims, tune));
const loopDevice = (texts: readonly (readonly Compiled[])[], target: string): Device =>
  hostDevice("CPU", (manifest, buffers, dims) => runLoop(texts.flat().find((text) => text.manifest === manifest)!.loop, [...targetNamed(target).instructions.values()], buffers, dims));

async function expectRight(of: Dsa, executor: ProgramExecutor, runs: number): Promise<void> {
  const report = await verifyProgram({ program: "streaming_topk", spec: of, executor, runs });
  if (report.failed) throw new Error(describeFailure(report, report.failed));
  expect(report).toMatchObject({ kernel: "streaming_topk", launchesEqual: true });
  expect(report.cells).toBeGreaterThan(0);
}

describe.each([["f32", spec], ["bf16", narrow]] as const)("with logits in %s", (_, of) => {
  test("eager", async () => expectRight(of, await programExecutor(eagerDevice(of), program, wgsl.get(of)!, { target: "eager", budget: 1e5 }), 6));
  test.each(["wgsl", "cuda:sm_80"])("Loop IR for %s", async (target) => {
    const texts = await textsFor(target, of);
    await expectRight(of, await programExecutor(loopDevice(texts, target), program, texts, { target: `loop ${target}`, budget: 4e3 }), 2);
  });
});

describe("WGSL on the software adapter", () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openWebGpu({ adapter: "software" });
  });
  afterAll(() => device.close());
  test("chunks of whole binding offsets", async () => {
    const executor = await programExecutor(device, program, wgsl.get(spec)!, { target: "wgsl", budget: 3e5 });
    expect(executor.tile).toBe(device.viewAlignment / 4);
    await expectRight(spec, executor, 2);
  });
});

describe("replay: attention to selections that are supplied", () => {
  const replay = programs.replay;
  const small = withSettings(preset("v3.2"), { topK: "9", heads: "4", dV: "128", dRope: "16", sink: "true" });
  const textsOf = (target: string): Promise<Compiled[][]> => Promise.all(replay.kernels.map((kernel) => compileTiers(jobOf(textOf(kernel), target, small))));
  const failureOn = async (device: Device, texts: Compiled[][], target: string, runs = 2): Promise<string | undefined> => {
    const executor = await programExecutor(device, replay, texts, { target, budget: 1e5 });
    const report = await verifyProgram({ program: "replay", spec: small, executor, runs });
    return report.failed && describeFailure(report, report.failed);
  };

  test("eager", async () => expect(await failureOn(eagerDevice(small), await textsOf("wgsl"), "eager")).toBeUndefined());
  test.each(["wgsl", "cuda:sm_80"])("Loop IR for %s", async (target) => {
    const texts = await textsOf(target);
    expect(await failureOn(loopDevice(texts, target), texts, `loop ${target}`, 1)).toBeUndefined();
  });
  test("WGSL on the software adapter", async () => {
    const device = await openWebGpu({ adapter: "software" });
    expect(await failureOn(device, await textsOf("wgsl"), "wgsl")).toBeUndefined();
    device.close();
  });
  test("faults that are not counted are found", async () => {
    const host = eagerDevice(small);
    const device: Device = {
      ...host,
      launch(one) {
        host.launch(one);
        const { faults } = one.buffers;
        if (one.executable.manifest.kernel === "check_selection") host.write(faults!, new Uint8Array(faults!.bytes));
      },
    };
    expect(await failureOn(device, await textsOf("wgsl"), "eager")).toMatch(/: faults\[q \d+\] is 0, the reference says [1-9]/);
  });
  test("is one chunk without scratch", async () => {
    const plan = planChunks(replay, await textsOf("wgsl"), { Q: 77, T: 50 }, 0, 256);
    expect(plan).toMatchObject({ rows: 77, chunks: 1, rowBytes: 0, scratch: {} });
  });
});

describe("the check finds", () => {
  const failureOn = async (device: Device): Promise<string | undefined> =>
    (await verifyProgram({ program: "streaming_topk", spec, executor: await programExecutor(device, program, wgsl.get(spec)!, { target: "eager", budget: 1e5 }), runs: 0 })).failed?.message;

  test.each(["q", "first", "last", "w", "idx"])("a view of %s that begins at the wrong row", async (name) => {
    const host = eagerDevice(spec);
    const { inputs, results } = argumentsOf(program, wgsl.get(spec)!);
    const order = [...inputs, ...results].map((param) => param.name); // of allocation, scratch behind them
    const row = rowStride([...inputs, ...results].find((param) => param.name === name)!, {});
    const allocated: DeviceBuffer[] = [];
    const nameOf = (buffer: DeviceBuffer): string | undefined => order[allocated.indexOf(buffer) % (order.length + 1)];
    const device: Device = {
      ...host,
      alloc: (bytes) => (allocated.push(host.alloc(bytes)), allocated.at(-1)!),
      view: (buffer, from, bytes) => host.view(buffer, nameOf(buffer) === name && from >= row ? from - row : from, bytes),
    };
    expect(await failureOn(device)).toMatch(/^(idx|logits)\[q \d+, /);
  });

  test("a chunk's scores that the next chunk overwrites before they are sorted", async () => {
    const host = eagerDevice(spec);
    const waiting: Launch[] = [];
    const device: Device = {
      ...host,
      launch: (one) => void (one.executable.manifest.kernel === "topk" ? waiting.push(one) : host.launch(one)),
      read: (buffer) => (waiting.splice(0).forEach((one) => host.launch(one)), host.read(buffer)),
    };
    expect(await failureOn(device)).toMatch(/^idx\[q \d+, j \d+\] is /);
  });
});

describe("chunks", async () => {
  const texts = await textsFor("cuda:sm_90a", preset("v3.2"));
  const dims = { Q: 2048, T: 131072 };
  const plan = (given: typeof dims & { logitsPitch?: number }, limit: number, alignment = 16) => planChunks(program, texts, given, limit, alignment);

  test("are as many whole tiles as the scratch holds", () => {
    expect(plan(dims, 64e6)).toMatchObject({ dim: "Q", total: 2048, tile: 4, rows: 120, chunks: 18, rowBytes: 4 * 131072, scratch: { logits: 120 * 4 * 131072 } });
    expect(plan(dims, 128 * 4 * 131072)).toMatchObject({ rows: 128, chunks: 16 });
    expect(plan(dims, 128 * 4 * 131072 - 1)).toMatchObject({ rows: 124, chunks: 17 });
    expect(plan(dims, 64e6, 256)).toMatchObject({ tile: 64, rows: 64, chunks: 32 });
    for (const limit of [4e6, 10e6, 64e6, 1e9, 2e9]) expect(plan(dims, limit).scratch.logits).toBeLessThanOrEqual(limit);
  });
  test("are one where everything fits, whatever its size, and none of nothing", () => {
    expect(plan({ Q: 3, T: 1000 }, 1e6)).toMatchObject({ rows: 3, chunks: 1, rowBytes: 4 * 1008, scratch: { logits: 4 * (2 * 1008 + 1000) } });
    expect(plan({ Q: 0, T: 1000 }, 1e6)).toMatchObject({ chunks: 0 });
    expect(plan({ Q: 3, T: 1000, logitsPitch: 1001 }, 1e6)).toMatchObject({ rowBytes: 4004 });
  });
  test("need room for one tile, or for all rows", () => {
    expect(plan({ Q: 5, T: 1024 }, 4 * 4096).rows).toBe(4);
    expect(() => plan({ Q: 5, T: 1024 }, 4 * 4096 - 1)).toThrow(/streaming_topk: 16383 bytes of scratch hold 3 rows of 4096 bytes, and a chunk has 4 at least\n {2}try: allow 16384 bytes/);
    expect(plan({ Q: 3, T: 1024 }, 4 * 4096 - 1).chunks).toBe(1);
    expect(() => plan({ Q: 3, T: 1024 }, 4096)).toThrow("a chunk has 3 at least");
  });
  test("launch the texts that their own rows ask for, on views that follow each other", async () => {
    const seen: [from: number, bytes: number][] = [];
    const host = hostDevice("CPU", () => {});
    const device: Device = { ...host, viewAlignment: 16, view: (buffer, from, bytes) => (seen.push([from, bytes]), host.view(buffer, from, bytes)) };
    const sizes = { Q: 300, T: 64 };
    const executables = await Promise.all(texts.map((tiers) => Promise.all(tiers.map(({ manifest, text }) => device.load(manifest, text)))));
    const made = planChunks(program, executables, sizes, 256 * 140, 16);
    const all = argumentsOf(program, executables);
    const buffers = Object.fromEntries([...all.inputs, ...all.results, ...all.scratch].map(({ name, bytes }) => [name, device.alloc(evaluate(bytes, made.dims))]));
    const chunks = chunksOf(device, program, executables, buffers, made);
    expect(chunks.map(({ start, rows }) => [start, rows])).toEqual([[0, 140], [140, 140], [280, 20]]);
    expect(chunks.map(({ launches }) => launches.map(({ executable: { manifest } }) => [manifest.kernel, manifest.tier?.name]))).toEqual([
      [["indexer_logits", undefined], ["topk", "short"]],
      [["indexer_logits", undefined], ["topk", "short"]],
      [["indexer_logits", undefined], ["topk", "wave"]],
    ]);
    expect(chunks[2]!.launches[1]!.dims).toEqual({ Q: 20, T: 64, logitsPitch: 64 });
    expect(seen).toContainEqual([140 * 2048 * 4, 140 * 2048 * 4]);
    expect(seen).toContainEqual([280 * 4, 20 * 4]);
    expect(new Set(chunks.flatMap(({ launches }) => launches.map((one) => one.buffers.logits)))).toEqual(new Set([buffers.logits]));
    expect(() => chunksOf(device, program, executables, { ...buffers, w: undefined! }, made)).toThrow('streaming_topk: no buffer for "w"');
  });
  test("of a program that names what its kernels do not have are refused", () => {
    expect(() => planChunks({ ...program, axis: "x" }, texts, dims, 1e9, 16)).toThrow('axis "x" has the sizes of no argument');
    expect(() => planChunks({ ...program, axis: "h" }, texts, dims, 1e9, 16)).toThrow('"q" has axis "h" inside another');
    expect(() => planChunks({ ...program, scratch: ["k"] }, texts, dims, 1e9, 16)).toThrow('scratch "k" is no argument with the outermost axis "q"');
  });
});
