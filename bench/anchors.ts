/**
 * Figures of other people's kernels, as they were measured for this project on another day, in one process, built from their public
 * sources with nvcc 13.0 for sm_90a. They are not measured again by `bench`; a ratio to them says so.
 */
import type { Dsa } from "../dsl/kernels/spec.ts";
import type { Mode } from "../targets/cuda/runtime/measure.ts";
import type { ProblemName } from "./problems/index.ts";
import type { Sizes } from "./problems/problem.ts";

export const anchorsFrom = { gpu: "NVIDIA H200", driver: "580.159.04", date: "2026-11-21" } as const;

/** What the same card reached that day in products of 8192³ by cuBLAS and in a read of device memory: a roofline where nothing is measured. */
export const anchorCeilings = { memory: 4.39e12, tensor: { bf16: 772e12, e4m3: 1429e12 } } as const;

export interface Anchor {
  readonly by: string;
  readonly problem: ProblemName;
  readonly sizes: Sizes;
  /** Fields of the spec that the figure holds for. */
  readonly spec: Partial<Dsa>;
  readonly mode: Mode;
  /** A time or a rate. */
  readonly microseconds?: number;
  readonly tflops?: number;
}

const logits = { indexDtype: "e4m3", indexerDim: 128, indexerHeads: 64, logitsDtype: "f32" } as const satisfies Partial<Dsa>;
const mla = { dV: 512, dRope: 64, topK: 2048, heads: 128 } as const satisfies Partial<Dsa>;
const decode = { ...mla, nextN: 1 } as const;

type Figure = readonly [sizes: Sizes, microseconds: number, spec?: Partial<Dsa>];

const list = (by: string, problem: ProblemName, mode: Mode, common: Partial<Dsa>, figures: readonly Figure[]): Anchor[] =>
  figures.map(([sizes, microseconds, spec = {}]) => ({ by, problem, sizes, mode, spec: { ...common, ...spec }, microseconds }));

export const anchors: readonly Anchor[] = [
  ...list("DeepGEMM", "indexer_logits", "single", logits, [
    [{ S: 4096, N: 4096 }, 149.9],
    [{ S: 2048, N: 8192 }, 237.8],
    [{ S: 4096, N: 16384 }, 886.7],
    [{ S: 2048, N: 65536 }, 2118],
    [{ S: 2048, N: 131072 }, 4386],
    [{ S: 2048, N: 65536 }, 2091, { logitsDtype: "bf16" }],
    [{ S: 2048, N: 65536 }, 1227, { indexerHeads: 32 }],
    [{ S: 4096, N: 16384 }, 546, { indexerHeads: 32 }],
  ]),
  { by: "DeepGEMM", problem: "indexer_logits", sizes: { S: 2048, N: 65536 }, spec: logits, mode: "sustained", tflops: 976 },
  { by: "DeepGEMM", problem: "indexer_logits", sizes: { S: 4096, N: 16384 }, spec: logits, mode: "sustained", tflops: 950 },
  { by: "DeepGEMM", problem: "indexer_logits", sizes: { S: 2048, N: 65536 }, spec: { ...logits, indexerHeads: 32 }, mode: "sustained", tflops: 965 },
  ...list("DeepGEMM", "paged_indexer_logits", "queued", { ...logits, nextN: 1, pageTokens: 64 }, [
    [{ B: 1, N: 131072 }, 9.4],
    [{ B: 8, N: 65536 }, 22.9],
    [{ B: 32, N: 32768 }, 39.6],
    [{ B: 64, N: 16384 }, 39.9],
    [{ B: 128, N: 8192 }, 39.9],
    [{ B: 128, N: 32768 }, 141.4],
    [{ B: 256, N: 4096 }, 40.6],
  ]),
  ...list("FlashMLA", "sparse_mla", "single", mla, [
    [{ S: 4096, N: 8192 }, 3629],
    [{ S: 4096, N: 32768 }, 4074],
    [{ S: 4096, N: 65536 }, 4231],
    [{ S: 4096, N: 131072 }, 4368],
    [{ S: 4096, N: 32768 }, 2040, { heads: 64 }],
    [{ S: 4096, N: 32768 }, 1195, { topK: 512 }],
    [{ S: 2048, N: 32768 }, 7726, { topK: 8192 }],
  ]),
  // how many records a request had is not known of these; each read 2048 at random
  ...list("FlashMLA", "sparse_mla_decode", "queued", decode, [
    [{ B: 128, N: 8192 }, 363.4, { nextN: 2 }],
    [{ B: 128, N: 8192 }, 184.1],
    [{ B: 64, N: 8192 }, 94.1],
    [{ B: 32, N: 8192 }, 63.9],
    [{ B: 8, N: 8192 }, 28.1],
    [{ B: 1, N: 8192 }, 19.1],
    [{ B: 128, N: 8192 }, 114.8, { heads: 64 }],
    [{ B: 1, N: 8192 }, 17.7, { heads: 64 }],
  ]),
  ...list("FlashInfer, the fastest of its modes", "topk", "queued", { topK: 2048, logitsDtype: "f32" }, [
    [{ R: 1, N: 131072 }, 36.7],
    [{ R: 8, N: 65536 }, 30.3],
    [{ R: 32, N: 32768 }, 20.6],
    [{ R: 128, N: 32768 }, 24.0],
    [{ R: 128, N: 131072 }, 65.2],
    [{ R: 4096, N: 8192 }, 283],
    [{ R: 4096, N: 32768 }, 621],
    [{ R: 2048, N: 131072 }, 960],
  ]),
];

/** The figure for a case timed by the same method; data other than the usual has none. */
export function anchorOf(of: { problem: ProblemName; sizes: Sizes; spec: Dsa; mode: string }): Anchor | undefined {
  const has = (values: Readonly<Record<string, unknown>>, wanted: Readonly<Record<string, unknown>>): boolean =>
    Object.entries(wanted).every(([key, value]) => values[key] === value);
  return anchors.find(
    (a) => a.problem === of.problem && a.mode === of.mode && has(of.sizes, a.sizes) && has({ ...of.spec }, { ...a.spec }),
  );
}

/** How many times as fast a time is. */
export function timesAsFast({ microseconds, tflops }: Anchor, own: { readonly microseconds: number; readonly flops?: number | undefined }): number {
  if (microseconds !== undefined) return microseconds / own.microseconds;
  return (own.flops ?? NaN) / (own.microseconds * 1e6) / tflops!;
}
