/**
 * Scalar expressions, shared by all three IRs. They compute in f32, i32, u32 or bool; narrow dtypes exist only in memory.
 * Integer semantics are JavaScript's where no overflow occurs: `& | ^ ~ << >>` give i32, `>>>` gives u32.
 */
export type ScalarType = "f32" | "i32" | "u32" | "bool";

export type BinaryOp = "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>" | ">>>" | "<" | "<=" | ">" | ">=" | "==" | "!=" | "&&" | "||";
export type UnaryOp = "-" | "!" | "~";

export type Expr =
  | { readonly kind: "Const"; readonly type: ScalarType; readonly value: number } // bool: 0 or 1; f32 may be ±Infinity or NaN
  | { readonly kind: "Var"; readonly type: ScalarType; readonly name: string }
  | { readonly kind: "Unary"; readonly type: ScalarType; readonly op: UnaryOp; readonly a: Expr }
  /** Operands have one type; shifts take a u32 or i32 count. `/` and `%` on integers truncate. */
  | { readonly kind: "Binary"; readonly type: ScalarType; readonly op: BinaryOp; readonly a: Expr; readonly b: Expr }
  /** Only the chosen side has to be defined. */
  | { readonly kind: "Select"; readonly type: ScalarType; readonly cond: Expr; readonly then: Expr; readonly otherwise: Expr }
  /** A function of the scalar table (dsl/math.ts), by name. */
  | { readonly kind: "Call"; readonly type: ScalarType; readonly fn: string; readonly args: readonly Expr[] }
  /** Numeric conversion; float to int truncates, bool becomes 0 or 1, number to bool tests != 0. */
  | { readonly kind: "Convert"; readonly type: ScalarType; readonly a: Expr }
  /** Rounds an f32 to a narrow dtype and back. */
  | { readonly kind: "Round"; readonly type: "f32"; readonly dtype: "e4m3" | "e5m2" | "ue8m0" | "f16" | "bf16"; readonly a: Expr }
  /** Loop IR only: element `index` of a register array. */
  | { readonly kind: "Reg"; readonly type: ScalarType; readonly array: string; readonly index: Expr }
  /** Loop IR only: element `index` of a shared buffer, decoded to the compute type. */
  | { readonly kind: "Shared"; readonly type: ScalarType; readonly buffer: string; readonly index: Expr }
  /** Loop IR only: one element of a param's field, decoded; `fill` where `guard` is false (the access then does not happen). */
  | {
      readonly kind: "GlobalElement";
      readonly type: ScalarType;
      readonly param: string;
      readonly field: string;
      /** One per axis of the param, then one per axis of the field; within bounds wherever `guard` holds. */
      readonly coords: readonly Expr[];
      readonly guard?: Expr;
      readonly fill?: Expr;
    }
  /** Loop IR only: the block's linear index, the number of blocks, the thread's index in the block. */
  | { readonly kind: "BlockIndex"; readonly type: "i32" }
  | { readonly kind: "BlockCount"; readonly type: "i32" }
  /** The thread's warp in the block; a target that needs it keeps the value where it is seen to be one for a warp. */
  | { readonly kind: "WarpIndex"; readonly type: "i32" }
  | { readonly kind: "ThreadIndex"; readonly type: "i32" };

const compare = new Set<BinaryOp>(["<", "<=", ">", ">=", "==", "!=", "&&", "||"]);

export const constant = (type: ScalarType, value: number): Expr => ({ kind: "Const", type, value });
export const int = (value: number): Expr => constant("i32", value);
export const variable = (type: ScalarType, name: string): Expr => ({ kind: "Var", type, name });
export const isConst = (e: Expr, value?: number): e is Extract<Expr, { kind: "Const" }> =>
  e.kind === "Const" && (value === undefined || e.value === value);

