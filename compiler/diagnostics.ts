/**
 * Everything that the compiler can say about a user's mistake: one table of codes, one error class, one formatter.
 * A message names what is wrong, a note points at the other end, a hint says what to try.
 */
import type { Loc } from "./ir/tile.ts";

/** A piece of one source line. */
export interface Span extends Loc {
  /** Columns to underline, at least 1. */
  readonly length: number;
}

interface Template {
  readonly message: string;
  readonly hint?: string;
}

/**
 * Codes and texts; `{name}` is filled in at the error's place. Groups of the front end: TYPE, FRONT (files and names), SUBSET, AXIS,
 * DTYPE, DIM; of the passes: STORE, SCHEDULE, MMA, FIT.
 */
export const templates = {
  "E-TYPE-01": { message: "TypeScript: {message}" },

  "E-FRONT-01": { message: "cannot read {file}: {reason}" },
  "E-FRONT-02": { message: "{file} has no export \"{name}\"", hint: "it exports: {exports}" },
  "E-FRONT-03": {
    message: "export \"{name}\" is {found}, not a kernel or a function that returns one",
    hint: "export const {name} = (spec) => kernel(\"{name}\", { … })",
  },
  "E-FRONT-04": { message: "\"{name}\" is a function of a spec, but no spec was given", hint: "pass the spec, for example a preset" },
  "E-FRONT-05": {
    message: "\"{name}\" is not defined here",
    hint: "define or import it in this file; of JavaScript's globals a kernel may use {globals}",
  },
  "E-FRONT-06": {
    message: "cannot import \"{name}\" from \"{module}\": {reason}",
    hint: "import from project files by relative path, and from the language",
  },
  "E-FRONT-07": { message: "{reason}" },
  "E-FRONT-08": { message: "{message}" },
  "E-FRONT-09": {
    message: "no source found for the scalar function \"{name}\" that the spec holds",
    hint: "define it with scalarFn(\"{name}\", …) in the kernel's file, in one that it imports, or in one listed in `sources`",
  },
  "E-FRONT-10": { message: "kernel \"{kernel}\" has no tune number \"{name}\"", hint: "it has: {known}" },
  "E-FRONT-11": { message: "cannot read \"{property}\" of {of}" },
  "E-FRONT-12": { message: "{what} is not callable" },
  "E-FRONT-13": { message: "{callee} cannot take {what}", hint: "{form}" },

  "E-SUBSET-01": { message: "{what} is not part of the kernel language", hint: "{instead}" },
  "E-SUBSET-02": { message: "early return under a run-time condition", hint: "put the rest of the body into the if or its else" },
  "E-SUBSET-03": { message: "\"{name}\" calls itself", hint: "kernels have no call stack: write a loop" },
  "E-SUBSET-04": {
    message: "a helper assigns \"{name}\", a variable of its surroundings",
    hint: "return the new value and assign it in the caller",
  },
  "E-SUBSET-05": { message: "{op} inside scalar code", hint: "compute it before and pass the tile as an input of map" },
  "E-SUBSET-06": {
    message: "{what} where a number is needed",
    hint: "work on tile elements with map; make a tile without axes a number with scalar",
  },
  "E-SUBSET-07": { message: "{what} must be known when compiling", hint: "use literals, spec fields and fixed sizes here" },
  "E-SUBSET-08": {
    message: "this loop runs {times}, which a static loop cannot",
    hint: "for (const b of blocks(axis, lo, hi, step)) or for (const i of each(n))",
  },
  "E-SUBSET-09": { message: "for … of over {what}", hint: "loop over blocks(…), each(…) or an array known when compiling" },
  "E-SUBSET-10": {
    message: "\"{name}\" would be {a} or {b}, depending on a run-time {construct}",
    hint: "keep a number a number and a tile a tile",
  },
  "E-SUBSET-11": { message: "{fn} returns {what}, not a number" },
  "E-SUBSET-12": { message: "\"{name}\" cannot be assigned", hint: "declare it with let" },
  "E-SUBSET-13": { message: "items are added to the bag \"{name}\" after it was looked at", hint: "make another bag" },
  "E-SUBSET-14": {
    message: "pushMarked takes \"{name}\" at marked positions alone, but \"{part}\" is not known at a position by itself",
    hint: "make the values from iota, numbers, and what load and gather read",
  },

  "E-AXIS-01": { message: "{op}: the tile has no axis \"{axis}\", its axes are {axes}" },
  "E-AXIS-02": { message: "{op}: axis \"{axis}\" has {a} positions in one operand and {b} in another" },
  "E-AXIS-03": { message: "map: no operand has all the axes {axes}", hint: "an outer product is gemm's work, or sum or rename first" },
  "E-AXIS-04": { message: "{op}: the tile has the axes {tile}, its place has {target}" },
  "E-AXIS-05": { message: "scalar: the tile still has the axes {axes}", hint: "reduce them with sum, max or min" },
  "E-AXIS-06": { message: "\"{name}\" has no axis \"{axis}\", its axes are {axes}" },
  "E-AXIS-07": { message: "a range of axis \"{range}\" selects axis \"{axis}\"", hint: "give it a range made for \"{axis}\"" },
  "E-AXIS-08": { message: "gather: the index tiles have different axes, {a} and {b}" },
  "E-AXIS-09": { message: "{op}: the result would have axis \"{axis}\" twice", hint: "rename one of them" },
  "E-AXIS-10": { message: "{op} needs exactly one axis, here are {axes}" },
  "E-AXIS-11": { message: "slice: positions {lo} to {hi} are not within the {extent} of axis \"{axis}\"" },
  "E-AXIS-12": {
    message: "\"{name}\" enters the {construct} with axes {a} and would leave it with {b}",
    hint: "a variable keeps its axes",
  },
  "E-AXIS-13": { message: "gather: axis \"{axis}\" is picked and selected", hint: "leave \"{axis}\" out of tile({ … })" },

  "E-AXIS-14": {
    message: "{op}: axis \"{axis}\" has no order, so the result would differ from run to run",
    hint: "items of a bag can be mapped, counted, marked in a bitmap, added to a bag, or reduced by max, min and sums of integers",
  },
  "E-AXIS-15": { message: "gatherRuns: axis \"{axis}\" is not cut to a range", hint: "tile({ {axis}: { axis: \"{axis}\", start: 0, size: 4 } }) makes runs of four" },
  "E-AXIS-16": { message: "{op}: axis \"{axis}\" has {extent} positions, the bitmap has {size}" },

  "E-DTYPE-01": { message: "{op} mixes i32 and u32", hint: "`x >>> 0` makes a u32, `x | 0` an i32" },
  "E-DTYPE-02": { message: "/ on integers ({type})", hint: "use div(a, b), which truncates" },
  "E-DTYPE-03": { message: "{value} does not fit {type}" },
  "E-DTYPE-04": { message: "{op}: {dtype} is not allowed, {allowed} is" },
  "E-DTYPE-05": { message: "\"{name}\" enters the {construct} as {a} and would leave it as {b}", hint: "a variable keeps its dtype" },
  "E-DTYPE-06": { message: "{op} on {type}", hint: "{instead}" },
  "E-DTYPE-07": { message: "{op}: \"{dtype}\" is not a dtype", hint: "one of: {allowed}" },
  "E-DTYPE-08": { message: "{what} is {type}, not an integer", hint: "use div(a, b) for integer division" },

  "E-DIM-01": { message: "axis \"{axis}\" of \"{name}\" has the run-time size {size}", hint: "select a block: {name}.tile({ {axis}: … })" },
  "E-DIM-02": { message: "dim \"{dim}\" is {a} for one argument and {b} for another", hint: "give each its own name" },
  "E-DIM-03": { message: "the grid depends on {what}", hint: "grid bounds are made of sizes, literals, + - * div, Math.min and Math.max" },
  "E-DIM-04": { message: "grid returns {what}", hint: "return { name: each(count), other: blocks(axis, lo, hi, step) }" },
  "E-DIM-05": { message: "\"{name}\" is an input and cannot be written" },
  "E-DIM-06": { message: "{what} is {found}, not a positive integer" },
  "E-DIM-07": {
    message: "\"{name}\" is an output and cannot be read",
    hint: "blocks write it in any order: keep the tile that was stored",
  },

  "E-STORE-01": {
    message: "{target} writes {granule} bytes at a time, and this store to \"{param}\" ({dtype}) does not fill them",
    hint: "give the last axis of \"{param}\" a fixed extent that is a multiple of {elements} (or a pitch option), start blocks at multiples of {elements}, store without keep, or use f32",
  },
  "E-SCHEDULE-01": { message: "the schedule of {kernel} for {target} names \"{label}\" in {part}, which is no {what} of the kernel", hint: "its {what}s are {known}.{guess}" },
  "E-SCHEDULE-02": { message: "the schedule of {kernel} for {target} sends \"{label}\" through a ring, but {reason}", hint: "{instead}" },
  "E-SCHEDULE-03": { message: "the schedule of {kernel} for {target}: {reason}", hint: "{instead}" },
  "E-MMA-01": { message: "wgmma cannot compute \"{product}\" of {kernel} on {target}: {reason}", hint: "change the tune numbers or leave it out of the schedule's mma" },
  "E-FIT-01": {
    message: "{kernel} needs {need} bytes of shared memory in a block, {target} has {have}: {largest}",
    hint: "lower a tune number ({tune}) or the spec value behind the largest axis",
  },
} as const satisfies Record<string, Template>;

