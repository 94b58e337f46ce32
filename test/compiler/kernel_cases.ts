/** Small specs and random buffers for every kernel: what tests of interpreters and passes run on. */
import fc from "fast-check";
import { join } from "node:path";
import { writeElement } from "../../dsl/dtype.ts";
import type { KernelName } from "../../dsl/kernels/index.ts";
import { relu, softplus, type Dsa } from "../../dsl/kernels/spec.ts";
import { readKernel } from "../../compiler/front/index.ts";
import { evaluate, type Field, type Param } from "../../compiler/ir/manifest.ts";
import type { TileKernel } from "../../compiler/ir/tile.ts";

export const kernelFiles: Readonly<Record<KernelName, { readonly file: string; readonly exportName: string }>> = {
  indexer_logits: { file: "indexer_logits.ts", exportName: "indexerLogits" },
  paged_indexer_logits: { file: "paged_indexer_logits.ts", exportName: "pagedIndexerLogits" },
  topk: { file: "topk.ts", exportName: "topK" },
  topk_window: { file: "topk.ts", exportName: "topKWindow" },
  topk_ragged: { file: "topk.ts", exportName: "topKRagged" },
  topk_slots: { file: "topk.ts", exportName: "topKSlots" },
  check_selection: { file: "check_selection.ts", exportName: "checkSelection" },
  sparse_mla: { file: "sparse_mla.ts", exportName: "sparseMla" },
  sparse_mla_decode: { file: "sparse_mla_decode.ts", exportName: "sparseMlaDecode" },
  sparse_mla_combine: { file: "sparse_mla_decode.ts", exportName: "sparseMlaCombine" },
};
export const kernelNames = Object.keys(kernelFiles) as KernelName[];
export const kernelPath = (file: string): string => join(import.meta.dirname, "../../dsl/kernels", file);

/** Reads a kernel of dsl/kernels; TypeScript's own checks run once, in a test of their own. */
export const read = (name: KernelName, spec: Dsa, tune?: Readonly<Record<string, number>>): Promise<TileKernel> =>
  readKernel({ file: kernelPath(kernelFiles[name].file), exportName: kernelFiles[name].exportName, spec, skipTypes: true, ...(tune && { tune }) });

/** Specs that are small in every direction, odd sizes among them. */
export const smallSpec: fc.Arbitrary<Dsa> = fc.record({
  name: fc.constant("small"),
  topK: fc.integer({ min: 1, max: 24 }),
  indexerHeads: fc.integer({ min: 1, max: 5 }),
  indexerDim: fc.integer({ min: 1, max: 9 }),
  indexDtype: fc.constantFrom("e4m3" as const, "bf16" as const),
  logitsDtype: fc.constantFrom("f32" as const, "bf16" as const),
  score: fc.constantFrom(relu, softplus),
  scoreForm: fc.constant("exact" as const),
  pageTokens: fc.integer({ min: 1, max: 5 }),
  nextN: fc.integer({ min: 1, max: 3 }),
  heads: fc.integer({ min: 1, max: 5 }),
  dV: fc.constantFrom(128, 256),
  dRope: fc.integer({ min: 1, max: 5 }),
  smScale: fc.constantFrom(0.1, 0.0625),
  sink: fc.boolean(),
  splits: fc.integer({ min: 1, max: 3 }),
});

const select = { BT: 8, SAMPLE: 16, BINS: 16, ROOM: 12, SPAN: 16, WIDE: 8 };
/** Tune numbers that make several blocks of small sizes. */
export const smallTune: Readonly<Record<KernelName, Readonly<Record<string, number>>>> = {
  indexer_logits: { BQ: 2, BT: 4, CHUNK: 8 },
  paged_indexer_logits: { PAGES: 2 },
  topk: select,
  topk_window: select,
  topk_ragged: select,
  topk_slots: select,
  check_selection: { SLOTS: 8 },
  sparse_mla: { BH: 2, BJ: 4 },
  sparse_mla_decode: { BH: 2, BJ: 4 },
  sparse_mla_combine: { BH: 2 },
};

/** A pseudo-random number in [0, 1) from a seed, the same on every machine. */
export function random(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    const a = Math.imul(state ^ (state >>> 15), state | 1);
    const b = a ^ (a + Math.imul(a ^ (a >>> 7), a | 61));
    return ((b ^ (b >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Buffers of every param: floats of both signs with ties among them, integers from -2 to a little past any size. */
export function randomBuffers(kernel: TileKernel, dims: Readonly<Record<string, number>>, seed: number): Record<string, Uint8Array> {
  const next = random(seed);
  const buffers: Record<string, Uint8Array> = {};
  for (const p of kernel.params) {
    const bytes = new Uint8Array(Math.max(0, evaluate(p.bytes, dims)));
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(next() * 256); // padding and outputs hold anything
    if (p.access === "in") fillParam(p, dims, bytes, next);
    buffers[p.name] = bytes;
  }
  return buffers;
}

function fillParam(p: Param, dims: Readonly<Record<string, number>>, bytes: Uint8Array, next: () => number): void {
  const view = new DataView(bytes.buffer);
  const float = (f: Field, x: number): number => (f.nonNegative ? Math.abs(x) : x);
  for (const f of p.fields) {
    const axes = [...p.axes, ...f.axes].map((a) => ({ size: evaluate(a.size, dims), stride: evaluate(a.stride, dims) }));
    const walk = (axis: number, offset: number): void => {
      const a = axes[axis];
      if (a) for (let i = 0; i < a.size; i++) walk(axis + 1, offset + i * a.stride);
      else writeElement(f.dtype, view, offset, f.dtype === "i32" ? Math.floor(next() * 16) - 2 : float(f, Math.round(next() * 32 - 16) / 8));
    };
    walk(0, f.offset);
  }
}

/** Values for all dims: sizes from 1 to 13, pitches packed or wider. */
export function randomDims(kernel: TileKernel, seed: number): Readonly<Record<string, number>> {
  const next = random(seed ^ 0x5eed);
  const dims: Record<string, number> = {};
  for (const d of kernel.dims) dims[d.name] = d.default === undefined ? 1 + Math.floor(next() * 13) : evaluate(d.default, dims) + 16 * Math.floor(next() * 2);
  return dims;
}
