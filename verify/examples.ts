/**
 * Inputs for anybody's kernel file. A file may say what its kernels take:
 *
 *     import type { Example } from "…/verify/examples.ts";
 *     export const examples: readonly Example[] = [
 *       { kernel: "gatherRows", dims: { Q: 3, T: { min: 1, max: 300 } }, inputs: { idx: { min: -1, max: "T" }, scale: { min: 0.5, max: 2 } } },
 *     ];
 *
 * What is left out has a default: all kernels of the file; dims from 1 to 40 and packed pitches, or wider ones; floats from a normal
 * distribution or from a few values (ties), with zeros of both signs and ones among them; i32 from −8 to 64; u32 of any bits.
 */
import fc from "fast-check";
import { evaluate, type Field, type Param } from "../compiler/ir/manifest.ts";
import type { TileKernel } from "../compiler/ir/tile.ts";
import { byteSize, type DType, writeElement } from "../dsl/dtype.ts";
import { didYouMean, quoteAll } from "../dsl/names.ts";
import { randomOf, type Random } from "../reference/index.ts";
import { seed, type Shape } from "./checks/check.ts";
import type { Buffers, Dims } from "./executor.ts";

export interface Example {
  /** The export that it is for; default every kernel of the file that has all of its dims and inputs. */
  readonly kernel?: string;
  /** Values of dims, or ranges that they are drawn from (inclusive). */
  readonly dims?: Readonly<Record<string, number | { readonly min: number; readonly max: number }>>;
  /** By parameter, or by "parameter.field" of a record. */
  readonly inputs?: Readonly<Record<string, InputRange>>;
}

/** Values are drawn between the bounds, both included; a string names a dim. "any" draws every bit pattern, NaN and infinities too. */
export type InputRange = { readonly min: number | string; readonly max: number | string } | "any";

/** How floats without a range are drawn. */
const kinds = ["normal", "ties", "zeros"] as const;
type Kind = (typeof kinds)[number];

/** A case: which example, the dims, and a seed for the data. */
export type ExampleShape = Shape & { readonly example: number; readonly kind: Kind; readonly seed: number };

/** Examples of one kernel. A dim or input that the kernel lacks is a TypeError, unless the example names no kernel: then it is another's. */
export function examplesFor(kernel: TileKernel, exportName: string, examples: readonly Example[]): readonly Example[] {
  const dims = kernel.dims.map((d) => d.name);
  const inputs = kernel.params.filter((p) => p.access === "in").flatMap((p) => [p.name, ...p.fields.map((f) => `${p.name}.${f.name}`)]);
  const fits = (example: Example): boolean => {
    const wrong =
      Object.keys(example.dims ?? {}).find((name) => !dims.includes(name)) ??
      Object.keys(example.inputs ?? {}).find((name) => !inputs.includes(name));
    if (wrong === undefined) return true;
    if (example.kernel === undefined) return false;
    const known = [...dims, ...inputs.filter((name) => !name.endsWith("."))];
    throw new TypeError(
      `an example of ${exportName} names "${wrong}".${didYouMean(wrong, known)} Its dims and inputs are ${quoteAll(known)}.`,
    );
  };
  const own = examples.filter((e) => (e.kernel === undefined || e.kernel === exportName) && fits(e));
  return own.length > 0 ? own : [{}];
}

const defaultDim = { min: 1, max: 40 };
/** Pitches keep the alignment of the packed value. */
const pitchGaps = [0, 16];

/** Every example with each kind of data, at the largest sizes: what a run starts with. */
export const fixedShapes = (kernel: TileKernel, examples: readonly Example[]): readonly ExampleShape[] =>
  examples.flatMap((e, example) => kinds.map((kind): ExampleShape => ({ example, kind, seed: 1, ...largest(kernel, e) })));

function largest(kernel: TileKernel, example: Example): Dims {
  const dims: Record<string, number> = {};
  for (const { name, default: packed } of kernel.dims) {
    const given = example.dims?.[name] ?? defaultDim;
    dims[name] =
      packed === undefined || example.dims?.[name] !== undefined ? (typeof given === "number" ? given : given.max) : pitchGaps[1]!;
  }
  return dims;
}

