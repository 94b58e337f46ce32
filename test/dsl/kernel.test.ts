import { describe, expect, test } from "vitest";
import { fromBytes, toBytes } from "../../dsl/dtype.ts";
import { blocks, cast, each, field, input, inputRecord, kernel, load, map, output, outputRecord, store } from "../../dsl/index.ts";

/** y[q, c] = x[q, c] + 1, rows of both pitched. */
const increment = kernel("increment", {
  args: {
    x: input("f32", { q: "Q", c: 3 }, { pitch: { q: "xPitch" } }),
    y: output("f32", { q: "Q", c: 3 }, { pitch: { q: "yPitch" } }),
  },
  tune: { BQ: 2 },
  grid: (a, { BQ }) => ({ qb: blocks("q", 0, a.x.size.q, BQ) }),
  body(a, _tune, { qb }) {
    store(
      a.y.tile({ q: qb }),
      map([load(a.x.tile({ q: qb }))], (x) => x + 1),
    );
  },
});
const f32 = (...values: number[]) => toBytes("f32", values);

describe("a run", () => {
  test("covers the grid, ragged ends included, for any tune numbers", () => {
    const x = Array.from({ length: 15 }, (_, i) => i);
    for (const BQ of [1, 2, 3, 4, 5, 64]) {
      const y = new Uint8Array(60);
      increment.run({ x: f32(...x), y }, {}, { BQ });
      expect([...fromBytes("f32", y)]).toEqual(x.map((v) => v + 1));
    }
  });
  test("reads and writes pitched rows; bytes in the gaps stay", () => {
    const y = f32(...Array<number>(9).fill(7));
    increment.run({ x: f32(1, 2, 3, 99, 4, 5, 6, 99), y }, { Q: 2, xPitch: 4, yPitch: 5 });
    expect([...fromBytes("f32", y)]).toEqual([2, 3, 4, 7, 7, 5, 6, 7, 7]);
  });
  test("takes the last row of a pitched buffer without its gap", () => {
    const y = new Uint8Array(4 * 8);
    increment.run({ x: f32(1, 2, 3, 4, 5, 6), y }, { Q: 2, yPitch: 5 });
    expect([...fromBytes("f32", y)]).toEqual([2, 3, 4, 0, 0, 5, 6, 7]);
  });
  test("works on buffers that are windows of larger ones, at odd offsets", () => {
    const memory = new Uint8Array(64).fill(0xee);
    memory.set(f32(1, 2, 3), 1);
    increment.run({ x: memory.subarray(1, 13), y: memory.subarray(15, 27) });
    expect([...fromBytes("f32", memory.slice(15, 27))]).toEqual([2, 3, 4]);
    expect([memory[0], memory[13], memory[14], memory[27]]).toEqual([0xee, 0xee, 0xee, 0xee]);
  });
  test("of zero rows does nothing", () => {
    increment.run({ x: new Uint8Array(0), y: new Uint8Array(0) }, { Q: 0 });
  });
  test("visits the grid with the last dimension fastest", () => {
    const seen: unknown[] = [];
    const walk = kernel("walk", {
      args: { x: input("f32", { q: "Q" }) },
      tune: {},
      grid: (a) => ({ i: each(a.x.size.q), t: blocks("t", 1, 4, 2) }),
      body: (_a, _tune, { i, t }) => void seen.push([i, t.start, t.size]),
    });
    walk.run({ x: f32(0, 0) });
    expect(seen).toEqual([
      [0, 1, 2],
      [0, 3, 2],
      [1, 1, 2],
      [1, 3, 2],
    ]);
  });
});

test("records: fields of several dtypes, a pitch in bytes, one record axis inside the pitch", () => {
  const pages = kernel("pages", {
    args: {
      from: inputRecord(
        { p: "P", s: 2 },
        { code: field("e4m3", { d: 2 }, 0), scale: field("f32", {}, 4) },
        { bytes: 8, pitch: "pageBytes" },
      ),
      to: outputRecord({ p: "P", s: 2 }, { value: field("bf16", { d: 2 }, 2) }, { bytes: 7 }),
    },
    tune: {},
    grid: (a) => ({ p: each(a.from.size.p) }),
    body(a, _tune, { p }) {
      const value = map([load(a.from.code.tile({ p })), load(a.from.scale.tile({ p }))], (code, scale) => code * scale);
      store(a.to.value.tile({ p }), cast("bf16", value));
    },
  });
  const record = (codes: number[], scale: number) => [...toBytes("e4m3", codes), 0xee, 0xee, ...f32(scale)];
  const from = Uint8Array.from([
    ...record([1, 2], 0.5),
    ...record([3, 4], 2),
    0xee,
    0xee,
    0xee,
    ...record([5, 6], 1),
    ...record([7, 8], -1),
  ]);
  const to = new Uint8Array(4 * 7).fill(0x11);
  pages.run({ from, to }, { pageBytes: 19 });
  const values = [
    [0.5, 1],
    [6, 8],
    [5, 6],
    [-7, -8],
  ];
  expect([...to]).toEqual(values.flatMap((v) => [0x11, 0x11, ...toBytes("bf16", v), 0x11]));
});

