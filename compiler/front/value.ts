/**
 * What an expression of a kernel's text can be while it is read. Everything known when compiling is the plain JavaScript
 * value itself (numbers, strings, arrays, objects that hold other values); everything else is one of the `Ref`s below.
 */
import type { DType } from "../../dsl/dtype.ts";
import type { Span } from "../diagnostics.ts";
import type { Expr } from "../ir/expr.ts";
import type { Axis, BagField, TileKernel, TileValue, TileView } from "../ir/tile.ts";
import type { Scope } from "./scope.ts";
import type { FunctionExpression } from "./syntax.ts";

/** Marks a Ref; a symbol, so that no object of an author can be taken for one. */
export const kind: unique symbol = Symbol("kind");

/** A value that only the device knows: a tile … */
export interface TileRef {
  readonly [kind]: "Tile";
  readonly tile: TileValue;
}
/** … or a number that is the same in all threads of a block (inside a lambda of map: an element's value). */
export interface ScalarRef {
  readonly [kind]: "Scalar";
  readonly expr: Expr;
}
/** A function of the program with the scope that it was written in. */
export interface Closure {
  readonly [kind]: "Closure";
  readonly name: string;
  readonly fn: FunctionExpression;
  readonly scope: Scope;
}
/** An operation of the language ("load"), or of an object of the language ("push" of an append). */
export interface Operation {
  readonly [kind]: "Operation";
  readonly name: string;
  readonly of?: Ref;
}
/** A tensor argument, or one field of a record argument. */
export interface GlobalRef {
  readonly [kind]: "Global";
  /** As the author writes it: "q", "cache.latent". */
  readonly name: string;
  readonly param: string;
  readonly field: string;
  readonly dtype: DType;
  readonly writable: boolean;
  /** Axes of the param, then of the field; a string is the name of a dim. */
  readonly axes: readonly { readonly name: string; readonly size: number | string }[];
}
/** A block of a global, not yet read. */
export interface ViewRef {
  readonly [kind]: "View";
  readonly global: GlobalRef;
  /** One per axis of the global; undefined takes the axis whole. */
  readonly selected: readonly (TileView["coords"][number] | undefined)[];
}
/** `blocks(axis, lo, hi, step)`; without an axis `each(count)`. */
export interface BlocksRef {
  readonly [kind]: "Blocks";
  readonly axis: string | undefined;
  readonly lo: Expr;
  readonly hi: Expr;
  readonly step: number;
  readonly span: Span;
}
export interface HistogramRef {
  readonly [kind]: "Histogram";
  readonly name: string;
  readonly bins: number;
}
export interface BagRef {
  readonly [kind]: "Bag";
  readonly name: string;
  readonly capacity: number;
  readonly fields: readonly BagField[];
}
export interface BitmapRef {
  readonly [kind]: "Bitmap";
  readonly name: string;
  readonly size: number;
}
export interface AppendRef {
  readonly [kind]: "Append";
  readonly name: string;
  readonly dtype: DType;
}
export interface KernelRef {
  readonly [kind]: "Kernel";
  readonly kernel: TileKernel;
}
export type Ref = TileRef | ScalarRef | Closure | Operation | GlobalRef | ViewRef | BlocksRef | CollectiveRef | KernelRef;
/** What the elements of tiles are put into in turn. */
export type CollectiveRef = HistogramRef | AppendRef | BagRef | BitmapRef;

/** Plain JavaScript or a `Ref`. */
export type Value = unknown;

export const refOf = (value: Value): Ref | undefined => (typeof value === "object" && value !== null && kind in value ? (value as Ref) : undefined);
export const isTile = (value: Value): value is TileRef => refOf(value)?.[kind] === "Tile";
export const isScalar = (value: Value): value is ScalarRef => refOf(value)?.[kind] === "Scalar";
export const asCollective = (ref: Ref | undefined): CollectiveRef | undefined =>
  ref?.[kind] === "Histogram" || ref?.[kind] === "Append" || ref?.[kind] === "Bag" || ref?.[kind] === "Bitmap" ? ref : undefined;
export const isPlainObject = (value: Value): value is Readonly<Record<string, Value>> =>
  typeof value === "object" && value !== null && !refOf(value) && !Array.isArray(value);

export const scalarRef = (expr: Expr): ScalarRef => ({ [kind]: "Scalar", expr });

/** `[h 16, c 576]`. */
export const sized = (axes: readonly Axis[]): string => `[${axes.map((a) => `${a.name} ${a.extent}`).join(", ")}]`;

/** `an f32 tile [h 16]`. */
export const describeTile = ({ dtype, axes }: TileValue): string => `${/^[efi]/.test(dtype) ? "an" : "a"} ${dtype} tile ${sized(axes)}`;

export const axisNames = (axes: readonly (Axis | { readonly name: string })[]): string =>
  axes.length === 0 ? "none" : axes.map((a) => a.name).join(", ");

/** A value in the words of an error message. */
export function describeValue(value: Value): string {
  const ref = refOf(value);
  if (!ref) {
    if (value === undefined || value === null) return String(value);
    if (typeof value === "function") return "a function";
    if (Array.isArray(value)) return "an array";
    return typeof value === "object" ? "an object" : `${typeof value} ${JSON.stringify(value)}`;
  }
  switch (ref[kind]) {
    case "Tile":
      return describeTile(ref.tile);
    case "Scalar":
      return "a run-time number";
    case "Closure":
      return ref.name ? `function "${ref.name}"` : "a function";
    case "Operation":
      return `the operation ${ref.name}`;
    case "Global":
      return `the argument "${ref.name}"`;
    case "View":
      return `a view of "${ref.global.name}"`;
    case "Blocks":
      return ref.axis === undefined ? "each(…)" : "blocks(…)";
    case "Histogram":
      return `histogram "${ref.name}"`;
    case "Bag":
      return `bag "${ref.name}"`;
    case "Bitmap":
      return `bitmap "${ref.name}"`;
    case "Append":
      return `append "${ref.name}"`;
    case "Kernel":
      return `kernel "${ref.kernel.name}"`;
  }
}

/** The part of a value at a key, with the name that it gets there. */
export interface Leaf {
  readonly path: string;
  readonly value: Value;
}

/** The tiles, numbers and other indivisible parts of a value: what a loop carries when the variable is an object. */
export function leavesOf(value: Value, path = ""): readonly Leaf[] {
  if (Array.isArray(value)) return value.flatMap((v: Value, i) => leavesOf(v, `${path}.${i}`));
  if (isPlainObject(value)) return Object.entries(value).flatMap(([key, v]) => leavesOf(v, `${path}.${key}`));
  return [{ path, value }];
}

/** The value with its leaves replaced. */
export function replaceLeaves(value: Value, by: ReadonlyMap<string, Value>, path = ""): Value {
  if (Array.isArray(value)) return value.map((v: Value, i) => replaceLeaves(v, by, `${path}.${i}`));
  if (isPlainObject(value)) return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, replaceLeaves(v, by, `${path}.${key}`)]));
  return by.has(path) ? by.get(path) : value;
}
