/**
 * Traces: activations of a real model, as input for the kernels. `docs/trace.md` says how to make one and what the committed one holds.
 *
 * A trace is one `.safetensors` file, or a folder of `.npy` files named after the tensors beside a `metadata.json`.
 * P queries at `positions` of one sequence of N tokens; the query at position t sees tokens 0..t.
 *
 * | tensor | shape | dtype | meaning |
 * |---|---|---|---|
 * | `positions` | [P] | I32, I64 | token index of each query |
 * | `layers.L.q_absorbed` | [P, H, dQk] | F32, F16, BF16 | main queries against a row: latent channels, then rotated RoPE channels |
 * | `layers.L.kv_rows` | [N, dQk] | same | cached rows: normalised latent, which is the value too, then the key's rotated RoPE channels |
 * | `layers.L.index_q` | [P, HI, DI] | same | indexer queries after RoPE, before Hadamard rotation and quantisation |
 * | `layers.L.index_k` | [N, DI] | same | indexer keys, likewise |
 * | `layers.L.index_w` | [P, HI] | same | gates with every constant factor in: I(t, s) = sum over h of w[t, h] * relu(q[t, h] . k[s]) |
 *
 * Metadata: `sm_scale` (softmax scale of the main attention, natural exponent) and `latent` (leading channels of a row that are the
 * value) are required; other keys are kept for people to read. L is any layer number. All layers share P and N.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { readNpy } from "./npy.ts";
import { readSafetensors, type SafetensorsFile } from "./safetensors.ts";
import { firstNonFinite, TensorFileError, valuesOf, type StoredDType, type StoredTensor } from "./tensor.ts";

export { TensorFileError, valuesOf, type StoredDType, type StoredTensor } from "./tensor.ts";

/** One attention layer; shapes as in the table above. Self-contained, so that code can be handed a layer alone. */
export interface TraceLayer {
  readonly layer: number;
  readonly positions: readonly number[];
  readonly smScale: number;
  readonly tokens: number;
  readonly heads: number;
  /** Width of a row and of an absorbed query. */
  readonly dQk: number;
  /** Leading channels of a row that are the value. */
  readonly latent: number;
  readonly indexHeads: number;
  readonly indexDim: number;
  readonly qAbsorbed: StoredTensor;
  readonly kvRows: StoredTensor;
  readonly indexQ: StoredTensor;
  readonly indexK: StoredTensor;
  readonly indexW: StoredTensor;
}

export interface Trace {
  readonly file: string;
  /** By layer number, ascending. */
  readonly layers: readonly TraceLayer[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** The committed trace of a small byte-level model; see docs/trace.md. */
export const committedTrace = join(import.meta.dirname, "data", "bytes-mla.safetensors");

/**
 * Reads and checks a trace.
 * @param path a `.safetensors` file or a folder of `.npy` files with `metadata.json`
 * @throws TensorFileError with file, tensor, cause and what to change.
 */
export async function loadTrace(path: string): Promise<Trace> {
  const found = await stat(path).catch(() => {
    throw new TensorFileError(path, "no such file or folder", "Give a .safetensors file or a folder of .npy files; see docs/trace.md");
  });
  return checkTrace(found.isDirectory() ? await readFolder(path) : readSafetensors(await readFile(path), path), path);
}

const FolderMetadata = z.record(z.string(), z.union([z.string(), z.number().transform(String)]));

async function readFolder(folder: string): Promise<SafetensorsFile> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".npy"));
  const tensors = new Map<string, StoredTensor>();
  for (const name of names) {
    const file = join(folder, name);
    tensors.set(basename(name, ".npy"), readNpy(await readFile(file), file));
  }
  const file = join(folder, "metadata.json");
  const text = await readFile(file, "utf8").catch(() => "");
  let metadata: Record<string, string> | undefined;
  try {
    metadata = FolderMetadata.safeParse(JSON.parse(text)).data;
  } catch {} // the message below covers a missing file, bad JSON and bad values
  if (metadata === undefined) {
    throw new TensorFileError(file, "is missing or no JSON object of strings and numbers", 'Write {"sm_scale": …, "latent": …}');
  }
  return { tensors, metadata };
}

