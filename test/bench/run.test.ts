/** Cases on a device in this process: right ones get a figure, wrong ones get none. */
import { describe, expect, test } from "vitest";
import type { BenchCase } from "../../bench/cases.ts";
import { specOf } from "../../bench/cases.ts";
import { problems, type ProblemName } from "../../bench/problems/index.ts";
import { isMeasured, type Measured, type Outcome, runCase } from "../../bench/run.ts";
import { type Subject, subjectOfCase } from "../../bench/subject.ts";
import { compileTiers, jobOf, textOf } from "../../compiler/cli/jobs.ts";
import type { KernelName } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { DeviceBuffer } from "../../targets/device.ts";
import { type EagerDevice, eagerDevice } from "./eager_device.ts";

const tiny = specOf(preset("v3.2"), { topK: "16", indexerHeads: "4", indexerDim: "32", heads: "4", dV: "128", dRope: "16", splits: "3", nextN: "2", pageTokens: "8" });

const shapes: Readonly<Record<ProblemName, BenchCase["sizes"]>> = {
  indexer_logits: { S: 9, N: 40 },
  paged_indexer_logits: { B: 3, N: 21 },
  topk: { R: 3, N: 50 },
  topk_window: { R: 3, N: 50 },
  topk_ragged: { R: 3, N: 50 },
  topk_slots: { R: 4, N: 50 },
  streaming_topk: { S: 9, N: 40, MB: 0.0008 },
  check_selection: { S: 24, N: 50 },
  sparse_mla: { S: 3, N: 30 },
  sparse_mla_decode: { B: 2, N: 24 },
};
const names = Object.keys(problems) as ProblemName[];
const caseOf = (problem: ProblemName, over: Partial<BenchCase> = {}): BenchCase => ({
  ...{ problem, sizes: shapes[problem], set: {}, data: problems[problem].data[0]!, mode: "queued" as const, extra: false },
  ...over,
});

const ceilings = { memory: 4e12, tensor: { e4m3: 1.5e15, bf16: 0.7e15 } };
const compiled = new Map<string, ReturnType<typeof compileTiers>>();
const compile = (kernel: KernelName, target: string, spec: Dsa): ReturnType<typeof compileTiers> => {
  const key = `${kernel} ${spec.name} ${target}`;
  if (!compiled.has(key)) compiled.set(key, compileTiers(jobOf(textOf(kernel), target, spec)));
  return compiled.get(key)!;
};

const subjectOf = (of: BenchCase, spec = tiny, target = "cuda:sm_80"): Subject => subjectOfCase(of, { spec, target, mode: of.mode }, compile);
const run = (of: BenchCase, on: EagerDevice): Promise<Outcome> => runCase(subjectOf(of), { timer: on.timer, ceilings: () => ceilings });
const figuresOf = (outcome: Outcome): Measured => {
  if (!isMeasured(outcome)) throw new Error(outcome.failed);
  return outcome;
};

