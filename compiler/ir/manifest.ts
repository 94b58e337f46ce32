/**
 * The manifest that stands beside every generated text. It is all that a runtime needs to launch the kernel:
 * no kernel has host code of its own.
 */
import type { DType } from "../../dsl/dtype.ts";
import type { Bounds, Tier } from "../../dsl/schedule.ts";

/** An integer computed by the host at launch; a string names a dim. */
export type HostExpr = number | string | { readonly op: "add" | "sub" | "mul" | "div" | "ceilDiv" | "min" | "max"; readonly args: readonly HostExpr[] };

/** A host expression may name it: multiprocessors of the device that runs the kernel. The runtime supplies it; it is no dim. */
export const MULTIPROCESSORS = "multiprocessors";

export interface AxisSize {
  readonly axis: string;
  /** A fixed extent, or the name of a dim. */
  readonly size: number | string;
  /** Bytes from one index to the next. */
  readonly stride: HostExpr;
}

/** A typed view of the bytes of a parameter. Plain tensors have one field, named "". */
export interface Field {
  readonly name: string;
  readonly dtype: DType;
  /** Byte offset inside one record. */
  readonly offset: number;
  /** Axes inside the record, outermost first. */
  readonly axes: readonly AxisSize[];
  /** The caller promises that no element is below 0. */
  readonly nonNegative?: boolean;
}

export interface Param {
  readonly name: string;
  readonly access: "in" | "out" | "inout";
  /** Axes of the array of records, outermost first. */
  readonly axes: readonly AxisSize[];
  readonly fields: readonly Field[];
  /** Bytes that the buffer must have at least. */
  readonly bytes: HostExpr;
}

/** A dim or pitch that the host passes as a 32-bit integer. */
export interface Dim {
  readonly name: string;
  /** Value when the caller does not give one (pitches: the packed size). */
  readonly default?: HostExpr;
  /** The kernel's wide accesses rely on it; the launch checks it. */
  readonly multipleOf?: number;
}

/** A box of a param that TMA copies at once; dimension 0 is the fastest and has stride 1. Outside the sizes it reads zeros. */
export interface TensorMap {
  readonly name: string;
  readonly param: string;
  /** Bytes from the param's start, a multiple of 16. */
  readonly offset: number;
  readonly dtype: DType;
  readonly swizzle: 0 | 32 | 64 | 128;
  readonly sizes: readonly HostExpr[];
  /** Byte strides of dimensions 1 and up. */
  readonly strides: readonly HostExpr[];
  readonly box: readonly number[];
}

export interface Manifest {
  readonly format: 1;
  readonly kernel: string;
  /** "wgsl", "cuda:sm_80", "cuda:sm_90a"… */
  readonly target: string;
  readonly entry: string;
  readonly file: string;
  readonly source: string;
  readonly spec: unknown;
  readonly tune: Readonly<Record<string, number>>;
  /** The launches that this text is for. Absent on the text that is for all, or for all others. */
  readonly tier?: Tier;
  /** On the text for all other launches: the tiers that have texts of their own, in the order in which a launch asks them. */
  readonly tiers?: readonly Tier[];
  /** In binding order: CUDA pointers first to last, WGSL bindings 0, 1, …; the dims follow. */
  readonly params: readonly Param[];
  /** i32 kernel parameters after the pointers (CUDA), or members of the uniform struct at the last binding (WGSL). */
  readonly dims: readonly Dim[];
  /** CUDA only: passed by value as `__grid_constant__` parameters before the pointers. */
  readonly tensorMaps: readonly TensorMap[];
  /** Blocks in all; WGSL spreads them over x and y when x alone is too small. */
  readonly blocks: HostExpr;
  readonly threads: number;
  /** Shared (workgroup) bytes of one block. CUDA takes all of it as dynamic shared memory. */
  readonly sharedBytes: number;
  /**
   * CUDA only: the text waits for the launch before it by itself, so a host may let it come up while that one runs (the launch attribute
   * CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION). Without the attribute it has nothing to wait for.
   */
  readonly awaitsPrior?: true;
  /** WebGPU features or CUDA architecture features that the text needs. */
  readonly features: readonly string[];
  /** WebGPU limits that the text needs, by their WebGPU name. */
  readonly limits: Readonly<Record<string, number>>;
  /** Product instructions of the text, by the names of their records: how exactly it adds up depends on them. Absent without any. */
  readonly products?: readonly string[];
  /** What the schedule's algebra changed. Absent where it changed nothing. */
  readonly algebra?: readonly string[];
  readonly sha256: string;
}

/** Evaluates a host expression; an unknown dim is a RangeError that names it. */
export function evaluate(e: HostExpr, dims: Readonly<Record<string, number>>): number {
  if (typeof e === "number") return e;
  if (typeof e === "string") {
    const value = dims[e];
    if (value === undefined) throw new RangeError(`dim "${e}" has no value; give it in dims`);
    return value;
  }
  const [first = 0, ...rest] = e.args.map((a) => evaluate(a, dims));
  return rest.reduce((a, b) => combine[e.op](a, b), first);
}
/**
 * Of the texts of one kernel, in the order of its tiers, the one for a launch with these dims. A dim that a tier asks for and that has no
 * value is a RangeError.
 */
export function textFor<T extends { readonly manifest: Pick<Manifest, "tier" | "dims"> }>(texts: readonly T[], dims: Readonly<Record<string, number>>): T {
  const found = texts.find(({ manifest }) => manifest.tier === undefined || meets(manifest.tier.when, manifest.dims, dims));
  if (found === undefined) throw new RangeError("none of these texts is for all other launches; give the one without a tier last");
  return found;
}

const meets = (when: Bounds, known: readonly Dim[], dims: Readonly<Record<string, number>>): boolean =>
  Object.entries(when).every(([name, { atLeast = -Infinity, atMost = Infinity }]) => {
    const value = dims[name] ?? evaluate(known.find((dim) => dim.name === name)?.default ?? name, dims);
    return value >= atLeast && value <= atMost;
  });

const combine: Record<Exclude<HostExpr, number | string>["op"], (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => Math.floor(a / b),
  ceilDiv: (a, b) => Math.ceil(a / b),
  min: Math.min,
  max: Math.max,
};
