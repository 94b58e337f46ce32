import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readNpy } from "../../trace/npy.ts";
import { readSafetensors, writeSafetensors } from "../../trace/safetensors.ts";
import { elementBytes, elementCount, firstNonFinite, TensorFileError, valuesOf } from "../../trace/tensor.ts";
import type { StoredDType, StoredTensor } from "../../trace/tensor.ts";
import { npyFile, npyHeader } from "./npy_file.ts";

const dtypes = Object.keys(elementBytes) as StoredDType[];
const anyTensor: fc.Arbitrary<StoredTensor> = fc
  .record({ dtype: fc.constantFrom(...dtypes), shape: fc.array(fc.nat(4), { maxLength: 3 }) })
  .chain(({ dtype, shape }) => {
    const length = elementCount(shape) * elementBytes[dtype];
    return fc.uint8Array({ minLength: length, maxLength: length }).map((bytes) => ({ dtype, shape, bytes }));
  });
const reserved = new Set(["__metadata__", "__proto__"]);
const anyName = fc.string({ unit: "grapheme", maxLength: 12 }).filter((name) => !reserved.has(name));
const anyFile = fc.record({
  tensors: fc.uniqueArray(fc.tuple(anyName, anyTensor), { selector: ([name]) => name, maxLength: 4 }).map((entries) => new Map(entries)),
  metadata: fc.dictionary(anyName, fc.string(), { noNullPrototype: true }),
});

/** A safetensors file with the header as given. */
function fileOf(header: unknown, dataBytes: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
}
const entry = (dtype: string, shape: unknown, data_offsets: unknown): unknown => ({ dtype, shape, data_offsets });

