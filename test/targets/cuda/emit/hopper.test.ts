/** Hopper's instruction records: what they compute against plain products and codecs, their text against nvcc. */
import { describe, expect, it } from "vitest";
import type { Instruction, LaneOperand } from "../../../../compiler/ir/instruction.ts";
import { add, binary, constant, type Expr, int, mul } from "../../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt, Operand } from "../../../../compiler/ir/loop.ts";
import { type DType, encode, round } from "../../../../dsl/dtype.ts";
import { emitCuda } from "../../../../targets/cuda/emit.ts";
import { hopperInstructions } from "../../../../targets/cuda/hopper.ts";
import { cudaInstructionsOf } from "../../../../targets/cuda/instructions.ts";
import { cudaTarget } from "../../../../targets/cuda/index.ts";
import { cudaArchs } from "../../../../targets/cuda/target.ts";
import { f32, ifThen, reg, sourceLine, storeGlobal, tensor, thread } from "../../../compiler/interp/loop_kernels.ts";
import { assemble, hasNvcc } from "./nvcc.ts";
import { array, invoke, mapOf, matrix, onBarrier, registers, sharedAt, value } from "./role_kernels.ts";

const named = new Map(hopperInstructions.map((i) => [i.name, i]));
const record = (name: string): Instruction => named.get(name)!;
const sequence = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));

const operand = (dtype: LaneOperand["dtype"], read: (i: number) => number, more: Partial<LaneOperand> = {}): LaneOperand => ({
  dtype,
  address: 0,
  value: 0,
  read,
  write: () => expect.unreachable("only results are written"),
  ...more,
});
const held = (dtype: "f32" | "u32", values: ArrayLike<number> & { [i: number]: number }): LaneOperand =>
  operand(dtype, (i) => values[i]!, { write: (i, x) => (values[i] = x) });
/** Element (line, k) of a matrix in shared memory. */
const inShared = (dtype: DType, values: readonly (readonly number[])[], address = 0): LaneOperand =>
  operand(dtype, (i) => values[Math.floor(i / 1024)]![i % 1024]!, { address });

/** Small multiples of 1/8 whose products and sums are exact in f32. */
const values = (dtype: DType, lines: number, columns: number, seed: number): number[][] =>
  sequence(lines, (i) => sequence(columns, (k) => round(dtype, (((i * 31 + k * 17 + seed) % 23) - 11) / 8)));
/** Where the manual puts element (row, column) of d: warp row/16 of the group, lane 4(row%8) + (column%8)/2. */
const place = (row: number, column: number): { lane: number; register: number } => ({
  lane: 32 * Math.floor(row / 16) + 4 * (row % 8) + ((column % 8) >> 1),
  register: 4 * (column >> 3) + 2 * ((row >> 3) % 2) + (column % 2),
});
const product = (a: readonly (readonly number[])[], b: readonly (readonly number[])[], row: number, column: number): number =>
  a[row]!.reduce((sum, x, k) => sum + x * b[column]![k]!, 0);

