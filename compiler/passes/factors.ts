/**
 * f32 expressions as products. A function that scales with its argument hands factors on: max(c * x, 0) is c * max(x, 0) for every c >= 0, so c
 * is a factor of it, which the expression itself proves; of ln(1 + e^(c * x)) it is not. Equal as real numbers: roundings fall elsewhere.
 */
import { binary, childrenOf, constant, isConst, select, variable, withChildren, type Expr } from "../ir/expr.ts";

export interface Factors {
  /** Expressions whose product is `e`, in its order; `e` alone where it is no product. */
  of(e: Expr): readonly Expr[];
  /** Known not to be below 0; it may be NaN. */
  isNonNegative(e: Expr): boolean;
}

const minusOne = constant("f32", -1);
const isZero = (e: Expr): boolean => isConst(e, 0); // and -0

/** `isVariableNonNegative` answers for the free variables. Each node is looked at once, however often it occurs. */
export function factorsWhere(isVariableNonNegative: (name: string) => boolean): Factors {
  const known = new Map<Expr, readonly Expr[]>();
  const key = numbering();

  function of(e: Expr): readonly Expr[] {
    let factors = known.get(e);
    if (!factors) known.set(e, (factors = e.type === "f32" ? split(e) : [e]));
    return factors;
  }

  function split(e: Expr): readonly Expr[] {
    switch (e.kind) {
      case "Unary":
        return [minusOne, ...of(e.a)];
      case "Binary":
        if (e.op === "*") return [...of(e.a), ...of(e.b)];
        if (e.op === "+" || e.op === "-") return shared(e, [e.a, e.b], () => true, ([a, b]) => binary(e.op, a!, b!));
        return [e];
      case "Select":
        return shared(e, [e.then, e.otherwise], () => true, ([a, b], common) => select(unscaled(e.cond, common.filter(isNonNegative)), a!, b!));
      case "Call":
        if (e.fn === "max" || e.fn === "min") return shared(e, e.args, isNonNegative, (args) => ({ ...e, args }));
        if (e.fn === "abs") return of(e.args[0]!).map((f) => (isNonNegative(f) ? f : { ...e, args: [f] }));
        return [e];
      default:
        return [e];
    }
  }

  /** The movable factors that all parts have, then the whole without them; 0 has every factor. */
  function shared(
    whole: Expr, parts: readonly Expr[], isMovable: (f: Expr) => boolean, rebuild: (parts: readonly Expr[], common: readonly Expr[]) => Expr,
  ): readonly Expr[] {
    const products = parts.map((p) => (isZero(p) ? undefined : of(p)));
    const [first, ...rest] = products.filter((p) => p !== undefined);
    const common = rest.reduce((all, p) => inBoth(all, p), first ?? []).filter(isMovable);
    if (common.length === 0) return [whole];
    const remainder = folded(rebuild(products.map((p, i) => (p ? product(without(p, common)) : parts[i]!)), common));
    return isConst(remainder, 1) ? common : [...common, remainder];
  }

  /** A condition without the factors c > 0 that both sides of its comparisons have. (Where c is 0 it may turn, but what it chooses is then times 0.) */
  function unscaled(cond: Expr, factors: readonly Expr[]): Expr {
    if (cond.kind === "Unary") return { ...cond, a: unscaled(cond.a, factors) };
    if (cond.kind !== "Binary") return cond;
    if (cond.op === "&&" || cond.op === "||") return { ...cond, a: unscaled(cond.a, factors), b: unscaled(cond.b, factors) };
    if (cond.a.type !== "f32") return cond;
    const sides = [cond.a, cond.b].map((side) => (isZero(side) ? undefined : of(side)));
    const common = sides.reduce<readonly Expr[]>((all, side) => (side ? inBoth(all, side) : all), factors);
    if (common.length === 0) return cond;
    const [a, b] = sides.map((side, i) => (side ? product(without(side, common)) : [cond.a, cond.b][i]));
    return { ...cond, a: a!, b: b! };
  }

  const inBoth = (a: readonly Expr[], b: readonly Expr[]): readonly Expr[] => {
    const left = b.map(key);
    return a.filter((f) => remove(left, key(f)));
  };
  const without = (all: readonly Expr[], gone: readonly Expr[]): readonly Expr[] => {
    const left = gone.map(key);
    return all.filter((f) => !remove(left, key(f)));
  };

  function isNonNegative(e: Expr): boolean {
    switch (e.kind) {
      case "Const":
        return e.value >= 0;
      case "Var":
        return isVariableNonNegative(e.name);
      case "Binary":
        return e.type === "f32" && (e.op === "*" || e.op === "+" || e.op === "/") && isNonNegative(e.a) && isNonNegative(e.b);
      case "Select":
        return isNonNegative(e.then) && isNonNegative(e.otherwise);
      case "Call":
        if (e.fn === "max") return e.args.some(isNonNegative);
        if (e.fn === "min") return e.args.every(isNonNegative);
        return ["abs", "exp", "exp2", "sqrt"].includes(e.fn);
      case "Convert":
        return e.a.type === "u32" || e.a.type === "bool" || isNonNegative(e.a);
      default:
        return false;
    }
  }

  return { of, isNonNegative };
}

/** The product of factors, from left to right; -1 becomes a sign. */
export function product(factors: readonly Expr[]): Expr {
  const signs = factors.filter((f) => f.kind === "Const" && f.value === -1);
  const [first = constant("f32", 1), ...rest] = factors.filter((f) => !signs.includes(f));
  const positive = rest.reduce((a, b) => binary("*", a, b), first);
  return signs.length % 2 === 0 ? positive : { kind: "Unary", type: "f32", op: "-", a: positive };
}

/** Sums and extremes of constants, which are left where all factors moved. */
function folded(e: Expr): Expr {
  const [a, b, ...more] = childrenOf(e);
  if (!a || !b || more.length > 0 || !isConst(a) || !isConst(b)) return e;
  if (e.kind === "Call") return constant("f32", e.fn === "max" ? Math.max(a.value, b.value) : Math.min(a.value, b.value));
  return e.kind === "Binary" ? constant("f32", Math.fround(e.op === "+" ? a.value + b.value : a.value - b.value)) : e;
}

/** Takes one occurrence out of the list; false if there is none. */
function remove(list: number[], x: number): boolean {
  const at = list.indexOf(x);
  if (at >= 0) list.splice(at, 1);
  return at >= 0;
}

/** A function that gives expressions of one structure one number. */
function numbering(): (e: Expr) => number {
  const numbers = new Map<string, number>();
  const known = new Map<Expr, number>();
  const exact = (_: string, x: unknown): unknown => (typeof x === "number" ? (Object.is(x, -0) ? "-0" : String(x)) : x);
  const number = (e: Expr): number => {
    let n = known.get(e);
    if (n === undefined) {
      const text = JSON.stringify(withChildren(e, (child) => variable(child.type, `#${number(child)}`)), exact);
      n = numbers.get(text) ?? numbers.size;
      numbers.set(text, n);
      known.set(e, n);
    }
    return n;
  };
  return number;
}
