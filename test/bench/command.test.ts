/** The command `bench`, on the software adapter and on a fake GPU whose kernels compute nothing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import "../targets/cuda/runtime/fake.ts";
import { expect, test } from "vitest";
import type { BenchReport } from "../../bench/table.ts";
import { cli, scratchFolder } from "../cli/helpers.ts";

const small = ["--kernel", "topk", "--case", "R=2 N=300", "--set", "topK=16"];

test("on the software adapter: a table, JSON and a drawing", async () => {
  const folder = scratchFolder();
  const [json, svg] = [join(folder, "bench.json"), join(folder, "bench.svg")];
  const { code, stdout, stderr } = await cli("bench", "--device", "software", ...small, "--json", json, "--svg", svg);
  expect(code, stderr).toBe(0);
  expect(stdout).toMatch(/^\ntopk\ncase +spec +target +timed +µs +p10 to p90/);
  expect(stdout).toMatch(/\nR=2 N=300 +v3\.2\+topK=16 +wgsl +(timestamp|wall) +[\d.]+ +[\d.]+ to [\d.]+ +–/);
  expect(stdout).toContain("ceilings: not measured");
  const report = JSON.parse(readFileSync(json, "utf8")) as BenchReport;
  expect(report).toMatchObject({ format: 1, driver: null, compiler: null, ceilings: null, device: expect.stringMatching(/swiftshader/) });
  expect(report.outcomes).toMatchObject([
    { problem: "topk", label: "R=2 N=300", check: { cells: 32, worst: 0, equalLaunches: 20 }, tflops: null, roofline: null, anchor: null, sets: 1 },
  ]);
  expect(readFileSync(svg, "utf8")).toContain("topk, v3.2: TB/s over context");
});

test("on a GPU whose results are wrong: no figure, a reason, exit code 1", async () => {
  const { code, stdout, stderr } = await cli("bench", ...small, "--mode", "queued");
  expect(code).toBe(1);
  expect(stdout).toMatch(/topk R=2 N=300, v3\.2\+topK=16, cuda:sm_90a FAILED: idx of q \d+\[j \d+\] is 1515870810, the reference says/);
  expect(stdout).toMatch(/^\nFake H200, driver 570\.12\.3, NVRTC 12\.8, /);
  expect(stdout).toMatch(/ceilings of this run: read .* TB\/s, .*e4m3 .* TFLOPS queued/);
  expect(stdout).not.toContain("µs");
  expect(stderr).toContain("1 of 1 cases have no figure, because they failed");
});

test("a case that the device cannot hold does not keep the others from running", async () => {
  const file = join(scratchFolder(), "bench.json");
  const { code } = await cli("bench", "--kernel", "topk", "--case", "R=1 N=500000", "--case", "R=2 N=300", "--set", "topK=16", "--json", file);
  expect(code).toBe(1);
  const { outcomes } = JSON.parse(readFileSync(file, "utf8")) as BenchReport;
  expect(outcomes).toMatchObject([{ failed: expect.stringContaining("bytes on a device with 1048576") }, { failed: expect.stringContaining("the reference says") }]);
});

test("a program: chunks on the software adapter", async () => {
  const sizes = ["--case", "S=70 N=90 MB=0", "--set", "topK=16", "--set", "indexerHeads=2", "--set", "indexerDim=32"];
  const none = await cli("bench", "--device", "software", "--program", "streaming_topk", ...sizes);
  expect(none.stdout).toMatch(/streaming_topk S=70 N=90 MB=0, .* FAILED: streaming_topk: 0 bytes of scratch hold 0 rows of 384 bytes, and a chunk has 64 at least\n {2}try: allow 24576 bytes/);
});

test("kernels of a file, on the software adapter", async () => {
  const file = join(import.meta.dirname, "../kernels/gemms.ts");
  const { code, stdout, stderr } = await cli("bench", file, "--device", "software", "--dim", "M=40", "--dim", "N=24", "--dim", "K=48");
  expect(code, stderr).toBe(0);
  expect(stdout).toMatch(/\ndenseRelu\ncase .*\nM=40 N=24 K=48 +wgsl /);
  expect(stdout).toMatch(/\ndenseGelu\ncase .*\nM=40 N=24 K=48 +wgsl /);
  expect(stdout).not.toContain("batchedGemm");
});

test.each([
  [["--device", "software", "--mode", "queued"], "--mode is for --device cuda"],
  [["--device", "software", "--target", "cuda:sm_80"], "target cuda:sm_80 does not run on --device software"],
  [["--target", "wgsl"], "target wgsl does not run on --device cuda"],
  [["--kernel", "topk", "--case", "R=3"], "no case fits"],
  [["test/kernels/gemms.ts", "--dim", "M=3", "--device", "software"], "no kernel of test/kernels/gemms.ts has exactly the dims that --dim gives"],
  [["test/kernels/gemms.ts", "--case", "M=3"], "--case, --kernel and --program choose kernels of dsl/kernels, not those of a file"],
  [["--kernel", "sparse_mla_decode", "--preset", "v4-flash", "--device", "software"], "no spec of v4-flash has a kernel of these cases"],
])("%j is a wrong command line", async (args, message) => {
  const { code, stdout, stderr } = await cli("bench", ...args);
  expect(stderr).toContain(message);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
});