describe("wgmma", () => {
  for (const [dtype, n] of [["e4m3", 128], ["e4m3", 8], ["bf16", 64], ["f16", 256]] as const)
    for (const first of [false, true])
      it(`m64n${n} of ${dtype} ${first ? "writes" : "adds"} the product of its matrices`, () => {
        const depth = dtype === "e4m3" ? 32 : 16;
        const [a, b] = [values(dtype, 64, depth, 3), values(dtype, n, depth, 5)];
        const before = (lane: number, r: number): number => (first ? NaN : lane - r / 4);
        const d = sequence(128, (lane) => Float32Array.from({ length: n / 2 }, (_, r) => before(lane, r)));
        const lanes = d.map((registersOfLane) => [held("f32", registersOfLane), inShared(dtype, a), inShared(dtype, b)]);
        const instruction = record(`wgmma.m64n${n}k${depth}.${dtype}${first ? ".first" : ""}`);
        expect(instruction.operands).toEqual([n / 2, "Matrix", "Matrix"]);
        expect(instruction.flops).toBe(2 * 64 * n * depth);
        instruction.semantics(lanes);
        for (let row = 0; row < 64; row++)
          for (let column = 0; column < n; column++) {
            const { lane, register } = place(row, column);
            expect(d[lane]![register]).toBe(Math.fround((first ? 0 : before(lane, register)) + product(a, b, row, column)));
          }
      });

  for (const dtype of ["bf16", "f16"] as const)
    it(`takes a of ${dtype} from registers, each warp's 16 rows as mma.m16n8k16 does`, () => {
      const [a, b] = [values(dtype, 64, 16, 7), values(dtype, 24, 16, 11)];
      const d = sequence(128, () => new Float32Array(12));
      const lanes = d.map((registersOfLane, l) => {
        const [row, k] = [16 * (l >> 5) + ((l % 32) >> 2), 2 * (l % 4)];
        const pair = (i: number, j: number): number => encode(dtype, a[i]![j]!) + 65536 * encode(dtype, a[i]![j + 1]!);
        const words = Uint32Array.of(pair(row, k), pair(row + 8, k), pair(row, k + 8), pair(row + 8, k + 8));
        return [held("f32", registersOfLane), held("u32", words), inShared(dtype, b)];
      });
      record(`wgmma.m64n24k16.${dtype}.ra`).semantics(lanes);
      for (let row = 0; row < 64; row++)
        for (let column = 0; column < 24; column++) {
          const { lane, register } = place(row, column);
          expect(d[lane]![register]).toBe(product(a, b, row, column));
        }
    });

  it("rounds once: terms that cancel leave the small one", () => {
    const a = sequence(64, () => sequence(16, (k) => [2 ** 10, 2 ** -14, -(2 ** 10)][k] ?? 0));
    const b = sequence(8, () => sequence(16, (k) => (k === 1 ? 2 ** -14 : 2 ** 10)));
    const d = sequence(128, () => new Float32Array(4));
    record("wgmma.m64n8k16.f16.first").semantics(d.map((x) => [held("f32", x), inShared("f16", a), inShared("f16", b)]));
    expect(d[77]![3]).toBe(2 ** -28);
  });

  it("refuses matrices of another format, and lanes that disagree", () => {
    const a = inShared("bf16", values("bf16", 64, 16, 1));
    const lanes = (b: (lane: number) => LaneOperand) => sequence(128, (l) => [held("f32", new Float32Array(4)), a, b(l)]);
    const { semantics } = record("wgmma.m64n8k16.bf16");
    expect(() => semantics(lanes(() => inShared("f16", values("f16", 8, 16, 1))))).toThrow("wgmma of bf16 is given a matrix of f16");
    expect(() => semantics(lanes((l) => inShared("bf16", values("bf16", 8, 16, 1), l === 99 ? 32 : 0)))).toThrow(
      "lanes of a warpgroup name matrices at byte 0 and byte 32",
    );
  });
});

describe("pack", () => {
  for (const dtype of ["bf16", "f16"] as const)
    it(`rounds two values to ${dtype}, the first in the low half`, () => {
      for (const [low, high] of [[1.00390625, -3], [-0, 0.1], [65520, 1e-8]] as const) {
        const word = new Uint32Array(1);
        const x = (v: number): LaneOperand => operand("f32", () => expect.unreachable("a value is not read"), { value: v });
        record(`pack.${dtype}`).semantics([[held("u32", word), x(low), x(high)]]);
        expect(word[0]).toBe(encode(dtype, low) + 65536 * encode(dtype, high));
      }
    });
});

describe("words", () => {
  const some = [1.5, -0.25, 448, -2, 0, -0, 0.0625, 3];
  const into = (values: readonly number[], dtype: DType, address = 0): LaneOperand => operand(dtype, (i) => values[i]!, { address });
  for (const dtype of ["e4m3", "bf16", "f16"] as const)
    it(`of ${dtype} are loaded from shared memory and taken apart, the first element lowest`, () => {
      const each = dtype === "e4m3" ? 4 : 2;
      const words = new Uint32Array(8 / each);
      record(`loadShared.${words.length}`).semantics([[held("u32", words), into(some, dtype)]]);
      expect(words[0]! & (2 ** (32 / each) - 1)).toBe(encode(dtype, 1.5));
      const found = [...words].flatMap((_, i) => {
        const elements = new Float32Array(each);
        record(`unpack.${dtype}`).semantics([[held("f32", elements), held("u32", words.slice(i, i + 1))]]);
        return [...elements];
      });
      expect(found).toEqual(some);
    });
  it("start at a multiple of their bytes", () => {
    expect(() => record("loadShared.2").semantics([[held("u32", new Uint32Array(2)), into(some, "e4m3", 12)]])).toThrow("8 bytes are loaded from byte 12");
    record("loadShared.1").semantics([[held("u32", new Uint32Array(1)), into(some, "e4m3", 12)]]);
  });
});

