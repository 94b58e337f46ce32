/**
 * Number formats of tiles and globals, and their bit-exact codecs.
 *
 * Every value of every format is exactly representable as a JavaScript number, so a tile holds plain numbers
 * and rounding happens where a value takes on a dtype: `round(dtype, x)`. Rounding is one step from the f64 that it is given.
 *
 * | dtype | bits | meaning | source |
 * |---|---|---|---|
 * | e4m3 | 8 | e4m3fn: no infinities, NaN = 0x7f/0xff, max 448, conversion saturates | OCP FP8 |
 * | e5m2 | 8 | IEEE-like: has infinities, max 57344; conversion saturates to 57344, infinities too | OCP FP8 |
 * | ue8m0 | 8 | power-of-two scale 2^(code-127), 0xff = NaN; conversion rounds up and saturates; negative numbers give NaN | OCP MX |
 * | f16, bf16 | 16 | round to nearest even, overflow to infinity | IEEE 754, bfloat16 |
 * | f32 | 32 | IEEE 754 single | |
 * | i32, u32 | 32 | two's complement; fractions are truncated, what does not fit wraps around | |
 */

import { bitsOf, floatOf } from "./math.ts";

export const dtypes = ["e4m3", "e5m2", "ue8m0", "f16", "bf16", "f32", "i32", "u32"] as const;
export type DType = (typeof dtypes)[number];

/** Dtypes that hold fractions; `map` computes on them in f32. */
export type FloatType = "e4m3" | "e5m2" | "ue8m0" | "f16" | "bf16" | "f32";

const bits: Record<DType, number> = { e4m3: 8, e5m2: 8, ue8m0: 8, f16: 16, bf16: 16, f32: 32, i32: 32, u32: 32 };

/** Bytes that one element takes in memory. */
export const byteSize = (dtype: DType): number => bits[dtype] / 8;
export const isFloat = (dtype: DType | "bool"): dtype is FloatType => dtype !== "i32" && dtype !== "u32" && dtype !== "bool";

interface Minifloat {
  readonly mantissaBits: number;
  /** Exponent of the smallest normal number. */
  readonly minExponent: number;
  /** Largest finite magnitude. */
  readonly max: number;
  /** What a larger magnitude becomes. */
  readonly overflow: number;
  readonly sign: number;
  readonly infinity: number;
  readonly nan: number;
}
type MinifloatType = "e4m3" | "e5m2" | "f16" | "bf16";

/** `nan`, `sign` and `infinity` are codes; e4m3 has no infinity, and its largest code is NaN. */
const minifloat = (exponentBits: number, mantissaBits: number, nan: number, max: number, overflow: number): Minifloat => ({
  mantissaBits,
  minExponent: 2 - 2 ** (exponentBits - 1),
  max,
  overflow,
  sign: 1 << (exponentBits + mantissaBits),
  infinity: (2 ** exponentBits - 1) << mantissaBits,
  nan,
});
const minifloats: Record<MinifloatType, Minifloat> = {
  e4m3: minifloat(4, 3, 0x7f, 448, 448),
  e5m2: minifloat(5, 2, 0x7e, 57344, 57344),
  f16: minifloat(5, 10, 0x7e00, 65504, Infinity),
  bf16: minifloat(8, 7, 0x7fc0, 0xff * 2 ** 120, Infinity),
};

const double = new DataView(new ArrayBuffer(8));
/** floor(log2(x)) of a positive f64; -1023 for its subnormals and 0, 1024 for infinity. */
const exponentOf = (x: number): number => (double.setFloat64(0, x), (double.getUint16(0) >>> 4) - 1023);
/** 2^e within the exponents of normal f64. */
const pow2 = (e: number): number => (double.setUint32(0, (e + 1023) << 20), double.setUint32(4, 0), double.getFloat64(0));

function roundMinifloat(x: number, f: Minifloat): number {
  if (x === 0 || Number.isNaN(x)) return x;
  const magnitude = Math.abs(x);
  const quantum = pow2(Math.max(exponentOf(magnitude), f.minExponent) - f.mantissaBits);
  const nearest = (magnitude / quantum + 2 ** 52 - 2 ** 52) * quantum; // above 2^52 f64 holds integers alone, and it rounds ties to even
  const finite = nearest <= f.max ? nearest : f.overflow;
  return x < 0 ? -finite : finite;
}

