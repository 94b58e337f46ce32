/**
 * Anybody's kernel at full size: normal inputs, or those of the file's examples, and a check of a few blocks of the grid by the Tile
 * interpreter. That their meaning is right is for `verify`; this holds what ran at full size to the same text.
 */
import { interpretTile } from "../../compiler/interp/tile.ts";
import { evaluate, type Param } from "../../compiler/ir/manifest.ts";
import type { TileKernel } from "../../compiler/ir/tile.ts";
import { byteSize, readElement } from "../../dsl/dtype.ts";
import { drawBuffers, type Example, forEachElement } from "../../verify/examples.ts";
import { budgetOf, toleranceOf } from "../../verify/tolerance.ts";
import { all, compare, type Verdict } from "../../verify/verdict.ts";
import { bytesOf, normalFloats, normals, sampleOf } from "../data.ts";
import { poisonOf, type Prepared, type Results, type Sizes } from "./problem.ts";

const checkedBlocks = 4;

/** `given` has every dim without a default. */
export function prepareFile(kernel: TileKernel, example: Example, given: Sizes): Prepared {
  const dims: Record<string, number> = { ...given };
  for (const { name, default: packed } of kernel.dims) dims[name] ??= evaluate(packed ?? name, dims);
  const inputs = Object.fromEntries(
    kernel.params.filter((p) => p.access === "in").map((p, i) => [p.name, inputOf(kernel, p, example, dims, i + 1)]),
  );
  return { inputs, dims, check: (results) => checkBlocks(kernel, inputs, dims, results) };
}

/** Whole buffers of normal numbers where nothing else is asked for; the slower way of the examples for the rest. */
function inputOf(kernel: TileKernel, param: Param, example: Example, dims: Sizes, seed: number): Uint8Array {
  const [field] = param.fields;
  const isPlain = param.fields.length === 1 && field!.name === "" && !field!.nonNegative && example.inputs?.[param.name] === undefined;
  const count = isPlain ? Math.ceil(evaluate(param.bytes, dims) / byteSize(field!.dtype)) : 0;
  if (isPlain && field!.dtype === "f32") return bytesOf(normalFloats(count, seed));
  if (isPlain && (field!.dtype === "e4m3" || field!.dtype === "bf16" || field!.dtype === "f16")) return normals(field!.dtype, count, 1, seed);
  return drawBuffers({ ...kernel, params: [param] }, example, { example: 0, kind: "normal", seed }, dims)[param.name]!;
}

async function checkBlocks(kernel: TileKernel, inputs: Prepared["inputs"], dims: Sizes, { read, arithmetic }: Results): Promise<Verdict> {
  const outputs = kernel.params.filter((p) => p.access !== "in");
  const wanted = Object.fromEntries(outputs.map((p) => [p.name, new Uint8Array(evaluate(p.bytes, dims)).fill(poisonOf(p))]));
  const blocks = kernel.grid.reduce((count, dim) => count * evaluate(dim.count, dims), 1);
  interpretTile(kernel, { ...inputs, ...wanted }, dims, new Set(sampleOf(blocks, checkedBlocks, 1)));
  const tolerance = toleranceOf(kernel, dims, arithmetic.accumulator.roundoff);
  const verdicts: Verdict[] = [];
  for (const param of outputs) {
    const want = wanted[param.name]!;
    const got = await read(param.name, 0, want.byteLength);
    for (const field of param.fields) {
      const cells = writtenCells(param, field, dims, want, got);
      const budget = budgetOf(field.dtype, cells.want, tolerance);
      verdicts.push(compare({ output: `${param.name}, of the checked blocks`, axes: { cell: cells.want.length }, ...cells, budget }));
    }
  }
  const verdict = all(verdicts);
  return verdict.cells === 0 ? { ...verdict, failure: "the checked blocks write nothing" } : verdict;
}

/** Elements of a field that are no longer poison in `want`. */
function writtenCells(param: Param, field: Param["fields"][number], dims: Sizes, want: Uint8Array, got: Uint8Array): { want: Float64Array; got: Float64Array } {
  const poison = poisonOf(param);
  const size = byteSize(field.dtype);
  const offsets: number[] = [];
  forEachElement(param, field, dims, (offset) => {
    for (let i = 0; i < size; i++) {
      if (want[offset + i] === poison) continue;
      offsets.push(offset);
      return;
    }
  });
  const values = (bytes: Uint8Array): Float64Array => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return Float64Array.from(offsets, (offset) => readElement(field.dtype, view, offset));
  };
  return { want: values(want), got: values(got) };
}
