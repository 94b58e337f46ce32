/** Sparse attention from operands to results, as programs: on every execution, by chunks, and with faults between the kernels. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { compileJob, compileTiers, jobOf, textOf } from "../../compiler/cli/jobs.ts";
import { targetNamed } from "../../compiler/cli/targets.ts";
import { runLoop } from "../../compiler/interp/loop.ts";
import { evaluate } from "../../compiler/ir/manifest.ts";
import type { Compiled } from "../../compiler/pipeline.ts";
import type { Kernel } from "../../dsl/index.ts";
import { kernels, type KernelName } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import { type ProgramName, programs, programsOf } from "../../dsl/programs/index.ts";
import { decodeArray, generateMla, indexerArgs, indexerLogits, logitsBudget, topK as referenceTopK } from "../../reference/index.ts";
import { type Device, type DeviceBuffer, DeviceError, type Launch } from "../../targets/device.ts";
import { argumentsOf, chunksOf, planChunks, type ProgramTexts, rowStride } from "../../targets/program.ts";
import { openWebGpu, type WebGpuDevice } from "../../targets/wgsl/runtime.ts";
import { bytesOf, poisoned } from "../../verify/checks/check.ts";
import { decodeCheck } from "../../verify/checks/decode.ts";
import { logitsTarget, scorerProblem } from "../../verify/checks/indexer_logits.ts";
import { attentionOutputs, attentionTarget, judgeAttention } from "../../verify/checks/sparse_mla.ts";
import { integers } from "../../verify/checks/check.ts";
import { arithmeticOf, type Buffers, deviceExecutor, type Dims, eagerExecutor, loopExecutor } from "../../verify/executor.ts";
import { hostDevice } from "../../verify/host_device.ts";
import { programExecutor } from "../../verify/program.ts";
import { compare } from "../../verify/verdict.ts";
import { describeFailure, verifyProgram } from "../../verify/verify.ts";

vi.setConfig({ testTimeout: 240_000, hookTimeout: 60_000 }); // the machine may be busy

type Name = "prefill" | "decode";
const names: readonly Name[] = ["prefill", "decode"];
const spec = withSettings(preset("v3.2"), {
  topK: "9", indexerHeads: "3", indexerDim: "32", heads: "2", dV: "128", dRope: "16", splits: "3", nextN: "2", pageTokens: "8", sink: "true",
});

/** All executions keep its promise here, WGSL too. */
const cudaArithmetic = arithmeticOf("cuda:sm_80");

const textsFor = (name: ProgramName, target: string, of = spec): Promise<Compiled[][]> =>
  Promise.all(programs[name].kernels.map((kernel) => compileTiers(jobOf(textOf(kernel), target, of))));
const wgsl = { prefill: await textsFor("prefill", "wgsl"), decode: await textsFor("decode", "wgsl") };

const eagerDevice = (): Device => hostDevice("CPU", ({ kernel, tune }, buffers, dims) => (kernels[kernel as KernelName](spec) as Kernel).run(buffers, dims, tune));
const loopDevice = (texts: readonly (readonly Compiled[])[], target: string): Device =>
  hostDevice("CPU", (manifest, buffers, dims) => runLoop(texts.flat().find((text) => text.manifest === manifest)!.loop, [...targetNamed(target).instructions.values()], buffers, dims));

async function failureOn(name: Name, device: Device, texts: Compiled[][], target: string, runs: number): Promise<string | undefined> {
  const executor = await programExecutor(device, programs[name], texts, { target, budget: 4e3 });
  const report = await verifyProgram({ program: name, spec, executor, runs });
  if (!report.failed) expect(report).toMatchObject({ kernel: name, launchesEqual: true });
  return report.failed && describeFailure(report, report.failed);
}

describe.each(names)("%s", (name) => {
  test("eager", async () => expect(await failureOn(name, eagerDevice(), wgsl[name], "eager", 10)).toBeUndefined());
  test.each(["wgsl", "cuda:sm_80"])("Loop IR for %s", async (target) => {
    const texts = target === "wgsl" ? wgsl[name] : await textsFor(name, target);
    expect(await failureOn(name, loopDevice(texts, target), texts, `loop ${target}`, 0)).toBeUndefined();
  });
});

