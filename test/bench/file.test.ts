/** Kernels of anybody's files at sizes that are given, on a device in this process. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isMeasured, type Outcome, runCase } from "../../bench/run.ts";
import { subjectOfFile, takesDims } from "../../bench/subject.ts";
import { compileTiers, jobOf, textsIn } from "../../compiler/cli/jobs.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { kernelsOfFile } from "../../verify/file.ts";
import { type EagerDevice, eagerDevice } from "./eager_device.ts";

type Dims = Readonly<Record<string, number>>;
const suite = (file: string): string => join(import.meta.dirname, "../kernels", `${file}.ts`);

async function run(file: string, exportName: string, dims: Dims, spoil: (on: EagerDevice) => void = () => {}): Promise<Outcome> {
  const of = (await kernelsOfFile(suite(file))).find((kernel) => kernel.exportName === exportName)!;
  const text = textsIn(suite(file)).find((kernel) => kernel.exportName === exportName)!;
  const on = eagerDevice(preset("v3.2"), { own: { [of.kernel.name]: of.kernel } });
  spoil(on);
  const subject = subjectOfFile(of, { dims, spec: "", target: "cuda:sm_80", mode: "queued" }, () => compileTiers(jobOf(text, "cuda:sm_80")));
  return runCase(subject, { timer: on.timer, ceilings: () => undefined });
}

describe("a few blocks are held to the text", () => {
  test.each([
    ["gemms", "denseRelu", { M: 70, N: 50, K: 90 }],
    ["gemms", "denseGelu", { M: 33, N: 40, K: 70, aPitch: 80, yPitch: 48 }],
    ["flash_attention", "flashAttention", { H: 1, S: 50 }],
    ["indexing", "pagedGather", { P: 3, B: 5, I: 20 }], // records and indices
    ["row_softmax", "rowSoftmax", { R: 9, C: 33 }],
  ] as const)("%s: %s", async (file, exportName, dims) => {
    const outcome = await run(file, exportName, dims);
    if (!isMeasured(outcome)) throw new Error(outcome.failed);
    expect(outcome).toMatchObject({ problem: exportName, label: Object.entries(dims).map(([k, v]) => `${k}=${v}`).join(" "), spec: "", anchor: null });
    expect(outcome.check.cells).toBeGreaterThan(8);
  });

  test("four blocks are checked, the first and the last among them", async () => {
    const outcome = await run("gemms", "denseRelu", { M: 70, N: 50, K: 90 });
    const corner = (70 - 64) * (50 - 48);
    expect(isMeasured(outcome) && [outcome.check.cells - 256 - corner]).toEqual([expect.toSatisfy((two: number) => two > 0 && two <= 2 * 256)]);
  });

  test("products in whole tiles are the rate, for nobody says what the result needs", async () => {
    const outcome = await run("gemms", "denseRelu", { M: 16, N: 16, K: 32 });
    expect(outcome).toMatchObject({ flops: 2 * 16 * 16 * 32, tflops: expect.closeTo((2 * 16 * 16 * 32) / 100e-6 / 1e12, 12) });
    expect(await run("row_softmax", "rowSoftmax", { R: 9, C: 33 })).toMatchObject({ flops: null, tflops: null });
  });

  test("a wrong cell of a checked block is found, and a launch that differs anywhere", async () => {
    const wrong = await run("gemms", "denseRelu", { M: 70, N: 50, K: 90 }, (on) => {
      on.afterLaunch = ({ buffers }) => new Float32Array(on.bytesOf(buffers.y!).buffer).fill(1e6, 3, 4);
    });
    expect(wrong).toMatchObject({ failed: expect.stringMatching(/^y, of the checked blocks\[cell 3\] is 1000000, the reference says/) });
    const unsteady = await run("gemms", "denseRelu", { M: 70, N: 50, K: 90 }, (on) => {
      on.afterLaunch = ({ buffers }, count) => void (count === 19 && on.bytesOf(buffers.y!).reverse());
    });
    expect(unsteady).toMatchObject({ failed: "20 launches left different bits in y" });
  });
});

test("a kernel is timed when --dim gives its dims and no others; pitches may be left out", async () => {
  const [denseRelu, , batched] = (await kernelsOfFile(suite("gemms"))).map((k) => k.kernel);
  const M = { M: 1, N: 2, K: 3 };
  expect([takesDims(denseRelu!, M), takesDims(denseRelu!, { ...M, yPitch: 4 }), takesDims(denseRelu!, { M: 1, N: 2 })]).toEqual([true, true, false]);
  expect([takesDims(denseRelu!, { ...M, B: 4 }), takesDims(batched!, M), takesDims(batched!, { B: 2 })]).toEqual([false, false, true]);
});
