import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cast, full, gemm, map, max, min, scan, slice, sum, type Tile } from "../../dsl/index.ts";
import { element, expectSame, extent, positions, randomTile, seed, tileOf, type Position } from "./helpers.ts";

const shapes = fc.record({ a: extent, b: extent, c: extent });

describe("reductions", () => {
  const naive = {
    sum: (x: number[]) => x.reduce((s, v) => s + v, 0),
    max: (x: number[]) => Math.max(...x),
    min: (x: number[]) => Math.min(...x),
  };

  test("agree with lists over one, two or all axes, for every dtype", () => {
    fc.assert(
      fc.property(
        seed,
        shapes,
        fc.constantFrom("f32", "bf16", "i32", "u32", "bool"),
        fc.subarray(["a", "b", "c"] as const, { minLength: 1 }),
        (s, shape, dtype, over) => {
          const x = randomTile(dtype, shape, s);
          for (const [fn, reduce] of Object.entries({ sum, max, min }) as ["sum", typeof sum][]) {
            const result = reduce(x, over);
            expect(result.dtype).toBe(dtype === "bool" ? "i32" : dtype === "bf16" ? "f32" : dtype);
            const picked = (at: Position) => [...positions(over, shape)].map((p) => element(x, { ...at, ...p }));
            expectSame(result, (at) => (dtype === "f32" || dtype === "bf16" ? Math.fround(naive[fn](picked(at))) : naive[fn](picked(at))));
          }
        },
      ),
    );
  });
  test("a float sum is rounded once, at the end", () => {
    const x = tileOf("f32", { j: 3 }, ({ j }) => [2 ** 24, 1, 1][j]!);
    expect(sum(x, "j").data[0]).toBe(2 ** 24 + 2); // rounding after each addition would lose both ones
  });
  test("an integer sum wraps around", () => {
    expect(sum(full({ j: 2 }, 2 ** 31 - 1, "i32"), "j").data[0]).toBe(-2);
    expect(sum(full({ j: 2 }, 2 ** 31, "u32"), "j").data[0]).toBe(0);
  });
  test("max and min skip NaN", () => {
    const x = tileOf("f32", { j: 3 }, ({ j }) => [NaN, -1, NaN][j]!);
    expect([max(x, "j").data[0], min(x, "j").data[0]]).toEqual([-1, -1]);
    expect([max(full({ j: 1 }, NaN), "j").data[0], min(full({ j: 1 }, NaN), "j").data[0]]).toEqual([-Infinity, Infinity]);
  });
  test("a sum splits: over a part and the rest, and over one axis after the other", () => {
    fc.assert(
      fc.property(seed, shapes, (s, shape) => {
        const x = randomTile("i32", shape, s);
        expect(sum(sum(x, "b"), ["a", "c"]).data[0]).toBe(sum(x, ["a", "b", "c"]).data[0]);
        if (shape.b < 2) return;
        const halves = [sum(slice(x, "b", 0, 1), ["a", "b", "c"]), sum(slice(x, "b", 1, shape.b), ["a", "b", "c"])] as const;
        expect(halves[0].data[0]! + halves[1].data[0]!).toBe(sum(x, ["a", "b", "c"]).data[0]);
      }),
    );
  });
  test("an unknown axis is named", () => {
    // @ts-expect-error there is no axis d
    expect(() => sum(full({ h: 2 }, 1), "d")).toThrow('sum: there is no axis "d" in an f32 tile (h 2). Name one of "h".');
  });
});

test("scan is the reduction of every prefix", () => {
  fc.assert(
    fc.property(
      seed,
      shapes,
      fc.constantFrom("f32", "i32", "bool"),
      fc.constantFrom("sum", "max", "min"),
      fc.constantFrom("a", "b", "c"),
      (s, shape, dtype, fn, axis) => {
        const x = randomTile(dtype, shape, s);
        const running = scan(x, axis, fn);
        for (let end = 1; end <= shape[axis]; end++) {
          const prefix = { sum, max, min }[fn](slice(x, axis, 0, end), axis);
          for (const at of positions(prefix.axes, prefix.shape))
            expect(element(running, { ...at, [axis]: end - 1 })).toBe(element(prefix, at));
        }
      },
    ),
  );
});

describe("gemm", () => {
  const integers = <A extends string>(shape: Readonly<Record<A, number>>, s: number): Tile<"f32", A> =>
    cast("f32", randomTile("i32", shape, s));

  test("agrees with the definition: batch axes, several contracted axes, any order, with and without acc", () => {
    fc.assert(
      fc.property(
        seed,
        extent,
        extent,
        fc.integer({ min: 1, max: 9 }),
        extent,
        extent,
        fc.boolean(),
        (s, n, rows, columns, k, l, withAcc) => {
          const a = randomTile("f32", { k, rows, n, l }, s);
          const b = randomTile("bf16", { n, l, columns, k }, s + 1);
          const acc = randomTile("f32", { columns, rows, n }, s + 2);
          expectSame(gemm(a, b, ["k", "l"], withAcc ? acc : undefined), (at) => {
            let total = withAcc ? element(acc, at) : 0;
            const products = [...positions(["k", "l"], { k, l })].map((p) => element(a, { ...at, ...p }) * element(b, { ...at, ...p }));
            for (const product of products) total += product;
            return Math.fround(total);
          });
        },
      ),
    );
  });
  test("result axes: batch, then a's, then b's", () => {
    expect(gemm(full({ h: 2, n: 2, d: 3 }, 1), full({ t: 5, d: 3, n: 2 }, 1), "d").axes).toEqual(["n", "h", "t"]);
  });
  test("is bilinear and symmetric, exactly, on small integers", () => {
    fc.assert(
      fc.property(seed, extent, extent, extent, (s, h, t, d) => {
        const [a, a2, b] = [integers({ h, d }, s), integers({ h, d }, s + 1), integers({ t, d }, s + 2)];
        const both = gemm(
          map([a, a2], (x, y) => x + 3 * y),
          b,
          "d",
        );
        const [first, second] = [gemm(a, b, "d"), gemm(a2, b, "d")];
        expectSame(both, (at) => element(first, at) + 3 * element(second, at));
        expectSame(gemm(b, a, "d"), (at) => element(first, at));
        expectSame(gemm(a2, b, "d", first), (at) => element(first, at) + element(second, at));
      }),
    );
  });
  test("rounds once", () => {
    const a = tileOf("f32", { d: 3 }, ({ d }) => [2 ** 24, 1, 1][d]!);
    expect(gemm(a, full({ d: 3 }, 1), "d").data[0]).toBe(2 ** 24 + 2);
  });
  test("bad operands are explained", () => {
    const a = full({ h: 2, d: 4 }, 1);
    expect(() => gemm(a, full({ t: 3, d: 5 }, 1), "d")).toThrow('gemm: axis "d" has extent 4 and 5');
    // @ts-expect-error integers are not multiplied by gemm
    expect(() => gemm(a, full({ d: 4 }, 1, "i32"), "d")).toThrow("gemm: an i32 tile (d 4) is not of a float dtype. Cast it first.");
    // @ts-expect-error h is in one operand alone
    expect(() => gemm(a, full({ d: 4 }, 1), "h")).toThrow('gemm: there is no axis "h" in an f32 tile (d 4)');
    // @ts-expect-error the accumulator lacks axis h
    expect(() => gemm(a, full({ d: 4, t: 3 }, 1), "d", full({ t: 3 }, 0))).toThrow(
      "gemm: the accumulator is an f32 tile (t 3) but the result is an f32 tile (h 2, t 3). They must be alike.",
    );
  });
});
