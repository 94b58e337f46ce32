/** Assembles CUDA texts with nvcc, for tests; `hasNvcc` is false where the toolkit is not installed. */
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

export const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;

/**
 * Compiles texts, each in a namespace of its own, to one cubin for `arch` ("sm_90a"). Returns what ptxas reports;
 * rejects with the compiler's messages. Warnings are errors.
 */
export async function assemble(arch: string, texts: readonly string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "nvcc-"));
  try {
    const source = join(folder, "kernels.cu");
    await writeFile(source, texts.map((text, i) => `namespace text${i} {\n${text}\n}`).join("\n"));
    const { stdout, stderr } = await promisify(execFile)("nvcc", [
      `-arch=${arch}`,
      "-cubin",
      "-Xptxas",
      "-v",
      "-Werror",
      "all-warnings",
      "-o",
      join(folder, "kernels.cubin"),
      source,
    ]);
    return stdout + stderr;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
