/** Small Loop IR programs, built by hand: what the emitters and the simulated machine are tested on. */
import {
  add,
  and,
  binary,
  constant,
  convert,
  type Expr,
  int,
  mul,
  type ScalarType,
  select,
  sub,
  variable,
} from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt, SharedBuffer } from "../../../compiler/ir/loop.ts";
import type { Field, HostExpr, Param } from "../../../compiler/ir/manifest.ts";
import type { Loc } from "../../../compiler/ir/tile.ts";
import { byteSize, type DType } from "../../../dsl/dtype.ts";

export const file = "kernels.ts";
/** The TypeScript lines that the kernels claim to come from. */
export const sourceLine = (loc: Loc): string => `const line${loc.line} = written(${loc.line});`;
const source = (line: number): LoopStmt => ({ kind: "Source", loc: { file, line, column: 1 } });

export const thread: Expr = { kind: "ThreadIndex", type: "i32" };
export const block: Expr = { kind: "BlockIndex", type: "i32" };
export const i32 = (name: string): Expr => variable("i32", name);
export const f32 = (value: number): Expr => constant("f32", value);
export const reg = (array: string, index: Expr, type: ScalarType = "f32"): Expr => ({ kind: "Reg", type, array, index });
export const shared = (buffer: string, index: Expr, type: ScalarType = "f32"): Expr => ({ kind: "Shared", type, buffer, index });
export const element = (param: string, coords: readonly Expr[], type: ScalarType = "f32", field = ""): Expr => ({
  kind: "GlobalElement",
  type,
  param,
  field,
  coords,
});
export const barrier: LoopStmt = { kind: "Barrier" };
export const storeShared = (buffer: string, index: Expr, ...values: readonly Expr[]): LoopStmt => ({
  kind: "StoreShared",
  buffer,
  index,
  values,
});
export const forLoop = (name: string, lo: Expr, hi: Expr, body: readonly LoopStmt[], step = 1, unroll = false): LoopStmt => ({
  kind: "For",
  name,
  lo,
  hi,
  step,
  unroll,
  body,
});
export const ifThen = (cond: Expr, then: readonly LoopStmt[], uniform = false): LoopStmt => ({
  kind: "If",
  cond,
  uniform,
  then,
  otherwise: [],
});
export const storeGlobal = (param: string, coords: readonly Expr[], ...values: readonly Expr[]): LoopStmt => ({
  kind: "StoreGlobal",
  param,
  field: "",
  coords,
  values,
  aligned: false,
});

/** A packed tensor; sizes outermost first. `pitch` names the run-time stride, in elements, of the outermost axis. */
export function tensor(
  access: Param["access"],
  name: string,
  dtype: DType,
  sizes: Readonly<Record<string, number | string>>,
  pitch?: string,
): Param {
  let stride: HostExpr = byteSize(dtype);
  const axes = Object.entries(sizes)
    .reverse()
    .map(([axis, size], i, all) => {
      const own: HostExpr = pitch !== undefined && i === all.length - 1 ? { op: "mul", args: [byteSize(dtype), pitch] } : stride;
      stride = typeof size === "number" && typeof stride === "number" ? size * stride : { op: "mul", args: [stride, size] };
      return { axis, size, stride: own };
    })
    .reverse();
  const outer = axes[0]!;
  return { name, access, axes, fields: [{ name: "", dtype, offset: 0, axes: [] }], bytes: { op: "mul", args: [outer.size, outer.stride] } };
}
const buffer = (name: string, dtype: DType, elements: number, offset: number, note: string): SharedBuffer => ({
  name,
  dtype,
  elements,
  offset,
  note,
});
const loc = (line: number): Loc => ({ file, line, column: 1 });

