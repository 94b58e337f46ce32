import { describe, expect, test } from "vitest";
import { kernels, kernelsOf } from "../../dsl/kernels/index.ts";
import { preset, presets } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import { scores } from "../../dsl/kernels/spec.ts";

describe("presets", () => {
  test("the figures of their sources", () => {
    const figures = Object.values(presets).map((s) => [s.name, s.topK, s.indexerHeads, s.indexerDim, s.heads, s.dV, s.dRope, s.sink]);
    expect(figures).toEqual([
      ["v3.2", 2048, 64, 128, 128, 512, 64, false],
      ["glm-5", 2048, 32, 128, 64, 512, 64, false],
      ["glm-5.2", 2048, 32, 128, 64, 512, 64, false],
      ["v4-flash", 512, 64, 128, 64, 512, 0, true],
      ["longcat-flash-lite", 2048, 16, 128, 32, 512, 64, false],
    ]);
    expect(preset("v3.2").smScale).toBeCloseTo(0.1352338, 7);
  });
  test("an unknown name lists the known ones", () => {
    expect(() => preset("v3")).toThrow(
      'no preset is called "v3". The presets are "v3.2", "glm-5", "glm-5.2", "v4-flash", "longcat-flash-lite".',
    );
    expect(() => preset("glm5")).toThrow('Did you mean "glm-5"?');
  });
  test("decode needs RoPE columns behind the latents, in whole scale groups", () => {
    expect(kernelsOf(preset("v3.2"))).toEqual([
      "indexer_logits",
      "paged_indexer_logits",
      "topk",
      "topk_window",
      "topk_ragged",
      "topk_slots",
      "check_selection",
      "sparse_mla",
      "sparse_mla_decode",
      "sparse_mla_combine",
    ]);
    expect(kernelsOf(preset("v4-flash"))).toEqual([
      "indexer_logits",
      "paged_indexer_logits",
      "topk",
      "topk_window",
      "topk_ragged",
      "topk_slots",
      "check_selection",
      "sparse_mla",
    ]);
    expect(kernelsOf({ ...preset("v3.2"), dV: 500 })).not.toContain("sparse_mla_decode");
  });
  test("every kernel of every preset can be declared, under its own name", () => {
    for (const spec of Object.values(presets)) for (const name of kernelsOf(spec)) expect(kernels[name](spec).name).toBe(name);
  });
});

describe("withSettings", () => {
  const v32 = preset("v3.2");
  test("replaces fields and says so in the name", () => {
    expect(withSettings(v32, {})).toEqual(v32);
    const changed = withSettings(v32, {
      topK: "1000",
      indexerHeads: "24",
      score: "softplus",
      indexDtype: "bf16",
      sink: "true",
      smScale: "0.5",
      dRope: "0",
    });
    expect(changed).toEqual({
      ...v32,
      name: "v3.2+topK=1000+indexerHeads=24+score=softplus+indexDtype=bf16+sink=true+smScale=0.5+dRope=0",
      topK: 1000,
      indexerHeads: 24,
      score: scores["softplus"],
      indexDtype: "bf16",
      sink: true,
      smScale: 0.5,
      dRope: 0,
    });
  });
  test.each([
    ["topk", "5", 'a spec has no setting "topk". Did you mean "topK"? The settings are "topK", "indexerHeads"'],
    ["constructor", "5", 'a spec has no setting "constructor". The settings are'],
    ["topK", "0", 'topK=0: "0" is not an integer from 1 on.'],
    ["topK", "1e3", 'topK=1e3: "1e3" is not an integer from 1 on.'],
    ["heads", "", 'heads=: "" is not an integer from 1 on.'],
    ["smScale", "-1", 'smScale=-1: "-1" is not a positive number.'],
    ["smScale", " ", 'smScale= : " " is not a positive number.'],
    ["indexDtype", "fp8", 'indexDtype=fp8: "fp8" is not one of "e4m3", "bf16".'],
    ["score", "gelu", 'score=gelu: "gelu" is not one of "relu", "softplus".'],
    ["score", "toString", 'is not one of "relu", "softplus".'],
    ["sink", "yes", 'sink=yes: "yes" is not one of "true", "false".'],
  ])("%s=%s is refused with the legal values", (key, text, message) => {
    expect(() => withSettings(v32, { [key]: text })).toThrow(message);
  });
});
