/**
 * Named specs of published models, one object each. Change one with `withSettings` or object spread; kernels follow.
 *
 * Heads are those of a model on one device (tensor parallel 1). `splits`, `nextN` and `logitsDtype` are choices of the caller, not of the
 * model. RoPE pairing is not part of a spec: it is done before these kernels, and the reference takes it as a parameter without a default.
 */
import { didYouMean, quoteAll } from "../names.ts";
import { relu, type Dsa } from "./spec.ts";

const common = {
  indexerDim: 128,
  indexDtype: "e4m3",
  logitsDtype: "f32",
  score: relu,
  scoreForm: "exact",
  pageTokens: 64,
  nextN: 1,
  dV: 512,
  dRope: 64,
  sink: false,
  splits: 8,
} as const satisfies Partial<Dsa>;

/** YaRN's attention factor 0.1 ln(factor) + 1 (mscale 1); it multiplies queries and keys, so the softmax scale takes its square. */
const yarn = (factor: number): number => 0.1 * Math.log(factor) + 1;

/**
 * DeepSeek-V3.2 and V3.2-Exp. Source: deepseek-ai/DeepSeek-V3.2-Exp, `inference/config_671B_v3.2.json` and `inference/model.py`.
 * The softmax scale comes from the 192 columns of a head before absorption (128 + 64), times YaRN's factor for 40, squared.
 */
const v32: Dsa = { ...common, name: "v3.2", topK: 2048, indexerHeads: 64, heads: 128, smScale: 192 ** -0.5 * yarn(40) ** 2 };

/**
 * GLM-5 and GLM-5.1. Source: huggingface/transformers, `models/glm_moe_dsa` (heads of 192 + 64 columns, no YaRN).
 * Disputed: the indexer's RoPE pairing (transformers and the serving engines say interleaved, some ports half-split) and whether the
 * score has the ReLU (an early transformers version left it out, issue 44360; the serving kernels have it, and so has this spec).
 */
const glm5: Dsa = { ...common, name: "glm-5", topK: 2048, indexerHeads: 32, heads: 64, smScale: 256 ** -0.5 };

/**
 * GLM-5.2: as GLM-5, but one layer in four computes indices and the others reuse them ("IndexShare"), which changes how often the
 * kernels run, not what they compute. Sources: ROCm/ATOM#1260, tenstorrent/tt-metal#49315. Disputed: the pairing, as for GLM-5.
 */
const glm52: Dsa = { ...glm5, name: "glm-5.2" };

/**
 * DeepSeek-V4 Flash, the layers that select among 4x compressed entries. Source: huggingface/transformers, `models/deepseek_v4`
 * (head_dim 512, 64 heads, 64 x 128 indexer, index_topk 512, sinks, scale 512^-0.5 without an mscale).
 * The 64 RoPE columns lie inside the 512, and all 512 are values: hence dRope 0. The model's own index keys are FP4 (MXFP4) by default,
 * which this language does not have: they are e4m3 here. The 128-token window that it always attends is the caller's: append
 * its slots to the selected ones.
 */
const v4Flash: Dsa = { ...common, name: "v4-flash", topK: 512, indexerHeads: 64, heads: 64, dRope: 0, smScale: 512 ** -0.5, sink: true };

/**
 * LongCat-Flash-Lite-Sparse. Sources: sgl-project/sglang#32918 (16 index heads) and the published config as quoted by the tests of
 * unslothai/unsloth (32 heads, 512 + 64 columns, index_topk 2048, index_head_dim 128, YaRN factor 120).
 * Disputed: Blaizzy/mlx-vlm's config has no YaRN scaling by default; the scale is then 192^-0.5: `--set smScale=0.07216878364870322`.
 * Its 16 first and 1024 last tokens, which are always selected, are the caller's to force.
 */
const longcatFlashLite: Dsa = {
  ...common,
  name: "longcat-flash-lite",
  topK: 2048,
  indexerHeads: 16,
  heads: 32,
  smScale: 192 ** -0.5 * yarn(120) ** 2,
};

export const presets: Readonly<Record<string, Dsa>> = Object.fromEntries(
  [v32, glm5, glm52, v4Flash, longcatFlashLite].map((spec) => [spec.name, spec]),
);

/** The spec of a preset; an unknown name is a RangeError that lists the presets. */
export function preset(name: string): Dsa {
  const spec = presets[name];
  if (spec) return spec;
  throw new RangeError(
    `no preset is called "${name}".${didYouMean(name, Object.keys(presets))} The presets are ${quoteAll(Object.keys(presets))}.`,
  );
}