/** y[i] = factor * x[i]: vectors of 4 with a ragged tail. */
export const vectorScale: LoopKernel = {
  name: "vector_scale",
  loc: loc(1),
  params: [tensor("in", "x", "f32", { i: "N" }), tensor("out", "y", "f32", { i: "N" })],
  dims: [{ name: "N" }],
  blocks: { op: "ceilDiv", args: ["N", 256] },
  threads: 64,
  shared: [],
  sharedBytes: 0,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [
    source(3),
    { kind: "Let", name: "i", value: add(mul(block, int(256)), mul(thread, int(4))) },
    { kind: "Array", name: "x", type: "f32", size: 4 },
    {
      kind: "LoadGlobal",
      array: "x",
      index: int(0),
      count: 4,
      param: "x",
      field: "",
      coords: [i32("i")],
      limit: sub(i32("N"), i32("i")),
      fill: f32(0),
      aligned: true,
    },
    source(4),
    forLoop("e", int(0), int(4), [{ kind: "SetRegister", array: "x", index: i32("e"), value: mul(reg("x", i32("e")), f32(0.1)) }], 1, true),
    source(5),
    {
      kind: "StoreGlobal",
      param: "y",
      field: "",
      coords: [i32("i")],
      values: [0, 1, 2, 3].map((e) => reg("x", int(e))),
      limit: sub(i32("N"), i32("i")),
      aligned: true,
    },
  ],
};

/** total[r] = sum of row r, through a tree in shared memory; every thread then subtracts the mean. */
export const rowCentre: LoopKernel = {
  name: "row_centre",
  loc: loc(10),
  params: [
    tensor("in", "x", "f32", { r: "R", c: 64 }),
    tensor("out", "y", "f32", { r: "R", c: 64 }),
    tensor("out", "total", "f32", { r: "R" }),
  ],
  dims: [{ name: "R" }],
  blocks: "R",
  threads: 64,
  shared: [buffer("partial", "f32", 64, 0, "partial[c 64]")],
  sharedBytes: 256,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [
    source(12),
    { kind: "Let", name: "x", value: element("x", [block, thread]) },
    source(13),
    storeShared("partial", thread, variable("f32", "x")),
    barrier,
    { kind: "Variable", name: "width", type: "i32", init: int(32) },
    forLoop("level", int(0), int(6), [
      ifThen(binary("<", thread, i32("width")), [
        storeShared("partial", thread, add(shared("partial", thread), shared("partial", add(thread, i32("width"))))),
      ]),
      barrier,
      { kind: "Assign", name: "width", value: binary(">>", i32("width"), int(1)) },
    ]),
    { kind: "Uniform", name: "sum", value: shared("partial", int(0)) },
    source(14),
    storeGlobal("y", [block, thread], sub(variable("f32", "x"), mul(variable("f32", "sum"), f32(1 / 64)))),
    ifThen(binary("==", thread, int(0)), [storeGlobal("total", [block], variable("f32", "sum"))]),
  ],
};

/** counts[b] = how many of x lie in bin b = x & 15, one block; then the largest count, found by every thread alike. */
export const histogram: LoopKernel = {
  name: "histogram",
  loc: loc(20),
  params: [tensor("in", "x", "u32", { i: "N" }), tensor("out", "counts", "u32", { b: 16 }), tensor("out", "most", "u32", { o: 1 })],
  dims: [{ name: "N" }],
  blocks: 1,
  threads: 64,
  shared: [buffer("bins", "u32", 16, 0, "bins[b 16]")],
  sharedBytes: 64,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [
    source(22),
    ifThen(binary("<", thread, int(16)), [storeShared("bins", thread, constant("u32", 0))]),
    barrier,
    source(23),
    forLoop(
      "i",
      thread,
      i32("N"),
      [
        {
          kind: "Atomic",
          fn: "add",
          buffer: "bins",
          index: convert("i32", binary("&", element("x", [i32("i")], "u32"), constant("u32", 15))),
          value: constant("u32", 1),
        },
      ],
      64,
    ),
    barrier,
    source(24),
    { kind: "Variable", name: "most", type: "u32", init: constant("u32", 0) },
    forLoop("b", int(0), int(16), [
      {
        kind: "Assign",
        name: "most",
        value: { kind: "Call", type: "u32", fn: "max", args: [variable("u32", "most"), shared("bins", i32("b"), "u32")] },
      },
    ]),
    ifThen(binary("<", thread, int(16)), [storeGlobal("counts", [thread], shared("bins", thread, "u32"))]),
    ifThen(binary("==", thread, int(0)), [storeGlobal("most", [int(0)], variable("u32", "most"))]),
  ],
};

