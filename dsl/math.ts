/**
 * The scalar functions of the language: one table row each. Lambdas of `map` and `mask` and uniform scalar code may call the functions
 * exported here, and the members of `Math` that have a row or are constants (`Math.LOG2E`, `Math.LN2`, …).
 *
 * Eager code computes a lambda in f64 and rounds its result once; devices compute in f32. The budgets say how far apart they may be.
 * A NaN operand of `max` or `min` gives NaN or the other operand: WGSL leaves it open, so a kernel must not depend on it.
 *
 * Budgets come from "Accuracy of Concrete Floating Point Expressions" of the WGSL specification and from the table of single-precision
 * functions of the CUDA C++ Programming Guide (compiled without -use_fast_math).
 */

/** Type of an operand: "number" is any one numeric type, "integer" i32 or u32; all operands of a call agree in it. */
export type OperandType = "f32" | "u32" | "integer" | "number";

/** Largest error of an f32 result y for the first operand x: max(absolute, (ulp + ulpPerUnit * |x|) * ulp(y)). */
export interface ErrorBudget {
  readonly ulp: number;
  readonly ulpPerUnit?: number;
  readonly absolute?: number;
}

export interface ScalarFunction {
  readonly name: string;
  readonly run: (...operands: number[]) => number;
  readonly operands: readonly OperandType[];
  /** "number" and "integer": the type of the operands. */
  readonly result: OperandType;
  readonly wgsl: ErrorBudget;
  readonly cuda: ErrorBudget;
  /** Floating point operations of one call, for cost models. */
  readonly flops: number;
}

const exact: ErrorBudget = { ulp: 0 };
/** WGSL bounds logarithms absolutely where they cross zero. */
const wgslLog: ErrorBudget = { ulp: 3, absolute: 2 ** -21 };

const word = new DataView(new ArrayBuffer(4));

