/** Expressions and addresses of the Loop IR as CUDA C++. */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import type { Expr, ScalarType } from "../../compiler/ir/expr.ts";
import type { LoopKernel } from "../../compiler/ir/loop.ts";
import type { Field, Param } from "../../compiler/ir/manifest.ts";
import { ExprPrinter } from "../expr_printer.ts";
import { atom, branch, call, divideExactly, floatBits, floatLiteral, infix, type Names, plus, prefix, type Text } from "../text.ts";
import { decodeName, isNarrow, roundName } from "./codec.ts";

export const scalarText: Record<ScalarType, string> = { f32: "float", i32: "int", u32: "u32", bool: "bool" };

/** Truth values in arrays are integers: ptxas spills predicates that it has to keep. */
export const registerText: Record<ScalarType, string> = { ...scalarText, bool: "int" };

/** C++ type of one element in memory. */
export function elementType(dtype: DType): string {
  if (dtype === "f32") return "float";
  if (dtype === "i32") return "int";
  return dtype === "u32" ? "u32" : byteSize(dtype) === 1 ? "u8" : "u16";
}

/** A plain tensor is a pointer to its elements; records of several fields are bytes. */
export const pointerType = (p: Param): string => (isRecord(p) ? "u8" : elementType(p.fields[0]!.dtype));
const isRecord = (p: Param): boolean => p.fields.length > 1 || p.fields[0]?.offset !== 0 || !isTyped(p, p.fields[0]);
/** Every stride is a whole number of elements, whatever the dims are. */
const isTyped = (p: Param, f: Field): boolean =>
  [...p.axes, ...f.axes].every((a) => divideExactly(a.stride, byteSize(f.dtype)) !== undefined);

const functions: Record<string, { readonly f32?: string; readonly integer?: string }> = {
  exp: { f32: "expf" },
  exp2: { f32: "exp2Approx" },
  log: { f32: "logf" },
  log2: { f32: "log2f" },
  log1p: { f32: "log1pf" },
  sqrt: { f32: "sqrtf" },
  abs: { f32: "fabsf", integer: "abs" },
  floor: { f32: "floorf" },
  ceil: { f32: "ceilf" },
  tanh: { f32: "tanhf" },
  sin: { f32: "sinf" },
  cos: { f32: "cosf" },
  max: { f32: "fmaxf", integer: "max" },
  min: { f32: "fminf", integer: "min" },
  bitsOf: { f32: "__float_as_uint" },
  floatOf: { integer: "__uint_as_float" },
  popcount: { integer: "__popc" },
  clz32: { integer: "__clz" },
  orderedKey: { f32: "orderedKey" },
  orderedValue: { integer: "orderedValue" },
};

/** Functions above that are helpers of the file. */
const helpers: ReadonlySet<string> = new Set(["exp2Approx", "orderedKey", "orderedValue"]);

type Node<K extends Expr["kind"]> = Extract<Expr, { kind: K }>;

/** Prints expressions of one kernel; `need` is told the helper functions that the text calls. */
export class CudaExprs extends ExprPrinter {
  readonly #need: (helper: string) => void;
  constructor(kernel: LoopKernel, names: Names, need: (helper: string) => void) {
    super(kernel, names);
    this.#need = need;
  }

  /** An lvalue. */
  element(param: string, field: string, coords: readonly Expr[]): string {
    const p = this.param(param);
    if (isRecord(p)) return prefix("*", this.pointer(param, field, coords)).code;
    return `${this.names.of("param", param)}[${this.#offset(p, this.field(param, field), coords).code}]`;
  }
  /** A typed pointer to an element. */
  pointer(param: string, field: string, coords: readonly Expr[]): Text {
    const p = this.param(param);
    const address = this.address(param, field, coords);
    return isRecord(p) ? prefix(`(${p.access === "in" ? "const " : ""}${elementType(this.field(param, field).dtype)}*)`, address) : address;
  }
  /** A pointer to an element, of the type that the param is declared with. */
  address(param: string, field: string, coords: readonly Expr[]): Text {
    const offset = this.#offset(this.param(param), this.field(param, field), coords);
    const start = atom(this.names.of("param", param));
    return offset.code === "0" ? start : plus(start, offset);
  }
  sharedPointer(buffer: string, index: Expr): Text {
    const offset = this.print(index);
    const start = atom(this.names.of("buffer", buffer));
    return offset.code === "0" ? start : plus(start, offset);
  }

  /** A pointer to the barrier of a slot. */
  barrier(name: string, slot: Expr): Text {
    if (!this.kernel.barriers.some((b) => b.name === name)) this.fail(`there is no barrier "${name}"`);
    const offset = this.print(slot);
    const start = atom(this.names.of("barrier", name));
    return offset.code === "0" ? start : plus(start, offset);
  }
  tensorMap(name: string): string {
    if (!this.kernel.tensorMaps.some((m) => m.name === name)) this.fail(`there is no tensor map "${name}"`);
    return this.names.of("map", name);
  }

