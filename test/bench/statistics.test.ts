import { expect, test } from "vitest";
import { medianOrNull, quantile, spreadOf } from "../../bench/statistics.ts";

test.each([
  [[3], 0.5, 3],
  [[4, 1, 3, 2], 0.5, 2.5],
  [[4, 1, 3, 2], 0, 1],
  [[4, 1, 3, 2], 1, 4],
  [[10, 20, 30, 40, 50], 0.1, 14],
])("quantile of %j at %d is %d", (samples, p, expected) => {
  const before = [...samples];
  expect(quantile(samples, p)).toEqual(expect.closeTo(expected));
  expect(samples).toEqual(before);
});

test("no samples have no quantile", () => {
  expect(quantile([], 0.5)).toBeNaN();
});

test("the spread of samples", () => {
  const samples = Array.from({ length: 101 }, (_, i) => 100 - i);
  expect(spreadOf(samples)).toEqual({ median: 50, p10: 10, p90: 90 });
});

test("what is not readable does not count, and nothing readable is null", () => {
  expect(medianOrNull([null, 5, 1, null, 3])).toBe(3);
  expect(medianOrNull([null, null])).toBeNull();
  expect(medianOrNull([])).toBeNull();
});