/** Builds a binary node, folding integer constants and neutral elements so that index arithmetic stays readable. */
export function binary(op: BinaryOp, a: Expr, b: Expr): Expr {
  const type = compare.has(op) ? "bool" : a.type;
  if (a.type === "i32" && isConst(a) && isConst(b)) {
    const value = foldInt[op]?.(a.value, b.value);
    if (value !== undefined) return constant(type, value);
  }
  if (a.type === "i32" || a.type === "u32") {
    if (op === "+" && isConst(b, 0)) return a;
    // (x + c) ± d is x + (c ± d)
    if ((op === "+" || op === "-") && isConst(b) && a.kind === "Binary" && a.op === "+" && isConst(a.b))
      return binary("+", a.a, constant(a.type, op === "+" ? a.b.value + b.value : a.b.value - b.value));
    if (op === "+" && isConst(a, 0)) return b;
    if (op === "-" && isConst(b, 0)) return a;
    if (op === "*" && isConst(b, 1)) return a;
    if (op === "*" && isConst(a, 1)) return b;
    if (op === "*" && (isConst(a, 0) || isConst(b, 0))) return constant(a.type, 0);
    if (op === "/" && isConst(b, 1)) return a;
    if (op === "%" && isConst(b, 1)) return constant(a.type, 0);
  }
  if (op === "&&") {
    if (isConst(a)) return a.value ? b : a;
    if (isConst(b)) return b.value ? a : b;
  }
  if (op === "||") {
    if (isConst(a)) return a.value ? a : b;
    if (isConst(b)) return b.value ? b : a;
  }
  return { kind: "Binary", type, op, a, b };
}
const foldInt: Partial<Record<BinaryOp, (a: number, b: number) => number>> = {
  "+": (a, b) => (a + b) | 0,
  "-": (a, b) => (a - b) | 0,
  "*": (a, b) => Math.imul(a, b),
  "/": (a, b) => Math.trunc(a / b),
  "%": (a, b) => a % b,
  "<": (a, b) => Number(a < b),
  "<=": (a, b) => Number(a <= b),
  ">": (a, b) => Number(a > b),
  ">=": (a, b) => Number(a >= b),
  "==": (a, b) => Number(a === b),
  "!=": (a, b) => Number(a !== b),
};

export const add = (a: Expr, b: Expr): Expr => binary("+", a, b);
export const sub = (a: Expr, b: Expr): Expr => binary("-", a, b);
export const mul = (a: Expr, b: Expr): Expr => binary("*", a, b);
export const and = (a: Expr, b: Expr): Expr => binary("&&", a, b);
export const select = (cond: Expr, then: Expr, otherwise: Expr): Expr =>
  isConst(cond) ? (cond.value ? then : otherwise) : { kind: "Select", type: then.type, cond, then, otherwise };
export const convert = (type: ScalarType, a: Expr): Expr =>
  a.type === type ? a : isConst(a) && type !== "bool" ? constant(type, type === "f32" ? a.value : type === "u32" ? a.value >>> 0 : a.value | 0) : { kind: "Convert", type, a };

/** Rebuilds an expression with `f` applied to every node, children first. Nodes that occur twice stay one node. */
export function mapExpr(root: Expr, f: (e: Expr) => Expr): Expr {
  const done = new Map<Expr, Expr>();
  const go = (e: Expr): Expr => {
    const known = done.get(e);
    if (known) return known;
    const result = f(withChildren(e, go));
    done.set(e, result);
    return result;
  };
  return go(root);
}

/** The same node with every child replaced by `go(child)`. */
export function withChildren(e: Expr, go: (e: Expr) => Expr): Expr {
  switch (e.kind) {
    case "Const":
    case "Var":
    case "BlockIndex":
    case "BlockCount":
    case "WarpIndex":
    case "ThreadIndex":
      return e;
    case "Unary":
    case "Convert":
    case "Round":
      return { ...e, a: go(e.a) };
    case "Binary":
      return { ...e, a: go(e.a), b: go(e.b) };
    case "Select":
      return { ...e, cond: go(e.cond), then: go(e.then), otherwise: go(e.otherwise) };
    case "Call":
      return { ...e, args: e.args.map(go) };
    case "Reg":
    case "Shared":
      return { ...e, index: go(e.index) };
    case "GlobalElement":
      return { ...e, coords: e.coords.map(go), ...(e.guard && { guard: go(e.guard) }), ...(e.fill && { fill: go(e.fill) }) };
  }
}

/** Direct subexpressions. */
export function childrenOf(e: Expr): Expr[] {
  const children: Expr[] = [];
  withChildren(e, (child) => (children.push(child), child));
  return children;
}

/** Replaces variables by expressions. */
export const substitute = (e: Expr, by: ReadonlyMap<string, Expr>): Expr => mapExpr(e, (x) => (x.kind === "Var" ? (by.get(x.name) ?? x) : x));

/** Calls `f` on every node, parents first. */
export function visitExpr(e: Expr, f: (e: Expr) => void): void {
  mapExpr(e, (x) => (f(x), x));
}
