import type { Instruction } from "../../compiler/ir/instruction.ts";
export const hopperInstructions: readonly Instruction[] = [];
