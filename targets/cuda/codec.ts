/**
 * Codecs of the narrow formats as CUDA functions, equal bit for bit to dsl/dtype.ts (but a NaN encodes as the hardware's NaN):
 *
 *   float decodeX(u32 code)             code in the low bits
 *   u32 encodeX(float)                  round to nearest even, saturation as the format states
 *   u32 packX(float …)                  one word of 2 or 4 codes, first element lowest
 *   float roundX(float)                 there and back
 *
 * And the order of f32 as integers, equal to dsl/math.ts: orderedKey, orderedValue.
 *
 * PTX converts bf16 and f16 from sm_80 on, e4m3 and e5m2 from sm_89 on; elsewhere integer arithmetic does.
 */
import type { DType } from "../../dsl/dtype.ts";
import type { CudaArch } from "./target.ts";

export type Narrow = Exclude<DType, "f32" | "i32" | "u32">;
export const isNarrow = (dtype: DType): dtype is Narrow => dtype !== "f32" && dtype !== "i32" && dtype !== "u32";

export interface Helper {
  readonly text: string;
  /** Helpers that this one calls. */
  readonly needs: readonly string[];
}

const inline = (signature: string, ...body: readonly string[]): string =>
  body.length === 1
    ? `__device__ inline ${signature} { ${body[0]!} }`
    : `__device__ inline ${signature} {\n${body.map((l) => `  ${l}`).join("\n")}\n}`;
const helper = (text: string, ...needs: readonly string[]): Helper => ({ text, needs });

const title: Record<Narrow, string> = { e4m3: "E4m3", e5m2: "E5m2", ue8m0: "Ue8m0", f16: "F16", bf16: "Bf16" };
export const decodeName = (d: Narrow): string => `decode${title[d]}`;
export const encodeName = (d: Narrow): string => `encode${title[d]}`;
export const packName = (d: Narrow): string => `pack${title[d]}`;
export const roundName = (d: Narrow): string => `round${title[d]}`;

/** The text of a codec function by name, for one architecture; undefined for other names. */
export function codecHelper(name: string, arch: CudaArch): Helper | undefined {
  return (arch.features.includes("fp8Convert") ? fp8Convert[name] : undefined) ?? common[name];
}

const round = (d: Narrow): Helper =>
  helper(inline(`float ${roundName(d)}(float x)`, `return ${decodeName(d)}(${encodeName(d)}(x));`), decodeName(d), encodeName(d));
const pack = (d: Narrow): Helper => {
  const codes = ["a", "b", "c", "d"].map((x, i) => `${encodeName(d)}(${x})${i === 0 ? "" : ` << ${8 * i}`}`);
  return helper(
    inline(
      `u32 ${packName(d)}(float a, float b, float c, float d)`,
      `return ${codes.slice(0, 2).join(" | ")}`,
      `    | ${codes.slice(2).join(" | ")};`,
    ),
    encodeName(d),
  );
};

/** Integer rounding of an f32 to a format with `mantissa` bits and smallest normal exponent `least` (biased as f32), largest code `max`. */
const encodeFp8 = (d: "e4m3" | "e5m2", mantissa: number, least: number, max: number, nan: number): Helper =>
  helper(
    inline(
      `u32 ${encodeName(d)}(float x)`,
      "const u32 bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu, sign = bits >> 24 & 0x80u;",
      `if (magnitude > 0x7f800000u) return 0x${nan.toString(16)}u;`,
      "u32 code;",
      `if (magnitude < 0x${(least * 2 ** 23).toString(16)}u) {  // subnormal: adding 2^${least - 104 - mantissa} rounds to the quantum`,
      `  code = __float_as_uint(__uint_as_float(magnitude) + ${2 ** (least - 104 - mantissa)}.0f) & 0xffu;`,
      "} else {",
      `  code = (magnitude + 0x${(2 ** (22 - mantissa) - 1).toString(16)}u + (magnitude >> ${23 - mantissa} & 1u)) >> ${23 - mantissa};`,
      `  code = min(code - ${(least - 1) * 2 ** mantissa}u, 0x${max.toString(16)}u);  // saturates`,
      "}",
      "return sign | code;",
    ),
  );

