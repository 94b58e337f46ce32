/** The kernels that measure ceilings: what ptxas makes of them, and how they are launched. Rates need a GPU. */
import { beforeEach, describe, expect, test } from "vitest";
import { clearTrace, trace } from "../targets/cuda/runtime/fake.ts";
import { ceilingsFor, chainText, measureCeilings } from "../../bench/ceilings.ts";
import { compileWithNvcc, findNvcc } from "../../targets/cuda/runtime/compile.ts";
import { openCuda } from "../../targets/cuda/runtime/driver.ts";

describe.skipIf(findNvcc() === undefined)("with nvcc", () => {
  test.each(["e4m3", "bf16"] as const)("the chain of %s neither spills nor is serialised", async (dtype) => {
    const { kernels, warnings } = await compileWithNvcc(chainText(dtype), "sm_90a");
    expect(warnings).toEqual([]);
    expect(kernels).toMatchObject([{ entry: "chain", spillBytes: 0, stackBytes: 0 }]);
  });
});

describe("on a fake device", () => {
  beforeEach(clearTrace);

  test("reads, copies and multiplies on every multiprocessor, and frees what it took", async () => {
    const device = await openCuda();
    const { read, copy, tensor } = await measureCeilings(device, ["queued", "sustained"]);
    const launches = trace().filter((event) => event.startsWith("launch"));
    const shapeOf = (entry: string): string | undefined => launches.find((l) => l.startsWith(`launch ${entry} `))?.split(" ").slice(2, 5).join(" ");
    expect(shapeOf("scramble")).toBe("528,1,1 512,1,1 0");
    expect(shapeOf("read")).toBe("528,1,1 512,1,1 0");
    expect(shapeOf("chain")).toBe(`132,1,1 256,1,1 ${128 * (2 * 64 + 256) + 1024}`);
    expect(launches.findIndex((l) => l.includes("scramble"))).toBeLessThan(launches.findIndex((l) => l.includes("read")));
    for (const rate of [read, copy, tensor.e4m3!.queued, tensor.e4m3!.sustained, tensor.bf16!.queued]) expect(rate).toBeGreaterThan(0);
    expect(tensor.e4m3!.single).toBeUndefined();
    expect(copy / read).toBeCloseTo(2); // as many launches, and each byte is read and written
    // the same launches as those of e4m3, and half as deep: a fake launch takes its number of microseconds
    expect(tensor.bf16!.queued! / tensor.e4m3!.queued!).toBeCloseTo(0.5);
    device.close();
    while (!trace().some((event) => event.startsWith("context released"))) await new Promise((done) => setTimeout(done, 1));
    const bytes = (2 ** 14 * 16).toString();
    expect(trace().filter((event) => event === `alloc ${bytes}`).length).toBe(2);
    expect(trace().filter((event) => event === `free ${bytes}`).length).toBe(2);
  });
});

test("a launch is bound by the ceilings of its own method", () => {
  const measured = { read: 4e12, copy: 3e12, tensor: { e4m3: { queued: 2e15, sustained: 1.5e15 }, bf16: { sustained: 0.7e15 } } };
  expect(ceilingsFor(measured, "sustained")).toEqual({ memory: 4e12, tensor: { e4m3: 1.5e15, bf16: 0.7e15 } });
  expect(ceilingsFor(measured, "queued")).toEqual({ memory: 4e12, tensor: { e4m3: 2e15 } });
});
