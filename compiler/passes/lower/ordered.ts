/** Conditions on ordered keys as conditions on the numbers themselves, for machines whose floats are those of IEEE 754. */
import { binary, constant, mapExpr, select, type Expr } from "../../ir/expr.ts";

/** Keys of -inf and +inf; NaN has key 0. */
const LOWEST = 0x007fffff;
const HIGHEST = 0xff800000;

/** `orderedKey(x) > key` as `x >= y`, where y is the least number above the key: one comparison once y is known, which `once` sees to. */
export const compareNumbers = (root: Expr, once: (y: Expr) => Expr): Expr =>
  mapExpr(root, (e) => (e.kind === "Binary" && e.op === ">" && e.a.kind === "Call" && e.a.fn === "orderedKey" ? binary(">=", e.a.args[0]!, once(leastAbove(e.b))) : e));

/** NaN, which no number reaches, where nothing is above the key. */
function leastAbove(key: Expr): Expr {
  const next: Expr = { kind: "Call", type: "u32", fn: "max", args: [binary("+", key, constant("u32", 1)), constant("u32", LOWEST)] };
  return select(binary("<", key, constant("u32", HIGHEST)), { kind: "Call", type: "f32", fn: "orderedValue", args: [next] }, constant("f32", NaN));
}