/** y[c, r] = x[r, c] in bf16, tiles of 32 x 32 through shared memory with one spare pair a row, both pitched, both ragged. */
export const transpose: LoopKernel = {
  name: "transpose",
  loc: loc(30),
  params: [tensor("in", "x", "bf16", { r: "R", c: "C" }, "xPitch"), tensor("out", "y", "bf16", { c: "C", r: "R" }, "yPitch")],
  dims: [{ name: "R" }, { name: "C" }, { name: "xPitch", default: "C" }, { name: "yPitch", default: "R" }],
  blocks: {
    op: "mul",
    args: [
      { op: "ceilDiv", args: ["R", 32] },
      { op: "ceilDiv", args: ["C", 32] },
    ],
  },
  threads: 128,
  shared: [buffer("tile", "bf16", 32 * 34, 0, "tile[c 32, r 32+2]")],
  sharedBytes: 2176,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [
    source(32),
    { kind: "Let", name: "across", value: binary("/", add(i32("C"), int(31)), int(32)) },
    { kind: "Let", name: "r0", value: mul(binary("/", block, i32("across")), int(32)) },
    { kind: "Let", name: "c0", value: mul(binary("%", block, i32("across")), int(32)) },
    source(33),
    { kind: "Let", name: "pair", value: mul(binary("/", thread, int(8)), int(2)) },
    { kind: "Let", name: "c", value: mul(binary("%", thread, int(8)), int(4)) },
    { kind: "Array", name: "top", type: "f32", size: 4 },
    { kind: "Array", name: "bottom", type: "f32", size: 4 },
    ...["top", "bottom"].map((array, i): LoopStmt => ({
      kind: "LoadGlobal",
      array,
      index: int(0),
      count: 4,
      param: "x",
      field: "",
      coords: [add(i32("r0"), add(i32("pair"), int(i))), add(i32("c0"), i32("c"))],
      guard: binary("<", add(i32("r0"), add(i32("pair"), int(i))), i32("R")),
      limit: sub(i32("C"), add(i32("c0"), i32("c"))),
      fill: f32(0),
      aligned: false,
    })),
    forLoop(
      "e",
      int(0),
      int(4),
      [storeShared("tile", add(mul(add(i32("c"), i32("e")), int(34)), i32("pair")), reg("top", i32("e")), reg("bottom", i32("e")))],
      1,
      true,
    ),
    barrier,
    source(34),
    { kind: "Let", name: "row", value: mul(binary("%", thread, int(16)), int(2)) },
    forLoop(
      "column",
      binary("/", thread, int(16)),
      int(32),
      [
        {
          kind: "StoreGlobal",
          param: "y",
          field: "",
          coords: [add(i32("c0"), i32("column")), add(i32("r0"), i32("row"))],
          values: [0, 1].map((e) => shared("tile", add(mul(i32("column"), int(34)), add(i32("row"), int(e))))),
          guard: binary("<", add(i32("c0"), i32("column")), i32("C")),
          limit: sub(i32("R"), add(i32("r0"), i32("row"))),
          aligned: true,
        },
      ],
      8,
    ),
  ],
};

