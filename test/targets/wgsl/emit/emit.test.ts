/** Generated WGSL: golden texts, what Tint says of them (types and uniformity), and the refusals. */
import { describe, expect, it } from "vitest";
import { add, binary, constant, type Expr, int, mul, variable } from "../../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt } from "../../../../compiler/ir/loop.ts";
import { emitWgsl, wgslSharedBytes } from "../../../../targets/wgsl/emit.ts";
import { showMessages, validateWgsl } from "../../../../targets/wgsl/validate.ts";
import {
  barrier,
  block,
  element,
  f32,
  forLoop,
  i32,
  ifThen,
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
import { emit } from "./device.ts";

const tint = async (text: string): Promise<string> => showMessages(text, await validateWgsl(text));

describe("golden texts, accepted by Tint", () => {
  for (const kernel of portable)
    it(kernel.name, async () => {
      const text = emit(kernel);
      await expect(text).toMatchFileSnapshot(`golden/${kernel.name}.wgsl`);
      expect(await tint(text)).toBe("");
    });
});

const kernelOf = (body: readonly LoopStmt[], more: Partial<LoopKernel> = {}): LoopKernel => ({
  ...rowCentre,
  name: "k",
  params: [
    tensor("in", "x", "f32", { r: "R", c: 64 }),
    tensor("inout", "y", "f32", { r: "R", c: 64 }),
    tensor("in", "n", "i32", { r: "R" }),
    tensor("out", "b", "bf16", { r: "R", c: 64 }),
  ],
  shared: [
    { name: "s", dtype: "f32", elements: 64, offset: 0, note: "s" },
    { name: "counters", dtype: "u32", elements: 4, offset: 0, note: "counters" },
  ],
  body,
  ...more,
});
const bodyOf = (text: string): string => text.slice(text.indexOf("let thread = i32(localIndex);") + 29, text.lastIndexOf("}")).trim();
const uniform = (name: string, value: Expr): LoopStmt => ({ kind: "Uniform", name, value });

describe("uniform values", () => {
  const guarded: Expr = {
    kind: "GlobalElement",
    type: "i32",
    param: "n",
    field: "",
    coords: [block],
    guard: binary("<", block, i32("R")),
    fill: int(0),
  };
  const inCounters: LoopStmt = { kind: "Atomic", fn: "add", buffer: "counters", index: int(0), value: constant("u32", 1) };
  const cases: readonly (readonly [string, readonly LoopStmt[], RegExp])[] = [
    ["dims and the block index", [uniform("u", add(i32("R"), block))], /let u = dims\.R \+ block;/],
    ["read-only params at uniform coords", [uniform("u", guarded)], /let u = n_or\(block < dims\.R, block, 0\);/],
    [
      "other uniforms, and variables that only they reach",
      [
        { kind: "Variable", name: "v", type: "i32", init: int(3) },
        forLoop("i", int(0), i32("R"), [{ kind: "Assign", name: "v", value: add(i32("v"), i32("i")) }]),
        uniform("u", i32("v")),
      ],
      /let u = v;/,
    ],
    [
      "an element of shared memory",
      [storeShared("s", thread, f32(1)), barrier, uniform("u", shared("s", int(7)))],
      /let u = workgroupUniformLoad\(&s\[7\]\);/,
    ],
    [
      "a counter",
      [inCounters, barrier, uniform("u", shared("counters", int(0), "u32"))],
      /if \(thread == 0\) \{ broadcast_u32 = atomicLoad\(&counters\[0\]\); \}\n {2}let u = workgroupUniformLoad\(&broadcast_u32\);/,
    ],
    [
      "what a writable param holds",
      [uniform("u", element("y", [block, int(0)]))],
      /if \(thread == 0\) \{ broadcast_f32 = y\[block \* 64\]; \}/,
    ],
    [
      "a register",
      [
        { kind: "Array", name: "r", type: "i32", size: 1 },
        { kind: "SetRegister", array: "r", index: int(0), value: int(1) },
        uniform("u", reg("r", int(0), "i32")),
      ],
      /broadcast_i32 = r;/,
    ],
    [
      "a truth value",
      [storeShared("s", thread, f32(1)), barrier, uniform("u", binary("<", shared("s", int(0)), f32(2)))],
      /broadcast_bool = s\[0\] < 2\.0f/,
    ],
    [
      "a variable that some threads change",
      [
        { kind: "Variable", name: "v", type: "i32", init: int(3) },
        ifThen(binary("<", thread, int(1)), [{ kind: "Assign", name: "v", value: int(4) }]),
        uniform("u", i32("v")),
      ],
      /broadcast_i32 = v/,
    ],
  ];
  for (const [what, body, text] of cases)
    it(`from ${what}`, async () => {
      // a barrier under a condition on it: Tint rejects the text unless it can see that the value is uniform
      const type = body.flatMap((s) => (s.kind === "Uniform" ? [s.value.type] : []))[0]!;
      const u = variable(type, "u");
      const kernel = kernelOf([...body, ifThen(type === "bool" ? u : binary(">", u, constant(type, 0)), [barrier])]);
      const wgsl = emit(kernel);
      expect(bodyOf(wgsl)).toMatch(text);
      expect(await tint(wgsl)).toBe("");
    });

  it("conditions with barriers inside are carried too, others are not", async () => {
    const cond = binary("<", shared("s", int(0)), f32(1));
    const first = [storeShared("s", thread, f32(1)), barrier];
    const carried = emit(kernelOf([...first, ifThen(cond, [barrier], true)]));
    expect(bodyOf(carried)).toContain(
      "if (thread == 0) { broadcast_bool = s[0] < 1.0f; }\n  let chosen = workgroupUniformLoad(&broadcast_bool);\n  if (chosen) {",
    );
    expect(await tint(carried)).toBe("");
    expect(bodyOf(emit(kernelOf([...first, ifThen(cond, [storeGlobal("y", [block, thread], f32(1))], true)])))).toContain(
      "if (s[0] < 1.0f) {",
    );
  });

  it("a carrier counts as workgroup memory, buffers add up", () => {
    expect(wgslSharedBytes(kernelOf([uniform("u", element("y", [block, int(0)]))]))).toBe(256 + 16 + 16);
    expect(wgslSharedBytes(kernelOf([uniform("u", block)]))).toBe(256 + 16);
  });
});

it("barriers order device memory only where a kernel reads what it writes", () => {
  const write = storeGlobal("y", [block, thread], f32(1));
  expect(bodyOf(emit(kernelOf([write, barrier])))).not.toContain("storageBarrier");
  expect(bodyOf(emit(kernelOf([write, barrier, { kind: "Let", name: "v", value: element("y", [block, int(0)]) }])))).toContain(
    "storageBarrier();\n  workgroupBarrier();",
  );
});

describe("expressions", () => {
  const expression = async (value: Expr): Promise<string> => {
    const text = emit(
      kernelOf([
        { kind: "Array", name: "v", type: "f32", size: 8 },
        { kind: "Let", name: "value", value },
      ]),
    );
    expect(await tint(text)).toBe("");
    return /let value = (.*);/.exec(text)![1]!;
  };
  const [a, b] = [reg("v", int(0)), reg("v", int(1))];
  const select = (cond: Expr, then: Expr, otherwise: Expr): Expr => ({ kind: "Select", type: then.type, cond, then, otherwise });
  it("with infinities, NaN and subnormals", async () => {
    expect(await expression(f32(Infinity))).toBe("floatFromBits(0x7f800000u)");
    expect(await expression(f32(NaN))).toBe("floatFromBits(0x7fc00000u)");
    expect(await expression(f32(2 ** -130))).toBe("floatFromBits(0x00080000u)");
    expect(await expression(f32(3.4028234663852886e38))).toBe("3.4028234663852886e+38f");
    expect(await expression(f32(-0))).toBe("-0.0f");
  });
  it("whose constants would overflow", async () => {
    expect(await expression({ kind: "Binary", type: "i32", op: "<<", a: int(255), b: int(24) })).toBe("-16777216");
    expect(await expression({ kind: "Binary", type: "u32", op: "+", a: constant("u32", 0xffffffff), b: constant("u32", 1) })).toBe("0u");
    expect(await expression(int(-(2 ** 31)))).toBe("-2147483648");
    expect(await expression(add(thread, int(-(2 ** 31))))).toBe("thread + -2147483648");
  });
  it("that look like templates", async () => {
    expect(await expression(select(binary("<", thread, int(1)), binary(">>", block, int(2)), int(3)))).toBe(
      "select(3, block >> 2u, (thread < 1))",
    );
    expect(await expression(select(binary("<", thread, int(1)), binary(">", a, b), binary("<=", a, b)))).toBe(
      "select((v[0] <= v[1]), (v[0] > v[1]), (thread < 1))",
    );
  });
  it("of mixed operators", async () => {
    expect(await expression(binary("&", binary("|", thread, block), binary("<<", thread, int(2))))).toBe(
      "(thread | block) & (thread << 2u)",
    );
    expect(
      await expression(
        binary("||", binary("&&", binary("<", a, b), binary("==", thread, int(1))), binary("!=", mul(thread, int(3)), block)),
      ),
    ).toBe("(v[0] < v[1] && thread == 1) || thread * 3 != block");
    expect(await expression({ kind: "Unary", type: "u32", op: "-", a: { kind: "Convert", type: "u32", a: thread } })).toBe(
      "0u - u32(thread)",
    );
  });
});

it("names keep clear of reserved words, builtins and each other", async () => {
  const kernel = kernelOf(
    [
      { kind: "Array", name: "x", type: "f32", size: 1 },
      ...["target", "select", "e0.alpha", "x_or", "__a"].map((name): LoopStmt => ({ kind: "Let", name, value: f32(1) })),
      {
        kind: "SetRegister",
        array: "x",
        index: int(0),
        value: {
          kind: "GlobalElement",
          type: "f32",
          param: "x",
          field: "",
          coords: [block, thread],
          guard: constant("bool", 1),
          fill: f32(0),
        },
      },
      storeGlobal("y", [block, thread], select3(variable("f32", "select"))),
    ],
    { name: "override" },
  );
  const text = emit(kernel);
  for (const part of [
    "fn override_kernel(",
    "var x_regs: f32;",
    "let target_value = 1.0f;",
    "let select_value",
    "let e0_alpha",
    "fn x_or_2(",
    "let _a",
  ])
    expect(text).toContain(part);
  expect(await tint(text)).toBe("");
});
const select3 = (e: Expr): Expr => ({ kind: "Select", type: "f32", cond: binary("<", thread, int(3)), then: e, otherwise: f32(0) });

it("helpers do not hide the params that they serve", async () => {
  const names = ["inside", "at", "fill", "word", "codes", "count"];
  const kernel = kernelOf(
    names.map((param): LoopStmt => ({
      kind: "StoreGlobal",
      param,
      field: "",
      coords: [block, mul(thread, int(2))],
      values: [f32(1), element(param, [block, thread])],
      limit: i32("R"),
      aligned: true,
    })),
    { params: names.map((name) => tensor("inout", name, "bf16", { r: "R", c: 64 })) },
  );
  expect(await tint(emit(kernel))).toBe("");
});

it("features become directives", async () => {
  const text = emitWgsl(rowCentre, { header: ["h"], sourceLine, enabledFeatures: ["shader-f16", "subgroups"] });
  expect(text).toMatch(/^\/\/ h\n\nenable f16;\nenable subgroups;\n\n@group/);
  expect(await tint(text)).toBe("");
});

describe("refusals", () => {
  const refuse = (body: readonly LoopStmt[], more: Partial<LoopKernel> = {}) => expect(() => emit(kernelOf(body, more)));
  it("name the kernel and the cause", () => {
    const store = (count: number, aligned: boolean): LoopStmt => ({
      kind: "StoreGlobal",
      param: "b",
      field: "",
      coords: [block, int(0)],
      values: Array.from({ length: count }, () => f32(1)),
      aligned,
    });
    refuse([store(1, true)]).toThrow(
      'cannot print kernel "k": 1 bf16 elements stored to "b" are not whole aligned words, and WGSL writes words',
    );
    refuse([store(2, false)]).toThrow("are not whole aligned words");
    refuse([storeShared("h", thread, f32(1))], { shared: [{ name: "h", dtype: "f16", elements: 64, offset: 0, note: "" }] }).toThrow(
      '1 f16 elements stored to shared "h" are not whole words',
    );
    refuse([ifThen(binary("<", thread, int(3)), [barrier])]).toThrow(
      "a barrier stands where threads may have parted; make the conditions and loop bounds around it Uniform",
    );
    refuse([forLoop("i", int(0), thread, [uniform("u", int(1))])]).toThrow('the uniform value "u" stands where threads may have parted');
    expect(() => emit(mmaTile)).toThrow('cannot print kernel "mma_tile": WGSL has no instruction record "cpAsync16"');
  });
});
