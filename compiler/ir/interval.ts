/** Bounds of integer expressions, both inclusive. */
import type { BinaryOp, Expr } from "./expr.ts";

export interface Interval {
  readonly lo: number;
  readonly hi: number;
}

export const anything: Interval = { lo: -Infinity, hi: Infinity };
export const isBounded = (x: Interval): boolean => Number.isFinite(x.lo) && Number.isFinite(x.hi);
export const isEmpty = (x: Interval): boolean => x.lo > x.hi;
export const meet = (a: Interval, b: Interval): Interval => ({ lo: Math.max(a.lo, b.lo), hi: Math.min(a.hi, b.hi) });
const hull = (...xs: readonly number[]): Interval => ({ lo: Math.min(...xs), hi: Math.max(...xs) });

/** Bounds of `e`, given those of its leaves: variables, indices of block and thread, and what memory holds. */
export function intervalOf(e: Expr, leaf: (e: Expr) => Interval): Interval {
  const go = (x: Expr): Interval => intervalOf(x, leaf);
  const exact = ((): Interval => {
    switch (e.kind) {
      case "Const":
        return { lo: e.value, hi: e.value };
      case "Binary":
        return e.type === "bool" ? truth(e.op, go(e.a), go(e.b)) : arithmetic(e.op, go(e.a), go(e.b));
      case "Select": {
        const [cond, then, otherwise] = [go(e.cond), go(e.then), go(e.otherwise)];
        return cond.lo === 1 ? then : cond.hi === 0 ? otherwise : hull(then.lo, then.hi, otherwise.lo, otherwise.hi);
      }
      case "Call": {
        const [a, b] = [e.args[0] ? go(e.args[0]) : anything, e.args[1] ? go(e.args[1]) : anything];
        if (e.fn === "min") return { lo: Math.min(a.lo, b.lo), hi: Math.min(a.hi, b.hi) };
        return e.fn === "max" ? { lo: Math.max(a.lo, b.lo), hi: Math.max(a.hi, b.hi) } : anything;
      }
      case "Convert":
        return e.a.type === "f32" || e.type === "bool" ? anything : go(e.a);
      case "Unary":
        return e.op === "-" ? { lo: -go(e.a).hi, hi: -go(e.a).lo } : anything;
      default:
        return leaf(e);
    }
  })();
  return wrapped(e, exact);
}

/** A result past 32 bits wraps around and can be anything. Where no bound is known none is passed: indices and sizes are below 2^31. */
function wrapped({ type }: Expr, x: Interval): Interval {
  if (type === "f32") return anything;
  if (type === "bool") return meet(x, { lo: 0, hi: 1 });
  const [lo, hi] = type === "i32" ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1];
  const passes = (Number.isFinite(x.lo) && x.lo < lo) || (Number.isFinite(x.hi) && x.hi > hi);
  if (passes) return type === "u32" ? { lo, hi } : anything;
  return type === "u32" ? { lo: Math.max(0, x.lo), hi: x.hi } : x;
}

function truth(op: BinaryOp, a: Interval, b: Interval): Interval {
  const known = (yes: boolean, no: boolean): Interval => (yes ? { lo: 1, hi: 1 } : no ? { lo: 0, hi: 0 } : { lo: 0, hi: 1 });
  switch (op) {
    case "<":
      return known(a.hi < b.lo, a.lo >= b.hi);
    case "<=":
      return known(a.hi <= b.lo, a.lo > b.hi);
    case ">":
      return known(a.lo > b.hi, a.hi <= b.lo);
    case ">=":
      return known(a.lo >= b.hi, a.hi < b.lo);
    case "==":
      return known(a.lo === b.hi && a.hi === b.lo, a.hi < b.lo || b.hi < a.lo);
    case "!=":
      return known(a.hi < b.lo || b.hi < a.lo, a.lo === b.hi && a.hi === b.lo);
    case "&&":
      return { lo: Math.min(a.lo, b.lo), hi: Math.min(a.hi, b.hi) };
    case "||":
      return { lo: Math.max(a.lo, b.lo), hi: Math.max(a.hi, b.hi) };
    default:
      return { lo: 0, hi: 1 };
  }
}

function arithmetic(op: BinaryOp, a: Interval, b: Interval): Interval {
  switch (op) {
    case "+":
      return { lo: a.lo + b.lo, hi: a.hi + b.hi };
    case "-":
      return { lo: a.lo - b.hi, hi: a.hi - b.lo };
    case "*":
      return hull(...[a.lo, a.hi].flatMap((x) => [b.lo, b.hi].map((y) => (x === 0 || y === 0 ? 0 : x * y))));
    case "/":
      return b.lo > 0 ? hull(...[a.lo, a.hi].flatMap((x) => [b.lo, b.hi].map((y) => quotient(x, y)))) : anything;
    case "%":
      if (b.lo <= 0) return anything;
      if (a.lo >= 0 && b.lo === b.hi && Math.floor(a.lo / b.lo) === Math.floor(a.hi / b.lo)) return { lo: a.lo % b.lo, hi: a.hi % b.lo };
      if (a.lo >= 0 && a.hi < b.lo) return a;
      return { lo: a.lo >= 0 ? 0 : Math.max(a.lo, 1 - b.hi), hi: a.hi < 0 ? 0 : Math.min(a.hi, b.hi - 1) };
    case "&":
      return b.lo >= 0 ? { lo: 0, hi: b.hi } : a.lo >= 0 ? { lo: 0, hi: a.hi } : anything;
    case "<<":
      return a.lo >= 0 && b.lo >= 0 ? { lo: a.lo * 2 ** b.lo, hi: a.hi === 0 ? 0 : a.hi * 2 ** b.hi } : anything;
    case ">>":
    case ">>>":
      return a.lo >= 0 && b.lo >= 0 ? { lo: quotient(a.lo, 2 ** b.hi), hi: quotient(a.hi, 2 ** b.lo) } : anything;
    default:
      return anything;
  }
}

/** Towards zero; an unbounded divisor can give 0. */
const quotient = (x: number, y: number): number => (y === Infinity ? 0 : Math.trunc(x / y));