/** d[m, n] = sum of a[m, k] * b[n, k] over k: one warp, 16 x 8 x 16 in bf16; rows of a from `rows` on are absent and count as zeros. */
export const mmaTile: LoopKernel = {
  name: "mma_tile",
  loc: loc(40),
  params: [
    tensor("in", "a", "bf16", { m: "rows", k: 16 }),
    tensor("in", "b", "bf16", { n: 8, k: 16 }),
    tensor("out", "d", "f32", { m: 16, n: 8 }),
  ],
  dims: [{ name: "rows" }],
  blocks: 1,
  threads: 32,
  shared: [buffer("a", "bf16", 16 * 24, 0, "a[m 16, k 16+8]"), buffer("b", "bf16", 8 * 24, 768, "b[n 8, k 16+8]")],
  sharedBytes: 1152,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [
    source(42),
    { kind: "Let", name: "m", value: binary("/", thread, int(2)) },
    { kind: "Let", name: "k", value: mul(binary("%", thread, int(2)), int(8)) },
    {
      kind: "Call",
      instruction: "cpAsync16",
      operands: [
        { kind: "SharedAddress", buffer: "a", index: add(mul(i32("m"), int(24)), i32("k")) },
        { kind: "GlobalAddress", param: "a", field: "", coords: [i32("m"), i32("k")] },
        { kind: "Value", value: binary("<", i32("m"), i32("rows")) },
      ],
    },
    source(43),
    ifThen(binary("<", thread, int(16)), [
      {
        kind: "Call",
        instruction: "cpAsync16",
        operands: [
          { kind: "SharedAddress", buffer: "b", index: add(mul(i32("m"), int(24)), i32("k")) },
          { kind: "GlobalAddress", param: "b", field: "", coords: [i32("m"), i32("k")] },
          { kind: "Value", value: constant("bool", 1) },
        ],
      },
    ]),
    { kind: "Call", instruction: "cpAsyncWaitAll", operands: [] },
    barrier,
    source(44),
    { kind: "Array", name: "a", type: "u32", size: 4 },
    { kind: "Array", name: "b", type: "u32", size: 2 },
    { kind: "Array", name: "d", type: "f32", size: 4 },
    forLoop("i", int(0), int(4), [{ kind: "SetRegister", array: "d", index: i32("i"), value: f32(0) }], 1, true),
    {
      kind: "Call",
      instruction: "ldmatrix.x4",
      operands: [
        { kind: "Registers", array: "a", index: int(0), count: 4 },
        {
          kind: "SharedAddress",
          buffer: "a",
          index: add(mul(binary("%", thread, int(16)), int(24)), mul(binary("/", thread, int(16)), int(8))),
        },
      ],
    },
    {
      kind: "Call",
      instruction: "ldmatrix.x2",
      operands: [
        { kind: "Registers", array: "b", index: int(0), count: 2 },
        {
          kind: "SharedAddress",
          buffer: "b",
          index: add(mul(binary("%", thread, int(8)), int(24)), mul(binary("%", binary("/", thread, int(8)), int(2)), int(8))),
        },
      ],
    },
    {
      kind: "Call",
      instruction: "mma.m16n8k16.bf16",
      operands: [
        { kind: "Registers", array: "d", index: int(0), count: 4 },
        { kind: "Registers", array: "a", index: int(0), count: 4 },
        { kind: "Registers", array: "b", index: int(0), count: 2 },
      ],
    },
    source(45),
    { kind: "Let", name: "row", value: binary("/", thread, int(4)) },
    { kind: "Let", name: "n", value: mul(binary("%", thread, int(4)), int(2)) },
    forLoop(
      "half",
      int(0),
      int(2),
      [
        {
          kind: "StoreGlobal",
          param: "d",
          field: "",
          coords: [add(i32("row"), mul(i32("half"), int(8))), i32("n")],
          values: [0, 1].map((e) => reg("d", add(mul(i32("half"), int(2)), int(e)))),
          aligned: true,
        },
      ],
      1,
      true,
    ),
  ],
};

const narrow = ["e4m3", "e5m2", "ue8m0", "f16", "bf16"] as const;

/** For each narrow format: value[i] = decode(codes[i]), encoded[i] = encode(x[i]), rounded[i] = round(x[i]); four elements a thread. */
export const codecKernel = (dtype: (typeof narrow)[number]): LoopKernel => ({
  name: `codec_${dtype}`,
  loc: loc(50),
  params: [
    tensor("in", "codes", dtype, { i: "N" }),
    tensor("in", "x", "f32", { i: "N" }),
    tensor("out", "value", "f32", { i: "N" }),
    tensor("out", "encoded", dtype, { i: "N" }),
    tensor("out", "rounded", "f32", { i: "N" }),
  ],
  dims: [{ name: "N" }],
  blocks: { op: "ceilDiv", args: ["N", 256] },
  threads: 64,
  shared: [],
  sharedBytes: 0,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [
    source(52),
    { kind: "Let", name: "i", value: add(mul(block, int(256)), mul(thread, int(4))) },
    { kind: "Let", name: "left", value: sub(i32("N"), i32("i")) },
    { kind: "Array", name: "value", type: "f32", size: 4 },
    { kind: "Array", name: "x", type: "f32", size: 4 },
    {
      kind: "LoadGlobal",
      array: "value",
      index: int(0),
      count: 4,
      param: "codes",
      field: "",
      coords: [i32("i")],
      limit: i32("left"),
      fill: f32(0),
      aligned: true,
    },
    {
      kind: "LoadGlobal",
      array: "x",
      index: int(0),
      count: 4,
      param: "x",
      field: "",
      coords: [i32("i")],
      limit: i32("left"),
      fill: f32(0),
      aligned: true,
    },
    source(53),
    ...(["value", "encoded", "rounded"] as const).map((param): LoopStmt => ({
      kind: "StoreGlobal",
      param,
      field: "",
      coords: [i32("i")],
      values: [0, 1, 2, 3].map((e): Expr =>
        param === "rounded" ? { kind: "Round", type: "f32", dtype, a: reg("x", int(e)) } : reg(param === "value" ? "value" : "x", int(e)),
      ),
      limit: i32("left"),
      aligned: true,
    })),
  ],
});
export const codecKernels: readonly LoopKernel[] = narrow.map(codecKernel);