describe("dims", () => {
  const product = kernel("product", {
    args: { a: input("f32", { m: "M", k: "K" }), b: input("f32", { k: "K" }), c: output("f32", { m: "M" }) },
    tune: {},
    grid: () => ({ i: each(1) }),
    body: () => {},
  });
  test("follow from byte lengths, in any order of arguments", () => {
    product.run({ a: new Uint8Array(4 * 6), b: new Uint8Array(4 * 3), c: new Uint8Array(4 * 2) });
    expect(() => product.run({ a: new Uint8Array(4 * 7), b: new Uint8Array(4 * 3), c: new Uint8Array(4 * 2) })).toThrow(
      'product: argument "a" has 28 bytes, but (m 2, k 3) needs 24. Check the buffer and the dims.',
    );
    expect(() => product.run({ a: new Uint8Array(24), b: new Uint8Array(10), c: new Uint8Array(8) })).toThrow(
      'product: argument "b" has 10 bytes, which is no multiple of 4, the bytes for one step of "K".',
    );
  });
  test("that do not follow must be given", () => {
    const square = kernel("square", {
      args: { a: input("f32", { m: "M", k: "K" }) },
      tune: {},
      grid: () => ({ i: each(1) }),
      body: () => {},
    });
    expect(() => square.run({ a: new Uint8Array(24) })).toThrow(
      'square: the dims "M", "K" do not follow from the buffers. Give them as dims.',
    );
    square.run({ a: new Uint8Array(24) }, { K: 3 });
  });
});

describe("bad calls get one clear error", () => {
  const [x, y] = [f32(1, 2, 3), new Uint8Array(12)];
  test.each<[string, () => unknown, string]>([
    [
      "unknown argument",
      () => increment.run({ x, y, z: y } as { x: Uint8Array; y: Uint8Array }),
      'increment: no argument is called "z". The arguments are "x", "y".',
    ],
    // @ts-expect-error y is missing
    ["missing buffer", () => increment.run({ x }), 'increment: argument "y" has no buffer. Give a Uint8Array of its bytes.'],
    [
      "unknown dim",
      () => increment.run({ x, y }, { xPich: 4 }),
      'increment: no dim is called "xPich". Did you mean "xPitch"? The dims are "Q", "xPitch", "yPitch".',
    ],
    ["negative dim", () => increment.run({ x, y }, { Q: -1 }), 'increment: dim "Q" is -1. It must be an integer from 0 on.'],
    [
      "small buffer",
      () => increment.run({ x, y }, { Q: 2 }),
      'increment: argument "x" has 12 bytes, but (q 2, c 3) needs 24. Check the buffer and the dims.',
    ],
    [
      "small pitched buffer",
      () => increment.run({ x, y }, { Q: 2, xPitch: 4 }),
      'increment: argument "x" has 12 bytes, but (q 2, c 3) needs at least 28.',
    ],
    [
      "pitch below the row",
      () => increment.run({ x, y }, { Q: 2, xPitch: 2 }),
      'increment: argument "x": "xPitch" is 2, but axis "q" needs at least 3 elements from index to index.',
    ],
    [
      "unknown tune number",
      () => increment.run({ x, y }, {}, { BT: 4 } as object),
      'increment: no tune number is called "BT". Did you mean "BQ"? There are "BQ".',
    ],
    ["bad tune number", () => increment.run({ x, y }, {}, { BQ: 0 }), 'increment: tune number "BQ" is 0. It must be a positive integer.'],
    ["bad step", () => blocks("q", 0, 4, 0), 'blocks("q"): step 0 is not a positive integer.'],
    ["bad bounds", () => blocks("q", 0, 0.5, 1), 'blocks("q"): the bounds 0 and 0.5 must be integers.'],
    [
      "axis that is no name",
      () => input("f32", { "0": 3 }),
      'input: axis "0" is not an identifier. Axis names appear as names in generated code.',
    ],
    ["extent of zero", () => input("f32", { q: 0 }), 'input: axis "q" has extent 0. Give a positive integer, or the name of a dim.'],
    // @ts-expect-error no axis t
    ["pitch of no axis", () => output("f32", { q: "Q" }, { pitch: { t: "p" } }), 'output: pitch of an axis "t" that is none of "q".'],
    [
      "field past the record",
      () => inputRecord({ p: "P" }, { k: field("f32", { t: 4 }, 4) }, { bytes: 16 }),
      'inputRecord: field "k" ends at byte 20 of a record of 16 bytes. Check its offset.',
    ],
    [
      "field called size",
      () => outputRecord({ p: "P" }, { size: field("f32", {}, 0) }, { bytes: 4 }),
      'outputRecord: a field cannot be called "size"',
    ],
    [
      "field with a record axis",
      () => inputRecord({ p: "P" }, { k: field("f32", { p: 4 }, 0) }, { bytes: 16 }),
      'inputRecord: field "k" has axis "p", which the records have too. Rename one of them.',
    ],
    [
      "view of no kernel",
      () => load({ dtype: "f32", global: { dtype: "f32", axes: ["q"], size: { q: 1 } }, selection: {}, axes: ["q"] }),
      "a view must come from .tile(...) of a kernel argument.",
    ],
  ])("%s", (_, call, message) => expect(call).toThrow(message));
});

test("a kernel keeps its declaration as data", () => {
  expect(increment.name).toBe("increment");
  expect(increment.tune).toEqual({ BQ: 2 });
  expect(increment.args.x).toEqual({ kind: "tensor", access: "in", dtype: "f32", dims: { q: "Q", c: 3 }, pitch: { q: "xPitch" } });
});
