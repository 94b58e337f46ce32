/**
 * Codecs of the narrow formats and the functions that WGSL lacks, as WGSL functions.
 *
 *   decodeX(code: u32) -> f32     code in the low bits
 *   encodeX(x: f32) -> u32        round to nearest even, saturation as the format states
 *   packX(a, b[, c, d]) -> u32    one word of codes, first element lowest
 *   roundX(x: f32) -> f32         there and back
 *
 * Equal bit for bit to dsl/dtype.ts. Rounding is integer arithmetic: WGSL neither fixes the rounding of float operations nor keeps
 * subnormal results; what is computed in f32 here is exact and normal.
 */
import { encode, type DType } from "../../dsl/dtype.ts";

export type Narrow = Exclude<DType, "f32" | "i32" | "u32">;
export const isNarrow = (dtype: DType): dtype is Narrow => dtype !== "f32" && dtype !== "i32" && dtype !== "u32";

export interface Helper {
  readonly text: string;
  /** Helpers that this one calls. */
  readonly needs: readonly string[];
}

const title: Record<Narrow, string> = { e4m3: "E4m3", e5m2: "E5m2", ue8m0: "Ue8m0", f16: "F16", bf16: "Bf16" };
export const decodeName = (d: Narrow): string => `decode${title[d]}`;
export const encodeName = (d: Narrow): string => `encode${title[d]}`;
export const packName = (d: Narrow): string => `pack${title[d]}`;
export const roundName = (d: Narrow): string => `round${title[d]}`;

const fn = (signature: string, ...body: readonly string[]): string =>
  body.length === 1 ? `fn ${signature} { ${body[0]!} }` : `fn ${signature} {\n${body.map((l) => `  ${l}`).join("\n")}\n}`;
const helper = (text: string, ...needs: readonly string[]): Helper => ({ text, needs });
const hex = (n: number): string => `0x${n.toString(16)}u`;

const round = (d: Narrow): Helper =>
  helper(fn(`${roundName(d)}(x: f32) -> f32`, `return ${decodeName(d)}(${encodeName(d)}(x));`), decodeName(d), encodeName(d));
const pack = (d: Narrow): Helper => {
  const elements = d === "f16" || d === "bf16" ? ["a", "b"] : ["a", "b", "c", "d"];
  const bits = 32 / elements.length;
  const codes = elements.map((x, i) => (i === 0 ? `${encodeName(d)}(${x})` : `(${encodeName(d)}(${x}) << ${i * bits}u)`));
  const lines =
    elements.length === 2
      ? [`return ${codes.join(" | ")};`]
      : [`return ${codes.slice(0, 2).join(" | ")}`, `    | ${codes.slice(2).join(" | ")};`];
  return helper(fn(`${packName(d)}(${elements.map((e) => `${e}: f32`).join(", ")}) -> u32`, ...lines), encodeName(d));
};

interface Minifloat {
  readonly bits: number;
  readonly mantissa: number;
  /** Exponent bias. */
  readonly bias: number;
  /** Code that larger magnitudes become. */
  readonly overflow: number;
  /** Decoding of the largest exponent. */
  readonly special: string;
}
const minifloats: Record<"e4m3" | "e5m2" | "f16", Minifloat> = {
  e4m3: { bits: 8, mantissa: 3, bias: 7, overflow: 0x7e, special: "if (magnitude == 0x7fu) { return floatFromBits(0x7fc00000u); }" },
  e5m2: {
    bits: 8,
    mantissa: 2,
    bias: 15,
    overflow: 0x7b,
    special: "if (magnitude >= 0x7cu) { return bitcast<f32>(sign | 0x7f800000u | ((magnitude & 3u) << 21u)); }",
  },
  f16: {
    bits: 16,
    mantissa: 10,
    bias: 15,
    overflow: 0x7c00,
    special: "if (magnitude >= 0x7c00u) { return bitcast<f32>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u)); }",
  },
};

function decodeMinifloat(d: keyof typeof minifloats): Helper {
  const { bits, mantissa, bias, special } = minifloats[d];
  return helper(
    fn(
      `${decodeName(d)}(code: u32) -> f32`,
      `let sign = (code & ${hex(2 ** (bits - 1))}) << ${32 - bits}u;`,
      `let magnitude = code & ${hex(2 ** (bits - 1) - 1)};`,
      special,
      `if (magnitude < ${2 ** mantissa}u) {  // subnormal`,
      `  return bitcast<f32>(sign | bitcast<u32>(f32(magnitude) * ${2 ** (1 - bias - mantissa)}f));`,
      "}",
      `return bitcast<f32>(sign | ((magnitude << ${23 - mantissa}u) + ${hex((127 - bias) * 2 ** 23)}));`,
    ),
    ...(d === "e4m3" ? ["floatFromBits"] : []),
  );
}

