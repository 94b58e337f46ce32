/**
 * Plan IR: *who, where, when*. The Tile program with every value given a place: computed in registers under a layout,
 * staged in shared memory, or left inline (recomputed where it is used). Still tiles: this is the level to read to
 * understand a kernel. One role, all threads, runs the plan, or several roles over warp ranges do, joined by pipes.
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
  /** Outermost first, padded; element offset = sum of position * stride. With a tiling the strides are 0: its digits say where. */
  readonly axes: readonly (Axis & { readonly stride: number })[];
  /** Of one slot. */
  readonly elements: number;
  readonly tiling?: Tiling;
  /** In the slot of another tile, so many elements from its start: right behind that tile. */
  readonly behind?: { readonly value: TileValue; readonly at: number };
}

/** A dense box as TMA, or threads in its place, write it: digits of the axes, fastest first, then the swizzle over lines of that many bytes. */
export interface Tiling {
  readonly digits: readonly TilingDigit[];
  readonly swizzle: 0 | 32 | 64 | 128;
  /** How wgmma reads its lines: along the contracted axis, along the other, or one product so and another so; absent: no product does. */
  readonly major?: "k" | "mn" | "both";
}
export interface TilingDigit {
  readonly axis: string;
  readonly size: number;
  /** Positions along the axis from one value to the next. */
  readonly stride: number;
}

/** How a gemm multiplies. "fma": one multiply-add per thread and step; others name an instruction record of the target. */
export interface GemmPlan {
  readonly atom: "fma" | "mma.m16n8k16.bf16" | "mma.m16n8k16.f16" | "wgmma";
  /** wgmma: accumulators that are issued one after the other and awaited one by one, along the slowest register digit. */
  readonly parts?: number;
  /** wgmma: layout of the first operand where it comes from registers. */
  readonly fragment?: Layout;
  readonly layout: Layout;
  /** Digits of the result's rows (free axes of a) and columns (free axes of b), tagged by slot. */
  readonly rows: readonly PlacedDigit[];
  readonly columns: readonly PlacedDigit[];
}

export interface Product {
  readonly value: TileValue;
  readonly op: Extract<TileOp, { kind: "Gemm" }>;
  readonly plan: GemmPlan;
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
  /** From device memory into the value's slot of a ring; lands later. One thread starts it as boxes of a tensor map, or every thread copies runs of 16 bytes. */
  | {
      readonly kind: "Copy";
      readonly value: TileValue;
      readonly op: Extract<TileOp, { kind: "Load" | "Gather" }>;
      readonly stage: Stage;
      readonly by: "tma" | "cpAsync";
      readonly evictFirst: boolean;
    }
  /** A value's slot into registers. `words`: whole words as they lie there, which readers take apart. */
  | { readonly kind: "Fetch"; readonly value: TileValue; readonly layout: Layout; readonly stage: Stage; readonly words?: boolean }
  /**
   * `isPacked`: a statement before it has packed its first operand. `follower`: a product with the same first operand, whose columns the last
   * instruction of the last part takes along.
   */
  | (Product & { readonly kind: "Gemm"; readonly isPacked?: boolean; readonly follower?: Product })
  /** The first operand of a product that takes it from registers, into these registers. */
  | { readonly kind: "Pack"; readonly of: Extract<PlanStmt, { kind: "Gemm" }> }
  /**
   * A wgmma product, or one part of it, is complete, the last part with the `follower`; `pending` groups issued later may still be under way. `last`: what
   * stands before is to be computed before the wait, also where the assembler would choose otherwise.
   */
  | { readonly kind: "Await"; readonly value: TileValue; readonly part: number; readonly parts: number; readonly pending: number; readonly last?: boolean; readonly follower?: TileValue }
  /** `part`: only the elements in that part of the slowest register digit; the last part joins what all found. */
  | {
      readonly kind: "Reduce";
      readonly value: TileValue;
      readonly op: Extract<TileOp, { kind: "Reduce" }>;
      readonly plan: ReducePlan;
      readonly layout: Layout;
      readonly part?: { readonly index: number; readonly count: number };
    }
  /** One thread reduces a tile without cooperation, for the roles that steer by it. */
  | { readonly kind: "SerialReduce"; readonly scalar: ScalarValue; readonly op: Extract<TileOp, { kind: "Reduce" }> }
  /** The producer waits until its next slot of the pipe is empty, writes the header and starts the copies. */
  | { readonly kind: "Fill"; readonly pipe: string; readonly copies: readonly Extract<PlanStmt, { kind: "Copy" }>[] }
  /** A role waits for its next slot of the pipe. */
  | { readonly kind: "AwaitFull"; readonly pipe: string }
  /** The maker has made its tiles of the slot; what it brought there is of no more use to it. */
  | { readonly kind: "HandOver"; readonly pipe: string }
  /** A consumer waits for its next slot of the pipe, what is brought and what is made. */
  | { readonly kind: "AwaitMade"; readonly pipe: string }
  /** A consumer gives its slot back. */
  | { readonly kind: "Release"; readonly pipe: string }
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
      /** Some statements of `body` belong to the turn before: `first` is the first turn without them, `rest` has them behind the last turn. */
      readonly late?: { readonly first: readonly PlanStmt[]; readonly rest: readonly PlanStmt[] };
    }
  | {
      readonly kind: "If";
      readonly cond: Expr;
      readonly then: readonly PlanStmt[];
      readonly otherwise: readonly PlanStmt[];
      readonly scalars: Extract<TileStmt, { kind: "If" }>["scalars"];
      readonly loc: Loc;
    }
  /** The bags of this block are there, empty; other blocks of the cluster may add to them once they have heard of it. */
  | { readonly kind: "OpenBags"; readonly loc: Loc }
  /** Blocks of the cluster but the leader hand it what their bags hold, and end; the leader goes on when all have. */
  | { readonly kind: "Collect"; readonly bags: readonly string[]; readonly loc: Loc }
  /** Blocks of the cluster but the leader end. */
  | { readonly kind: "Dismiss"; readonly loc: Loc }
  | (Extract<TileStmt, { kind: WorkKind }> & { readonly layout: Layout })
  | Exclude<TileStmt, { kind: "Define" | "For" | "If" | WorkKind }>;

