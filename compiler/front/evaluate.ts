/**
 * The partial evaluator: runs a kernel's text with everything that is known when compiling, and turns the rest into Tile IR.
 * Static loops unroll, static branches are taken, helper functions are inlined; `control.ts` makes loops and branches of the rest.
 * Inside scalar code (lambdas of map, helpers that return early) nothing may be emitted and a run-time `if` becomes a Select.
 */
import { diagnostic, type CompileError, type Span } from "../diagnostics.ts";
import type { Expr, ScalarType } from "../ir/expr.ts";
import { type Builder, createBuilder } from "./builder.ts";
import { branch, choose, loop, selectValue } from "./control.ts";
import { readKernelCall } from "./kernel.ts";
import { createModules, type Modules } from "./modules.ts";
import { sizesOf } from "./params.ts";
import { binaryExpr, callExpr, callPlain, isScalarFunction, toExpr, truthy, unaryExpr } from "./scalar.ts";
import type { Expression, FunctionExpression, Item, Module, Parameter, Pattern, Statement } from "./syntax.ts";
import { appendMethods, type Call, histogramMethods, operations, tileOfGlobal } from "./tile_ops.ts";
import {
  type Binding, type Closure, describeValue, type Frame, isPlainObject, isScalar, kind, labelOf, leavesOf, type Naming, type Operation,
  refOf, scalarRef, type Scope, type Value, within,
} from "./value.ts";

/** Steps of a static loop before it counts as endless. */
const unrollLimit = 4096;

/** What remains to be run of a function: statements with their scopes. */
interface Rest {
  readonly statement: Statement;
  readonly scope: Scope;
  /** Steps that a static loop has made so far; only for its statement. */
  readonly steps?: number;
  readonly next: Rest | undefined;
}

const noName: Naming = { base: "", direct: false };
/** Operations that emit nothing. */
const silent = new Set(["blocks", "each"]);
const mathNames = new Map<Value, string>(Object.getOwnPropertyNames(Math).map((name) => [Math[name as keyof Math], name]));

export class Evaluator {
  readonly build: Builder = createBuilder();
  readonly tune: Readonly<Record<string, number>>;
  private readonly modules: Modules;
  /** Why nothing may be emitted where the evaluator is; undefined in a kernel's body. */
  private refusal: ((operation: string, span: Span) => CompileError) | undefined = (op, span) =>
    diagnostic("E-SUBSET-01", span, { what: `${op} outside of a kernel's body`, instead: "call it in body(a, tune, at)" });
  private readonly active: FunctionExpression[] = [];
  /** Values that variables had before the current region assigned them. */
  private journal: Map<Binding, Value> | undefined;
  private bindings = 0;

  /** `tune` overrides the kernel's numbers; `sources` are more files in which scalar functions may be found. */
  constructor(tune: Readonly<Record<string, number>>, sources: readonly string[]) {
    this.tune = tune;
    this.modules = createModules(sources, (module, e) => this.whileStatic(() => this.evaluate(e, this.moduleScope(module), noName)));
  }

  /** The value of an export. */
  exported(module: Module, name: string): Value {
    return this.modules.exported(module, name);
  }

  // ---- Modes -----------------------------------------------------------------------------------------------------------------------------

  /** Runs `f` where operations may emit (undefined) or are refused. */
  withRefusal<T>(refusal: Evaluator["refusal"], f: () => T): T {
    const outer = this.refusal;
    this.refusal = refusal;
    try {
      return f();
    } finally {
      this.refusal = outer;
    }
  }
  private whileStatic<T>(f: () => T): T {
    return this.withRefusal((op, span) => diagnostic("E-SUBSET-01", span, { what: `${op} outside of a kernel's body`, instead: "call it in body(a, tune, at)" }), f);
  }
  private whileScalar<T>(f: () => T): T {
    return this.withRefusal((op, span) => diagnostic("E-SUBSET-05", span, { op }), f);
  }

  // ---- Variables ---------------------------------------------------------------------------------------------------------------------------

