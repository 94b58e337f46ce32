/**
 * Tile IR: *what* a kernel computes. A sequential, functional program over tiles with named axes and static extents;
 * no threads, no memory spaces. Every value carries the author's name and the TypeScript location it came from.
 */
import type { DType } from "../../dsl/dtype.ts";
import type { Expr, ScalarType } from "./expr.ts";
import type { HostExpr, Param } from "./manifest.ts";

export interface Loc {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export type TileType = DType | "bool";

export interface Axis {
  readonly name: string;
  readonly extent: number;
  /** Items of a bag: positions from this number (i32, at most the extent) on do not exist, and which item stands where is left open. */
  readonly held?: Expr;
}

/** A tile: single assignment, identified by `id`. */
export interface TileValue {
  readonly id: number;
  /** The author's variable name, made unique by the front end ("e0.alpha", "raised"). */
  readonly label: string;
  readonly dtype: TileType;
  /** Outermost first; the order is a hint, not a layout. */
  readonly axes: readonly Axis[];
  readonly loc: Loc;
}

/** A uniform scalar variable: the same in all threads of a block. Referred to by `Var` expressions of its name. */
export interface ScalarValue {
  readonly name: string;
  readonly type: ScalarType;
  readonly loc: Loc;
}

/** Where one axis of a param (or field) is accessed: a single position, a block of a tile axis, or all of it (start 0). */
export type Coord = { readonly kind: "Index"; readonly at: Expr } | { readonly kind: "Block"; readonly axis: Axis; readonly start: Expr };

/** A block of a param's field: one coord per axis of the param, then one per axis of the field. */
export interface TileView {
  readonly param: string;
  readonly field: string;
  readonly dtype: DType;
  readonly coords: readonly Coord[];
}

export type ReduceFn = "sum" | "max" | "min";

export type TileOp =
  /** Zero-copy until used; positions outside the param read as `fill`. `once`: no other access is near enough to find what a multiprocessor's cache would keep. */
  | { readonly kind: "Load"; readonly view: TileView; readonly fill: Expr; readonly once?: true }
  /**
   * Rows picked by index tiles: view coord `at[i]` is replaced by the value of `indices[i]` (all of one axis list).
   * An index outside the param gives zeros. A picked coord that is a Block gives runs: positions from index + start on.
   */
  | { readonly kind: "Gather"; readonly view: TileView; readonly picks: readonly { readonly coord: number; readonly index: TileValue }[] }
  | { readonly kind: "Full"; readonly value: Expr }
  /** start + position along the tile's only axis, i32. */
  | { readonly kind: "Iota"; readonly start: Expr }
  | { readonly kind: "Slice"; readonly of: TileValue; readonly axis: string; readonly start: number }
  | { readonly kind: "Rename"; readonly of: TileValue; readonly axes: Readonly<Record<string, string>> }
  /** Rounds to the result's dtype. */
  | { readonly kind: "Cast"; readonly of: TileValue }
  /** `body` over variables `params[i]`, the elements of `inputs[i]`, broadcast by axis name; free variables are uniform scalars. */
  | { readonly kind: "Map"; readonly inputs: readonly TileValue[]; readonly params: readonly string[]; readonly body: Expr }
  | { readonly kind: "Reduce"; readonly fn: ReduceFn; readonly of: TileValue; readonly over: readonly string[] }
  /** Inclusive running reduction along one axis. */
  | { readonly kind: "Scan"; readonly fn: ReduceFn; readonly of: TileValue; readonly axis: string }
  /** Sum over `over` of a*b, in f32, plus `acc` when given. Axes in both operands and not in `over` are batch axes. */
  | { readonly kind: "Gemm"; readonly a: TileValue; readonly b: TileValue; readonly over: readonly string[]; readonly acc?: TileValue }
  /** Counts of a histogram as a tile of one axis. */
  | { readonly kind: "Counts"; readonly histogram: string }
  /** One field of a bag's items, along an axis with `held`. */
  | { readonly kind: "Items"; readonly bag: string; readonly field: number };

export interface BagField {
  readonly name: string;
  readonly dtype: "f32" | "i32" | "u32";
}

export interface Carried<V> {
  /** The variable inside the loop. */
  readonly param: V;
  readonly init: V;
  /** Its value at the end of an iteration. */
  readonly next: V;
  /** The variable after the loop. */
  readonly result: V;
}

export type TileStmt =
  | { readonly kind: "Define"; readonly value: TileValue; readonly op: TileOp }
  | { readonly kind: "Let"; readonly scalar: ScalarValue; readonly expr: Expr }
  /** Makes the single element of a tile without axes a uniform scalar. */
  | { readonly kind: "ToScalar"; readonly scalar: ScalarValue; readonly of: TileValue }
  /** index = lo, lo + step, … while index < hi. Carried scalars are initialised from expressions of Let'ed scalars. */
  | {
      readonly kind: "For";
      readonly index: ScalarValue;
      readonly lo: Expr;
      readonly hi: Expr;
      readonly step: number;
      readonly tiles: readonly Carried<TileValue>[];
      readonly scalars: readonly Carried<ScalarValue>[];
      readonly body: readonly TileStmt[];
      readonly loc: Loc;
    }
  | {
      readonly kind: "If";
      readonly cond: Expr;
      readonly then: readonly TileStmt[];
      readonly otherwise: readonly TileStmt[];
      /** Values that differ by branch. */
      readonly tiles: readonly { readonly result: TileValue; readonly then: TileValue; readonly otherwise: TileValue }[];
      readonly scalars: readonly { readonly result: ScalarValue; readonly then: ScalarValue; readonly otherwise: ScalarValue }[];
      readonly loc: Loc;
    }
  /** Elements where `keep` is false, and positions outside the param, are not written. */
  | { readonly kind: "Store"; readonly view: TileView; readonly of: TileValue; readonly keep?: TileValue; readonly loc: Loc }
  /** A block-wide array of u32 counters, all zero. */
  | { readonly kind: "Histogram"; readonly name: string; readonly bins: number; readonly loc: Loc }
  /** counters[bin]++ wherever keep holds; a bin outside is an error of the author. */
  | { readonly kind: "HistogramAdd"; readonly histogram: string; readonly bin: TileValue; readonly keep: TileValue; readonly loc: Loc }
  /** bin = largest bin whose inclusive suffix count reaches `want` (0 if none); above = count strictly above it; inBin = its own count. */
  | {
      readonly kind: "HistogramFind";
      readonly histogram: string;
      readonly want: Expr;
      readonly bin: ScalarValue;
      readonly above: ScalarValue;
      readonly inBin: ScalarValue;
      readonly loc: Loc;
    }
  /** A block-wide collection of items without an order, empty. */
  | { readonly kind: "Bag"; readonly name: string; readonly capacity: number; readonly fields: readonly BagField[]; readonly loc: Loc }
  /** Adds an item (one tile for each field) wherever keep holds; what does not fit is counted and lost. */
  | { readonly kind: "BagAdd"; readonly bag: string; readonly items: readonly TileValue[]; readonly keep: TileValue; readonly loc: Loc }
  /** Items added so far, those that did not fit included. */
  | { readonly kind: "BagCount"; readonly bag: string; readonly scalar: ScalarValue }
  /** A block-wide set of positions in [0, size), empty. */
  | { readonly kind: "Bitmap"; readonly name: string; readonly size: number; readonly loc: Loc }
  /** Marks positions wherever keep holds; a position outside is an error of the author. */
  | { readonly kind: "BitmapAdd"; readonly bitmap: string; readonly position: TileValue; readonly keep: TileValue; readonly loc: Loc }
  /** An ordered list written to a one-axis view, starting empty. */
  | { readonly kind: "Append"; readonly name: string; readonly view: TileView; readonly loc: Loc }
  /** Appends the kept elements in axis order; what does not fit the view is dropped. */
  | { readonly kind: "AppendPush"; readonly append: string; readonly of: TileValue; readonly keep: TileValue; readonly loc: Loc }
  /**
   * Appends the element of `of` at every marked position, ascending; all marks lie below `limit`. `of` has one axis, as long as the bitmap,
   * and follows from positions, uniform scalars and params.
   */
  | { readonly kind: "AppendMarked"; readonly append: string; readonly bitmap: string; readonly of: TileValue; readonly limit: Expr; readonly loc: Loc }
  /** Writes `value` to every position from the current count to the view's end. */
  | { readonly kind: "AppendFill"; readonly append: string; readonly value: Expr; readonly loc: Loc }
  /** Elements appended so far. */
  | { readonly kind: "AppendCount"; readonly append: string; readonly scalar: ScalarValue };

/** One dimension of the grid: `count` blocks; inside, `index` is lo + step * position. */
export interface GridDim {
  readonly index: ScalarValue;
  readonly lo: HostExpr;
  readonly step: number;
  readonly count: HostExpr;
}

export interface TileKernel {
  readonly name: string;
  readonly loc: Loc;
  readonly spec: unknown;
  readonly tune: Readonly<Record<string, number>>;
  readonly params: readonly Param[];
  /** Dims and pitches in order of first use; each is an i32 uniform scalar of its name. */
  readonly dims: readonly { readonly name: string; readonly default?: HostExpr }[];
  /** Outermost first; the last one varies fastest over block indices. */
  readonly grid: readonly GridDim[];
  readonly body: readonly TileStmt[];
}
