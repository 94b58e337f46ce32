/** The kernels of this folder, run eagerly, against loops in f64. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { readKernel } from "../../compiler/front/index.ts";
import type { Field, Param } from "../../compiler/ir/manifest.ts";
import { readElement, type DType } from "../../dsl/dtype.ts";
import { dimsOf, drawBuffers, examplesFor, forEachElement, shapesOf } from "../../verify/examples.ts";
import { naive } from "./naive.ts";
import { suite } from "./suite.ts";

/** Relative to the largest result: one rounding of a narrow output or of a probability, and a few hundred in f32. */
const tolerance: Readonly<Record<DType, number>> = {
  e4m3: 2 ** -4,
  e5m2: 2 ** -3,
  ue8m0: 0,
  f16: 2 ** -11,
  bf16: 2 ** -7,
  f32: 2 ** -16,
  i32: 0,
  u32: 0,
};

function elements(param: Param, field: Field, dims: Readonly<Record<string, number>>, bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const values: number[] = [];
  forEachElement(param, field, dims, (offset) => values.push(readElement(field.dtype, view, offset)));
  return Float64Array.from(values);
}
const nameOf = (param: Param, field: Field): string => (field.name === "" ? param.name : `${param.name}.${field.name}`);

test("every kernel of the folder has a naive twin", () => {
  expect(Object.keys(naive).sort()).toEqual(suite.map((k) => k.exportName).sort());
});

test.each(suite.map((of) => [of.kernel.name, of] as const))(
  "%s, run eagerly, is what its loops say",
  async (_, { file, exportName, kernel, examples }) => {
    const tile = await readKernel({ file, exportName, skipTypes: true });
    const own = examplesFor(tile, exportName, examples);
    fc.assert(
      fc.property(shapesOf(tile, own), (shape) => {
        const example = own[shape.example]!;
        const dims = dimsOf(tile, example, shape);
        const buffers = drawBuffers(tile, example, shape, dims);
        const fields = tile.params.flatMap((param) => param.fields.map((field) => ({ param, field })));
        const read = (access: string) =>
          Object.fromEntries(
            fields
              .filter(({ param }) => param.access === access)
              .map(({ param, field }) => [nameOf(param, field), elements(param, field, dims, buffers[param.name]!)]),
          );
        const [inputs, before] = [read("in"), read("out")];
        kernel.run(buffers, dims);
        const after = read("out");
        for (const [name, want] of Object.entries(naive[exportName]!(inputs, dims))) {
          const { dtype } = fields.find(({ param, field }) => nameOf(param, field) === name)!.field;
          const largest = Math.max(0, ...Array.from(want, Math.abs).filter(Number.isFinite));
          Array.from(want).forEach((expected, i) => {
            const got = after[name]![i]!;
            const isLeftAlone = Number.isNaN(expected) && Object.is(got, before[name]![i]);
            const same = Object.is(got, expected) || isLeftAlone || Math.abs(got - expected) <= tolerance[dtype] * largest;
            if (!same) throw new Error(`${name}, element ${i}: ${got}, the loops say ${expected}`);
          });
        }
      }),
      { numRuns: 12, seed: 1 },
    );
  },
);