/** In a shape a pitch without an example is the gap beyond the packed value. */
export function shapesOf(kernel: TileKernel, examples: readonly Example[]): fc.Arbitrary<ExampleShape> {
  const drawn = (example: Example, name: string, isPitch: boolean): fc.Arbitrary<number> => {
    const given = example.dims?.[name];
    if (given === undefined && isPitch) return fc.constantFrom(...pitchGaps);
    return typeof given === "number" ? fc.constant(given) : fc.integer(given ?? defaultDim);
  };
  const oneOf = examples.map((e, example) =>
    fc.record({
      example: fc.constant(example),
      kind: fc.constantFrom(...kinds),
      seed,
      ...Object.fromEntries(kernel.dims.map((d) => [d.name, drawn(e, d.name, d.default !== undefined)])),
    }),
  );
  return fc.oneof({ withCrossShrink: true }, ...oneOf) as fc.Arbitrary<ExampleShape>;
}

export function dimsOf(kernel: TileKernel, example: Example, shape: ExampleShape): Dims {
  const dims: Record<string, number> = {};
  for (const { name, default: packed } of kernel.dims) {
    const value = Number(shape[name]);
    dims[name] = packed === undefined || example.dims?.[name] !== undefined ? value : wholeWords(evaluate(packed, dims) + value);
  }
  return dims;
}
/** Rows of narrow outputs start at whole words, those of all dtypes at four elements. */
const wholeWords = (pitch: number): number => Math.ceil(pitch / 4) * 4;

/** Inputs drawn from the seed, and outputs of 0xff (floats) or 0x5a (integers, where 0xff is −1, a likely result). */
export function drawBuffers(kernel: TileKernel, example: Example, { kind, seed }: ExampleShape, dims: Dims): Buffers {
  const random = randomOf(seed);
  return Object.fromEntries(
    kernel.params.map((param) => {
      const isFloat = param.fields.every((f) => f.dtype !== "i32" && f.dtype !== "u32");
      const bytes = new Uint8Array(evaluate(param.bytes, dims)).fill(param.access === "in" || isFloat ? 0xff : 0x5a);
      if (param.access === "in") for (const field of param.fields) fill(param, field, example, kind, random, dims, bytes);
      return [param.name, bytes];
    }),
  );
}

function fill(param: Param, field: Field, example: Example, kind: Kind, random: Random, dims: Dims, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer);
  const given = example.inputs?.[`${param.name}.${field.name}`] ?? example.inputs?.[param.name];
  const range = given ?? (field.dtype === "u32" ? "any" : undefined);
  if (range === "any") {
    forEachElement(param, field, dims, (offset) => {
      for (let byte = 0; byte < byteSize(field.dtype); byte++) bytes[offset + byte] = random.integer(0, 255);
    });
    return;
  }
  const drawn = range ? rangeDraw(field.dtype, range, random, dims) : defaultDraw(field.dtype, kind, random);
  const draw = field.nonNegative && !range ? () => Math.abs(drawn()) : drawn;
  forEachElement(param, field, dims, (offset) => writeElement(field.dtype, view, offset, draw()));
}

/** Calls `visit` with the byte offset of every element of a field, the last axis fastest. */
export function forEachElement(param: Param, field: Field, dims: Dims, visit: (offset: number) => void): void {
  const axes = [...param.axes, ...field.axes].map((a) => ({ size: evaluate(a.size, dims), stride: evaluate(a.stride, dims) }));
  const walk = (axis: number, offset: number): void => {
    const at = axes[axis];
    if (!at) return visit(offset);
    for (let i = 0; i < at.size; i++) walk(axis + 1, offset + i * at.stride);
  };
  walk(0, field.offset);
}

const edges = [0, -0, 1, -1];

function defaultDraw(dtype: DType, kind: Kind, random: Random): () => number {
  if (dtype === "i32") return () => random.integer(-8, 64);
  if (dtype === "ue8m0") return () => 2 ** random.integer(-6, 6);
  if (kind === "zeros") return () => edges[random.integer(0, 1)]!;
  if (kind === "ties") return () => random.integer(-2, 2) / 2;
  return () => (random.uniform() < 1 / 16 ? edges[random.integer(0, edges.length - 1)]! : random.normal());
}

function rangeDraw(dtype: DType, range: Exclude<InputRange, "any">, random: Random, dims: Dims): () => number {
  const [min, max] = [range.min, range.max].map((bound) => (typeof bound === "number" ? bound : dims[bound]));
  if (min === undefined || max === undefined)
    throw new TypeError(
      `the bounds of an example, ${range.min} and ${range.max}, must be numbers or dims: ${quoteAll(Object.keys(dims))}.`,
    );
  if (dtype === "i32" || dtype === "u32") return () => random.integer(min, max);
  return () => min + (max - min) * random.uniform();
}
