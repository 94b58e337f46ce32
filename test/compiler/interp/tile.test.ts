/** The Tile interpreter against the eager language, on every kernel and on one small kernel for each operation. */
import fc from "fast-check";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { listKernels, readKernel } from "../../../compiler/front/index.ts";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import { verifyTile } from "../../../compiler/ir/verify_tile.ts";
import { kernels } from "../../../dsl/kernels/index.ts";
import { fromBytes } from "../../../dsl/dtype.ts";
import type { Kernel } from "../../../dsl/kernel.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import * as forms from "../front/fixtures/forms.ts";
import { kernelNames, randomBuffers, randomDims, read, smallSpec, smallTune } from "../kernel_cases.ts";

/** Runs both on copies of the same bytes and compares every byte of every buffer. */
function compare(tile: TileKernel, eager: Kernel, tune: Readonly<Record<string, number>>, seed: number): void {
  const dims = randomDims(tile, seed);
  const before = randomBuffers(tile, dims, seed);
  const copy = () => Object.fromEntries(Object.entries(before).map(([name, bytes]) => [name, bytes.slice()]));
  const [a, b] = [copy(), copy()];
  eager.run(a, dims, tune);
  interpretTile(tile, b, dims);
  for (const p of tile.params) {
    if (Buffer.compare(a[p.name]!, b[p.name]!) === 0) continue;
    const show = (bytes: Uint8Array) => Array.from(fromBytes(p.fields.length > 1 ? "u32" : p.fields[0]!.dtype, bytes));
    expect(show(b[p.name]!), `${tile.name}: ${p.name} with dims ${JSON.stringify(dims)}`).toEqual(show(a[p.name]!));
  }
}

describe.each(kernelNames)("%s", (name) => {
  test("interpreter equals eager, byte for byte", async () => {
    await fc.assert(
      fc.asyncProperty(smallSpec, fc.nat(), async (spec, seed) => {
        const tune = smallTune[name];
        const tile = await read(name, spec, tune);
        verifyTile(tile, "readKernel");
        compare(tile, kernels[name](spec) as Kernel, tune, seed);
      }),
      { numRuns: 15 },
    );
  });
});

describe("forms of the language", () => {
  const file = join(import.meta.dirname, "../front/fixtures/forms.ts");
  const spec = { weights: [0.5, 3, 0.25] };
  test.each(listKernels(file))("$exportName", async ({ exportName, factory }) => {
    const tile = await readKernel({ file, exportName, spec, skipTypes: true });
    verifyTile(tile, "readKernel");
    const value: unknown = forms[exportName as keyof typeof forms];
    const eager = (factory ? (value as (s: typeof spec) => Kernel)(spec) : value) as Kernel;
    fc.assert(fc.property(fc.nat(), (seed) => compare(tile, eager, {}, seed)), { numRuns: 20 });
  });
});

test("a missing dim and a short buffer are clear errors", async () => {
  const kernel = await readKernel({ file: join(import.meta.dirname, "../front/fixtures/forms.ts"), exportName: "branches", skipTypes: true });
  const buffers = { x: new Uint8Array(48), k: new Uint8Array(8), y: new Uint8Array(40) };
  expect(() => interpretTile(kernel, buffers, {})).toThrow('dim "N" has no value; give it in dims');
  expect(() => interpretTile(kernel, buffers, { N: 2 })).toThrow('branches: buffer "y" has 40 bytes, but needs 48. Check the buffer and the dims.');
});
