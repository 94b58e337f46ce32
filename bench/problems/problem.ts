/** What is timed: inputs of full size in seconds, and a check of some of the results that takes seconds too. */
import type { Param } from "../../compiler/ir/manifest.ts";
import type { KernelName } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { ProgramName } from "../../dsl/programs/index.ts";
import type { Arithmetic } from "../../verify/executor.ts";
import type { Verdict } from "../../verify/verdict.ts";

export type Sizes = Readonly<Record<string, number>>;

export interface Problem {
  /** Kernels that run one after another; params of one name are one buffer. */
  readonly kernels: readonly KernelName[];
  /** They run as this program: on a chunk of queries at a time. */
  readonly program?: ProgramName;
  /** What each size means, in the order in which they are told. */
  readonly sizes: Readonly<Record<string, string>>;
  /** Kinds of data; the first is the default. */
  readonly data: readonly string[];
  /** What a chart of this problem shows over N. */
  readonly rate: "flops" | "bytes";
  /** Sizes that make no problem are a RangeError. */
  prepare(spec: Dsa, sizes: Sizes, data: string): Prepared;
}

export interface Prepared {
  /** Bytes of every param that no kernel before has written. */
  readonly inputs: Readonly<Record<string, Uint8Array>>;
  readonly dims: Readonly<Record<string, number>>;
  /** Most bytes of scratch that a program may take. */
  readonly scratchBytes?: number;
  /** FLOP of products that the result needs, whatever the kernel does in vain; undefined without products, or where nobody knows. */
  readonly flops?: number;
  /** Compares rows that are spread over the result with the reference. */
  check(results: Results): Promise<Verdict>;
}

/** What results hold before a kernel runs: NaN for floats, a large number for integers, where −1 is a result. */
export const poisonOf = ({ fields }: Pick<Param, "fields">): number => (fields.some((f) => f.dtype === "i32" || f.dtype === "u32") ? 0x5a : 0xff);

export interface Results {
  /** `bytes` bytes of an output from byte `from` on. */
  read(param: string, from: number, bytes: number): Promise<Uint8Array>;
  /** Bytes of one row of a program's scratch, after its chunk has run once more. */
  scratchRow(param: string, row: number): Promise<Uint8Array>;
  readonly arithmetic: Arithmetic;
  /** Tune numbers of each kernel, by its name. */
  readonly tune: Readonly<Partial<Record<string, Readonly<Record<string, number>>>>>;
}

/** Standard deviation of e4m3 codes whose scale is that of an amax of 3.5 deviations. */
export const codeDeviation = 128;

/** Rows of a result that are checked. */
export const checkedRows = 12;
/** Cells of each. */
export const checkedCells = 128;

/** Throws unless the sizes hold. */
export function requireSizes(holds: boolean, sizes: Sizes, rule: string): void {
  if (holds) return;
  const told = Object.entries(sizes).map(([name, value]) => `${name}=${value}`).join(" ");
  throw new RangeError(`${told}: ${rule}`);
}
