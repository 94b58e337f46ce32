/** The Tile IR verifier refuses every kind of broken kernel: one fault each, planted in good ones. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readKernel } from "../../../compiler/front/index.ts";
import { constant, int, variable } from "../../../compiler/ir/expr.ts";
import type { TileKernel, TileOp, TileStmt, TileValue } from "../../../compiler/ir/tile.ts";
import { verifyTile } from "../../../compiler/ir/verify_tile.ts";

const forms = join(import.meta.dirname, "../front/fixtures/forms.ts");
const load = (exportName: string): Promise<TileKernel> => readKernel({ file: forms, exportName, skipTypes: true });

/** Replaces the first statement that `change` changes, at any depth. */
function mutate(kernel: TileKernel, change: (s: TileStmt) => TileStmt | undefined): TileKernel {
  let done = false;
  const body = (list: readonly TileStmt[]): readonly TileStmt[] =>
    list.map((s): TileStmt => {
      if (done) return s;
      const changed = change(s);
      if (changed) {
        done = true;
        return changed;
      }
      if (s.kind === "For") return { ...s, body: body(s.body) };
      return s.kind === "If" ? { ...s, then: body(s.then), otherwise: body(s.otherwise) } : s;
    });
  const mutated = { ...kernel, body: body(kernel.body) };
  if (!done) throw new Error("nothing was changed");
  return mutated;
}
const inOp = <K extends TileOp["kind"]>(kind: K, change: (op: Extract<TileOp, { kind: K }>, v: TileValue) => TileOp) => (s: TileStmt): TileStmt | undefined =>
  s.kind === "Define" && s.op.kind === kind ? { ...s, op: change(s.op as Extract<TileOp, { kind: K }>, s.value) } : undefined;
const inStmt = <K extends TileStmt["kind"]>(kind: K, change: (s: Extract<TileStmt, { kind: K }>) => TileStmt) => (s: TileStmt): TileStmt | undefined =>
  s.kind === kind ? change(s as Extract<TileStmt, { kind: K }>) : undefined;
const inValue = (kind: TileOp["kind"], change: (v: TileValue) => TileValue) => (s: TileStmt): TileStmt | undefined =>
  s.kind === "Define" && s.op.kind === kind ? { ...s, value: change(s.value) } : undefined;
const longer = (v: TileValue): TileValue => ({ ...v, axes: v.axes.map((a) => ({ ...a, extent: a.extent + 1 })) });

/** The first tile with axes that a body defines. */
function definedBefore(body: readonly TileStmt[], end: number): TileValue {
  for (const s of body.slice(0, end)) if (s.kind === "Define" && s.value.axes.length > 0) return s.value;
  throw new Error("there is none");
}

