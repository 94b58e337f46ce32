/**
 * Kernels that run one after another on a part of one axis at a time, so that what one hands to the next never exists as a whole. A program is
 * data; `targets/program.ts` makes launches of it.
 */
export interface Program {
  readonly name: string;
  /** In order. Arguments of one name are one buffer. */
  readonly kernels: readonly string[];
  /** The axis that is cut into chunks: the outermost one of every argument that has it. */
  readonly axis: string;
  /** Arguments that hold one chunk: written by one kernel, read by a later one. */
  readonly scratch: readonly string[];
  /** The tune number that says how much of the axis a block takes: chunks are whole blocks. */
  readonly tile: string;
}
