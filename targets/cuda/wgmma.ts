/**
 * Records of wgmma: products of matrices in shared memory that four warps start together and wait for later. Fragment layouts follow the
 * PTX ISA manual, "Asynchronous Warpgroup Level Matrix Instructions". The simulated machine runs `semantics` at some moment between
 * the issue and the wait; sums are in f64 and round once.
 */
import { decode } from "../../dsl/dtype.ts";
import type { Instruction, LaneOperand } from "../../compiler/ir/instruction.ts";
import { arg, type Lanes, pointers } from "./operands.ts";

type WgmmaType = "e4m3" | "bf16" | "f16";
/** Of a matrix operand: (row, k) of a, (column, k) of b. */
type Element = (line: number, k: number) => number;
/** What a Matrix operand's elements are counted in: element (row or column, k) is `read(line * 1024 + k)`. */
const matrixLine = 1024;

/** Register `r` of lane `lane` of 128 holds element (row, column) of d. */
export const accumulatorCell = (lane: number, r: number): { readonly row: number; readonly column: number } => ({
  row: 16 * (lane >> 5) + ((lane & 31) >> 2) + 8 * ((r >> 1) & 1),
  column: 8 * (r >> 2) + 2 * (lane & 3) + (r & 1),
});

/** `read(line, k)` of a matrix in shared memory. All lanes name the same one. */
function matrix(lanes: Lanes, operand: number, dtype: WgmmaType): Element {
  const m = arg(lanes, 0, operand);
  if (m.dtype !== dtype) throw new RangeError(`wgmma of ${dtype} is given a matrix of ${m.dtype}`);
  lanes.forEach((_, lane) => {
    const { address } = arg(lanes, lane, operand);
    if (address !== m.address) throw new RangeError(`lanes of a warpgroup name matrices at byte ${m.address} and byte ${address}`);
  });
  return (line, k) => m.read(line * matrixLine + k);
}

/** a in registers, per warp as mma.m16n8k16 takes it: pair p of lane l holds row l/4 + 8(p%2), columns 2(l%4) + 8(p/2) and the next. */
function fragments(lanes: Lanes, operand: number, dtype: "bf16" | "f16"): Element {
  return (row, k) => {
    const holder: LaneOperand = arg(lanes, 32 * (row >> 4) + 4 * (row & 7) + ((k & 7) >> 1), operand);
    return decode(dtype, (holder.read(((row >> 3) & 1) + 2 * (k >> 3)) >>> (16 * (k & 1))) & 0xffff);
  };
}

function multiply(lanes: Lanes, n: number, depth: number, first: boolean, a: Element, b: Element): void {
  const table = (lines: number, read: Element): Float64Array =>
    Float64Array.from({ length: lines * depth }, (_, i) => read(Math.floor(i / depth), i % depth));
  const [rows, columns] = [table(64, a), table(n, b)];
  lanes.forEach((_, lane) => {
    const d = arg(lanes, lane, 0);
    for (let r = 0; r < n / 2; r++) {
      const { row, column } = accumulatorCell(lane, r);
      let sum = first ? 0 : d.read(r);
      for (let k = 0; k < depth; k++) sum += rows[row * depth + k]! * columns[column * depth + k]!;
      d.write(r, Math.fround(sum));
    }
  });
}

/** Items `perLine` to a line of a helper's text, each line finished by `line`. */
const inLines = (items: readonly string[], perLine: number, line: (text: string, last: boolean) => string): readonly string[] =>
  Array.from({ length: Math.ceil(items.length / perLine) }, (_, i) =>
    line(items.slice(i * perLine, (i + 1) * perLine).join(", "), (i + 1) * perLine >= items.length),
  );

const title = { e4m3: "E4m3", bf16: "Bf16", f16: "F16" } as const;

/**
 * (d registers n/2 of f32, a matrix or 4 registers of u32, b matrix): d += a * b with a 64 x k, b k x n. `first`: d = a * b, and d is
 * not read, so nobody has to clear it.
 */
