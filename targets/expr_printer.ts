/** Expressions of the Loop IR as text of a C-like language; what CUDA and WGSL write differently is left to the two subclasses. */
import { byteSize } from "../dsl/dtype.ts";
import type { Expr, ScalarType } from "../compiler/ir/expr.ts";
import type { LoopKernel, SharedBuffer } from "../compiler/ir/loop.ts";
import type { Field, HostExpr, Param } from "../compiler/ir/manifest.ts";
import { isInteger, retype, typeForEquality } from "./retype.ts";
import { allStatements, atom, call, divideExactly, EmitError, foldConstant, infix, type Names, plus, plusInteger, prefix, type Text } from "./text.ts";

type Node<K extends Expr["kind"]> = Extract<Expr, { kind: K }>;

export interface Step {
  readonly coord: Text;
  readonly size: number | string;
  readonly step: HostExpr;
}

export abstract class ExprPrinter {
  protected readonly kernel: LoopKernel;
  protected readonly names: Names;
  readonly #dims: ReadonlySet<string>;
  /** Register arrays that some declaration makes longer than one register. */
  readonly #longArrays: ReadonlySet<string>;
  constructor(kernel: LoopKernel, names: Names) {
    this.kernel = kernel;
    this.names = names;
    this.#dims = new Set(kernel.dims.map((d) => d.name));
    this.#longArrays = new Set([...allStatements(kernel.body)].flatMap((s) => (s.kind === "Array" && s.size > 1 ? [s.name] : [])));
  }

  /** An array of one register prints as a scalar. */
  isScalar(array: string): boolean {
    return !this.#longArrays.has(array);
  }

  abstract constant(type: ScalarType, value: number): Text;
  protected abstract dim(name: string): Text;
  protected abstract blockCount(): Text;
  protected abstract select(e: Node<"Select">): Text;
  protected abstract round(e: Node<"Round">): Text;
  protected abstract shared(e: Node<"Shared">): Text;
  protected abstract globalElement(e: Node<"GlobalElement">): Text;
  /** A function of the scalar table other than div and mod. */
  protected abstract scalarFunction(e: Node<"Call">): Text;
  /** `a` has another type. */
  protected abstract conversion(type: ScalarType, a: Expr): Text;
  protected abstract remainder(a: Text, b: Text): Text;
  /** A shift count below 32. */
  protected abstract shiftCount(count: Expr): Text;

  text(e: Expr): string {
    return this.print(e).code;
  }

  print(e: Expr): Text {
    const folded = foldConstant(e);
    if (folded) return this.constant(folded.type, folded.value);
    switch (e.kind) {
      case "Const":
        return this.constant(e.type, e.value);
      case "Var":
        return this.variable(e.name);
      case "BlockIndex":
        return atom("block");
      case "BlockCount":
        return this.blockCount();
      case "WarpIndex":
        return atom("warp");
      case "ThreadIndex":
        return atom("thread");
      case "Unary":
        return e.op === "-" && e.type === "u32"
          ? infix("-", this.constant("u32", 0), this.as("u32", e.a))
          : prefix(e.op, this.as(e.type, e.a));
      case "Binary":
        return this.#binary(e);
      case "Select":
        return this.select(e);
      case "Call": {
        const [a, b] = e.args;
        if ((e.fn === "div" || e.fn === "mod") && a && b) return infix(e.fn === "div" ? "/" : "%", this.print(a), this.print(b));
        return this.scalarFunction(e);
      }
      case "Convert":
        return this.as(e.type, e.a);
      case "Round":
        return this.round(e);
      case "Reg":
        return atom(this.register(e.array, e.index));
      case "Shared":
        return this.shared(e);
      case "GlobalElement":
        return this.globalElement(e);
    }
  }

  /** An operand of an operation on `type`. */
  as(type: ScalarType, e: Expr): Text {
    if (e.type === type) return this.print(e);
    const moved = isInteger(type) ? retype(e, type) : undefined;
    if (moved) return this.print(moved);
    return type === "bool" ? infix("!=", this.print(e), this.constant(e.type, 0)) : this.conversion(type, e);
  }