  private moduleScope(module: Module): Scope {
    return { module, bindings: new Map(), parent: undefined, frame: { prefix: "", result: noName } };
  }
  child(scope: Scope): Scope {
    return { ...scope, bindings: new Map(), parent: scope };
  }
  declare(scope: Scope, name: string, value: Value, mutable: boolean, span: Span): void {
    scope.bindings.set(name, { id: this.bindings++, label: this.nameOf(scope, name).base, value, mutable, span });
  }
  find(scope: Scope, name: string): { readonly binding: Binding; readonly frame: Frame } | undefined {
    for (let s: Scope | undefined = scope; s; s = s.parent) {
      const binding = s.bindings.get(name);
      if (binding) return { binding, frame: s.frame };
    }
    return undefined;
  }
  assign(binding: Binding, value: Value): void {
    if (this.journal && !this.journal.has(binding)) this.journal.set(binding, binding.value);
    binding.value = value;
  }
  /** Runs `f`, undoes its assignments and returns what they were, for variables that existed before. */
  undoing<T>(f: () => T): { readonly result: T; readonly changed: ReadonlyMap<Binding, Value> } {
    const outer = this.journal;
    const mine = (this.journal = new Map<Binding, Value>());
    const existing = this.bindings;
    const changed = new Map<Binding, Value>();
    try {
      const result = f();
      for (const binding of mine.keys()) if (binding.id < existing) changed.set(binding, binding.value);
      return { result, changed };
    } finally {
      for (const [binding, value] of mine) binding.value = value;
      this.journal = outer;
    }
  }

  private lookUp(scope: Scope, name: string, span: Span): Value {
    const found = this.find(scope, name);
    return found ? found.binding.value : this.modules.named(scope.module, name, span);
  }

  /** The name that a variable's value gets. */
  private nameOf = (scope: Scope, name: string): Naming => ({ base: scope.frame.prefix === "" ? name : `${scope.frame.prefix}.${name}`, direct: true });

  /** Run-time numbers keep the author's name: they become a Let of it. */
  named(value: Value, label: string, span: Span): Value {
    return isScalar(value) && !this.refusal ? this.build.name(value.expr, label, span) : value;
  }

  bind(pattern: Pattern, value: Value, scope: Scope, mutable: boolean): void {
    switch (pattern.kind) {
      case "NamePattern":
        return this.declare(scope, pattern.name, value, mutable, pattern.span);
      case "ObjectPattern": {
        const taken = new Set(pattern.members.map((m) => m.key));
        for (const m of pattern.members) {
          const part = m.rest ? Object.fromEntries(Object.entries(value as object).filter(([key]) => !taken.has(key))) : this.member(value, m.key, pattern.span);
          this.bindPart(m, part, scope, mutable);
        }
        return;
      }
      case "ArrayPattern":
        this.bindList(pattern.items, value, pattern.span, scope, mutable);
        return;
      case "Unsupported":
        throw diagnostic("E-SUBSET-01", pattern.span, pattern);
    }
  }

  /** Elements of an array, or arguments of a function. */
  private bindList(items: readonly (Parameter | undefined)[], list: Value, span: Span, scope: Scope, mutable: boolean): void {
    items.forEach((item, i) => {
      if (!item) return;
      const part = item.rest && Array.isArray(list) ? (list.slice(i) as readonly Value[]) : this.member(list, String(i), span);
      this.bindPart(item, part, scope, mutable);
    });
  }
  private bindPart({ pattern, fallback }: Parameter, part: Value, scope: Scope, mutable: boolean): void {
    this.bind(pattern, part === undefined && fallback ? this.evaluate(fallback, scope, noName) : part, scope, mutable);
  }

  // ---- Statements --------------------------------------------------------------------------------------------------------------------------

  /** Runs statements in a scope; returns what a `return` among them returns. */
  run(statements: readonly Statement[], scope: Scope): { readonly value: Value } | undefined {
    return this.runRest(push(statements, scope, undefined));
  }

