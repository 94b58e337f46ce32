import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromBytes, toBytes } from "../../dsl/dtype.ts";
import { append, bag, bitmap, full, gatherRuns, iota, map, mask, max, min, orderedKey, orderedValue, rename, scan, slice, sum, type Tile } from "../../dsl/index.ts";
import { bytesOf, random, randomTile, seed, tensorOf, tileOf } from "./helpers.ts";

const everywhere = <A extends string>(tile: Tile<"i32" | "u32" | "f32", A>) => mask([tile], () => true);

describe("bag", () => {
  test("holds what was kept, counts what did not fit, and shows nothing when overfull", () => {
    fc.assert(
      fc.property(seed, fc.integer({ min: 1, max: 12 }), fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 3 }), (s, capacity, adds) => {
        const kept = bag(capacity, { x: "f32", t: "i32" });
        const expected: string[] = [];
        adds.forEach((n, i) => {
          const [x, t, keep] = [randomTile("f32", { r: 2, t: n }, s + i), randomTile("i32", { t: n, r: 2 }, s + 50 + i), randomTile("bool", { r: 2, t: n }, s + 99 + i)];
          kept.add({ x, t }, keep);
          keep.data.forEach((k, e) => k !== 0 && expected.push(`${x.data[e]} ${t.data[(e % n) * 2 + Math.floor(e / n)]}`));
        });
        expect(kept.count).toBe(expected.length);
        const items = kept.items("i");
        const shown = [...items.x.data].map((x, i) => `${x} ${items.t.data[i]}`);
        expect(shown.sort()).toEqual(expected.length > capacity ? [] : expected.sort());
        expect(items.x.axes).toEqual(["~i"]);
      }),
    );
  });
  test("no operation shows the order of its items", () => {
    const kept = bag(4, { x: "f32", t: "i32" });
    const { x, t } = kept.items("i");
    const order = 'has no order, so the result would differ from run to run. Items of a bag can be mapped';
    expect(() => sum(x, "~i")).toThrow(`sum: axis "~i" of an f32 tile (~i 0) ${order}`);
    // @ts-expect-error the axis has no order
    const scanned = () => scan(t, "~i");
    expect(scanned).toThrow(order);
    // @ts-expect-error the axis has no order
    const cut = () => slice(t, "~i", 0, 1);
    expect(cut).toThrow(order);
    expect(() => rename(t, { "~i": "t" })).toThrow(order);
    const list = append(tensorOf("i32", { j: 4 }, new Uint8Array(16), "out").tile({}));
    expect(() => list.push(t, everywhere(t))).toThrow(order);
    expect([sum(t, "~i"), max(t, "~i"), min(map([t], (v) => v, "u32"), "~i"), max(x, "~i")].map((r) => r.data[0])).toEqual([0, -(2 ** 31), 2 ** 32 - 1, -Infinity]);
  });
  test("explains bad items", () => {
    const kept = bag(4, { t: "i32" });
    const [ints, floats] = [full({ t: 2 }, 0, "i32"), full({ t: 2 }, 0)];
    // @ts-expect-error floats do not go into integers
    const addFloats = () => kept.add({ t: floats }, everywhere(floats));
    expect(addFloats).toThrow('bag.add: an f32 tile (t 2) does not go into the field "t", which is i32. Cast it first.');
    // @ts-expect-error the mask has another axis
    const addMasked = () => kept.add({ t: ints }, everywhere(full({ u: 2 }, 0, "i32")));
    expect(addMasked).toThrow('bag.add: keep is a bool tile (u 2) but must be a bool tile like "t", an i32 tile (t 2).');
    kept.items("i");
    expect(() => kept.add({ t: ints }, everywhere(ints))).toThrow("bag.add: the bag's items have been looked at. Make another bag.");
    expect(() => bag(0, { t: "i32" })).toThrow("bag: capacity 0 is not a positive integer.");
    expect(() => bag(1, {})).toThrow("bag: its items have no fields.");
  });
});

