/** Generated CUDA: golden texts, what nvcc makes of them, and the refusals. */
import { describe, expect, it } from "vitest";
import { add, binary, convert, type Expr, int, mul } from "../../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt } from "../../../../compiler/ir/loop.ts";
import { emitCuda } from "../../../../targets/cuda/emit.ts";
import { cudaArch, type CudaTarget } from "../../../../targets/cuda/target.ts";
import {
  element,
  f32,
  forLoop,
  i32,
  mmaTile,
  portable,
  reg,
  rowCentre,
  shared,
  sourceLine,
  storeGlobal,
  storeShared,
  tensor,
  thread,
} from "../../../compiler/interp/loop_kernels.ts";
import { assemble, hasNvcc } from "./nvcc.ts";

const kernels = [...portable, mmaTile];
const emit = (kernel: LoopKernel, target: CudaTarget = "cuda:sm_90a") =>
  emitCuda(kernel, { target, header: [`${kernel.name}, a test`], sourceLine });

describe("golden texts", () => {
  for (const kernel of kernels) it(kernel.name, () => expect(emit(kernel)).toMatchFileSnapshot(`golden/${kernel.name}.cu`));
  it("e4m3 on a chip without its conversions", () =>
    expect(
      emit(
        kernels.find((k) => k.name === "codec_e4m3")!,
        "cuda:sm_80",
      ),
    ).toMatchFileSnapshot("golden/codec_e4m3_sm_80.cu"));
});

describe.skipIf(!hasNvcc)("nvcc", () => {
  for (const arch of ["sm_80", "sm_90a"] as const)
    it(`assembles every text for ${arch} without a warning or a spill`, async () => {
      const report = await assemble(
        arch,
        kernels.map((k) => emit(k, `cuda:${arch}`)),
      );
      const spills = report.match(/\d+ bytes spill stores, \d+ bytes spill loads/g) ?? [];
      expect(spills).toEqual(kernels.map(() => "0 bytes spill stores, 0 bytes spill loads"));
    });
});

/** The text of one statement in a kernel over x, in[n, 8] and record. */
const statement = (s: LoopStmt, more: Partial<LoopKernel> = {}): string => {
  const kernel: LoopKernel = {
    ...rowCentre,
    name: "k",
    params: [
      tensor("in", "x", "f32", { r: "R", c: 64, d: 8 }, "xPitch"),
      tensor("out", "y", "bf16", { r: "R", c: 64 }),
      {
        name: "rec",
        access: "in",
        axes: [{ axis: "p", size: 4, stride: 12 }],
        fields: [
          { name: "a", dtype: "f32", offset: 0, axes: [] },
          { name: "b", dtype: "bf16", offset: 4, axes: [{ axis: "e", size: 4, stride: 2 }] },
        ],
        bytes: 48,
      },
    ],
    dims: [{ name: "R" }, { name: "xPitch" }],
    body: [{ kind: "Array", name: "v", type: "f32", size: 8 }, s],
    ...more,
  };
  const text = emit(kernel);
  return text.slice(text.indexOf("float v[8];") + 12, text.lastIndexOf("}")).trim();
};
const expression = (value: Expr): string => statement({ kind: "Let", name: "value", value }).replace(/^const \w+ value = (.*);$/, "$1");

describe("addresses", () => {
  it("are 64 bits wide where a run-time stride or an outer coord multiplies, 32 inside", () => {
    expect(expression(element("x", [i32("R"), thread, int(3)]))).toBe("x[(i64)R * xPitch + (thread * 8 + 3)]");
    expect(expression(element("x", [add(thread, int(1)), int(0), int(0)]))).toBe("x[(i64)(thread + 1) * xPitch]");
    expect(expression(element("x", [int(0), int(0), int(0)]))).toBe("x[0]");
  });
  it("of records are bytes", () => {
    expect(expression(element("rec", [thread], "f32", "a"))).toBe("*(const float*)(rec + thread * 12)");
    expect(expression(element("rec", [thread, int(2)], "f32", "b"))).toBe("decodeBf16(*(const u16*)(rec + (thread * 12 + 8)))");
  });
});