  private runRest(start: Rest | undefined): { readonly value: Value } | undefined {
    let rest = start;
    while (rest) {
      const { statement: s, scope, next, steps = 0 } = rest;
      rest = next;
      switch (s.kind) {
        case "Declare": {
          const naming = s.pattern.kind === "NamePattern" ? this.nameOf(scope, s.pattern.name) : noName;
          const value = this.evaluate(s.init, scope, naming);
          this.bind(s.pattern, this.named(value, naming.base, s.init.span), scope, s.mutable);
          break;
        }
        case "Assign": {
          const binding = this.assignable(scope, s.name, s.span);
          const naming = this.nameOf(scope, s.name);
          this.assign(binding, this.named(this.evaluate(s.value, scope, naming), naming.base, s.span));
          break;
        }
        case "Expression":
          this.evaluate(s.value, scope, noName);
          break;
        case "Block":
          rest = push(s.body, this.child(scope), next);
          break;
        case "If": {
          const cond = this.evaluate(s.cond, scope, noName);
          if (!isScalar(cond)) {
            this.refuseRef(cond, s.cond.span);
            rest = push(cond ? s.then : s.otherwise, this.child(scope), next);
            break;
          }
          const returned = findReturn([...s.then, ...s.otherwise]);
          if (returned) return this.returnEarly(truthy(cond.expr), s, scope, next, returned);
          branch(this, truthy(cond.expr), s, scope);
          break;
        }
        case "ForOf": {
          const of = this.evaluate(s.of, scope, noName);
          const ref = refOf(of);
          if (ref?.[kind] === "Blocks") {
            const returned = findReturn(s.body);
            if (returned) throw diagnostic("E-SUBSET-02", returned, {});
            if (this.refusal) throw this.refusal("a loop over run-time blocks", s.span);
            loop(this, ref, s, scope);
          } else rest = this.unroll(of, s, scope, next);
          break;
        }
        case "For":
          if (steps === 0) this.run(s.init, (rest = { statement: s, scope: this.child(scope), steps: 1, next }).scope);
          else rest = this.step(s, scope, steps, next);
          break;
        case "Return":
          return { value: this.evaluate(s.value, scope, scope.frame.result) };
        case "Throw":
          throw diagnostic("E-FRONT-08", s.span, { message: String(this.evaluate(s.message, scope, noName)) });
        case "Unsupported":
          throw diagnostic("E-SUBSET-01", s.span, s);
      }
    }
    return undefined;
  }

  private assignable(scope: Scope, name: string, span: Span): Binding {
    const found = this.find(scope, name);
    if (!found?.binding.mutable) throw diagnostic("E-SUBSET-12", span, { name }, found ? [{ span: found.binding.span, text: "declared here" }] : []);
    if (found.frame !== scope.frame) throw diagnostic("E-SUBSET-04", span, { name }, [{ span: found.binding.span, text: "declared here" }]);
    return found.binding;
  }

  private unroll(of: Value, s: Extract<Statement, { kind: "ForOf" }>, scope: Scope, next: Rest | undefined): Rest | undefined {
    if (refOf(of) || typeof of !== "object" || of === null || !(Symbol.iterator in of)) {
      throw diagnostic("E-SUBSET-09", s.span, { what: describeValue(of) });
    }
    const items = [...(of as Iterable<Value>)];
    return items.reduceRight<Rest | undefined>((rest, item) => {
      const inner = this.child(scope);
      this.bind(s.pattern, item, inner, true);
      return push(s.body, this.child(inner), rest);
    }, next);
  }

  /** One step of a static `for (;;)`, whose variables are fresh in every step. */
  private step(s: Extract<Statement, { kind: "For" }>, scope: Scope, steps: number, next: Rest | undefined): Rest | undefined {
    const cond = this.evaluate(s.cond, scope, noName);
    if (refOf(cond)) throw diagnostic("E-SUBSET-08", s.span, { times: "a number of times known at run time only" });
    if (!cond) return next;
    if (steps > unrollLimit) throw diagnostic("E-SUBSET-08", s.span, { times: `more than ${unrollLimit} times` });
    const fresh = { ...scope, bindings: new Map([...scope.bindings].map(([name, b]) => [name, { ...b }])) };
    const again = push(s.update, fresh, { statement: s, scope: fresh, steps: steps + 1, next });
    return push(s.body, this.child(fresh), again);
  }

