/** Builds fake_cuda.c and makes the runtime under test use it. Import before anything opens a device. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Manifest } from "../../../../compiler/ir/manifest.ts";

// a child process uses its parent's fake
const log = process.env.FAKE_CUDA_LOG ?? buildFake();

function buildFake(): string {
  const folder = mkdtempSync(join(tmpdir(), "tokensieve-fake-cuda-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const library = join(folder, "libfake_cuda.so");
  try {
    execFileSync("gcc", ["-shared", "-fPIC", "-pthread", "-o", library, join(import.meta.dirname, "fake_cuda.c")]);
  } catch (error) {
    throw new Error("the tests of the CUDA runtime need gcc and g++ (apt install g++)", { cause: error });
  }
  process.env.TOKENSIEVE_LIBCUDA = library;
  process.env.TOKENSIEVE_LIBNVRTC = library;
  process.env.TOKENSIEVE_LIBNVML = library;
  return (process.env.FAKE_CUDA_LOG = join(folder, "trace"));
}

export const clearTrace = (): void => writeFileSync(log, "");
/** What the fake driver was asked for since clearTrace, one event per item. */
export const trace = (): string[] => readFileSync(log, "utf8").split("\n").slice(0, -1);

/** The text of a kernel that does what `directives` say, e.g. "sleep 300". */
export const text = (entry: string, ...directives: string[]): string =>
  [...directives.map((directive) => `// fake: ${directive}`), `extern "C" __global__ void ${entry}(float *x, int n) {}`].join("\n");

/** A kernel over one buffer "x" of n words, one block per 32 of them. */
export const manifest = (overrides: Partial<Manifest> = {}): Manifest => ({
  format: 1,
  kernel: "scale",
  target: "cuda:sm_80",
  entry: "scale",
  file: "kernel.cu",
  source: "scale.ts",
  spec: {},
  tune: {},
  params: [
    {
      name: "x",
      access: "inout",
      axes: [{ axis: "n", size: "n", stride: 4 }],
      fields: [{ name: "", dtype: "f32", offset: 0, axes: [] }],
      bytes: { op: "mul", args: ["n", 4] },
    },
  ],
  dims: [{ name: "n" }],
  tensorMaps: [],
  blocks: { op: "ceilDiv", args: ["n", 32] },
  threads: 32,
  sharedBytes: 0,
  features: [],
  limits: {},
  sha256: "",
  ...overrides,
});
