/**
 * Scalar expressions as JavaScript text, with the meaning of the eager language: f32 computes in f64 and is rounded where a tile is
 * made, integers wrap at 32 bits, truth values are 0 and 1.
 */
import { scalarFunctions } from "../../dsl/math.ts";
import { round } from "../../dsl/dtype.ts";
import type { Expr } from "../ir/expr.ts";
import { sharedNodes } from "../ir/shared_nodes.ts";

/** What the text calls: pass `library.values` under `library.names` to `new Function`. */
export const library = {
  names: ["roundTo", ...scalarFunctions.map((f) => `fn_${f.name}`)],
  values: [round, ...scalarFunctions.map((f) => f.run)],
};

/** `const` lines for subexpressions that occur more than once, and the text of the expression itself. */
export interface ExprText {
  readonly lines: readonly string[];
  readonly value: string;
}

/** `variable` gives the text of a variable. */
export function exprText(root: Expr, variable: (name: string) => string): ExprText {
  const named = new Map<Expr, string>();
  const text = (e: Expr): string => named.get(e) ?? node(e);
  const node = (e: Expr): string => {
    switch (e.kind) {
      case "Const":
        return Object.is(e.value, -0) ? "(-0)" : e.value < 0 ? `(${e.value})` : String(e.value);
      case "Var":
        return variable(e.name);
      case "Unary":
        return e.op === "!" ? `(1 - ${text(e.a)})` : e.op === "~" ? wrap(e, `~${text(e.a)}`) : wrap(e, `-${text(e.a)}`);
      case "Binary":
        return binaryText(e, text(e.a), text(e.b));
      case "Select":
        return `(${text(e.cond)} ? ${text(e.then)} : ${text(e.otherwise)})`;
      case "Call":
        return `fn_${e.fn}(${e.args.map(text).join(", ")})`;
      case "Convert":
        return e.type === "bool" ? `(${text(e.a)} !== 0 ? 1 : 0)` : wrap(e, text(e.a));
      case "Round":
        return `roundTo("${e.dtype}", ${text(e.a)})`;
      default:
        throw new TypeError(`${e.kind} does not occur in Tile IR`);
    }
  };
  const lines: string[] = [];
  for (const e of sharedNodes(root)) {
    const name = `shared${named.size}`;
    lines.push(`const ${name} = ${node(e)};`);
    named.set(e, name);
  }
  return { lines, value: text(root) };
}

/** A result of integer type, wrapped to 32 bits. */
const wrap = (e: Expr, text: string): string => (e.type === "i32" ? `(${text} | 0)` : e.type === "u32" ? `(${text} >>> 0)` : `(${text})`);

function binaryText(e: Extract<Expr, { kind: "Binary" }>, a: string, b: string): string {
  switch (e.op) {
    case "<":
    case "<=":
    case ">":
    case ">=":
      return `(${a} ${e.op} ${b} ? 1 : 0)`;
    case "==":
    case "!=":
      return `(${a} ${e.op}= ${b} ? 1 : 0)`;
    case "&&":
    case "||":
      return `(${a} ${e.op} ${b})`;
    case "*":
      return e.type === "f32" ? `(${a} * ${b})` : wrap(e, `Math.imul(${a}, ${b})`);
    default:
      return wrap(e, `${a} ${e.op} ${b}`); // `| 0` and `>>> 0` truncate quotients
  }
}
