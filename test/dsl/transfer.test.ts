import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dtypes, fromBytes, isFloat, round, toBytes, type DType } from "../../dsl/dtype.ts";
import { full, gather, load, store, type Tile } from "../../dsl/index.ts";
import { bytesOf, element, expectSame, extent, positions, random, randomTile, seed, tensorOf, tileOf } from "./helpers.ts";

const dtype = fc.constantFrom(...dtypes);
const size = fc.record({ a: extent, b: extent, c: extent });

/** Distinct values that every dtype holds (ue8m0: powers of two). */
const valuesOf = (type: DType, count: number): number[] =>
  Array.from({ length: count }, (_, i) => (type === "ue8m0" ? 2 ** (i % 100) : isFloat(type) ? i % 8 : i));
const at = (
  { a, b, c }: { readonly a: number; readonly b: number; readonly c: number },
  shape: { readonly b: number; readonly c: number },
) => (a * shape.b + b) * shape.c + c;
const inside = (i: number, n: number) => i >= 0 && i < n;

test("load reads a block of any dtype; outside it is the fill value", () => {
  fc.assert(
    fc.property(
      dtype,
      size,
      fc.integer({ min: -7, max: 7 }),
      extent,
      fc.integer({ min: -2, max: 6 }),
      (type, shape, start, length, index) => {
        const values = valuesOf(type, shape.a * shape.b * shape.c);
        const tensor = tensorOf(type, shape, toBytes(type, values));
        const fill = round(type, 4);
        const block = load(tensor.tile({ c: { axis: "c", start, size: length }, a: index }), fill);
        expect(block.axes).toEqual(["b", "c"]);
        expectSame(block, ({ b, c }) => {
          const p = { a: index, b: b!, c: start + c! };
          return inside(index, shape.a) && inside(p.c, shape.c) ? values[at(p, shape)]! : fill;
        });
        expectSame(load(tensor.tile({})), (p) => values[at(p as { a: number; b: number; c: number }, shape)]!);
      },
    ),
  );
});

test("gather picks rows by one or two index tiles; an index outside gives zeros", () => {
  fc.assert(
    fc.property(dtype, size, seed, extent, extent, fc.boolean(), (type, shape, s, i, j, both) => {
      const values = valuesOf(type, shape.a * shape.b * shape.c);
      const view = tensorOf(type, shape, toBytes(type, values)).tile({});
      const next = random(s);
      const indices = (n: number) => tileOf("i32", { i, j }, () => Math.floor(((next() + 1) / 2) * (n + 2)) - 1);
      const [a, c] = [indices(shape.a), indices(shape.c)];
      const read = (p: { a: number; b: number; c: number }) => (inside(p.a, shape.a) && inside(p.c, shape.c) ? values[at(p, shape)]! : 0);
      if (both) expectSame(gather(view, { a, c }), (p) => read({ a: element(a, p), b: p["b"]!, c: element(c, p) }));
      else expectSame(gather(view, { a }), (p) => read({ a: element(a, p), b: p["b"]!, c: p["c"]! }));
    }),
  );
});

test("gather combines with an index and a range of other axes", () => {
  const tensor = tensorOf("f32", { a: 4, b: 3, c: 5 }, toBytes("f32", valuesOf("i32", 60)));
  const rows = tileOf("i32", { j: 2 }, ({ j }) => [3, -1][j]!);
  const picked = gather(tensor.tile({ b: 1, c: { axis: "c", start: 3, size: 4 } }), { a: rows });
  expect(picked.axes).toEqual(["j", "c"]);
  expect([...picked.data]).toEqual([...[3 * 15 + 5 + 3, 3 * 15 + 5 + 4, 0, 0].map((v) => v % 60), 0, 0, 0, 0]);
});

describe("gather refuses", () => {
  const tensor = tensorOf("f32", { t: 4, c: 3 }, new Uint8Array(48));
  const index = full({ j: 2 }, 0, "i32");
  test.each<[string, () => unknown, string]>([
    ["no index", () => gather(tensor.tile({}), {}), 'gather from "t": no index tile. Give one for each axis to pick along, or use load.'],
    [
      "an unknown axis",
      // @ts-expect-error no axis x
      () => gather(tensor.tile({}), { x: index }),
      'gather from "t": the view has no axis "x" to pick along. It has "t", "c".',
    ],
    [
      "a picked range",
      () => gather(tensor.tile({ t: { axis: "t", start: 0, size: 2 } }), { t: index }),
      'gather from "t": axis "t" is both picked and cut to a range.',
    ],
    [
      "a float index",
      // @ts-expect-error the index is not i32
      () => gather(tensor.tile({}), { t: full({ j: 2 }, 0) }),
      'gather from "t": the index of "t" is an f32 tile (j 2), not i32. Give map the dtype "i32".',
    ],
    [
      "different index axes",
      () => gather(tensor.tile({}), { t: index, c: full({ j: 3 }, 0, "i32") }),
      "index tiles differ in their axes: an i32 tile (j 2) and an i32 tile (j 3).",
    ],
    [
      "an axis twice",
      () => gather(tensor.tile({}), { t: full({ c: 2 }, 0, "i32") }),
      'the result would have axis "c" twice, from the index and from the view.',
    ],
  ])("%s", (_, call, message) => expect(call).toThrow(message));
});

