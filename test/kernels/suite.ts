/** The kernels of this folder. */
import { join } from "node:path";
import { kernelsOfFile } from "../../verify/file.ts";

const files = ["row_softmax", "norms", "gemms", "flash_attention", "matmul", "gathered_matmul", "scaled_matmul", "causal_attention", "pooled_scores", "histograms", "selection", "scans", "formats", "indexing", "scalars", "combinations"];

export const suite = (await Promise.all(files.map((name) => kernelsOfFile(join(import.meta.dirname, `${name}.ts`))))).flat();
