/** Expressions and addresses of the Loop IR as WGSL. */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import type { Expr, ScalarType } from "../../compiler/ir/expr.ts";
import type { LoopKernel } from "../../compiler/ir/loop.ts";
import type { Param } from "../../compiler/ir/manifest.ts";
import { ExprPrinter } from "../expr_printer.ts";
import { atom, call, divideExactly, floatBits, floatLiteral, infix, type Names, plusInteger, type Text } from "../text.ts";
import { decodeName, isNarrow, type Narrow, roundName } from "./codec.ts";

type Node<K extends Expr["kind"]> = Extract<Expr, { kind: K }>;

/** The type that elements compute in. */
export const computeType = (dtype: DType): "f32" | "i32" | "u32" => (dtype === "i32" || dtype === "u32" ? dtype : "f32");

/** Plain tensors of 32-bit elements are arrays of their type; narrow formats and records are arrays of words, addressed in bytes. */
export function isWords(p: Param): boolean {
  const [field] = p.fields;
  if (p.fields.length !== 1 || !field || field.offset !== 0 || byteSize(field.dtype) < 4) return true;
  return [...p.axes, ...field.axes].some((a) => divideExactly(a.stride, 4) === undefined);
}

const functions: Record<string, string> = {
  ...Object.fromEntries(
    ["exp", "exp2", "log", "log2", "log1p", "sqrt", "abs", "floor", "ceil", "sin", "cos", "max", "min"].map((name) => [name, name]),
  ),
  tanh: "stableTanh",
  bitsOf: "bitcast<u32>",
  floatOf: "floatFromBits",
  popcount: "countOneBits",
  clz32: "countLeadingZeros",
  orderedKey: "orderedKey",
  orderedValue: "orderedValue",
};

/** Where helper functions of one file are collected. */
export interface HelperSink {
  /** Names of the parameters of accessors; they must not hide what the kernel declares. */
  readonly locals: Readonly<Record<"inside" | "at" | "fill" | "word" | "codes" | "count", string>>;
  /** One of wgsl/codec.ts. */
  need(helper: string): void;
  /** An accessor of the kernel's own: `define` writes it under the identifier that it gets. */
  accessor(name: string, define: (identifier: string) => string): string;
}

export class WgslExprs extends ExprPrinter {
  readonly #sink: HelperSink;
  readonly #atomics: ReadonlySet<string>;
  constructor(kernel: LoopKernel, names: Names, sink: HelperSink, atomics: ReadonlySet<string>) {
    super(kernel, names);
    this.#sink = sink;
    this.#atomics = atomics;
  }

  /** Index of an element in its array, or its byte address where the array holds words (then a signed 32-bit sum that may wrap). */
  offset(param: string, field: string, coords: readonly Expr[]): Text {
    const p = this.param(param);
    const f = this.field(param, field);
    const { steps, constant } = this.place(p, f, coords, isWords(p) ? 1 : 4);
    const terms = steps.map(({ coord, step }) => (step === 1 ? coord : infix("*", coord, this.host(step))));
    if (constant !== 0) terms.push(atom(String(constant)));
    return terms.length > 0 ? terms.reduce(plusInteger) : atom("0");
  }
  /** What `offset` grows by from one element to the next along the last axis. */
  lastStep(param: string, field: string): Text {
    const p = this.param(param);
    const last = [...p.axes, ...this.field(param, field).axes].at(-1) ?? this.fail(`"${param}" has no axis to advance along`);
    return this.host(divideExactly(last.stride, isWords(p) ? 1 : 4)!);
  }
  /** The word that holds a byte. */
  word(byte: Text): Text {
    return infix(">>", call("u32", byte), atom("2u"));
  }