const fn = (name: string, type: ScalarType, ...args: readonly Expr[]): Expr => ({ kind: "Call", type, fn: name, args });
const u32 = (value: number): Expr => constant("u32", value);
const [x, y] = [variable("f32", "x"), variable("f32", "y")];
const [n, m] = [variable("i32", "n"), variable("i32", "m")];
const bits = fn("bitsOf", "u32", x);
export const mathFunctions = ["exp", "exp2", "log", "log2", "log1p", "sqrt", "abs", "floor", "ceil", "tanh", "sin", "cos"] as const;
/** What `mathKernel` computes from x and y (f32) and n and m (i32), as f32. */
export const mathResults: readonly Expr[] = [
  ...mathFunctions.map((name) => fn(name, "f32", x)),
  fn("max", "f32", x, y),
  fn("min", "f32", x, y),
  binary("/", x, y),
  convert("f32", fn("div", "i32", n, m)),
  convert("f32", fn("mod", "i32", n, m)),
  convert("f32", fn("max", "i32", n, m)),
  convert("f32", fn("abs", "i32", n)),
  convert("f32", fn("popcount", "i32", n)),
  fn("floatOf", "f32", binary("^", bits, u32(0x80000000))),
  convert("f32", binary(">>", n, int(1))),
  convert("f32", { kind: "Binary", type: "u32", op: ">>>", a: n, b: int(28) }),
  convert("f32", binary("<<", n, binary("&", m, int(3)))),
  convert("f32", {
    kind: "Binary",
    type: "i32",
    op: "&",
    a: int(-1),
    b: { kind: "Binary", type: "i32", op: "<<", a: int(255), b: int(24) },
  }),
  convert("f32", { kind: "Unary", type: "i32", op: "~", a: n }),
  convert("f32", { kind: "Unary", type: "i32", op: "-", a: int(-5) }),
  convert("f32", convert("i32", x)),
  convert("f32", {
    kind: "Unary",
    type: "bool",
    op: "!",
    a: and(binary("<", x, y), binary("||", binary(">", n, m), binary("==", m, int(3)))),
  }),
  select(binary("<", x, y), select(convert("bool", n), f32(Infinity), f32(-Infinity)), f32(-0)),
  { kind: "Unary", type: "f32", op: "-", a: sub(x, sub(y, f32(0.1))) },
];

/** out[i, …] = every scalar operation on the i-th inputs; 64 elements a block, the last block ragged. */
export const mathKernel: LoopKernel = {
  name: "scalar_math",
  loc: loc(60),
  params: [
    tensor("in", "x", "f32", { i: "N" }),
    tensor("in", "y", "f32", { i: "N" }),
    tensor("in", "n", "i32", { i: "N" }),
    tensor("in", "m", "i32", { i: "N" }),
    tensor("out", "out", "f32", { i: "N", f: mathResults.length }),
  ],
  dims: [{ name: "N" }],
  blocks: { op: "ceilDiv", args: ["N", 64] },
  threads: 64,
  shared: [],
  sharedBytes: 0,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [
    { kind: "Let", name: "i", value: add(mul(block, int(64)), thread) },
    ifThen(binary("<", i32("i"), i32("N")), [
      ...["x", "y"].map((name): LoopStmt => ({ kind: "Let", name, value: element(name, [i32("i")]) })),
      ...["n", "m"].map((name): LoopStmt => ({ kind: "Let", name, value: element(name, [i32("i")], "i32") })),
      ...mathResults.map((value, f): LoopStmt => storeGlobal("out", [i32("i"), int(f)], value)),
    ]),
  ],
};

