/** What the emitters of C-like languages share: parentheses, number literals, identifiers, source comments. */
import { basename } from "node:path";
import type { BinaryOp, Expr, ScalarType } from "../compiler/ir/expr.ts";
import { bodiesOf, type LoopKernel, type LoopStmt } from "../compiler/ir/loop.ts";
import type { HostExpr } from "../compiler/ir/manifest.ts";
import type { Loc } from "../compiler/ir/tile.ts";

/** A fault of the compiler, never of the author: a pass handed the emitter something that the target has no text for. */
export class EmitError extends Error {
  override readonly name = "EmitError";
  constructor(kernel: string, problem: string) {
    super(`cannot print kernel "${kernel}": ${problem}`);
  }
}

/** A printed expression. `binds` says how tightly its outermost operator holds. */
export interface Text {
  readonly code: string;
  readonly binds: Binding;
}
/** "unary" and "atom" never need parentheses as operands. */
export type Binding = "atom" | "unary" | "ternary" | BinaryOp;

export const atom = (code: string): Text => ({ code, binds: "atom" });
export const parens = (t: Text): string => (t.binds === "atom" ? t.code : `(${t.code})`);
const isUnary = (t: Text): boolean => t.binds === "atom" || t.binds === "unary";
export const prefix = (op: string, t: Text): Text => ({
  code: op + (isUnary(t) && !t.code.startsWith("-") ? t.code : `(${t.code})`),
  binds: "unary",
});
/** WGSL reads `f(a < b, c >> d)` as a template list, so comparisons that might open or close one are wrapped. */
export function call(fn: string, ...args: readonly Text[]): Text {
  const opens = args.some((t) => t.code.includes("<")) && args.some((t) => t.code.includes(">"));
  return atom(`${fn}(${args.map((t) => (opens && comparisons.includes(t.binds) ? `(${t.code})` : t.code)).join(", ")})`);
}

const comparisons: readonly Binding[] = ["<", "<=", ">", ">=", "==", "!="];
const sums: readonly Binding[] = ["+", "-"];
/** Operators that may stand unwrapped to the left (first) and to the right (second); what WGSL accepts and people read without a table. */
const unwrapped: Partial<Record<BinaryOp, readonly [readonly Binding[], readonly Binding[]]>> = {
  "+": [
    [...sums, "*", "/"],
    ["*", "/"],
  ],
  "-": [
    [...sums, "*", "/"],
    ["*", "/"],
  ],
  "*": [["*"], []],
  "&": [["&"], []],
  "|": [["|"], []],
  "^": [["^"], []],
  "&&": [["&&", ...comparisons], comparisons],
  "||": [["||", ...comparisons], comparisons],
};
const around: readonly Binding[] = [...sums, "*", "/", "%"];
const aroundComparison: readonly [readonly Binding[], readonly Binding[]] = [around, around];

export function infix(op: BinaryOp, a: Text, b: Text): Text {
  const [left, right] = comparisons.includes(op) ? aroundComparison : (unwrapped[op] ?? [[], []]);
  const side = (t: Text, bare: readonly Binding[]) => (isUnary(t) || bare.includes(t.binds) ? t.code : `(${t.code})`);
  return { code: `${side(a, left)} ${op} ${side(b, right)}`, binds: op };
}

/** a + b, printed as a - |b| when b is a negative literal (but for -2^31, which has no positive twin). */
export const plus = (a: Text, b: Text): Text =>
  /^-\d/.test(b.code) && isUnary(b) && b.code !== "-2147483648" ? infix("-", a, atom(b.code.slice(1))) : infix("+", a, b);
/** a + b of integers, which may be regrouped: a + (b + c) needs no parentheses. */
export const plusInteger = (a: Text, b: Text): Text =>
  sums.includes(b.binds) && !b.code.startsWith("-") ? { code: `${infix("+", a, atom("")).code}${b.code}`, binds: "+" } : plus(a, b);
/** An operand of `?:`, which should not be one itself. */
export const branch = (t: Text): string => (t.binds === "ternary" ? parens(t) : t.code);

/** Joins statements to lines of at most `width` columns, equally many (a power of two) on each. */
export function flow(statements: readonly string[], width = 120): string[] {
  const lines = (perLine: number) =>
    Array.from({ length: Math.ceil(statements.length / perLine) }, (_, i) => statements.slice(i * perLine, (i + 1) * perLine).join(" "));
  let perLine = 1;
  while (perLine < statements.length && lines(2 * perLine).every((l) => l.length <= width)) perLine *= 2;
  return lines(perLine);
}

