/** Every CUDA instruction record: its meaning against a naive model, its text against nvcc. */
import { describe, expect, it } from "vitest";
import { runLoop } from "../../../../compiler/interp/loop.ts";
import { add, binary, constant, convert, type Expr, int, mul } from "../../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt, Operand } from "../../../../compiler/ir/loop.ts";
import { type DType, encode, fromBytes, round, toBytes } from "../../../../dsl/dtype.ts";
import { emitCuda } from "../../../../targets/cuda/emit.ts";
import { cudaInstructions } from "../../../../targets/cuda/instructions.ts";
import {
  barrier,
  element,
  f32,
  forLoop,
  i32,
  mmaTile,
  reg,
  sourceLine,
  storeGlobal,
  storeShared,
  tensor,
  thread,
} from "../../../compiler/interp/loop_kernels.ts";
import { assemble, hasNvcc } from "./nvcc.ts";

const registers = (array: string, count: number): Operand => ({ kind: "Registers", array, index: int(0), count });
const value = (e: Expr): Operand => ({ kind: "Value", value: e });
const array = (name: string, type: "f32" | "u32" | "i32", size: number): LoopStmt => ({ kind: "Array", name, type, size });
const kernel = (name: string, params: LoopKernel["params"], body: readonly LoopStmt[], shared: LoopKernel["shared"] = []): LoopKernel => ({
  name,
  loc: { file: "i.ts", line: 1, column: 1 },
  params,
  dims: [],
  blocks: 1,
  threads: 32,
  shared,
  sharedBytes: 512,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body,
});
const run = (k: LoopKernel, buffers: Record<string, Uint8Array>) => runLoop(k, cudaInstructions, buffers, {});
const sequence = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));

/** y[l] = instruction(x[l], amount) for one type. */
const shuffle = (instruction: string, type: "f32" | "i32" | "u32", amount: number): LoopKernel =>
  kernel(
    `${instruction}_${type}_${amount}`,
    [tensor("in", "x", type, { l: 32 }), tensor("out", "y", type, { l: 32 })],
    [
      array("r", type, 1),
      { kind: "Call", instruction, operands: [registers("r", 1), value(element("x", [thread], type)), value(int(amount))] },
      storeGlobal("y", [thread], reg("r", int(0), type)),
    ],
  );

/** out[l, m] = register m of lane l after a load of `count` 8x8 matrices that lie one under the other, rows of 8. */
const ldmatrix = (count: 2 | 4, trans: boolean, dtype: "bf16" | "f16"): LoopKernel =>
  kernel(
    `ldmatrix_${count}_${trans}_${dtype}`,
    [tensor("in", "x", dtype, { i: 256 }), tensor("out", "out", "u32", { l: 32, m: count })],
    [
      forLoop("e", int(0), int(4), [
        storeShared(
          "s",
          add(mul(thread, int(8)), mul(i32("e"), int(2))),
          ...[0, 1].map((e) => element("x", [add(add(mul(thread, int(8)), mul(i32("e"), int(2))), int(e))])),
        ),
      ]),
      barrier,
      array("r", "u32", count),
      {
        kind: "Call",
        instruction: `ldmatrix.x${count}${trans ? ".trans" : ""}`,
        operands: [registers("r", count), { kind: "SharedAddress", buffer: "s", index: mul(thread, int(8)) }],
      },
      forLoop("m", int(0), int(count), [storeGlobal("out", [thread, i32("m")], reg("r", i32("m"), "u32"))], 1, true),
    ],
    [{ name: "s", dtype, elements: 256, offset: 0, note: "s" }],
  );

