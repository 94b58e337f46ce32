/** scripts/vitest_on_node.mjs, in a project of its own as pack-gpu makes it. */
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root, scratchFolder, start } from "./helpers.ts";

const tests = `import { afterAll, beforeAll, describe, expect, test } from "vitest";
let state = "before";
describe.skipIf(false)("a group", () => {
  beforeAll(async () => { state = "during"; });
  afterAll(() => { console.log("cleaned up"); });
  test("values", () => { expect(state).toBe("during"); expect(Float64Array.of(1, NaN)).toEqual(Float64Array.of(1, NaN)); });
  test("refusals", () => expect(Promise.reject(new Error("lost"))).rejects.toThrow(/lost/));
  test("wrong values", () => { expect([1, 2], "of y").toEqual([1, 3]); });
  test("wrong refusals", () => expect(Promise.resolve(1)).rejects.toThrow(/lost/));
  test.skipIf(true)("one that needs more", () => {});
});
describe.skipIf(true)("a group that needs more", () => { test("inside", () => {}); });
`;

test("GPU tests run without vitest, and fail rather than skip", async () => {
  const folder = scratchFolder();
  mkdirSync(join(folder, "node_modules/vitest"), { recursive: true });
  for (const name of ["@vitest", "chai"]) symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name));
  copyFileSync(join(root, "scripts/vitest_on_node.mjs"), join(folder, "node_modules/vitest/index.mjs"));
  writeFileSync(join(folder, "node_modules/vitest/package.json"), JSON.stringify({ exports: "./index.mjs" }));
  writeFileSync(join(folder, "sample.mjs"), tests);

  const running = start("--test", [join(folder, "sample.mjs")]);
  expect(await running.ended).toBe(1);
  expect(running.output()).toMatch(/cleaned up/);
  expect(running.output()).toMatch(/tests 6\n[^]*pass 2\n[^]*fail 4\n/);
  expect(running.output()).toMatch(/of y: expected \[ 1, 2 \] to deeply equal \[ 1, 3 \]/);
  expect(running.output()).toMatch(/this machine has not what the test needs/);
});