export type Code = keyof typeof templates;
type Slots<S> = S extends `${string}{${infer Name}}${infer Rest}` ? (Name extends `${string} ${string}` ? never : Name) | Slots<Rest> : never;
type HintOf<T> = T extends { readonly hint: infer H } ? H : "";
/** The values that a code's message and hint ask for. */
export type Details<C extends Code> = Readonly<
  Record<Slots<(typeof templates)[C]["message"]> | Slots<HintOf<(typeof templates)[C]>>, string | number>
>;

export interface Note {
  readonly span: Span;
  readonly text: string;
}

const fill = (template: string, details: Readonly<Record<string, string | number>>): string =>
  template.replace(/\{(\w+)\}/g, (whole, name: string) => (name in details ? String(details[name]) : whole));

/** A mistake in a user's text. `message` holds code and text; `format` shows the source too. */
export class CompileError extends Error {
  readonly code: Code;
  readonly span: Span | undefined;
  readonly notes: readonly Note[];
  readonly hint: string | undefined;

  constructor(code: Code, span: Span | undefined, text: string, hint: string | undefined, notes: readonly Note[]) {
    super(`${code} ${text}`);
    this.name = "CompileError";
    this.code = code;
    this.span = span;
    this.notes = notes;
    this.hint = hint;
  }
}

