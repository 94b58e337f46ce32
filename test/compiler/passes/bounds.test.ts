/** What is known of integer expressions holds of every value: facts of the lowering, intervals of the verifier. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { binary, int, variable, type BinaryOp, type Expr } from "../../../compiler/ir/expr.ts";
import { intervalOf, type Interval } from "../../../compiler/ir/interval.ts";
import { Facts, hostMultiple } from "../../../compiler/passes/lower/facts.ts";
import { evaluate, type HostExpr } from "../../../compiler/ir/manifest.ts";

const THREADS = 64;

interface Known {
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly multiple: number;
}
/** A variable with bounds and a divisor that its value keeps. */
const known: fc.Arbitrary<Known> = fc
  .record({ multiple: fc.constantFrom(1, 2, 4, 16), low: fc.integer({ min: -20, max: 20 }), span: fc.nat(10), at: fc.nat(10) })
  .map(({ multiple, low, span, at }) => ({ multiple, min: low * multiple, max: (low + span) * multiple, value: (low + (at % (span + 1))) * multiple }));

const operators = ["+", "-", "*", "/", "%", "&", "<<", ">>", "<", "<=", ">", ">=", "==", "!="] as const satisfies readonly BinaryOp[];
const { tree } = fc.letrec<{ tree: Expr }>((tie) => ({
  tree: fc.oneof(
    { depthSize: "small", maxDepth: 4 },
    fc.integer({ min: -40, max: 40 }).map(int),
    fc.constantFrom("x", "y", "z").map((name) => variable("i32", name)),
    fc.constant<Expr>({ kind: "ThreadIndex", type: "i32" }),
    fc.tuple(fc.constantFrom("+", "-", "*", "/", "%", "&", "<<", ">>"), tie("tree"), tie("tree")).map(([op, a, b]): Expr => ({ kind: "Binary", type: "i32", op: op as BinaryOp, a, b })),
    fc.tuple(fc.constantFrom("min", "max"), tie("tree"), tie("tree")).map(([fn, a, b]): Expr => ({ kind: "Call", type: "i32", fn, args: [a, b] })),
    fc.tuple(fc.constantFrom("<", "==", ">="), tie("tree"), tie("tree"), tie("tree"), tie("tree")).map(
      ([op, a, b, then, otherwise]): Expr => ({ kind: "Select", type: "i32", cond: { kind: "Binary", type: "bool", op: op as BinaryOp, a, b }, then, otherwise }),
    ),
  ),
}));

/** The value on a device; undefined where it has none. */
function valueOf(e: Expr, leaf: (e: Expr) => number): number | undefined {
  switch (e.kind) {
    case "Const":
      return e.value;
    case "Select": {
      const cond = valueOf(e.cond, leaf);
      const [then, otherwise] = [valueOf(e.then, leaf), valueOf(e.otherwise, leaf)];
      return cond === undefined || then === undefined || otherwise === undefined ? undefined : cond ? then : otherwise;
    }
    case "Call":
    case "Binary": {
      const [a, b] = (e.kind === "Call" ? e.args : [e.a, e.b]).map((x) => valueOf(x, leaf));
      if (a === undefined || b === undefined) return undefined;
      if (e.kind === "Call") return e.fn === "min" ? Math.min(a, b) : Math.max(a, b);
      const exact = operation(e.op, a, b);
      return exact === undefined || exact !== (exact | 0) ? undefined : exact + 0; // what wraps is no index
    }
    default:
      return leaf(e);
  }
}
function operation(op: BinaryOp, a: number, b: number): number | undefined {
  switch (op) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return b === 0 ? undefined : Math.trunc(a / b);
    case "%":
      return b === 0 ? undefined : a % b;
    case "&":
      return a & b;
    case "<<":
      return b < 0 || b > 31 ? undefined : a * 2 ** b;
    case ">>":
      return b < 0 || b > 31 ? undefined : a >> b;
    case "<":
      return Number(a < b);
    case "==":
      return Number(a === b);
    case ">=":
      return Number(a >= b);
    default:
      throw new Error(op);
  }
}

const cases = fc.record({ e: tree, x: known, y: known, z: known, thread: fc.nat(THREADS - 1) });
type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;
const leafValue = (c: Case) => (e: Expr): number => (e.kind === "ThreadIndex" ? c.thread : e.kind === "Var" ? c[e.name as "x" | "y" | "z"].value : NaN);