function encodeMinifloat(d: keyof typeof minifloats): Helper {
  const { bits, mantissa, bias, overflow } = minifloats[d];
  const least = 128 - bias; // f32 exponent field of the smallest normal number
  const drop = 23 - mantissa;
  return helper(
    fn(
      `${encodeName(d)}(x: f32) -> u32`,
      "let bits = bitcast<u32>(x);",
      "let magnitude = bits & 0x7fffffffu;",
      `if (magnitude > 0x7f800000u) { return ${hex(encode(d, NaN))}; }`,
      `let sign = (bits >> ${32 - bits}u) & ${hex(2 ** (bits - 1))};`,
      `if (magnitude < ${hex(least * 2 ** 23)}) {  // subnormal: shift the mantissa to its place, round to nearest even`,
      `  let shift = min(${drop + least}u - (magnitude >> 23u), 25u);`,
      "  let mantissa = (magnitude & 0x7fffffu) | 0x800000u;",
      "  return sign | ((mantissa + (1u << (shift - 1u)) - 1u + ((mantissa >> shift) & 1u)) >> shift);",
      "}",
      `let rounded = (magnitude + ${hex(2 ** (drop - 1) - 1)} + ((magnitude >> ${drop}u) & 1u)) >> ${drop}u;`,
      `return sign | min(rounded - ${hex((least - 1) * 2 ** mantissa)}, ${hex(overflow)});`,
    ),
  );
}

export const wgslHelpers: Readonly<Record<string, Helper>> = {
  floatFromBits: helper(
    [
      "// WGSL has no constant for infinity and NaN, and rejects their bits in constant expressions",
      fn("floatFromBits(bits: u32) -> f32", "return bitcast<f32>(bits);"),
    ].join("\n"),
  ),
  orderedKey: helper(
    fn(
      "orderedKey(x: f32) -> u32",
      "let bits = bitcast<u32>(x);",
      "if (bits << 1u > 0xff000000u) { return 0u; }  // NaN",
      "if (bits << 1u == 0u) { return 0x80000000u; }  // both zeros",
      "return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);",
    ),
  ),
  orderedValue: helper(fn("orderedValue(key: u32) -> f32", "return bitcast<f32>(select(~key, key ^ 0x80000000u, key >= 0x80000000u));")),
  decodeBf16: helper(fn("decodeBf16(code: u32) -> f32", "return bitcast<f32>(code << 16u);")),
  encodeBf16: helper(
    fn(
      "encodeBf16(x: f32) -> u32",
      "let bits = bitcast<u32>(x);",
      `if ((bits & 0x7fffffffu) > 0x7f800000u) { return ${hex(encode("bf16", NaN))}; }`,
      "return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;",
    ),
  ),
  decodeUe8m0: helper(
    fn(
      "decodeUe8m0(code: u32) -> f32",
      "if (code == 0u) { return floatFromBits(0x00400000u); }  // 2^-127 is subnormal",
      "return bitcast<f32>(select(code << 23u, 0x7fc00000u, code == 0xffu));",
    ),
    "floatFromBits",
  ),
  encodeUe8m0: helper(
    fn(
      "encodeUe8m0(x: f32) -> u32",
      "let bits = bitcast<u32>(x);",
      "if (bits << 1u == 0u) { return 0u; }",
      "if (bits > 0x7f800000u) { return 0xffu; }  // NaN or negative",
      "if (bits <= 0x00400000u) { return 0u; }",
      "return min((bits + 0x7fffffu) >> 23u, 254u);  // the next power of two",
    ),
  ),
  ...Object.fromEntries(
    (["e4m3", "e5m2", "f16"] as const).flatMap((d) => [
      [decodeName(d), decodeMinifloat(d)],
      [encodeName(d), encodeMinifloat(d)],
    ]),
  ),
  ...Object.fromEntries(
    (["e4m3", "e5m2", "ue8m0", "f16", "bf16"] as const).flatMap((d) => [
      [packName(d), pack(d)],
      [roundName(d), round(d)],
    ]),
  ),
  log1p: helper(
    fn(
      "log1p(x: f32) -> f32",
      "if (abs(x) >= 0.5f) { return log(1.0f + x); }",
      "let s = x / (2.0f + x);  // ln(1 + x) = 2 artanh(s), |s| <= 1/3",
      "let z = s * s;",
      "return 2.0f * s * (1.0f + z * (1.0f / 3.0f + z * (0.2f + z * (1.0f / 7.0f + z * (1.0f / 9.0f + z * (1.0f / 11.0f + z / 13.0f))))));",
    ),
  ),
  stableTanh: helper(
    `// tanh without overflow, and accurate next to 0\n${fn(
      "stableTanh(x: f32) -> f32",
      "if (abs(x) < 1.0f) {  // Pade approximant of order 7 over 6",
      "  let z = x * x;",
      "  return x * (((z + 378.0f) * z + 17325.0f) * z + 135135.0f) / (((28.0f * z + 3150.0f) * z + 62370.0f) * z + 135135.0f);",
      "}",
      "let t = exp(-2.0f * abs(x));",
      "return sign(x) * (1.0f - 2.0f * t / (1.0f + t));",
    )}`,
  ),
};