describe("records", () => {
  it("stand in the list of sm_90a and of no other chip", () => {
    const names = (target: "cuda:sm_90a" | "cuda:sm_90" | "cuda:sm_80") => [...cudaTarget(target).machine.instructions];
    expect(names("cuda:sm_90a")).toEqual(expect.arrayContaining([...named.keys()]));
    expect(names("cuda:sm_90").filter((name) => named.has(name))).toEqual([]);
    expect(new Set(cudaInstructionsOf(cudaArchs.sm_90a).map((i) => i.name)).size).toBe(cudaInstructionsOf(cudaArchs.sm_90a).length);
    expect(names("cuda:sm_80").length).toBe(cudaInstructionsOf(cudaArchs.sm_80).length);
  });
  it("of wgmma name every argument of their text once", () => {
    const products = hopperInstructions.filter((i) => i.name.startsWith("wgmma.m64"));
    expect(products.length).toBe(32 * 10);
    for (const { helper } of products) {
      const [, asm, outputs, inputs] = /asm volatile\(([^]*?)\n {6}:\n([^]*?)\n {6}: ([^]*)\);/.exec(helper!)!;
      const slots = asm!.match(/%\d+/g)!;
      const given = [...outputs!.matchAll(/"[=+]f"/g)].length + [...inputs!.matchAll(/"[lrn]"/g)].length;
      expect(slots).toEqual(sequence(given, (i) => `%${i}`));
    }
  });
  it("of tensor copies pass address, map, barrier and coordinates to their places", () => {
    for (const rank of [1, 2, 3, 4, 5])
      for (const hint of ["", ".evictFirst"]) {
        const coords = sequence(rank, (i) => `%${3 + i}`).join(", ");
        const { helper } = record(`tmaLoad.${rank}${hint}`);
        expect(helper).toContain(`" [%0], [%1, {${coords}}], [%2]${hint === "" ? "" : `, %${3 + rank}`};"`);
        const inputs = helper!.split(" :: ")[1]!.matchAll(/"[rl]"\((?:\(u32\)__cvta_generic_to_shared\()?(\w+)/g);
        expect([...inputs].map((m) => m[1])).toEqual([
          ...["to", "map", "full"],
          ...sequence(rank, (i) => `x${i}`),
          ...(hint === "" ? [] : ["policy"]),
        ]);
      }
  });
});

const kernel = (name: string, body: readonly LoopStmt[], more: Partial<LoopKernel>): LoopKernel => ({
  name,
  loc: { file: "h.ts", line: 1, column: 1 },
  params: [tensor("in", "x", "bf16", { i: 4096 }), tensor("inout", "y", "f32", { i: 4096 })],
  dims: [],
  blocks: 1,
  threads: 128,
  shared: [{ name: "s", dtype: "bf16", elements: 16384, offset: 0, note: "s" }],
  sharedBytes: 98320,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body,
  ...more,
});
/** Every form of words. */
const apart = kernel("apart", [
  array("words", "u32", 4),
  array("elements", "f32", 4),
  ...[4, 2, 1].map((count) => invoke(`loadShared.${count}`, registers("words", count), sharedAt("s", mul(thread, int(8))))),
  ...(["e4m3", "bf16", "f16"] as const).map((dtype) => invoke(`unpack.${dtype}`, registers("elements", dtype === "e4m3" ? 4 : 2), registers("words", 1))),
  storeGlobal("y", [thread], reg("elements", int(0))),
], {});
const leaderAt = (index: Expr): Operand => ({ kind: "LeaderAddress", buffer: "s", index });
const matrices: LoopKernel["shared"] = [
  { name: "s", dtype: "bf16", elements: 16384, offset: 0, note: "s" },
  { name: "bytes", dtype: "e4m3", elements: 32768, offset: 32768, note: "bytes" },
  { name: "half", dtype: "f16", elements: 16384, offset: 65536, note: "half" },
];
const buffers = { bf16: "s", e4m3: "bytes", f16: "half" } as const;

/** One product of each form with `n` columns, all into one accumulator. */
const products = (n: number): LoopKernel => {
  const d = registers("d", n / 2);
  const forms = (["e4m3", "bf16", "f16"] as const).flatMap((dtype): LoopStmt[] => {
    const k = dtype === "e4m3" ? 32 : 16;
    const major = dtype === "e4m3" ? "k" : "mn";
    const [a, b] = [matrix(buffers[dtype], int(64), "k"), matrix(buffers[dtype], int(0), major, 8192)];
    const shape = `wgmma.m64n${n}k${k}.${dtype}`;
    const inRegisters = dtype === "e4m3" ? [] : [invoke(`${shape}.ra.first`, d, registers("a", 4), b), invoke(`${shape}.ra`, d, registers("a", 4), b)];
    return [...inRegisters, invoke(`${shape}.first`, d, a, b), invoke(shape, d, a, b)];
  });
  return kernel(`products_${n}`, [
    array("d", "f32", n / 2),
    array("a", "u32", 4),
    ...[0, 1, 2, 3].map((i) => invoke(`pack.${i < 2 ? "bf16" : "f16"}`, registers("a", 1, int(i)), value(f32(i)), value(f32(1)))),
    invoke("wgmmaFence"),
    ...forms,
    invoke("wgmmaCommit"),
    ...[3, 2, 1, 0].map((pending) => invoke(`wgmmaWait.${pending}.${n / 2}`, d)),
    ...sequence(n / 2, (r) => storeGlobal("y", [add(mul(thread, int(n / 2)), int(r))], reg("d", int(r)))).filter((_, r) => r < 32),
  ], { shared: matrices });
};

const copies = kernel("copies", [
  ifThen(binary("==", thread, int(0)), [
    invoke("mbarrierInit", onBarrier("full"), value(int(1))),
    invoke("mbarrierInit", onBarrier("full", int(1)), value(int(1))),
    invoke("mbarrierInitFence"),
    invoke("prefetchTensorMap", mapOf("map")),
  ]),
  invoke("awaitPriorLaunch"),
  { kind: "Barrier" },
  ifThen(binary("==", thread, int(0)), [
    invoke("mbarrierExpect", onBarrier("full"), value(int(1280))),
    ...[1, 2, 3, 4, 5].flatMap((rank) =>
      ["", ".evictFirst"].map((hint): LoopStmt => {
        const coords: Operand[] = sequence(rank, (i) => value(int(i)));
        return invoke(`tmaLoad.${rank}${hint}`, sharedAt("s", int(64)), mapOf("map"), onBarrier("full"), ...coords);
      }),
    ),
    invoke("mbarrierArrive", onBarrier("full", int(1))),
  ]),
  invoke("cpAsync16", sharedAt("s", mul(thread, int(8))), { kind: "GlobalAddress", param: "x", field: "", coords: [mul(thread, int(8))] }, value(int(1))),
  invoke("cpAsyncArrive", onBarrier("full")),
  invoke("mbarrierWait", onBarrier("full", int(1)), value(int(0))),
  invoke("fenceProxyAsync"),
  invoke("syncWarp"),
  invoke("schedulingFence"),
  invoke("mbarrierArriveWarp", onBarrier("full", int(1))),
], {
  barriers: [{ name: "full", slots: 2, arrivals: 1, offset: 98304, note: "full" }],
  tensorMaps: [{ name: "map", param: "x", offset: 0, dtype: "bf16", swizzle: 128, sizes: [64], strides: [], box: [64] }],
});

const pushes = kernel("pushes", [
  array("before", "u32", 1),
  invoke("clusterArrive"),
  invoke("clusterWait"),
  invoke("leaderAdd", registers("before", 1), leaderAt(int(0)), value(constant("u32", 3))),
  invoke("leaderStore", leaderAt(thread), value(reg("before", int(0), "u32"))),
  invoke("clusterArrive"),
  { kind: "Exit" },
], { cluster: 2, blocks: 2, shared: [{ name: "s", dtype: "u32", elements: 1024, offset: 0, note: "s" }] });

describe.skipIf(!hasNvcc)("nvcc", () => {
  it("accepts the text of every kind of record", async () => {
    const texts = [copies, pushes, apart, ...[8, 64, 136, 256].map(products)];
    const kind = (name: string): string => name.replace(/m64n\d+/, "m64n").replace(/(wgmmaWait\.\d)\.\d+/, "$1");
    const used = new Set(texts.flatMap((k) => JSON.stringify(k.body).match(/"instruction":"[^"]+"/g)!).map((m) => kind(m.slice(15, -1))));
    const kinds = new Set(hopperInstructions.map((i) => kind(i.name)));
    expect([...kinds].filter((k) => !used.has(k))).toEqual([]);
    await assemble(
      "sm_90a",
      texts.map((k) => emitCuda(k, { target: "cuda:sm_90a", header: [], sourceLine })),
    );
  });
});
