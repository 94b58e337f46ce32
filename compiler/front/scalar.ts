/**
 * Typed scalar code: what JavaScript's operators on numbers become in f32, i32, u32 and bool.
 *
 * A literal takes the type of the other operand. `& | ^ ~ << >>` give i32 and `>>>` u32, as in JavaScript. An integer beside an f32
 * becomes f32; i32 beside u32 is refused. A bool counts as 0 or 1 in arithmetic, a number as `!== 0` in a condition.
 */
import { scalarFunctions, type ScalarFunction } from "../../dsl/math.ts";
import { diagnostic, type Span } from "../diagnostics.ts";
import { and, binary, constant, convert, type Expr, isConst, mul, type ScalarType, select, type BinaryOp } from "../ir/expr.ts";
import type { BinaryOperator } from "./syntax.ts";
import { describeValue, isScalar, type Value } from "./value.ts";

const fits = (type: ScalarType, value: number): boolean => {
  if (type === "f32") return true;
  return value === (type === "i32" ? value | 0 : value >>> 0);
};

/** The type of a literal that nothing else decides; integers have no -0. */
function literalType(value: number): ScalarType {
  if (Object.is(value, -0)) return "f32";
  return fits("i32", value) ? "i32" : fits("u32", value) ? "u32" : "f32";
}

/** A number or truth value known when compiling, or a run-time scalar, as an expression; other values are an error. */
export function toExpr(value: Value, span: Span): Expr {
  if (isScalar(value)) return value.expr;
  if (typeof value === "boolean") return constant("bool", Number(value));
  if (typeof value === "number") return constant(literalType(value), value);
  throw diagnostic("E-SUBSET-06", span, { what: describeValue(value) });
}

/** Of literals alone, so that it may still take another type. */
const isLiteral = (e: Expr): boolean =>
  (e.kind === "Const" && e.type !== "bool") || (e.kind === "Select" && isLiteral(e.then) && isLiteral(e.otherwise));

/** Of f32 because of a -0, which integers take for 0. */
const isWhole = (e: Expr): boolean => (e.kind === "Select" ? isWhole(e.then) && isWhole(e.otherwise) : e.kind === "Const" && e.type === "f32" && fits("i32", e.value));

/** A literal in another type. */
function retype(e: Expr, type: ScalarType, span: Span): Expr {
  if (e.kind === "Select") return select(e.cond, retype(e.then, type, span), retype(e.otherwise, type, span));
  if (!isConst(e)) return convert(type, e);
  if (!fits(type, e.value)) throw diagnostic("E-DTYPE-03", span, { value: e.value, type });
  return constant(type, type === "f32" ? e.value : e.value + 0); // -0 + 0 is 0
}

/** What an operation computes with when nothing beside the literal decides: an integer, if it is whole. */
const settle = (e: Expr, span: Span): Expr => (isWhole(e) ? retype(e, "i32", span) : e);

/** Conversion where the author asked for it, or where the meaning leaves no choice. */
export function convertTo(type: ScalarType, e: Expr): Expr {
  if (type === "bool") return truthy(e);
  if (e.type === "bool" && isConst(e)) return constant(type, e.value);
  return e.kind === "Select" && isLiteral(e) ? select(e.cond, convertTo(type, e.then), convertTo(type, e.otherwise)) : convert(type, e);
}

/** As `convertTo`, but a literal that the type cannot hold is an error. */
export const literalTo = (type: ScalarType, e: Expr, span: Span): Expr =>
  isLiteral(e) && type !== "bool" ? retype(e, type, span) : convertTo(type, e);

/** What a condition makes of a number. */
export function truthy(e: Expr): Expr {
  if (e.type === "bool") return e;
  return isConst(e) ? constant("bool", Number(e.value !== 0 && !Number.isNaN(e.value))) : binary("!=", e, constant(e.type, 0));
}

const asNumber = (e: Expr): Expr => (e.type === "bool" ? convertTo("i32", e) : e);

