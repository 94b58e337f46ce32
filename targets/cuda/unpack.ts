/** Records for narrow elements in registers: whole words of shared memory, and what takes them apart. */
import type { Instruction } from "../../compiler/ir/instruction.ts";
import { byteSize, decode, encode } from "../../dsl/dtype.ts";
import { arg, texts } from "./operands.ts";

/** (dst registers u32, shared address): so many words, from a multiple of their bytes on. */
const loadShared = (count: 1 | 2 | 4): Instruction => {
  const fn = `loadShared${count}`;
  const words = ["a", "b", "c", "d"].slice(0, count);
  return {
    name: `loadShared.${count}`,
    timeline: "inOrder",
    scope: "thread",
    operands: [count, "SharedAddress"],
    writes: [0],
    semantics(lanes) {
      const from = arg(lanes, 0, 1);
      const { dtype } = from;
      if (dtype === "bool") throw new RangeError("truth values fill no words");
      if (from.address % (4 * count) !== 0) throw new RangeError(`${4 * count} bytes are loaded from byte ${from.address}`);
      const each = 4 / byteSize(dtype);
      const bits = 32 / each;
      for (let word = 0; word < count; word++) {
        const codes = Array.from({ length: each }, (_, i) => encode(dtype, from.read(word * each + i)) << (bits * i));
        arg(lanes, 0, 0).write(word, codes.reduce((all, code) => all | code, 0) >>> 0);
      }
    },
    text: (o) => `${fn}(${texts(o)});`,
    helper: [
      `__device__ inline void ${fn}(${words.map((w) => `u32& ${w}`).join(", ")}, const void* from) {`,
      ...(count === 1 ? ["  a = *(const u32*)from;"] : [`  const uint${count} words = *(const uint${count}*)from;`, `  ${words.map((w, i) => `${w} = words.${"xyzw"[i]};`).join(" ")}`]),
      "}",
    ].join("\n"),
  };
};

/** `low` and `high` of an f16 pair as f32. */
const halves = (pair: string, low: string, high: string): string =>
  `asm("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }" : "=f"(${low}), "=f"(${high}) : "r"(${pair}));`;

const helpers = {
  e4m3: [
    "__device__ inline void unpackE4m3(float& a, float& b, float& c, float& d, u32 word) {",
    "  u32 low, high;",
    '  asm("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.rn.f16x2.e4m3x2 %0, low; cvt.rn.f16x2.e4m3x2 %1, high; }" : "=r"(low), "=r"(high) : "r"(word));',
    `  ${halves("low", "a", "b")}`,
    `  ${halves("high", "c", "d")}`,
    "}",
  ],
  bf16: ["__device__ inline void unpackBf16(float& a, float& b, u32 word) { a = __uint_as_float(word << 16); b = __uint_as_float(word & 0xffff0000u); }"],
  f16: ["__device__ inline void unpackF16(float& a, float& b, u32 word) {", `  ${halves("word", "a", "b")}`, "}"],
} as const;

/** (dst registers f32, word): the elements in a word, the lowest first. */
const unpack = (dtype: keyof typeof helpers): Instruction => {
  const count = 4 / byteSize(dtype);
  const bits = 32 / count;
  const fn = { e4m3: "unpackE4m3", bf16: "unpackBf16", f16: "unpackF16" }[dtype];
  return {
    name: `unpack.${dtype}`,
    timeline: "inOrder",
    scope: "thread",
    operands: [count, 1],
    writes: [0],
    semantics(lanes) {
      const word = arg(lanes, 0, 1).read(0);
      for (let i = 0; i < count; i++) arg(lanes, 0, 0).write(i, decode(dtype, (word >>> (bits * i)) & (2 ** bits - 1)));
    },
    text: (o) => `${fn}(${texts(o)});`,
    helper: helpers[dtype].join("\n"),
  };
};

export const unpackInstructions: readonly Instruction[] = [...([1, 2, 4] as const).map(loadShared), ...(["e4m3", "bf16", "f16"] as const).map(unpack)];