/** `open` item, item, … `close` on one line if it fits, else an item a line. */
export function list(open: string, items: readonly string[], close: string, width = 120): string[] {
  const line = `${open}${items.join(", ")}${close}`;
  return line.length <= width ? [line] : [open, ...items.map((item, i) => `    ${item}${i + 1 < items.length ? "," : close}`)];
}

const word = new DataView(new ArrayBuffer(4));
/** The bit pattern of an f32 as a hexadecimal literal. */
export const floatBits = (x: number): string => (word.setFloat32(0, x), `0x${word.getUint32(0).toString(16).padStart(8, "0")}u`);

/** WGSL refuses decimals above it, even those that round to it. */
const largestFloat = (2 - 2 ** -23) * 2 ** 127;

/** Shortest literal that reads back as the f32 nearest to x (finite), with the suffix f. */
export function floatLiteral(x: number): string {
  const value = Math.fround(x);
  let digits = String(value);
  for (let precision = 1; precision <= 9; precision++) {
    const text = String(Number(value.toPrecision(precision)));
    if (Math.fround(Number(text)) === value && Math.abs(Number(text)) <= largestFloat) {
      digits = text;
      break;
    }
  }
  if (Object.is(value, -0)) digits = "-0";
  return `${/[.e]/.test(digits) ? digits : `${digits}.0`}f`;
}

/**
 * The constant that an operation on constants is, if it is one: compilers reject or warn about constant expressions that overflow
 * (`255 << 24` in WGSL). Integers as in JavaScript, floats rounded to f32; nothing that is not finite.
 */
export function foldConstant(e: Expr): Extract<Expr, { kind: "Const" }> | undefined {
  if (e.kind === "Const") return e;
  if (e.type === "bool") return undefined;
  let value: number | undefined;
  if (e.kind === "Convert") {
    const a = foldConstant(e.a);
    value = a && (e.type === "f32" ? a.value : Math.trunc(a.value));
  } else if (e.kind === "Unary") {
    const a = foldConstant(e.a);
    value = a && (e.op === "-" ? -a.value : ~a.value);
  } else if (e.kind === "Binary") {
    const [a, b] = [foldConstant(e.a), foldConstant(e.b)];
    value = a && b && fold[e.op]?.(a.value, b.value, e.type);
  }
  if (value === undefined || !Number.isFinite(value)) return undefined;
  return { kind: "Const", type: e.type, value: e.type === "f32" ? Math.fround(value) : e.type === "u32" ? value >>> 0 : value | 0 };
}
const fold: Partial<Record<BinaryOp, (a: number, b: number, type: ScalarType) => number>> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b, type) => (type === "f32" ? a * b : Math.imul(a, b)),
  "&": (a, b) => a & b,
  "|": (a, b) => a | b,
  "^": (a, b) => a ^ b,
  "<<": (a, b) => a << b,
  ">>": (a, b, type) => (type === "u32" ? a >>> b : a >> b),
  ">>>": (a, b) => a >>> b,
};

/** e / divisor where that is exact whatever the dims are, else undefined. */
export function divideExactly(e: HostExpr, divisor: number): HostExpr | undefined {
  if (divisor === 1) return e;
  if (typeof e === "number") return e % divisor === 0 ? e / divisor : undefined;
  if (typeof e === "string") return undefined;
  if (e.op === "mul") {
    for (const [i, factor] of e.args.entries()) {
      const quotient = divideExactly(factor, divisor);
      if (quotient === undefined) continue;
      const args = e.args.map((a, j) => (i === j ? quotient : a)).filter((a) => a !== 1);
      return args.length === 0 ? 1 : args.length === 1 ? args[0] : { op: "mul", args };
    }
  }
  if (e.op === "add" || e.op === "sub") {
    const args = e.args.map((a) => divideExactly(a, divisor));
    return args.every((a) => a !== undefined) ? { op: e.op, args } : undefined;
  }
  return undefined;
}

/** What an identifier of the IR names; spaces do not clash in the IR, the printed identifiers must not either. */
export type NameSpace = "param" | "map" | "dim" | "buffer" | "barrier" | "array" | "scalar";
const suffix: Record<NameSpace, string> = { param: "global", map: "map", dim: "dim", buffer: "shared", barrier: "barrier", array: "regs", scalar: "value" };

/** A legal identifier made of a name of the IR ("e0.alpha" becomes e0_alpha). */
export const identifier = (name: string): string =>
  name
    .replace(/[^A-Za-z0-9_]/g, "_")
    .replace(/^(?=\d)/, "_")
    .replace(/__+/g, "_")
    .replace(/^_$/, "unnamed"); // WGSL has no variable of this name

