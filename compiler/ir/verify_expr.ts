/** The typing rules of scalar expressions, one line a node kind. */
import { scalarFunctions } from "../../dsl/math.ts";
import { childrenOf, type Expr, type ScalarType } from "./expr.ts";

type Rules = { readonly [K in Expr["kind"]]: (e: Extract<Expr, { kind: K }>) => boolean };

const functions = new Map(scalarFunctions.map((f) => [f.name, f]));
const isInt = (t: ScalarType): boolean => t === "i32" || t === "u32";
const order = new Set(["<", "<=", ">", ">="]);
const equality = new Set(["==", "!="]);
const logic = new Set(["&&", "||"]);
const shifts = new Set(["<<", ">>", ">>>"]);
const bitwise = new Set(["&", "|", "^", "%"]);

const rules: Rules = {
  Const: (e) => (e.type === "f32" ? true : e.type === "bool" ? e.value === 0 || e.value === 1 : e.value === (e.type === "i32" ? e.value | 0 : e.value >>> 0)),
  Var: () => true,
  Unary: (e) => e.a.type === e.type && (e.op === "!" ? e.type === "bool" : e.op === "~" ? isInt(e.type) : e.type === "f32" || e.type === "i32"),
  Binary: (e) => {
    if (shifts.has(e.op)) return isInt(e.a.type) && isInt(e.b.type) && e.type === e.a.type && (e.op !== ">>>" || e.type === "u32");
    if (e.a.type !== e.b.type) return false;
    if (logic.has(e.op)) return e.a.type === "bool" && e.type === "bool";
    if (equality.has(e.op)) return e.type === "bool";
    if (order.has(e.op)) return e.a.type !== "bool" && e.type === "bool";
    return e.type === e.a.type && e.type !== "bool" && (!bitwise.has(e.op) || isInt(e.type));
  },
  Select: (e) => e.cond.type === "bool" && e.then.type === e.type && e.otherwise.type === e.type,
  Call: (e) => {
    const f = functions.get(e.fn);
    const first = e.args[0]?.type;
    if (!f || f.operands.length !== e.args.length || first === undefined) return false;
    const fits = e.args.every((a, i) => (f.operands[i] === "number" ? a.type === first && a.type !== "bool" : f.operands[i] === "integer" ? a.type === first && isInt(a.type) : a.type === f.operands[i]));
    return fits && e.type === (f.result === "number" || f.result === "integer" ? first : f.result);
  },
  Convert: () => true,
  Round: (e) => e.a.type === "f32",
  Reg: (e) => isInt(e.index.type),
  Shared: (e) => isInt(e.index.type),
  GlobalElement: (e) => e.coords.every((c) => isInt(c.type)) && (!e.guard || e.guard.type === "bool") && (!e.fill || e.fill.type === e.type),
  BlockIndex: () => true,
  ThreadIndex: () => true,
};

/** What is wrong with an expression whose free variables have these types; undefined if nothing is. */
export function complaintOf(root: Expr, variables: (name: string) => ScalarType | undefined): string | undefined {
  const seen = new Set<Expr>();
  const check = (e: Expr): string | undefined => {
    if (seen.has(e)) return undefined;
    seen.add(e);
    for (const child of childrenOf(e)) {
      const complaint = check(child);
      if (complaint !== undefined) return complaint;
    }
    if (e.kind === "Var" && variables(e.name) !== e.type) return `variable ${e.name} is ${variables(e.name) ?? "not defined"}, not ${e.type}`;
    const rule = rules[e.kind] as (e: Expr) => boolean;
    return rule(e) ? undefined : `an ill-typed ${e.kind} of type ${e.type}${"op" in e ? ` (${e.op})` : "fn" in e ? ` (${e.fn})` : ""}`;
  };
  return check(root);
}