describe("WGSL on the software adapter", () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openWebGpu({ adapter: "software" });
  });
  afterAll(() => device.close());
  test.each(names)("%s in chunks of whole binding offsets", async (name) => {
    expect(await failureOn(name, device, wgsl[name], "wgsl", 1)).toBeUndefined();
  });
});

test("cases of decode have rows longer and shorter than k, empty ones, and selected tokens whose page is missing", async () => {
  const seen = { long: 0, short: 0, empty: 0, missing: 0 };
  const check = decodeCheck(1);
  const executor = await programExecutor(eagerDevice(), programs.decode, wgsl.decode, { target: "eager", budget: 4e3 });
  for (const shape of check.fixed(spec, 4e3)) {
    const { buffers, dims } = check.prepare(spec, shape);
    const outputs = await executor.run(buffers, dims);
    const [idx, counts, lengths] = [integers(outputs.idx!), integers(outputs.count!), integers(buffers.lengths!)];
    lengths.forEach((length, row) => {
      if (length === 0) seen.empty++;
      else if (length < spec.topK) seen.short++;
      else if (length > spec.topK) seen.long++;
      if (idx.subarray(row * spec.topK, row * spec.topK + counts[row]!).includes(-1)) seen.missing++;
    });
  }
  for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(0);
});