describe("loads and stores", () => {
  const load = (more: Partial<Extract<LoopStmt, { kind: "LoadGlobal" }>>): LoopStmt => ({
    kind: "LoadGlobal",
    array: "v",
    index: int(0),
    count: 8,
    param: "x",
    field: "",
    coords: [int(0), thread, int(0)],
    fill: f32(0),
    aligned: true,
    ...more,
  });
  it("are two vectors where 32 bytes are whole", () => {
    expect(statement(load({}))).toBe(
      "{\n    const float4 words0 = ((const float4*)(x + thread * 8))[0];\n    v[0] = words0.x; v[1] = words0.y; v[2] = words0.z; v[3] = words0.w;\n    const float4 words1 = ((const float4*)(x + thread * 8))[1];\n    v[4] = words1.x; v[5] = words1.y; v[6] = words1.z; v[7] = words1.w;\n  }",
    );
  });
  it("go element by element where they are not aligned", () => {
    expect(statement(load({ count: 2, aligned: false }))).toBe("v[0] = x[thread * 8];\n  v[1] = x[thread * 8 + 1];");
    expect(statement(load({ count: 1, aligned: false, guard: binary("<", thread, int(9)) }))).toBe(
      "v[0] = thread < 9 ? x[thread * 8] : 0.0f;",
    );
  });
  it("skip the steps between elements that do not lie side by side", () => {
    expect(statement(load({ param: "rec", field: "a", coords: [thread], count: 2, limit: i32("R") }))).toBe(
      "{\n    v[0] = R > 0 ? *(const float*)(rec + thread * 12) : 0.0f;\n    v[1] = R > 1 ? *(const float*)(rec + (thread + 1) * 12) : 0.0f;\n  }",
    );
  });
});

describe("cursors", () => {
  const kernel = (store: LoopStmt): Partial<LoopKernel> => ({
    body: [
      { kind: "Array", name: "v", type: "f32", size: 8 },
      { kind: "Cursor", name: "at", param: "y", field: "", coords: [i32("R"), thread] },
      { ...forLoop("i", int(0), i32("R"), [store, { kind: "Advance", cursor: "at", by: int(64) }]), together: 4 } as LoopStmt,
    ],
  });
  const store = (more: Partial<Extract<LoopStmt, { kind: "StoreGlobal" }>>): LoopStmt => ({
    kind: "StoreGlobal",
    param: "y",
    field: "",
    coords: [i32("R"), add(thread, int(3))],
    values: [reg("v", int(1))],
    guard: binary("<", thread, int(9)),
    aligned: true,
    at: { cursor: "at", offset: 3 },
    ...more,
  });
  it("are pointers that advance, and loops say how many turns may overlap", () => {
    expect(statement({ kind: "Barrier" }, kernel(store({})))).toBe(
      "u16* at = y + ((i64)R * 64 + thread);\n  #pragma unroll 4\n" +
        "  for (int i = 0; i < R; ++i) {\n    if (thread < 9) at[3] = encodeBf16(v[1]);\n    at += 64;\n  }",
    );
  });
  it("store one element at a time", () => {
    expect(() => statement({ kind: "Barrier" }, kernel(store({ limit: int(2) })))).toThrow('a store through the cursor "at" is one element');
    expect(() => statement({ kind: "Barrier" }, kernel(store({ values: [f32(1), f32(2)] })))).toThrow('a store through the cursor "at" is one element');
  });
});

