/** A kernel: arguments, a grid of independent blocks, and the body that each block runs. It runs eagerly as it stands. */
import type { Args, GlobalsOf } from "./args.ts";
import { bind, type DimValues } from "./binding.ts";
import { didYouMean, quoteAll } from "./names.ts";
import type { Range } from "./types.ts";

/** One iterable for each dimension of the grid, outermost first. */
export type Grid = Readonly<Record<string, Iterable<number | Range>>>;
/** A block's place in the grid. */
export type At<G extends Grid> = { readonly [K in keyof G]: G[K] extends Iterable<infer P> ? P : never };
/** Sizes that change speed but not results. */
export type Tune = Readonly<Record<string, number>>;

export interface Kernel<P extends Args = Args, T extends Tune = Tune> {
  readonly name: string;
  readonly args: P;
  readonly tune: T;
  /**
   * Runs all blocks of the grid, one after another.
   * `buffers` hold little-endian bytes exactly as on the device; outputs are written in place, and what no block writes keeps its bytes.
   * `dims` may leave out what follows from byte lengths; pitches default to packed. Bad buffers and dims are a TypeError or RangeError.
   */
  run(buffers: { readonly [N in keyof P]: Uint8Array }, dims?: DimValues, tune?: Partial<T>): void;
}

/**
 * Declares a kernel. Its body must not depend on the order of blocks.
 * `grid` gives the places of the blocks, from `each` and `blocks`; `body` gets the arguments, the tune numbers and the block's place.
 */
export function kernel<P extends Args, T extends Tune, G extends Grid>(
  name: string,
  text: {
    readonly args: P;
    readonly tune: T;
    grid(a: GlobalsOf<P>, tune: T): G;
    body(a: GlobalsOf<P>, tune: T, at: At<G>): void;
  },
): Kernel<P, T> {
  return {
    name,
    args: text.args,
    tune: text.tune,
    run(buffers, dims = {}, changes = {}) {
      const tune = tuned(name, text.tune, changes);
      const a = bind(name, text.args, buffers, dims);
      for (const at of places(text.grid(a, tune))) text.body(a, tune, at);
    },
  };
}

/** 0, 1, …, count - 1. */
export const each = (count: number): Iterable<number> => Array.from({ length: count }, (_, i) => i);

/** Ranges of `step` positions that cover [lo, hi); the last one may reach past `hi`. */
export function blocks<N extends string>(axis: N, lo: number, hi: number, step: number): Iterable<Range<N>> {
  if (!(Number.isSafeInteger(step) && step > 0)) throw new RangeError(`blocks("${axis}"): step ${step} is not a positive integer.`);
  if (!(Number.isSafeInteger(lo) && Number.isSafeInteger(hi))) {
    throw new RangeError(`blocks("${axis}"): the bounds ${lo} and ${hi} must be integers.`);
  }
  return Array.from({ length: Math.max(0, Math.ceil((hi - lo) / step)) }, (_, i) => ({ axis, start: lo + i * step, size: step }));
}

function tuned<T extends Tune>(kernelName: string, tune: T, changes: Partial<T>): T {
  for (const [name, value] of Object.entries(changes)) {
    if (!Object.hasOwn(tune, name)) {
      const names = Object.keys(tune);
      throw new TypeError(`${kernelName}: no tune number is called "${name}".${didYouMean(name, names)} There are ${quoteAll(names)}.`);
    }
    if (!(Number.isSafeInteger(value) && value! > 0)) {
      throw new RangeError(`${kernelName}: tune number "${name}" is ${value}. It must be a positive integer.`);
    }
  }
  return { ...tune, ...changes };
}

/** All combinations of the grid's places; the last dimension varies fastest. */
function places<G extends Grid>(grid: G): At<G>[] {
  let partial: Record<string, number | Range>[] = [{}];
  for (const [name, dimension] of Object.entries(grid)) {
    const steps = [...dimension];
    partial = partial.flatMap((at) => steps.map((step) => ({ ...at, [name]: step })));
  }
  return partial as At<G>[];
}