  /** The value of an element at an offset; `guarded` adds a condition and a value for where it is false. */
  load(param: string, dtype: DType, offset: Text, guarded?: { readonly inside: Text; readonly fill: Text }): Text {
    const p = this.param(param);
    const name = this.names.of("param", param);
    if (!guarded && !isWords(p)) return atom(`${name}[${offset.code}]`);
    const type = computeType(dtype);
    const { inside, at, fill } = this.#sink.locals;
    const value = isWords(p) ? this.#fromBytes(name, dtype) : `${name}[${at}]`;
    const base = isWords(p) ? `${name}_${dtype}` : name;
    if (!guarded)
      return call(
        this.#sink.accessor(base, (id) => `fn ${id}(${at}: i32) -> ${type} { return ${value}; }`),
        offset,
      );
    // without a branch: loads that follow each other may be under way together
    const accessor = this.#sink.accessor(`${base}_or`, (id) =>
      [
        `fn ${id}(${inside}: bool, ${at}_wanted: i32, ${fill}: ${type}) -> ${type} {`,
        `  let ${at} = select(0, ${at}_wanted, ${inside});`,
        `  return select(${fill}, ${value}, ${inside});`,
        "}",
      ].join("\n"),
    );
    return call(accessor, guarded.inside, offset, guarded.fill);
  }

  /** Code of one element of a word. */
  decodeWord(dtype: Narrow, word: string, element: number): string {
    this.#sink.need(decodeName(dtype));
    const bits = 8 * byteSize(dtype);
    const mask = `0x${(2 ** bits - 1).toString(16)}u`;
    const shifted = element === 0 ? word : `${word} >> ${element * bits}u`;
    const code = element === 0 ? `${word} & ${mask}` : (element + 1) * bits === 32 ? shifted : `(${shifted}) & ${mask}`;
    return `${decodeName(dtype)}(${code})`;
  }

  constant(type: ScalarType, value: number): Text {
    const literal = (code: string): Text => ({ code, binds: code.startsWith("-") ? "unary" : "atom" });
    switch (type) {
      case "bool":
        return atom(value ? "true" : "false");
      case "u32":
        return atom(value > 0xffff ? `0x${(value >>> 0).toString(16)}u` : `${value >>> 0}u`);
      case "i32":
        return literal(String(value | 0));
      case "f32": {
        const nearest = Math.fround(value);
        if (Number.isFinite(nearest) && (nearest === 0 || Math.abs(nearest) >= 2 ** -126)) return literal(floatLiteral(value));
        this.#sink.need("floatFromBits");
        return atom(`floatFromBits(${floatBits(value)})`);
      }
    }
  }

  protected dim(name: string): Text {
    return atom(`dims.${this.names.of("dim", name)}`);
  }
  protected blockCount(): Text {
    return this.fail("WGSL has no text for the number of blocks");
  }
  protected select(e: Node<"Select">): Text {
    return call("select", this.print(e.otherwise), this.print(e.then), this.print(e.cond));
  }
  protected round(e: Node<"Round">): Text {
    this.#sink.need(roundName(e.dtype));
    return call(roundName(e.dtype), this.print(e.a));
  }
  protected shared(e: Node<"Shared">): Text {
    const { dtype } = this.buffer(e.buffer);
    const name = this.names.of("buffer", e.buffer);
    if (this.#atomics.has(e.buffer)) return atom(`atomicLoad(&${this.bufferElement(e.buffer, e.index)})`);
    if (!isNarrow(dtype)) return atom(this.bufferElement(e.buffer, e.index));
    const bits = 8 * byteSize(dtype);
    const perWord = 32 / bits;
    this.#sink.need(decodeName(dtype));
    const { at } = this.#sink.locals;
    const code = `extractBits(${name}[${at} >> ${Math.log2(perWord)}u], u32(${at} & ${perWord - 1}) * ${bits}u, ${bits}u)`;
    const accessor = this.#sink.accessor(`${name}_at`, (id) => `fn ${id}(${at}: i32) -> f32 { return ${decodeName(dtype)}(${code}); }`);
    return call(accessor, this.print(e.index));
  }
  protected globalElement(e: Node<"GlobalElement">): Text {
    const { dtype } = this.field(e.param, e.field);
    const offset = this.offset(e.param, e.field, e.coords);
    if (!e.guard) return this.load(e.param, dtype, offset);
    const fill = e.fill ?? this.fail(`a guarded element of "${e.param}" has no fill value`);
    return this.load(e.param, dtype, offset, { inside: this.print(e.guard), fill: this.print(fill) });
  }
  protected scalarFunction(e: Node<"Call">): Text {
    const name = functions[e.fn] ?? this.fail(`WGSL has no text for the function "${e.fn}"`);
    for (const helper of ["log1p", "stableTanh", "floatFromBits", "orderedKey", "orderedValue"]) if (name === helper) this.#sink.need(helper);
    const text = call(name, ...e.args.map((a) => (e.fn === "floatOf" ? this.as("u32", a) : this.print(a))));
    return e.fn === "popcount" && e.args[0]?.type !== e.type ? call(e.type, text) : text;
  }
  protected conversion(type: ScalarType, a: Expr): Text {
    return call(type, this.print(a));
  }
  protected remainder(a: Text, b: Text): Text {
    return infix("%", a, b);
  }
  protected shiftCount(count: Expr): Text {
    return count.kind === "Const" ? atom(`${count.value & 31}u`) : infix("&", this.as("u32", count), atom("31u"));
  }
  protected reinterpret(bits: Text): Text {
    return call("i32", bits);
  }

  /** The element at a byte of an array of words. */
  #fromBytes(name: string, dtype: DType): string {
    const { at } = this.#sink.locals;
    const word = `${name}[u32(${at}) >> 2u]`;
    if (dtype === "u32") return word;
    if (!isNarrow(dtype)) return `bitcast<${dtype}>(${word})`;
    this.#sink.need(decodeName(dtype));
    const bits = 8 * byteSize(dtype);
    return `${decodeName(dtype)}(extractBits(${word}, (u32(${at}) & ${4 - bits / 8}u) * 8u, ${bits}u))`;
  }
}

/** An lvalue or value text as bits of a word. */
export const asBits = (dtype: DType, value: Text): string => (dtype === "u32" ? value.code : call("bitcast<u32>", value).code);