describe("expressions", () => {
  const u = (value: number): Expr => ({ kind: "Const", type: "u32", value });
  const bits: Expr = { kind: "Call", type: "u32", fn: "bitsOf", args: [reg("v", int(0))] };
  const i32Op = (op: "&" | "^" | "<<" | "|", a: Expr, b: Expr): Expr => ({ kind: "Binary", type: "i32", op, a, b });
  it("compute bits in the type that needs fewest casts", () => {
    expect(expression(convert("u32", i32Op("<<", bits, int(1))))).toBe("__float_as_uint(v[0]) << 1");
    expect(expression(binary("==", i32Op("&", i32Op("^", bits, u(7)), bits), int(0)))).toBe(
      "((__float_as_uint(v[0]) ^ 7u) & __float_as_uint(v[0])) == 0u",
    );
    expect(expression(convert("u32", add(thread, i32("R"))))).toBe("(u32)(thread + R)");
  });
  it("keep the order of float operations and drop parentheses of integer sums", () => {
    const [a, b] = [reg("v", int(0)), reg("v", int(1))];
    expect(expression(add(a, add(b, a)))).toBe("v[0] + (v[1] + v[0])");
    expect(expression(add(thread, add(i32("R"), int(-2))))).toBe("thread + R - 2");
    expect(expression(add(thread, binary("<<", i32("R"), int(2))))).toBe("thread + (R << 2)");
    expect(expression(add(thread, binary("%", i32("R"), int(2))))).toBe("thread + (R % 2)");
    expect(expression(mul(a, { kind: "Unary", type: "f32", op: "-", a: f32(-1) }))).toBe("v[0] * 1.0f");
    expect(expression(f32(Infinity))).toBe("__uint_as_float(0x7f800000u)");
    expect(expression(f32(-(2 ** -149)))).toBe("-1e-45f");
  });
});

it("truth values in arrays are integers: kept as predicates they spill", () => {
  const flags: Partial<LoopKernel> = {
    body: [
      { kind: "Array", name: "v", type: "f32", size: 8 },
      { kind: "Array", name: "flags", type: "bool", size: 2 },
      { kind: "SetRegister", array: "flags", index: int(0), value: binary("<", thread, int(3)) },
      { kind: "Let", name: "count", value: convert("i32", reg("flags", int(0), "bool")) },
    ],
  };
  expect(statement({ kind: "Barrier" }, flags)).toBe("int flags[2];\n  flags[0] = thread < 3;\n  const int count = flags[0];");
});

describe("names", () => {
  it("keep clear of the language, the machine and each other", () => {
    const text = emit({
      ...rowCentre,
      params: [tensor("out", "half", "f32", { r: 64 })],
      dims: [{ name: "thread" }],
      shared: [{ name: "half", dtype: "f32", elements: 64, offset: 0, note: "" }],
      body: [
        { kind: "Array", name: "half", type: "f32", size: 1 },
        { kind: "Let", name: "e0.alpha", value: f32(1) },
        { kind: "Let", name: "float", value: f32(1) },
        storeShared("half", thread, add({ kind: "Var", type: "f32", name: "float" }, { kind: "Var", type: "f32", name: "e0.alpha" })),
        storeGlobal("half", [i32("thread")], shared("half", thread)),
      ],
    });
    expect(text).toContain("float* __restrict__ half_global,");
    expect(text).toContain("int thread_dim)");
    expect(text).toContain("half_shared[thread] = float_value + e0_alpha;");
    expect(text).toContain("half_global[thread_dim] = half_shared[thread];");
    expect(text).toContain("float half_regs;");
  });
});

describe("refusals", () => {
  it("name the kernel and the cause", () => {
    expect(() =>
      statement(storeShared("partial", thread, f32(1)), {
        shared: [{ name: "partial", dtype: "bf16", elements: 64, offset: 0, note: "" }],
      }),
    ).toThrow('cannot print kernel "k": 1 bf16 elements stored to shared "partial" are not whole words');
    expect(() => statement({ kind: "Call", instruction: "wgmma", operands: [] })).toThrow('CUDA has no instruction record "wgmma"');
    expect(() => expression({ kind: "Call", type: "f32", fn: "erf", args: [f32(1)] })).toThrow(
      'CUDA has no text for the function "erf" of f32',
    );
    expect(() => expression(element("nothing", []))).toThrow('there is no param "nothing"');
    expect(() => expression(element("x", [thread]))).toThrow('"x" has 3 axes and is accessed with 1 coords');
    expect(() => statement(forLoop("i", int(0), int(2), [{ kind: "Atomic", fn: "add", buffer: "none", index: int(0), value: int(1) }]))).toThrow(
      'there is no shared buffer "none"',
    );
    expect(() => cudaArch("cuda:sm_70")).toThrow('no CUDA architecture "cuda:sm_70"; known: cuda:sm_80, ');
  });
});
