/** The rule of selections, on rows that were written by hand. */
import { expect, test } from "vitest";
import { selectionFaults } from "../../reference/index.ts";

const faultsOf = (row: readonly number[], first = 2, last = 9): number =>
  selectionFaults({ shape: { queries: 1, slots: row.length }, idx: row, first: [first], last: [last] })[0]!;

test.each([
  [[2, 5, 8, -1], 0],
  [[-1, -1, -1, -1], 0],
  [[2, 3, 4, 8], 0],
  [[1, 5, 8, -1], 1], // before the window
  [[2, 5, 9, -1], 1], // behind it
  [[2, 5, 5, 8], 1], // twice
  [[5, 2, 3, 8], 1], // not above the one before
  [[2, -1, 5, 8], 1], // behind a -1
  [[-1, -2, -1, 3], 2], // below -1, and behind a -1
  [[2147483647, -2147483648, 3, 4], 3], // the token behind the last is behind a negative number
])("%j has %i faults", (row, faults) => expect(faultsOf(row)).toBe(faults));

test("a window that begins below 0 begins at 0, and one that is empty has no token", () => {
  expect([faultsOf([0, 1], -3, 2), faultsOf([-3, 1], -3, 2), faultsOf([4, -1], 4, 4)]).toEqual([0, 2, 1]);
});

test("rows have windows of their own", () => {
  const of = { shape: { queries: 2, slots: 2 }, idx: [0, 1, 0, 1], first: [0, 1], last: [2, 2] };
  expect([...selectionFaults(of)]).toEqual([0, 1]);
  expect(() => selectionFaults({ ...of, first: [0] })).toThrow("first");
});
