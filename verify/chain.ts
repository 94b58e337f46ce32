/** The whole chain on one problem: quantise, indexer logits, top-k, sparse attention; each stage feeds the next one's bytes. */
import type { KernelName } from "../dsl/kernels/index.ts";
import type { Dsa } from "../dsl/kernels/spec.ts";
import {
  decodeArray,
  elementBytes,
  indexerLogits,
  logitsBudget,
  narrowTensor,
  quantiseGroups,
  topK,
  type IndexerArgs,
  type NarrowTensor,
  type SparseMlaArgs,
} from "../reference/index.ts";
import type { LayerValues } from "../trace/recall.ts";
import { bytesOf, integers, poisoned } from "./checks/check.ts";
import { logitsPitch, logitsTarget, referenceScore } from "./checks/indexer_logits.ts";
import { attentionOutputs, attentionTarget, judgeAttention } from "./checks/sparse_mla.ts";
import type { Buffers, Executor } from "./executor.ts";
import { compare, packedRows, type Verdict } from "./verdict.ts";

/** Activations in full precision; row-major. */
export interface ChainInput {
  /** Index queries [queries, indexerHeads, indexerDim], rotated, before quantisation. */
  readonly indexQ: ArrayLike<number>;
  /** Index keys [tokens, indexerDim], likewise. */
  readonly indexK: ArrayLike<number>;
  /** Gates [queries, indexerHeads]. */
  readonly indexW: ArrayLike<number>;
  /** Absorbed queries [queries, heads, dV + dRope]. */
  readonly q: ArrayLike<number>;
  /** Latent and RoPE columns [tokens, dV + dRope]. */
  readonly rows: ArrayLike<number>;
  /** Query t sees tokens 0 … last[t] − 1. */
  readonly last: Int32Array;
  /** Sink logits [heads]; none without. */
  readonly sink?: ArrayLike<number>;
}

const stages = ["indexer_logits", "topk", "sparse_mla"] as const satisfies readonly KernelName[];
/** One executor a stage, all of one spec. */
export type ChainExecutors = Readonly<Record<(typeof stages)[number], Executor>>;

export interface ChainResult {
  /** [queries, tokens]; cells from last[t] on hold anything. */
  readonly logits: Float64Array;
  /** [queries, topK], ascending, then −1. */
  readonly idx: Int32Array;
  /** [queries, heads, dV] */
  readonly out: Float64Array;
  /** Each stage against the reference on the bytes that the stage got. */
  judge(): Readonly<Record<(typeof stages)[number], Verdict>>;
}

/** Runs the three kernels of `spec`. Extents that do not fit the spec are a RangeError of the reference when the result is judged. */
export async function runChain(spec: Dsa, input: ChainInput, executors: ChainExecutors): Promise<ChainResult> {
  const { indexerHeads: heads, indexerDim: dim } = spec;
  const dQk = spec.dV + spec.dRope;
  const queries = input.last.length;
  const tokens = input.indexK.length / dim;
  const q = quantised(spec, input.indexQ);
  const k = quantised(spec, input.indexK);
  const w = Float32Array.from(input.indexW);
  const first = new Int32Array(queries);
  const windows = { first: bytesOf(first), last: bytesOf(input.last) };
  const pitch = logitsPitch(spec, tokens, 0);
  const size = elementBytes(spec.logitsDtype);

  const scores = await executors.indexer_logits.run(
    {
      q: q.tensor.bytes,
      qScale: bytesOf(q.scale),
      k: k.tensor.bytes,
      kScale: bytesOf(k.scale),
      w: bytesOf(w),
      ...windows,
      logits: poisoned(queries * pitch * size),
    },
    { Q: queries, T: tokens, logitsPitch: pitch },
  );
  const logits = decodeArray(spec.logitsDtype, packedRows(scores.logits!, queries, tokens * size, pitch * size));
  const selected = await executors.topk.run(
    { logits: scores.logits!, ...windows, idx: poisoned(4 * queries * spec.topK, 0x5a) },
    { Q: queries, T: tokens, logitsPitch: pitch },
  );
  const idx = integers(selected.idx!);
  const [mainQ, rows] = [narrowTensor("bf16", input.q), narrowTensor("bf16", input.rows)];
  const sink = Float32Array.from(input.sink ?? new Float32Array(spec.heads).fill(-Infinity));
  const lengths = new Int32Array(queries).fill(spec.topK);
  const attended: Buffers = await executors.sparse_mla.run(
    {
      q: mainQ.bytes,
      kv: rows.bytes,
      idx: selected.idx!,
      lengths: bytesOf(lengths),
      sink: bytesOf(sink),
      ...attentionOutputs(queries, spec),
    },
    { Q: queries, T: tokens, kvPitch: dQk },
  );

  const indexed: IndexerArgs = {
    shape: { queries, heads, dim, tokens },
    q: q.tensor.values,
    qScale: q.scale,
    k: k.tensor.values,
    kScale: k.scale,
    w,
    first,
    last: input.last,
    score: referenceScore(spec),
  };
  const attention: SparseMlaArgs = {
    shape: { queries, heads: spec.heads, slots: spec.topK, tokens, dQk, dV: spec.dV },
    q: mainQ.values,
    kv: rows.values,
    idx,
    scale: spec.smScale,
    sink,
  };
  return {
    logits,
    idx,
    out: decodeArray("bf16", attended.out!),
    judge() {
      const budget = logitsBudget(indexed, logitsTarget(spec, executors.indexer_logits.arithmetic));
      const want = topK({ shape: { queries, tokens, k: spec.topK }, scores: logits, first, last: input.last });
      const { arithmetic, tune } = executors.sparse_mla;
      return {
        indexer_logits: compare({ output: "logits", axes: { q: queries, t: tokens }, got: logits, want: indexerLogits(indexed), budget }),
        topk: compare({ output: "idx", axes: { q: queries, j: spec.topK }, got: idx, want, budget: 0 }),
        sparse_mla: judgeAttention(attention, attended, attentionTarget(arithmetic, tune.BJ ?? 1, 1)),
      };
    },
  };
}

/** Index operands as the spec stores them: e4m3 with a scale a vector, or bf16 with scales of 1. */
function quantised(
  { indexDtype, indexerDim: dim }: Dsa,
  x: ArrayLike<number>,
): { readonly tensor: NarrowTensor; readonly scale: Float32Array } {
  if (indexDtype !== "e4m3") return { tensor: narrowTensor(indexDtype, x), scale: new Float32Array(x.length / dim).fill(1) };
  const { codes, scales } = quantiseGroups(x, dim, "divide");
  return { tensor: { format: "e4m3", bytes: codes, values: decodeArray("e4m3", codes) }, scale: scales };
}

/** A spec for the layer of a trace, which decides heads, dims and scale; `base` gives the rest. */
export const specOfLayer = (base: Dsa, layer: LayerValues & { readonly latent: number; readonly layer: number }, k: number): Dsa => ({
  ...base,
  name: `trace layer ${layer.layer}, k ${k}`,
  topK: k,
  indexerHeads: layer.indexHeads,
  indexerDim: layer.indexDim,
  heads: layer.heads,
  dV: layer.latent,
  dRope: layer.dQk - layer.latent,
  smScale: layer.smScale,
  sink: false,
});

/** The activations of a layer of a trace. */
export const inputOfLayer = (layer: LayerValues): ChainInput => ({
  indexQ: layer.indexQ,
  indexK: layer.indexK,
  indexW: layer.indexW,
  q: layer.q,
  rows: layer.rows,
  last: Int32Array.from(layer.positions, (position) => position + 1),
});
