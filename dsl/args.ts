/** Declarations of kernel arguments: plain data that `kernel` binds to buffers and the compiler turns into parameters. */
import { byteSize, type DType } from "./dtype.ts";
import type { Access } from "./memory.ts";
import { quoteAll } from "./names.ts";
import type { Global } from "./types.ts";

/** Extents by axis, outermost first: a number, or the name of a dim that has a value at run time. */
export type Dims<A extends string> = Readonly<Record<A, number | string>>;

/** A tensor of one dtype. */
export interface TensorArg<D extends DType = DType, A extends string = string> {
  readonly kind: "tensor";
  readonly access: Access;
  readonly dtype: D;
  readonly dims: Dims<A>;
  /** Axes whose stride is a dim, counted in elements. All others are packed. */
  readonly pitch: Readonly<Record<string, string>>;
  /** See `InputOptions`. */
  readonly nonNegative?: boolean;
}

/** A typed part of a record. */
export interface FieldArg<D extends DType = DType, A extends string = string> {
  readonly dtype: D;
  readonly dims: Readonly<Record<A, number>>;
  /** Bytes from the start of the record. */
  readonly offset: number;
  /** See `FieldOptions`. */
  readonly nonNegative?: boolean;
}

/** An array of records of `bytes` bytes, each of which holds fields of several dtypes. */
export interface RecordArg<A extends string = string, F extends Fields = Fields> {
  readonly kind: "record";
  readonly access: Access;
  readonly dims: Dims<A>;
  readonly fields: F;
  readonly bytes: number;
  /** The dim that is the stride of the outermost axis, counted in bytes. Packed without it. */
  readonly pitch?: string;
}
export type Fields = Readonly<Record<string, FieldArg>>;
export type Args = Readonly<Record<string, TensorArg | RecordArg>>;

/** What a kernel's body sees of its arguments: a Global each, or an object of Globals and `size` for records. */
export type GlobalsOf<P extends Args> = {
  readonly [N in keyof P]: P[N] extends TensorArg<infer D, infer A>
    ? Global<D, A>
    : P[N] extends RecordArg<infer A, infer F>
      ? RecordGlobals<A, F>
      : never;
};
export type RecordGlobals<A extends string, F extends Fields> = {
  readonly [N in keyof F]: F[N] extends FieldArg<infer D, infer B> ? Global<D, A | B> : never;
} & { readonly size: Readonly<Record<A, number>> };

interface TensorOptions<A extends string> {
  /** Strides that the host gives at launch, in elements: `{ t: "kvPitch" }`. */
  readonly pitch?: { readonly [K in A]?: string };
}
interface FieldOptions {
  /**
   * The caller's promise that no element is below 0, such as the scales of a quantiser. Results that a negative element enters are then
   * unspecified: a schedule may move the factor through functions that allow it for c >= 0 alone, as max(c * x, 0) = c * max(x, 0).
   * Nothing checks it. Values of ue8m0 need no promise.
   */
  readonly nonNegative?: boolean;
}
type InputOptions<A extends string> = TensorOptions<A> & FieldOptions;
interface RecordOptions {
  /** Bytes of one record. */
  readonly bytes: number;
  /** Name of the dim that gives the stride of the outermost axis in bytes. */
  readonly pitch?: string;
}

/** A tensor that the kernel reads. */
export const input = <D extends DType, A extends string>(
  dtype: D,
  dims: Dims<A>,
  options: InputOptions<NoInfer<A>> = {},
): TensorArg<D, A> => tensorArg("in", dtype, dims, options);
/** A tensor that the kernel writes. What it does not write keeps its bytes. */
export const output = <D extends DType, A extends string>(
  dtype: D,
  dims: Dims<A>,
  options: TensorOptions<NoInfer<A>> = {},
): TensorArg<D, A> => tensorArg("out", dtype, dims, options);
/** An array of records that the kernel reads. Each field is a tensor with the record's axes and then its own. */
export const inputRecord = <A extends string, F extends Fields>(dims: Dims<A>, fields: F, options: RecordOptions): RecordArg<A, F> =>
  recordArg("in", dims, fields, options);
/** An array of records that the kernel writes. */
export const outputRecord = <A extends string, F extends Fields>(dims: Dims<A>, fields: F, options: RecordOptions): RecordArg<A, F> =>
  recordArg("out", dims, fields, options);

/** A field of a record: dtype, extents (outermost first, packed) and the byte offset at which it starts. */
export const field = <D extends DType, A extends string>(
  dtype: D,
  dims: Readonly<Record<A, number>>,
  offset: number,
  options: FieldOptions = {},
): FieldArg<D, A> => {
  checkDims("field", dims);
  if (!(Number.isSafeInteger(offset) && offset >= 0)) throw new RangeError(`field: byte offset ${offset} is not an integer from 0 on.`);
  return { dtype, dims, offset, ...options };
};

function tensorArg<D extends DType, A extends string>(access: Access, dtype: D, dims: Dims<A>, options: InputOptions<A>): TensorArg<D, A> {
  const { pitch: given = {}, ...promises } = options;
  const pitch = given as Readonly<Record<string, string>>;
  checkDims(`${access}put`, dims);
  for (const axis of Object.keys(pitch)) {
    if (!Object.hasOwn(dims, axis)) {
      throw new TypeError(`${access}put: pitch of an axis "${axis}" that is none of ${quoteAll(Object.keys(dims))}.`);
    }
  }
  return { kind: "tensor", access, dtype, dims, pitch, ...promises };
}

function recordArg<A extends string, F extends Fields>(access: Access, dims: Dims<A>, fields: F, options: RecordOptions): RecordArg<A, F> {
  const where = `${access}putRecord`;
  checkDims(where, dims);
  for (const [name, part] of Object.entries(fields)) {
    if (name === "size") throw new TypeError(`${where}: a field cannot be called "size", which holds the extents of the records.`);
    const twice = Object.keys(part.dims).find((axis) => Object.hasOwn(dims, axis));
    if (twice !== undefined) {
      throw new TypeError(`${where}: field "${name}" has axis "${twice}", which the records have too. Rename one of them.`);
    }
    const end = part.offset + fieldBytes(part);
    if (end > options.bytes) {
      throw new RangeError(`${where}: field "${name}" ends at byte ${end} of a record of ${options.bytes} bytes. Check its offset.`);
    }
  }
  return { kind: "record", access, dims, fields, ...options };
}

/** Bytes of one field of a record. */
const fieldBytes = (part: FieldArg): number => Object.values(part.dims).reduce((bytes, extent) => bytes * extent, byteSize(part.dtype));

function checkDims(where: string, dims: Dims<string>): void {
  for (const [axis, extent] of Object.entries(dims)) {
    if (!isIdentifier(axis)) {
      throw new TypeError(`${where}: axis "${axis}" is not an identifier. Axis names appear as names in generated code.`);
    }
    if (typeof extent === "number" ? !(Number.isSafeInteger(extent) && extent > 0) : !isIdentifier(extent)) {
      throw new RangeError(`${where}: axis "${axis}" has extent ${JSON.stringify(extent)}. Give a positive integer, or the name of a dim.`);
    }
  }
}

const isIdentifier = (name: string): boolean => /^[A-Za-z_]\w*$/.test(name);
