/** Kernels with a text for each tier of launches: which launch takes which, what a wrong list is told, what is written. */
import { describe, expect, test } from "vitest";
import { generate } from "../../compiler/cli/generate.ts";
import { compileTiers, jobOf, textOf, tierJobs } from "../../compiler/cli/jobs.ts";
import { targetNamed } from "../../compiler/cli/targets.ts";
import { CompileError, format } from "../../compiler/diagnostics.ts";
import { type Dim, textFor } from "../../compiler/ir/manifest.ts";
import { compile } from "../../compiler/pipeline.ts";
import type { Bounds, Schedule, Scheduled } from "../../compiler/target.ts";
import { printBounds, tiersOf } from "../../compiler/tiers.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { assemble, hasNvcc } from "../targets/cuda/emit/nvcc.ts";

const spec = preset("v3.2");
const job = jobOf(textOf("topk"), "cuda:sm_90a", spec);
const text = (name?: string, when: Bounds = {}, dims: readonly Dim[] = []) => ({ name, manifest: { dims, ...(name !== undefined && { tier: { name, when } }) } });

describe("a launch takes the first text that its dims fit", () => {
  const texts = [text("few", { Q: { atMost: 16 }, T: { atLeast: 32768 } }), text("wave", { Q: { atMost: 132 } }), text("middle", { T: { atLeast: 5, atMost: 9 } }), text()];
  test.each([
    [1, 32768, "few"],
    [16, 99999, "few"],
    [16, 32767, "wave"],
    [17, 32768, "wave"],
    [132, 7, "wave"],
    [133, 4, undefined],
    [133, 5, "middle"],
    [133, 9, "middle"],
    [133, 10, undefined],
  ])("Q %i, T %i: %s", (Q, T, name) => expect(textFor(texts, { Q, T }).name).toBe(name));

  test("a pitch that nobody gives is its default", () => {
    const pitch: Dim = { name: "pitch", default: { op: "mul", args: ["T", 2] } };
    const wide = [text("wide", { pitch: { atLeast: 20 } }, [pitch]), text()];
    expect([textFor(wide, { T: 10 }).name, textFor(wide, { T: 9 }).name, textFor(wide, { T: 9, pitch: 64 }).name]).toEqual(["wide", undefined, "wide"]);
  });
  test("a dim without a value is an error that names it, and so are texts that leave launches out", () => {
    expect(() => textFor(texts, { Q: 1 })).toThrow('dim "T" has no value');
    expect(() => textFor(texts.slice(0, 1), { Q: 99, T: 1 })).toThrow("none of these texts is for all other launches");
  });
});

const schedule: Schedule = { threads: 64 };
const when: Bounds = { Q: { atMost: 1 } };
test.each([
  ["nothing in it", [], /no schedule is for the launches that no tier takes\n {2}try: end the list with/],
  ["bounds on the last", [{ name: "a", when, schedule }], /no schedule is for the launches that no tier takes/],
  ["a tier without a name", [{ when, schedule }, { schedule }], /a tier is called undefined\n {2}try: give every tier but the last a name/],
  ["a name that is no file's", [{ name: "../a", when, schedule }, { schedule }], /a tier is called "\.\.\/a"/],
  ["a name twice", [{ name: "a", when, schedule }, { name: "a", when, schedule }, { schedule }], /two tiers are called "a"/],
  ["a tier for all launches", [{ name: "a", when: {}, schedule }, { schedule }], /tier "a" takes every launch, so those behind it get none/],
])("a list with %s is refused", (_, list, message) => {
  const refused = (): unknown => tiersOf(list as unknown as Scheduled, "topk", "wgsl");
  expect(refused).toThrow(CompileError);
  try {
    refused();
  } catch (error) {
    expect(format(error as CompileError, () => undefined)).toMatch(message);
  }
});

test("bounds of what is no dim are refused where the kernel stands", async () => {
  const tiers: Scheduled = [{ name: "a", when: { queries: { atMost: 1 } }, schedule }, { schedule }];
  for (const tier of ["a", undefined]) {
    const compiling = compile({ ...textOf("topk"), spec, target: targetNamed("wgsl"), schedule: tiers, ...(tier && { tier }) });
    await expect(compiling).rejects.toMatchObject({ code: "E-SCHEDULE-03", span: { file: "dsl/kernels/topk.ts" }, message: expect.stringContaining('tier "a" has bounds of "queries", which is no dim') });
  }
});

test("a tier that is not there is an error that tells which are", async () => {
  const options = { ...textOf("topk"), spec, target: targetNamed("cuda:sm_90a") };
  await expect(compile({ ...options, tier: "waves" })).rejects.toThrow(/no tier is called "waves"; there are .*"wave"/);
  await expect(compile({ ...options, target: targetNamed("wgsl"), tier: "wave" })).rejects.toThrow('no tier is called "wave"; the kernel has none.');
});

test("top-k of Hopper: a text for each tier, whose manifests and headers say for what", async () => {
  const texts = await compileTiers(job);
  const scheduled = tiersOf(targetNamed("cuda:sm_90a").scheduleOf("topk", spec), "topk", "cuda:sm_90a");
  expect(texts.map(({ manifest }) => [manifest.threads, manifest.tune])).toEqual(scheduled.map((tier) => [tier.schedule.threads, expect.objectContaining(tier.schedule.tune)]));
  const tiers = scheduled.slice(0, -1).map(({ name, when }) => ({ name, when }));
  expect(tiers.length).toBeGreaterThan(0);
  expect(texts.map(({ manifest }) => [manifest.tier, manifest.tiers])).toEqual([...tiers.map((tier) => [tier, undefined]), [undefined, tiers]]);
  expect(texts.map((t) => t.text.split("\n")[1])).toEqual([
    ...tiers.map(({ name, when }) => `// tier ${name}: for launches with ${printBounds(when!)} that no tier before it takes`),
    `// for all launches but those of ${tiers.map(({ name, when }) => `tier ${name} (${printBounds(when!)})`).join(", ")}`,
  ]);
  const threads = (Q: number, T: number): number => textFor(texts, { Q, T }).manifest.threads;
  expect([threads(128, 131072), threads(4096, 8192), threads(2048, 131072)]).toEqual([1024, 256, 512]);
  expect(printBounds({ Q: { atLeast: 2, atMost: 3 }, T: { atLeast: 4 } })).toBe("Q >= 2 and Q <= 3 and T >= 4");
});

test("files of a tier stand beside those of the others", async () => {
  const jobs = await tierJobs(job);
  const made = await Promise.all(jobs.map(generate));
  expect(made.map(({ entry }) => [entry.text, entry.manifest, entry.tier])).toEqual(
    jobs.map(({ tier }) => [tier, tier === undefined ? "v3.2" : `v3.2.${tier}`]).map(([tier, stem]) => [`topk/cuda-sm_90a/${stem}.cu`, `topk/cuda-sm_90a/${stem}.manifest.json`, tier]),
  );
  for (const { entry, files } of made) {
    const manifest = JSON.parse(files.get(entry.manifest)!) as { file: string; tier?: { name: string } };
    expect([manifest.file, manifest.tier?.name]).toEqual([entry.text.split("/").at(-1), entry.tier]);
  }
});

test.runIf(hasNvcc)("ptxas spills nothing in any tier", { timeout: 120_000 }, async () => {
  const texts = await compileTiers(job);
  const log = await assemble("sm_90a", texts.map((t) => t.text.replace('extern "C" ', "")));
  expect(log.match(/bytes spill stores/g)).toHaveLength(texts.length);
  expect(log.match(/[1-9]\d* bytes spill/g)).toBeNull();
});
