/** Selection from rows as long as contexts get, with the numbers of each schedule: a guess from a sample, its proof, and what rescues it. */
import { describe, expect, test } from "vitest";
import { compileTiers, textOf } from "../../compiler/cli/jobs.ts";
import { defaultTargets, targetNamed } from "../../compiler/cli/targets.ts";
import { tiersOf } from "../../compiler/tiers.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { topK } from "../../dsl/kernels/topk.ts";
import type { ScoreKind } from "../../reference/index.ts";
import { topKCheck } from "../../verify/checks/topk.ts";
import { eagerExecutor } from "../../verify/executor.ts";

const specOf = (k: number): Dsa => withSettings(preset("v3.2"), { topK: String(k) });
const schedules = ["cuda:sm_80", "cuda:sm_90a"].flatMap((name) => {
  const target = targetNamed(name);
  const tiers = tiersOf(target.scheduleOf("topk", preset("v3.2")), "topk", name);
  return tiers.map((tier) => [tier.name === undefined ? name : `${name} ${tier.name}`, target, tier.name] as const);
});

describe.each(schedules)("%s", (_, target, tier) => {
  test.each<[number, ScoreKind]>([
    [1023, "normal"],
    [4096, "normal"],
    [4096, "runs"],
    [4095, "quantised"],
    [4096, "hotSpan"],
    [2048, "reluPlateauBelow"],
  ])("%i of 2^20, %s", async (k, kind) => {
    const spec = specOf(k);
    const { schedule } = tiersOf(target.scheduleOf("topk", spec), "topk", target.name).find(({ name }) => name === tier)!;
    const { buffers, dims, judge } = topKCheck.prepare(spec, { queries: 1, tokens: 2 ** 20 - 3, kind, windows: "causalTail", unseen: "nan", gap: 0, seed: 7 });
    const executor = eagerExecutor(topK(spec), schedule.tune ?? {});
    expect(judge(await executor.run(buffers, dims), executor).failure).toBeUndefined();
  });
});

describe.each(defaultTargets)("every text for %s fits", (target) => {
  test.each([1000, 1023, 4096])("k = %i", async (k) => {
    for (const { manifest } of await compileTiers({ ...textOf("topk_slots"), spec: specOf(k), target }))
      expect(manifest.sharedBytes).toBeLessThanOrEqual(targetNamed(target).machine.maxSharedBytes);
  });
});