/** Both operands in the one type that they are computed in. */
export function unify(op: string, a: Expr, b: Expr, span: Span): readonly [Expr, Expr] {
  if (a.type === b.type) return isWhole(a) && isWhole(b) ? [settle(a, span), settle(b, span)] : [a, b];
  if (a.type === "bool" || b.type === "bool") return unify(op, asNumber(a), asNumber(b), span);
  if (isWhole(a)) return [retype(a, b.type, span), b];
  if (isWhole(b)) return [a, retype(b, a.type, span)];
  if (a.type !== "f32" && isLiteral(a)) return [retype(a, b.type, span), b];
  if (b.type !== "f32" && isLiteral(b)) return [a, retype(b, a.type, span)];
  if (a.type === "f32" || b.type === "f32") return [convertTo("f32", a), convertTo("f32", b)];
  throw diagnostic("E-DTYPE-01", span, { op });
}

/** The operand of a bit operator, as i32. */
const bits = (e: Expr): Expr => (isConst(e) ? constant("i32", e.value | 0) : convertTo("i32", e));

const comparisons = {
  "<": "<", "<=": "<=", ">": ">", ">=": ">=", "===": "==", "!==": "!=",
} as const satisfies Partial<Record<BinaryOperator, BinaryOp>>;

/** `a op b`, at least one of them known at run time only. */
export function binaryExpr(op: BinaryOperator, a: Expr, b: Expr, span: Span): Expr {
  switch (op) {
    case "&&":
      return and(truthy(a), truthy(b));
    case "||":
      return binary("||", truthy(a), truthy(b));
    case "&":
    case "|":
    case "^":
      return bitwise(op, bits(a), bits(b));
    case "<<":
    case ">>":
      return isConst(b, 0) ? bits(a) : binary(op, bits(a), shiftCount(b));
    case ">>>": {
      const word = a.type === "u32" ? a : convertTo("u32", bits(a));
      return isConst(b, 0) ? word : binary(op, word, shiftCount(b));
    }
    case "<":
    case "<=":
    case ">":
    case ">=":
      return compare(op, a, b, span);
    case "===":
    case "!==":
      return equality(op, a, b, span);
    case "/": {
      if (isLiteral(a) && isLiteral(b)) return binary(op, retype(a, "f32", span), retype(b, "f32", span));
      const [x, y] = unify(op, asNumber(a), asNumber(b), span);
      if (x.type !== "f32") throw diagnostic("E-DTYPE-02", span, { type: x.type });
      return binary(op, x, y);
    }
    case "%": {
      const [x, y] = unify(op, asNumber(a), asNumber(b), span);
      if (x.type === "f32") throw diagnostic("E-DTYPE-06", span, { op: "%", type: "f32", instead: "x - y * floor(x / y), or mod(a, b) on integers" });
      return binary(op, x, y);
    }
    case "**":
      if (isConst(a, 2)) return { kind: "Call", type: "f32", fn: "exp2", args: [convertTo("f32", b)] };
      if (isConst(b, 2)) return mul(asNumber(a), asNumber(a));
      throw diagnostic("E-SUBSET-01", span, { what: "this power", instead: "2 ** x, exp2(x) or x ** 2" });
    case "??":
      return a;
    default:
      return binary(op, ...unify(op, asNumber(a), asNumber(b), span));
  }
}

function bitwise(op: "&" | "|" | "^", a: Expr, b: Expr): Expr {
  if (isConst(a) && isConst(b)) return constant("i32", op === "&" ? a.value & b.value : op === "|" ? a.value | b.value : a.value ^ b.value);
  const [zero, other] = isConst(a, 0) ? [a, b] : [b, a];
  if (isConst(zero, 0)) return op === "&" ? zero : other;
  return binary(op, a, b);
}

const shiftCount = (e: Expr): Expr => (isConst(e) ? constant("u32", e.value & 31) : e.type === "u32" ? e : bits(e));

const compare = (op: keyof typeof comparisons, a: Expr, b: Expr, span: Span): Expr =>
  binary(comparisons[op], ...unify(op, asNumber(a), asNumber(b), span));

