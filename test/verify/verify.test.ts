/** The engine itself: it must notice what is wrong, name it, and replay it. */
import { describe, expect, test } from "vitest";
import type { Kernel } from "../../dsl/index.ts";
import { kernels, type KernelName } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import { generateIndexer, indexerPageBytes, permutation, randomOf, writeIndexerPages } from "../../reference/index.ts";
import { checks } from "../../verify/checks/index.ts";
import { writePages } from "../../verify/checks/paged_indexer_logits.ts";
import { eagerExecutor, type Buffers, type Executor } from "../../verify/executor.ts";
import { scaleForSoftware } from "../../verify/scale.ts";
import { all, compare, packedRows, pitchedRows, untouchedGaps } from "../../verify/verdict.ts";
import { describeFailure, verifyKernel } from "../../verify/verify.ts";
import { realSubjects, tinySubjects } from "./specs.ts";

const spec = withSettings(preset("v3.2"), {
  topK: "9",
  indexerHeads: "3",
  indexerDim: "32",
  pageTokens: "8",
  heads: "2",
  dV: "128",
  dRope: "16",
  splits: "3",
});
const right = (kernel: KernelName): Executor => eagerExecutor(kernels[kernel](spec) as Kernel);

/** The kernel with something done to its outputs afterwards. */
const spoilt = (kernel: KernelName, spoil: (outputs: Buffers) => void): Executor => ({
  ...right(kernel),
  run: async (buffers, dims) => {
    const outputs = await right(kernel).run(buffers, dims);
    spoil(outputs);
    return outputs;
  },
});
const failureOf = async (kernel: KernelName, executor: Executor) => (await verifyKernel({ kernel, spec, executor, runs: 5 })).failed;

describe("verifyKernel", () => {
  test("tells what ran and how near the budget it came", async () => {
    const seen: number[] = [];
    const report = await verifyKernel({ kernel: "topk", spec, executor: right("topk"), runs: 3, onCase: ({ cases }) => seen.push(cases) });
    expect(report).toMatchObject({ kernel: "topk", spec: spec.name, target: "eager", device: "CPU", seed: 1, worst: 0 });
    expect(report.cases).toBe(checks.topk.fixed(spec, 4e6).length + 3);
    expect(seen).toEqual(Array.from({ length: report.cases }, (_, i) => i + 1));
    expect(report.failed).toBeUndefined();
  });

  test("a failure shrinks, names cell and budget, and its path replays the same case alone", async () => {
    const wrong = spoilt("indexer_logits", ({ logits }) => {
      const cells = new Float32Array(logits!.buffer);
      if (!Number.isNaN(cells[39])) cells[39]! += 1; // a cell that somebody sees
    });
    const failed = (await failureOf("indexer_logits", wrong))!;
    expect(failed.message).toMatch(/^logits\[q \d, t \d+\] is -?\d.*, the reference says -?\d.*, budget \d/);
    expect(Number(failed.shape.queries) * Number(failed.shape.tokens)).toBe(40);
    expect(failed.replay).toBe(
      "npm run verify -- --kernel indexer_logits --preset v3.2 --set topK=9 --set indexerHeads=3 --set indexerDim=32 --set pageTokens=8 --set heads=2 --set dV=128 " +
        `--set dRope=16 --set splits=3 --device interp --runs 5 --seed 1 --path ${failed.path}`,
    );
    const report = await verifyKernel({ kernel: "indexer_logits", spec, executor: wrong, runs: 5 });
    expect(describeFailure(report, failed).split("\n")).toEqual([
      `indexer_logits · ${spec.name} · eager on CPU: ${failed.message}`,
      `  case ${JSON.stringify(failed.shape)}, seed 1`,
      `  replay: ${failed.replay}`,
    ]);
    const again = await verifyKernel({ kernel: "indexer_logits", spec, executor: wrong, runs: 5, seed: failed.seed, path: failed.path });
    expect(again.failed).toMatchObject({ shape: failed.shape, message: failed.message });
    expect(again.cases).toBe(0);
  });

  test("an execution that throws is a failure with its message, not a rejection", async () => {
    const broken: Executor = { ...right("topk"), run: () => Promise.reject(new Error("the device is lost")) };
    expect(await failureOf("topk", broken)).toMatchObject({ message: "the device is lost" });
  });

  test("a kernel that the spec does not have is refused", async () => {
    const withoutRecords = { ...preset("v4-flash") };
    await expect(verifyKernel({ kernel: "sparse_mla_decode", spec: withoutRecords, executor: right("topk") })).rejects.toThrow(
      /v4-flash has no sparse_mla_decode.*sparse_mla/,
    );
  });
});

test.each([...realSubjects, ...tinySubjects])(
  "the fixed cases of $kernel ($spec.name) are among the random ones, so that they shrink",
  ({ kernel, spec }) => {
    for (const budget of [2e4, 4e6, 1e8]) {
      const shapes = checks[kernel].shapes(spec, budget);
      for (const shape of checks[kernel].fixed(spec, budget))
        expect(shapes.canShrinkWithoutContext(shape), JSON.stringify(shape)).toBe(true);
    }
  },
);