describe("bitmap", () => {
  test("gives positions in ascending order, each once, whatever the order of marking", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 99 }), { maxLength: 40 }), fc.integer({ min: 1, max: 30 }), (positions, capacity) => {
        const marks = bitmap(100);
        for (const p of positions) {
          const tile = full({ t: 1 }, p, "i32");
          marks.add(tile, everywhere(tile));
        }
        const tensor = tensorOf("i32", { j: capacity }, toBytes("i32", Array<number>(capacity).fill(-1)), "out");
        const list = append(tensor.tile({}));
        list.pushMarked(marks, iota({ axis: "p", start: 7, size: 100 }));
        const ascending = [...new Set(positions)].sort((a, b) => a - b).map((p) => p + 7);
        expect([...fromBytes("i32", bytesOf(tensor))]).toEqual(Array.from({ length: capacity }, (_, j) => ascending[j] ?? -1));
        expect(list.count).toBe(Math.min(ascending.length, capacity));
      }),
    );
  });
  test("refuses positions outside, marks above the limit, and lists of other numbers", () => {
    const marks = bitmap(4);
    const four = full({ t: 1 }, 4, "i32");
    expect(() => marks.add(four, everywhere(four))).toThrow("bitmap.add: position 4 is outside the 4 positions. Exclude the element in the mask.");
    const three = full({ t: 1 }, 3, "u32");
    marks.add(three, everywhere(three));
    const list = append(tensorOf("i32", { j: 4 }, new Uint8Array(16), "out").tile({}));
    const positions = iota({ axis: "p", start: 0, size: 4 });
    expect(() => list.pushMarked(marks, positions, 3)).toThrow("append.pushMarked: position 3 is marked, which is not below the limit 3.");
    const floats = append(tensorOf("f32", { j: 4 }, new Uint8Array(16), "out").tile({}));
    // @ts-expect-error positions are i32
    const pushIntegers = () => floats.pushMarked(marks, positions);
    expect(pushIntegers).toThrow('append.pushMarked: i32 values do not go into "t", which is f32.');
    expect(() => list.pushMarked(marks, iota({ axis: "p", start: 0, size: 3 }))).toThrow("append.pushMarked: an i32 tile (p 3) does not have the 4 positions of the bitmap.");
    expect(() => bitmap(0)).toThrow("bitmap: 0 positions. The number of positions is a positive integer.");
  });
});

test("gatherRuns takes elements from each start on, zeros outside the tensor", () => {
  fc.assert(
    fc.property(seed, fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: -2, max: 3 }), (s, size, run, from) => {
      const next = random(s);
      const values = Array.from({ length: 2 * size * 3 }, () => Math.fround(next()));
      const tensor = tensorOf("f32", { q: 2, t: size, d: 3 }, toBytes("f32", values));
      const starts = tileOf("i32", { j: 5 }, () => Math.floor(next() * (size + 3)));
      const runs = gatherRuns(tensor.tile({ q: 1, t: { axis: "t", start: from, size: run } }), { t: starts });
      expect(runs.axes).toEqual(["j", "t", "d"]);
      runs.data.forEach((x, i) => {
        const t = starts.data[Math.floor(i / (3 * run))]! + from + (Math.floor(i / 3) % run);
        expect(x).toBe(t >= 0 && t < size ? values[(size + t) * 3 + (i % 3)] : 0);
      });
    }),
  );
});

test("gatherRuns explains what it needs", () => {
  const tensor = tensorOf("f32", { t: 4 }, new Uint8Array(16));
  const at = full({ j: 2 }, 0, "i32");
  expect(() => gatherRuns(tensor.tile({}), { t: at })).toThrow('gatherRuns: axis "t" is not cut to a range, which says how long a run is.');
  expect(() => gatherRuns(tensor.tile({ t: { axis: "t", start: 0, size: 2 } }), { t: full({ t: 2 }, 0, "i32") })).toThrow('the result would have axis "t" twice.');
});

test("orderedKey orders every f32, and orderedValue leads back", () => {
  const anyBits = fc.integer({ min: 0, max: 2 ** 32 - 1 }).map((b) => new Float32Array(Uint32Array.of(b).buffer)[0]!);
  fc.assert(
    fc.property(anyBits, anyBits, (x, y) => {
      const [a, b] = [orderedKey(x), orderedKey(y)];
      if (Number.isNaN(x) || Number.isNaN(y)) expect(a < b).toBe(Number.isNaN(x) && !Number.isNaN(y));
      else expect([a < b, a === b]).toEqual([x < y, x === y]);
      expect(orderedKey(orderedValue(a))).toBe(a);
    }),
    { numRuns: 2000 },
  );
  expect([NaN, -Infinity, -0, 0, Infinity].map(orderedKey)).toEqual([0, 0x007fffff, 0x80000000, 0x80000000, 0xff800000]);
});
