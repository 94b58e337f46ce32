/**
 * Kernels that run one after another on a part of one axis at a time, so that what one hands to the next never exists as a whole. A program is
 * data; `targets/program.ts` makes launches of it.
 */
export interface Program {
  readonly name: string;
  /** In order. Arguments of one name are one buffer, dims of one name one number. */
  readonly kernels: readonly string[];
  /** The axis that is cut into chunks: the outermost one of every argument that has it. */
  readonly axis: string;
  /** Arguments that hold one chunk: written by one kernel, read by a later one. */
  readonly scratch: readonly string[];
  /** The tune number that says how much of the axis a block takes: chunks are whole blocks. Absent where blocks take one each. */
  readonly tile?: string;
  /** By kernel, where the program has other words than the kernel itself. */
  readonly words?: Readonly<Partial<Record<string, Words>>>;
}

/** What a kernel's names are called in a program. Whatever is left out keeps its name. */
export interface Words {
  /** The program's names of arguments, by the kernel's. */
  readonly args?: Readonly<Record<string, string>>;
  /** Likewise of dims. */
  readonly dims?: Readonly<Record<string, string>>;
  /** An outermost axis of the kernel that is two axes of the program, one inside the other. */
  readonly flat?: Flat;
}

export interface Flat {
  /** The kernel's axis and the dim that counts it. */
  readonly axis: string;
  readonly dim: string;
  /** The program's axes: the outer one with its dim, and the inner one with the field of the spec that says how many it has. */
  readonly outer: { readonly axis: string; readonly dim: string };
  readonly inner: { readonly axis: string; readonly field: string };
}