/** Statements that go through the elements of tiles. */
type WorkKind = "Store" | "HistogramAdd" | "AppendPush" | "BagAdd" | "BitmapAdd";

/** Warps with a program of their own. */
export interface Role {
  readonly name: string;
  readonly warps: number;
  /** Registers of each thread; absent: those of the launch. */
  readonly registers?: number;
  /** Groups of warps that take the work's iterations in turn. */
  readonly copies: number;
  /**
   * "compute": all its threads run the plan's layouts. "make": so they do, to make tiles for others. "copy": one thread of each copy starts copies by TMA,
   * all threads those by cp.async.
   */
  readonly duty: "compute" | "make" | "copy";
  readonly body: readonly PlanStmt[];
}

/** A ring of slots from the copying role to the computing one, by way of the one that makes tiles if there are `made` ones. */
export interface Pipe {
  readonly name: string;
  readonly depth: number;
  /** Tiles of one slot: those that copies bring, and those that a role makes of them. */
  readonly values: readonly TileValue[];
  readonly made: readonly TileValue[];
  /** Scalars that travel with a slot. */
  readonly header: readonly ScalarValue[];
}

/**
 * Blocks that stay and take one piece of work after the other. "even": the iterations of all work items' loops, `index` its variable, are
 * laid end to end and cut into equal shares; an item of n iterations costs max(n + padding, least) units. "strided": rounds of
 * an item for each block, every second one backwards.
 */
export type Persistence =
  | {
      readonly kind: "even";
      readonly index: string;
      readonly padding: number;
      readonly least: number;
      /** Its header carries the work from the copying role to the computing one. */
      readonly pipe: string;
      /** What gives the loop's bounds, for one thread. */
      readonly scalars: readonly PlanStmt[];
      readonly lo: Expr;
      readonly hi: Expr;
      readonly step: number;
    }
  | { readonly kind: "strided" };

export interface Plan {
  readonly kernel: TileKernel;
  /** Of the block, or of one copy of the computing role. */
  readonly threads: number;
  /** Of the role that makes tiles; layouts of these tiles, and of what they are made of, are for its threads. */
  readonly makers?: number;
  readonly roles?: readonly Role[];
  readonly pipes?: readonly Pipe[];
  readonly persistence?: Persistence;
  /** Blocks of a cluster, which runs what is one block's work; the first one is the leader. Absent: no clusters. */
  readonly cluster?: number;
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
  /** Registers of a multiprocessor, where roles divide them. */
  readonly registers?: number;
  /** Comparisons of floats are those of IEEE 754, with NaN, infinities and subnormals. */
  readonly ieeeFloats: boolean;
  /** Bytes of the smallest store to memory: 4 where narrower stores are not atomic. */
  readonly storeGranule: number;
}

/** The products of a statement: its own, and the one that follows it. */
export const productsOf = (s: Extract<PlanStmt, { kind: "Gemm" }>): readonly Product[] => (s.follower ? [s, s.follower] : [s]);

/** Compute type of a tile's elements. */
export const computeType = (dtype: TileValue["dtype"]): ScalarType => (dtype === "i32" || dtype === "u32" || dtype === "bool" ? dtype : "f32");
