/** Statements: static loops unroll and static branches are taken here; what only the device can decide goes to `control.ts`. */
import { diagnostic, type Span } from "../diagnostics.ts";
import type { Expr } from "../ir/expr.ts";
import { branch, loop, selectValue } from "./control.ts";
import type { Evaluator } from "./evaluate.ts";
import { bind } from "./patterns.ts";
import { truthy } from "./scalar.ts";
import { type Binding, childOf, find, nameOf, noName, type Scope } from "./scope.ts";
import type { Statement } from "./syntax.ts";
import { describeValue, isScalar, kind, refOf, type Value } from "./value.ts";

/** Steps of a static loop before it counts as endless. */
const unrollLimit = 4096;

type Returned = { readonly value: Value } | undefined;

/** What remains to be run of a function: statements with their scopes. */
interface Rest {
  readonly statement: Statement;
  readonly scope: Scope;
  /** Steps that a static `for (;;)` has made so far. */
  readonly steps?: number;
  readonly next: Rest | undefined;
}
const push = (statements: readonly Statement[], scope: Scope, next: Rest | undefined): Rest | undefined =>
  statements.reduceRight<Rest | undefined>((rest, statement) => ({ statement, scope, next: rest }), next);

/** Runs statements in a scope; returns what a `return` among them returns. */
export const run = (ev: Evaluator, statements: readonly Statement[], scope: Scope): Returned => runRest(ev, push(statements, scope, undefined));

function runRest(ev: Evaluator, start: Rest | undefined): Returned {
  let rest = start;
  while (rest) {
    const { statement: s, scope, next, steps = 0 } = rest;
    rest = next;
    switch (s.kind) {
      case "Declare": {
        const naming = s.pattern.kind === "NamePattern" ? nameOf(scope, s.pattern.name) : noName;
        bind(ev, s.pattern, ev.named(ev.evaluate(s.init, scope, naming), naming.base, s.init.span), scope, s.mutable);
        break;
      }
      case "Assign": {
        const binding = assignable(scope, s.name, s.span);
        const naming = nameOf(scope, s.name);
        ev.variables.assign(binding, ev.named(ev.evaluate(s.value, scope, naming), naming.base, s.span));
        break;
      }
      case "Expression":
        ev.evaluate(s.value, scope, noName);
        break;
      case "Block":
        rest = push(s.body, childOf(scope), next);
        break;
      case "If": {
        const cond = ev.evaluate(s.cond, scope, noName);
        if (!isScalar(cond)) {
          rest = push(ev.plain(cond, s.cond.span) ? s.then : s.otherwise, childOf(scope), next);
          break;
        }
        const returned = findReturn([...s.then, ...s.otherwise]);
        if (returned) return returnEarly(ev, truthy(cond.expr), s, scope, next, returned);
        branch(ev, truthy(cond.expr), s, scope);
        break;
      }
      case "ForOf": {
        const of = ev.evaluate(s.of, scope, noName);
        const ref = refOf(of);
        if (ref?.[kind] !== "Blocks") {
          rest = unroll(ev, of, s, scope, next);
          break;
        }
        const returned = findReturn(s.body);
        if (returned) throw diagnostic("E-SUBSET-02", returned, {});
        ev.requireBody("a loop over run-time blocks", s.span);
        loop(ev, ref, s, scope);
        break;
      }
      case "For":
        if (steps > 0) rest = step(ev, s, scope, steps, next);
        else {
          const inner = childOf(scope);
          run(ev, s.init, inner);
          rest = { statement: s, scope: inner, steps: 1, next };
        }
        break;
      case "Return":
        return { value: ev.evaluate(s.value, scope, scope.frame.result) };
      case "Throw":
        throw diagnostic("E-FRONT-08", s.span, { message: String(ev.evaluate(s.message, scope, noName)) });
      case "Unsupported":
        throw diagnostic("E-SUBSET-01", s.span, s);
    }
  }
  return undefined;
}

function assignable(scope: Scope, name: string, span: Span): Binding {
  const found = find(scope, name);
  if (!found?.binding.mutable) throw diagnostic("E-SUBSET-12", span, { name }, found ? [{ span: found.binding.span, text: "declared here" }] : []);
  if (found.frame !== scope.frame) throw diagnostic("E-SUBSET-04", span, { name }, [{ span: found.binding.span, text: "declared here" }]);
  return found.binding;
}

function unroll(ev: Evaluator, of: Value, s: Extract<Statement, { kind: "ForOf" }>, scope: Scope, next: Rest | undefined): Rest | undefined {
  if (refOf(of) || typeof of !== "object" || of === null || !(Symbol.iterator in of)) {
    throw diagnostic("E-SUBSET-09", s.span, { what: describeValue(of) });
  }
  const items = [...(of as Iterable<Value>)];
  return items.reduceRight<Rest | undefined>((rest, item) => {
    const inner = childOf(scope);
    bind(ev, s.pattern, item, inner, true);
    return push(s.body, childOf(inner), rest);
  }, next);
}

/** One step of a static `for (;;)`, whose variables are fresh in every step. */
function step(ev: Evaluator, s: Extract<Statement, { kind: "For" }>, scope: Scope, steps: number, next: Rest | undefined): Rest | undefined {
  const cond = ev.evaluate(s.cond, scope, noName);
  if (refOf(cond)) throw diagnostic("E-SUBSET-08", s.span, { times: "a number of times known at run time only" });
  if (!cond) return next;
  if (steps > unrollLimit) throw diagnostic("E-SUBSET-08", s.span, { times: `more than ${unrollLimit} times` });
  const fresh = { ...scope, bindings: new Map([...scope.bindings].map(([name, b]) => [name, { ...b }])) };
  const again = push(s.update, fresh, { statement: s, scope: fresh, steps: steps + 1, next });
  return push(s.body, childOf(fresh), again);
}

/** An `if` that returns, in a helper of scalar code: both ways run to the function's end, and a Select joins them. */
function returnEarly(
  ev: Evaluator, cond: Expr, s: Extract<Statement, { kind: "If" }>, scope: Scope, next: Rest | undefined, returned: Span,
): Returned {
  const refuse = (op: string, span: Span) =>
    diagnostic("E-SUBSET-02", returned, {}, [{ span, text: `${op} would run only where the function has not returned` }]);
  const way = (statements: readonly Statement[]): Value =>
    ev.inScalarCode(refuse, () => ev.variables.undoing(() => runRest(ev, push(statements, childOf(scope), next))).result?.value);
  return { value: selectValue("the result", cond, way(s.then), way(s.otherwise), s.cond.span) };
}

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