describe.each(names)("%s", (problem) => {
  const results = { indexer_logits: "logits", paged_indexer_logits: "logits", topk: "idx", topk_window: "idx", topk_ragged: "idx", topk_slots: "idx", streaming_topk: "idx", check_selection: "faults", sparse_mla: "out", sparse_mla_decode: "out" }[problem];
  /** Does something to the result after each run of the last kernel. */
  const spoiling = (spoil: (bytes: Uint8Array, run: number) => void): EagerDevice => {
    const on = eagerDevice(tiny);
    let runs = 0;
    on.afterLaunch = ({ buffers, executable }) => {
      if (executable.manifest.kernel === problems[problem].kernels.at(-1)) spoil(on.bytesOf(buffers[results]!), runs++);
    };
    return on;
  };

  test.each(problems[problem].data)("is checked, repeated and timed, with data %s", async (data) => {
    const on = eagerDevice(tiny);
    const { check, timed, kernels, cost } = figuresOf(await run(caseOf(problem, { data }), on));
    expect(check.worst).toBeLessThanOrEqual(1);
    expect(check).toMatchObject({ cells: expect.any(Number), equalLaunches: 20 });
    expect(check.cells).toBeGreaterThan(20);
    expect(timed.time.median).toBe(100);
    expect(kernels.map((k) => k.kernel)).toEqual(problems[problem].kernels);
    // a selection's way depends on what it finds in the data, so its cost says what was assumed
    if (!problem.includes("topk")) expect(cost.assumed).toEqual([]);
    expect([on.held(), on.loaded()]).toEqual([0, 0]);
  });

  test("a wrong value in a checked row is found, and there is no figure", async () => {
    const on = spoiling((bytes) => (problem === "topk" ? (bytes[4]! ^= 1) : bytes.fill(0x3f, 0, 4)));
    const outcome = await run(caseOf(problem), on);
    expect(outcome).toEqual({ problem, label: expect.any(String), spec: tiny.name, target: "cuda:sm_80", failed: expect.stringMatching(/ is .*, the reference says /) });
    expect([on.timedRounds.length, on.held(), on.loaded()]).toEqual([0, 0, 0]);
  });

  test("a result that nobody wrote is found", async () => {
    const on = spoiling((bytes) => bytes.fill(problem === "topk" ? 0x5a : 0xff));
    expect(isMeasured(await run(caseOf(problem), on))).toBe(false);
  });

  test("one of 20 launches that leaves other bits is found", async () => {
    const on = spoiling((bytes, runs) => runs === 13 && bytes.fill(bytes.at(-1)! ^ 1, bytes.length - 1));
    expect(await run(caseOf(problem), on)).toMatchObject({ failed: `20 launches left different bits in ${results}` });
  });
});

test("the text of a launch's tier is what is loaded and timed", { timeout: 60_000 }, async () => {
  const timedWith = async (R: number, N: number): Promise<Measured["kernels"]> => {
    const subject = subjectOf(caseOf("topk", { sizes: { R, N } }), tiny, "cuda:sm_90a");
    return figuresOf(await runCase(subject, { timer: eagerDevice(tiny).timer, ceilings: () => undefined })).kernels;
  };
  expect(await timedWith(3, 50)).toMatchObject([{ kernel: "topk", tier: "wave", threads: 1024 }]);
  expect(await timedWith(133, 20)).toMatchObject([{ kernel: "topk", tier: "short", threads: 256 }]);
});

test("too little scratch is told before anything is loaded", async () => {
  const on = eagerDevice(tiny);
  await expect(run(caseOf("streaming_topk", { sizes: { S: 9, N: 40, MB: 0 } }), on)).rejects.toThrow("0 bytes of scratch hold 0 rows");
  expect([on.held(), on.loaded()]).toEqual([0, 0]);
});

test("each request of decode reads records of its own", () => {
  const { inputs } = problems.sparse_mla_decode.prepare(tiny, { B: 3, N: 24 }, "normal");
  const idx = new Int32Array(inputs.idx!.buffer);
  idx.forEach((slot, i) => expect(Math.floor(slot / 24)).toBe(Math.floor(i / (tiny.topK * tiny.nextN))));
});