const faults: readonly (readonly [string, string, (s: TileStmt) => TileStmt | undefined, RegExp])[] = [
  ["a load of another dtype", "products", inValue("Load", (v) => ({ ...v, dtype: "f16" })), /do not fit/],
  ["a load of a param that is not there", "products", inOp("Load", (op) => ({ ...op, view: { ...op.view, param: "nowhere" } })), /there is no nowhere/],
  ["a load with a coord too few", "products", inOp("Load", (op) => ({ ...op, view: { ...op.view, coords: op.view.coords.slice(1) } })), /has 3 axes, the view 2 coords/],
  ["a load at an f32 position", "branches", inOp("Load", (op) => ({ ...op, view: { ...op.view, coords: [{ kind: "Index", at: constant("f32", 0) }, ...op.view.coords.slice(1)] } })), /coord 0 of k is f32/],
  ["a load at an unknown position", "branches", inOp("Load", (op) => ({ ...op, view: { ...op.view, coords: [{ kind: "Index", at: variable("i32", "lost") }, ...op.view.coords.slice(1)] } })), /variable lost is not defined/],
  ["a load whose fill is of another type", "branches", inOp("Load", (op) => ({ ...op, fill: constant("f32", 0) })), /do not fit/],
  ["a gather by a coord that there is not", "records", inOp("Gather", (op) => ({ ...op, picks: [{ ...op.picks[0]!, coord: 9 }] })), /do not fit/],
  ["a full of another type", "branches", inOp("Full", () => ({ kind: "Full", value: int(0) })), /do not fit/],
  ["an iota of two axes", "selection", inValue("Iota", (v) => ({ ...v, axes: [...v.axes, { name: "z", extent: 1 }] })), /do not fit/],
  ["a slice past the end", "products", inOp("Slice", (op) => ({ ...op, start: 4 })), /do not fit/],
  ["a rename to other axes", "products", inOp("Rename", (op) => ({ ...op, axes: { n: "q" } })), /do not fit/],
  ["a cast that changes the shape", "wholeNumbers", inValue("Cast", longer), /do not fit/],
  ["a map with a parameter too few", "selection", inOp("Map", (op) => ({ ...op, params: [] })), /variable v is not defined/],
  ["a map whose body has another type", "selection", inOp("Map", (op) => ({ ...op, body: constant("f32", 0) })), /do not fit/],
  ["a map whose axes no operand has", "branches", inOp("Map", (op) => ({ ...op, inputs: op.inputs.slice(1), params: op.params.slice(1), body: variable("f32", "t") })), /do not fit/],
  ["an ill-typed body", "branches", inOp("Map", (op) => ({ ...op, body: { kind: "Binary", type: "f32", op: "+", a: variable("f32", "v"), b: int(1) } })), /an ill-typed Binary of type f32 \(\+\)/],
  ["a call of an unknown function", "branches", inOp("Map", (op) => ({ ...op, body: { kind: "Call", type: "f32", fn: "gamma", args: [variable("f32", "v")] } })), /an ill-typed Call of type f32 \(gamma\)/],
  ["a sum that keeps its axis", "branches", inOp("Reduce", (op) => ({ ...op, over: [] })), /do not fit/],
  ["a scan along no axis", "selection", inOp("Scan", (op) => ({ ...op, axis: "z" })), /do not fit/],
  ["a gemm over an axis of one side", "products", inOp("Gemm", (op) => ({ ...op, over: ["n"] })), /do not fit/],
  ["a gemm of a tile that was defined with another dtype", "products", inOp("Gemm", (op) => ({ ...op, a: { ...op.a, dtype: "i32" } })), /tile x is not defined/],
  ["counts of no histogram", "selection", inOp("Counts", (op) => ({ ...op, histogram: "other" })), /there is no histogram other/],
  ["an extent of 0", "branches", inValue("Load", (v) => ({ ...v, axes: [{ name: "c", extent: 0 }] })), /an extent is not a positive integer|do not fit/],
  ["a let of another type", "scalarCode", inStmt("Let", (s) => ({ ...s, expr: constant("bool", 1) })), /do not fit/],
  ["a scalar of a tile with axes", "carried", inStmt("For", (s) => ({ ...s, body: s.body.map((b, i): TileStmt => (b.kind === "ToScalar" ? { ...b, of: definedBefore(s.body, i) } : b)) })), /do not fit/],
  ["a loop over f32", "carried", inStmt("For", (s) => ({ ...s, hi: constant("f32", 9) })), /do not fit/],
  ["a loop without a step", "carried", inStmt("For", (s) => ({ ...s, step: 0 })), /do not fit/],
  ["a carried tile of another dtype", "carried", inStmt("For", (s) => ({ ...s, tiles: s.tiles.map((c) => ({ ...c, result: { ...c.result, dtype: "bf16" } })) })), /do not fit/],
  ["a use of a loop's inner value after it", "carried", inStmt("For", (s) => ({ ...s, tiles: s.tiles.map((c) => ({ ...c, init: c.next })) })), /tile state\.top_\d is not defined here/],
  ["a branch on a number", "branches", inStmt("If", (s) => ({ ...s, cond: int(1) })), /do not fit/],
  ["a branch that hands out another shape", "branches", inStmt("If", (s) => ({ ...s, tiles: s.tiles.map((m) => ({ ...m, result: longer(m.result) })) })), /do not fit/],
  ["a store of other axes", "products", inStmt("Store", (s) => ({ ...s, view: { ...s.view, coords: s.view.coords.map((_, i) => (i === 0 ? { kind: "Index", at: int(0) } : s.view.coords[i]!)) } })), /do not fit/],
  ["a store into an input", "branches", inStmt("Store", (s) => ({ ...s, view: { ...s.view, param: "x" } })), /x is an input/],
  ["a histogram of no bins", "selection", inStmt("Histogram", (s) => ({ ...s, bins: 0 })), /do not fit/],
  ["an add to no histogram", "selection", inStmt("HistogramAdd", (s) => ({ ...s, histogram: "other" })), /there is no histogram other/],
  ["a find of an f32 count", "selection", inStmt("HistogramFind", (s) => ({ ...s, want: constant("f32", 3) })), /do not fit/],
  ["an append to two axes", "selection", inStmt("Append", (s) => ({ ...s, view: { ...s.view, coords: [{ kind: "Block", axis: { name: "n", extent: 2 }, start: int(0) }, s.view.coords[1]!] } })), /do not fit/],
  ["values of other positions than the bitmap's", "marking", inStmt("AppendMarked", (s) => ({ ...s, of: s.of, bitmap: "smaller" })), /does not have the 4 positions of smaller/],
  ["a push to no append", "selection", inStmt("AppendPush", (s) => ({ ...s, append: "other" })), /there is no append other/],
];

describe("a planted fault is refused", () => {
  test.each(faults)("%s", async (_, exportName, change, complaint) => {
    const kernel = await load(exportName);
    verifyTile(kernel, "readKernel");
    expect(() => verifyTile(mutate(kernel, change), "somePass")).toThrow(complaint);
    expect(() => verifyTile(mutate(kernel, change), "somePass")).toThrow(/^after somePass: /);
  });

  test("one name, one id, one definition", async () => {
    const kernel = await load("branches");
    const twice = { ...kernel, body: [kernel.body[0]!, ...kernel.body] };
    expect(() => verifyTile(twice, "somePass")).toThrow(/"k\.load" is defined twice/);
  });
});
