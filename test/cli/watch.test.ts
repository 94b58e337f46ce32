/** `compile --watch`: rebuilds what depends on a change, and survives mistakes. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root, scratchFolder, start, writeKernel } from "./helpers.ts";

test("a change is compiled, a mistake is told, the next change mends it", async () => {
  const folder = scratchFolder();
  const file = writeKernel(folder);
  const out = join(folder, "out");
  const text = (): string => readFileSync(join(out, "doubled/wgsl/doubled.wgsl"), "utf8");
  const running = start(join(root, "scripts/run.mjs"), ["compile", file, "--watch", "--target", "wgsl", "--out", out]);
  await running.until(/1 kernels compiled, 3 files changed/);
  expect(text()).toMatch(/2/);

  writeKernel(folder, "doubled.ts", { factor: 37 });
  await running.until(/(kernels compiled[^]*){2}/);
  expect(text()).toContain("37");

  writeKernel(folder, "doubled.ts", { source: "nothing" });
  await running.until(/E-[^]*nothing/);
  expect(text()).toContain("37"); // the last one that compiled stays

  writeKernel(folder, "doubled.ts", { factor: 41 });
  await running.until(/(kernels compiled[^]*){4}/);
  expect(text()).toContain("41");
  expect(running.output()).not.toContain("starting anew"); // none of this needs a new process

  running.child.kill("SIGINT");
  expect(await running.ended).toBe("SIGINT");
});

test("a file that a kernel imports counts as its text", async () => {
  const folder = scratchFolder();
  writeFileSync(join(folder, "factor.ts"), "export const factor = 5;\n");
  const file = writeKernel(folder);
  writeFileSync(file, `import { factor } from "./factor.ts";\n${readFileSync(file, "utf8").replace("2 * x", "factor * x")}`);
  const out = join(folder, "out");
  const running = start(join(root, "scripts/run.mjs"), ["compile", file, "--watch", "--target", "wgsl", "--out", out]);
  await running.until(/1 kernels compiled, 3 files changed/);

  writeFileSync(join(folder, "factor.ts"), "export const factor = 29;\n");
  await running.until(/1 kernels compiled, 3 files changed[^]*1 kernels compiled, [1-3] files changed/);
  expect(readFileSync(join(out, "doubled/wgsl/doubled.wgsl"), "utf8")).toContain("29");
  running.child.kill("SIGTERM");
  expect(await running.ended).toBe("SIGTERM");
});
