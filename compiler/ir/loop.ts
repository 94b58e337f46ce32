/**
 * Loop IR: *how*. The program of one thread of a block: scalars, register arrays, shared buffers, loops, barriers and
 * calls of target instructions. Shared by all targets; a target's power sits in its instruction records.
 */
import type { DType } from "../../dsl/dtype.ts";
import type { Expr, ScalarType } from "./expr.ts";
import type { HostExpr, Param, TensorMap } from "./manifest.ts";
import type { Loc } from "./tile.ts";

/** On-chip memory of a block. Elements are stored as `dtype`; reads decode to the compute type, writes round. */
export interface SharedBuffer {
  readonly name: string;
  readonly dtype: DType;
  readonly elements: number;
  /** Bytes from the start of shared memory, a multiple of 16; buffers with disjoint lives may overlap. */
  readonly offset: number;
  /** For the header: what lies here, e.g. "kv[j 16, c 576+8]". */
  readonly note: string;
}

/**
 * Hardware barriers (mbarrier), one per slot of a ring. A phase ends when `arrivals` arrivals and all announced bytes are there; a wait
 * names the parity of the phase that must have ended: the first phase has parity 0, and before it parity 1 counts as ended.
 */
export interface LoopBarrier {
  readonly name: string;
  readonly slots: number;
  readonly arrivals: number;
  /** Bytes from the start of shared memory, a multiple of 8; eight bytes a slot. */
  readonly offset: number;
  /** For the header: who arrives, who waits. */
  readonly note: string;
}

/** A ring of slots that one role fills and others empty. Slot s of a buffer is the elements from s * elements on. */
export interface LoopPipe {
  readonly name: string;
  readonly depth: number;
  readonly buffers: readonly { readonly buffer: string; readonly elements: number }[];
  /** Names of the barriers: `full` is waited for by the consumers, or by the maker, and `made` by the consumers then; `empty` by the producer. */
  readonly full: string;
  readonly made?: string;
  readonly empty: string;
}

/** A role: consecutive warps with a program of their own. */
export interface LoopRole {
  readonly name: string;
  readonly firstWarp: number;
  readonly warps: number;
  /** Registers of each thread while the role runs; absent: those of the launch. */
  readonly registers?: number;
  readonly body: readonly LoopStmt[];
}

/** An operand of an instruction call. */
export type Operand =
  | { readonly kind: "Value"; readonly value: Expr }
  /** `count` registers of a register array from a constant index on; instructions may read and write them. */
  | { readonly kind: "Registers"; readonly array: string; readonly index: Expr; readonly count: number }
  | { readonly kind: "SharedAddress"; readonly buffer: string; readonly index: Expr }
  /** An element of the same buffer in the shared memory of the cluster's leader, its first block. */
  | { readonly kind: "LeaderAddress"; readonly buffer: string; readonly index: Expr }
  | { readonly kind: "GlobalAddress"; readonly param: string; readonly field: string; readonly coords: readonly Expr[] }
  | { readonly kind: "Barrier"; readonly barrier: string; readonly slot: Expr }
  | { readonly kind: "TensorMap"; readonly map: string }
  /**
   * A matrix operand in shared memory as wgmma reads it. Lines of `swizzle` bytes, eight to a group, groups `stride` bytes apart; within
   * 1024-byte-aligned memory the 16-byte chunks of a line are permuted by its number (see `swizzled`). major "k": a line holds
   * consecutive k of one row (or column) of the matrix; major "mn": consecutive rows (columns) of one k, and further ones lie `leading` bytes on.
   */
  | {
      readonly kind: "Matrix";
      readonly buffer: string;
      /** Of the first element; k steps add to it, a multiple of 16 bytes. */
      readonly index: Expr;
      readonly major: "k" | "mn";
      readonly swizzle: 32 | 64 | 128;
      readonly stride: number;
      readonly leading: number;
    };

/** Byte address after the swizzle of TMA and wgmma: bits 4… are xored with bits 7…; as many as chunks of 16 bytes fit a line. */
export const swizzled = (byte: number, swizzle: 0 | 32 | 64 | 128): number => (swizzle === 0 ? byte : byte ^ (((byte >> 7) & (swizzle / 16 - 1)) << 4));

export type AtomicFn = "add" | "or";

