/** Which collectives share memory: those whose lives do not meet, whichever way the program goes. */
import { expect, test } from "vitest";
import { collectiveBuffers } from "../../../compiler/ir/collectives.ts";
import { constant, int } from "../../../compiler/ir/expr.ts";
import type { ScalarValue, TileStmt, TileValue, TileView } from "../../../compiler/ir/tile.ts";

const loc = { file: "k.ts", line: 1, column: 1 };
const scalar = (name: string): ScalarValue => ({ name, type: "i32", loc });
const histogram = (name: string, bins = 16): TileStmt => ({ kind: "Histogram", name, bins, loc });
const find = (name: string): TileStmt => ({ kind: "HistogramFind", histogram: name, want: int(1), bin: scalar("b"), above: scalar("a"), inBin: scalar("i"), loc });
const loop = (...body: readonly TileStmt[]): TileStmt => ({ kind: "For", index: scalar("n"), lo: int(0), hi: int(2), step: 1, tiles: [], scalars: [], body, loc });
const branch = (then: readonly TileStmt[], otherwise: readonly TileStmt[]): TileStmt => ({ kind: "If", cond: constant("bool", 1), then, otherwise, tiles: [], scalars: [], loc });

const placed = (...body: readonly TileStmt[]): Readonly<Record<string, string>> => Object.fromEntries(collectiveBuffers(body, false).of);

test("one after the other, in branches, and in turns of a loop", () => {
  expect(placed(histogram("a"), find("a"), histogram("b"), find("b"))).toEqual({ a: "a", b: "a" });
  expect(placed(branch([histogram("a"), find("a")], [histogram("b"), find("b")]))).toEqual({ a: "a", b: "a" });
  expect(placed(loop(histogram("a"), find("a")), histogram("b"), find("b"))).toEqual({ a: "a", b: "a" });
});

test("not while both are needed", () => {
  expect(placed(histogram("a"), histogram("b"), find("a"), find("b"))).toEqual({ a: "a", b: "b" });
  expect(placed(histogram("a"), branch([histogram("b"), find("b")], []), find("a"))).toEqual({ a: "a", b: "b" });
  // the loop's next turn reads it again
  expect(placed(histogram("a"), loop(find("a"), histogram("b"), find("b")))).toEqual({ a: "a", b: "b" });
});

test("the buffer is as large as the largest of them; kinds do not mix", () => {
  const { buffers } = collectiveBuffers([histogram("a", 16), find("a"), histogram("b", 64), find("b"), { kind: "Bitmap", name: "m", size: 100, loc }], false);
  expect(buffers.map((b) => [b.name, b.elements])).toEqual([["a", 64], ["m", 4]]);
});

test("what is computed from items or counts keeps them alive", () => {
  const tile = (id: number, label: string): TileValue => ({ id, label, dtype: "i32", axes: [{ name: "~c", extent: 8, held: int(3) }], loc });
  const [items, doubled, sum] = [tile(1, "x"), tile(2, "y"), { ...tile(3, "s"), axes: [] }];
  const bag = (name: string): TileStmt => ({ kind: "Bag", name, capacity: 8, fields: [{ name: "x", dtype: "i32" }], loc });
  const body = (after: readonly TileStmt[]): readonly TileStmt[] => [
    bag("first"),
    { kind: "Define", value: items, op: { kind: "Items", bag: "first", field: 0 } },
    { kind: "Define", value: doubled, op: { kind: "Map", inputs: [items], params: ["v"], body: { kind: "Var", type: "i32", name: "v" } } },
    ...after,
  ];
  const reduce: TileStmt = { kind: "Define", value: sum, op: { kind: "Reduce", fn: "sum", of: doubled, over: ["~c"] } };
  expect(placed(...body([reduce, bag("second")]))).toEqual({ first: "first", second: "first" });
  expect(placed(...body([bag("second"), reduce]))).toEqual({ first: "first", second: "second" });
});

test("a part of a list may lie where a histogram was", () => {
  const view: TileView = { param: "y", field: "", dtype: "i32", coords: [{ kind: "Block", axis: { name: "j", extent: 10 }, start: int(0) }] };
  const of: TileValue = { id: 1, label: "p", dtype: "i32", axes: [{ name: "p", extent: 64 }], loc };
  const list: TileStmt = { kind: "AppendMarked", append: "out", bitmap: "m", of, limit: int(9), loc };
  const body: readonly TileStmt[] = [histogram("a"), find("a"), { kind: "Bitmap", name: "m", size: 64, loc }, { kind: "Append", name: "out", view, loc }, list];
  const { parts, buffers } = collectiveBuffers(body, true);
  expect([...parts.values()]).toEqual([{ buffer: "a", elements: 10 }]);
  expect(buffers.map((b) => b.name)).toEqual(["a", "m"]);
  expect(collectiveBuffers(body, false).parts.size).toBe(0);
});
