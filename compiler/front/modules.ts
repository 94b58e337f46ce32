/**
 * What names mean: imports, top-level declarations, JavaScript's globals. Project files are read as text, so their values are always
 * those of the text; only the language itself (`dsl/`, kernels aside) is used as the running module.
 */
import { relative, resolve } from "node:path";
import * as args from "../../dsl/args.ts";
import * as bag from "../../dsl/bag.ts";
import * as bitmap from "../../dsl/bitmap.ts";
import * as collective from "../../dsl/collective.ts";
import * as dtype from "../../dsl/dtype.ts";
import * as language from "../../dsl/index.ts";
import * as kernel from "../../dsl/kernel.ts";
import * as math from "../../dsl/math.ts";
import * as ops from "../../dsl/ops.ts";
import * as reduce from "../../dsl/reduce.ts";
import * as transfer from "../../dsl/transfer.ts";
import { diagnostic, type Span } from "../diagnostics.ts";
import { collectives } from "./collectives.ts";
import { displayPath, importedFile, readModule, root } from "./read.ts";
import { isScalarFunction } from "./scalar.ts";
import type { Expression, Import, Module } from "./syntax.ts";
import { operations } from "./tile_ops.ts";
import { type Closure, kind, type Operation, refOf, type Value } from "./value.ts";

/** The files of the language, by name in `dsl/`. */
const languageFiles: Readonly<Record<string, Readonly<Record<string, Value>>>> = {
  "args.ts": args, "bag.ts": bag, "bitmap.ts": bitmap, "collective.ts": collective, "dtype.ts": dtype, "index.ts": language, "kernel.ts": kernel, "math.ts": math, "ops.ts": ops,
  "reduce.ts": reduce, "transfer.ts": transfer,
};
const languageFile = (file: string): Readonly<Record<string, Value>> | undefined => languageFiles[relative(resolve(root, "dsl"), file)];

const globals: Readonly<Record<string, Value>> = { Math, Number, Array, Object, String, Boolean, JSON, Infinity, NaN, undefined };

export interface Modules {
  /** What a name means at the top level of a module. */
  named(module: Module, name: string, span: Span): Value;
  exported(module: Module, name: string): Value;
  /** The source of a scalar function that arrived as a value. */
  scalarFn(name: string, span: Span): Closure;
}

/** `evaluate` computes a top-level initialiser in its module. */
export function createModules(sources: readonly string[], evaluate: (module: Module, e: Expression) => Value): Modules {
  const values = new Map<string, Value>();
  const reached = new Set<string>(sources);

  function named(module: Module, name: string, span: Span): Value {
    reached.add(module.file);
    const known = `${module.file}#${name}`;
    if (values.has(known)) return values.get(known);
    const initialiser = module.declaration(name);
    const source = module.imports.get(name);
    if (!initialiser && !source && name in globals) return globals[name];
    if (!initialiser && !source) throw diagnostic("E-FRONT-05", span, { name, globals: Object.keys(globals).join(", ") });
    const value = initialiser ? evaluate(module, initialiser) : imported(module, source!);
    values.set(known, value);
    return value;
  }

  function imported(importer: Module, { module, name, span }: Import): Value {
    if (!module.startsWith(".")) throw diagnostic("E-FRONT-06", span, { name, module, reason: "it is a package" });
    const file = importedFile(importer.file, module);
    const running = languageFile(file);
    if (running) {
      if (!(name in running)) throw diagnostic("E-FRONT-06", span, { name, module, reason: "the language has no such name" });
      return operationOf(name, running[name]);
    }
    const from = readModule(file, span);
    if (name === "*") return Object.fromEntries([...from.exports.keys()].map((key) => [key, exported(from, key, span)]));
    return exported(from, name, span);
  }

  function exported(module: Module, name: string, span?: Span): Value {
    reached.add(module.file);
    const local = module.exports.get(name);
    if (typeof local === "string") return named(module, local, span ?? { file: displayPath(module.file), line: 1, column: 1, length: 1 });
    if (local) return imported(module, local);
    for (const star of module.starExports) {
      const from = importedFile(module.file, star);
      const running = languageFile(from);
      if (running && name in running) return operationOf(name, running[name]);
      if (!running && hasExport(readModule(from, span), name)) return exported(readModule(from, span), name, span);
    }
    throw diagnostic("E-FRONT-02", span, { file: displayPath(module.file), name, exports: [...module.exports.keys()].join(", ") || "nothing" });
  }

  function hasExport(module: Module, name: string): boolean {
    const files = module.starExports.map((star) => importedFile(module.file, star)).filter((file) => !languageFile(file));
    return module.exports.has(name) || files.some((file) => hasExport(readModule(file), name));
  }

  function scalarFn(name: string, span: Span): Closure {
    for (const file of reachable(reached)) {
      const module = readModule(file);
      const f = module.scalarFns.get(name);
      const closure = f && refOf(evaluate(module, f));
      if (closure?.[kind] === "Closure") return { ...closure, name };
    }
    throw diagnostic("E-FRONT-09", span, { name });
  }

  return { named, exported, scalarFn };
}

/** Files and what they import from the project, types included: a spec's type usually stands beside its functions. */
function reachable(from: Iterable<string>): ReadonlySet<string> {
  const seen = new Set<string>(from);
  for (const file of seen) {
    const module = readModule(file);
    for (const source of [...[...module.imports.values()].map((i) => i.module), ...module.starExports]) {
      const target = importedFile(file, source);
      if (source.startsWith(".") && !languageFile(target)) seen.add(target);
    }
  }
  return seen;
}

/** Names of the language that make or take run-time values are operations; the rest is plain JavaScript. */
function operationOf(name: string, value: Value): Value {
  const isOperation = name in operations || name in collectives || isScalarFunction(name) || name === "kernel" || name === "scalarFn";
  return isOperation ? ({ [kind]: "Operation", name } satisfies Operation) : value;
}
