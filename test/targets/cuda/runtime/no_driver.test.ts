/** What a machine without an NVIDIA driver is told. */
import { spawnSync } from "node:child_process";
import { beforeAll, expect, test } from "vitest";
import { DeviceError } from "../../../../targets/device.ts";
import { buildAddon } from "../../../../targets/cuda/runtime/build.ts";
import { cudaStatus, openCuda } from "../../../../targets/cuda/runtime/driver.ts";

beforeAll(async () => {
  await buildAddon();
  process.env.TOKENSIEVE_LIBCUDA = "/nowhere/libcuda.so.1";
}, 120_000);

test("openCuda names the library and what to try", async () => {
  const error = await openCuda().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DeviceError);
  expect(String(error)).toBe(
    "DeviceError: no NVIDIA driver: /nowhere/libcuda.so.1: cannot open shared object file: No such file or directory\n" +
      "  try: install the NVIDIA driver (nvidia-smi shows whether it runs), start a container with --gpus all, " +
      "or set TOKENSIEVE_LIBCUDA to the library's path",
  );
});

test("cudaStatus tells it as data", async () => {
  expect(await cudaStatus()).toEqual({
    available: false,
    reason: "no NVIDIA driver: /nowhere/libcuda.so.1: cannot open shared object file: No such file or directory",
    hint: expect.stringContaining("install the NVIDIA driver"),
  });
});

test("a library that is not a CUDA driver is found out", async () => {
  process.env.TOKENSIEVE_LIBCUDA = "libm.so.6";
  await expect(openCuda()).rejects.toThrow(/no NVIDIA driver: the library has no cuInit/);
});

test("status prints nothing and does not keep the process", () => {
  const script = `
    import { cudaStatus } from ${JSON.stringify(`${import.meta.dirname}/../../../../targets/cuda/runtime/driver.ts`)};
    const { available } = await cudaStatus();
    process.exitCode = available ? 1 : 7;`;
  const env = { ...process.env, TOKENSIEVE_LIBCUDA: "/nowhere/libcuda.so.1" };
  const args = ["--import", "tsx", "--input-type=module", "-e", script];
  const child = spawnSync(process.execPath, args, { encoding: "utf8", env, timeout: 100_000 });
  expect(child).toMatchObject({ stdout: "", stderr: "", status: 7 });
});
