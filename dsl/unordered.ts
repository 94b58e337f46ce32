/**
 * Unordered axes: those of a bag's items. Which item stands where along such an axis differs from run to run, so only operations take
 * them whose result does not depend on it: maps, counting, marking, adding to a bag, and reductions that are exact in any order.
 */
import { isFloat } from "./dtype.ts";
import { describe } from "./tile.ts";
import type { AnyTile, TileType } from "./types.ts";

/** The name of an unordered axis. No tensor can have an axis of such a name. */
export type Unordered<N extends string> = `~${N}`;
/** Axes that have an order. */
export type Ordered<A extends string> = A extends `~${string}` ? never : A;

export const unordered = <N extends string>(axis: N): Unordered<N> => `~${axis}`;
export const isUnordered = (axis: string): boolean => axis.startsWith("~");

/** Throws where `axis` has no order and the operation would show one. */
export function requireOrder(operation: string, tile: AnyTile, axes: readonly string[]): void {
  const axis = axes.find(isUnordered);
  if (axis === undefined) return;
  throw new TypeError(
    `${operation}: axis "${axis}" of ${describe(tile)} has no order, so the result would differ from run to run. ` +
      `Items of a bag can be mapped, counted, marked in a bitmap, added to a bag, or reduced by max, min and sums of integers.`,
  );
}

/** A sum of floats depends on their order. */
export const dependsOnOrder = (fn: "sum" | "max" | "min", { dtype }: { readonly dtype: TileType }): boolean =>
  fn === "sum" && dtype !== "bool" && isFloat(dtype);
