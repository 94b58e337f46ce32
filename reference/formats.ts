/**
 * Number formats: what every stored code means, and which code a number becomes.
 *
 * A binary float format has one sign bit, `e` exponent bits and `m` fraction bits. With bias = 2^(e−1) − 1, a code with
 * exponent field E and fraction F has the magnitude
 *
 * ```text
 * E = 0 (subnormal)   F · 2^(1 − bias − m)
 * otherwise           (2^m + F) · 2^(E − bias − m)
 * ```
 *
 * | format | e, m | largest | specials | conversion beyond the largest | source |
 * |---|---|---|---|---|---|
 * | e4m3 (e4m3fn) | 4, 3 | 448 | NaN 0x7f and 0xff, no infinity | saturates, infinities too | OCP FP8 |
 * | e5m2 | 5, 2 | 57344 | infinity 0x7c, NaN above it | saturates, infinities too | OCP FP8 |
 * | f16 | 5, 10 | 65504 | IEEE 754 | infinity | IEEE 754 |
 * | bf16 | 8, 7 | (2 − 2^−7) · 2^127 | as f32 | infinity | upper half of f32 |
 * | f32 | 8, 23 | (2 − 2^−23) · 2^127 | IEEE 754 | infinity | IEEE 754 |
 * | ue8m0 | 8, 0 | 2^127 | NaN 0xff; no sign, no zero | saturates at both ends | OCP MX |
 *
 * **Rounding** is to nearest, ties to the even code. The encoder of the 8 and 16-bit floats knows nothing but the decoder: it
 * searches the ascending table of magnitudes and takes the nearer neighbour. The table has one entry past the largest finite
 * code, with the value that this code would have if it were not special; what lands there overflows, exactly as IEEE 754 says.
 * **ue8m0** stores scales and rounds *up* to a power of two, because a scale that is too small would push values out of range.
 *
 * Which NaN code a NaN becomes is not part of the contract; here it is the quiet one without sign. Numbers are rounded once, from
 * the f64 that they arrive as. Arrays are little endian.
 * @module
 */

export type FormatName = "e4m3" | "e5m2" | "ue8m0" | "f16" | "bf16" | "f32";

/** A tensor in a narrow format: what memory holds, and the same numbers to compute with. */
export interface NarrowTensor {
  readonly format: FormatName;
  readonly bytes: Uint8Array;
  readonly values: Float64Array;
}

const layouts = {
  e4m3: { exponentBits: 4, fractionBits: 3, firstSpecial: 0x7f, quietNan: 0x7f, saturates: true },
  e5m2: { exponentBits: 5, fractionBits: 2, firstSpecial: 0x7c, quietNan: 0x7e, saturates: true },
  f16: { exponentBits: 5, fractionBits: 10, firstSpecial: 0x7c00, quietNan: 0x7e00, saturates: false },
  bf16: { exponentBits: 8, fractionBits: 7, firstSpecial: 0x7f80, quietNan: 0x7fc0, saturates: false },
} as const;
type TabledFloat = keyof typeof layouts;

/** Magnitude of a code without its sign bit, by the formula above, whether the code is special or not. */
function magnitudeOf(format: TabledFloat, code: number): number {
  const { exponentBits, fractionBits } = layouts[format];
  const bias = 2 ** (exponentBits - 1) - 1;
  const exponent = code >>> fractionBits;
  const fraction = code % 2 ** fractionBits;
  return exponent === 0
    ? fraction * 2 ** (1 - bias - fractionBits)
    : (2 ** fractionBits + fraction) * 2 ** (exponent - bias - fractionBits);
}

const magnitudeTables = new Map<TabledFloat, Float64Array>();
function magnitudes(format: TabledFloat): Float64Array {
  let table = magnitudeTables.get(format);
  if (!table) {
    table = Float64Array.from({ length: layouts[format].firstSpecial + 1 }, (_, code) => magnitudeOf(format, code));
    magnitudeTables.set(format, table);
  }
  return table;
}

/** The code whose magnitude is nearest to `magnitude`, ties to the even code. */
function nearestCode(table: Float64Array, magnitude: number): number {
  const last = table.length - 1;
  if (magnitude >= table[last]!) return last;
  let below = 0; // table[below] <= magnitude < table[above]
  let above = last;
  while (above - below > 1) {
    const middle = (below + above) >>> 1;
    if (table[middle]! <= magnitude) below = middle;
    else above = middle;
  }
  const tie = (table[below]! + table[above]!) / 2;
  if (magnitude === tie) return below % 2 === 0 ? below : above;
  return magnitude < tie ? below : above;
}

