/**
 * A tensor as a file holds it: raw little-endian bytes, row-major, with a shape and the dtype's name in safetensors.
 * The `.safetensors` and `.npy` readers both return it; `valuesOf` turns it into numbers.
 */
import { fromBytes, type DType } from "../dsl/dtype.ts";

/** Bytes per element. `F8_E4M3` is e4m3fn. */
export const elementBytes = { F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, I32: 4, I64: 8, U8: 1 } as const;
export type StoredDType = keyof typeof elementBytes;
export const isStoredDType = (name: unknown): name is StoredDType => typeof name === "string" && Object.hasOwn(elementBytes, name);

export interface StoredTensor {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** A view into the file's bytes: any alignment, exactly as long as shape and dtype say. */
  readonly bytes: Uint8Array;
}

/** A file that cannot be read: what is wrong with which file, and what to try. */
export class TensorFileError extends Error {
  constructor(file: string, problem: string, advice: string) {
    super(`${file}: ${problem}. ${advice}`);
    this.name = "TensorFileError";
  }
}

export const elementCount = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/** True for a list of extents whose element count is still an exact number. */
export const isShape = (shape: unknown): shape is number[] =>
  Array.isArray(shape) && shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0) &&
  Number.isSafeInteger(elementCount(shape));

const codecs: Partial<Record<StoredDType, DType>> = { F32: "f32", F16: "f16", BF16: "bf16", F8_E4M3: "e4m3", I32: "i32" };

/**
 * Every element as a number, row-major.
 * @throws RangeError for an I64 that no number holds exactly.
 */
export function valuesOf({ dtype, bytes }: StoredTensor): Float64Array {
  if (dtype === "U8") return Float64Array.from(bytes);
  const codec = codecs[dtype];
  if (codec !== undefined) return fromBytes(codec, bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float64Array.from({ length: bytes.byteLength / 8 }, (_, i) => {
    const value = view.getBigInt64(8 * i, true);
    if (!Number.isSafeInteger(Number(value))) throw new RangeError(`element ${i} is ${value}, which no number holds exactly`);
    return Number(value);
  });
}

/** Index of the first infinity or NaN, or -1. Looks at exponent bits only, so that large tensors need no decoding. */
export function firstNonFinite({ dtype, bytes }: StoredTensor): number {
  const size = elementBytes[dtype];
  if (dtype === "F8_E4M3") return bytes.findIndex((code) => (code & 0x7f) === 0x7f);
  if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") return -1;
  const exponent = dtype === "F16" ? 0x7c00 : 0x7f80;
  for (let end = size; end <= bytes.length; end += size) {
    const top = bytes[end - 1]! * 256 + bytes[end - 2]!;
    if ((top & exponent) === exponent) return end / size - 1;
  }
  return -1;
}