describe("the check finds", () => {
  const cut: readonly (readonly [Name, string])[] = [
    ...["indexQ", "indexW", "first", "last", "offset", "q", "idx", "count", "out"].map((argument) => ["prefill", argument] as const),
    ...["indexQ", "indexQScale", "blockTable", "lengths", "q", "idx", "count", "out"].map((argument) => ["decode", argument] as const),
  ];
  test.each(cut)("%s with a view of %s that begins at the wrong row", async (name, argument) => {
    const host = eagerDevice();
    const { inputs, results, scratch } = argumentsOf(programs[name], wgsl[name]);
    const order = [...inputs, ...results].map((param) => param.name); // of allocation, scratch behind them
    const row = rowStride([...inputs, ...results].find((param) => param.name === argument)!, { I: 1 });
    const allocated: DeviceBuffer[] = [];
    const nameOf = (buffer: DeviceBuffer): string | undefined => order[allocated.indexOf(buffer) % (order.length + scratch.length)];
    const device: Device = {
      ...host,
      alloc: (bytes) => (allocated.push(host.alloc(bytes)), allocated.at(-1)!),
      view: (buffer, from, bytes) => host.view(buffer, nameOf(buffer) === argument && from >= row ? from - row : from, bytes),
    };
    expect(await failureOn(name, device, wgsl[name], "eager", 0)).toMatch(/: (of queries [\d, ]+: )?(idx|logits|count|out|lse|maxLogit)\[/);
  });

  test.each(names)("%s whose attention takes every slot, selected or not", async (name) => {
    const host = eagerDevice();
    const device: Device = {
      ...host,
      launch(one) {
        const { lengths } = one.buffers;
        const isAttention = one.executable.manifest.kernel.startsWith("sparse_mla");
        if (isAttention && lengths) host.write(lengths, new Uint8Array(new Int32Array(lengths.bytes / 4).fill(1).buffer));
        host.launch(one);
      },
    };
    expect(await failureOn(name, device, wgsl[name], "eager", 0)).toMatch(/: (count|of queries [\d, ]+: (out|lse|maxLogit))\[/);
  });

  test("decode that merges splits which the next chunk has overwritten", async () => {
    const host = eagerDevice();
    const waiting: Launch[] = [];
    const device: Device = {
      ...host,
      launch: (one) => void (one.executable.manifest.kernel === "sparse_mla_combine" ? waiting.push(one) : host.launch(one)),
      read: (buffer) => (waiting.splice(0).forEach((one) => host.launch(one)), host.read(buffer)),
    };
    expect(await failureOn("decode", device, wgsl.decode, "eager", 0)).toMatch(/: of queries [\d, ]+: (out|lse|maxLogit)\[/);
  });
});

describe("packed sequences, each with rows of its own: scores, top-k within the window, attention", () => {
  type Run = (kernel: KernelName, buffers: Buffers, dims: Dims) => Promise<Buffers>;
  const executors: readonly (readonly [string, () => Promise<Run>])[] = [
    ["eager", async () => (kernel, buffers, dims) => eagerExecutor(kernels[kernel](spec) as Kernel).run(buffers, dims)],
    ...["wgsl", "cuda:sm_80"].map((target) => [`Loop IR for ${target}`, async (): Promise<Run> => async (kernel, buffers, dims) => {
      const { loop, tile, manifest } = await compileJob(jobOf(textOf(kernel), target, spec));
      return loopExecutor(loop, targetNamed(target), tile.tune, arithmeticOf(target, manifest)).run(buffers, dims);
    }] as const),
    ["WGSL on the software adapter", async () => {
      const device = await openWebGpu({ adapter: "software" });
      onTestFinished(() => device.close());
      return async (kernel, buffers, dims) => {
        const { manifest, text } = await compileJob(jobOf(textOf(kernel), "wgsl", spec));
        return (await deviceExecutor(device, manifest, text)).run(buffers, dims);
      };
    }],
  ];

  test.each(executors)("%s", async (_, open) => {
    const run = await open();
    const [{ topK: k, heads, dV, dRope }, tokens, ends] = [spec, 41, [4, 4, 30, 41]]; // of 4 tokens, of none, of more than k, of as many as are left
    const sequences = ends.map((end, i) => ({ first: ends[i - 1] ?? 0, last: end })).flatMap((sequence) => [sequence, sequence]); // two queries each
    const queries = sequences.length;
    const { problem, inputs } = scorerProblem(spec, { queries, tokens, kind: "normal", windows: "causalTail", overhang: false, rule: "divide", seed: 5 });
    const [first, last] = [Int32Array.from(sequences, (s) => s.first), Int32Array.from(sequences, (s) => s.last)];
    const windows = { first: bytesOf(first), last: bytesOf(last) };

    const { logits } = await run("indexer_logits", { ...inputs, ...windows, logits: poisoned(4 * queries * tokens) }, { Q: queries, T: tokens, logitsPitch: tokens });
    const scores = new Float32Array(logits!.slice().buffer);
    const scored = { ...indexerArgs(problem), first, last };
    expect(compare({ output: "logits", axes: { q: queries, t: tokens }, got: scores, want: indexerLogits(scored), budget: logitsBudget(scored, logitsTarget(spec, cudaArithmetic)) }).failure).toBeUndefined();

    const { idx, count } = await run("topk_window", { logits: logits!, ...windows, idx: poisoned(4 * queries * k, 0x5a), count: poisoned(4 * queries, 0x5a) }, { Q: queries, T: tokens, logitsPitch: tokens });
    expect(integers(idx!)).toEqual(referenceTopK({ shape: { queries, tokens, k }, scores, first, last, indexBase: "window" }));
    expect([...integers(count!)]).toEqual([4, 4, 0, 0, k, k, k, k]);

    const dQk = dV + dRope;
    const shape = { queries, heads, slots: k, tokens, dQk, dV };
    const { q, kv, sink } = generateMla({ seed: 6, kind: "normal", slotKind: "allEmpty", sink: "normal", rowLengths: false, shape });
    for (let t = 0; t < queries; t += 2) {
      const rows = last[t]! - first[t]!;
      const part = (bytes: Uint8Array): Uint8Array => bytes.slice((t * bytes.length) / queries, ((t + 2) * bytes.length) / queries);
      const own = kv.bytes.slice(2 * dQk * first[t]!, 2 * dQk * last[t]!);
      const buffers = { q: part(q.bytes), kv: rows === 0 ? poisoned(2 * dQk) : own, idx: part(idx!), lengths: part(count!), sink: bytesOf(sink!), ...attentionOutputs(2, spec) };
      const outputs = await run("sparse_mla", buffers, { Q: 2, T: rows, kvPitch: dQk });
      const args = {
        shape: { ...shape, queries: 2, tokens: rows },
        q: decodeArray("bf16", buffers.q), kv: decodeArray("bf16", own), idx: integers(buffers.idx), length: integers(buffers.lengths), scale: spec.smScale, sink: sink!,
      };
      expect(judgeAttention(args, outputs, attentionTarget(cudaArithmetic, 16, 1)).failure, `sequence of ${rows}`).toBeUndefined();
    }
  });
});

describe("chunks of decode", async () => {
  const real = withSettings(preset("v3.2"), { nextN: "2" });
  const texts: ProgramTexts = await textsFor("decode", "cuda:sm_90a", real);
  const dims = { B: 300, P: 1000, I: 16, T: 1000 };
  const scoreBytes = 2 * 4 * 1008;
  const splitBytes = 2 * real.splits * real.heads * (4 * real.dV + 4 + 4);

  test("count requests, and hold the scores and the splits of all of their queries", () => {
    const plan = planChunks(programs.decode, texts, dims, 64e6, 16);
    const fitting = Math.floor(64e6 / (scoreBytes + splitBytes));
    expect(plan).toMatchObject({ dim: "B", total: 300, tile: 2, rowBytes: scoreBytes + splitBytes, rows: fitting - (fitting % 2) });
    expect(plan.scratch.partialMax).toBe(plan.rows * 2 * 4 * real.splits * real.heads);
    expect(plan.dims).toMatchObject({ logitsPitch: 1008, indexPageBytes: 64 * 132, pageBytes: 64 * 656 });
  });

  test("launch each kernel with its own dims and arguments", async () => {
    const seen: [from: number, bytes: number][] = [];
    const host = hostDevice("CPU", () => {});
    const device: Device = { ...host, viewAlignment: 16, view: (buffer, from, bytes) => (seen.push([from, bytes]), host.view(buffer, from, bytes)) };
    const executables = await Promise.all(texts.map((tiers) => Promise.all(tiers.map(({ manifest }) => device.load(manifest, "")))));
    const plan = planChunks(programs.decode, executables, dims, 200 * (scoreBytes + splitBytes), 16);
    const all = argumentsOf(programs.decode, executables);
    expect(all.inputs.map(({ name }) => name)).toEqual(["indexQ", "indexPages", "blockTable", "indexQScale", "indexW", "lengths", "q", "cache", "sink"]);
    expect(all.results.map(({ name }) => name)).toEqual(["idx", "count", "out", "lse", "maxLogit"]);
    const sizes = { ...plan.dims, P: 1 }; // caches are not cut, and need not be as large as they would be
    const buffers = Object.fromEntries([...all.inputs, ...all.results, ...all.scratch].map(({ name, bytes }) => [name, device.alloc(plan.scratch[name] ?? evaluate(bytes, sizes))]));
    const chunks = chunksOf(device, programs.decode, executables, buffers, plan);
    expect(chunks.map(({ start, rows }) => [start, rows])).toEqual([[0, 200], [200, 100]]);
    expect(chunks[1]!.launches.map(({ executable: { manifest }, dims }) => [manifest.kernel, manifest.tier?.name, dims])).toEqual([
      ["paged_indexer_logits", undefined, { B: 100, P: 1000, I: 16, T: 1000, pageBytes: 64 * 132, logitsPitch: 1008 }],
      ["topk_slots", "short", { B: 100, I: 16, T: 1000, logitsPitch: 1008 }],
      ["sparse_mla_decode", undefined, { Q: 200, P: 1000, pageBytes: 64 * 656 }],
      ["sparse_mla_combine", undefined, { Q: 200 }],
    ]);
    const [scorer, selection, attention, combination] = chunks[1]!.launches.map((one) => one.buffers);
    expect(seen).toContainEqual([200 * 2 * 4, 100 * 2 * 4]); // lengths, and counts
    expect([scorer!.pages, attention!.cache]).toEqual([buffers.indexPages, buffers.cache]);
    expect(attention!.lengths).toBe(selection!.count);
    expect(attention!.idx).toBe(selection!.idx);
    expect([scorer!.logits, selection!.logits, combination!.partial]).toEqual([buffers.logits, buffers.logits, attention!.partial]);
  });

  test("need what the program names", () => {
    const { decode } = programs;
    const flat = { ...decode.words!.sparse_mla_combine!.flat!, inner: { axis: "n", field: "drafts" } };
    expect(() => planChunks({ ...decode, words: { ...decode.words, sparse_mla_combine: { flat } } }, texts, dims, 64e6, 16)).toThrow('sparse_mla_combine: its spec has no number "drafts"');
    expect(() => planChunks({ ...decode, words: {} }, texts, { ...dims, Q: 600 } as typeof dims, 64e6, 16)).toThrow('scratch "partial" is no argument with the outermost axis "b"');
    expect(() => planChunks(decode, texts, dims, splitBytes, 16)).toThrow(DeviceError);
  });
});

test("a spec without records has no decode", () => {
  expect(programsOf(preset("v3.2"))).toEqual(["streaming_topk", "prefill", "decode", "replay"]);
  expect(programsOf(preset("v4-flash"))).toEqual(["streaming_topk", "prefill", "replay"]);
});
