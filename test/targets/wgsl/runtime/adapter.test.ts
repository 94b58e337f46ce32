import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { type WebGpuStatus, webGpuStatus } from "../../../../targets/wgsl/adapter.ts";

const root = fileURLToPath(new URL("../../../../", import.meta.url));

/** Runs a module in a fresh process; fails when it does not end by itself. */
const run = (code: string, env: Record<string, string> = {}): Promise<{ stdout: string; stderr: string }> =>
  promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "-e", code], {
    cwd: root,
    env: { ...process.env, ...env },
    timeout: 100_000,
  });

test("finds the embedded software adapter", async () => {
  const { adapters } = await webGpuStatus();
  const software = adapters.find((a) => a.kind === "software");
  expect(software).toMatchObject({ isGpu: false, vendor: "google", architecture: "swiftshader" });
  expect(software?.limits["maxComputeWorkgroupStorageSize"]).toBeGreaterThanOrEqual(16384);
});

test("without a GPU driver the reason is told quietly, and auto falls back to software", async () => {
  const { stdout, stderr } = await run(
    `import { webGpuStatus } from "./targets/wgsl/adapter.ts";
     import { openWebGpu } from "./targets/wgsl/runtime.ts";
     const device = await openWebGpu();
     console.log(JSON.stringify([await webGpuStatus(), device.isGpu]));
     await openWebGpu({ adapter: "hardware" }).catch((e) => console.log(e.message));
     device.close();`,
    { VK_DRIVER_FILES: "/nonexistent/driver.json" },
  );
  const [line, ...message] = stdout.split("\n");
  const [status, isGpu] = JSON.parse(line!) as [WebGpuStatus, boolean];
  expect(isGpu).toBe(false);
  expect(status.adapters.map((a) => a.kind)).toEqual(["software"]);
  const reason = "no GPU for WebGPU: no Vulkan driver is installed (looked at /nonexistent/driver.json)";
  expect(status.missing).toEqual([{ kind: "hardware", reason, hint: expect.stringContaining("install the GPU's Vulkan driver") }]);
  expect(message.join("\n")).toContain(`${reason}\n  try: install the GPU's Vulkan driver`);
  expect(stderr).toBe("");
});

test("an adapter that runs on the CPU does not count as hardware", async () => {
  const { stdout } = await run(
    `import { webGpuStatus } from "./targets/wgsl/adapter.ts";
     import { softwareDriver } from "./targets/wgsl/software_adapter.ts";
     process.env.VK_DRIVER_FILES = softwareDriver();
     delete process.env.VK_ICD_FILENAMES;
     console.log(JSON.stringify(await webGpuStatus()), process.env.VK_DRIVER_FILES === softwareDriver(), process.env.VK_ICD_FILENAMES);`,
  );
  expect(stdout).toContain("the only adapter is SwiftShader driver");
  expect(stdout.trimEnd()).toMatch(/true undefined$/); // the environment is as it was
});

test("Node exits by itself, with the device closed or forgotten", async () => {
  const { stdout } = await run(
    `import { openWebGpu } from "./targets/wgsl/runtime.ts";
     const [a, b] = await Promise.all([openWebGpu({ adapter: "software" }), openWebGpu({ adapter: "software" })]);
     await a.read(a.alloc(4));
     a.close();
     process.on("exit", () => console.log("left", b.name));`,
  );
  expect(stdout).toBe("left swiftshader-device-subzero\n");
});
