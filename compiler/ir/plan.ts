/**
 * Plan IR: *who, where, when*. The Tile program with every value given a place: computed in registers under a layout,
 * staged in shared memory, or left inline (recomputed where it is used). Still tiles: this is the level to read to
 * understand a kernel. One role, all threads, runs the plan; roles over warp ranges and their pipes are the next step.
 */
import type { DType } from "../../dsl/dtype.ts";
import type { Expr, ScalarType } from "./expr.ts";
import type { Layout, PlacedDigit } from "./layout.ts";
import type { Axis, Carried, Loc, ScalarValue, TileKernel, TileOp, TileStmt, TileValue } from "./tile.ts";

/** A tile in shared memory. */
export interface Stage {
  readonly buffer: string;
  /** What the bytes are; may be wider than the tile's dtype (e4m3 staged as bf16 is exact). */
  readonly dtype: DType;
  /** Outermost first, padded; element offset = sum of position * stride. */
  readonly axes: readonly (Axis & { readonly stride: number })[];
  readonly elements: number;
}

/** How a gemm multiplies. "fma": one multiply-add per thread and step; others name an instruction record of the target. */
export interface GemmPlan {
  readonly atom: "fma" | "mma.m16n8k16.bf16" | "mma.m16n8k16.f16";
  readonly layout: Layout;
  /** Digits of the result's rows (free axes of a) and columns (free axes of b), tagged by slot. */
  readonly rows: readonly PlacedDigit[];
  readonly columns: readonly PlacedDigit[];
}

/** How a cross-thread reduction joins partial results: lane shuffles first, then shared memory. */
export interface ReducePlan {
  /** Layout of the operand. */
  readonly layout: Layout;
  /** Lane masks of butterfly shuffles. */
  readonly shuffles: readonly number[];
  /** Thread digits still to be joined through shared memory: thread stride and size. */
  readonly joins: readonly { readonly stride: number; readonly size: number }[];
}

export type Place =
  /** Recomputed at each use. */
  | { readonly kind: "Inline"; readonly op: TileOp }
  /** In registers, in shared memory, or both. */
  | { readonly kind: "Stored"; readonly layout?: Layout; readonly stage?: Stage };

export type PlanStmt =
  /** Element-wise into registers. */
  | { readonly kind: "Compute"; readonly value: TileValue; readonly op: TileOp; readonly layout: Layout }
  /**
   * Into shared memory: `op` element by element, or, without it, from the value's registers. With a layout, `op` reads registers
   * under it; without one, consecutive threads take consecutive runs.
   */
  | { readonly kind: "Stage"; readonly value: TileValue; readonly op?: TileOp; readonly layout?: Layout; readonly stage: Stage }
  | { readonly kind: "Gemm"; readonly value: TileValue; readonly op: Extract<TileOp, { kind: "Gemm" }>; readonly plan: GemmPlan }
  | { readonly kind: "Reduce"; readonly value: TileValue; readonly op: Extract<TileOp, { kind: "Reduce" }>; readonly plan: ReducePlan; readonly layout: Layout }
  | { readonly kind: "Scan"; readonly value: TileValue; readonly op: Extract<TileOp, { kind: "Scan" }>; readonly layout: Layout }
  /** Copies registers of equal layout, at loop ends and branch joins. */
  | { readonly kind: "Move"; readonly to: TileValue; readonly from: TileValue; readonly layout: Layout }
  | {
      readonly kind: "For";
      readonly index: ScalarValue;
      readonly lo: Expr;
      readonly hi: Expr;
      readonly step: number;
      readonly scalars: readonly Carried<ScalarValue>[];
      readonly body: readonly PlanStmt[];
      readonly loc: Loc;
    }
  | {
      readonly kind: "If";
      readonly cond: Expr;
      readonly then: readonly PlanStmt[];
      readonly otherwise: readonly PlanStmt[];
      readonly scalars: Extract<TileStmt, { kind: "If" }>["scalars"];
      readonly loc: Loc;
    }
  | (Extract<TileStmt, { kind: "Store" | "HistogramAdd" | "AppendPush" }> & { readonly layout: Layout })
  | Exclude<TileStmt, { kind: "Define" | "For" | "If" | "Store" | "HistogramAdd" | "AppendPush" }>;

export interface Plan {
  readonly kernel: TileKernel;
  readonly threads: number;
  /** By value id. */
  readonly places: ReadonlyMap<number, Place>;
  /** Register array of each stored value; values that may share registers have one name. */
  readonly registers: ReadonlyMap<number, string>;
  readonly body: readonly PlanStmt[];
}

/** What planning needs to know of a target. */
export interface Machine {
  readonly name: string;
  /** Lanes that shuffle together; 0 where the subgroup size is unknown. */
  readonly warp: number;
  readonly maxThreads: number;
  readonly maxSharedBytes: number;
  /** Part of it kept for exchanges between threads, once for each of f32, i32 and u32. */
  readonly exchangeBytes: number;
  /** Instruction records by name. */
  readonly instructions: ReadonlySet<string>;
  /** Bytes of the smallest store to memory: 4 where narrower stores are not atomic. */
  readonly storeGranule: number;
}

/** Compute type of a tile's elements. */
export const computeType = (dtype: TileValue["dtype"]): ScalarType => (dtype === "i32" || dtype === "u32" || dtype === "bool" ? dtype : "f32");