/** d += a b, fragments read from memory exactly as the lane's registers: a[l, 4], b[l, 2] as words, d[l, 4]. */
const mma = (dtype: "bf16" | "f16"): LoopKernel =>
  kernel(
    `mma_${dtype}`,
    [tensor("in", "a", "u32", { l: 32, r: 4 }), tensor("in", "b", "u32", { l: 32, r: 2 }), tensor("inout", "d", "f32", { l: 32, r: 4 })],
    [
      array("a", "u32", 4),
      array("b", "u32", 2),
      array("d", "f32", 4),
      ...(["a", "b", "d"] as const).map((name): LoopStmt => ({
        kind: "LoadGlobal",
        array: name,
        index: int(0),
        count: name === "b" ? 2 : 4,
        param: name,
        field: "",
        coords: [thread, int(0)],
        fill: name === "d" ? f32(0) : constant("u32", 0),
        aligned: true,
      })),
      { kind: "Call", instruction: `mma.m16n8k16.${dtype}`, operands: [registers("d", 4), registers("a", 4), registers("b", 2)] },
      {
        kind: "StoreGlobal",
        param: "d",
        field: "",
        coords: [thread, int(0)],
        values: [0, 1, 2, 3].map((i) => reg("d", int(i))),
        aligned: true,
      },
    ],
  );

/** y = what a record makes of x, in place or in another register. */
const overLanes = (name: "warpScanAdd" | "warpReduceAdd" | "opaque", type: "i32" | "u32"): LoopKernel =>
  kernel(
    `${name}_${type}`,
    [tensor("in", "x", type, { l: 32 }), tensor("out", "y", type, { l: 32 })],
    [
      { kind: "Array", name: "r", type, size: 1 },
      { kind: "SetRegister", array: "r", index: int(0), value: element("x", [thread], type) },
      { kind: "Call", instruction: name, operands: name === "warpReduceAdd" ? [registers("r", 1), { kind: "Value", value: element("x", [thread], type) }] : [registers("r", 1)] },
      storeGlobal("y", [thread], reg("r", int(0), type)),
    ],
  );

describe("shuffles", () => {
  const inputs: Record<"f32" | "i32" | "u32", readonly number[]> = {
    f32: sequence(32, (l) => Math.fround(l * 1.1)),
    i32: sequence(32, (l) => l - 40),
    u32: sequence(32, (l) => 2 ** 32 - 1 - l),
  };
  for (const type of ["f32", "i32", "u32"] as const)
    it(`move ${type} between lanes`, () => {
      const moved = (instruction: string, amount: number) => {
        const y = new Uint8Array(128);
        run(shuffle(instruction, type, amount), { x: toBytes(type, inputs[type]), y });
        return [...fromBytes(type, y)];
      };
      for (const mask of [0, 1, 2, 4, 8, 16, 31]) expect(moved("shuffleXor", mask)).toEqual(sequence(32, (l) => inputs[type][l ^ mask]));
      for (const delta of [0, 1, 5, 16])
        expect(moved("shuffleUp", delta)).toEqual(sequence(32, (l) => inputs[type][l >= delta ? l - delta : l]));
      for (const lane of [0, 7, 31]) expect(moved("shuffleIndex", lane)).toEqual(sequence(32, () => inputs[type][lane]));
    });
  for (const type of ["i32", "u32"] as const)
    it(`add ${type} over lanes, around the end of the numbers`, () => {
      const wrap = (x: number) => (type === "u32" ? x >>> 0 : x | 0);
      const sums = inputs[type].map((_, l) => inputs[type].slice(0, l + 1).reduce((a, b) => wrap(a + b)));
      for (const [name, expected] of [["warpScanAdd", sums], ["warpReduceAdd", sums.map(() => sums[31])], ["opaque", inputs[type]]] as const) {
        const y = new Uint8Array(128);
        run(overLanes(name, type), { x: toBytes(type, inputs[type]), y });
        expect([...fromBytes(type, y)]).toEqual(expected);
      }
    });
});