  /** An `if` that returns, in a helper of scalar code: both ways run to the function's end, and a Select joins them. */
  private returnEarly(cond: Expr, s: Extract<Statement, { kind: "If" }>, scope: Scope, next: Rest | undefined, returned: Span): { readonly value: Value } {
    const refuse = (op: string, span: Span) => diagnostic("E-SUBSET-02", returned, {}, [{ span, text: `${op} would run only where the function has not returned` }]);
    const way = (statements: readonly Statement[]) =>
      this.withRefusal(this.refusal ?? refuse, () => this.undoing(() => this.runRest(push(statements, this.child(scope), next))).result);
    const [then, otherwise] = [way(s.then), way(s.otherwise)];
    return { value: selectValue("the result", cond, then?.value, otherwise?.value, s.cond.span) };
  }

  // ---- Expressions -------------------------------------------------------------------------------------------------------------------------

  evaluate(e: Expression, scope: Scope, naming: Naming): Value {
    switch (e.kind) {
      case "Literal":
        return e.value;
      case "Template":
        return e.texts.reduce((text, piece, i) => {
          const part = this.evaluate(e.parts[i - 1]!, scope, noName);
          this.refuseRef(part, e.span);
          return text + String(part) + piece;
        });
      case "Name":
        return this.lookUp(scope, e.name, e.span);
      case "Member": {
        const of = this.evaluate(e.of, scope, within(naming));
        return e.optional && (of === undefined || of === null) ? undefined : this.member(of, e.property, e.span, naming);
      }
      case "Element": {
        const of = this.evaluate(e.of, scope, within(naming));
        const index = this.evaluate(e.index, scope, noName);
        this.refuseRef(index, e.index.span, "an index");
        return this.member(of, String(index), e.span);
      }
      case "Call":
        return this.evaluateCall(e, scope, naming);
      case "Function":
        return { [kind]: "Closure", name: e.name, fn: e, scope } satisfies Closure;
      case "Object":
        return this.evaluateObject(e, scope, naming);
      case "Array":
        return this.evaluateItems(e.items, scope, () => within(naming));
      case "Unary": {
        const a = this.evaluate(e.a, scope, within(naming));
        if (isScalar(a)) return scalarRef(unaryExpr(e.op, a.expr, e.span));
        this.refuseTile(a, e.a.span);
        return unaryStatic[e.op](a as number);
      }
      case "Binary":
        return this.evaluateBinary(e, scope, naming);
      case "Conditional": {
        const cond = this.evaluate(e.cond, scope, within(naming));
        if (isScalar(cond)) return choose(this, truthy(cond.expr), e, scope, naming);
        this.refuseRef(cond, e.cond.span);
        return this.evaluate(cond ? e.then : e.otherwise, scope, naming);
      }
      case "Unsupported":
        throw diagnostic("E-SUBSET-01", e.span, e);
    }
  }

  private evaluateBinary(e: Extract<Expression, { kind: "Binary" }>, scope: Scope, naming: Naming): Value {
    const a = this.evaluate(e.a, scope, within(naming));
    if (!refOf(a)) {
      if (e.op === "&&" && !a) return a;
      if (e.op === "||" && a) return a;
      if (e.op === "??" && a !== undefined && a !== null) return a;
      if (e.op === "&&" || e.op === "||" || e.op === "??") return this.evaluate(e.b, scope, within(naming));
    }
    const b = this.evaluate(e.b, scope, within(naming));
    if (!refOf(a) && !refOf(b)) return binaryStatic[e.op](a as number, b as number);
    return scalarRef(binaryExpr(e.op, toExpr(a, e.a.span), toExpr(b, e.b.span), e.span));
  }

