/** Instruction records of WGSL: none yet. Kernels for every adapter need no more than the statements of the Loop IR. */
import type { Instruction } from "../../compiler/ir/instruction.ts";

export const wgslInstructions: readonly Instruction[] = [];
