import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { round } from "../../dsl/dtype.ts";
import { cast, full, iota, map, mask, rename, scalar, slice, type Tile } from "../../dsl/index.ts";
import { element, expectSame, extent, randomTile, seed } from "./helpers.ts";

describe("making tiles", () => {
  test("full rounds its value to the dtype", () => {
    expectSame(full({ h: 2, c: 3 }, 0.1), () => Math.fround(0.1));
    expectSame(full({ h: 2 }, 7.9, "i32"), () => 7);
    expect(full({ h: 2 }, 1, "bf16").dtype).toBe("bf16");
    expect(() => full({ h: 0 }, 1)).toThrow('full: extent 0 of axis "h" is not a positive integer.');
  });
  test("iota counts from the start of the range", () => {
    expect([...iota({ axis: "t", start: -2, size: 4 }).data]).toEqual([-2, -1, 0, 1]);
  });
  test("scalar takes tiles without axes alone", () => {
    expect(scalar(full({}, 2.5))).toBe(2.5);
    expect(() => scalar(full({ h: 2 }, 1) as unknown as Tile<"f32", never>)).toThrow(
      "scalar: an f32 tile (h 2) is not one number. Reduce its axes first.",
    );
  });
});

test("cast rounds every element", () => {
  fc.assert(
    fc.property(seed, fc.constantFrom("bf16", "f16", "e4m3", "e5m2", "i32", "u32", "f32"), (s, dtype) => {
      const x = randomTile("f32", { a: 3, b: 4 }, s);
      expectSame(cast(dtype, x), (at) => round(dtype, element(x, at)));
    }),
  );
  expectSame(cast("i32", randomTile("bool", { a: 9 }, 1)), (at) => element(randomTile("bool", { a: 9 }, 1), at));
});

describe("slice and rename", () => {
  test("slice keeps [lo, hi) of its axis, wherever the axis is", () => {
    fc.assert(
      fc.property(seed, extent, extent, extent, fc.constantFrom("a", "b", "c"), (s, a, b, c, axis) => {
        const x = randomTile("f32", { a, b, c }, s);
        const hi = x.shape[axis];
        const lo = hi >> 1;
        const part = slice(x, axis, lo, hi);
        expect(part.shape[axis]).toBe(hi - lo);
        expectSame(part, (at) => element(x, { ...at, [axis]: at[axis]! + lo }));
      }),
    );
  });
  test("slice refuses what is not a part", () => {
    const x = full({ c: 8 }, 0);
    for (const [lo, hi] of [
      [-1, 2],
      [3, 3],
      [0, 9],
      [0, 1.5],
    ] as const) {
      expect(() => slice(x, "c", lo, hi)).toThrow(
        `slice: [${lo}, ${hi}) is not a part of axis "c" of an f32 tile (c 8). The bounds need 0 <= lo < hi <= 8.`,
      );
    }
    expect(() => slice(x, "d" as "c", 0, 1)).toThrow('slice: there is no axis "d" in an f32 tile (c 8). Name one of "c".');
  });
  test("rename moves values to other names", () => {
    const x = randomTile("f32", { a: 2, b: 3 }, 5);
    expectSame(rename(x, { a: "b", b: "a" }), (at) => element(x, { a: at["b"]!, b: at["a"]! }));
    expect(() => rename(x, { a: "b" })).toThrow(
      'rename: two axes of an f32 tile (a 2, b 3) would be called "b". Names of axes are unique within a tile.',
    );
  });
});

describe("map and mask", () => {
  test("broadcast by name over one to six operands, whatever the axis order", () => {
    fc.assert(
      fc.property(seed, extent, extent, extent, fc.integer({ min: 1, max: 6 }), (s, a, b, c, count) => {
        const operands = [
          randomTile("f32", { b, a, c }, s),
          randomTile("f32", { c, a }, s + 1),
          randomTile("f32", { b }, s + 2),
          randomTile("f32", {}, s + 3),
          randomTile("bool", { a }, s + 4),
          randomTile("i32", { c, b, a }, s + 5),
        ].slice(0, count) as [Tile<"f32", "a" | "b" | "c">, Tile<"f32", "a">];
        const f = (...x: number[]) => x.reduce((sum, v, i) => sum * 0.7 + v * (i + 1), 0);
        const naive = (at: Readonly<Record<string, number>>) => f(...operands.map((t) => element(t, at)));
        expectSame(map(operands, f), (at) => Math.fround(naive(at)));
        expectSame(map(operands, f, "i32"), (at) => naive(at) | 0);
        expectSame(
          mask(operands, (...x) => f(...x) > 1),
          (at) => Number(naive(at) > 1),
        );
      }),
    );
  });
  test("results are truncated into integer dtypes", () => {
    const x = full({ a: 1 }, -1);
    expect(map([x], (v) => v, "u32").data[0]).toBe(2 ** 32 - 1);
    expect(map([x], (v) => v / 2, "i32").data[0]).toBe(0);
  });
  test("an accidental outer product is refused", () => {
    const [h, t] = [full({ h: 2 }, 1), full({ t: 3 }, 1)];
    // @ts-expect-error no operand has both axes
    expect(() => map([h, t], (a, b) => a + b)).toThrow(
      "map: no operand has all axes of the result (h, t): an f32 tile (h 2), an f32 tile (t 3). An outer product must be a gemm, or one operand must be widened first.",
    );
  });
  test("one name is one extent", () => {
    expect(() => mask([full({ h: 2 }, 1), full({ h: 3 }, 1)], (a, b) => a > b)).toThrow(
      'mask: axis "h" has extent 2 and 3 in an f32 tile (h 2) and an f32 tile (h 3). Axes of one name are one axis: load the same block, or rename one of them.',
    );
  });
});