describe("safetensors", () => {
  test("what is written is read back, from any byte alignment", () => {
    fc.assert(
      fc.property(anyFile, fc.nat(7), ({ tensors, metadata }, shift) => {
        const written = writeSafetensors(tensors, metadata);
        const shifted = new Uint8Array(written.length + shift);
        shifted.set(written, shift);
        const read = readSafetensors(shifted.subarray(shift), "file");
        expect(read.metadata).toEqual(metadata);
        expect(new Map([...read.tensors].sort())).toEqual(new Map([...tensors].sort()));
      }),
    );
  });

  test("every cut is noticed", () => {
    fc.assert(
      fc.property(anyFile, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), ({ tensors, metadata }, share) => {
        const written = writeSafetensors(tensors, metadata);
        expect(() => readSafetensors(written.subarray(0, Math.floor(share * written.length)), "cut.safetensors")).toThrow(TensorFileError);
      }),
    );
  });

  test("a damaged byte gives an error of ours or tensors that still fit their shapes", () => {
    fc.assert(
      fc.property(anyFile, fc.nat(), fc.integer({ min: 1, max: 255 }), ({ tensors, metadata }, at, flip) => {
        const file = writeSafetensors(tensors, metadata);
        const index = at % file.length;
        file[index] = file[index]! ^ flip;
        try {
          for (const { dtype, shape, bytes } of readSafetensors(file, "file").tensors.values()) {
            expect(bytes.length).toBe(elementCount(shape) * elementBytes[dtype]);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(TensorFileError);
        }
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    ["too short", new Uint8Array(7), /7 bytes, too short/],
    ["header longer than the file", new Uint8Array(16).fill(0xff), /header should be 18446744073709552000 bytes long and only 8 follow/],
    ["not JSON", fileOf("{]", 0), /header is not a JSON object/],
    ["not UTF-8", fileOf("{}", 0).with(8, 0xff), /header is not a JSON object/],
    ["not an object", fileOf([], 0), /header is not a JSON object/],
    ["metadata of numbers", fileOf({ __metadata__: { scale: 1 } }, 0), /__metadata__ is not an object of strings.*JSON strings/],
    ["no shape", fileOf({ a: { dtype: "F32", data_offsets: [0, 4] } }, 4), /"a".*list of extents/],
    ["negative extent", fileOf({ a: entry("F32", [-1, -1], [0, 4]) }, 4), /"a".*list of extents/],
    ["fractional offset", fileOf({ a: entry("U8", [1], [0, 1.5]) }, 2), /"a".*int/],
    ["unknown dtype", fileOf({ a: entry("F64", [1], [0, 8]) }, 8), /"a" has dtype F64\. Convert it to one of F32, .*U8/],
    ["inherited name as dtype", fileOf({ a: entry("toString", [1], [0, 8]) }, 8), /dtype toString/],
    ["wrong shape", fileOf({ a: entry("F32", [3], [0, 8]) }, 8), /"a": F32 \[3\] takes 12 bytes, its offsets give 8/],
    ["offset out of range", fileOf({ a: entry("F32", [2], [4, 12]) }, 8), /"a" ends at byte 12 of 8/],
    ["hole", fileOf({ a: entry("U8", [1], [0, 1]), b: entry("U8", [1], [2, 3]) }, 3), /"b" begins at byte 2, .* end at 1/],
    ["overlap", fileOf({ a: entry("U8", [2], [0, 2]), b: entry("U8", [2], [1, 3]) }, 3), /"b" begins at byte 1, .* end at 2/],
    ["bytes left over", fileOf({ a: entry("U8", [1], [0, 1]) }, 3), /cover 1 of 3 bytes/],
  ])("%s", (_, bytes, message) => {
    expect(() => readSafetensors(bytes, "bad.safetensors")).toThrow(TensorFileError);
    expect(() => readSafetensors(bytes, "bad.safetensors")).toThrow(message);
    expect(() => readSafetensors(bytes, "bad.safetensors")).toThrow(/^bad\.safetensors: /);
  });
});

/** Made by NumPy 2.4.6 with numpy.save. */
const byNumpy = (...base64: string[]): Uint8Array => Uint8Array.from(Buffer.from(base64.join(""), "base64"));
const numpyF4 = byNumpy(
  "k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDMpLCB9ICAgICAgICAgICAgICAgICAgICAg",
  "ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAACAPgAAAD8AAEA/AACAPwAAoD8=",
);
const numpyI8 = byNumpy(
  "k05VTVBZAQB2AHsnZGVzY3InOiAnPGk4JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDEpLCB9ICAgICAgICAgICAgICAgICAgICAg",
  "ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAr9/////////////////x8A",
);
const numpyU1 = byNumpy(
  "k05VTVBZAQB2AHsnZGVzY3InOiAnfHUxJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKCksIH0gICAgICAgICAgICAgICAgICAgICAgICAg",
  "ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoH",
);

describe("npy", () => {
  test("files that NumPy wrote", () => {
    const f4 = readNpy(numpyF4, "f4.npy");
    expect([f4.dtype, f4.shape, [...valuesOf(f4)]]).toEqual(["F32", [2, 3], [0, 0.25, 0.5, 0.75, 1, 1.25]]);
    const i8 = readNpy(numpyI8, "i8.npy");
    expect([i8.dtype, i8.shape, [...valuesOf(i8)]]).toEqual(["I64", [2, 1], [-3, Number.MAX_SAFE_INTEGER]]);
    const u1 = readNpy(numpyU1, "u1.npy");
    expect([u1.dtype, u1.shape, [...valuesOf(u1)]]).toEqual(["U8", [], [7]]);
  });

  test("any tensor, in both header sizes", () => {
    const descriptors: Partial<Record<StoredDType, string>> = { F32: "<f4", F16: "<f2", I32: "<i4", I64: "<i8", U8: "|u1" };
    fc.assert(
      fc.property(anyTensor, fc.constantFrom(1, 2), (tensor, version) => {
        const descr = descriptors[tensor.dtype];
        fc.pre(descr !== undefined);
        expect(readNpy(npyFile(npyHeader(descr, tensor.shape), tensor.bytes, version), "x.npy")).toEqual(tensor);
      }),
    );
  });

  test("every cut is noticed", () => {
    for (let end = 0; end < numpyF4.length; end++) expect(() => readNpy(numpyF4.subarray(0, end), "cut.npy")).toThrow(TensorFileError);
  });

  test.each([
    ["no magic", new Uint8Array(64), /magic bytes/],
    ["version 9", numpyF4.with(6, 9), /version 9/],
    ["header past the end", numpyF4.with(9, 0xff), /header should end at byte \d+ of 152/],
    ["no shape", npyFile("{'descr': '<f4', 'fortran_order': False}", new Uint8Array(4)), /cannot read the header/],
    ["big-endian", npyFile(npyHeader(">f4", [1]), new Uint8Array(4)), /dtype >f4 is not one of/],
    ["bf16 through an extension type", npyFile(npyHeader("<V2", [1]), new Uint8Array(2)), /dtype <V2.*safetensors/],
    ["structured", npyFile("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", new Uint8Array(4)), /or structured/],
    ["Fortran order", npyFile(npyHeader("<f4", [2, 3], "True"), new Uint8Array(24)), /Fortran order.*ascontiguousarray/],
    ["shape beyond exact numbers", npyFile(npyHeader("|u1", [9007199254740991, 9]), new Uint8Array(1)), /too large/],
    ["wrong shape", npyFile(npyHeader("<f4", [3]), new Uint8Array(8)), /takes 12 bytes and 8 follow/],
    ["bytes left over", npyFile(npyHeader("<f4", [1]), new Uint8Array(8)), /takes 4 bytes and 8 follow/],
  ])("%s", (_, bytes, message) => {
    expect(() => readNpy(bytes, "bad.npy")).toThrow(TensorFileError);
    expect(() => readNpy(bytes, "bad.npy")).toThrow(message);
  });
});

describe("values", () => {
  test("of every dtype", () => {
    const decode = (dtype: StoredDType, ...bytes: number[]): number[] =>
      [...valuesOf({ dtype, shape: [1], bytes: Uint8Array.from(bytes) })];
    expect(decode("F32", 0, 0, 0xc0, 0xbf)).toEqual([-1.5]);
    expect(decode("F16", 0x00, 0x3e)).toEqual([1.5]);
    expect(decode("BF16", 0xc0, 0x3f)).toEqual([1.5]);
    expect(decode("F8_E4M3", 0x3c)).toEqual([1.5]);
    expect(decode("I32", 0xfe, 0xff, 0xff, 0xff)).toEqual([-2]);
    expect(decode("I64", 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)).toEqual([-2]);
    expect(decode("U8", 254)).toEqual([254]);
    expect(() => decode("I64", 0, 0, 0, 0, 0, 0, 0x20, 0)).toThrow(/9007199254740992, which no number holds exactly/);
  });

  test("the first non-finite element is found without decoding", () => {
    fc.assert(
      fc.property(anyTensor.filter(({ dtype }) => dtype !== "I64"), (tensor) => {
        expect(firstNonFinite(tensor)).toBe(valuesOf(tensor).findIndex((value) => !Number.isFinite(value)));
      }),
      { numRuns: 300 },
    );
  });
});
