/** Anybody's kernel file: inputs from its examples, tolerances from its text. */
import fc from "fast-check";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readKernel } from "../../compiler/front/index.ts";
import { readElement } from "../../dsl/dtype.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { dimsOf, drawBuffers, examplesFor, shapesOf, type Example } from "../../verify/examples.ts";
import { tileExecutor, type Buffers, type Executor } from "../../verify/executor.ts";
import { kernelsOfFile, verifyFile } from "../../verify/file.ts";
import { toleranceOf } from "../../verify/tolerance.ts";

const kernelsFolder = join(import.meta.dirname, "../kernels");
async function loaded(file: string, exportName: string) {
  const path = join(kernelsFolder, file);
  const of = (await kernelsOfFile(path)).find((k) => k.exportName === exportName)!;
  return { of, tile: await readKernel({ file: path, exportName, skipTypes: true }) };
}

describe("files", () => {
  test("kernels are those that the file exports, with the examples that it has", async () => {
    const found = await kernelsOfFile(join(kernelsFolder, "scans.ts"));
    expect(found.map((k) => [k.exportName, k.kernel.name])).toEqual([
      ["prefixMax", "prefix_max"],
      ["summedArea", "summed_area"],
      ["compact", "compact"],
    ]);
    expect(found[0]!.examples).toHaveLength(3);
  });
  test("factories need a spec", async () => {
    const file = join(import.meta.dirname, "../../dsl/kernels/topk.ts");
    expect(await kernelsOfFile(file)).toEqual([]);
    expect((await kernelsOfFile(file, preset("v3.2"))).map((k) => k.kernel.name)).toEqual(["topk", "topk_window", "topk_ragged", "topk_slots"]);
  });
});

describe("examples", () => {
  test("ranges of inputs and dims are kept, and a bound may name a dim", async () => {
    const { of, tile } = await loaded("indexing.ts", "pagedGather");
    const examples = examplesFor(tile, of.exportName, of.examples);
    fc.assert(
      fc.property(shapesOf(tile, examples), (shape) => {
        const dims = dimsOf(tile, examples[shape.example]!, shape);
        expect(dims.P).toBeLessThanOrEqual(6);
        expect((dims.pageBytes! - 416) % 16).toBe(0);
        const { table, y } = drawBuffers(tile, examples[shape.example]!, shape, dims);
        for (const page of new Int32Array(table!.buffer)) expect(page >= -1 && page <= dims.P!).toBe(true);
        expect(y!.every((byte) => byte === 0xff)).toBe(true);
      }),
      { numRuns: 20, seed: 1 },
    );
  });
  test("what an argument promises not to be negative is not", async () => {
    const tile = await readKernel({ file: join(import.meta.dirname, "../compiler/passes/kernels/scales.ts"), exportName: "reluScores", skipTypes: true });
    const shape = { example: 0, kind: "normal", seed: 3, T: 200 } as const;
    const { bScale, gate } = drawBuffers(tile, {}, shape, { T: 200 });
    const least = (bytes: Uint8Array) => Math.min(...new Float32Array(bytes.buffer));
    expect(least(bScale!)).toBeGreaterThanOrEqual(0);
    expect(least(gate!)).toBeLessThan(0);
  });
  test('"any" draws every code, and the same seed the same bytes', async () => {
    const { of, tile } = await loaded("formats.ts", "recode");
    const [example] = examplesFor(tile, of.exportName, of.examples);
    const shape = { example: 0, kind: "normal", seed: 7, N: 3000, halfPitch: 0, swappedPitch: 0 } as const;
    const dims = dimsOf(tile, example!, shape);
    const { a, b } = drawBuffers(tile, example!, shape, dims);
    const view = new DataView(b!.buffer);
    const values = Array.from({ length: 3000 }, (_, i) => readElement("e5m2", view, i));
    expect(values.some(Number.isNaN) && values.includes(Infinity) && values.includes(-Infinity)).toBe(true);
    expect(drawBuffers(tile, example!, shape, dims).a).toEqual(a);
  });
  test("an example for another kernel is left out; a wrong name in one for this kernel is an error", async () => {
    const { tile } = await loaded("indexing.ts", "argmax");
    const other: Example = { inputs: { idx: { min: 0, max: 1 } } };
    expect(examplesFor(tile, "argmax", [other])).toEqual([{}]);
    expect(() => examplesFor(tile, "argmax", [{ kernel: "argmax", dims: { Rows: 3 } }])).toThrow('an example of argmax names "Rows"');
  });
});

test("tolerances grow with the longest accumulation, casts and functions", async () => {
  const dims = { M: 16, N: 16, K: 64 };
  const f32 = toleranceOf((await loaded("gemms.ts", "denseRelu")).tile, dims, 2 ** -24);
  const bf16 = toleranceOf((await loaded("gemms.ts", "denseGelu")).tile, dims, 2 ** -24);
  expect(f32.ofFunctions).toBe(0);
  expect(f32.ofLargest).toBeGreaterThanOrEqual(2 * 64 * 2 ** -24);
  expect(f32.ofLargest).toBeLessThan(300 * 2 ** -24);
  expect(bf16.ofLargest).toBeGreaterThan(2 ** -8);
  expect(bf16.ofFunctions).toBeGreaterThan(0);
});

describe("verifyFile notices", () => {
  const spoilt = (executor: Executor, spoil: (outputs: Buffers) => void): Executor => ({
    ...executor,
    run: async (buffers, dims) => {
      const outputs = await executor.run(buffers, dims);
      spoil(outputs);
      return outputs;
    },
  });
  test.each<[string, string, string, (outputs: Buffers) => void, RegExp]>([
    ["a wrong integer", "scans.ts", "summedArea", ({ y }) => (y![0]! ^= 1), /^y\[image \d, i 0, j 0\]/],
    ["one wrong f32", "gemms.ts", "denseRelu", ({ y }) => y!.set([0, 0, 0, 0x41], 0), /^y\[m 0, n 0\] is 8/],
    [
      "a byte between rows",
      "formats.ts",
      "transpose",
      ({ y }) => new Uint16Array(y!.buffer).forEach((code, i, codes) => code === 0xffff && (codes[i] = 0)),
      /belongs to no element/,
    ],
    [
      "a write where the kernel leaves bytes alone",
      "combinations.ts",
      "partition",
      ({ zeros }) => new Float32Array(zeros!.buffer).forEach((x, i, xs) => (xs[i] = Number.isNaN(x) ? 0 : x)),
      /^zeros/,
    ],
  ])("%s", async (_, file, exportName, spoil, message) => {
    const { of, tile } = await loaded(file, exportName);
    const report = await verifyFile({ of, tile, executor: spoilt(tileExecutor(tile), spoil), runs: 5 });
    expect(report.failed?.message).toMatch(message);
    expect(report.failed?.replay).toContain(file);
  });
});