describe("what the checks notice", () => {
  test.each<[string, KernelName, (outputs: Buffers) => void, RegExp]>([
    ["one wrong index", "topk", ({ idx }) => (idx![0]! ^= 1), /^idx\[q 0, j 0\]/],
    ["a slot that was never written", "topk", ({ idx }) => idx!.fill(0x5a, 4, 8), /^idx\[q \d+, j 1\] is 1515870810/],
    ["an lse of a row without slots", "sparse_mla", ({ lse }) => lse!.fill(0), /^lse/],
    ["one bf16 step in out", "sparse_mla", ({ out }) => (out![0]! ^= 2), /^out\[q 0, h 0, c 0\]/],
    [
      "a maximum that is off by 2^-12",
      "sparse_mla",
      ({ maxLogit }) => new Float32Array(maxLogit!.buffer).forEach((x, i, xs) => (xs[i] = x * (1 + 2 ** -12))),
      /^maxLogit/,
    ],
    [
      "a partial sum that counts a slot twice",
      "sparse_mla_decode",
      ({ partialSum }) => new Float32Array(partialSum!.buffer).forEach((x, i, xs) => (xs[i] = x * 1.001)),
      /^split \d: (out|lse)/,
    ],
    [
      "a NaN of an empty split",
      "sparse_mla_decode",
      ({ partialSum }) => new Float32Array(partialSum!.buffer).forEach((x, i, xs) => (xs[i] = x === 0 ? NaN : x)),
      /partialSum of an empty split/,
    ],
    ["a lost split", "sparse_mla_combine", ({ lse }) => new Float32Array(lse!.buffer).forEach((x, i, xs) => (xs[i] = x - 1e-3)), /^lse/],
    ["a paged cell", "paged_indexer_logits", ({ logits }) => logits!.fill(0xff), /^logits\[request \d, n \d+/],
    ["a write between rows", "indexer_logits", ({ logits }) => (logits![logits!.length - 1] = 0), /behind row|is/],
  ])("%s", async (_, kernel, spoil, message) => {
    expect((await failureOf(kernel, spoilt(kernel, spoil)))?.message).toMatch(message);
  });
});

describe("comparison", () => {
  const axes = { q: 2, t: 2 };
  test("NaN budgets leave cells open; infinities and NaN must be the same; zeros of either sign are", () => {
    expect(compare({ output: "y", axes, got: [1, Infinity, NaN, 0], want: [9, Infinity, NaN, -0], budget: [NaN, 0, 0, 0] })).toEqual({
      worst: 0,
      cells: 3,
    });
    expect(compare({ output: "y", axes, got: [1, 1, 1, 1], want: [1, 1, Infinity, 1], budget: [1, 1, 1e9, 1] })).toMatchObject({
      worst: Infinity,
    });
    expect(compare({ output: "y", axes, got: [1, NaN, 1, 1], want: [1, 1, 1, 1], budget: [1, 1, 1, 1] }).failure).toMatch(
      /^y\[q 0, t 1\] is NaN/,
    );
  });
  test("the worst cell is the one that is told", () => {
    const verdict = compare({ output: "y", axes, got: [1.5, 0, 3, 0], want: [1, 0, 0, 0], budget: [1, 1, 2, 1] });
    expect(verdict).toEqual({ worst: 1.5, cells: 4, failure: "y[q 1, t 0] is 3, the reference says 0, budget 2" });
    expect(all([{ worst: 0.5, cells: 2 }, verdict])).toEqual({ ...verdict, cells: 6 });
  });
  test("gaps between rows", () => {
    const rows = pitchedRows(Uint8Array.of(1, 2, 3, 4), 2, 2, 3, 0xff);
    expect([...rows]).toEqual([1, 2, 0xff, 3, 4, 0xff]);
    expect([...packedRows(rows, 2, 2, 3)]).toEqual([1, 2, 3, 4]);
    expect(untouchedGaps("y", rows, 2, 2, 3).failure).toBeUndefined();
    rows[2] = 0;
    expect(untouchedGaps("y", rows, 2, 2, 3).failure).toMatch(/byte 2 behind row 0/);
  });
});

test("pages are those of the reference's writer", () => {
  const paged = { ...spec, pageTokens: 64, indexerDim: 32 };
  const problem = generateIndexer({
    seed: 5,
    kind: "normal",
    windows: "causalTail",
    shape: { queries: 1, heads: 1, dim: 32, tokens: 128 },
    operands: { format: "e4m3", rule: "divide" },
  });
  const lengths = Int32Array.of(100);
  const mine = writePages(paged, problem, { random: randomOf(3), requests: 1, maxPages: 2, lengths, missingPages: false, pageGap: 16 });
  const keys = { codes: problem.k.bytes.subarray(0, 100 * 32), scales: problem.kScale.subarray(0, 100) };
  const order = permutation(randomOf(3), 3);
  const layout = { dim: 32, pageStride: indexerPageBytes(32) + 16 };
  expect(mine.blockTable).toEqual(order.slice(0, 2));
  expect(mine.cache).toEqual(writeIndexerPages(keys, order.slice(0, 2), 3, layout));
});

describe("specs for a software adapter", () => {
  test("k shrinks until a query is affordable, heads and dims stay, and the name says so", () => {
    const { spec: scaled, changes } = scaleForSoftware("sparse_mla", preset("v3.2"));
    expect(scaled).toMatchObject({ name: "v3.2+topK=64", topK: 64, heads: 128, dV: 512, dRope: 64 });
    expect(changes).toEqual(["topK 2048 is run as 64, over contexts of up to 193 tokens"]);
  });
  test("odd k stays odd where halving allows, and kernels whose cost does not depend on k keep it", () => {
    expect(scaleForSoftware("sparse_mla_decode", withSettings(preset("v3.2"), { topK: "1000" })).spec.topK).toBe(63);
    expect(scaleForSoftware("topk", preset("v3.2"))).toEqual({ spec: preset("v3.2"), changes: [] });
    expect(scaleForSoftware("sparse_mla", spec)).toEqual({ spec, changes: [] });
  });
});
