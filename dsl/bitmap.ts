/** Sets of positions: one bit each. They give what was found in any order the order of its positions. */
import { arrange, describe, describeBlock, isBlock } from "./tile.ts";
import type { AnyTile, Tile } from "./types.ts";

/** A set of positions in [0, size), empty at first. */
export interface Bitmap {
  /** Marks the position of each element where `keep` holds. A position outside [0, size) is a RangeError. */
  add<A extends string>(position: Tile<"u32" | "i32", A>, keep: Tile<"bool", NoInfer<A>>): void;
}

const contents = new WeakMap<Bitmap, Uint8Array>();
/** How many positions there are, and the marked ones, ascending: what an append takes. Not part of the language. */
export function marksOf(marks: Bitmap): { readonly size: number; readonly marked: readonly number[] } {
  const bits = contents.get(marks);
  if (!bits) throw new TypeError("append.pushMarked: this is no bitmap. Make one with bitmap(size).");
  return { size: bits.length, marked: Array.from(bits.keys()).filter((p) => bits[p] === 1) };
}

export function bitmap(size: number): Bitmap {
  if (!(Number.isSafeInteger(size) && size > 0)) throw new RangeError(`bitmap: ${size} positions. The number of positions is a positive integer.`);
  const bits = new Uint8Array(size);
  const marks: Bitmap = {
    add(position, keep) {
      requireMask("bitmap.add", position, keep);
      const kept = arrange(keep, position.axes);
      position.data.forEach((p, i) => {
        if (kept[i] === 0) return;
        if (!(p >= 0 && p < size)) {
          throw new RangeError(`bitmap.add: position ${p} is outside the ${size} positions. Exclude the element in the mask.`);
        }
        bits[p] = 1;
      });
    },
  };
  contents.set(marks, bits);
  return marks;
}

/** `keep` must be a bool tile of the same axes and extents. */
export function requireMask(operation: string, tile: AnyTile, keep: AnyTile): void {
  if (keep.dtype === "bool" && isBlock(keep, tile.axes, tile.shape)) return;
  throw new TypeError(
    `${operation}: keep is ${describe(keep)} but must be a bool tile ${describeBlock(tile.axes, tile.shape)}. Make it with mask.`,
  );
}