test("facts: bounds and divisors hold", () => {
  fc.assert(
    fc.property(cases, (c) => {
      const facts = new Facts(THREADS);
      for (const name of ["x", "y", "z"] as const) facts.learn(name, { min: c[name].min, max: c[name].max, multiple: c[name].multiple });
      const value = valueOf(c.e, leafValue(c));
      if (value === undefined) return;
      const fact = facts.of(c.e);
      expect(value).toBeGreaterThanOrEqual(fact.min);
      expect(value).toBeLessThanOrEqual(fact.max);
      expect(Math.abs(value % fact.multiple)).toBe(0);
    }),
    { numRuns: 5000 },
  );
});

test("facts: every operation on every small range", () => {
  for (const op of ["+", "-", "*", "/", "%"] as const)
    for (const multiple of [1, 2, 4, 16])
      for (const [low, high] of [[-3, -1], [-2, 3], [0, 0], [0, 5], [2, 7]] as const)
        for (let b = -5; b <= 8; b++) {
          const facts = new Facts(THREADS);
          facts.learn("x", { min: low * multiple, max: high * multiple, multiple });
          const fact = facts.of({ kind: "Binary", type: "i32", op, a: variable("i32", "x"), b: int(b) });
          for (let x = low; x <= high; x++) {
            const value = operation(op, x * multiple, b);
            if (value === undefined) continue;
            const where = `${x * multiple} ${op} ${b} with x in ${low * multiple}..${high * multiple}`;
            expect(value >= fact.min && value <= fact.max, `${where}: ${value} in ${fact.min}..${fact.max}`).toBe(true);
            expect(Math.abs(value % fact.multiple), `${where}: ${value} is a multiple of ${fact.multiple}`).toBe(0);
          }
        }
});

test("facts: hostMultiple divides", () => {
  const host = fc.letrec<{ e: HostExpr }>((tie) => ({
    e: fc.oneof(
      { maxDepth: 3 },
      fc.nat(64),
      fc.constantFrom("A", "B"),
      fc.record({ op: fc.constantFrom("add" as const, "sub" as const, "mul" as const, "min" as const, "max" as const, "ceilDiv" as const), args: fc.tuple(tie("e"), tie("e")) }),
    ),
  })).e;
  fc.assert(
    fc.property(host, fc.nat(9), fc.nat(9), (e, a, b) => {
      const value = ((): number | undefined => {
        try {
          return evaluate(e, { A: 4 * a, B: 2 * b });
        } catch {
          return undefined; // a quotient by 0
        }
      })();
      if (value !== undefined && Number.isFinite(value)) expect(Math.abs(value % hostMultiple(e, new Map([["A", 4], ["B", 2]])))).toBe(0);
    }),
    { numRuns: 2000 },
  );
});

test("intervals: bounds hold", () => {
  fc.assert(
    fc.property(cases, (c) => {
      const leaf = (e: Expr): Interval => {
        if (e.kind === "ThreadIndex") return { lo: 0, hi: THREADS - 1 };
        const { min, max } = c[(e as Extract<Expr, { kind: "Var" }>).name as "x" | "y" | "z"];
        return { lo: min, hi: max };
      };
      const value = valueOf(c.e, leafValue(c));
      if (value === undefined) return;
      const { lo, hi } = intervalOf(c.e, leaf);
      expect(value).toBeGreaterThanOrEqual(lo);
      expect(value).toBeLessThanOrEqual(hi);
    }),
    { numRuns: 5000 },
  );
});

test("intervals: of comparisons", () => {
  const at = (lo: number, hi: number) => (e: Expr): Interval => (e.kind === "Var" && e.name === "x" ? { lo, hi } : { lo: 5, hi: 9 });
  for (const op of operators.filter((o) => ["<", "<=", ">", ">=", "==", "!="].includes(o)))
    for (const [lo, hi] of [[0, 4], [0, 5], [5, 9], [9, 12], [10, 12], [6, 6]] as const) {
      const all = Array.from({ length: hi - lo + 1 }, (_, i) => [5, 6, 7, 8, 9].map((y) => Number(compare(op, lo + i, y)))).flat();
      expect(intervalOf(binary(op, variable("i32", "x"), variable("i32", "y")), at(lo, hi)), `${lo}..${hi} ${op} 5..9`).toEqual({ lo: Math.min(...all), hi: Math.max(...all) });
    }
});
const compare = (op: BinaryOp, a: number, b: number): boolean =>
  op === "<" ? a < b : op === "<=" ? a <= b : op === ">" ? a > b : op === ">=" ? a >= b : op === "==" ? a === b : a !== b;