function wgmma(n: number, dtype: WgmmaType, registersA: boolean, first: boolean): Instruction {
  const depth = dtype === "e4m3" ? 32 : 16;
  const half = n / 2;
  const fn = `wgmmaM64N${n}K${depth}${title[dtype]}${registersA ? "Ra" : ""}${first ? "First" : ""}`;
  const name = `wgmma.m64n${n}k${depth}.${dtype}${registersA ? ".ra" : ""}${first ? ".first" : ""}`;
  // transposition is known where the operands are: a template argument for each matrix of a 16-bit type
  const transposes = dtype === "e4m3" ? [] : registersA ? ["transposeB"] : ["transposeA", "transposeB"];
  const slot = (i: number): string => `%${i}`;
  const d = Array.from({ length: half }, (_, i) => i);
  const aSlots = registersA ? `{${[0, 1, 2, 3].map((i) => slot(half + i)).join(", ")}}` : slot(half);
  const next = half + (registersA ? 4 : 1);
  const modifiers = ["1", "1", ...transposes.map((_, i) => slot(next + 1 + i))].join(", ");
  const inputs = [
    ...(registersA ? [0, 1, 2, 3].map((i) => `"r"(a[${i}])`) : ['"l"(a)']),
    '"l"(b)',
    ...transposes.map((t) => `"n"(${t})`),
  ].join(", ");
  return {
    name,
    timeline: "wgmma",
    scope: "warpgroup",
    operands: [half, registersA ? 4 : "Matrix", "Matrix"],
    writes: [0],
    semantics(lanes) {
      const a = registersA && dtype !== "e4m3" ? fragments(lanes, 1, dtype) : matrix(lanes, 1, dtype);
      multiply(lanes, n, depth, first, a, matrix(lanes, 2, dtype));
    },
    text: (operands) => {
      const majors = operands.flatMap(({ operand }) => (operand.kind === "Matrix" ? [operand.major] : []));
      if (dtype === "e4m3" && majors.includes("mn")) throw new RangeError(`${name} reads matrices of major "k" only`);
      const flags = transposes.length === 0 ? "" : `<${majors.map((m) => (m === "mn" ? 1 : 0)).join(", ")}>`;
      return `${fn}${flags}(${pointers(operands)});`;
    },
    helper: [
      ...(transposes.length === 0 ? [] : [`template <${transposes.map((t) => `int ${t}`).join(", ")}>`]),
      `__device__ __forceinline__ void ${fn}(float* d, ${registersA ? "const u32* a" : "u64 a"}, u64 b) {`,
      `  asm volatile("{ .reg .pred add; setp.ne.b32 add, ${first ? 0 : 1}, 0;"`,
      `      " wgmma.mma_async.sync.aligned.m64n${n}k${depth}.f32.${dtype}.${dtype} {"`,
      ...inLines(d.map(slot), 16, (text, last) => `      "${text}${last ? "" : ", "}"`),
      `      "}, ${aSlots}, ${slot(next)}, add, ${modifiers}; }"`,
      `      :`,
      ...inLines(
        d.map((i) => `"${first ? "=" : "+"}f"(d[${i}])`),
        8,
        (text, last) => `        ${text}${last ? "" : ","}`,
      ),
      `      : ${inputs});`,
      "}",
    ].join("\n"),
    flops: 2 * 64 * n * depth,
  };
}

/** (registers): at most `pending` groups of this warpgroup are under way; the registers may be read from here on. */
const wait = (pending: number, count: number): Instruction => ({
  name: `wgmmaWait.${pending}.${count}`,
  timeline: "wgmma",
  scope: "warpgroup",
  operands: [count],
  writes: [0],
  semantics() {},
  text: (operands) => `wgmmaWait<${pending}, ${count}>(${pointers(operands)});`,
  helper: [
    "template <int pending, int count>",
    "__device__ __forceinline__ void wgmmaWait(float* d) {",
    '  asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(pending) : "memory");',
    "  #pragma unroll",
    '  for (int i = 0; i < count; ++i) asm volatile("" : "+f"(d[i]) :: "memory");  // no use of d moves up past the wait',
    "}",
  ].join("\n"),
});

/** (): what the warpgroup did with registers and matrices stands before the products that follow; or: they form a group to wait for. */
const fence = (name: string, ptx: string): Instruction => ({
  name,
  timeline: "wgmma",
  scope: "warpgroup",
  operands: [],
  writes: [],
  semantics() {},
  text: () => `asm volatile("${ptx};" ::: "memory");`,
});

const widths = Array.from({ length: 32 }, (_, i) => 8 * (i + 1));
const forms: readonly (readonly [dtype: WgmmaType, registersA: boolean])[] = [
  ["e4m3", false],
  ["bf16", false],
  ["bf16", true],
  ["f16", false],
  ["f16", true],
];

export const wgmmaInstructions: readonly Instruction[] = [
  fence("wgmmaFence", "wgmma.fence.sync.aligned"),
  fence("wgmmaCommit", "wgmma.commit_group.sync.aligned"),
  ...widths.flatMap((n) => forms.flatMap(([dtype, ra]) => [wgmma(n, dtype, ra, false), wgmma(n, dtype, ra, true)])),
  ...[0, 1, 2, 3].flatMap((pending) => widths.map((n) => wait(pending, n / 2))),
];
