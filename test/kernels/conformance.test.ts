/** The kernels of this folder through the compiler: every execution against the eager run, and CUDA texts through nvcc. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compile } from "../../compiler/pipeline.ts";
import type { Target } from "../../compiler/target.ts";
import { cudaTarget } from "../../targets/cuda/index.ts";
import { compileWithNvcc, findNvcc } from "../../targets/cuda/runtime/compile.ts";
import { wgslTarget } from "../../targets/wgsl/index.ts";
import { openWebGpu, type WebGpuDevice } from "../../targets/wgsl/runtime.ts";
import { deviceExecutor, loopExecutor, tileExecutor, type Executor } from "../../verify/executor.ts";
import { verifyFile, type FileKernel } from "../../verify/file.ts";
import { describeFailure } from "../../verify/verify.ts";
import { suite } from "./suite.ts";

const [cuda, hopper, wgsl] = [cudaTarget("cuda:sm_80"), cudaTarget("cuda:sm_90a"), wgslTarget()];
const compiled = (of: FileKernel, target: Target) => {
  const schedule = of.schedules[target.name];
  return compile({ file: of.file, exportName: of.exportName, target, skipTypes: true, ...(schedule && { schedule }) });
};

let device: WebGpuDevice;
beforeAll(async () => {
  device = await openWebGpu({ adapter: "software" });
});
afterAll(() => device.close());

async function expectSame(
  of: FileKernel,
  target: Target,
  runs: number,
  executorOf: (made: Awaited<ReturnType<typeof compiled>>) => Executor | Promise<Executor>,
): Promise<void> {
  const made = await compiled(of, target);
  const report = await verifyFile({ of, tile: made.tile, executor: await executorOf(made), runs });
  if (report.failed) throw new Error(describeFailure(report, report.failed));
  expect(report.cells).toBeGreaterThan(0);
  expect(report.launchesEqual ?? true).toBe(true);
}

describe.each(suite.map((of) => [of.kernel.name, of] as const))("%s", (_, of) => {
  test("Tile IR", () => expectSame(of, wgsl, 8, ({ tile }) => tileExecutor(tile)));
  test.runIf("cuda:sm_90a" in of.schedules)("Loop IR for Hopper", () => expectSame(of, hopper, 2, ({ loop, tile }) => loopExecutor(loop, hopper, tile.tune)));
  test("Loop IR for WGSL", () => expectSame(of, wgsl, 3, ({ loop, tile }) => loopExecutor(loop, wgsl, tile.tune)));
  test("Loop IR for CUDA", () => expectSame(of, cuda, 3, ({ loop, tile }) => loopExecutor(loop, cuda, tile.tune)));
  test("WGSL on the software adapter", () => expectSame(of, wgsl, 6, ({ manifest, text }) => deviceExecutor(device, manifest, text)));
  test.skipIf(findNvcc() === undefined)("CUDA text assembles without spills", async () => {
    const { text } = await compiled(of, cuda);
    const { kernels } = await compileWithNvcc(text, "sm_80");
    expect(kernels.map((k) => k.spillBytes)).toEqual([0]);
  });
});