/** A truth value compared with 0 or 1 is itself or its opposite. */
function equality(op: "===" | "!==", a: Expr, b: Expr, span: Span): Expr {
  if (isConst(a) && !isConst(b)) return equality(op, b, a, span);
  if (a.type === "bool" && isConst(b) && (b.value === 0 || b.value === 1)) return (op === "===") === (b.value === 1) ? a : not(a);
  return binary(comparisons[op], ...unify(op, a, b, span));
}

export const not = (e: Expr): Expr => {
  const x = truthy(e);
  return isConst(x) ? constant("bool", 1 - x.value) : { kind: "Unary", type: "bool", op: "!", a: x };
};

export function unaryExpr(op: "-" | "+" | "!" | "~", a: Expr, span: Span): Expr {
  switch (op) {
    case "!":
      return not(a);
    case "+":
      return asNumber(a);
    case "~":
      return { kind: "Unary", type: "i32", op, a: bits(a) };
    case "-": {
      const x = settle(asNumber(a), span);
      if (x.type === "u32") throw diagnostic("E-DTYPE-06", span, { op: "minus", type: "u32", instead: "make it an i32 first: -(x | 0)" });
      return { kind: "Unary", type: x.type, op, a: x };
    }
  }
}

export function conditional(cond: Expr, then: Expr, otherwise: Expr, span: Span): Expr {
  // literals still, and what reads them decides
  if (isWhole(then) && isLiteral(otherwise)) return select(truthy(cond), then, retype(otherwise, "f32", span));
  if (isLiteral(then) && isWhole(otherwise)) return select(truthy(cond), retype(then, "f32", span), otherwise);
  return select(truthy(cond), ...unify("?:", then, otherwise, span));
}

const table = new Map<string, ScalarFunction>(scalarFunctions.map((f) => [f.name, f]));
export const isScalarFunction = (name: string): boolean => table.has(name);
/** Calls a scalar function now. */
export const callPlain = (name: string, operands: readonly Value[]): Value => table.get(name)!.run(...(operands as number[]));

/** A call of a function of the scalar table; max and min take any number of operands. */
export function callExpr(name: string, operands: readonly Expr[], span: Span): Expr {
  const fn = table.get(name);
  if (!fn) throw diagnostic("E-SUBSET-01", span, { what: `Math.${name} of a run-time number`, instead: `one of ${[...table.keys()].join(", ")}` });
  const [first, second, ...rest] = operands.map(asNumber);
  if (!first || (fn.operands.length === 2 && !second && name !== "max" && name !== "min")) {
    throw diagnostic("E-FRONT-13", span, { callee: name, what: `${operands.length} operands`, form: `give it ${fn.operands.length}` });
  }
  if (!second) return fn.operands.length === 2 ? first : unaryCall(fn, first, span);
  const [a, b] = unify(name, first, second, span);
  if (fn.operands[0] === "integer" && a.type === "f32") {
    throw diagnostic("E-DTYPE-06", span, { op: name, type: "f32", instead: "it takes integers: convert with `x | 0`" });
  }
  const call: Expr = name === "div" ? binary("/", a, b) : name === "mod" ? binary("%", a, b) : { kind: "Call", type: a.type, fn: name, args: [a, b] };
  return rest[0] ? callExpr(name, [call, ...rest], span) : call;
}

function unaryCall(fn: ScalarFunction, operand: Expr, span: Span): Expr {
  const [wanted] = fn.operands;
  if (isWhole(operand) && wanted !== "f32") return unaryCall(fn, settle(operand, span), span);
  if (wanted === "integer" && operand.type === "f32") {
    throw diagnostic("E-DTYPE-06", span, { op: fn.name, type: "f32", instead: "it takes integers: convert with `x | 0`" });
  }
  const a = wanted === "f32" ? literalTo("f32", operand, span) : wanted === "u32" ? literalTo("u32", operand, span) : operand;
  return { kind: "Call", type: fn.result === "f32" || fn.result === "u32" ? fn.result : a.type, fn: fn.name, args: [a] };
}
