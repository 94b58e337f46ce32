/**
 * Random data at hundreds of megabytes a second: values are picked from tables of drawn ones by a 32-bit generator. The same seed gives the
 * same bytes everywhere.
 */
import { encodeArray, elementBytes, randomOf, type FormatName } from "../reference/index.ts";

/** The next state of xorshift32; it never becomes 0. */
function next(state: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  return state ^ (state << 5);
}
const startOf = (seed: number): number => Math.imul(seed + 1, 0x9e3779b1) | 1;

const tableBits = 16;
const tables = new Map<string, Uint8Array>();

/** 65536 draws of a normal number of standard deviation `deviation`, as stored in `format`. */
function normalTable(format: FormatName, deviation: number): Uint8Array {
  const name = `${format} ${deviation}`;
  const random = randomOf(1);
  const table = tables.get(name) ?? encodeArray(format, Float64Array.from({ length: 2 ** tableBits }, () => deviation * random.normal()));
  tables.set(name, table);
  return table;
}

/** `count` normal numbers of a narrow format. */
export function normals(format: "e4m3" | "bf16" | "f16", count: number, deviation: number, seed: number): Uint8Array {
  const table = normalTable(format, deviation);
  let state = startOf(seed);
  if (elementBytes(format) === 1) {
    const out = new Uint8Array(count);
    for (let i = 0; i < count; i++) out[i] = table[(state = next(state)) >>> tableBits]!;
    return out;
  }
  const words = new Uint16Array(table.buffer);
  const out = new Uint16Array(count);
  for (let i = 0; i < count; i++) out[i] = words[(state = next(state)) >>> tableBits]!;
  return new Uint8Array(out.buffer);
}

/** `count` normal numbers in f32, of which few are equal: neighbours in the table are 2^-8 apart at most times, and the low bits fill that. */
export function normalFloats(count: number, seed: number): Float32Array {
  const table = new Float32Array(normalTable("f32", 1).buffer);
  let state = startOf(seed);
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    state = next(state);
    out[i] = table[state >>> tableBits]! + (state & 0xffff) * 2 ** -24;
  }
  return out;
}

/** `count` numbers in [low, high). */
export function uniformFloats(count: number, low: number, high: number, seed: number): Float32Array {
  let state = startOf(seed);
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = low + (high - low) * ((state = next(state)) >>> 0) * 2 ** -32;
  return out;
}

/** Rows of `count` different integers below `below`, in random order; -1 behind the last one where there are too few. */
export function distinctRows(rows: number, count: number, below: number, seed: number): Int32Array {
  const order = Int32Array.from({ length: below }, (_, i) => i);
  const filled = Math.min(count, below);
  const out = new Int32Array(rows * count).fill(-1);
  let state = startOf(seed);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < filled; j++) {
      state = next(state);
      const other = j + ((state >>> 0) % (below - j));
      const picked = order[other]!;
      order[other] = order[j]!;
      order[j] = picked;
      out[row * count + j] = picked;
    }
  }
  return out;
}

/** At most `count` of 0 … length - 1, ascending: both ends, what lies next to multiples of 256 from the middle on, and random ones. */
export function sampleOf(length: number, count: number, seed: number): number[] {
  if (length <= count) return Array.from({ length }, (_, i) => i);
  const middle = 256 * Math.round(length / 512);
  const edges = [0, 1, length - 2, length - 1, middle - 1, middle].filter((i) => i >= 0 && i < length);
  const picked = new Set(edges.slice(0, count));
  let state = startOf(seed);
  while (picked.size < count) picked.add(((state = next(state)) >>> 0) % length);
  return [...picked].sort((a, b) => a - b);
}

/** The bytes of a typed array, without a copy. */
export const bytesOf = (array: Int32Array | Float32Array): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
