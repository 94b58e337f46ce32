/**
 * What a token at a position costs, dense and with sparse attention, after figure 3 of the DeepSeek-V3.2-Exp report: a time that does not
 * depend on the position, and for every layer the work that does, each stage at the rate of its kernel.
 */
import { byteSize } from "../../dsl/dtype.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { latentRecordBytes } from "../../reference/index.ts";

export const phases = ["prefill", "decode"] as const;
export type Phase = (typeof phases)[number];

/** `masked`: a short prefill that multiplies all pairs in expanded heads and masks what was not selected. */
export const stages = ["dense", "masked", "scores", "select", "sparse"] as const;
export type Stage = (typeof stages)[number];

/** What a spec does not say of its model. */
export interface Model {
  readonly layers: number;
  /** Layers that select; the others use what those found. */
  readonly selectingLayers: number;
  /** Columns of a head's keys and values before absorption: what dense prefill multiplies. */
  readonly head: { readonly keys: number; readonly values: number };
  /** GPU seconds of a token at position 0, all else than these stages included; absent where nobody published them. */
  readonly fixed?: Readonly<Record<Phase, { readonly dense: number; readonly sparse: number }>>;
}

/**
 * By preset. The seconds of v3.2 are read off the figure: an H800 at 2 dollars an hour. One layer in four of glm-5.2 selects.
 * The mix of layers of v4-flash, and the layers of longcat-flash-lite, are not published in the sources of `dsl/kernels/presets.ts`.
 */
export const models: Readonly<Record<string, Model>> = {
  "v3.2": {
    layers: 61,
    selectingLayers: 61,
    head: { keys: 192, values: 128 },
    fixed: { prefill: { dense: 95.2e-6, sparse: 110e-6 }, decode: { dense: 126.9e-6, sparse: 171.3e-6 } },
  },
  "glm-5": { layers: 78, selectingLayers: 78, head: { keys: 256, values: 256 } },
  "glm-5.2": { layers: 78, selectingLayers: 78 / 4, head: { keys: 256, values: 256 } },
};

/** Of one layer, for one token. */
export interface Work {
  readonly flops: number;
  /** Bytes of device memory that nothing shares: keys and records in decode, logits always. */
  readonly bytes: number;
}

/** Work of a stage for a token that sees `context` tokens. Query tokens that are decoded together read keys and dense records once. */
export function workOf(stage: Stage, phase: Phase, dsa: Dsa, { head }: Model, context: number): Work {
  const { heads, dV, dRope, nextN, topK, indexerHeads, indexerDim, indexDtype, logitsDtype } = dsa;
  const record = latentRecordBytes(dV, dRope);
  const latent = 2 * heads * (2 * dV + dRope);
  const expanded = 2 * heads * (head.keys + head.values) * context;
  const slots = Math.min(topK, context);
  const logits = byteSize(logitsDtype) * context;
  switch (stage) {
    case "dense":
      return phase === "prefill" ? { flops: expanded, bytes: 0 } : { flops: latent * context, bytes: (record * context) / nextN };
    case "masked":
      return { flops: expanded, bytes: 0 };
    case "scores": {
      const keys = phase === "decode" ? ((indexerDim * byteSize(indexDtype) + 4) * context) / nextN : 0;
      return { flops: 2 * indexerHeads * indexerDim * context, bytes: keys + logits };
    }
    case "select":
      return { flops: 0, bytes: logits + 4 * topK };
    case "sparse":
      return { flops: latent * slots, bytes: phase === "decode" ? record * slots : 0 };
  }
}

/** A second of a kernel; what is absent bounds nothing, and a stage without either takes no time of its own. */
export interface Rate {
  readonly flops?: number;
  readonly bytes?: number;
  /** Where it is from. */
  readonly from: string;
}
export type Rates = Readonly<Record<Phase, Readonly<Record<Stage, Rate>>>>;

const secondsOf = ({ flops, bytes }: Work, rate: Rate): number => Math.max(rate.flops ? flops / rate.flops : 0, rate.bytes ? bytes / rate.bytes : 0);

/** GPU seconds of one token, all layers. */
export interface TokenTime {
  readonly dense: number;
  readonly sparse: number;
  /** Parts of both, by stage; of `masked` and `sparse` only the faster one counts. */
  readonly stages: Readonly<Record<Stage, number>>;
}

export function timeOf(phase: Phase, dsa: Dsa, model: Model, rates: Rates, context: number): TokenTime {
  const seconds = (stage: Stage): number => {
    const layers = stage === "scores" || stage === "select" ? model.selectingLayers : model.layers;
    return layers * secondsOf(workOf(stage, phase, dsa, model, context), rates[phase][stage]);
  };
  const all = { dense: seconds("dense"), masked: seconds("masked"), scores: seconds("scores"), select: seconds("select"), sparse: seconds("sparse") };
  const isMasked = phase === "prefill" && all.masked < all.sparse;
  const counted = { ...all, masked: isMasked ? all.masked : 0, sparse: isMasked ? 0 : all.sparse };
  const fixed = model.fixed?.[phase] ?? { dense: 0, sparse: 0 };
  return { dense: fixed.dense + all.dense, sparse: fixed.sparse + counted.masked + counted.scores + counted.select + counted.sparse, stages: counted };
}

/** The first position, to a token, from which sparse attention is the cheaper one up to `longest`; undefined where it is not even there. */
export function crossover(phase: Phase, dsa: Dsa, model: Model, rates: Rates, longest: number): number | undefined {
  const isCheaper = (context: number): boolean => {
    const { dense, sparse } = timeOf(phase, dsa, model, rates, context);
    return sparse < dense;
  };
  if (!isCheaper(longest)) return undefined;
  let [low, high] = [0, longest]; // `high` is cheaper
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (isCheaper(middle)) high = middle;
    else low = middle;
  }
  return high;
}
