import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromBytes, toBytes } from "../../dsl/dtype.ts";
import { append, full, histogram, mask, type Tile } from "../../dsl/index.ts";
import { bytesOf, random, randomTile, seed, tensorOf, tileOf } from "./helpers.ts";

describe("histogram", () => {
  test("counts kept elements, and find gives the largest bin that reaches the wanted count from above", () => {
    fc.assert(
      fc.property(
        seed,
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 70 }),
        (s, bins, n, want) => {
          const next = random(s);
          const counters = Array<number>(bins).fill(0);
          const h = histogram(bins);
          for (let block = 0; block < 2; block++) {
            const bin = tileOf("u32", { t: n }, () => Math.floor(((next() + 1) / 2) * bins));
            const keep = randomTile("bool", { t: n }, s + block);
            h.add(bin, keep);
            bin.data.forEach((b, i) => (counters[b]! += keep.data[i]!));
          }
          expect([...h.counts("bin").data]).toEqual(counters);
          const above = (b: number) => counters.slice(b + 1).reduce((x, y) => x + y, 0);
          const reached = counters.map((_, b) => b).filter((b) => above(b - 1) >= want);
          const bin = Math.max(0, ...reached);
          expect(h.find(want)).toEqual({ bin, above: above(bin), inBin: counters[bin] });
        },
      ),
    );
  });
  test("a bin outside is an error unless the mask excludes it", () => {
    const h = histogram(4);
    const bin = full({ t: 1 }, 4, "u32");
    h.add(
      bin,
      mask([bin], (b) => b < 4),
    );
    expect([...h.counts("bin").data]).toEqual([0, 0, 0, 0]);
    expect(() =>
      h.add(
        bin,
        mask([bin], () => true),
      ),
    ).toThrow("histogram.add: bin 4 is outside the 4 bins. Exclude the element in the mask.");
    expect(() => histogram(0)).toThrow("histogram: 0 bins. The number of bins is a positive integer.");
  });
});

describe("append", () => {
  test("keeps the order, drops what does not fit, fills the rest; positions outside the tensor are not written", () => {
    fc.assert(
      fc.property(
        seed,
        fc.integer({ min: 0, max: 12 }),
        fc.integer({ min: -2, max: 4 }),
        fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 4 }),
        (s, capacity, start, pushes) => {
          fc.pre(capacity > 0);
          const size = 8;
          const tensor = tensorOf("i32", { q: 2, j: size }, toBytes("i32", Array<number>(2 * size).fill(7)), "out");
          const list = append(tensor.tile({ q: 1, j: { axis: "j", start, size: capacity } }));
          const expected: number[] = [];
          pushes.forEach((n, i) => {
            const value = randomTile("i32", { t: n }, s + i);
            const keep = randomTile("bool", { t: n }, s + 99 + i);
            list.push(value, keep);
            expected.push(...value.data.filter((_, k) => keep.data[k] === 1));
            expected.splice(capacity);
            expect(list.count).toBe(expected.length);
          });
          list.fill(-1);
          const written = [...expected, ...Array<number>(capacity - expected.length).fill(-1)];
          const row = Array.from({ length: size }, (_, j) => written[j - start] ?? 7);
          expect([...fromBytes("i32", bytesOf(tensor))]).toEqual([...Array<number>(size).fill(7), ...row]);
        },
      ),
    );
  });
  test("explains bad views and tiles", () => {
    const tensor = tensorOf("i32", { q: 2, j: 4 }, new Uint8Array(32), "out");
    expect(() => append(tensor.tile({}))).toThrow("append: the view has 2 axes (q, j). Select positions of all axes but one.");
    const list = append(tensor.tile({ q: 0 }));
    const everywhere = <A extends string>(tile: Tile<"i32" | "f32", A>) => mask([tile], () => true);
    const two = full({ a: 2, b: 2 }, 0, "i32");
    expect(() => list.push(two, everywhere(two))).toThrow(
      "append.push: an i32 tile (a 2, b 2) has no single order. Push tiles of one axis.",
    );
    const floats = full({ t: 2 }, 0);
    // @ts-expect-error floats do not go into integers
    const pushFloats = () => list.push(floats, everywhere(floats));
    expect(pushFloats).toThrow('append.push: f32 values do not go into "t", which is i32.');
    // @ts-expect-error the mask has another axis
    const pushMasked = () => list.push(full({ t: 2 }, 0, "i32"), everywhere(full({ u: 2 }, 0)));
    expect(pushMasked).toThrow("keep is a bool tile (u 2) but must be a bool tile (t 2).");
  });
});