  variable(name: string): Text {
    return this.#dims.has(name) ? this.dim(name) : atom(this.names.of("scalar", name));
  }
  register(array: string, index: Expr): string {
    if (this.isScalar(array)) return this.names.of("array", array);
    return `${this.names.of("array", array)}[${this.text(index)}]`;
  }

  bufferElement(buffer: string, index: Expr): string {
    return `${this.names.of("buffer", this.buffer(buffer).name)}[${this.text(index)}]`;
  }
  buffer(name: string): SharedBuffer {
    return this.kernel.shared.find((b) => b.name === name) ?? this.fail(`there is no shared buffer "${name}"`);
  }
  param(name: string): Param {
    return this.kernel.params.find((p) => p.name === name) ?? this.fail(`there is no param "${name}"`);
  }
  field(param: string, name: string): Field {
    return this.param(param).fields.find((f) => f.name === name) ?? this.fail(`param "${param}" has no field "${name}"`);
  }
  /** Elements lie side by side along the last axis. */
  isContiguous(param: string, field: string): boolean {
    const f = this.field(param, field);
    return [...this.param(param).axes, ...f.axes].at(-1)?.stride === byteSize(f.dtype);
  }
  fail(problem: string): never {
    throw new EmitError(this.kernel.name, problem);
  }

  /** A host expression over the dims; `factor` prints the first factor of a product, and may widen it. */
  host(e: HostExpr, factor: (t: Text) => Text = (t) => t): Text {
    if (typeof e === "number") return atom(String(e));
    if (typeof e === "string") return this.variable(e);
    const [first = atom("0"), ...rest] = e.args.map((a) => this.host(a, factor));
    switch (e.op) {
      case "add":
        return rest.reduce(plusInteger, first);
      case "sub":
        return rest.reduce((a, b) => infix("-", a, b), first);
      case "mul":
        return rest.reduce((a, b) => infix("*", a, b), factor(first));
      case "div":
        return rest.reduce((a, b) => infix("/", a, b), first);
      case "ceilDiv":
        return rest.reduce((a, b) => infix("/", plusInteger(a, this.#oneLess(b)), b), first);
      case "min":
      case "max":
        return rest.reduce((a, b) => call(e.op as string, a, b), first);
    }
  }

  /**
   * Where an element lies, in units of `unit` bytes: the coords that are not constants with their axis' size and step, outermost first,
   * and the sum of the constant ones.
   */
  protected place(p: Param, f: Field, coords: readonly Expr[], unit: number): { readonly steps: Step[]; readonly constant: number } {
    const axes = [...p.axes, ...f.axes];
    if (axes.length !== coords.length) this.fail(`"${p.name}" has ${axes.length} axes and is accessed with ${coords.length} coords`);
    let constant = f.offset / unit;
    const steps: Step[] = [];
    for (const [i, { size, stride }] of axes.entries()) {
      const coord = coords[i]!;
      const step = divideExactly(stride, unit) ?? this.fail(`the stride of an axis of "${p.name}" is no multiple of ${unit} bytes`);
      if (coord.kind === "Const" && typeof step === "number") constant += coord.value * step;
      else if (coord.kind !== "Const" || coord.value !== 0) steps.push({ coord: this.print(coord), size, step });
    }
    return { steps, constant };
  }

  #oneLess(t: Text): Text {
    return /^\d+$/.test(t.code) ? atom(String(Number(t.code) - 1)) : infix("-", t, atom("1"));
  }

  #binary(e: Node<"Binary">): Text {
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
        return e.type === "f32" ? this.remainder(this.print(e.a), this.print(e.b)) : infix("%", this.as(e.type, e.a), this.as(e.type, e.b));
      case "<<":
      case ">>":
        return infix(e.op, this.as(e.type, e.a), this.shiftCount(e.b));
      case ">>>": {
        const shifted: Text = infix(">>", this.as("u32", e.a), this.shiftCount(e.b));
        return e.type === "u32" ? shifted : this.reinterpret(shifted);
      }
      case "==":
      case "!=": {
        const type = isInteger(e.a.type) ? typeForEquality(e.a, e.b) : e.a.type;
        return infix(e.op, this.as(type, e.a), this.as(type, e.b));
      }
      default:
        return infix(e.op, this.print(e.a), this.print(e.b));
    }
  }
  /** The i32 of the same bits as a u32. */
  protected abstract reinterpret(bits: Text): Text;
}
