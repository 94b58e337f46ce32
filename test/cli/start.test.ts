/** scripts/run.mjs in a project of its own, with an npm that pretends. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root, scratchFolder, start } from "./helpers.ts";

/** `npm` is JavaScript that runs in place of `npm ci`, `tool` the text of node_modules/.bin/tool. */
function project({ npm = "", tool = "" } = {}): { script: string; folder: string; env: Record<string, string> } {
  const folder = scratchFolder();
  mkdirSync(join(folder, "scripts"));
  copyFileSync(join(root, "scripts/run.mjs"), join(folder, "scripts/run.mjs"));
  writeFileSync(join(folder, "package-lock.json"), "{}");
  writeFileSync(
    join(folder, "npm.cjs"),
    `const { mkdirSync, writeFileSync, appendFileSync } = require("node:fs");
     appendFileSync("calls", process.argv.slice(2).join(" ") + "\\n");
     ${npm}
     mkdirSync("node_modules/.bin", { recursive: true });
     writeFileSync("node_modules/.bin/tool", ${JSON.stringify(`#!/bin/sh\n${tool}\n`)}, { mode: 0o755 });
     writeFileSync("node_modules/.package-lock.json", "{}");`,
  );
  return { script: join(folder, "scripts/run.mjs"), folder, env: { npm_execpath: join(folder, "npm.cjs") } };
}

test("installs once, quietly, and again when the lock file is newer", async () => {
  const { script, folder, env } = project({ npm: 'console.log("added 1 package");', tool: "echo ran $*" });
  const first = start(script, ["--exec", "tool", "a", "b"], env);
  expect(await first.ended).toBe(0);
  expect(first.output()).toMatch(/^tokensieve: installing .*\ntokensieve: installed in \d+ s\nran a b\n$/);

  const second = start(script, ["--exec", "tool"], env);
  await second.ended;
  expect(second.output()).toBe("ran\n");

  const later = new Date(Date.now() + 10_000);
  utimesSync(join(folder, "package-lock.json"), later, later);
  await start(script, ["--exec", "tool"], env).ended;
  expect(readFileSync(join(folder, "calls"), "utf8").match(/^ci /gm)).toHaveLength(2);
});

test("a failed install shows what npm said, keeps its code and runs nothing", async () => {
  const { script, folder, env } = project({ npm: 'console.error("E404 no such package"); process.exit(7);' });
  const running = start(script, ["--exec", "tool"], env);
  expect(await running.ended).toBe(7);
  expect(running.output()).toMatch(/E404 no such package\nnpm ci failed with exit code 7\n {2}try: see that this machine reaches/);
  expect(existsSync(join(folder, "node_modules"))).toBe(false);
});

test("packages behind a link are never replaced: others use them", async () => {
  const { script, folder, env } = project();
  mkdirSync(join(folder, "shared"));
  symlinkSync(join(folder, "shared"), join(folder, "node_modules"));
  const running = start(script, ["--exec", "tool"], env);
  expect(await running.ended).toBe(2);
  expect(running.output()).toMatch(/node_modules is a link to packages older than package-lock.json\n {2}try: /);
  expect(existsSync(join(folder, "calls"))).toBe(false);
});

test.each([
  ["exit 3", 3],
  ["kill -TERM $$", 143],
])("a tool's end is kept: %s", async (tool, code) => {
  const { script, env } = project({ tool });
  expect(await start(script, ["--exec", "tool"], env).ended).toBe(code);
});

test("signals reach the tool", async () => {
  const { script, env } = project({ tool: "trap 'echo told; exit 5' INT TERM\necho ready\nwhile kill -0 $PPID; do sleep 0.05; done" });
  const running = start(script, ["--exec", "tool"], env);
  await running.until(/ready/);
  running.child.kill("SIGINT");
  expect(await running.ended).toBe(5);
  expect(running.output()).toContain("told");
});

test("a signal that comes as soon as the tool runs ends nobody but the tool", async () => {
  const { script, env } = project({ tool: "trap 'exit 5' INT\nkill -INT $PPID\nwhile kill -0 $PPID; do sleep 0.05; done" });
  await start(script, ["--exec", "tool"], env).ended; // installs
  const runs = Array.from({ length: 6 }, () => start(script, ["--exec", "tool"], env).ended);
  expect(await Promise.all(runs)).toEqual(runs.map(() => 5));
});

test("a tool that is not installed", async () => {
  const { script, env } = project();
  const running = start(script, ["--exec", "vitets"], env);
  expect(await running.ended).toBe(2);
  expect(running.output()).toContain('no installed package has a command "vitets"');
});

test("an old Node is refused in one line", async () => {
  const folder = scratchFolder();
  writeFileSync(join(folder, "old.mjs"), 'Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.18.3" } });\n');
  const running = start("--import", [join(folder, "old.mjs"), join(root, "scripts/run.mjs"), "doctor"]);
  expect(await running.ended).toBe(2);
  expect(running.output()).toMatch(/^tokensieve needs Node 20\.19 or later; this is Node 20\.18\.3 \(.*\)\n {2}try: install a current Node/);
});