describe("ldmatrix", () => {
  for (const dtype of ["bf16", "f16"] as const)
    for (const count of [2, 4] as const)
      for (const trans of [false, true])
        it(`x${count}${trans ? ".trans" : ""} of ${dtype}: lane l gets row l/4, columns 2(l%4) and the next`, () => {
          const x = sequence(256, (i) => i - 100);
          const out = new Uint8Array(128 * count);
          run(ldmatrix(count, trans, dtype), { x: toBytes(dtype, x), out });
          const matrix = (m: number, row: number, column: number) =>
            encode(dtype, x[64 * m + (trans ? 8 * column + row : 8 * row + column)]!);
          const expected = sequence(32, (l) =>
            sequence(count, (m) => matrix(m, l >> 2, 2 * (l & 3)) + 65536 * matrix(m, l >> 2, 2 * (l & 3) + 1)),
          );
          expect([...fromBytes("u32", out)]).toEqual(expected.flat());
        });

  it("refuses rows off the 16-byte grid and other formats", () => {
    const base = ldmatrix(4, false, "bf16");
    const shift = (s: LoopStmt): LoopStmt =>
      s.kind === "Call"
        ? {
            ...s,
            operands: [
              s.operands[0]!,
              { kind: "SharedAddress", buffer: "s", index: add(mul(binary("%", thread, int(8)), int(8)), int(2)) },
            ],
          }
        : s;
    const buffers = { x: new Uint8Array(512), out: new Uint8Array(512) };
    expect(() => run({ ...base, body: base.body.map(shift) }, buffers)).toThrow(
      "ldmatrix.x4 needs rows at multiples of 16 bytes, lane 0 points to byte 4",
    );
    const bytes = { ...base, shared: [{ ...base.shared[0]!, dtype: "e4m3" as const }] };
    const words = bytes.body.map((s): LoopStmt =>
      s.kind === "For" && s.name === "e"
        ? forLoop("e", int(0), int(2), [storeShared("s", add(mul(thread, int(8)), mul(i32("e"), int(4))), f32(1), f32(1), f32(1), f32(1))])
        : s,
    );
    expect(() => run({ ...bytes, body: words }, buffers)).toThrow("ldmatrix.x4 reads 16-bit elements, not e4m3");
  });
});

describe("mma", () => {
  for (const dtype of ["bf16", "f16"] as const)
    it(`m16n8k16 of ${dtype} is the product of a 16x16 and a 16x8 matrix, added to d`, () => {
      const [a, b] = [
        sequence(256, (i) => round(dtype, ((i * 29) % 41) / 8 - 2.5)),
        sequence(128, (i) => round(dtype, ((i * 17) % 37) / 4 - 4)),
      ];
      const d = sequence(128, (i) => i / 2);
      const pair = (low: number, high: number) => encode(dtype, low) + 65536 * encode(dtype, high);
      // the fragments of the PTX manual: g = l / 4, t = l % 4
      const lanes = sequence(32, (l) => ({ g: l >> 2, t: l & 3 }));
      const aWords = lanes.flatMap(({ g, t }) =>
        [
          [g, 2 * t],
          [g + 8, 2 * t],
          [g, 2 * t + 8],
          [g + 8, 2 * t + 8],
        ].map(([row, k]) => pair(a[16 * row! + k!]!, a[16 * row! + k! + 1]!)),
      );
      const bWords = lanes.flatMap(({ g, t }) => [2 * t, 2 * t + 8].map((k) => pair(b[8 * k + g]!, b[8 * (k + 1) + g]!)));
      const cells = lanes.flatMap(({ g, t }) => [
        [g, 2 * t],
        [g, 2 * t + 1],
        [g + 8, 2 * t],
        [g + 8, 2 * t + 1],
      ]);
      const bytes = toBytes(
        "f32",
        cells.map(([row, column]) => d[8 * row! + column!]!),
      );
      run(mma(dtype), { a: toBytes("u32", aWords), b: toBytes("u32", bWords), d: bytes });
      const product = (row: number, column: number) =>
        sequence(16, (k) => a[16 * row + k]! * b[8 * k + column]!).reduce((x, y) => x + y, d[8 * row + column]!);
      expect([...fromBytes("f32", bytes)]).toEqual(cells.map(([row, column]) => Math.fround(product(row!, column!))));
    });
});

