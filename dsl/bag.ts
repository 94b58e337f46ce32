/** Collections without an order, kept on chip: what passes a filter, to be looked at again without reading all that was filtered. */
import type { DType } from "./dtype.ts";
import { arrange, describe, isBlock, makeTile, roundAll } from "./tile.ts";
import type { AnyTile, Tile } from "./types.ts";
import { unordered, type Unordered } from "./unordered.ts";
import type { Storable } from "./view.ts";

/** What one item holds: 32-bit values by name. */
export type ItemFields = Readonly<Record<string, "f32" | "i32" | "u32">>;

/**
 * A bag has room for `capacity` items and counts those that do not fit as well. It is filled first and then looked at: nothing is added
 * after `items`. An overfull bag has lost items, in an order that differs from run to run; therefore it shows none.
 */
export interface Bag<F extends ItemFields> {
  /** Adds an item for each element where `keep` holds. */
  add<A extends string>(items: { readonly [K in keyof F]: Tile<Storable<F[K]>, A> }, keep: Tile<"bool", NoInfer<A>>): void;
  /** Items added, those that did not fit included. */
  readonly count: number;
  /** The items: one tile for each field, along an axis without order, called `~axis`. No items at all if more were added than fit. */
  items<N extends string>(axis: N): { readonly [K in keyof F]: Tile<F[K], Unordered<N>> };
}

export function bag<const F extends ItemFields>(capacity: number, fields: F): Bag<F> {
  if (!(Number.isSafeInteger(capacity) && capacity > 0)) throw new RangeError(`bag: capacity ${capacity} is not a positive integer.`);
  const names = Object.keys(fields) as (keyof F & string)[];
  if (names.length === 0) throw new TypeError("bag: its items have no fields. Give at least one, as { name: dtype }.");
  const columns = new Map<string, number[]>(names.map((name) => [name, []]));
  let count = 0;
  let shown = false;
  return {
    add(items, keep) {
      if (shown) throw new TypeError("bag.add: the bag's items have been looked at. Make another bag.");
      const tiles = items as Readonly<Record<string, AnyTile>>;
      for (const name of names) requireItem(name, fields[name]!, tiles[name], keep);
      const columnsOfTiles = names.map((name) => arrange(tiles[name]!, keep.axes));
      keep.data.forEach((kept, i) => {
        if (kept === 0) return;
        count++;
        if (count <= capacity) names.forEach((name, f) => columns.get(name)!.push(columnsOfTiles[f]![i]!));
      });
    },
    get count() {
      return count;
    },
    items(axis) {
      shown = true;
      const size = count > capacity ? 0 : count;
      const tiles = names.map((name) => {
        const data = roundAll(fields[name]!, Float64Array.from(columns.get(name)!.slice(0, size)));
        return [name, makeTile(fields[name]! as DType, [unordered(axis)], { [unordered(axis)]: size }, data)];
      });
      return Object.fromEntries(tiles) as { [K in keyof F]: Tile<F[K], Unordered<typeof axis>> };
    },
  };
}

function requireItem(name: string, dtype: string, tile: AnyTile | undefined, keep: AnyTile): void {
  if (!tile) throw new TypeError(`bag.add: there is no tile for the field "${name}".`);
  const fits = tile.dtype === dtype || (dtype === "f32" && tile.dtype !== "bool" && tile.dtype !== "i32" && tile.dtype !== "u32");
  if (!fits) throw new TypeError(`bag.add: ${describe(tile)} does not go into the field "${name}", which is ${dtype}. Cast it first.`);
  if (keep.dtype === "bool" && isBlock(keep, tile.axes, tile.shape)) return;
  throw new TypeError(`bag.add: keep is ${describe(keep)} but must be a bool tile like "${name}", ${describe(tile)}. Make it with mask.`);
}