const floats: readonly StoredDType[] = ["F32", "F16", "BF16"];
const integers: readonly StoredDType[] = ["I32", "I64"];

/** @throws TensorFileError where tensors or metadata are not as the table at the top of this file says. */
export function checkTrace({ tensors, metadata }: SafetensorsFile, file: string): Trace {
  const fail = (problem: string, advice: string): never => {
    throw new TensorFileError(file, problem, advice);
  };
  const held = `the file holds ${[...tensors.keys()].join(", ") || "no tensor"}`;

  /** The tensor, checked. An extent given as a number must match; a letter takes what it finds. */
  const tensor = (name: string, expected: readonly (number | string)[], dtypes: readonly StoredDType[]): StoredTensor => {
    const found = tensors.get(name) ?? fail(`tensor "${name}" is missing`, `docs/trace.md lists the names; ${held}`);
    if (!dtypes.includes(found.dtype)) return fail(`"${name}" is ${found.dtype}`, `Store it as ${dtypes.join(", ")}`);
    const fits =
      found.shape.length === expected.length &&
      found.shape.every((extent, i) => extent > 0 && (typeof expected[i] === "string" || extent === expected[i]));
    if (!fits) {
      return fail(`"${name}" has shape [${found.shape.join(", ")}], expected [${expected.join(", ")}]`, "docs/trace.md lists the shapes");
    }
    const bad = firstNonFinite(found);
    return bad < 0 ? found : fail(`"${name}" has an infinity or NaN at element ${bad}`, "Look at the model's dtype and at the export");
  };
  const number = (key: string, isValid: (x: number) => boolean, what: string): number => {
    const text = metadata[key] ?? "";
    const value = text.trim() === "" ? NaN : Number(text);
    return isValid(value) ? value : fail(`metadata "${key}" is ${text === "" ? "missing" : `"${text}"`}`, `It must be ${what}`);
  };

  const smScale = number("sm_scale", (x) => x > 0 && x < Infinity, "the softmax scale, a positive number");
  const latent = number("latent", (x) => Number.isSafeInteger(x) && x > 0, "the number of value channels in a row");
  const positions = [...valuesOf(tensor("positions", ["P"], integers))];
  const numbers = [...tensors.keys()].flatMap((name) => /^layers\.(\d+)\.kv_rows$/.exec(name)?.[1] ?? []).map(Number);
  if (numbers.length === 0) return fail('no tensor "layers.L.kv_rows" for any layer L', `docs/trace.md lists the names; ${held}`);

  const layers: TraceLayer[] = [];
  for (const layer of numbers.sort((a, b) => a - b)) {
    const name = (part: string): string => `layers.${layer}.${part}`;
    const kvRows = tensor(name("kv_rows"), [layers[0]?.tokens ?? "N", "dQk"], floats);
    const [tokens, dQk] = kvRows.shape as [number, number];
    const qAbsorbed = tensor(name("q_absorbed"), [positions.length, "H", dQk], floats);
    const indexK = tensor(name("index_k"), [tokens, "DI"], floats);
    const indexDim = indexK.shape[1]!;
    const indexQ = tensor(name("index_q"), [positions.length, "HI", indexDim], floats);
    const indexHeads = indexQ.shape[1]!;
    const indexW = tensor(name("index_w"), [positions.length, indexHeads], floats);

    const outside = positions.find((position) => position < 0 || position >= tokens);
    if (outside !== undefined) {
      return fail(`position ${outside} is outside of the ${tokens} tokens`, "Export the rows of every token up to the last query");
    }
    if (latent > dQk) return fail(`metadata "latent" is ${latent}, and rows are ${dQk} wide`, "It counts the value channels of a row");
    const heads = qAbsorbed.shape[1]!;
    const sizes = { tokens, heads, dQk, latent, indexHeads, indexDim };
    layers.push({ layer, positions, smScale, ...sizes, qAbsorbed, kvRows, indexQ, indexK, indexW });
  }
  return { file, layers, metadata };
}
