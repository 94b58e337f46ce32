/**
 * Instruction records of CUDA. Meanings and fragment layouts follow the PTX ISA manual: "Matrix Fragments for mma.m16n8k16",
 * "ldmatrix", "cp.async". `semantics` is what the simulated machine does; mma sums in f64 and rounds once.
 */
import { byteSize, decode, encode } from "../../dsl/dtype.ts";
import type { Instruction } from "../../compiler/ir/instruction.ts";
import { hopperInstructions } from "./hopper.ts";
import { arg, at, texts } from "./operands.ts";
import type { CudaArch } from "./target.ts";

/** (dst register, value, lane mask): dst = value of lane ^ mask. The mask is the same in all lanes and below 32. */
const shuffleXor: Instruction = {
  name: "shuffleXor",
  timeline: "inOrder",
  scope: "warp",
  operands: [1, "Value", "Value"],
  writes: [0],
  semantics(lanes) {
    const values = lanes.map((_, lane) => arg(lanes, lane, 1).value);
    lanes.forEach((_, lane) => arg(lanes, lane, 0).write(0, at(values, lane ^ arg(lanes, lane, 2).value)));
  },
  text: ([dst, value, mask]) => `${dst!.text} = __shfl_xor_sync(0xffffffffu, ${value!.text}, ${mask!.text});`,
};

/** (dst register, value, delta): dst = value of lane - delta; lanes below delta get their own. */
const shuffleUp: Instruction = {
  name: "shuffleUp",
  timeline: "inOrder",
  scope: "warp",
  operands: [1, "Value", "Value"],
  writes: [0],
  semantics(lanes) {
    const values = lanes.map((_, lane) => arg(lanes, lane, 1).value);
    lanes.forEach((_, lane) => {
      const delta = arg(lanes, lane, 2).value;
      arg(lanes, lane, 0).write(0, at(values, lane < delta ? lane : lane - delta));
    });
  },
  text: ([dst, value, delta]) => `${dst!.text} = __shfl_up_sync(0xffffffffu, ${value!.text}, ${delta!.text});`,
};

/** (dst register, value, lane): dst = value of one lane, the same for all. */
const shuffleIndex: Instruction = {
  name: "shuffleIndex",
  timeline: "inOrder",
  scope: "warp",
  operands: [1, "Value", "Value"],
  writes: [0],
  semantics(lanes) {
    const value = arg(lanes, arg(lanes, 0, 2).value, 1).value;
    lanes.forEach((_, lane) => arg(lanes, lane, 0).write(0, value));
  },
  text: ([dst, value, lane]) => `${dst!.text} = __shfl_sync(0xffffffffu, ${value!.text}, ${lane!.text});`,
};

/** (register of i32 or u32): each lane's value becomes the sum of those of all lanes up to it, which wraps around. */
const warpScanAdd: Instruction = {
  name: "warpScanAdd",
  timeline: "inOrder",
  scope: "warp",
  operands: [1],
  writes: [0],
  semantics(lanes) {
    let sum = 0;
    lanes.forEach((_, lane) => {
      const own = arg(lanes, lane, 0);
      sum = (sum + own.read(0)) | 0;
      own.write(0, own.dtype === "u32" ? sum >>> 0 : sum);
    });
  },
  text: ([register]) => `warpScanAdd(${register!.text});`,
  helper: [
    "template <typename T>",
    "__device__ inline void warpScanAdd(T& x) {",
    "#pragma unroll",
    "  for (int delta = 1; delta < 32; delta *= 2)",
    '    asm volatile("{ .reg .pred p; .reg .b32 lower; shfl.sync.up.b32 lower|p, %0, %1, 0, 0xffffffff; @p add.u32 %0, %0, lower; }"',
    '                 : "+r"(x)',
    '                 : "r"(delta));',
    "}",
  ].join("\n"),
};