export type LoopStmt =
  /** An immutable scalar. */
  | { readonly kind: "Let"; readonly name: string; readonly value: Expr }
  /** An immutable scalar whose value is equal in all threads; targets with uniformity rules make it provably so. */
  | { readonly kind: "Uniform"; readonly name: string; readonly value: Expr }
  /** A mutable scalar. */
  | { readonly kind: "Variable"; readonly name: string; readonly type: ScalarType; readonly init: Expr }
  /** Registers, uninitialised. */
  | { readonly kind: "Array"; readonly name: string; readonly type: ScalarType; readonly size: number }
  | { readonly kind: "Assign"; readonly name: string; readonly value: Expr }
  | { readonly kind: "SetRegister"; readonly array: string; readonly index: Expr; readonly value: Expr }
  /** A position in a param that moves along the last axis; what `Advance` adds counts elements. */
  | { readonly kind: "Cursor"; readonly name: string; readonly param: string; readonly field: string; readonly coords: readonly Expr[] }
  | { readonly kind: "Advance"; readonly cursor: string; readonly by: Expr }
  /** name = lo; name < hi; name += step. `unroll` loops have constant bounds and index registers; with `together`, so many turns may overlap. */
  | { readonly kind: "For"; readonly name: string; readonly lo: Expr; readonly hi: Expr; readonly step: number; readonly unroll: boolean; readonly together?: number; readonly body: readonly LoopStmt[] }
  /** While the condition, evaluated before each round, holds. */
  | { readonly kind: "While"; readonly cond: Expr; readonly body: readonly LoopStmt[] }
  /** `uniform`: the condition is equal in all threads, so the branches may hold barriers. */
  | { readonly kind: "If"; readonly cond: Expr; readonly uniform: boolean; readonly then: readonly LoopStmt[]; readonly otherwise: readonly LoopStmt[] }
  /**
   * `count` elements from `coords` along the last axis into registers `index`…; `limit` of them exist (any integer; absent: all),
   * none where `guard` is false; the others become `fill`. `aligned`: the byte address is a multiple of count * element size.
   * `once`: as in Tile IR, a hint.
   */
  | {
      readonly kind: "LoadGlobal";
      readonly array: string;
      readonly index: Expr;
      readonly count: number;
      readonly param: string;
      readonly field: string;
      readonly coords: readonly Expr[];
      readonly guard?: Expr;
      readonly limit?: Expr;
      readonly fill: Expr;
      readonly aligned: boolean;
      readonly once?: true;
    }
  /**
   * Writes values.length elements along the last axis; `guard`, `limit` and `aligned` as in LoadGlobal. `at`: a cursor that, so many
   * elements on, is where the coordinates are.
   */
  | {
      readonly kind: "StoreGlobal";
      readonly param: string;
      readonly field: string;
      readonly coords: readonly Expr[];
      readonly values: readonly Expr[];
      readonly guard?: Expr;
      readonly limit?: Expr;
      readonly aligned: boolean;
      readonly at?: { readonly cursor: string; readonly offset: number };
    }
  /** Writes consecutive elements; index is a multiple of values.length, and the bytes fill whole 4-byte words. */
  | { readonly kind: "StoreShared"; readonly buffer: string; readonly index: Expr; readonly values: readonly Expr[] }
  /** buffer[index] += value, or |= value, on an i32 or u32 buffer, atomically within the block; `old` names the element's value before. */
  | { readonly kind: "Atomic"; readonly fn: AtomicFn; readonly buffer: string; readonly index: Expr; readonly value: Expr; readonly old?: string }
  /** All threads of the block, or all of the role that it stands in; orders shared and global memory among them. */
  | { readonly kind: "Barrier" }
  /** The block ends: all of its threads come here. */
  | { readonly kind: "Exit" }
  /** The end of a kernel: warps part. Warps without a role are done. No statement but other roles' can follow. */
  | { readonly kind: "Roles"; readonly roles: readonly LoopRole[] }
  | { readonly kind: "Call"; readonly instruction: string; readonly operands: readonly Operand[] }
  /** The TypeScript statement that the following lines come from. */
  | { readonly kind: "Source"; readonly loc: Loc }
  | { readonly kind: "Comment"; readonly text: string };

export interface LoopKernel {
  readonly name: string;
  readonly loc: Loc;
  readonly params: readonly Param[];
  readonly dims: readonly { readonly name: string; readonly default?: HostExpr }[];
  /** A multiple of the blocks of a cluster. */
  readonly blocks: HostExpr;
  /** Consecutive blocks that run side by side and reach the shared memory of the first of them; absent: no clusters. */
  readonly cluster?: number;
  readonly threads: number;
  /** Blocks that a multiprocessor is to hold at a time, where the schedule says so. */
  readonly resident?: number;
  readonly shared: readonly SharedBuffer[];
  readonly sharedBytes: number;
  readonly barriers: readonly LoopBarrier[];
  readonly pipes: readonly LoopPipe[];
  readonly tensorMaps: readonly TensorMap[];
  readonly body: readonly LoopStmt[];
}

/** Statements directly inside a statement, body by body. */
export function bodiesOf(s: LoopStmt): readonly (readonly LoopStmt[])[] {
  switch (s.kind) {
    case "For":
    case "While":
      return [s.body];
    case "If":
      return [s.then, s.otherwise];
    case "Roles":
      return s.roles.map((r) => r.body);
    default:
      return [];
  }
}

/** Names of the instruction records that statements call. */
export const instructionsOf = (list: readonly LoopStmt[]): ReadonlySet<string> =>
  new Set(list.flatMap((s) => [...(s.kind === "Call" ? [s.instruction] : []), ...bodiesOf(s).flatMap((body) => [...instructionsOf(body)])]));

/** Expressions of a statement itself, not of those inside it. */
export function expressionsOf(s: LoopStmt): readonly (Expr | undefined)[] {
  switch (s.kind) {
    case "Let":
    case "Uniform":
    case "Assign":
      return [s.value];
    case "Variable":
      return [s.init];
    case "Cursor":
      return s.coords;
    case "Advance":
      return [s.by];
    case "SetRegister":
      return [s.index, s.value];
    case "For":
      return [s.lo, s.hi];
    case "While":
    case "If":
      return [s.cond];
    case "LoadGlobal":
      return [s.index, ...s.coords, s.guard, s.limit, s.fill];
    case "StoreGlobal":
      return [...s.coords, ...s.values, s.guard, s.limit];
    case "StoreShared":
      return [s.index, ...s.values];
    case "Atomic":
      return [s.index, s.value];
    case "Call":
      return s.operands.flatMap(operandExpressions);
    default:
      return [];
  }
}

const operandExpressions = (o: Operand): readonly Expr[] => {
  switch (o.kind) {
    case "Value":
      return [o.value];
    case "GlobalAddress":
      return o.coords;
    case "Barrier":
      return [o.slot];
    case "TensorMap":
      return [];
    default:
      return [o.index];
  }
};
