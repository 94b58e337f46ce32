/** Operands of instruction records: those of simulated lanes, and those printed into text. */
import type { LaneOperand, PrintedOperand } from "../../compiler/ir/instruction.ts";

export type Lanes = readonly (readonly LaneOperand[])[];

export const at = <T>(list: readonly T[], i: number): T => {
  const item = list[i];
  if (item === undefined) throw new RangeError(`no operand or lane ${i} of ${list.length}`);
  return item;
};
export const arg = (lanes: Lanes, lane: number, operand: number): LaneOperand => at(at(lanes, lane), operand);

/** Arguments of a helper function: registers one by one. */
export const texts = (operands: readonly PrintedOperand[]): string =>
  operands.flatMap((o) => (o.operand.kind === "Registers" ? o.registers : [o.text])).join(", ");

/** Arguments of a helper function that takes many registers: a pointer to the first, which vanishes when the call is inlined. */
export const pointers = (operands: readonly PrintedOperand[]): string => operands.map(pointer).join(", ");
const pointer = ({ operand, text }: PrintedOperand): string =>
  operand.kind !== "Registers" ? text : text.endsWith("[0]") ? text.slice(0, -3) : `&${text}`;