describe("figures", () => {
  test("rates are those of what the result needs, and of the bytes that are touched", async () => {
    const { flops, tflops, terabytes, cost, roofline, ofCeiling, sets } = figuresOf(await run(caseOf("indexer_logits"), eagerDevice(tiny, { median: 50 })));
    const pairs = Array.from({ length: 9 }, (_, t) => 40 - 9 + t + 1).reduce((sum, n) => sum + n, 0);
    expect(flops).toBe(2 * pairs * 4 * 32);
    expect(tflops).toBeCloseTo(flops! / 50e-6 / 1e12, 12);
    const bytes = [cost.readBytes, cost.writtenBytes].flatMap((b) => Object.values(b)).reduce<number>((sum, n) => sum + n!, 0);
    expect(terabytes).toBeCloseTo(bytes / 50e-6 / 1e12, 12);
    expect(roofline).toEqual({ microseconds: expect.closeTo((1e6 * bytes) / 4e12, 6), by: "memory" });
    expect(ofCeiling).toEqual({ share: expect.closeTo(roofline!.microseconds / 50, 6), of: "memory" });
    expect(sets).toBe(1);
  });

  test("products in vain do not count towards the ceiling", async () => {
    const spec = specOf(tiny, {}, { indexerHeads: "64", indexerDim: "128" });
    const subject = subjectOf(caseOf("indexer_logits", { sizes: { S: 2, N: 65 } }), spec);
    const slowTensors = { memory: 4e12, tensor: { e4m3: 1e10 } };
    const outcome = figuresOf(await runCase(subject, { timer: eagerDevice(spec).timer, ceilings: () => slowTensors }));
    expect(outcome.cost.gemmFlops.e4m3).toBeGreaterThan(1.5 * outcome.flops!); // two blocks of 64 tokens for 65
    expect(outcome.ofCeiling).toEqual({ share: expect.closeTo(outcome.flops! / 1e10 / 100e-6, 3), of: "products" });
    expect(outcome.roofline!.microseconds).toBeCloseTo((1e6 * outcome.cost.gemmFlops.e4m3!) / 1e10, 3);
  });

  test("buffers rotate past the cache, as far as there is memory, and each set is whole", async () => {
    const of = caseOf("topk", { sizes: { R: 1, N: 64 } });
    const once = figuresOf(await run(of, eagerDevice(tiny)));
    const touched = [once.cost.readBytes, once.cost.writtenBytes].flatMap((b) => Object.values(b)).reduce<number>((sum, n) => sum + n!, 0);
    const on = eagerDevice(tiny, { cacheBytes: 4 * touched });
    const seen: { buffers: Readonly<Record<string, DeviceBuffer>>; logits: Uint8Array }[] = [];
    const time = on.timer.time;
    const timer = {
      ...on.timer,
      time: (rounds: Parameters<typeof time>[0], mode: Parameters<typeof time>[1]) => {
        for (const [launch] of rounds) seen.push({ buffers: launch!.buffers, logits: on.bytesOf(launch!.buffers.logits!).slice() });
        return time(rounds, mode);
      },
    };
    const outcome = figuresOf(await runCase(subjectOf(of), { timer, ceilings: () => undefined }));
    expect(outcome.sets).toBe(12);
    expect(new Set(seen.map((s) => s.buffers.logits)).size).toBe(12);
    expect(new Set(seen.map((s) => s.buffers.idx)).size).toBe(12);
    for (const { logits } of seen) expect(logits).toEqual(seen[0]!.logits);
    expect([outcome.roofline, outcome.ofCeiling]).toEqual([null, null]);

    const setBytes = 4 * 64 + 2 * 4 + 4 * 16;
    const small = eagerDevice(tiny, { cacheBytes: 4 * touched, memoryBytes: 2 * 5 * setBytes + 9 });
    expect(figuresOf(await run(of, small)).sets).toBe(5);
  });

  test("a figure of others is told for their method and their data alone", async () => {
    const spec = specOf(preset("v3.2"), {}, { topK: "2048" });
    const of = caseOf("topk", { sizes: { R: 8, N: 65536 } });
    const on = eagerDevice(spec, { median: 10 });
    const fast = { ...on.timer, equal: async () => true };
    const launch = on.device.launch;
    let first = true;
    on.device.launch = (l) => void (first && launch(l), (first = false)); // eager top-k of long rows takes a while
    const outcome = figuresOf(await runCase(subjectOf(of, spec), { timer: fast, ceilings: () => undefined }));
    expect(outcome.anchor).toMatchObject({ microseconds: 30.3, timesAsFast: expect.closeTo(3.03) });
  });

  test("sizes that make no problem are refused", async () => {
    await expect(run(caseOf("indexer_logits", { sizes: { S: 9, N: 8 } }), eagerDevice(tiny))).rejects.toThrow("S=9 N=8: S queries are the last of N tokens");
    await expect(run(caseOf("sparse_mla_decode", { sizes: { B: 1, N: 9 } }), eagerDevice(tiny))).rejects.toThrow("N a multiple of a page's 8 tokens");
  });
});
