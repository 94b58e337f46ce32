/** Blocks of device buffers for the Tile interpreter: strided boxes of elements, cut at the borders of the param. */
import { decodeTable, type DType, readElement, writeElement } from "../../dsl/dtype.ts";
import type { Axis } from "../ir/tile.ts";

/** One axis of a param's field, with the numbers of this run. */
export interface MemoryAxis {
  readonly size: number;
  /** Bytes from one index to the next. */
  readonly stride: number;
}

/** Elements from one index of each axis to the next in a row-major block; 0 for names that the block lacks. */
export function stridesFor(axes: readonly Axis[], names: readonly string[]): readonly number[] {
  return names.map((name) => {
    const at = axes.findIndex((a) => a.name === name);
    return at < 0 ? 0 : sizeOf(axes.slice(at + 1));
  });
}
export const sizeOf = (axes: readonly Axis[]): number => axes.reduce((n, a) => n * a.extent, 1);

/** Where a block lies: per axis of memory its first index, how many follow, and how far apart they are in the tile (0 for an index). */
export interface Span {
  readonly start: number;
  readonly count: number;
  readonly step: number;
}

/** Calls `row` for each innermost run of elements inside the memory: byte address, byte stride, tile position, tile step, length. */
export function forEachRow(
  memory: readonly MemoryAxis[],
  spans: readonly Span[],
  row: (byte: number, byteStep: number, at: number, step: number, count: number) => void,
  byte = 0,
  at = 0,
  axis = 0,
): void {
  const m = memory[axis];
  const s = spans[axis];
  if (!m || !s) return row(byte, 0, at, 0, 1);
  const lo = Math.max(0, -s.start);
  const hi = Math.min(s.count, m.size - s.start);
  if (axis === memory.length - 1) {
    if (hi > lo) row(byte + (s.start + lo) * m.stride, m.stride, at + lo * s.step, s.step, hi - lo);
    return;
  }
  for (let i = lo; i < hi; i++) forEachRow(memory, spans, row, byte + (s.start + i) * m.stride, at + i * s.step, axis + 1);
}

/** Reads the elements of a block into a tile; positions outside keep what the tile holds. */
export function readBlock(
  dtype: DType, view: DataView, memory: readonly MemoryAxis[], spans: readonly Span[], offset: number, out: Float64Array, at: number,
): void {
  const table = dtype === "f32" || dtype === "i32" || dtype === "u32" ? undefined : decodeTable(dtype);
  forEachRow(memory, spans, (byte, byteStep, to, step, count) => {
    for (let i = 0; i < count; i++, byte += byteStep, to += step) {
      const where = offset + byte;
      out[at + to] = table ? table[table.length === 256 ? view.getUint8(where) : view.getUint16(where, true)]! : readElement(dtype, view, where);
    }
  });
}

/** Writes the elements of a tile where `keep` (if given) is not 0. */
export function writeBlock(
  dtype: DType, view: DataView, memory: readonly MemoryAxis[], spans: readonly Span[], offset: number, values: Float64Array, keep?: Float64Array,
): void {
  forEachRow(memory, spans, (byte, byteStep, from, step, count) => {
    for (let i = 0; i < count; i++, byte += byteStep, from += step) {
      if (!keep || keep[from] !== 0) writeElement(dtype, view, offset + byte, values[from]!);
    }
  });
}
