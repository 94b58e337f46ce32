/** The front end: any kernel file to Tile IR. */
import { resolve } from "node:path";
import { CompileError, diagnostic } from "../diagnostics.ts";
import type { TileKernel } from "../ir/tile.ts";
import { apply } from "./calls.ts";
import { Evaluator } from "./evaluate.ts";
import { displayPath, readModule, typeErrors } from "./read.ts";
import type { Expression } from "./syntax.ts";
import { describeValue, kind, refOf } from "./value.ts";

export { overlay, preload, refresh, sourceText } from "./read.ts";

export interface ReadOptions {
  /** Path of the kernel's file. */
  readonly file: string;
  /** Which export; may be left out where the file has a single kernel. */
  readonly exportName?: string;
  /** What a factory `(spec) => kernel(…)` is called with. */
  readonly spec?: unknown;
  /** Replaces tune numbers of the kernel. */
  readonly tune?: Readonly<Record<string, number>>;
  /** Replaces the kernel's name. */
  readonly name?: string;
  /** More files in which scalar functions of the spec may be defined. */
  readonly sources?: readonly string[];
  /** Leaves out what TypeScript's own checker has to say about the file. */
  readonly skipTypes?: boolean;
}

/**
 * Reads one kernel. Mistakes in its text are a CompileError: the compiler's own, which says more about tiles than types can, before
 * TypeScript's.
 */
export async function readKernel(options: ReadOptions): Promise<TileKernel> {
  const file = resolve(options.file);
  const typeError = (): CompileError | undefined => (options.skipTypes ? undefined : typeErrors(file)[0]);
  try {
    const kernel = evaluateKernel(file, options);
    const wrong = typeError();
    if (wrong) throw wrong;
    return kernel;
  } catch (error) {
    throw error instanceof CompileError ? error : (typeError() ?? error);
  }
}

function evaluateKernel(file: string, { exportName = onlyKernel(file), spec, tune = {}, name, sources = [] }: ReadOptions): TileKernel {
  const ev = new Evaluator(tune, sources.map((f) => resolve(f)));
  const value = ev.modules.exported(readModule(file), exportName);
  const ref = refOf(value);
  const factory = ref?.[kind] === "Closure" ? ref : undefined;
  if (factory && factory.fn.params.length > 0 && spec === undefined) throw diagnostic("E-FRONT-04", factory.fn.span, { name: exportName });
  const made = factory ? apply(ev, factory, [spec], { base: exportName, direct: true }, factory.fn.span) : value;
  const kernel = refOf(made);
  if (kernel?.[kind] !== "Kernel") {
    const start = { file: displayPath(file), line: 1, column: 1, length: 1 };
    const found = factory ? `a function that returns ${describeValue(made)}` : describeValue(made);
    throw diagnostic("E-FRONT-03", factory?.fn.span ?? start, { name: exportName, found });
  }
  return { ...kernel.kernel, name: name ?? kernel.kernel.name, spec };
}

export interface KernelExport {
  readonly exportName: string;
  /** Needs a spec. */
  readonly factory: boolean;
}

/** The kernels of a file: exports that are a call of `kernel`, or functions that return one. */
export function listKernels(path: string): readonly KernelExport[] {
  const module = readModule(resolve(path));
  const makesKernel = (e: Expression | undefined, seen: readonly string[]): boolean => {
    if (e?.kind === "Function") return e.body.some((s) => s.kind === "Return" && makesKernel(s.value, seen));
    if (e?.kind !== "Call" || e.callee.kind !== "Name") return false;
    const { name } = e.callee;
    return name === "kernel" || (!seen.includes(name) && makesKernel(module.declaration(name), [...seen, name]));
  };
  return [...module.exports].flatMap(([exportName, local]) => {
    const declaration = typeof local === "string" ? module.declaration(local) : undefined;
    return makesKernel(declaration, []) ? [{ exportName, factory: declaration?.kind === "Function" }] : [];
  });
}

function onlyKernel(file: string): string {
  const kernels = listKernels(file).map((k) => k.exportName);
  if (kernels.length === 1) return kernels[0]!;
  throw diagnostic("E-FRONT-02", undefined, { file: displayPath(file), name: "(not given)", exports: kernels.join(", ") || "no kernel" });
}
