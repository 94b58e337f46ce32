/** On-demand builds of the addon, with a compiler that is a shell script. */
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { buildAddon } from "../../../../targets/cuda/runtime/build.ts";

let folder: string;
let into: string;
const compilerBefore = process.env.CXX;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tokensieve-build-"));
  into = join(folder, "build");
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  if (compilerBefore === undefined) delete process.env.CXX;
  else process.env.CXX = compilerBefore;
});

/** Makes `script` the compiler; it counts its runs in the file "runs". The last argument is the output. */
function useCompiler(script: string): void {
  const path = join(folder, "cxx");
  writeFileSync(path, `#!/bin/sh\necho run >>${folder}/runs\nfor out; do :; done\n${script}\n`);
  chmodSync(path, 0o755);
  process.env.CXX = path;
}
const runs = (): number => readFileSync(join(folder, "runs"), "utf8").split("\n").length - 1;

test("builds once and then takes what is there", async () => {
  useCompiler("echo built >$out");
  const path = await buildAddon(into);
  expect(await buildAddon(into)).toBe(path);
  expect(runs()).toBe(1);
  expect(readdirSync(into)).toEqual([path.split("/").at(-1)]);
});

test("builds side by side never show half a file", async () => {
  useCompiler("echo half >$out; sleep 0.1; echo whole >>$out");
  const builds = [buildAddon(into), buildAddon(into), buildAddon(into)];
  const name = (await buildAddon(into)).split("/").at(-1)!;
  expect(readFileSync(join(into, name), "utf8")).toBe("half\nwhole\n");
  await Promise.all(builds);
  expect(readdirSync(into)).toEqual([name]);
});

test("a failed build shows the compiler's words and leaves nothing", async () => {
  useCompiler("echo half >$out; echo 'addon.cc:1: planted' >&2; exit 1");
  await expect(buildAddon(into)).rejects.toThrow(/could not build the CUDA addon:\naddon.cc:1: planted/);
  expect(readdirSync(into)).toEqual([]);
});

test("without a compiler it says which was looked for", async () => {
  process.env.CXX = "/nowhere/g++";
  await expect(buildAddon(into)).rejects.toThrow(/"\/nowhere\/g\+\+" was not found\n {2}try: install g\+\+/);
  expect(existsSync(into) && readdirSync(into)).toEqual([]);
});