/** (dst register, value of i32 or u32): dst = the sum over all lanes, which wraps around. */
const warpReduceAdd: Instruction = {
  name: "warpReduceAdd",
  timeline: "inOrder",
  scope: "warp",
  operands: [1, "Value"],
  writes: [0],
  semantics(lanes) {
    const sum = lanes.reduce((total, _, lane) => (total + arg(lanes, lane, 1).value) | 0, 0);
    lanes.forEach((_, lane) => {
      const dst = arg(lanes, lane, 0);
      dst.write(0, dst.dtype === "u32" ? sum >>> 0 : sum);
    });
  },
  text: ([dst, value]) => `${dst!.text} = __reduce_add_sync(0xffffffffu, ${value!.text});`,
};

/** (register): nothing, except that compilers forget how its value came about and keep it as it is. */
const opaque: Instruction = {
  name: "opaque",
  timeline: "inOrder",
  scope: "thread",
  operands: [1],
  writes: [0],
  semantics: () => {},
  text: ([register]) => `asm("" : "+r"(${register!.text}));`,
};

/**
 * (dst registers, shared address): `count` 8x8 matrices of 16-bit elements. Lanes 8m to 8m+7 give the addresses of the rows of matrix m,
 * each 16-byte aligned. Register m of lane l holds elements 2(l%4) and 2(l%4)+1 of row l/4, the lower one in the low half;
 * with `trans` of the transposed matrix.
 */
const ldmatrix = (count: 2 | 4, trans: boolean): Instruction => {
  const name = `ldmatrix.x${count}${trans ? ".trans" : ""}`;
  const helper = `ldmatrixX${count}${trans ? "Trans" : ""}`;
  const outputs = ["a", "b", "c", "d"].slice(0, count);
  const slots = outputs.map((_, i) => `%${i}`).join(", ");
  return {
    name,
    timeline: "inOrder",
    scope: "warp",
    operands: [count, "SharedAddress"],
    writes: [0],
    semantics(lanes) {
      const rows = lanes.slice(0, 8 * count).map((_, lane) => {
        const row = arg(lanes, lane, 1);
        if (row.dtype !== "bf16" && row.dtype !== "f16") throw new RangeError(`${name} reads 16-bit elements, not ${row.dtype}`);
        if (row.address % 16 !== 0) throw new RangeError(`${name} needs rows at multiples of 16 bytes, lane ${lane} points to byte ${row.address}`);
        const { dtype } = row;
        return Array.from({ length: 8 }, (_, i) => encode(dtype, row.read(i)));
      });
      const element = (m: number, row: number, column: number) => at(at(rows, 8 * m + row), column);
      lanes.forEach((_, lane) => {
        const [row, column] = [lane >> 2, 2 * (lane & 3)];
        for (let m = 0; m < count; m++) {
          const [low, high] = trans
            ? [element(m, column, row), element(m, column + 1, row)]
            : [element(m, row, column), element(m, row, column + 1)];
          arg(lanes, lane, 0).write(m, (low | (high << 16)) >>> 0);
        }
      });
    },
    text: (operands) => `${helper}(${texts(operands)});`,
    helper: [
      `__device__ inline void ${helper}(${outputs.map((o) => `u32& ${o}`).join(", ")}, const void* row) {`,
      `  asm volatile("ldmatrix.sync.aligned.m8n8.x${count}${trans ? ".trans" : ""}.shared.b16 {${slots}}, [%${count}];"`,
      `               : ${outputs.map((o) => `"=r"(${o})`).join(", ")}`,
      `               : "r"((u32)__cvta_generic_to_shared(row))`,
      `               : "memory");`,
      "}",
    ].join("\n"),
  };
};

/**
 * (d registers 4 of f32, a registers 4 of u32, b registers 2 of u32): d += a * b with a 16x16 row-major, b 16x8 column-major, d 16x8.
 * With g = lane/4 and t = lane%4, pair p of a holds rows g + 8(p%2), columns 2t + 8(p/2) and the next; pair p of b holds column g,
 * rows 2t + 8p and the next; element i of d is row g + 8(i/2), column 2t + i%2.
 */
