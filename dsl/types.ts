/**
 * The types an author works with. Axes are names and live in the type; extents are values.
 *
 * A `Tile<"bf16", "h" | "c">` is a block of values with a *set* of axes: order is the compiler's business.
 * A `Global<"bf16", "t" | "c">` is a tensor in device memory; `a.kv.tile({ t: block })` is a view that `load`, `gather`
 * and `store` take. Extents of tiles are compile-time constants; sizes of globals may be run-time dims.
 */
import type { DType } from "./dtype.ts";

/** What a tile can hold: a memory dtype, or the truth values that `mask` makes. */
export type TileType = DType | "bool";

/** Consecutive positions [start, start + size) of one axis. `size` is a compile-time constant. */
export interface Range<N extends string = string> {
  readonly axis: N;
  readonly start: number;
  readonly size: number;
}

/**
 * An immutable block of values. `exact` makes the axis set invariant: without it TypeScript would accept a tile with
 * one axis too many.
 */
export interface Tile<D extends TileType, A extends string> {
  readonly dtype: D;
  /** Axis names, outermost first, the order of `data`. */
  readonly axes: readonly A[];
  readonly shape: Readonly<Record<A, number>>;
  /** Row-major values, already rounded to `dtype`; truth values are 0 and 1. */
  readonly data: Float64Array;
  readonly exact?: (axis: A) => A;
}

/** Any tile, whatever its axes: `Tile<TileType, string>` would be one with every axis, because axis sets are invariant. */
export interface AnyTile {
  readonly dtype: TileType;
  readonly axes: readonly string[];
  readonly shape: Readonly<Record<string, number>>;
  readonly data: Float64Array;
}

/** One index or one block per selected axis; an index removes the axis. Unselected axes are taken whole. */
export type Selection<A extends string> = { readonly [K in A]?: number | Range<K> };
/** Refuses keys that are not among A. */
export type Only<S, A extends PropertyKey> = { readonly [K in Exclude<keyof S, A>]: never };
/** Axes that a selection removes. */
export type Indexed<S> = { [K in keyof S]: S[K] extends number ? K : never }[keyof S];

/** A block of a global: what `load` reads and `store` writes. Positions outside the global read as the fill value and are never written. */
export interface View<D extends DType, A extends string> {
  readonly dtype: D;
  readonly global: AnyGlobal;
  readonly selection: Readonly<Record<string, number | Range>>;
  readonly axes: readonly A[];
  readonly exact?: (axis: A) => A;
}

/** Any view, whatever its axes. */
export interface AnyView {
  readonly dtype: DType;
  readonly global: AnyGlobal;
  readonly selection: Readonly<Record<string, number | Range>>;
  readonly axes: readonly string[];
}

/** Any tensor, whatever its axes. */
export interface AnyGlobal {
  readonly dtype: DType;
  readonly axes: readonly string[];
  readonly size: Readonly<Record<string, number>>;
}

/** A tensor in device memory. */
export interface Global<D extends DType, A extends string> {
  readonly dtype: D;
  readonly axes: readonly A[];
  /** Extent of every axis; a run-time number where the kernel declares a dim. */
  readonly size: Readonly<Record<A, number>>;
  /** A block: `q.tile({ t: block, h: 0 })`. `Only` refuses axes that the tensor does not have. */
  tile<const S extends Selection<A>>(selection: S & Only<S, A>): View<D, Exclude<A, Indexed<S>>>;
}
