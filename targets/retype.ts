/**
 * i32 and u32 hold the same bits, and sums, products and bit operations give the same bits in either. The IR follows JavaScript
 * (`k ^ p` of two u32 is an i32), which would print as a cast around each operand; here a tree is moved to the type that needs fewest.
 */
import type { BinaryOp, Expr, ScalarType } from "../compiler/ir/expr.ts";

export type IntegerType = "i32" | "u32";
export const isInteger = (type: ScalarType): type is IntegerType => type === "i32" || type === "u32";

const sameBits = new Set<BinaryOp>(["+", "-", "*", "&", "|", "^"]);

/** The expression computed in another integer type, if that is no more than a change of types inside it. */
function move(e: Expr, type: IntegerType): Expr | undefined {
  const operand = (x: Expr): Expr => (x.type === type ? x : (move(x, type) ?? { kind: "Convert", type, a: x }));
  switch (e.kind) {
    case "Const":
      return { ...e, type, value: type === "u32" ? e.value >>> 0 : e.value | 0 };
    case "Convert":
      return isInteger(e.a.type) ? operand(e.a) : undefined;
    case "Unary":
      return e.op === "~" ? { ...e, type, a: operand(e.a) } : undefined;
    case "Binary":
      if (sameBits.has(e.op)) return { ...e, type, a: operand(e.a), b: operand(e.b) };
      if (e.op === "<<") return { ...e, type, a: operand(e.a) };
      return e.op === ">>>" ? { ...e, type } : undefined;
    case "Select":
      return { ...e, type, then: operand(e.then), otherwise: operand(e.otherwise) };
    default:
      return undefined;
  }
}

/** Conversions between integer types that the text of `e` needs if it is wanted as `type`. */
function casts(e: Expr, type: IntegerType): number {
  if (e.type !== type) {
    const moved = move(e, type);
    return Math.min(moved ? casts(moved, type) : Infinity, 1 + (isInteger(e.type) ? casts(e, e.type) : 0));
  }
  switch (e.kind) {
    case "Convert":
      return isInteger(e.a.type) ? casts(e.a, type) : 0;
    case "Unary":
      return casts(e.a, type);
    case "Binary":
      if (sameBits.has(e.op)) return casts(e.a, type) + casts(e.b, type);
      if (e.op === ">>>") return casts(e.a, "u32") + (type === "u32" ? 0 : 1);
      return e.op === "<<" ? casts(e.a, type) : 0;
    case "Select":
      return casts(e.then, type) + casts(e.otherwise, type);
    default:
      return 0;
  }
}

/** `e` computed in `type`, where that needs fewer casts than converting its value. */
export function retype(e: Expr, type: IntegerType): Expr | undefined {
  if (!isInteger(e.type)) return undefined;
  const moved = move(e, type);
  return moved && casts(moved, type) < 1 + casts(e, e.type) ? moved : undefined;
}

/** The type in which two integers compare as equal with fewest casts. */
export function typeForEquality(a: Expr, b: Expr): IntegerType {
  return casts(a, "u32") + casts(b, "u32") < casts(a, "i32") + casts(b, "i32") ? "u32" : "i32";
}
