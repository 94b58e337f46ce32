/** What is known of integer expressions at compile time: bounds and power-of-two divisors. They remove guards and prove alignment. */
import type { Expr } from "../../ir/expr.ts";
import type { HostExpr } from "../../ir/manifest.ts";

export interface Fact {
  readonly min: number;
  /** Inclusive. */
  readonly max: number;
  /** A power of two that divides the value. */
  readonly multiple: number;
  /** Known to be less than this dim. */
  readonly below?: string;
}

export const unknown: Fact = { min: -Infinity, max: Infinity, multiple: 1 };
const MOST = 2 ** 20;

export class Facts {
  private readonly known = new Map<string, Fact>();
  private readonly threads: number;
  constructor(threads: number) {
    this.threads = threads;
  }
  learn(name: string, fact: Partial<Fact>): void {
    this.known.set(name, { ...unknown, ...fact });
  }
  of(e: Expr): Fact {
    switch (e.kind) {
      case "Const":
        return { min: e.value, max: e.value, multiple: e.value === 0 ? MOST : lowestBit(e.value) };
      case "Var":
        return this.known.get(e.name) ?? unknown;
      case "ThreadIndex":
        return { min: 0, max: this.threads - 1, multiple: 1 };
      case "WarpIndex":
        return { min: 0, max: Math.floor((this.threads - 1) / 32), multiple: 1 };
      case "BlockIndex":
        return { min: 0, max: Infinity, multiple: 1 };
      case "Binary":
        return this.binary(e.op, this.of(e.a), this.of(e.b));
      case "Select": {
        const [a, b] = [this.of(e.then), this.of(e.otherwise)];
        return { min: Math.min(a.min, b.min), max: Math.max(a.max, b.max), multiple: Math.min(a.multiple, b.multiple) };
      }
      case "Call":
        if (e.fn === "div") return this.binary("/", this.of(e.args[0]!), this.of(e.args[1]!));
        return this.call(e.fn, e.args.map((a) => this.of(a)));
      default:
        return unknown;
    }
  }
  private call(fn: string, [a, b]: readonly Fact[]): Fact {
    if (!a || !b || (fn !== "min" && fn !== "max")) return unknown;
    const pick = fn === "min" ? Math.min : Math.max;
    return { min: pick(a.min, b.min), max: pick(a.max, b.max), multiple: Math.min(a.multiple, b.multiple) };
  }
  private binary(op: string, a: Fact, b: Fact): Fact {
    const multiple = Math.min(a.multiple, b.multiple);
    switch (op) {
      case "+":
        return { min: a.min + b.min, max: a.max + b.max, multiple };
      case "-":
        return { min: a.min - b.max, max: a.max - b.min, multiple };
      case "*":
        return a.min >= 0 && b.min >= 0
          ? { min: a.min * b.min, max: a.max === 0 || b.max === 0 ? 0 : a.max * b.max, multiple: Math.min(MOST, a.multiple * b.multiple) }
          : { ...unknown, multiple: Math.min(MOST, a.multiple * b.multiple) };
      case "/":
        return a.min >= 0 && b.min > 0 ? { min: Math.floor(a.min / b.max), max: Math.floor(a.max / b.min), multiple: b.min === b.max && Number.isInteger(a.multiple / b.min) ? a.multiple / b.min : 1 } : unknown;
      case "%":
        return a.min >= 0 && b.min > 0 ? { min: 0, max: Math.min(a.max, b.max - 1), multiple } : unknown;
      case "&":
        // with a constant: its bits, or all but the lowest bits
        if (b.min !== b.max) return unknown;
        return b.min >= 0 ? { min: 0, max: b.max, multiple: Math.max(a.multiple, b.multiple) } : { min: a.min >= 0 ? 0 : -Infinity, max: a.max, multiple: Math.max(a.multiple, b.multiple) };
      case ">>":
      case ">>>":
        return a.min >= 0 ? { min: 0, max: b.min === b.max ? Math.floor(a.max / 2 ** b.min) : a.max, multiple: 1 } : unknown;
      default:
        return unknown;
    }
  }
}

const lowestBit = (n: number): number => Math.min(MOST, Math.abs(n) & -Math.abs(n));

/** A power of two that divides a host expression, given those of the dims. */
export function hostMultiple(e: HostExpr, dims: ReadonlyMap<string, number>): number {
  if (typeof e === "number") return e === 0 ? MOST : lowestBit(e);
  if (typeof e === "string") return dims.get(e) ?? 1;
  const args = e.args.map((a) => hostMultiple(a, dims));
  if (e.op === "mul") return Math.min(MOST, args.reduce((a, b) => a * b, 1));
  return e.op === "add" || e.op === "sub" || e.op === "min" || e.op === "max" ? Math.min(...args) : 1;
}
