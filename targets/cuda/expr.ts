/** Expressions and addresses of the Loop IR as CUDA C++. */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import type { Expr, ScalarType } from "../../compiler/ir/expr.ts";
import type { LoopKernel } from "../../compiler/ir/loop.ts";
import type { Field, HostExpr, Param } from "../../compiler/ir/manifest.ts";
import { atom, branch, call, divideExactly, EmitError, floatBits, floatLiteral, foldBinary, infix, type Names, plus, plusInteger, prefix, type Text } from "../text.ts";
import { decodeName, isNarrow, roundName } from "./codec.ts";

export const scalarText: Record<ScalarType, string> = { f32: "float", i32: "int", u32: "u32", bool: "bool" };

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
const isTyped = (p: Param, f: Field): boolean => [...p.axes, ...f.axes].every((a) => divideExactly(a.stride, byteSize(f.dtype)) !== undefined);

const functions: Record<string, { readonly f32?: string; readonly integer?: string }> = {
  exp: { f32: "expf" },
  exp2: { f32: "exp2f" },
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
};

/** Prints expressions of one kernel; `need` is told the helper functions that the text calls. */
export class CudaExprs {
  readonly #kernel: LoopKernel;
  readonly #names: Names;
  readonly #need: (helper: string) => void;
  readonly #dims: ReadonlySet<string>;
  constructor(kernel: LoopKernel, names: Names, need: (helper: string) => void) {
    this.#kernel = kernel;
    this.#names = names;
    this.#need = need;
    this.#dims = new Set(kernel.dims.map((d) => d.name));
  }

  text(e: Expr): string {
    return this.print(e).code;
  }

