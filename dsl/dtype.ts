/**
 * Number formats of tiles and globals, and their bit-exact codecs.
 *
 * Every value of every format is exactly representable as a JavaScript number, so a tile holds plain numbers
 * and rounding happens where a value takes on a dtype: `round(dtype, x)`.
 *
 * | dtype | bits | meaning | source |
 * |---|---|---|---|
 * | e4m3 | 8 | e4m3fn: no infinities, NaN = 0x7f/0xff, max 448, conversion saturates | OCP FP8 |
 * | e5m2 | 8 | IEEE-like: has infinities, max 57344, conversion saturates to 57344 | OCP FP8 |
 * | ue8m0 | 8 | power-of-two scale 2^(code-127), 0xff = NaN | OCP MX |
 * | f16, bf16 | 16 | round to nearest even, overflow to infinity | IEEE 754, bfloat16 |
 * | f32 | 32 | IEEE 754 single | |
 * | i32, u32 | 32 | two's complement, wrap-around | |
 */

export const dtypes = ["e4m3", "e5m2", "ue8m0", "f16", "bf16", "f32", "i32", "u32"] as const;
export type DType = (typeof dtypes)[number];

/** Dtypes that hold fractions; `map` computes on them in f32. */
export type FloatType = "e4m3" | "e5m2" | "ue8m0" | "f16" | "bf16" | "f32";

const bits: Record<DType, number> = { e4m3: 8, e5m2: 8, ue8m0: 8, f16: 16, bf16: 16, f32: 32, i32: 32, u32: 32 };

/** Bytes that one element takes in memory. */
export const byteSize = (dtype: DType): number => bits[dtype] / 8;
export const isFloat = (dtype: DType): dtype is FloatType => dtype !== "i32" && dtype !== "u32";

interface Minifloat {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  /** Largest finite magnitude. */
  readonly max: number;
  /** What a larger magnitude becomes. */
  readonly overflow: "saturate" | "infinity";
}
const minifloats = {
  e4m3: { exponentBits: 4, mantissaBits: 3, max: 448, overflow: "saturate" },
  e5m2: { exponentBits: 5, mantissaBits: 2, max: 57344, overflow: "saturate" },
  f16: { exponentBits: 5, mantissaBits: 10, max: 65504, overflow: "infinity" },
} as const satisfies Partial<Record<DType, Minifloat>>;

const word = new DataView(new ArrayBuffer(4));
const bitsOf = (x: number): number => (word.setFloat32(0, x), word.getUint32(0));
const floatOf = (code: number): number => (word.setUint32(0, code), word.getFloat32(0));

function roundMinifloat(x: number, f: Minifloat): number {
  if (Number.isNaN(x) || x === 0) return x;
  const magnitude = Math.abs(x);
  if (magnitude === Infinity && f.overflow === "infinity") return x;
  const bias = 2 ** (f.exponentBits - 1) - 1;
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), 1 - bias);
  // log2 may be off by one next to a power of two; one step down keeps the quantum exact there
  const quantum = 2 ** ((2 ** exponent > magnitude ? Math.max(exponent - 1, 1 - bias) : exponent) - f.mantissaBits);
  const scaled = magnitude / quantum;
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  const rounded = (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor) * quantum;
  const finite = rounded <= f.max ? rounded : f.overflow === "saturate" ? f.max : Infinity;
  return x < 0 ? -finite : finite;
}

function roundBf16(x: number): number {
  const code = bitsOf(x);
  if (Number.isNaN(x)) return NaN;
  return floatOf(((code + 0x7fff + ((code >>> 16) & 1)) & 0xffff0000) >>> 0);
}

/** Smallest power of two not below x, within [2^-127, 2^127]; NaN and negative numbers have none. */
function roundUe8m0(x: number): number {
  if (!(x >= 0)) return NaN;
  const code = bitsOf(x);
  const exponent = (code >>> 23) + ((code & 0x7fffff) !== 0 ? 1 : 0);
  return exponent >= 255 ? 2 ** 127 : 2 ** (Math.max(exponent, 0) - 127);
}