/** Quotient towards zero of two integers. */
export function div(a: number, b: number): number {
  if (b === 0) throw new RangeError(`div(${a}, 0): an integer has no quotient by 0. Guard the division with a condition.`);
  return Math.trunc(a / b);
}
/** Remainder of `div`; it has the sign of `a`. */
export function mod(a: number, b: number): number {
  if (b === 0) throw new RangeError(`mod(${a}, 0): an integer has no remainder by 0. Guard the division with a condition.`);
  return (a % b) + 0; // + 0: integers have no -0
}
/** The f32 bit pattern of x, as u32. */
export const bitsOf = (x: number): number => (word.setFloat32(0, x), word.getUint32(0));
/** The f32 whose bit pattern is the u32 `bits`. */
export const floatOf = (bits: number): number => (word.setUint32(0, bits), word.getFloat32(0));
/** Number of ones in the 32 bits of an integer. */
export function popcount(x: number): number {
  const pairs = x - ((x >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
/**
 * The place of an f32 in the order -inf < … < -0 = +0 < … < +inf, as a u32; a NaN goes before all, at 0. Where floats are those of IEEE 754,
 * a condition `orderedKey(x) > key` costs one comparison of floats.
 */
export function orderedKey(x: number): number {
  const bits = bitsOf(x);
  const magnitude = (bits << 1) >>> 0;
  if (magnitude > 0xff000000) return 0;
  if (magnitude === 0) return 0x80000000;
  return (bits >>> 31 === 1 ? ~bits : bits | 0x80000000) >>> 0;
}
/** The f32 at a place of `orderedKey`; +0 for the zeros, NaN where no number lies. */
export const orderedValue = (key: number): number => floatOf((key >>> 31 === 1 ? key ^ 0x80000000 : ~key) >>> 0);
/** Number of zeros above the highest one of the 32 bits of an integer. */
export const clz32 = (x: number): number => Math.clz32(x);
export const exp = (x: number): number => Math.exp(x);
export const exp2 = (x: number): number => 2 ** x;
export const log = (x: number): number => Math.log(x);
export const log2 = (x: number): number => Math.log2(x);
/** ln(1 + x), accurate next to 0. */
export const log1p = (x: number): number => Math.log1p(x);
export const sqrt = (x: number): number => Math.sqrt(x);
export const abs = (x: number): number => Math.abs(x);
export const floor = (x: number): number => Math.floor(x);
export const ceil = (x: number): number => Math.ceil(x);
export const tanh = (x: number): number => Math.tanh(x);
/** Budget for x within [-pi, pi]. */
export const sin = (x: number): number => Math.sin(x);
/** Budget for x within [-pi, pi]. */
export const cos = (x: number): number => Math.cos(x);

const row = (
  name: string,
  run: (...operands: number[]) => number,
  operands: readonly OperandType[],
  result: OperandType,
  flops: number,
  wgsl: ErrorBudget = exact,
  cuda: ErrorBudget = exact,
): ScalarFunction => ({ name, run, operands, result, flops, wgsl, cuda });

/** The table. Names are those that `Math` uses, where it has the function. */
export const scalarFunctions: readonly ScalarFunction[] = [
  row("exp", exp, ["f32"], "f32", 1, { ulp: 3, ulpPerUnit: 2 }, { ulp: 2 }),
  row("exp2", exp2, ["f32"], "f32", 1, { ulp: 3, ulpPerUnit: 2 }, { ulp: 2 }),
  row("log", log, ["f32"], "f32", 1, wgslLog, { ulp: 1 }),
  row("log2", log2, ["f32"], "f32", 1, wgslLog, { ulp: 1 }),
  // WGSL has none: the budget is what the target's helper must keep
  row("log1p", log1p, ["f32"], "f32", 2, wgslLog, { ulp: 1 }),
  // WGSL inherits it from 1 / inverseSqrt(x): 2.5 ulp, and 2 ulp that may weigh double in the reciprocal's binade
  row("sqrt", sqrt, ["f32"], "f32", 1, { ulp: 6.5 }),
  row("abs", abs, ["number"], "number", 0),
  row("floor", floor, ["f32"], "f32", 1),
  row("ceil", ceil, ["f32"], "f32", 1),
  row("tanh", tanh, ["f32"], "f32", 2, { ulp: 0, absolute: 1e-5 }, { ulp: 2 }),
  row("sin", sin, ["f32"], "f32", 1, { ulp: 0, absolute: 2 ** -11 }, { ulp: 2 }),
  row("cos", cos, ["f32"], "f32", 1, { ulp: 0, absolute: 2 ** -11 }, { ulp: 2 }),
  row("max", Math.max, ["number", "number"], "number", 1),
  row("min", Math.min, ["number", "number"], "number", 1),
  row("div", div, ["integer", "integer"], "integer", 0),
  row("mod", mod, ["integer", "integer"], "integer", 0),
  row("bitsOf", bitsOf, ["f32"], "u32", 0),
  row("floatOf", floatOf, ["u32"], "f32", 0),
  row("popcount", popcount, ["integer"], "integer", 0),
  row("clz32", clz32, ["integer"], "integer", 0),
  row("orderedKey", orderedKey, ["f32"], "u32", 0),
  row("orderedValue", orderedValue, ["u32"], "f32", 0),
];

/** A scalar function of the author's that can travel as a value (in a spec) and still be found in the source by its name. */
export interface ScalarFn {
  (x: number): number;
  readonly scalarName: string;
}

const declared = new Map<string, string>();

/**
 * Declares a scalar function under a name that is unique in the program: the compiler looks the source text up by it.
 * Declaring the same text again is allowed (a module may be loaded twice); another text under the same name is an Error.
 */
export function scalarFn(name: string, f: (x: number) => number): ScalarFn {
  if (scalarFunctions.some((s) => s.name === name)) {
    throw new Error(`scalarFn("${name}"): the language has a function of this name. Choose another name.`);
  }
  const text = f.toString();
  const before = declared.get(name);
  if (before !== undefined && before !== text) {
    throw new Error(`scalarFn("${name}") is declared twice, as ${before} and as ${text}. Give one of them another name.`);
  }
  declared.set(name, text);
  return Object.assign(f, { scalarName: name });
}