const field = (name: string, dtype: DType, offset: number, axes: Field["axes"]): Field => ({ name, dtype, offset, axes });
/**
 * Records of 8 e4m3 codes, one f32 scale and 2 bf16: out[j, d] = bf16(code * scale) for record idx[j], zeros where that is negative;
 * last[j] = its last bf16, and `any` says whether any slot is filled. One block of 32 threads, 4 slots at a time.
 */
export const gatherRecords: LoopKernel = {
  name: "gather_records",
  loc: loc(70),
  params: [
    {
      name: "cache",
      access: "in",
      axes: [
        { axis: "p", size: "P", stride: "pageBytes" },
        { axis: "s", size: 2, stride: 16 },
      ],
      fields: [
        field("latent", "e4m3", 0, [{ axis: "d", size: 8, stride: 1 }]),
        field("scale", "f32", 8, []),
        field("rope", "bf16", 12, [{ axis: "r", size: 2, stride: 2 }]),
      ],
      bytes: { op: "mul", args: ["P", "pageBytes"] },
    },
    tensor("in", "idx", "i32", { j: "J" }),
    tensor("out", "out", "bf16", { j: "J", d: 8 }),
    tensor("out", "last", "f32", { j: "J" }),
  ],
  dims: [{ name: "P" }, { name: "J" }, { name: "pageBytes", default: 32 }],
  blocks: { op: "ceilDiv", args: ["J", 4] },
  threads: 32,
  shared: [buffer("weight", "f16", 8, 0, "weight[j 4, 2]")],
  sharedBytes: 16,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [
    source(72),
    { kind: "Let", name: "at.j", value: add(mul(block, int(4)), binary("/", thread, int(8))) },
    { kind: "Let", name: "valid", value: binary("<", i32("at.j"), i32("J")) },
    {
      kind: "Let",
      name: "slot",
      value: { ...element("idx", [i32("at.j")], "i32"), guard: variable("bool", "valid"), fill: int(-1) } as Expr,
    },
    { kind: "Let", name: "page", value: binary(">>", i32("slot"), int(1)) },
    { kind: "Let", name: "s", value: binary("&", i32("slot"), int(1)) },
    source(73),
    ifThen(binary("==", binary("%", thread, int(8)), int(0)), [
      storeShared(
        "weight",
        mul(binary("/", thread, int(8)), int(2)),
        {
          kind: "GlobalElement",
          type: "f32",
          param: "cache",
          field: "scale",
          coords: [i32("page"), i32("s")],
          guard: binary(">=", i32("slot"), int(0)),
          fill: f32(0),
        },
        f32(1),
      ),
    ]),
    barrier,
    source(74),
    { kind: "Array", name: "code", type: "f32", size: 8 },
    { kind: "Array", name: "rope", type: "f32", size: 2 },
    ...(
      [
        ["code", "latent", 8],
        ["rope", "rope", 2],
      ] as const
    ).map(([array, name, count]): LoopStmt => ({
      kind: "LoadGlobal",
      array,
      index: int(0),
      count,
      param: "cache",
      field: name,
      coords: [i32("page"), i32("s"), int(0)],
      guard: binary(">=", i32("slot"), int(0)),
      fill: f32(0),
      aligned: true,
    })),
    source(75),
    ifThen(and(binary("==", binary("%", thread, int(8)), int(0)), variable("bool", "valid")), [
      {
        kind: "StoreGlobal",
        param: "out",
        field: "",
        coords: [i32("at.j"), int(0)],
        values: Array.from({ length: 8 }, (_, d) => mul(reg("code", int(d)), shared("weight", mul(binary("/", thread, int(8)), int(2))))),
        aligned: true,
      },
      storeGlobal("last", [i32("at.j")], reg("rope", int(1))),
    ]),
  ],
};

/** Kernels that every target can print. */
export const portable: readonly LoopKernel[] = [vectorScale, rowCentre, histogram, transpose, gatherRecords, mathKernel, ...codecKernels];
