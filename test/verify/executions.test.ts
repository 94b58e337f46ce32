/** Every execution of the DSA kernels against the reference. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileJob, compileTiers, textOf } from "../../compiler/cli/jobs.ts";
import { targetNamed } from "../../compiler/cli/targets.ts";
import { compile } from "../../compiler/pipeline.ts";
import type { AlgebraPass, Schedule, Target } from "../../compiler/target.ts";
import { tiersOf } from "../../compiler/tiers.ts";
import type { Kernel } from "../../dsl/index.ts";
import { kernels } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import { openWebGpu, type WebGpuDevice } from "../../targets/wgsl/runtime.ts";
import { checks } from "../../verify/checks/index.ts";
import { arithmeticOf, deviceExecutor, eagerExecutor, loopExecutor, tileExecutor, type Executor } from "../../verify/executor.ts";
import { describeFailure, verifyKernel } from "../../verify/verify.ts";
import { numbersOf } from "./numbers.ts";
import { realSubjects, tinySubjects, titleOf, type Subject } from "./specs.ts";

const titled = (subjects: readonly Subject[]) => subjects.map((subject) => [titleOf(subject), subject] as const);
const compiled = ({ kernel, spec }: Subject, target: string) => compileJob({ ...textOf(kernel), spec, target });
const eager = ({ kernel, spec }: Subject, tune = {}): Executor => eagerExecutor(kernels[kernel](spec) as Kernel, tune);

async function expectRight(subject: Subject, executor: Executor, runs: number): Promise<void> {
  const report = await verifyKernel({ ...subject, executor, runs });
  if (report.failed) throw new Error(describeFailure(report, report.failed));
  expect(report.cells).toBeGreaterThan(0);
  expect(report.worst).toBeLessThanOrEqual(1);
  expect(report.launchesEqual ?? true).toBe(true);
}

describe("eager", () => {
  test.each(titled([...tinySubjects, ...realSubjects]))("%s", (_, subject) => expectRight(subject, eager(subject), 4));
});

describe("Tile IR", () => {
  test.each(titled(tinySubjects))("%s, and the same numbers as the eager run", async (_, subject) => {
    const tile = tileExecutor((await compiled(subject, "wgsl")).tile);
    await expectRight(subject, tile, 6);
    const check = checks[subject.kernel];
    for (const shape of check.fixed(subject.spec, tile.budget)) {
      const { buffers, dims } = check.prepare(subject.spec, shape);
      const [got, want] = [
        numbersOf(subject, await tile.run(buffers, dims)),
        numbersOf(subject, await eager(subject, tile.tune).run(buffers, dims)),
      ];
      for (const [name, values] of Object.entries(want))
        expect(
          values.findIndex((x, i) => !Object.is(x, got[name]![i])),
          name,
        ).toBe(-1);
    }
  });
});

describe.each(["wgsl", "cuda:sm_80"])("Loop IR for %s", (target) => {
  test.each(titled(tinySubjects))("%s", async (_, subject) => {
    const { loop, tile } = await compiled(subject, target);
    await expectRight(subject, loopExecutor(loop, targetNamed(target), tile.tune), 2);
  });
});

describe("Loop IR in chunks smaller than the context", () => {
  const tunes = { indexer_logits: { BQ: 2, BT: 16, CHUNK: 32 }, paged_indexer_logits: { PAGES: 1 } };
  test.each(titled(tinySubjects.filter(({ kernel }) => kernel in tunes)))("%s", async (_, subject) => {
    const tune = tunes[subject.kernel as keyof typeof tunes];
    const target = targetNamed("cuda:sm_80");
    const { loop, tile } = await compile({ ...textOf(subject.kernel), spec: subject.spec, target, tune });
    await expectRight(subject, loopExecutor(loop, target, tile.tune), 2);
  });
});

const moved: readonly AlgebraPass[] = ["hoistScales", "hoistInvariants"];
const split: readonly AlgebraPass[] = ["hoistScales", "splitRelu", "hoistInvariants"];
describe.each([
  ["wgsl", moved],
  ["cuda:sm_80", moved],
  ["wgsl", split],
  ["cuda:sm_80", split],
])("Loop IR for %s with %s", (name, algebra) => {
  const target = targetNamed(name);
  const rewriting: Target = { ...target, scheduleOf: (...of) => ({ ...(target.scheduleOf(...of) as Schedule), algebra }) };
  test.each(titled(tinySubjects.filter(({ kernel }) => kernel.endsWith("indexer_logits"))))("%s", async (_, subject) => {
    const { kernel, spec } = subject;
    const { loop, tile, manifest } = await compile({ ...textOf(kernel), spec, target: rewriting });
    const applies = (pass: AlgebraPass): boolean => spec.score.name === "relu" && (pass !== "splitRelu" || spec.indexDtype === "e4m3");
    expect(manifest.algebra).toEqual(algebra.some(applies) ? algebra.filter(applies) : undefined);
    await expectRight(subject, loopExecutor(loop, target, tile.tune, arithmeticOf(name, manifest)), 2);
  });
});

describe("Loop IR with roles for cuda:sm_90a", () => {
  const withRoles = realSubjects.filter(({ kernel, spec }) => kernel.endsWith("indexer_logits") && spec.logitsDtype === "f32" && spec.pageTokens === 64).slice(0, 6);
  test.each(titled(withRoles))("%s", async (_, subject) => {
    const { loop, tile } = await compiled(subject, "cuda:sm_90a");
    expect(loop.pipes.length).toBeGreaterThan(0);
    await expectRight(subject, loopExecutor(loop, targetNamed("cuda:sm_90a"), tile.tune), 1);
  });

  const linear = [{}, { indexerHeads: "16", indexerDim: "64", logitsDtype: "bf16" }].map((more): Subject => ({ kernel: "indexer_logits", spec: withSettings(preset("v3.2"), { scoreForm: "linear", ...more }) }));
  test.each(titled(linear))("%s: one product for the scores and their linear halves", async (_, subject) => {
    const { loop, tile, manifest } = await compiled(subject, "cuda:sm_90a");
    expect(manifest.algebra).toContain("splitRelu");
    await expectRight(subject, loopExecutor(loop, targetNamed("cuda:sm_90a"), tile.tune, arithmeticOf("cuda:sm_90a", manifest)), 1);
  });
  test("a score that cannot be split stays exact, and says so", async () => {
    const spec = withSettings(preset("v3.2"), { scoreForm: "linear", score: "softplus" });
    for (const [kernel, target, reason] of [
      ["indexer_logits", "cuda:sm_90a", "the score is softplus, not relu"],
      ["paged_indexer_logits", "cuda:sm_90a", "reading pages takes the time here"],
      ["indexer_logits", "cuda:sm_80", "the portable schedule has no linear form"],
      ["indexer_logits", "wgsl", "the schedules for WGSL have no linear form"],
    ] as const) {
      const { manifest, note, text } = await compiled({ kernel, spec }, target);
      expect(manifest.algebra ?? []).not.toContain("splitRelu");
      expect(note).toBe(`scores are exact in spite of scoreForm=linear: ${reason}`);
      expect(text).toContain(`// note: ${note}`);
    }
    expect(await compiled({ kernel: "topk", spec }, "wgsl")).not.toHaveProperty("note");
    expect(await compiled({ kernel: "indexer_logits", spec: { ...spec, scoreForm: "exact" } }, "wgsl")).not.toHaveProperty("note");
  });
});

describe("each tier runs every case, on the simulated machine for cuda:sm_90a", () => {
  const target = "cuda:sm_90a";
  const subjects = ["topk", "topk_slots"].map((name) => tinySubjects.find(({ kernel }) => kernel === name)!); // a block of 1024 threads takes its time
  test.each(titled(subjects))("%s", async (_, { kernel, spec }) => {
    const texts = await compileTiers({ ...textOf(kernel), spec, target });
    const alone = texts.filter(({ loop }) => loop.cluster === undefined);
    expect(alone.length).toBeGreaterThan(1);
    for (const { loop, tile } of alone) await expectRight({ kernel, spec }, loopExecutor(loop, targetNamed(target), tile.tune), 1);
  });
});

describe("clusters run every case, with fewer threads than the tiers of cuda:sm_90a have", () => {
  const target = targetNamed("cuda:sm_90a");
  test.each(titled(tinySubjects.filter(({ kernel }) => kernel === "topk" || kernel === "topk_slots").slice(0, 3)))("%s", async (_, { kernel, spec }) => {
    const tiers = tiersOf(target.scheduleOf(kernel, spec), kernel, target.name);
    const { schedule } = tiers.find((tier) => tier.schedule.cluster)!;
    const tune = { ...schedule.tune, SAMPLE: 128, BT: 32, WIDE: 128 };
    const { loop, tile } = await compile({ ...textOf(kernel), spec, target, schedule: { ...schedule, threads: 32, tune } });
    expect(loop.cluster).toBe(8);
    await expectRight({ kernel, spec }, loopExecutor(loop, target, tile.tune), 2);
  });
});

describe("WGSL on the software adapter", () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openWebGpu({ adapter: "software" });
  });
  afterAll(() => device.close());
  test.each(titled(realSubjects))("%s", async (_, subject) => {
    const { manifest, text } = await compiled(subject, "wgsl");
    await expectRight(subject, await deviceExecutor(device, manifest, text), 2);
  });
});
