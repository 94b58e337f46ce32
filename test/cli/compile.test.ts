/** `compile`: what it writes, when it writes nothing, and what --check finds. */
import { createHash } from "node:crypto";
import { appendFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { destination } from "../../compiler/cli/compile.ts";
import type { Entry } from "../../compiler/cli/generate.ts";
import { textOf } from "../../compiler/cli/jobs.ts";
import { kernels, type KernelName } from "../../dsl/kernels/index.ts";
import { cli, contents, root, scratchFolder, start, writeKernel } from "./helpers.ts";

/** The smallest request for kernels of dsl/kernels. */
const few = ["compile", "--preset", "v4-flash", "--target", "wgsl"];

test("texts, manifests and an index with their hashes", async () => {
  const out = scratchFolder();
  const { code, stdout } = await cli(...few, "--out", out);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^5 kernels in .*, 11 of 11 files changed, [\d.]+ s\n$/);

  const files = contents(out);
  const index = JSON.parse(files["manifest.json"]!) as { kernels: Entry[] };
  const names = ["check_selection", "indexer_logits", "paged_indexer_logits", "sparse_mla", "topk"];
  expect(index.kernels.map((k) => k.text)).toEqual(names.map((name) => `${name}/wgsl/v4-flash.wgsl`));
  const sha256 = (path: string): string => createHash("sha256").update(files[path]!).digest("hex");
  for (const k of index.kernels) {
    expect([k.textSha256, k.manifestSha256]).toEqual([sha256(k.text), sha256(k.manifest)]);
    const manifest = JSON.parse(files[k.manifest]!) as { file: string; sha256: string };
    expect(manifest).toMatchObject({ file: "v4-flash.wgsl", sha256: k.textSha256 });
    expect(Object.keys(manifest)).toEqual(Object.keys(manifest).sort());
  }
  for (const text of Object.values(files)) expect(text).not.toContain(root); // nothing of this machine
});

test("an unchanged folder is not touched, and other specs stay in the index", async () => {
  const out = scratchFolder();
  await cli(...few, "--out", out);
  expect((await cli(...few, "--out", out)).stdout).toMatch(/, 0 of 11 files changed/);
  await cli(...few, "--set", "topK=100", "--out", out);
  expect(JSON.parse(readFileSync(join(out, "manifest.json"), "utf8")).kernels).toHaveLength(13);
  expect((await cli(...few, "--out", out, "--check")).code).toBe(0);
});

describe("--check", () => {
  test.each([
    ["a changed byte", (out: string) => appendFileSync(join(out, "topk/wgsl/v4-flash.wgsl"), " "), "topk/wgsl/v4-flash.wgsl differs"],
    ["an empty file", (out: string) => writeFileSync(join(out, "topk/wgsl/v4-flash.wgsl"), ""), "topk/wgsl/v4-flash.wgsl differs"],
    ["an index from elsewhere", (out: string) => writeFileSync(join(out, "manifest.json"), "{}"), "is not an index"],
  ])("finds %s", async (_, change, said) => {
    const out = scratchFolder();
    await cli(...few, "--out", out);
    change(out);
    const before = contents(out);
    const { code, stdout, stderr } = await cli(...few, "--out", out, "--check");
    expect(code).toBe(1);
    expect(stdout + stderr).toContain(said);
    expect(contents(out)).toEqual(before);
  });

  test("finds all that is missing, and says how to mend it", async () => {
    const { code, stdout, stderr } = await cli(...few, "--out", join(scratchFolder(), "none"), "--check");
    expect(code).toBe(1);
    expect(stdout.match(/ is missing$/gm)).toHaveLength(11);
    expect(stderr).toContain("11 files of ");
    expect(stderr).toContain("try: `npm run compile`");
  });
});

test("--json says what was compiled", async () => {
  const out = scratchFolder();
  const { stdout } = await cli(...few, "--out", out, "--json");
  const { folder, kernels, changed } = JSON.parse(stdout) as { folder: string; kernels: unknown[]; changed: string[] };
  expect(folder).toBe(out);
  expect([kernels.length, changed.length]).toEqual([5, 11]);
});

