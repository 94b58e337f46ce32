/** The typing rules of scalar expressions, one line a node kind. */
import { type OperandType, scalarFunctions } from "../../dsl/math.ts";
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
  Const: ({ type, value }) => type === "f32" || (type === "bool" ? value === 0 || value === 1 : value === (type === "i32" ? value | 0 : value >>> 0)),
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
    const fits = (type: ScalarType, wanted: OperandType | undefined): boolean =>
      wanted === "number" ? type === first && type !== "bool" : wanted === "integer" ? type === first && isInt(type) : type === wanted;
    return e.args.every((a, i) => fits(a.type, f.operands[i])) && e.type === (f.result === "number" || f.result === "integer" ? first : f.result);
  },
  Convert: () => true,
  Round: (e) => e.a.type === "f32",
  Reg: (e) => isInt(e.index.type),
  Shared: (e) => isInt(e.index.type),
  GlobalElement: (e) => e.coords.every((c) => isInt(c.type)) && (!e.guard || e.guard.type === "bool") && (!e.fill || e.fill.type === e.type),
  BlockIndex: () => true,
  BlockCount: () => true,
  WarpIndex: () => true,
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