const mma = (dtype: "bf16" | "f16"): Instruction => {
  const name = `mma.m16n8k16.${dtype}`;
  const helper = dtype === "bf16" ? "mmaBf16" : "mmaF16";
  const half = (word: number, high: number): number => decode(dtype, (word >>> (16 * high)) & 0xffff);
  return {
    name,
    timeline: "inOrder",
    scope: "warp",
    operands: [4, 4, 2],
    writes: [0],
    semantics(lanes) {
      const a = (row: number, k: number) =>
        half(arg(lanes, 4 * (row % 8) + ((k % 8) >> 1), 1).read((row >> 3) + 2 * (k >> 3)), k % 2);
      const b = (k: number, column: number) => half(arg(lanes, 4 * column + ((k % 8) >> 1), 2).read(k >> 3), k % 2);
      lanes.forEach((_, lane) => {
        for (let i = 0; i < 4; i++) {
          const [row, column] = [(lane >> 2) + 8 * (i >> 1), 2 * (lane & 3) + (i & 1)];
          let sum = arg(lanes, lane, 0).read(i);
          for (let k = 0; k < 16; k++) sum += a(row, k) * b(k, column);
          arg(lanes, lane, 0).write(i, Math.fround(sum));
        }
      });
    },
    text: (operands) => `${helper}(${texts(operands)});`,
    helper: [
      `__device__ inline void ${helper}(float& d0, float& d1, float& d2, float& d3, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {`,
      `  asm("mma.sync.aligned.m16n8k16.row.col.f32.${dtype}.${dtype}.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"`,
      '      : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)',
      '      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));',
      "}",
    ].join("\n"),
    flops: 2 * 16 * 8 * 16,
  };
};

/** (shared address, global address, valid): copies 16 aligned bytes past the registers; zeros, and no read, where valid is 0. */
const cpAsync16: Instruction = {
  name: "cpAsync16",
  timeline: "cpAsync",
  scope: "thread",
  operands: ["SharedAddress", "GlobalAddress", "Value"],
  writes: [0],
  semantics(lanes) {
    const [shared, global, valid] = [arg(lanes, 0, 0), arg(lanes, 0, 1), arg(lanes, 0, 2).value];
    if (shared.dtype !== global.dtype || shared.dtype === "bool")
      throw new RangeError(`cpAsync16 copies bytes, it cannot turn ${global.dtype} into ${shared.dtype}`);
    if (shared.address % 16 !== 0 || (valid && global.address % 16 !== 0))
      throw new RangeError(`cpAsync16 needs multiples of 16 bytes, not shared byte ${shared.address} and global byte ${global.address}`);
    const count = 16 / byteSize(shared.dtype);
    for (let i = 0; i < count; i++) shared.write(i, valid ? global.read(i) : 0);
  },
  text: ([shared, global, valid]) => `cpAsync16(${shared!.text}, ${global!.text}, ${valid!.text});`,
  helper: [
    "__device__ inline void cpAsync16(void* to, const void* from, bool valid) {",
    '  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"',
    '               :: "r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(valid ? 16 : 0)',
    '               : "memory");',
    "}",
  ].join("\n"),
};

/** (): waits until all copies that this thread started have arrived; others see them after a barrier. */
const cpAsyncWaitAll: Instruction = {
  name: "cpAsyncWaitAll",
  timeline: "cpAsync",
  scope: "thread",
  operands: [],
  writes: [],
  semantics() {},
  text: () => 'asm volatile("cp.async.wait_all;" ::: "memory");',
};

/** The records of one architecture. */
export const cudaInstructionsOf = (arch: CudaArch): readonly Instruction[] =>
  arch.features.includes("wgmma") ? [...cudaInstructions, ...hopperInstructions] : cudaInstructions;

export const cudaInstructions: readonly Instruction[] = [
  shuffleXor,
  shuffleUp,
  shuffleIndex,
  warpScanAdd,
  warpReduceAdd,
  opaque,
  ...([2, 4] as const).flatMap((count) => [false, true].map((trans) => ldmatrix(count, trans))),
  mma("bf16"),
  mma("f16"),
  cpAsync16,
  cpAsyncWaitAll,
];
