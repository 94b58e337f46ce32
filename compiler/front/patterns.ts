/** Destructuring: `const { bin, above = 0, ...rest } = value`, and the parameters of functions. */
import { diagnostic, type Span } from "../diagnostics.ts";
import type { Evaluator } from "./evaluate.ts";
import { noName, type Scope } from "./scope.ts";
import type { Parameter, Pattern } from "./syntax.ts";
import { isPlainObject, type Value } from "./value.ts";

/** Declares the names of a pattern in a scope. */
export function bind(ev: Evaluator, pattern: Pattern, value: Value, scope: Scope, mutable: boolean): void {
  switch (pattern.kind) {
    case "NamePattern":
      return ev.variables.declare(scope, pattern.name, value, mutable, pattern.span);
    case "ArrayPattern":
      return bindList(ev, pattern.items, value, pattern.span, scope, mutable);
    case "ObjectPattern": {
      const taken = new Set(pattern.members.map((m) => m.key));
      for (const m of pattern.members) {
        const part = m.rest && isPlainObject(value) ? without(value, taken) : ev.member(value, m.key, pattern.span);
        bindPart(ev, m, part, scope, mutable);
      }
      return;
    }
    case "Unsupported":
      throw diagnostic("E-SUBSET-01", pattern.span, pattern);
  }
}

/** Elements of an array, or arguments of a function. */
export function bindList(ev: Evaluator, items: readonly (Parameter | undefined)[], list: Value, span: Span, scope: Scope, mutable: boolean): void {
  items.forEach((item, i) => {
    if (!item) return;
    const part: Value = item.rest && Array.isArray(list) ? list.slice(i) : ev.member(list, String(i), span);
    bindPart(ev, item, part, scope, mutable);
  });
}

function bindPart(ev: Evaluator, { pattern, fallback }: Parameter, part: Value, scope: Scope, mutable: boolean): void {
  bind(ev, pattern, part === undefined && fallback ? ev.evaluate(fallback, scope, noName) : part, scope, mutable);
}

const without = (object: Readonly<Record<string, Value>>, keys: ReadonlySet<string>): Value =>
  Object.fromEntries(Object.entries(object).filter(([key]) => !keys.has(key)));
