/** The price of a token: the paper's figure from its rates, and what other rates and specs make of it. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { crossover, models, type Phase, type Rates, timeOf } from "../../bench/price/model.ts";
import { paperRates, ratesOfReport, rooflineRates } from "../../bench/price/rates.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import { cli, scratchFolder } from "../cli/helpers.ts";

const v32 = preset("v3.2");
const model = models["v3.2"]!;
const dollarsAt = (phase: Phase, context: number): { dense: number; sparse: number } => {
  const { dense, sparse } = timeOf(phase, v32, model, paperRates, context);
  return { dense: (1e6 * dense * 2) / 3600, sparse: (1e6 * sparse * 2) / 3600 };
};

describe("figure 3 of the DeepSeek-V3.2-Exp report, at 2 dollars an hour", () => {
  test.each([
    ["prefill", 0, 0.0529, 0.0611],
    ["prefill", 4, 0.072, 0.0847],
    ["prefill", 6.588, 0.0844, 0.0999],
    ["prefill", 16, 0.1295, 0.1067],
    ["prefill", 64, 0.3593, 0.1412],
    ["prefill", 128, 0.6657, 0.1871],
    ["decode", 0, 0.0705, 0.0951],
    ["decode", 2, 0.1031, 0.1457],
    ["decode", 8, 0.2007, 0.1506],
    ["decode", 64, 1.1124, 0.1965],
    ["decode", 128, 2.1542, 0.2491],
  ] as const)("%s at %dK", (phase, thousands, dense, sparse) => {
    const found = dollarsAt(phase, 1024 * thousands);
    expect(found.dense / dense).toBeCloseTo(1, 2);
    expect(found.sparse / sparse).toBeCloseTo(1, 2);
  });

  test("curves cross where the figure's do", () => {
    const of = (phase: Phase): number | undefined => crossover(phase, v32, model, paperRates, 131072);
    expect(of("prefill")! / 1024).toBeCloseTo(10.4, 1);
    expect(of("decode")! / 1024).toBeCloseTo(4.76, 1);
  });

  test("short prefill multiplies in expanded heads up to the figure's knee", () => {
    const isMasked = (context: number): boolean => timeOf("prefill", v32, model, paperRates, context).stages.masked > 0;
    expect([6700, 6800].map(isMasked)).toEqual([true, false]);
  });
});

describe("what a spec changes", () => {
  const bytes = (dsa = v32, context = 65536) => timeOf("decode", dsa, { layers: 1, selectingLayers: 1, head: model.head }, onlyBytes, context).stages;
  const second = { bytes: 1, from: "a byte a second" };
  const ofPhase = { dense: second, masked: second, scores: second, select: second, sparse: second };
  const onlyBytes: Rates = { prefill: ofPhase, decode: ofPhase };

  test("bytes of a decoded token", () => {
    expect(bytes()).toEqual({ dense: 656 * 65536, masked: 0, scores: 132 * 65536 + 4 * 65536, select: 4 * 65536 + 4 * 2048, sparse: 656 * 2048 });
    expect(bytes(withSettings(v32, { indexDtype: "bf16", logitsDtype: "bf16" })).scores).toBe(260 * 65536 + 2 * 65536);
    expect(bytes(v32, 1000).sparse).toBe(656 * 1000);
  });

  test("tokens that are decoded together share keys and dense records, not what they selected", () => {
    const [one, two] = [bytes(), bytes(withSettings(v32, { nextN: "2" }))];
    expect(two).toEqual({ ...one, dense: one.dense / 2, scores: 66 * 65536 + 4 * 65536 });
  });

  test("layers that use the indices of others neither score nor select", () => {
    const time = (name: string) => timeOf("decode", preset(name), models[name]!, rooflineRates(preset(name)), 65536).stages;
    const [own, shared] = [time("glm-5"), time("glm-5.2")];
    expect(shared.scores / own.scores).toBeCloseTo(1 / 4, 12);
    expect(shared.select / own.select).toBeCloseTo(1 / 4, 12);
    expect(shared.sparse).toBe(own.sparse);
  });

  test("keys of bf16 have the tensor cores' rate of bf16", () => {
    expect(rooflineRates(withSettings(v32, { indexDtype: "bf16" })).prefill.scores.flops).toBe(rooflineRates(v32).prefill.sparse.flops);
  });
});

const outcome = (problem: string, label: string, tflops: number | null, terabytes: number, spec = "v3.2") => ({ problem, label, spec, target: "cuda:sm_90a", tflops, terabytes });
const report = {
  format: 1,
  device: "NVIDIA H200",
  date: "2026-11-22T12:00:00.000Z",
  outcomes: [
    outcome("indexer_logits", "S=2048 N=8192", 1100, 0.5),
    outcome("indexer_logits", "S=2048 N=65536", 1200, 0.4),
    outcome("indexer_logits", "S=2048 N=65536 indexerHeads=8", 9999, 0.4, "v3.2+indexerHeads=8"),
    outcome("paged_indexer_logits", "B=128 N=32768", 500, 4),
    outcome("topk", "R=4096 N=32768", null, 2.5),
    outcome("topk", "R=128 N=131072", null, 2.75),
    { problem: "sparse_mla", label: "S=4096 N=8192", spec: "v3.2", target: "cuda:sm_90a", failed: "idx is wrong" },
  ],
};

test("rates of a report: the best of each stage, the paper's where it has none", () => {
  const { prefill, decode } = ratesOfReport(JSON.stringify(report), v32);
  expect(prefill.scores).toEqual({ flops: 1.2e15, from: "indexer_logits S=2048 N=65536 on NVIDIA H200, 2026-11-22" });
  expect([prefill.select.bytes, decode.select.bytes, decode.scores.bytes]).toEqual([2.5e12, 2.75e12, 4e12]);
  expect([prefill.sparse, decode.sparse, prefill.dense]).toEqual([paperRates.prefill.sparse, paperRates.decode.sparse, paperRates.prefill.dense]);
  expect(ratesOfReport(JSON.stringify(report), withSettings(v32, { indexerHeads: "8" })).prefill.scores.flops).toBe(9.999e15);
});

describe("npm run cost", () => {
  test("prints what the paper's rates give", async () => {
    const { code, stdout } = await cli("cost", "--context", "131072", "--context", "4096");
    expect(code).toBe(0);
    await expect(stdout).toMatchFileSnapshot("golden/cost.txt");
  });

  test("a drawing", async () => {
    const file = join(scratchFolder(), "cost.svg");
    expect((await cli("cost", "--svg", file)).code).toBe(0);
    await expect(readFileSync(file, "utf8")).toMatchFileSnapshot("golden/cost.svg");
  });

  test("a report, another price, JSON", async () => {
    const file = join(scratchFolder(), "bench.json");
    writeFileSync(file, JSON.stringify(report));
    const { code, stdout } = await cli("cost", "--rates", file, "--gpu-hour", "3", "--json", "-");
    expect(code).toBe(0);
    const { prices, rates, gpuHour } = JSON.parse(stdout) as { prices: { phase: string; dense: { dollars: number; seconds: number } }[]; rates: Rates; gpuHour: number };
    expect(gpuHour).toBe(3);
    expect(rates.prefill.scores.flops).toBe(1.2e15);
    for (const { dense } of prices) expect(dense.dollars).toBeCloseTo(dense.seconds / 1200, 12);
  });

  test.each([
    [["--preset", "v4-flash"], /the layers of v4-flash are not known\n {2}try: one of the presets "v3\.2", "glm-5", "glm-5\.2"/],
    [["--preset", "v3.2", "--preset", "glm-5"], /cost takes one --preset/],
    [["--rates", "no/such.json"], /--rates no\/such\.json: there is no such file\n {2}try: paper, roofline/],
    [["--rates", "README.md"], /--rates README\.md: it is not JSON/],
    [["--rates", "package.json"], /--rates package\.json: it is no report of bench: format: /],
    [["--gpu-hour", "free"], /"free" is not an amount of dollars/],
    [["--context", "0"], /A token sees itself at least/],
  ])("%j is a wrong command line", async (args, message) => {
    const { code, stderr, stdout } = await cli("cost", ...args);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});
