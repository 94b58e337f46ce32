/**
 * The partial evaluator: runs a kernel's text with everything that is known when compiling, and turns the rest into Tile IR.
 * Expressions are here; `statements.ts`, `control.ts`, `calls.ts` and `patterns.ts` have the rest of the language.
 */
import { diagnostic, type CompileError, type Span } from "../diagnostics.ts";
import { type Builder, createBuilder } from "./builder.ts";
import { evaluateCall, operate } from "./calls.ts";
import { choose } from "./control.ts";
import { createModules, type Modules } from "./modules.ts";
import { sizesOf } from "./params.ts";
import { binaryExpr, toExpr, truthy, unaryExpr } from "./scalar.ts";
import { find, type Naming, noName, type Scope, topScope, Variables, within } from "./scope.ts";
import type { Expression, FunctionExpression, Item } from "./syntax.ts";
import { methodsOf } from "./collectives.ts";
import { type Closure, describeValue, isPlainObject, isScalar, kind, type Operation, refOf, scalarRef, type Value } from "./value.ts";

/** Says why an operation may not stand in a place. */
type Refusal = (operation: string, span: Span) => CompileError;

const outside: Refusal = (op, span) =>
  diagnostic("E-SUBSET-01", span, { what: `${op} outside of a kernel's body`, instead: "call it in body(a, tune, at)" });

export class Evaluator {
  readonly build: Builder = createBuilder();
  readonly variables = new Variables();
  readonly modules: Modules;
  /** Replaces the kernel's own numbers. */
  readonly tune: Readonly<Record<string, number>>;
  /** Functions that are being inlined, outermost first. */
  readonly active: FunctionExpression[] = [];
  /** Undefined in a kernel's body, where operations may emit. */
  private refusal: Refusal | undefined = outside;

  /** `sources` are more files in which scalar functions of the spec may be found. */
  constructor(tune: Readonly<Record<string, number>>, sources: readonly string[]) {
    this.tune = tune;
    this.modules = createModules(sources, (module, e) => this.withRefusal(outside, () => this.evaluate(e, topScope(module), noName)));
  }

  // ---- Where operations may stand --------------------------------------------------------------------------------------------------------

  /** Runs `f` where operations are refused, or may emit (undefined). */
  withRefusal<T>(refusal: Refusal | undefined, f: () => T): T {
    const outer = this.refusal;
    this.refusal = refusal;
    try {
      return f();
    } finally {
      this.refusal = outer;
    }
  }
  /** Runs `f` as scalar code: refused as around it, or else by `refusal`. */
  inScalarCode<T>(refusal: Refusal, f: () => T): T {
    return this.withRefusal(this.refusal ?? refusal, f);
  }
  requireBody(operation: string, span: Span): void {
    if (this.refusal) throw this.refusal(operation, span);
  }

  /** Run-time numbers of a kernel's body keep the author's name: they become a Let of it. */
  named(value: Value, label: string, span: Span): Value {
    return isScalar(value) && !this.refusal ? this.build.name(value.expr, label, span) : value;
  }

  // ---- Expressions -----------------------------------------------------------------------------------------------------------------------

  evaluate(e: Expression, scope: Scope, naming: Naming): Value {
    switch (e.kind) {
      case "Literal":
        return e.value;
      case "Template":
        return e.texts.reduce((text, piece, i) => text + String(this.plain(this.evaluate(e.parts[i - 1]!, scope, noName), e.span)) + piece);
      case "Name":
        return this.lookUp(scope, e.name, e.span);
      case "Member": {
        const of = this.evaluate(e.of, scope, within(naming));
        return e.optional && (of === undefined || of === null) ? undefined : this.member(of, e.property, e.span, naming);
      }
      case "Element": {
        const of = this.evaluate(e.of, scope, within(naming));
        return this.member(of, this.key(e.index, scope, "an index"), e.span);
      }
      case "Call":
        return evaluateCall(this, e, scope, naming);
      case "Function":
        return { [kind]: "Closure", name: e.name, fn: e, scope } satisfies Closure;
      case "Object":
        return this.evaluateObject(e, scope, naming);
      case "Array":
        return this.evaluateItems(e.items, scope, () => within(naming));
      case "Unary": {
        const a = this.evaluate(e.a, scope, within(naming));
        return isScalar(a) ? scalarRef(unaryExpr(e.op, a.expr, e.span)) : unaryStatic[e.op](this.plain(a, e.a.span) as number);
      }
      case "Binary":
        return this.evaluateBinary(e, scope, naming);
      case "Conditional": {
        const cond = this.evaluate(e.cond, scope, within(naming));
        if (isScalar(cond)) return choose(this, truthy(cond.expr), e, scope, naming);
        return this.evaluate(this.plain(cond, e.cond.span) ? e.then : e.otherwise, scope, naming);
      }
      case "Unsupported":
        throw diagnostic("E-SUBSET-01", e.span, e);
    }
  }

  private lookUp(scope: Scope, name: string, span: Span): Value {
    const found = find(scope, name);
    return found ? found.binding.value : this.modules.named(scope.module, name, span);
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
      const key = this.key(member.key, scope, "a key");
      const inner = naming.direct ? { base: naming.base === "" ? key : `${naming.base}.${key}`, direct: true } : naming;
      object[key] = this.evaluate(member.value, scope, inner);
    }
    return object;
  }

  /** Elements of an array or arguments; `naming` may look at those before. */
  evaluateItems(items: readonly Item[], scope: Scope, naming: (done: readonly Value[]) => Naming): Value[] {
    const values: Value[] = [];
    for (const { value, spread } of items) {
      const v = this.evaluate(value, scope, naming(values));
      if (!spread) values.push(v);
      else if (Array.isArray(v)) values.push(...(v as Value[]));
      else throw diagnostic("E-SUBSET-09", value.span, { what: describeValue(v) });
    }
    return values;
  }

  private key(e: Expression, scope: Scope, what: string): string {
    const value = this.evaluate(e, scope, noName);
    if (refOf(value)) throw diagnostic("E-SUBSET-07", e.span, { what });
    return String(value);
  }

  /** A value that is known when compiling. */
  plain(value: Value, span: Span): Value {
    if (refOf(value)) throw diagnostic("E-SUBSET-06", span, { what: describeValue(value) });
    return value;
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
        if (property === "shape") return Object.fromEntries(ref.tile.axes.filter((a) => !a.held).map((a) => [a.name, a.extent]));
        break;
      case "Histogram":
      case "Append":
      case "Bag":
      case "Bitmap":
        if (!(property in methodsOf(ref))) break;
        return property === "count" ? operate(this, operation("count"), [], { span, args: [], naming }) : operation(property);
      default:
        break;
    }
    throw diagnostic("E-FRONT-11", span, { property, of: describeValue(of) });
  }
}

const unaryStatic = { "-": (a: number) => -a, "+": (a: number) => +a, "!": (a: unknown) => !a, "~": (a: number) => ~a } as const;
const binaryStatic: Readonly<Record<Extract<Expression, { kind: "Binary" }>["op"], (a: number, b: number) => Value>> = {
  "+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b, "/": (a, b) => a / b, "%": (a, b) => a % b, "**": (a, b) => a ** b,
  "&": (a, b) => a & b, "|": (a, b) => a | b, "^": (a, b) => a ^ b, "<<": (a, b) => a << b, ">>": (a, b) => a >> b, ">>>": (a, b) => a >>> b,
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "===": (a, b) => a === b, "!==": (a, b) => a !== b,
  "&&": (a, b) => a && b, "||": (a, b) => a || b, "??": (a, b) => a ?? b,
};