/** Makes the error of a code; `notes` point at the other ends. */
export function diagnostic<C extends Code>(code: C, span: Span | undefined, details: Details<C>, notes: readonly Note[] = []): CompileError {
  const template: Template = templates[code];
  const values = details as Readonly<Record<string, string | number>>;
  return new CompileError(code, span, fill(template.message, values), template.hint && fill(template.hint, values), notes);
}

/** The text of a file that an error names; undefined where it is not at hand. */
export type Sources = (file: string) => string | undefined;

/** The error as a terminal shows it: place, text, underlined source, notes with their own lines, hint. No final newline. */
export function format(error: CompileError, sources: Sources): string {
  const lines = [`${error.span ? `${place(error.span)}: ` : ""}${error.message}`, ...excerpt(error.span, sources)];
  for (const note of error.notes) lines.push(`  note ${place(note.span)}: ${note.text}`, ...excerpt(note.span, sources));
  if (error.hint) lines.push(`  try: ${error.hint}`);
  return lines.join("\n");
}
const place = (span: Span): string => `${span.file}:${span.line}:${span.column}`;

function excerpt(span: Span | undefined, sources: Sources): readonly string[] {
  const line = span && sources(span.file)?.split("\n")[span.line - 1];
  if (!span || line === undefined) return [];
  const gutter = `${span.line} | `;
  const rest = Math.max(1, Math.min(span.length, line.length - span.column + 1));
  return [`  ${gutter}${line}`, `  ${" ".repeat(gutter.length + span.column - 1)}${"~".repeat(rest)}`];
}