/** y = x through shared memory, 16 bytes a lane; odd lanes get zeros. */
const copy = (dtype: DType, count: number): LoopKernel =>
  kernel(
    `copy_${dtype}`,
    [tensor("in", "x", dtype, { i: 32 * count }), tensor("out", "y", "f32", { i: 32 * count })],
    [
      {
        kind: "Call",
        instruction: "cpAsync16",
        operands: [
          { kind: "SharedAddress", buffer: "s", index: mul(thread, int(count)) },
          { kind: "GlobalAddress", param: "x", field: "", coords: [mul(thread, int(count))] },
          value(binary("==", binary("%", thread, int(2)), int(0))),
        ],
      },
      { kind: "Call", instruction: "cpAsyncWaitAll", operands: [] },
      barrier,
      forLoop(
        "i",
        thread,
        int(32 * count),
        [
          storeGlobal(
            "y",
            [i32("i")],
            convert("f32", { kind: "Shared", type: dtype === "i32" ? "i32" : "f32", buffer: "s", index: i32("i") }),
          ),
        ],
        32,
      ),
    ],
    [{ name: "s", dtype, elements: 32 * count, offset: 0, note: "s" }],
  );
const copies = [copy("f32", 4), copy("i32", 4), copy("bf16", 8), copy("e4m3", 16)];

describe("cpAsync16", () => {
  for (const k of copies)
    it(`${k.name.replace("_", " of ")} moves 16 bytes or zeros, and reads nothing for zeros`, () => {
      const { dtype } = k.shared[0]!;
      const count = k.shared[0]!.elements / 32;
      const x = sequence(31 * count, (i) => (i % 13) + 1); // lane 31 is odd: its elements do not exist
      const y = new Uint8Array(128 * count);
      const short = { ...k, params: k.params.map((p) => (p.name === "x" ? tensor("in", "x", dtype, { i: 31 * count }) : p)) };
      run(short, { x: toBytes(dtype, x), y });
      expect([...fromBytes("f32", y)]).toEqual(sequence(32 * count, (i) => (Math.floor(i / count) % 2 === 0 ? x[i] : 0)));
    });
  it("refuses to turn one format into another", () => {
    const k = copies[2]!;
    const wrong = { ...k, params: k.params.map((p) => (p.name === "x" ? tensor("in", "x", "f16", { i: 256 }) : p)) };
    expect(() => run(wrong, { x: new Uint8Array(512), y: new Uint8Array(1024) })).toThrow(
      "cpAsync16 copies bytes, it cannot turn f16 into bf16",
    );
  });
});

describe.skipIf(!hasNvcc)("nvcc", () => {
  const kernels = [
    ...(["f32", "i32", "u32"] as const).flatMap((type) => ["shuffleXor", "shuffleUp", "shuffleIndex"].map((name) => shuffle(name, type, 3))),
    ...(["i32", "u32"] as const).flatMap((type) => (["warpScanAdd", "warpReduceAdd", "opaque"] as const).map((name) => overLanes(name, type))),
    ...([2, 4] as const).flatMap((count) => [false, true].map((trans) => ldmatrix(count, trans, "bf16"))),
    mma("bf16"),
    mma("f16"),
    ...copies,
    mmaTile,
  ];
  it("accepts the text of every record, on the oldest and the newest chip", async () => {
    const used = new Set(kernels.flatMap((k) => JSON.stringify(k.body).match(/"instruction":"[^"]+"/g) ?? []).map((m) => m.slice(15, -1)));
    expect([...used].sort()).toEqual(cudaInstructions.map((i) => i.name).sort());
    for (const arch of ["sm_80", "sm_90a"] as const)
      await assemble(
        arch,
        kernels.map((k) => emitCuda(k, { target: `cuda:${arch}`, header: [], sourceLine })),
      );
  });
});
