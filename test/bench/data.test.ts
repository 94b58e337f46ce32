/** Generated data: what it is drawn from, and that it is the same everywhere. */
import { expect, test } from "vitest";
import { distinctRows, normalFloats, normals, sampleOf, uniformFloats } from "../../bench/data.ts";
import { decodeArray } from "../../reference/index.ts";

const count = 200_000;
const moments = (values: ArrayLike<number>): { mean: number; deviation: number } => {
  let [sum, squares] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    sum += values[i]!;
    squares += values[i]! ** 2;
  }
  return { mean: sum / values.length, deviation: Math.sqrt(squares / values.length - (sum / values.length) ** 2) };
};

test.each([
  ["e4m3", 128],
  ["bf16", 1],
] as const)("%s normals have the deviation that was asked for, and no NaN", (format, deviation) => {
  const values = decodeArray(format, normals(format, count, deviation, 3));
  expect(values.length).toBe(count);
  expect(values.some((x) => Number.isNaN(x))).toBe(false);
  const found = moments(values);
  expect(found.mean / deviation).toBeCloseTo(0, 1);
  expect(found.deviation / deviation).toBeCloseTo(1, 1);
});

test("f32 normals are nearly all different", () => {
  const values = normalFloats(count, 1);
  expect(moments(values).deviation).toBeCloseTo(1, 1);
  expect(new Set(values).size / count).toBeGreaterThan(0.99);
});

test("uniform floats fill their range", () => {
  const values = uniformFloats(count, 2, 6, 1);
  expect(Math.min(...values.subarray(0, 1000))).toBeGreaterThanOrEqual(2);
  expect(Math.max(...values.subarray(0, 1000))).toBeLessThan(6);
  expect(moments(values)).toEqual({ mean: expect.closeTo(4, 1), deviation: expect.closeTo(4 / Math.sqrt(12), 1) });
});

test("one seed gives the same data, another gives other data", () => {
  expect(normals("bf16", 1000, 1, 5)).toEqual(normals("bf16", 1000, 1, 5));
  expect(normals("bf16", 1000, 1, 5)).not.toEqual(normals("bf16", 1000, 1, 6));
  expect([...normals("e4m3", 8, 128, 1)]).toEqual([233, 210, 98, 237, 229, 110, 237, 100]);
});

test("rows of distinct integers, padded where there are too few", () => {
  const rows = distinctRows(50, 20, 100, 1);
  for (let row = 0; row < 50; row++) {
    const values = [...rows.subarray(20 * row, 20 * row + 20)];
    expect(new Set(values).size).toBe(20);
    expect(values.every((v) => v >= 0 && v < 100)).toBe(true);
  }
  expect(new Set(rows).size).toBe(100);
  expect([...distinctRows(1, 5, 3, 1)].sort()).toEqual([-1, -1, 0, 1, 2]);
});

test("samples have both ends, ascend, and are all of a short range", () => {
  expect(sampleOf(4, 9, 1)).toEqual([0, 1, 2, 3]);
  for (const length of [10, 300, 65536]) {
    const sample = sampleOf(length, 8, length);
    expect(sample.length).toBe(8);
    expect(sample).toEqual([...new Set(sample)].sort((a, b) => a - b));
    expect([sample[0], sample.at(-1)]).toEqual([0, length - 1]);
  }
});
