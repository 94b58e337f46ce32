/** Variables of the program: where names are found, how their values are called, and assignments that can be taken back. */
import type { Span } from "../diagnostics.ts";
import type { Module } from "./syntax.ts";
import type { Value } from "./value.ts";

/** A variable. */
export interface Binding {
  /** Counts up in order of declaration. */
  readonly id: number;
  /** What values of the variable are called. */
  readonly label: string;
  value: Value;
  readonly mutable: boolean;
  readonly span: Span;
}

/** Names in reach of a piece of text. A new `frame` begins with every function call. */
export interface Scope {
  readonly module: Module;
  readonly bindings: Map<string, Binding>;
  readonly parent: Scope | undefined;
  readonly frame: Frame;
}

export interface Frame {
  /** Put before the names of values that the frame defines: "e0" makes `const m` "e0.m". Empty in a kernel's body. */
  readonly prefix: string;
  /** How the value that it returns is called. */
  readonly result: Naming;
}

/** How the value of an expression is called: `base` itself where `direct`, else `base.<operation>`. */
export interface Naming {
  readonly base: string;
  readonly direct: boolean;
}
export const noName: Naming = { base: "", direct: false };
export const labelOf = (naming: Naming, operation: string): string =>
  naming.base === "" ? operation : naming.direct ? naming.base : `${naming.base}.${operation}`;
export const within = (naming: Naming): Naming => ({ base: naming.base, direct: false });

export const topScope = (module: Module): Scope => ({ module, bindings: new Map(), parent: undefined, frame: { prefix: "", result: noName } });
export const childOf = (scope: Scope): Scope => ({ ...scope, bindings: new Map(), parent: scope });

/** The name that a variable's value gets. */
export const nameOf = ({ frame }: Scope, name: string): Naming => ({ base: frame.prefix === "" ? name : `${frame.prefix}.${name}`, direct: true });

/** The variable of a name, with the frame that declared it. */
export function find(scope: Scope, name: string): { readonly binding: Binding; readonly frame: Frame } | undefined {
  for (let s: Scope | undefined = scope; s; s = s.parent) {
    const binding = s.bindings.get(name);
    if (binding) return { binding, frame: s.frame };
  }
  return undefined;
}

/** Declares and assigns, and remembers what was assigned since a point to which it may have to go back. */
export class Variables {
  private declared = 0;
  /** Values from before the current `undoing`. */
  private journal: Map<Binding, Value> | undefined;

  declare(scope: Scope, name: string, value: Value, mutable: boolean, span: Span): void {
    scope.bindings.set(name, { id: this.declared++, label: nameOf(scope, name).base, value, mutable, span });
  }

  assign(binding: Binding, value: Value): void {
    if (this.journal && !this.journal.has(binding)) this.journal.set(binding, binding.value);
    binding.value = value;
  }

  /** Runs `f`, takes its assignments back and returns what they were, for variables that existed before. */
  undoing<T>(f: () => T): { readonly result: T; readonly changed: ReadonlyMap<Binding, Value> } {
    const outer = this.journal;
    const mine = (this.journal = new Map<Binding, Value>());
    const existing = this.declared;
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
}