describe("FILE", () => {
  test("compiles to dist/kernels by default, or where --out says", async () => {
    const folder = scratchFolder();
    const file = writeKernel(folder);
    const { code, stdout } = await cli("compile", file, "--target", "wgsl,cuda:sm_89", "--out", join(folder, "out"));
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^2 kernels/) });
    expect(Object.keys(contents(join(folder, "out")))).toEqual([
      ...["doubled/cuda-sm_89/doubled.cu", "doubled/cuda-sm_89/doubled.manifest.json"],
      ...["doubled/wgsl/doubled.manifest.json", "doubled/wgsl/doubled.wgsl", "manifest.json"],
    ]);
    expect(destination([file], { target: ["wgsl"] })).toEqual({ folder: join(root, "dist/kernels"), complete: false });
  });

  test("a file's own tiers: a text for each, verified each", async () => {
    const folder = scratchFolder();
    const file = writeKernel(folder, "doubled.mts");
    appendFileSync(file, 'export const schedules = { doubled: { wgsl: [{ name: "small", when: { N: { atMost: 64 } }, schedule: { threads: 32 } }, { schedule: { threads: 64 } }] } };\n');
    const out = join(folder, "out");
    expect((await cli("compile", file, "--target", "wgsl", "--out", out)).stdout).toMatch(/^2 kernels/);
    const index = JSON.parse(readFileSync(join(out, "manifest.json"), "utf8")) as { kernels: Entry[] };
    expect(index.kernels.map(({ text, tier }) => [text, tier])).toEqual([["doubled/wgsl/doubled.small.wgsl", "small"], ["doubled/wgsl/doubled.wgsl", undefined]]);
    expect(contents(out)["doubled/wgsl/doubled.small.wgsl"]).toContain("@workgroup_size(32");
    const verified = await cli("verify", file, "--device", "interp", "--target", "wgsl", "--runs", "2");
    expect(verified.stdout).toMatch(/\ndoubled\.small .*\ndoubled +loop wgsl/);
  });

  test("a mistake in it writes nothing and shows the line", async () => {
    const folder = scratchFolder();
    const out = join(folder, "out");
    await cli("compile", writeKernel(folder), "--target", "wgsl", "--out", out);
    const before = contents(out);
    const files = [writeKernel(folder), writeKernel(folder, "other.ts", { source: "nothing" })];
    const { code, stderr } = await cli("compile", ...files, "--target", "wgsl", "--out", out);
    expect(code).toBe(1);
    expect(stderr).toMatch(/other\.ts:8:\d+: E-[^]*nothing[^]*~~~/);
    expect(contents(out)).toEqual(before);
  });

  test("two kernels of one name are refused", async () => {
    const folder = scratchFolder();
    const files = [writeKernel(folder), writeKernel(folder, "other.ts")];
    const { code, stderr } = await cli("compile", ...files, "--out", join(folder, "out"));
    expect(code).toBe(1);
    expect(stderr).toMatch(/two of these files export a kernel called "doubled"/);
  });
});

test("the default request covers all of generated/, any other does not", () => {
  const target = ["cuda:sm_80", "cuda:sm_90a", "wgsl"];
  const generated = join(root, "generated");
  expect(destination([], { target })).toEqual({ folder: generated, complete: true });
  expect(destination([], { target: ["wgsl"] })).toEqual({ folder: generated, complete: false });
  expect(destination([], { target, preset: ["glm-5"] })).toEqual({ folder: generated, complete: false });
  expect(destination([], { target, set: { topK: "9" } })).toEqual({ folder: join(root, "dist/kernels"), complete: false });
});

test("the compiler reads the texts that dsl/kernels exports", async () => {
  for (const name of Object.keys(kernels) as KernelName[]) {
    const { file, exportName } = textOf(name);
    const module = (await import(file)) as Record<string, unknown>;
    expect(module[exportName], name).toBe(kernels[name]);
  }
});

test("Ctrl-C while it compiles leaves the folder as it was", async () => {
  const out = scratchFolder();
  await cli(...few, "--out", out);
  const before = contents(out);
  const running = start(join(root, "scripts/run.mjs"), ["compile", "--preset", "v4-flash", "--set", "topK=64", "--out", out]);
  await running.until(/\[1\//);
  running.child.kill("SIGINT");
  expect(await running.ended).toBe("SIGINT");
  expect(contents(out)).toEqual(before);
  expect(readdirSync(out).filter((name) => name.startsWith("."))).toEqual([]);
});

test("DSA_TRACE=passes leaves the program after every pass and a page", async () => {
  const out = scratchFolder();
  const trace = join(root, "generated/.trace/doubled");
  onTestFinished(() => rmSync(trace, { recursive: true, force: true }));
  vi.stubEnv("DSA_TRACE", "passes");
  onTestFinished(() => void vi.unstubAllEnvs());
  expect((await cli("compile", writeKernel(out), "--target", "wgsl", "--out", join(out, "made"))).code).toBe(0);
  expect(readdirSync(join(trace, "wgsl"))).toEqual(["00-readKernel.txt", "01-dropDead.txt", "02-shareRegisters.txt", "03-plan.txt", "04-lower.txt", "05-insertBarriers.txt", "index.html"]);
});
