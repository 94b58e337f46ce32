/** Sweeps: every length times every kind of data, what they catch that random cases miss, and the selection kernel itself where a CPU affords it. */
import { describe, expect, test } from "vitest";
import type { Kernel } from "../../dsl/index.ts";
import { kernels } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { scoreKinds } from "../../reference/index.ts";
import { topKCheck } from "../../verify/checks/topk.ts";
import { eagerExecutor, type Executor } from "../../verify/executor.ts";
import { verifyKernel } from "../../verify/verify.ts";

const specOf = (k: number): Dsa => withSettings(preset("v3.2"), { topK: String(k) });
const words = (bytes: Uint8Array): Int32Array => new Int32Array(bytes.slice().buffer);
const GPU = 1e8;
/** Allows windows of 2050 tokens. */
const upTo2050 = 1.1e5;

test("a GPU gets windows of every length named for top-k, each with every kind of scores, baited on both sides", () => {
  const lengths = new Map<number, Set<string>>();
  const { cases } = topKCheck.sweep!(specOf(8), GPU);
  expect(new Set(cases.map(({ gap }) => gap % 2))).toEqual(new Set([0, 1]));
  for (const { tokens, kind } of cases) lengths.set(tokens - 71, (lengths.get(tokens - 71) ?? new Set()).add(kind));
  for (const length of [1, 2047, 2048, 2049, 2050, 8192, 12289, 20000, 33001, 70001, 2 ** 20]) expect(lengths.get(length)).toEqual(new Set(scoreKinds));

  const { buffers, dims } = topKCheck.prepare(specOf(8), { ...cases.find((c) => c.tokens === 2050 + 71 && c.kind === "normal")!, unseen: "infinity" });
  const [first, last] = [words(buffers.first!), words(buffers.last!)];
  const scores = new Float32Array(buffers.logits!.slice().buffer);
  expect([...last.map((end, t) => end - first[t]!)]).toEqual([2050, 2050]);
  expect([first[0], first[1]! > 0]).toEqual([0, true]);
  for (const t of [0, 1]) {
    const row = scores.subarray(t * dims.logitsPitch!, t * dims.logitsPitch! + dims.T!);
    expect([row[first[t]! - 1] ?? Infinity, row[last[t]!]]).toEqual([Infinity, Infinity]);
    expect(row.subarray(first[t], last[t]).every(Number.isFinite)).toBe(true);
  }
});

test("windows of every kind of scores are cut by k as the kind says", () => {
  const k = 512;
  const cases = topKCheck.sweep!(specOf(k), upTo2050).cases.filter((c) => c.tokens === 2050 + 71);
  for (const [kind, fits] of Object.entries({ reluPlateauBelow: (n: number) => n < k, reluPlateauEqual: (n: number) => n === k, reluPlateauAbove: (n: number) => n > k })) {
    const { buffers, dims } = topKCheck.prepare(specOf(k), cases.find((c) => c.kind === kind)!);
    const [first, last, scores] = [words(buffers.first!), words(buffers.last!), new Float32Array(buffers.logits!.slice().buffer)];
    for (const t of [0, 1]) {
      const window = scores.subarray(t * dims.logitsPitch! + first[t]!, t * dims.logitsPitch! + last[t]!);
      expect(window.filter((x) => x > 0).length, kind).toSatisfy(fits);
    }
  }
});

describe("the kernel's text", () => {
  test.each([1, 3, 8, 512, 1000, 1024])("selects %i of every length that a CPU affords", async (k) => {
    const spec = specOf(k);
    const report = await verifyKernel({ kernel: "topk", spec, executor: eagerExecutor(kernels.topk(spec) as Kernel), budget: upTo2050, sweep: true });
    expect(report.failed).toBeUndefined();
    expect(report.cases).toBe(topKCheck.sweep!(spec, upTo2050).cases.length);
  });
  test.each(["topk_window", "topk_ragged", "topk_slots"] as const)("%s selects 512 of every length that a CPU affords", async (kernel) => {
    const spec = specOf(512);
    const report = await verifyKernel({ kernel, spec, executor: eagerExecutor(kernels[kernel](spec) as Kernel), budget: upTo2050, sweep: true });
    expect(report.failed).toBeUndefined();
  });
});

describe("faults", () => {
  const spec = specOf(8);
  const right = eagerExecutor(kernels.topk(spec) as Kernel);

  test("at one length and one kind of scores are found, and told with the command that repeats them", async () => {
    const wrong: Executor = {
      ...right,
      target: "wgsl",
      async run(buffers, dims) {
        const outputs = await right.run(buffers, dims);
        const isMixed = new Float32Array(buffers.logits!.slice().buffer).subarray(0, 2049).every((x) => !Number.isFinite(x) || Math.abs(x) <= 1);
        if (dims.T === 2049 + 71 && isMixed) words(outputs.idx!).forEach((token, i) => new DataView(outputs.idx!.buffer).setInt32(4 * i, token + 1, true));
        return outputs;
      },
    };
    const { failed } = await verifyKernel({ kernel: "topk", spec, executor: wrong, budget: upTo2050, sweep: true });
    expect(failed?.message).toMatch(/^idx\[q \d, j \d\] is \d+, the reference says \d+/);
    expect(failed?.replay).toMatch(/^npm run verify -- --kernel topk --preset v3.2 --set topK=8 --target wgsl --sweep --runs 0 --seed 1 --path \d+/);
  });

  test("launches that differ are found in any kind of scores, of 100 launches each", async () => {
    const asked: number[] = [];
    const unsteady: Executor = { ...right, repeatsBitwise: async (_buffers, _dims, launches) => asked.push(launches) !== 7 };
    const report = await verifyKernel({ kernel: "topk", spec, executor: unsteady, budget: 1e3, sweep: true });
    expect(report).toMatchObject({ launches: 100, launchesEqual: false });
    expect(asked).toEqual(new Array(7).fill(100));
    const steady: Executor = { ...right, repeatsBitwise: async (_buffers, _dims, launches) => asked.push(launches) > 0 };
    expect(await verifyKernel({ kernel: "topk", spec, executor: steady, budget: 1e3, sweep: true })).toMatchObject({ launches: 100, launchesEqual: true });
    expect(asked).toHaveLength(7 + scoreKinds.length);
  });

  test("a kernel without a sweep says which have one", async () => {
    await expect(verifyKernel({ kernel: "sparse_mla", spec, executor: right, sweep: true })).rejects.toThrow("sparse_mla has no sweep. topk, topk_window, topk_ragged, topk_slots have one.");
  });
});