  /** The value of a printed element in memory. */
  decode(dtype: DType, element: Text): Text {
    if (!isNarrow(dtype)) return element;
    this.#need(decodeName(dtype));
    return call(decodeName(dtype), element);
  }

  constant(type: ScalarType, value: number): Text {
    const literal = (code: string): Text => ({ code, binds: code.startsWith("-") ? "unary" : "atom" });
    switch (type) {
      case "bool":
        return atom(value ? "true" : "false");
      case "u32":
        return atom(value > 0xffff ? `0x${(value >>> 0).toString(16)}u` : `${value >>> 0}u`);
      case "i32":
        return value === -(2 ** 31) ? atom("(-2147483647 - 1)") : literal(String(value | 0));
      case "f32":
        return Number.isFinite(Math.fround(value)) ? literal(floatLiteral(value)) : atom(`__uint_as_float(${floatBits(value)})`);
    }
  }

  protected dim(name: string): Text {
    return atom(this.names.of("dim", name));
  }
  protected blockCount(): Text {
    return atom("blocks");
  }
  protected select(e: Node<"Select">): Text {
    return { code: `${branch(this.print(e.cond))} ? ${branch(this.print(e.then))} : ${branch(this.print(e.otherwise))}`, binds: "ternary" };
  }
  protected round(e: Node<"Round">): Text {
    this.#need(roundName(e.dtype));
    return call(roundName(e.dtype), this.print(e.a));
  }
  protected shared(e: Node<"Shared">): Text {
    return this.decode(this.buffer(e.buffer).dtype, atom(this.bufferElement(e.buffer, e.index)));
  }
  protected globalElement(e: Node<"GlobalElement">): Text {
    const value = this.decode(this.field(e.param, e.field).dtype, atom(this.element(e.param, e.field, e.coords)));
    if (!e.guard) return value;
    const fill = e.fill ?? this.fail(`a guarded element of "${e.param}" has no fill value`);
    return { code: `${branch(this.print(e.guard))} ? ${value.code} : ${branch(this.print(fill))}`, binds: "ternary" };
  }
  protected scalarFunction(e: Node<"Call">): Text {
    const first = e.args[0];
    const row = functions[e.fn];
    const name = first?.type === "f32" ? row?.f32 : row?.integer;
    if (name === undefined || !first) this.fail(`CUDA has no text for the function "${e.fn}" of ${first?.type ?? "no operand"}`);
    if (e.fn === "abs" && first.type === "u32") return this.print(first);
    if (helpers.has(name)) this.#need(name);
    const text = call(name, ...e.args.map((a) => (e.fn === "floatOf" ? this.as("u32", a) : this.print(a))));
    return (e.fn === "popcount" || e.fn === "clz32") && e.type === "u32" ? prefix("(u32)", text) : text;
  }
  protected conversion(type: ScalarType, a: Expr): Text {
    if (a.kind === "Reg" && a.type === "bool" && type === "i32") return this.print(a); // an int already
    if (a.type === "f32") return call(type === "i32" ? "__float2int_rz" : "__float2uint_rz", this.print(a));
    return prefix(`(${scalarText[type]})`, this.print(a));
  }
  protected remainder(a: Text, b: Text): Text {
    return call("fmodf", a, b);
  }
  /** JavaScript takes counts modulo 32, C++ leaves larger ones undefined. */
  protected shiftCount(count: Expr): Text {
    return count.kind === "Const" ? atom(String(count.value & 31)) : infix("&", this.print(count), atom("31"));
  }
  protected reinterpret(bits: Text): Text {
    return prefix("(int)", bits);
  }

  /**
   * Elements (bytes of a record) from the param's start. Axes whose whole extent is known and small add up in 32 bits;
   * from the first run-time size or stride outwards the products are 64 bits wide.
   */
  #offset(p: Param, f: Field, coords: readonly Expr[]): Text {
    const { steps, constant } = this.place(p, f, coords, isRecord(p) ? 1 : byteSize(f.dtype));
    const wide: Text[] = [];
    const narrow: Text[] = constant === 0 ? [] : [atom(String(constant))];
    let small = true;
    for (const { coord, size, step } of steps.reverse()) {
      small &&= typeof size === "number" && typeof step === "number" && size * step < 2 ** 31;
      if (step === 1) narrow.unshift(coord);
      else if (small) narrow.unshift(infix("*", coord, this.host(step)));
      else
        wide.unshift(
          infix(
            "*",
            prefix("(i64)", coord),
            this.host(step, (t) => prefix("(i64)", t)),
          ),
        );
    }
    const inner = narrow.length > 0 ? [narrow.reduce(plus)] : [];
    const terms = [...wide, ...inner];
    return terms.length > 0 ? terms.reduce(plus) : atom("0");
  }
}
