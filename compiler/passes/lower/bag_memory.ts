/** Where a bag lies: in shared memory, the words of each field side by side, so that threads in turn read other banks; and a counter. */
import { add, convert, int, type Expr } from "../../ir/expr.ts";
import type { BagField } from "../../ir/tile.ts";

export interface BagMemory {
  readonly capacity: number;
  readonly fields: readonly BagField[];
  readonly buffer: string;
  readonly counter: string;
}

export const countOf = (bag: BagMemory): Expr => convert("i32", { kind: "Shared", type: "u32", buffer: bag.counter, index: int(0) });

export const wordIndex = (bag: BagMemory, field: number, at: Expr): Expr => add(at, int(field * bag.capacity));

/** A field of the item at a position. */
export function itemField(bag: BagMemory, field: number, at: Expr): Expr {
  const word: Expr = { kind: "Shared", type: "u32", buffer: bag.buffer, index: wordIndex(bag, field, at) };
  const { dtype } = bag.fields[field]!;
  return dtype === "f32" ? { kind: "Call", type: "f32", fn: "floatOf", args: [word] } : convert(dtype, word);
}

export const asWord = (value: Expr): Expr => (value.type === "f32" ? { kind: "Call", type: "u32", fn: "bitsOf", args: [value] } : convert("u32", value));
