/** Calls: helpers are inlined, operations of the language become IR, everything else is called as the JavaScript function that it is. */
import { CompileError, diagnostic, type Span } from "../diagnostics.ts";
import type { Expr, ScalarType } from "../ir/expr.ts";
import { collectives, methodsOf } from "./collectives.ts";
import type { Evaluator } from "./evaluate.ts";
import { readKernelCall } from "./kernel.ts";
import { bindList } from "./patterns.ts";
import { callExpr, callPlain, isScalarFunction, toExpr } from "./scalar.ts";
import { childOf, labelOf, type Naming, noName, type Scope, within } from "./scope.ts";
import { run } from "./statements.ts";
import type { Expression, FunctionExpression } from "./syntax.ts";
import { type Call, operations, tileOfGlobal } from "./tile_ops.ts";
import { type Closure, describeValue, isScalar, kind, leavesOf, asCollective, type Operation, refOf, scalarRef, type Value } from "./value.ts";

/** Operations that emit nothing, so that they may stand anywhere. */
const silent = new Set(["blocks", "each"]);
const mathNames = new Map<Value, string>(Object.getOwnPropertyNames(Math).map((name) => [Math[name as keyof Math], name]));

/** Where a call stands in the text, and how its value is called. */
interface Site {
  readonly span: Span;
  readonly args: readonly Span[];
  readonly naming: Naming;
}
const argSpan = (site: Site, i: number): Span => site.args[i] ?? site.span;

export function evaluateCall(ev: Evaluator, e: Extract<Expression, { kind: "Call" }>, scope: Scope, naming: Naming): Value {
  const inner = within(naming);
  const self = e.callee.kind === "Member" ? ev.evaluate(e.callee.of, scope, inner) : undefined;
  const callee = e.callee.kind === "Member" ? ev.member(self, e.callee.property, e.callee.span) : ev.evaluate(e.callee, scope, inner);
  const site: Site = { span: e.span, args: e.args.map((a) => a.value.span), naming };
  const args = (base: (done: readonly Value[]) => Naming = () => inner): readonly Value[] => ev.evaluateItems(e.args, scope, base);
  const ref = refOf(callee);
  if (ref?.[kind] === "Operation") {
    // arguments without a name of their own are named after what the result goes to
    const owner = asCollective(ref.of)?.name ?? "";
    return operate(ev, ref, args((done) => ({ base: naming.base || owner || targetName(done[0]), direct: false })), site);
  }
  if (ref?.[kind] === "Closure") return apply(ev, ref, args(), naming, e.span);
  if (typeof callee === "function") return callStatic(ev, callee, self, args(), calleeName(e.callee), site);
  throw diagnostic("E-FRONT-12", e.callee.span, { what: describeValue(callee) });
}

function targetName(first: Value): string {
  const ref = refOf(first);
  return ref?.[kind] === "View" ? ref.global.name : "";
}
const calleeName = (e: Expression): string =>
  e.kind === "Name" ? e.name : e.kind === "Member" ? `${calleeName(e.of)}.${e.property}` : "the function";

/** Inlines a function of the program. */
export function apply(ev: Evaluator, closure: Closure, args: readonly Value[], naming: Naming, span: Span): Value {
  const prefix = closure.name === "" ? naming.base : labelOf(naming, closure.name);
  const { fn } = closure;
  if (ev.active.includes(fn)) {
    throw diagnostic("E-SUBSET-03", span, { name: closure.name || "this function" }, [{ span: fn.span, text: "defined here" }]);
  }
  return runFunction(ev, fn, args, { ...childOf(closure.scope), frame: { prefix, result: { base: prefix, direct: true } } });
}

/** Runs a function's body in a scope of its own. */
export function runFunction(ev: Evaluator, fn: FunctionExpression, args: readonly Value[], scope: Scope): Value {
  ev.active.push(fn);
  try {
    bindList(ev, fn.params, args, fn.span, scope, true);
    return run(ev, fn.body, childOf(scope))?.value;
  } finally {
    ev.active.pop();
  }
}

