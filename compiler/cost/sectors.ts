/** Which sectors of the buffers a launch touches. */
import { type FieldMemory } from "../interp/tile.ts";
import { evaluate, type Param } from "../ir/manifest.ts";

/** Bytes that device memory moves together. */
export const sectorBytes = 32;

/** One byte a sector, 1 where it is touched, by param. */
export type Touched = ReadonlyMap<string, Uint8Array>;

export const touchedMemory = (params: readonly Param[], dims: Readonly<Record<string, number>>): Touched =>
  new Map(params.map((p) => [p.name, new Uint8Array(Math.ceil(Math.max(evaluate(p.bytes, dims), 0) / sectorBytes))]));

export function countSectors(touched: Touched): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [param, sectors] of touched) {
    let count = 0;
    for (let i = 0; i < sectors.length; i++) count += sectors[i]!;
    if (count > 0) counts[param] = count * sectorBytes;
  }
  return counts;
}

/** Positions of one axis; they may reach past its ends. */
export interface Interval {
  start: number;
  count: number;
}

/** Marks the elements of `elementBytes` in a box of a field, cut at the borders of its axes. */
export function touch(sectors: Uint8Array, { axes, offset }: FieldMemory, box: readonly Interval[], elementBytes: number): void {
  // the innermost axes that are one run of bytes
  let run = elementBytes;
  let first = offset;
  let outer = axes.length;
  while (outer > 0) {
    const { size, stride } = axes[outer - 1]!;
    if (stride !== run) break;
    const { start, count } = box[outer - 1]!;
    const lo = Math.max(0, start);
    const hi = Math.min(size, start + count);
    if (hi <= lo) return;
    outer--;
    first += lo * stride;
    run = (hi - lo) * stride; // shorter than the next stride where the axis is not covered whole
  }
  mark(sectors, axes, box, 0, outer, first, run);
}

/** Marks `run` bytes at every place of the axes from `axis` to `outer`; a plain function, for gathers call it for millions of rows. */
function mark(sectors: Uint8Array, axes: FieldMemory["axes"], box: readonly Interval[], axis: number, outer: number, byte: number, run: number): void {
  if (axis === outer) {
    sectors.fill(1, Math.floor(byte / sectorBytes), Math.ceil((byte + run) / sectorBytes));
    return;
  }
  const { size, stride } = axes[axis]!;
  const { start, count } = box[axis]!;
  const end = Math.min(size, start + count);
  for (let i = Math.max(0, start); i < end; i++) mark(sectors, axes, box, axis + 1, outer, byte + i * stride, run);
}
