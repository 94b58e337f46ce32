/**
 * The `.npy` format: magic "\x93NUMPY", version bytes, header length (u16 in version 1, u32 in 2 and 3), a Python dict literal
 * `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, then the elements.
 * Source: numpy documentation, numpy.lib.format.
 */
import { elementBytes, elementCount, isShape, TensorFileError, type StoredDType, type StoredTensor } from "./tensor.ts";

/** NumPy has no bf16 and no fp8; what their extension types are saved as (`<V2`, `|V1`) does not say which format it was. */
const descriptors: Readonly<Record<string, StoredDType>> = { "<f4": "F32", "<f2": "F16", "<i4": "I32", "<i8": "I64", "|u1": "U8" };
const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];

const damaged = "The file is damaged or was cut off: save it again with numpy.save";

/**
 * Reads a whole file; the tensor's bytes are a view into `bytes`.
 * @param file name for messages
 * @throws TensorFileError for damaged files, big-endian, Fortran-ordered or pickled arrays, and dtypes that have no `StoredDType`.
 */
export function readNpy(bytes: Uint8Array, file: string): StoredTensor {
  const fail = (problem: string, advice = damaged): never => {
    throw new TensorFileError(file, problem, advice);
  };
  if (magic.some((byte, i) => bytes[i] !== byte)) return fail("does not begin with the magic bytes of .npy", "Save it with numpy.save");
  const version = bytes[6];
  if (version !== 1 && version !== 2 && version !== 3) return fail(`.npy version ${version ?? "missing"}, known are 1, 2 and 3`);
  const start = version === 1 ? 10 : 12;
  if (bytes.length < start) return fail(`${bytes.length} bytes, too short for a .npy header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = start + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (data > bytes.length) return fail(`the header should end at byte ${data} of ${bytes.length}`);

  const header = new TextDecoder().decode(bytes.subarray(start, data));
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const fortran = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const extents = /'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (fortran === undefined || extents === undefined) return fail(`cannot read the header ${JSON.stringify(header.trim())}`);
  const dtype = descriptors[descr ?? ""];
  if (descr === undefined || dtype === undefined) {
    return fail(
      `dtype ${descr ?? "missing or structured"} is not one of ${Object.keys(descriptors).join(", ")}`,
      "Convert it with .astype, or store bf16 and fp8 as .safetensors",
    );
  }
  const shape = (extents.match(/\d+/g) ?? []).map(Number);
  if (fortran === "True" && shape.length > 1) return fail("the array is in Fortran order", "Save numpy.ascontiguousarray(x)");
  if (!isShape(shape)) return fail(`shape (${extents}) is too large`);
  const expected = elementCount(shape) * elementBytes[dtype];
  const found = bytes.length - data;
  if (found !== expected) return fail(`${descr} (${extents}) takes ${expected} bytes and ${found} follow the header`);
  return { dtype, shape, bytes: bytes.subarray(data) };
}