/** An operation of the language. */
export function operate(ev: Evaluator, operation: Operation, args: readonly Value[], site: Site): Value {
  const { name, of } = operation;
  const { span, naming } = site;
  if (name === "scalarFn") return args[1];
  if (isScalarFunction(name) && !(name in operations)) return args.some(refOf) ? callScalar(name, args, site) : callPlain(name, args);
  const collective = asCollective(of);
  const call: Call = {
    name: collective ? `${collective[kind].toLowerCase()}.${name}` : name,
    args,
    argSpan: (i) => argSpan(site, i),
    span,
    naming,
    build: ev.build,
    lambda: (f, params, at) => lambda(ev, f, params, at),
    paramNames: (f, count) => paramNames(ev, f, count),
  };
  if (name === "kernel") return readKernelCall(ev, call);
  if (of?.[kind] === "Global") return tileOfGlobal(call, of);
  if (!silent.has(name)) ev.requireBody(call.name, span);
  if (collective) return methodsOf(collective)[name]!(call, collective);
  return (collectives[name] ?? operations[name])!(call);
}

const callScalar = (name: string, args: readonly Value[], site: Site): Value =>
  scalarRef(callExpr(name, args.map((a, i) => toExpr(a, argSpan(site, i))), site.span));

/** A JavaScript function on values known when compiling; the scalar functions of `Math` and of the spec take run-time numbers too. */
function callStatic(ev: Evaluator, f: Function, self: Value, args: readonly Value[], name: string, site: Site): Value {
  const { span, naming } = site;
  const isRuntime = (value: Value): boolean => leavesOf(value).some((l) => refOf(l.value) && refOf(l.value)?.[kind] !== "Closure");
  const runtime = args.findIndex(isRuntime);
  const handsOn = Array.isArray(self) || self === Object || self === Array; // such methods do not look at what they move
  if (runtime >= 0 && !handsOn) {
    const math = mathNames.get(f);
    if (math !== undefined) return callScalar(math, args, site);
    if ("scalarName" in f) return apply(ev, ev.modules.scalarFn(String(f.scalarName), span), args, naming, span);
    throw diagnostic("E-SUBSET-07", argSpan(site, runtime), { what: `the arguments of ${name}` });
  }
  try {
    return f.apply(self, args.map((a) => toFunction(ev, a, naming, span))) as Value;
  } catch (error) {
    if (error instanceof CompileError) throw error;
    throw diagnostic("E-FRONT-07", span, { reason: error instanceof Error ? error.message : String(error) });
  }
}

/** A closure as a JavaScript function, for `[…].map(f)`. */
function toFunction(ev: Evaluator, value: Value, naming: Naming, span: Span): Value {
  const ref = refOf(value);
  return ref?.[kind] === "Closure" ? (...args: readonly Value[]) => apply(ev, ref, args, naming, span) : value;
}

/** The body of a lambda over the elements of tiles. */
function lambda(ev: Evaluator, f: Value, params: readonly { readonly name: string; readonly type: ScalarType }[], span: Span): Expr {
  const args = params.map((p) => scalarRef({ kind: "Var", type: p.type, name: p.name }));
  const site: Site = { span, args: [], naming: noName };
  const ref = refOf(f);
  const refuse = (op: string, at: Span) => diagnostic("E-SUBSET-05", at, { op });
  const result = ev.withRefusal(refuse, (): Value => {
    if (ref?.[kind] === "Closure") return apply(ev, ref, args, noName, span);
    if (ref?.[kind] === "Operation") return operate(ev, ref, args, site);
    if (typeof f === "function") return callStatic(ev, f, undefined, args, f.name, site);
    throw diagnostic("E-FRONT-12", span, { what: describeValue(f) });
  });
  if (isScalar(result) || typeof result === "number" || typeof result === "boolean") return toExpr(result, span);
  throw diagnostic("E-SUBSET-11", span, { fn: ref?.[kind] === "Closure" && ref.name ? ref.name : "the lambda", what: describeValue(result) });
}

/** The author's parameter names, kept apart from each other and from uniform numbers. */
function paramNames(ev: Evaluator, f: Value, count: number): readonly string[] {
  const ref = refOf(f);
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    const pattern = ref?.[kind] === "Closure" ? ref.fn.params[i]?.pattern : undefined;
    const given = pattern?.kind === "NamePattern" ? pattern.name : "x";
    let name = given;
    for (let n = 2; names.includes(name) || ev.build.isScalar(name); n++) name = `${given}_${n}`;
    names.push(name);
  }
  return names;
}