const common: Readonly<Record<string, Helper>> = {
  orderedKey: helper(
    inline(
      "u32 orderedKey(float x)",
      "const u32 bits = __float_as_uint(x + 0.0f);  // -0 becomes 0",
      "return x != x ? 0u : bits ^ ((u32)((int)bits >> 31) | 0x80000000u);",
    ),
  ),
  orderedValue: helper(inline("float orderedValue(u32 key)", "return __uint_as_float((int)key < 0 ? key ^ 0x80000000u : ~key);")),
  loadOnce: helper(
    "// 16 bytes that the L1 cache need not keep\n" +
      "template <typename Vector>\n" +
      inline(
        "Vector loadOnce(const Vector* at)",
        "uint4 v;",
        'asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));',
        "return reinterpret_cast<const Vector&>(v);",
      ),
  ),
  exp2Approx: helper(
    "// one instruction, 2 ulp; results below the smallest normal number are 0\n" +
      inline("float exp2Approx(float x)", "float y;", 'asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));', "return y;"),
  ),
  decodeBf16: helper(inline("float decodeBf16(u32 code)", "return __uint_as_float(code << 16);")),
  encodeBf16: helper(
    inline("u32 encodeBf16(float x)", "u16 code;", 'asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(code) : "f"(x));', "return code;"),
  ),
  packBf16: helper(
    inline(
      "u32 packBf16(float a, float b)",
      "u32 word;",
      'asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));',
      "return word;",
    ),
  ),
  roundBf16: round("bf16"),
  decodeF16: helper(inline("float decodeF16(u32 code)", "float x;", 'asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((u16)code));', "return x;")),
  encodeF16: helper(inline("u32 encodeF16(float x)", "u16 code;", 'asm("cvt.rn.f16.f32 %0, %1;" : "=h"(code) : "f"(x));', "return code;")),
  packF16: helper(
    inline(
      "u32 packF16(float a, float b)",
      "u32 word;",
      'asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(b), "f"(a));',
      "return word;",
    ),
  ),
  roundF16: round("f16"),
  decodeE5m2: helper(
    "// e5m2 is the upper half of f16\n" + inline("float decodeE5m2(u32 code)", "return decodeF16(code << 8);"),
    "decodeF16",
  ),
  encodeE5m2: encodeFp8("e5m2", 2, 113, 0x7b, 0x7e),
  packE5m2: pack("e5m2"),
  roundE5m2: round("e5m2"),
  decodeE4m3: helper(
    inline(
      "float decodeE4m3(u32 code)",
      "const u32 sign = (code & 0x80u) << 24, magnitude = code & 0x7fu;",
      "if (magnitude == 0x7fu) return __uint_as_float(0x7fc00000u);",
      "return __uint_as_float(sign | magnitude << 20) * __uint_as_float(0x7b800000u);  // times 2^120: the exponent's bias, subnormals too",
    ),
  ),
  encodeE4m3: encodeFp8("e4m3", 3, 121, 0x7e, 0x7f),
  packE4m3: pack("e4m3"),
  roundE4m3: round("e4m3"),
  decodeUe8m0: helper(
    inline(
      "float decodeUe8m0(u32 code)",
      "if (code == 0u) return __uint_as_float(0x00400000u);  // 2^-127 is subnormal",
      "return __uint_as_float(code == 0xffu ? 0x7fc00000u : code << 23);",
    ),
  ),
  encodeUe8m0: helper(
    inline(
      "u32 encodeUe8m0(float x)",
      "const u32 bits = __float_as_uint(x);",
      "if (!(x >= 0.0f)) return 0xffu;",
      "if (x <= __uint_as_float(0x00400000u)) return 0u;",
      "return min((bits + 0x7fffffu) >> 23, 254u);  // the next power of two",
    ),
  ),
  packUe8m0: pack("ue8m0"),
  roundUe8m0: round("ue8m0"),
};

const convertFp8 = (d: "e4m3" | "e5m2"): Record<string, Helper> => ({
  [encodeName(d)]: helper(
    inline(
      `u32 ${encodeName(d)}(float x)`,
      "u16 pair;",
      `asm("cvt.rn.satfinite.${d}x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));`,
      "return pair;",
    ),
  ),
  [packName(d)]: helper(
    inline(
      `u32 ${packName(d)}(float a, float b, float c, float d)`,
      "u16 low, high;",
      `asm("cvt.rn.satfinite.${d}x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));`,
      `asm("cvt.rn.satfinite.${d}x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));`,
      "return low | (u32)high << 16;",
    ),
  ),
});
const fp8Convert: Readonly<Record<string, Helper>> = {
  ...convertFp8("e4m3"),
  ...convertFp8("e5m2"),
  decodeE4m3: helper(
    inline(
      "float decodeE4m3(u32 code)",
      "u32 pair;",
      'asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"((u16)code));',
      "return decodeF16(pair);",
    ),
    "decodeF16",
  ),
};