function encodeTabled(format: TabledFloat, value: number): number {
  const { exponentBits, fractionBits, firstSpecial, quietNan, saturates } = layouts[format];
  if (Number.isNaN(value)) return quietNan;
  const sign = value < 0 || Object.is(value, -0) ? 2 ** (exponentBits + fractionBits) : 0;
  const code = nearestCode(magnitudes(format), Math.abs(value));
  return sign + (saturates ? Math.min(code, firstSpecial - 1) : code);
}

function decodeTabled(format: TabledFloat, code: number): number {
  const { exponentBits, fractionBits, firstSpecial } = layouts[format];
  const signBit = 2 ** (exponentBits + fractionBits);
  const unsigned = code % signBit;
  const sign = code >= signBit ? -1 : 1;
  if (unsigned < firstSpecial) return sign * magnitudes(format)[unsigned]!;
  return unsigned === firstSpecial && format !== "e4m3" ? sign * Infinity : NaN;
}

function encodeUe8m0(value: number): number {
  if (!(value >= 0)) return 0xff; // NaN and negative numbers have no scale
  let code = 0;
  while (code < 0xfe && 2 ** (code - 127) < value) code++;
  return code;
}

const word = new DataView(new ArrayBuffer(4));
function encodeF32(value: number): number {
  word.setFloat32(0, value);
  return word.getUint32(0);
}
function decodeF32(code: number): number {
  word.setUint32(0, code);
  return word.getFloat32(0);
}

/** The code (an unsigned integer of the format's width) that stores `value`. */
export function encode(format: FormatName, value: number): number {
  if (format === "f32") return encodeF32(value);
  return format === "ue8m0" ? encodeUe8m0(value) : encodeTabled(format, value);
}

/** The number that `code` stores; exact, since every format is a subset of f64. */
export function decode(format: FormatName, code: number): number {
  if (format === "f32") return decodeF32(code);
  if (format === "ue8m0") return code === 0xff ? NaN : 2 ** (code - 127);
  return decodeTabled(format, code);
}

/** The number of the format that `value` becomes. */
export const roundTo = (format: FormatName, value: number): number =>
  format === "f32" ? Math.fround(value) : decode(format, encode(format, value));

/** Bytes that one element takes. */
export function elementBytes(format: FormatName): 1 | 2 | 4 {
  if (format === "f32") return 4;
  return format === "f16" || format === "bf16" ? 2 : 1;
}

/** `values` rounded to the format, as little-endian bytes. */
export function encodeArray(format: FormatName, values: ArrayLike<number>): Uint8Array {
  const size = elementBytes(format);
  const bytes = new Uint8Array(values.length * size);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) {
    const code = encode(format, values[i]!);
    if (size === 1) bytes[i] = code;
    else if (size === 2) view.setUint16(2 * i, code, true);
    else view.setUint32(4 * i, code, true);
  }
  return bytes;
}

const decodeTables = new Map<FormatName, Float64Array>();
function decodeTable(format: FormatName): Float64Array {
  let table = decodeTables.get(format);
  if (!table) {
    table = Float64Array.from({ length: 2 ** (8 * elementBytes(format)) }, (_, code) => decode(format, code));
    decodeTables.set(format, table);
  }
  return table;
}

/** The numbers that little-endian `bytes` store. Throws when the bytes end inside an element. */
export function decodeArray(format: FormatName, bytes: Uint8Array): Float64Array {
  const size = elementBytes(format);
  if (bytes.length % size !== 0) {
    throw new RangeError(
      `decodeArray: ${bytes.length} bytes are no whole number of ${format} elements of ${size} bytes. Check where the slice ends.`,
    );
  }
  const values = new Float64Array(bytes.length / size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (size === 4) {
    for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(4 * i, true);
    return values;
  }
  const table = decodeTable(format);
  for (let i = 0; i < values.length; i++) values[i] = table[size === 1 ? bytes[i]! : view.getUint16(2 * i, true)]!;
  return values;
}

/** `values` rounded to the format: the bytes and the numbers that they store. */
export function narrowTensor(format: FormatName, values: ArrayLike<number>): NarrowTensor {
  const bytes = encodeArray(format, values);
  return { format, bytes, values: decodeArray(format, bytes) };
}