/** The smallest power of two not below x, within [2^-127, 2^127]. */
function roundUe8m0(x: number): number {
  if (!(x >= 0)) return NaN;
  const exponent = Math.min(Math.max(exponentOf(x + 0), -127), 127); // + 0: exponentOf would read the sign of -0
  const power = pow2(exponent);
  return power < x && exponent < 127 ? 2 * power : power;
}

/** The value of `dtype` that x becomes: round to nearest even, saturating where the table above says so. */
export function round(dtype: DType, x: number): number {
  switch (dtype) {
    case "f32":
      return Math.fround(x);
    case "i32":
      return x | 0;
    case "u32":
      return x >>> 0;
    case "ue8m0":
      return roundUe8m0(x);
    default:
      return roundMinifloat(x, minifloats[dtype]);
  }
}

/** The stored code (an unsigned integer of the dtype's width) of a value; the value is rounded first. */
export function encode(dtype: DType, x: number): number {
  const value = round(dtype, x);
  switch (dtype) {
    case "f32":
      return bitsOf(value);
    case "i32":
    case "u32":
      return value >>> 0;
    case "ue8m0":
      return Number.isNaN(value) ? 0xff : exponentOf(value) + 127;
    default:
      return encodeMinifloat(value, minifloats[dtype]);
  }
}

/** A minifloat's code is the top of the f32 code of the same value, once its exponent is shifted to the range of f32. */
function encodeMinifloat(value: number, f: Minifloat): number {
  if (Number.isNaN(value)) return f.nan;
  const sign = value < 0 || Object.is(value, -0) ? f.sign : 0;
  const magnitude = Math.abs(value);
  return sign | (magnitude === Infinity ? f.infinity : bitsOf(magnitude * pow2(-126 - f.minExponent)) >>> (23 - f.mantissaBits));
}

/** The value of a stored code. */
export function decode(dtype: DType, code: number): number {
  switch (dtype) {
    case "f32":
      return floatOf(code >>> 0);
    case "i32":
      return code | 0;
    case "u32":
      return code >>> 0;
    default:
      return decodeTable(dtype)[code]!;
  }
}

function decodeMinifloat(code: number, dtype: MinifloatType): number {
  const f = minifloats[dtype];
  const magnitude = code & (f.sign - 1);
  const sign = code & f.sign ? -1 : 1;
  if (dtype === "e4m3" ? magnitude === f.nan : magnitude > f.infinity) return NaN;
  if (dtype !== "e4m3" && magnitude === f.infinity) return sign * Infinity;
  return sign * floatOf(magnitude << (23 - f.mantissaBits)) * pow2(126 + f.minExponent);
}

const decodeTables = new Map<DType, Float64Array>();

/** The values of all codes of an 8- or 16-bit dtype, by code. Shared: not to be written. */
export function decodeTable(dtype: MinifloatType | "ue8m0"): Float64Array {
  let table = decodeTables.get(dtype);
  if (table === undefined) {
    const value = (code: number) => (dtype !== "ue8m0" ? decodeMinifloat(code, dtype) : code === 0xff ? NaN : pow2(code - 127));
    table = Float64Array.from({ length: 2 ** bits[dtype] }, (_, code) => value(code));
    decodeTables.set(dtype, table);
  }
  return table;
}

/** Reads one element at a byte offset. */
export function readElement(dtype: DType, view: DataView, offset: number): number {
  const size = byteSize(dtype);
  if (dtype === "f32") return view.getFloat32(offset, true);
  return decode(dtype, size === 1 ? view.getUint8(offset) : size === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true));
}

/** Writes one element at a byte offset, rounding it to the dtype. */
export function writeElement(dtype: DType, view: DataView, offset: number, value: number): void {
  const size = byteSize(dtype);
  if (dtype === "f32") return view.setFloat32(offset, value, true);
  const code = encode(dtype, value);
  if (size === 1) view.setUint8(offset, code);
  else if (size === 2) view.setUint16(offset, code, true);
  else view.setUint32(offset, code, true);
}

/** Values as little-endian bytes, the layout of every device buffer. */
export function toBytes(dtype: DType, values: ArrayLike<number>): Uint8Array {
  const size = byteSize(dtype);
  const bytes = new Uint8Array(values.length * size);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) writeElement(dtype, view, i * size, values[i]!);
  return bytes;
}

/** The inverse of `toBytes`. */
export function fromBytes(dtype: DType, bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = byteSize(dtype);
  return Float64Array.from({ length: bytes.byteLength / size }, (_, i) => readElement(dtype, view, i * size));
}