/** Gives every name of the IR one identifier: the author's, unless the language reserves it or another thing has it. */
export class Names {
  readonly #taken: Set<string>;
  readonly #given = new Map<string, string>();
  constructor(reserved: Iterable<string>) {
    this.#taken = new Set(reserved);
  }
  of(space: NameSpace, name: string): string {
    const key = `${space} ${name}`;
    let text = this.#given.get(key);
    if (text === undefined) this.#given.set(key, (text = this.#take(identifier(name), suffix[space])));
    return text;
  }
  /** An identifier of the emitter's own; ask after all names of the kernel are given. */
  fresh(name: string): string {
    return this.#take(name, "2");
  }
  #take(base: string, tail: string): string {
    const tries = [base, `${base}_${tail}`];
    for (let n = 2; ; n++) {
      const free = tries.find((t) => !this.#taken.has(t));
      if (free !== undefined) {
        this.#taken.add(free);
        return free;
      }
      tries.splice(0, tries.length, `${base}_${tail}${n}`);
    }
  }
}

/** Names everything that the kernel declares: params and dims keep theirs, then what stands in the body, in order. */
export function nameKernel(kernel: LoopKernel, names: Names): void {
  for (const p of kernel.params) names.of("param", p.name);
  for (const d of kernel.dims) names.of("dim", d.name);
  for (const m of kernel.tensorMaps) names.of("map", m.name);
  for (const b of kernel.shared) names.of("buffer", b.name);
  for (const b of kernel.barriers) names.of("barrier", b.name);
  for (const s of allStatements(kernel.body)) {
    if (s.kind === "Array") names.of("array", s.name);
    if (s.kind === "Let" || s.kind === "Uniform" || s.kind === "Variable" || s.kind === "For" || s.kind === "Cursor") names.of("scalar", s.name);
    if (s.kind === "Atomic" && s.old !== undefined) names.of("scalar", s.old);
  }
}

export function* allStatements(body: readonly LoopStmt[]): Generator<LoopStmt> {
  for (const s of body) {
    yield s;
    for (const inner of bodiesOf(s)) yield* allStatements(inner);
  }
}

const width = 140;
/**
 * Breaks a line that is too long after a comma, else before an operator, as far out of the brackets as possible; what follows is indented
 * by four more. Comments and directives stay whole.
 */
function wrap(line: string, more = 4): string[] {
  if (line.length <= width || /^\s*(\/\/|#)/.test(line)) return [line];
  const indent = /^ */.exec(line)![0].length;
  let depth = 0;
  let best = { at: 0, rank: Infinity };
  for (let i = indent + 1; i < width; i++) {
    const c = line[i]!;
    if ("([{".includes(c)) depth++;
    if (")]}".includes(c)) depth--;
    const comma = line.slice(i - 2, i) === ", ";
    const operator = line[i - 1] === " " && /^(\+|-|\*|\||&&|\|\||\?|:) /.test(line.slice(i, i + 3));
    const rank = 2 * depth + (comma ? 0 : 1);
    if ((comma || operator) && rank <= best.rank) best = { at: i, rank };
  }
  if (best.at === 0) return [line];
  const rest = " ".repeat(indent + more) + line.slice(best.at);
  return [line.slice(0, best.at).trimEnd(), ...wrap(rest, 0)];
}

/** Lines of a body, indented by blocks. */
export class Lines {
  readonly #lines: string[] = [];
  #indent = "";
  /** The place that the lines now printed come from. */
  #source = "";
  add(...lines: readonly string[]): void {
    for (const line of lines) this.#lines.push(...(line === "" ? [""] : wrap(this.#indent + line)));
  }
  /** The line `open` (absent: the last block's closing line opens this one), what `body` adds further in, the line `close`. */
  block(open: string | undefined, body: () => void, close = "}"): void {
    if (open !== undefined) this.add(open);
    const before = this.#indent;
    this.#indent += "  ";
    body();
    this.#indent = before;
    this.add(close);
  }
  /** A comment with file, line and text of the TypeScript that follows, unless the lines above come from there too. */
  source(loc: Loc, sourceLine: (loc: Loc) => string): void {
    const place = `${basename(loc.file)}:${loc.line}`;
    if (place === this.#source) return;
    this.#source = place;
    const opensBlock = /\{$/.test(this.#lines.at(-1) ?? "{");
    if (!opensBlock) this.add("");
    this.add(`// ${place}  ${sourceLine(loc).trim()}`);
  }
  toString(): string {
    return this.#lines.join("\n");
  }
}
