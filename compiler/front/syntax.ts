/**
 * The subset of TypeScript that kernels are written in, as a small tree: what `read.ts` makes of a file and
 * `evaluate.ts` runs. Types are gone, compound assignment is spelled out. What the subset lacks becomes an
 * `Unsupported` node, an error only where it would run.
 */
import type { Span } from "../diagnostics.ts";

export type BinaryOperator =
  | "+" | "-" | "*" | "/" | "%" | "**" | "&" | "|" | "^" | "<<" | ">>" | ">>>"
  | "<" | "<=" | ">" | ">=" | "===" | "!==" | "&&" | "||" | "??";

export interface Unsupported {
  readonly kind: "Unsupported";
  readonly what: string;
  /** What to write in its place. */
  readonly instead: string;
  readonly span: Span;
}

export type Expression =
  | { readonly kind: "Literal"; readonly value: number | string | boolean | null | undefined; readonly span: Span }
  | { readonly kind: "Template"; readonly texts: readonly string[]; readonly parts: readonly Expression[]; readonly span: Span }
  | { readonly kind: "Name"; readonly name: string; readonly span: Span }
  | { readonly kind: "Member"; readonly of: Expression; readonly property: string; readonly optional: boolean; readonly span: Span }
  | { readonly kind: "Element"; readonly of: Expression; readonly index: Expression; readonly span: Span }
  | { readonly kind: "Call"; readonly callee: Expression; readonly args: readonly Item[]; readonly span: Span }
  | FunctionExpression
  | { readonly kind: "Object"; readonly members: readonly Member[]; readonly span: Span }
  | { readonly kind: "Array"; readonly items: readonly Item[]; readonly span: Span }
  | { readonly kind: "Unary"; readonly op: "-" | "+" | "!" | "~"; readonly a: Expression; readonly span: Span }
  | { readonly kind: "Binary"; readonly op: BinaryOperator; readonly a: Expression; readonly b: Expression; readonly span: Span }
  | { readonly kind: "Conditional"; readonly cond: Expression; readonly then: Expression; readonly otherwise: Expression; readonly span: Span }
  | Unsupported;

export interface FunctionExpression {
  readonly kind: "Function";
  readonly name: string;
  readonly params: readonly Parameter[];
  readonly body: readonly Statement[];
  readonly span: Span;
}

/** A parameter, or a part of a pattern. */
export interface Parameter {
  readonly pattern: Pattern;
  readonly fallback?: Expression;
  /** Takes all that the ones before it left. */
  readonly rest: boolean;
}

/** An element of an array or an argument list. */
export interface Item {
  readonly value: Expression;
  readonly spread: boolean;
}

export type Member =
  | { readonly kind: "Property"; readonly key: Expression; readonly value: Expression }
  | { readonly kind: "Spread"; readonly value: Expression };

export type Pattern =
  | { readonly kind: "NamePattern"; readonly name: string; readonly span: Span }
  | { readonly kind: "ObjectPattern"; readonly members: readonly (Parameter & { readonly key: string })[]; readonly span: Span }
  | { readonly kind: "ArrayPattern"; readonly items: readonly (Parameter | undefined)[]; readonly span: Span }
  | Unsupported;

export type Statement =
  | { readonly kind: "Declare"; readonly mutable: boolean; readonly pattern: Pattern; readonly init: Expression; readonly span: Span }
  | { readonly kind: "Assign"; readonly name: string; readonly value: Expression; readonly span: Span }
  | { readonly kind: "Expression"; readonly value: Expression; readonly span: Span }
  | {
      readonly kind: "If";
      readonly cond: Expression;
      readonly then: readonly Statement[];
      readonly otherwise: readonly Statement[];
      readonly span: Span;
    }
  | { readonly kind: "ForOf"; readonly pattern: Pattern; readonly of: Expression; readonly body: readonly Statement[]; readonly span: Span }
  | {
      readonly kind: "For";
      readonly init: readonly Statement[];
      readonly cond: Expression;
      readonly update: readonly Statement[];
      readonly body: readonly Statement[];
      readonly span: Span;
    }
  | { readonly kind: "Block"; readonly body: readonly Statement[]; readonly span: Span }
  | { readonly kind: "Return"; readonly value: Expression; readonly span: Span }
  | { readonly kind: "Throw"; readonly message: Expression; readonly span: Span }
  | Unsupported;

/** Where a module gets a name from. */
export interface Import {
  /** As written: a relative path or a package. */
  readonly module: string;
  /** The exporting module's name for it; "*" for the whole namespace. */
  readonly name: string;
  readonly span: Span;
}

/** A file: its imports, top-level declarations and exports, by name. Declarations are read when first asked for. */
export interface Module {
  readonly file: string;
  readonly imports: ReadonlyMap<string, Import>;
  /** Exported name to local name, or to the import of a re-export. */
  readonly exports: ReadonlyMap<string, string | Import>;
  /** Modules whose every export is re-exported. */
  readonly starExports: readonly string[];
  /** The initialiser of a top-level const, or a function; undefined where there is no such name. */
  declaration(name: string): Expression | undefined;
  /** The functions of all `scalarFn("name", f)` calls in the file. */
  readonly scalarFns: ReadonlyMap<string, Expression>;
}
