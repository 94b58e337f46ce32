/** `verify`, `test-gpu`, `explain` and `doctor`: what they say, to people and to machines. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { examine, type Finding } from "../../compiler/cli/doctor.ts";
import { largestThat } from "../../compiler/cli/explain.ts";
import { passed, printOutcomes, requirePassed } from "../../compiler/cli/outcomes.ts";
import type { Outcome } from "../../compiler/cli/tasks.ts";
import { replayKernel } from "../../verify/replay.ts";
import { cli, root, scratchFolder, start, writeKernel } from "./helpers.ts";

const tiny = ["--set", "topK=12", "--set", "heads=4", "--set", "indexerHeads=4", "--set", "indexerDim=32", "--runs", "1"];

test("verify on the software adapter: a table, JSON, exit code 0", async () => {
  const folder = scratchFolder();
  const json = join(folder, "report.json");
  const table = await cli("verify", "--device", "software", "--kernel", "topk", ...tiny, "--json", json);
  expect(table.code, table.stderr).toBe(0);
  expect(table.stdout).toMatch(/^kernel +spec +target +device +cases +worst error \/ budget +launches\n/);
  expect(table.stdout).toMatch(/\ntopk +v3\.2\+topK=12.* wgsl +swiftshader\S* +\d+ +0\.0 +20 equal\n/);

  const piped = await cli("verify", "--device", "software", "--kernel", "topk", ...tiny, "--json", "-");
  expect(JSON.parse(piped.stdout)).toMatchObject([{ kernel: "topk", target: "wgsl", launches: 20, launchesEqual: true }]);
});

test("verify --sweep: the kernels that select, each k; not for files or programs", async () => {
  const { code, stdout, stderr } = await cli("verify", "--sweep", "--device", "interp", "--target", "wgsl", "--kernel", "topk", "--kernel", "sparse_mla", "--set", "topK=3");
  expect(code, stderr).toBe(0);
  expect(stdout).toMatch(/\ntopk +v3\.2\+topK=3 +loop wgsl +CPU +\d{3} +0\.0 +–\n$/);
  const all = await cli("verify", "--sweep", "--device", "interp", "--tier", "none", "--kernel", "topk");
  expect(all.stderr).toContain("v3.2+topK=1, v3.2+topK=3, v3.2+topK=8, v3.2+topK=512, v3.2+topK=1000, v3.2+topK=1024, v3.2+topK=2048, v3.2+topK=4096");
  expect(await cli("verify", "--sweep", "--program", "replay")).toMatchObject({ code: 2, stderr: expect.stringContaining("--sweep is for kernels of dsl/kernels") as string });
});

test("verify of one tier: its name in the table, the report and the replay", async () => {
  const folder = scratchFolder();
  const json = join(folder, "report.json");
  const short = ["verify", "--device", "interp", "--target", "cuda:sm_90a", "--kernel", "topk", "--tier", "short", ...tiny];
  const { code, stdout, stderr } = await cli(...short, "--json", json);
  expect(code, stderr).toBe(0);
  expect(stdout).toMatch(/\ntopk\.short +v3\.2\+topK=12.* loop cuda:sm_90a /);
  expect(JSON.parse(readFileSync(json, "utf8"))).toMatchObject([{ kernel: "topk", tier: "short", worst: 0 }]);
  expect(replayKernel("topk", "v3.2+topK=12", "cuda:sm_90a", { tier: "short", seed: 1, path: "3:0", runs: 20 })).toBe(
    "npm run verify -- --kernel topk --preset v3.2 --set topK=12 --target cuda:sm_90a --tier short --runs 20 --seed 1 --path 3:0",
  );
});

test("verify of anybody's file, in a process of its own", async () => {
  const verify = async (name: string): Promise<[unknown, string]> => {
    const running = start(join(root, "scripts/run.mjs"), ["verify", writeKernel(scratchFolder(), name), "--device", "software", "--runs", "2"]);
    return [await running.ended, running.output()];
  };
  const [code, output] = await verify("doubled.mts");
  expect(code, output).toBe(0);
  expect(output).toMatch(/^doubled +wgsl +swiftshader/m);

  const [refused, reason] = await verify("doubled.ts"); // no package.json says that it is a module
  expect(refused).toBe(1);
  expect(reason).toMatch(/doubled\.ts cannot be imported: .*\n {2}try: a kernel file is an ES module: name it \.mts/);
});

test("verify without the device that was asked for", async () => {
  const { code, stderr } = await withEnv({ TOKENSIEVE_LIBCUDA: "/nonexistent/libcuda.so" }, () => cli("verify", "--device", "cuda"));
  expect(code).toBe(1);
  expect(stderr).toMatch(/libcuda\.so[^]*\n {2}try: /);
});

test("test-gpu fails where no GPU is, and says what is missing", async () => {
  const nowhere = { TOKENSIEVE_LIBCUDA: "/nonexistent/libcuda.so", VK_DRIVER_FILES: "/nonexistent/driver.json" };
  const { code, stdout, stderr } = await withEnv(nowhere, () => cli("test-gpu", "--json", "-"));
  expect(code).toBe(1);
  const { reports, absent } = JSON.parse(stdout) as { reports: unknown[]; absent: string[] };
  expect([reports.length, absent.length]).toEqual([0, 2]);
  expect(stderr).toContain("test-gpu did not run on all that it is for");
});

test("a wrong kernel, one that does not load, and launches that differ are failures with a reason", async () => {
  const good = { kernel: "topk", spec: "v3.2", target: "wgsl", device: "GPU", seed: 1, cases: 9, cells: 90, worst: 0.5, launches: 20, launchesEqual: true };
  const at = { seed: 1, path: "3:0", shape: { queries: 1 } };
  const outcomes: Outcome[] = [
    good,
    { ...good, kernel: "wrong", worst: 7, failed: { ...at, message: "idx[q 0, j 3] is 5", replay: "npm run verify -- --kernel wrong" } },
    { ...good, kernel: "unsteady", launchesEqual: false },
    { kernel: "refused", spec: "v3.2", target: "wgsl", device: "GPU", refused: "needs more than there is" },
  ];
  expect(outcomes.map(passed)).toEqual([true, false, false, false]);
  expect(() => requirePassed(outcomes)).toThrow("3 of 4 kernels failed: wrong on wgsl, unsteady on wgsl, refused on wgsl");
  const lines: string[] = [];
  const { log } = console;
  console.log = (line: string) => void lines.push(line);
  onTestFinished(() => void (console.log = log));
  printOutcomes(outcomes);
  const text = lines.join("\n");
  expect(text).toContain("wrong on wgsl FAILED: idx[q 0, j 3] is 5\n");
  expect(text).toContain('  smallest case: {"queries":1}\n  replay: npm run verify -- --kernel wrong');
  expect(text).toContain("unsteady on wgsl FAILED: 20 launches of one case left different bits");
  expect(text).toContain("refused on wgsl FAILED: needs more than there is");
});

test("explain: threads, memory, work and plan", async () => {
  const { code, stdout } = await cli("explain", "sparse_mla", "wgsl", "--preset", "glm-5", "--dim", "Q=3", "--dim", "T=1000");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^sparse_mla, glm-5, wgsl: dsl\/kernels\/sparse_mla\.ts:\d+\nthreads of a block: \d+\nblocks: \d+ = /);
  expect(stdout).toMatch(/shared memory of a block: \d+ of 16384 bytes/);
  expect(stdout).toMatch(new RegExp(`kv +in +${(1000 - 1) * 2 * 576 + 2 * 576} = `)); // the pitch defaults to packed
  expect(stdout).toMatch(/work of a block\nbytes loaded .*\n(.*\n)+.*each jb/);
  expect(stdout).toMatch(/\nplan sparse_mla, \d+ threads/);
});

test("explain of a kernel with tiers: which there are, and which text is shown", async () => {
  const shown = async (...args: string[]): Promise<string> => (await cli("explain", "topk", "cuda:sm_90a", ...args)).stdout;
  const bySizes = await shown("--dim", "Q=4096", "--dim", "T=8192");
  expect(bySizes).toMatch(/\ntexts by tier; a launch takes the first that fits it\ntier +launches\n/);
  expect(bySizes).toMatch(/\nshort +T <= \d+ +shown here\nlong +T >= \d+ *\n– +all others\nthreads of a block: 256\n/);
  expect(await shown("--tier", "wave", "--dim", "Q=4096")).toMatch(/\nwave +Q <= \d+ +shown here\n/);
  expect(await shown("--dim", "T=9")).toMatch(/\n– +all others +shown here\n/); // nobody says how many rows
  expect(await shown("--case", "R=128 N=32768")).toMatch(/\nwave +Q <= \d+ +shown here\n/);
  const wrong = await cli("explain", "topk", "cuda:sm_90a", "--tier", "waves");
  expect(wrong.code).toBe(2);
  expect(wrong.stderr).toMatch(/topk has no tier "waves" on cuda:sm_90a\n {2}try: one of: .*wave/);
});

test("explain of a program: the formula of its chunks, their figures, what they launch", async () => {
  const { code, stdout } = await cli("explain", "streaming_topk", "cuda:sm_90a", "--dim", "Q=2048", "--dim", "T=131072");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^streaming_topk, v3\.2, cuda:sm_90a: indexer_logits, then topk, on one chunk of q after another\nbytes of scratch for each q: \(logitsPitch \* 4\)/);
  expect(stdout).toContain("q of a chunk: floor(64000000 / those bytes), rounded down to a multiple of 4; all of them where they fit\n");
  expect(stdout).toMatch(/\nQ 2048: 18 chunks of 120, the last of 8; 524288 bytes for each\nscratch +bytes\nlogits +62914560\n/);
  expect(stdout).toMatch(/\nindexer_logits +– .*\ntopk +longwave +1024 .*120 = Q\n/);
  expect((await cli("explain", "streaming_topk", "wgsl")).stdout).toContain("a multiple of 64; all of them where they fit\nfigures need --dim Q=…\n");

  const small = await cli("explain", "streaming_topk", "wgsl", "--dim", "Q=70", "--dim", "T=131072", "--scratch", "1000000");
  expect([small.code, small.stderr]).toEqual([1, expect.stringContaining("allow 33554432 bytes of scratch or more")]);
  expect((await cli("explain", "topk", "wgsl", "--scratch", "9")).code).toBe(2);
  expect((await cli("explain", "streaming_topk", "wgsl", "--tier", "wave")).code).toBe(2);
});

test("explain: cost and roofline of a case, with what the case changes in the spec", async () => {
  const { code, stdout } = await cli("explain", "indexer_logits", "wgsl", "--case", "S=20 N=300 indexerHeads=8", "--set", "indexerDim=32");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^indexer_logits, v3\.2\+indexerHeads=8\+indexerDim=32, wgsl/);
  expect(stdout).toMatch(/\ncost of a launch at S=20 N=300 indexerHeads=8, /);
  const pairs = Array.from({ length: 20 }, (_, t) => 300 - 20 + t + 1).reduce((sum, n) => sum + n, 0);
  expect(stdout).toMatch(new RegExp(`\nproducts that the result needs +${2 * pairs * 8 * 32} FLOP\n`));
  expect(Number(/\nproducts in e4m3 +(\d+) FLOP/.exec(stdout)?.[1])).toBeGreaterThanOrEqual(2 * pairs * 8 * 32);
  expect(stdout).toMatch(new RegExp(`\nread of k +${300 * 32} bytes\n`));
  expect(stdout).toMatch(/\nroofline: [\d.]+ µs, bound by (products|memory), at 4\.39 TB\/s and 1429 \(e4m3\) or 772 \(bf16\) TFLOPS/);

  const several = await cli("explain", "topk", "wgsl", "--case", "N=32768");
  expect(several.code).toBe(2);
  expect(several.stderr).toMatch(/\d+ cases of topk have the words "N=32768"\n {2}try: one of: .*R=1 N=131072; /);
});

test("explain of a plan with roles: who has which warps and registers, what travels through which ring, what barriers count", async () => {
  const { code, stdout } = await cli("explain", "paged_indexer_logits", "cuda:sm_90a", "--dim", "B=3");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^role +first warp +warps +copies +registers +duty\nmath +0 +8 +2 +224 +compute\nproducer +8 +4 +4 +56 +copy\n/m);
  expect(stdout).toMatch(/^ring +slots +bytes of a fill +tiles +header\nqueries +2 +\d+ +q, qScale, w +b, i_from, i_to\npages +8 +8448 +k, kScale +none\n/m);
  expect(stdout).toMatch(/^offset +slots +arrivals +barrier +ends when\n *\d+ +2 +1 +queries_full +.*\n *\d+ +2 +8 +queries_empty .*\n *\d+ +8 +1 +pages_full .*\n *\d+ +8 +4 +pages_empty /m);
  expect(stdout).toMatch(/\nrole producer, 4 warps in 4 copies, 56 registers a thread\n/);
});

test("explain of what does not fit: the error, and the largest value that does", async () => {
  const at = (pageTokens: number): Promise<{ code: number; stderr: string }> =>
    cli("explain", "paged_indexer_logits", "cuda:sm_80", "--set", `pageTokens=${pageTokens}`, "--set", "indexerHeads=16");
  const { code, stderr } = await at(8192);
  expect(code).toBe(1);
  expect(stderr).toContain("E-FIT-01 paged_indexer_logits needs ");
  const largest = Number(/the largest pageTokens that compiles here is (\d+)/.exec(stderr)?.[1]);
  expect(largest).toBeGreaterThan(64);
  expect((await at(largest)).code).toBe(0);
  expect((await at(largest + 1)).code).toBe(1);
});

test.each([
  [0, 10, undefined],
  [1, 10, 1],
  [7, 10, 7],
  [10, 10, 10],
  [99, 10, 10],
  [1, 0, undefined],
])("the largest number up to %i, of %i: %s", async (limit, most, expected) => {
  expect(await largestThat(async (n) => n <= limit, most)).toBe(expected);
});

test("doctor tells each thing's state, a reason and a hint for what is missing, as JSON too", async () => {
  const { code, stdout } = await cli("doctor", "--json");
  expect(code).toBe(0);
  const findings = JSON.parse(stdout) as Finding[];
  const things = ["Node", "package webgpu", "nvcc", "CUDA", "WebGPU, hardware", "WebGPU, software"];
  expect(findings.map((f) => f.what)).toEqual(expect.arrayContaining(things));
  for (const { what, ok, found, reason, hint } of findings) expect(ok ? found : reason && hint, what).toBeTruthy();
});

test("doctor never throws, whatever the machine is like", async () => {
  const folder = scratchFolder();
  writeFileSync(join(folder, "nvcc"), "not a program");
  chmodSync(join(folder, "nvcc"), 0o755);
  const noLibrary = join(folder, "nvcc");
  const broken = { PATH: folder, CUDA_HOME: folder, TOKENSIEVE_LIBCUDA: noLibrary, VK_DRIVER_FILES: noLibrary, HOME: "/nonexistent" };
  const findings = await withEnv(broken, examine);
  const doesNotRun = { ok: false, reason: expect.stringContaining("does not run"), hint: expect.any(String) };
  expect(findings.find((f) => f.what === "nvcc")).toMatchObject(doesNotRun);
  expect(findings.find((f) => f.what === "CUDA")).toMatchObject({ ok: false, hint: expect.any(String) });
});

async function withEnv<T>(env: Readonly<Record<string, string>>, work: () => Promise<T>): Promise<T> {
  const saved = Object.keys(env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, env);
  try {
    return await work();
  } finally {
    for (const [name, value] of saved) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}
