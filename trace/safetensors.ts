/**
 * The safetensors format: 8 bytes with the header's length (u64, little-endian), a JSON header
 * `{ name: { dtype, shape, data_offsets: [begin, end] }, "__metadata__": { string: string } }`, then the tensors' bytes;
 * offsets count from the end of the header, and the tensors cover the rest of the file without holes or overlaps.
 * Source: huggingface/safetensors, README, section "Format".
 */
import { z } from "zod";
import { elementBytes, elementCount, isShape, isStoredDType, TensorFileError, type StoredTensor } from "./tensor.ts";

export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const Header = z.record(z.string(), z.unknown());
const Metadata = z.record(z.string(), z.string());
const Entry = z.object({
  dtype: z.string(),
  shape: z.custom<number[]>(isShape, "expected a list of extents"),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});

const incomplete = "The file is damaged or was cut off while it was written or copied: fetch or write it again";

/**
 * Reads a whole file; tensor bytes are views into `bytes`, nothing is copied.
 * @param file name for messages
 * @throws TensorFileError for a header or offsets that do not describe the file, and for dtypes outside of `StoredDType`.
 */
export function readSafetensors(bytes: Uint8Array, file: string): SafetensorsFile {
  const fail = (problem: string, advice = incomplete): never => {
    throw new TensorFileError(file, problem, advice);
  };
  if (bytes.length < 8) return fail(`${bytes.length} bytes, too short for a safetensors header`);
  const headerBytes = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (headerBytes > bytes.length - 8) {
    const problem = `the header should be ${headerBytes} bytes long and only ${bytes.length - 8} follow`;
    return fail(problem, `${incomplete}, or it is no safetensors file`);
  }
  const data = bytes.subarray(8 + headerBytes);
  const header = parseHeader(bytes.subarray(8, 8 + headerBytes)) ?? fail("the header is not a JSON object", "Is it a safetensors file?");

  const metadata = Metadata.safeParse(header["__metadata__"] ?? {});
  if (!metadata.success) return fail("__metadata__ is not an object of strings", "Store numbers and lists as JSON strings");

  const entries = Object.entries(header).flatMap(([name, value]) => {
    if (name === "__metadata__") return [];
    const entry = Entry.safeParse(value);
    if (!entry.success) return fail(`tensor "${name}": ${z.prettifyError(entry.error).replaceAll("\n", " ")}`);
    const { dtype, shape, data_offsets: [begin, end] } = entry.data;
    const known = Object.keys(elementBytes).join(", ");
    if (!isStoredDType(dtype)) return fail(`tensor "${name}" has dtype ${dtype}`, `Convert it to one of ${known}`);
    const expected = elementCount(shape) * elementBytes[dtype];
    const given = end - begin;
    if (given !== expected) {
      return fail(`tensor "${name}": ${dtype} [${shape.join(", ")}] takes ${expected} bytes, its offsets give ${given}`);
    }
    if (end > data.length) return fail(`tensor "${name}" ends at byte ${end} of ${data.length} bytes of data`);
    return [{ name, begin, end, tensor: { dtype, shape, bytes: data.subarray(begin, end) } satisfies StoredTensor }];
  });

  let covered = 0;
  for (const { name, begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) return fail(`tensor "${name}" begins at byte ${begin}, and the tensors before it end at ${covered}`);
    covered = end;
  }
  if (covered !== data.length) return fail(`the tensors cover ${covered} of ${data.length} bytes of data`);
  return { tensors: new Map(entries.map(({ name, tensor }) => [name, tensor])), metadata: metadata.data };
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    return Header.safeParse(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes))).data;
  } catch {
    return undefined;
  }
}

/** The bytes of a file that `readSafetensors` reads back; the data starts at a multiple of 8. */
export function writeSafetensors(tensors: ReadonlyMap<string, StoredTensor>, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  let end = 0;
  const entries = [...tensors].map(([name, { dtype, shape, bytes }]) => {
    const begin = end;
    end += bytes.length;
    return [name, { dtype, shape, data_offsets: [begin, end] }];
  });
  const json = JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) });
  const header = new TextEncoder().encode(json);
  const headerBytes = Math.ceil(header.length / 8) * 8;
  const file = new Uint8Array(8 + headerBytes + end).fill(0x20, 8, 8 + headerBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.set(header, 8);
  let at = 8 + headerBytes;
  for (const { bytes } of tensors.values()) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}