/** The value of `dtype` that x becomes: round to nearest even, saturating where the table above says so. */
export function round(dtype: DType, x: number): number {
  switch (dtype) {
    case "f32":
      return Math.fround(x);
    case "bf16":
      return roundBf16(x);
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
    case "bf16":
      return Number.isNaN(value) ? 0x7fc0 : bitsOf(value) >>> 16;
    case "ue8m0":
      return Number.isNaN(value) ? 0xff : (bitsOf(value) >>> 23) & 0xff;
    default:
      return encodeMinifloat(dtype, value);
  }
}

function encodeMinifloat(dtype: keyof typeof minifloats, value: number): number {
  const f: Minifloat = minifloats[dtype];
  const width = 1 + f.exponentBits + f.mantissaBits;
  const bias = 2 ** (f.exponentBits - 1) - 1;
  const sign = (value < 0 || Object.is(value, -0) ? 1 : 0) << (width - 1);
  if (Number.isNaN(value)) return dtype === "e4m3" ? 0x7f : (2 ** f.exponentBits - 1) * 2 ** f.mantissaBits + 2 ** (f.mantissaBits - 1);
  const magnitude = Math.abs(value);
  if (magnitude === Infinity) return sign | ((2 ** f.exponentBits - 1) << f.mantissaBits);
  if (magnitude < 2 ** (1 - bias)) return sign | Math.round(magnitude / 2 ** (1 - bias - f.mantissaBits));
  const exponent = (bitsOf(magnitude) >>> 23) - 127; // every minifloat is exact in f32
  const mantissa = magnitude / 2 ** exponent - 1;
  return sign | ((exponent + bias) << f.mantissaBits) | (mantissa * 2 ** f.mantissaBits);
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
    case "bf16":
      return floatOf((code << 16) >>> 0);
    case "ue8m0":
      return code === 0xff ? NaN : 2 ** (code - 127);
    default:
      return decodeMinifloat(dtype, code);
  }
}

function decodeMinifloat(dtype: keyof typeof minifloats, code: number): number {
  const f: Minifloat = minifloats[dtype];
  const bias = 2 ** (f.exponentBits - 1) - 1;
  const sign = (code >>> (f.exponentBits + f.mantissaBits)) & 1 ? -1 : 1;
  const exponent = (code >>> f.mantissaBits) & (2 ** f.exponentBits - 1);
  const mantissa = code & (2 ** f.mantissaBits - 1);
  if (dtype === "e4m3" && (code & 0x7f) === 0x7f) return NaN;
  if (dtype !== "e4m3" && exponent === 2 ** f.exponentBits - 1) return mantissa === 0 ? sign * Infinity : NaN;
  const magnitude = exponent === 0 ? mantissa * 2 ** (1 - bias - f.mantissaBits) : (1 + mantissa / 2 ** f.mantissaBits) * 2 ** (exponent - bias);
  return sign * magnitude;
}

/** Values as little-endian bytes, the layout of every device buffer. */
export function toBytes(dtype: DType, values: ArrayLike<number>): Uint8Array {
  const size = byteSize(dtype);
  const bytes = new Uint8Array(values.length * size);
  if (dtype === "f32") return new Uint8Array(Float32Array.from(values).buffer);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) {
    const code = encode(dtype, values[i]!);
    if (size === 1) view.setUint8(i, code);
    else if (size === 2) view.setUint16(2 * i, code, true);
    else view.setUint32(4 * i, code, true);
  }
  return bytes;
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

/** The inverse of `toBytes`. */
export function fromBytes(dtype: DType, bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = byteSize(dtype);
  return Float64Array.from({ length: bytes.byteLength / size }, (_, i) => readElement(dtype, view, i * size));
}