  private evaluateObject(e: Extract<Expression, { kind: "Object" }>, scope: Scope, naming: Naming): Value {
    const object: Record<string, Value> = {};
    for (const member of e.members) {
      if (member.kind === "Spread") {
        const spread = this.evaluate(member.value, scope, noName);
        if (!isPlainObject(spread)) throw diagnostic("E-FRONT-11", member.value.span, { property: "…", of: describeValue(spread) });
        Object.assign(object, spread);
        continue;
      }
      const key = this.evaluate(member.key, scope, noName);
      this.refuseRef(key, member.key.span, "a key");
      const inner = naming.direct ? { base: naming.base === "" ? String(key) : `${naming.base}.${String(key)}`, direct: true } : naming;
      object[String(key)] = this.evaluate(member.value, scope, inner);
    }
    return object;
  }

  private evaluateItems(items: readonly Item[], scope: Scope, naming: (done: readonly Value[]) => Naming): Value[] {
    const values: Value[] = [];
    for (const { value, spread } of items) {
      const v = this.evaluate(value, scope, naming(values));
      if (!spread) values.push(v);
      else if (Array.isArray(v)) values.push(...(v as Value[]));
      else throw diagnostic("E-SUBSET-09", value.span, { what: describeValue(v) });
    }
    return values;
  }

  /** `of.property`. */
  member(of: Value, property: string, span: Span, naming: Naming = noName): Value {
    const ref = refOf(of);
    const operation = (name: string): Operation => ({ [kind]: "Operation", name, ...(ref && { of: ref }) });
    switch (ref?.[kind]) {
      case undefined:
        if (of === undefined || of === null) throw diagnostic("E-FRONT-11", span, { property, of: describeValue(of) });
        return (of as Readonly<Record<string, Value>>)[property];
      case "Global":
        if (property === "tile") return operation("tile");
        if (property === "size") return sizesOf(ref.axes);
        break;
      case "Tile":
        if (property === "shape") return Object.fromEntries(ref.tile.axes.map((a) => [a.name, a.extent]));
        break;
      case "Histogram":
        if (property in histogramMethods) return operation(property);
        break;
      case "Append":
        if (property === "count") return this.operate(operation("count"), [], { span, args: [] }, naming);
        if (property in appendMethods) return operation(property);
        break;
      default:
        break;
    }
    throw diagnostic("E-FRONT-11", span, { property, of: describeValue(of) });
  }

  // ---- Calls -------------------------------------------------------------------------------------------------------------------------------

  private evaluateCall(e: Extract<Expression, { kind: "Call" }>, scope: Scope, naming: Naming): Value {
    const self = e.callee.kind === "Member" ? this.evaluate(e.callee.of, scope, within(naming)) : undefined;
    const callee = e.callee.kind === "Member" ? this.member(self, e.callee.property, e.callee.span) : this.evaluate(e.callee, scope, within(naming));
    const ref = refOf(callee);
    const site = { span: e.span, args: e.args.map((a) => a.value.span) };
    switch (ref?.[kind]) {
      case "Operation": {
        const owner = ref.of && (ref.of[kind] === "Histogram" || ref.of[kind] === "Append") ? ref.of.name : "";
        const base = (done: readonly Value[]): Naming => ({ base: naming.base || owner || targetName(done[0]), direct: false });
        return this.operate(ref, this.evaluateItems(e.args, scope, base), site, naming);
      }
      case "Closure":
        return this.apply(ref, this.evaluateItems(e.args, scope, () => within(naming)), naming, e.span);
      case undefined:
        if (typeof callee === "function") return this.callStatic(callee, self, this.evaluateItems(e.args, scope, () => within(naming)), calleeName(e.callee), naming, site);
        throw diagnostic("E-FRONT-12", e.callee.span, { what: describeValue(callee) });
      default:
        throw diagnostic("E-FRONT-12", e.callee.span, { what: describeValue(callee) });
    }
  }