test("store writes what is inside and kept, rounded, and nothing else", () => {
  fc.assert(
    fc.property(
      dtype,
      size,
      seed,
      fc.integer({ min: -7, max: 7 }),
      extent,
      fc.integer({ min: -2, max: 6 }),
      fc.boolean(),
      (type, shape, s, start, length, index, masked) => {
        const before = valuesOf(type, shape.a * shape.b * shape.c);
        const tensor = tensorOf(type, shape, toBytes(type, before), "out");
        // the tile's axis order differs from the view's
        const value = randomTile(isFloat(type) ? "f32" : type, { c: length, b: shape.b }, s);
        const keep = randomTile("bool", { b: shape.b, c: length }, s + 1);
        store(
          tensor.tile({ a: index, c: { axis: "c", start, size: length } }),
          value as unknown as Tile<never, "b" | "c">,
          masked ? keep : undefined,
        );
        const after = fromBytes(type, bytesOf(tensor));
        for (const p of positions(["a", "b", "c"], shape) as Iterable<{ a: number; b: number; c: number }>) {
          const here = { b: p.b, c: p.c - start };
          const written = p.a === index && inside(here.c, length) && (!masked || element(keep, here) === 1);
          expect(after[at(p, shape)]).toBe(written ? round(type, element(value, here)) : before[at(p, shape)]);
        }
      },
    ),
  );
});

test("a view of pitched memory writes between the gaps", () => {
  const bytes = new Uint8Array(40).fill(0xaa);
  const tensor = tensorOf("u32", { q: 2, t: 4 }, bytes.subarray(0, 32), "out");
  store(tensor.tile({ t: { axis: "t", start: 2, size: 1 } }), full({ q: 2, t: 1 }, 0, "u32"));
  expect([...fromBytes("u32", bytesOf(tensor))]).toEqual([0xaaaaaaaa, 0xaaaaaaaa, 0, 0xaaaaaaaa, 0xaaaaaaaa, 0xaaaaaaaa, 0, 0xaaaaaaaa]);
});

describe("access and dtypes", () => {
  const input = tensorOf("f32", { t: 4 }, new Uint8Array(16));
  const output = tensorOf("i32", { t: 4 }, new Uint8Array(16), "out");
  test.each<[string, () => unknown, string]>([
    [
      "store to an input",
      () => store(input.tile({}), full({ t: 4 }, 0)),
      'store: "t" is an input. Declare it with output(...) to write it.',
    ],
    [
      "load of an output",
      () => load(output.tile({})),
      'load: "t" is an output, which blocks write in any order. Keep the tile that was stored instead.',
    ],
    [
      "floats into integers",
      // @ts-expect-error floats do not go into integers
      () => store(output.tile({}), full({ t: 4 }, 0)),
      'store: f32 values do not go into "t", which is i32. Use cast("i32", tile).',
    ],
    [
      "another integer dtype",
      // @ts-expect-error u32 is not i32
      () => store(output.tile({}), full({ t: 4 }, 0, "u32")),
      'store: u32 values do not go into "t", which is i32.',
    ],
    [
      "another axis",
      // @ts-expect-error the tile has another axis
      () => store(output.tile({}), full({ q: 4 }, 0, "i32")),
      'store to "t": the view has (t 4) but gets an i32 tile (q 4).',
    ],
    ["another extent", () => store(output.tile({}), full({ t: 3 }, 0, "i32")), "They must have the same axes and extents."],
    // @ts-expect-error keep is not bool
    ["a keep that is no mask", () => store(output.tile({}), full({ t: 4 }, 0, "i32"), full({ t: 4 }, 1)), "Make a bool tile with mask."],
    // @ts-expect-error no axis x
    ["an unknown axis in tile", () => input.tile({ x: 0 }), 't.tile({ x }): "t" has the axes "t".'],
    [
      "a range of another axis",
      () => input.tile({ t: { axis: "q", start: 0, size: 1 } as unknown as { axis: "t"; start: number; size: number } }),
      't.tile({ t }): the range runs along axis "q". Give a range made for "t".',
    ],
    [
      "a fraction as index",
      () => input.tile({ t: 0.5 }),
      "t.tile({ t }): index 0.5 is not an integer. Use div(a, b) where an integer is divided.",
    ],
    [
      "an empty range",
      () => input.tile({ t: { axis: "t", start: 0, size: 0 } }),
      "a range needs an integer start and a positive integer size, not start 0 and size 0.",
    ],
  ])("%s", (_, call, message) => expect(call).toThrow(message));
});