  print(e: Expr): Text {
    switch (e.kind) {
      case "Const":
        return constantText(e.type, e.value);
      case "Var":
        return atom(this.variable(e.name));
      case "BlockIndex":
        return atom("block");
      case "ThreadIndex":
        return atom("thread");
      case "Unary":
        return prefix(e.op, this.as(e.type, e.a));
      case "Binary":
        return this.#binary(e);
      case "Select": {
        const [cond, then, otherwise] = [this.print(e.cond), this.print(e.then), this.print(e.otherwise)];
        return { code: `${branch(cond)} ? ${branch(then)} : ${branch(otherwise)}`, binds: "ternary" };
      }
      case "Call":
        return this.#call(e);
      case "Convert":
        return this.#convert(e.type, e.a);
      case "Round":
        this.#need(roundName(e.dtype));
        return call(roundName(e.dtype), this.print(e.a));
      case "Reg":
        return atom(this.register(e.array, e.index));
      case "Shared":
        return this.decode(this.buffer(e.buffer).dtype, atom(`${this.#names.of("buffer", e.buffer)}[${this.text(e.index)}]`));
      case "GlobalElement": {
        const value = this.decode(this.field(e.param, e.field).dtype, atom(this.element(e.param, e.field, e.coords)));
        if (!e.guard) return value;
        if (!e.fill) throw new EmitError(this.#kernel.name, `a guarded element of "${e.param}" has no fill value`);
        return { code: `${branch(this.print(e.guard))} ? ${value.code} : ${branch(this.print(e.fill))}`, binds: "ternary" };
      }
    }
  }

  variable(name: string): string {
    return this.#names.of(this.#dims.has(name) ? "dim" : "scalar", name);
  }
  register(array: string, index: Expr): string {
    return `${this.#names.of("array", array)}[${this.text(index)}]`;
  }
  buffer(name: string): LoopKernel["shared"][number] {
    const buffer = this.#kernel.shared.find((b) => b.name === name);
    if (!buffer) throw new EmitError(this.#kernel.name, `there is no shared buffer "${name}"`);
    return buffer;
  }
  param(name: string): Param {
    const param = this.#kernel.params.find((p) => p.name === name);
    if (!param) throw new EmitError(this.#kernel.name, `there is no param "${name}"`);
    return param;
  }
  field(param: string, name: string): Field {
    const field = this.param(param).fields.find((f) => f.name === name);
    if (!field) throw new EmitError(this.#kernel.name, `param "${param}" has no field "${name}"`);
    return field;
  }

  /** An lvalue. */
  element(param: string, field: string, coords: readonly Expr[]): string {
    const p = this.param(param);
    const name = this.#names.of("param", param);
    if (!isRecord(p)) return `${name}[${this.#offset(p, this.field(param, field), coords).code}]`;
    return prefix("*", this.pointer(param, field, coords)).code;
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
    const start = atom(this.#names.of("param", param));
    return offset.code === "0" ? start : plus(start, offset);
  }
  sharedPointer(buffer: string, index: Expr): Text {
    const base = atom(this.#names.of("buffer", buffer));
    return index.kind === "Const" && index.value === 0 ? base : plus(base, this.print(index));
  }

  /** The value of a printed element in memory. */
  decode(dtype: DType, element: Text): Text {
    if (!isNarrow(dtype)) return element;
    this.#need(decodeName(dtype));
    return call(decodeName(dtype), element);
  }

  /**
   * Elements (bytes of a record) from the param's start. Axes whose whole extent is known and small add up in 32 bits;
   * from the first run-time size or stride outwards the products are 64 bits wide.
   */
  #offset(p: Param, f: Field, coords: readonly Expr[]): Text {
    const unit = isRecord(p) ? 1 : byteSize(f.dtype);
    const axes = [...p.axes, ...f.axes];
    if (axes.length !== coords.length)
      throw new EmitError(this.#kernel.name, `"${p.name}.${f.name}" has ${axes.length} axes and is accessed with ${coords.length} coords`);
    let small = true;
    const wide: Text[] = [];
    const narrow: Text[] = f.offset === 0 ? [] : [atom(String(f.offset / unit))];
    for (let i = axes.length - 1; i >= 0; i--) {
      const { size, stride } = axes[i]!;
      const step = divideExactly(stride, unit)!;
      small &&= typeof size === "number" && typeof step === "number" && size * step < 2 ** 31;
      const coord = this.print(coords[i]!);
      if (coord.code === "0") continue;
      if (step === 1) narrow.unshift(coord);
      else if (small) narrow.unshift(infix("*", coord, atom(String(step))));
      else wide.unshift(infix("*", prefix("(i64)", coord), this.host(step, true)));
    }
    const inner = narrow.length > 0 ? narrow.reduce(plus) : undefined;
    return inner ? [...wide, inner].reduce(plus) : wide.length > 0 ? wide.reduce(plus) : atom("0");
  }

  /** A host expression over the dims; `wide` makes its products 64 bits. */
  host(e: HostExpr, wide = false): Text {
    if (typeof e === "number") return atom(String(e));
    if (typeof e === "string") return atom(this.variable(e));
    const args = e.args.map((a) => this.host(a, wide));
    switch (e.op) {
      case "add":
        return args.reduce(plus);
      case "sub":
        return args.reduce((a, b) => infix("-", a, b));
      case "mul":
        return args.reduce((a, b) => infix("*", a === args[0] && wide ? prefix("(i64)", a) : a, b));
      case "div":
        return args.reduce((a, b) => infix("/", a, b));
      case "ceilDiv":
        return args.reduce((a, b) => infix("/", infix("-", plus(a, b), atom("1")), b));
      case "min":
      case "max":
        return args.reduce((a, b) => call(e.op, a, b));
    }
  }

  #binary(e: Extract<Expr, { kind: "Binary" }>): Text {
    const folded = foldBinary(e);
    if (folded) return this.print(folded);
    switch (e.op) {
      case "+":
        return (e.type === "f32" ? plus : plusInteger)(this.as(e.type, e.a), this.as(e.type, e.b));
      case "-":
      case "*":
      case "/":
      case "&":
      case "|":
      case "^":
        return infix(e.op, this.as(e.type, e.a), this.as(e.type, e.b));
      case "%":
        if (e.type === "f32") return call("fmodf", this.print(e.a), this.print(e.b));
        return infix("%", this.as(e.type, e.a), this.as(e.type, e.b));
      case "<<":
        return infix("<<", this.as(e.type, e.a), this.#shiftCount(e.b));
      case ">>":
        return infix(">>", this.as(e.type, e.a), this.#shiftCount(e.b));
      case ">>>": {
        const shifted = infix(">>", this.as("u32", e.a), this.#shiftCount(e.b));
        return e.type === "u32" ? shifted : prefix("(int)", shifted);
      }
      default:
        return infix(e.op, this.print(e.a), this.print(e.b));
    }
  }

  /** JavaScript takes counts modulo 32, C++ leaves larger ones undefined. */
  #shiftCount(count: Expr): Text {
    return count.kind === "Const" ? atom(String(count.value & 31)) : infix("&", this.print(count), atom("31"));
  }

  #call(e: Extract<Expr, { kind: "Call" }>): Text {
    const [first, second] = e.args;
    if ((e.fn === "div" || e.fn === "mod") && first && second) return infix(e.fn === "div" ? "/" : "%", this.print(first), this.print(second));
    const row = functions[e.fn];
    const name = first?.type === "f32" ? row?.f32 : row?.integer;
    if (name === undefined || !first) throw new EmitError(this.#kernel.name, `CUDA has no text for the function "${e.fn}" of ${first?.type ?? "no operand"}`);
    if (e.fn === "abs" && first.type === "u32") return this.print(first);
    const text = call(name, ...e.args.map((a) => (e.fn === "floatOf" ? this.as("u32", a) : this.print(a))));
    return e.fn === "popcount" && e.type === "u32" ? prefix("(u32)", text) : text;
  }

  /** An operand of an operation on `type`: i32 and u32 are the same bits. */
  as(type: ScalarType, e: Expr): Text {
    return e.type === type ? this.print(e) : this.#convert(type, e);
  }

  #convert(type: ScalarType, a: Expr): Text {
    const from = this.print(a);
    if (a.type === type) return from;
    if (type === "bool") return infix("!=", from, constantText(a.type, 0));
    if (a.type === "f32") return call(type === "i32" ? "__float2int_rz" : "__float2uint_rz", from);
    if (a.kind === "Const") return constantText(type, type === "u32" ? a.value >>> 0 : type === "i32" ? a.value | 0 : a.value);
    return prefix(`(${scalarText[type]})`, from);
  }
}

export function constantText(type: ScalarType, value: number): Text {
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