  /** Inlines a function of the program. */
  apply(closure: Closure, args: readonly Value[], naming: Naming, span: Span): Value {
    const { fn } = closure;
    if (this.active.includes(fn)) throw diagnostic("E-SUBSET-03", span, { name: closure.name || "this function" }, [{ span: fn.span, text: "defined here" }]);
    const prefix = closure.name === "" ? naming.base : labelOf(naming, closure.name);
    const scope: Scope = { ...this.child(closure.scope), frame: { prefix, result: { base: prefix, direct: true } } };
    return this.inFunction(fn, args, scope);
  }

  /** Runs a function's body in its scope. */
  inFunction(fn: FunctionExpression, args: readonly Value[], scope: Scope): Value {
    this.active.push(fn);
    try {
      this.bindList(fn.params, args, fn.span, scope, true);
      return this.run(fn.body, this.child(scope))?.value;
    } finally {
      this.active.pop();
    }
  }

  /** An operation of the language. */
  private operate(operation: Operation, args: readonly Value[], site: { readonly span: Span; readonly args: readonly Span[] }, naming: Naming): Value {
    const { name, of } = operation;
    if (name === "scalarFn") return args[1];
    if (isScalarFunction(name) && !(name in operations)) {
      return args.some(refOf) ? scalarRef(callExpr(name, args.map((a, i) => toExpr(a, site.args[i] ?? site.span)), site.span)) : callPlain(name, args);
    }
    const call: Call = {
      name: of && of[kind] !== "Global" ? `${describeOwner(operation)}.${name}` : name,
      args,
      argSpan: (i) => site.args[i] ?? site.span,
      span: site.span,
      naming,
      build: this.build,
      lambda: (f, params, span) => this.lambda(f, params, span),
      paramNames: (f, count) => this.paramNames(f, count),
    };
    if (name === "kernel") return readKernelCall(this, call);
    if (of?.[kind] === "Global") return tileOfGlobal(call, of);
    if (this.refusal && !silent.has(name)) throw this.refusal(call.name, site.span);
    if (of?.[kind] === "Histogram") return histogramMethods[name]!(call, of);
    if (of?.[kind] === "Append") return appendMethods[name]!(call, of);
    return operations[name]!(call);
  }

  /** A JavaScript function on values known when compiling; the scalar functions of `Math` and of the spec take run-time numbers too. */
  private callStatic(f: Function, self: Value, args: readonly Value[], name: string, naming: Naming, site: { readonly span: Span; readonly args: readonly Span[] }): Value {
    const holder = Array.isArray(self) || self === Object || self === Array;
    const runtime = args.findIndex((a) => leavesOf(a).some(({ value }) => refOf(value) !== undefined && refOf(value)?.[kind] !== "Closure"));
    if (runtime >= 0 && !holder) {
      const math = mathNames.get(f);
      if (math !== undefined) return scalarRef(callExpr(math, args.map((a, i) => toExpr(a, site.args[i] ?? site.span)), site.span));
      if ("scalarName" in f) return this.apply(this.modules.scalarFn(String(f.scalarName), site.span), args, naming, site.span);
      throw diagnostic("E-SUBSET-07", site.args[runtime] ?? site.span, { what: `the arguments of ${name}` });
    }
    const plain = args.map((a) => this.toFunction(a, naming, site.span));
    try {
      return f.apply(self, plain) as Value;
    } catch (error) {
      if (error instanceof Error && error.name === "CompileError") throw error;
      throw diagnostic("E-FRONT-07", site.span, { reason: error instanceof Error ? error.message : String(error) });
    }
  }

  /** A closure as a JavaScript function, for `[…].map(f)`. */
  private toFunction(value: Value, naming: Naming, span: Span): Value {
    const ref = refOf(value);
    return ref?.[kind] === "Closure" ? (...args: readonly Value[]) => this.apply(ref, args, naming, span) : value;
  }

  /** The body of a lambda over the elements of tiles. */
  private lambda(f: Value, params: readonly { readonly name: string; readonly type: ScalarType }[], span: Span): Expr {
    const args = params.map((p) => scalarRef({ kind: "Var", type: p.type, name: p.name }));
    const ref = refOf(f);
    const result = this.whileScalar((): Value => {
      if (ref?.[kind] === "Closure") return this.apply(ref, args, noName, span);
      if (ref?.[kind] === "Operation") return this.operate(ref, args, { span, args: [] }, noName);
      if (typeof f === "function") return this.callStatic(f, undefined, args, f.name, noName, { span, args: [] });
      throw diagnostic("E-FRONT-12", span, { what: describeValue(f) });
    });
    if (!isScalar(result) && typeof result !== "number" && typeof result !== "boolean") {
      throw diagnostic("E-SUBSET-11", span, { fn: ref?.[kind] === "Closure" && ref.name ? ref.name : "the lambda", what: describeValue(result) });
    }
    return toExpr(result, span);
  }

  private paramNames(f: Value, count: number): readonly string[] {
    const ref = refOf(f);
    const names: string[] = [];
    for (let i = 0; i < count; i++) {
      const pattern = ref?.[kind] === "Closure" ? ref.fn.params[i]?.pattern : undefined;
      const given = pattern?.kind === "NamePattern" ? pattern.name : "x";
      let name = given;
      for (let n = 2; names.includes(name) || this.build.isScalar(name); n++) name = `${given}_${n}`;
      names.push(name);
    }
    return names;
  }

  // ---- Refusals ----------------------------------------------------------------------------------------------------------------------------

  private refuseRef(value: Value, span: Span, what?: string): void {
    if (!refOf(value)) return;
    if (what === undefined) throw diagnostic("E-SUBSET-06", span, { what: describeValue(value) });
    throw diagnostic("E-SUBSET-07", span, { what });
  }
  private refuseTile(value: Value, span: Span): void {
    if (refOf(value)) throw diagnostic("E-SUBSET-06", span, { what: describeValue(value) });
  }
}

const push = (statements: readonly Statement[], scope: Scope, next: Rest | undefined): Rest | undefined =>
  statements.reduceRight<Rest | undefined>((rest, statement) => ({ statement, scope, next: rest }), next);

/** The first `return` among statements, nested functions aside. */
function findReturn(statements: readonly Statement[]): Span | undefined {
  for (const s of statements) {
    const span =
      s.kind === "Return" ? s.span
      : s.kind === "If" ? findReturn([...s.then, ...s.otherwise])
      : s.kind === "For" || s.kind === "ForOf" || s.kind === "Block" ? findReturn(s.body)
      : undefined;
    if (span) return span;
  }
  return undefined;
}

/** What the tiles made for a store are named after. */
function targetName(first: Value): string {
  const ref = refOf(first);
  return ref?.[kind] === "View" ? ref.global.name : "";
}
const calleeName = (e: Expression): string => (e.kind === "Name" ? e.name : e.kind === "Member" ? `${calleeName(e.of)}.${e.property}` : "the function");
const describeOwner = ({ of }: Operation): string => (of?.[kind] === "Histogram" ? "histogram" : "append");

const unaryStatic = { "-": (a: number) => -a, "+": (a: number) => +a, "!": (a: unknown) => !a, "~": (a: number) => ~a } as const;
const binaryStatic: Readonly<Record<Extract<Expression, { kind: "Binary" }>["op"], (a: number, b: number) => Value>> = {
  "+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b, "/": (a, b) => a / b, "%": (a, b) => a % b, "**": (a, b) => a ** b,
  "&": (a, b) => a & b, "|": (a, b) => a | b, "^": (a, b) => a ^ b, "<<": (a, b) => a << b, ">>": (a, b) => a >> b, ">>>": (a, b) => a >>> b,
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "===": (a, b) => a === b, "!==": (a, b) => a !== b,
  "&&": (a, b) => a && b, "||": (a, b) => a || b, "??": (a, b) => a ?? b,
};
