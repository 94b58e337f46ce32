/** Specs that the DSA kernels are verified on: one for each way in which a spec changes what is lowered. */
import type { KernelName } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { scaleForSoftware } from "../../verify/scale.ts";

export interface Subject {
  readonly kernel: KernelName;
  readonly spec: Dsa;
}

const logits: readonly KernelName[] = ["indexer_logits", "paged_indexer_logits"];
const attention: readonly KernelName[] = ["sparse_mla", "sparse_mla_decode", "sparse_mla_combine"];
const forms: readonly KernelName[] = ["topk_window", "topk_ragged", "topk_slots"];
const all: readonly KernelName[] = [...logits, "topk", ...forms, "check_selection", ...attention];

const subjects = (kernels: readonly KernelName[], base: string, settings: Readonly<Record<string, string>> = {}): Subject[] =>
  kernels.map((kernel) => ({ kernel, spec: withSettings(preset(base), settings) }));

/** Real head dims and head counts; k is real where a software adapter can afford it. */
export const realSubjects: readonly Subject[] = [
  ...subjects(all, "v3.2"),
  ...subjects(logits, "v3.2", { indexerHeads: "24", indexerDim: "64" }),
  ...subjects(["topk", "topk_slots"], "v3.2", { topK: "1023" }),
  ...subjects(["topk"], "v3.2", { topK: "4096" }),
  ...subjects(["sparse_mla", "sparse_mla_decode"], "longcat-flash-lite", { topK: "63", heads: "16" }),
  ...subjects(logits, "glm-5", { indexDtype: "bf16" }),
  ...subjects(logits, "longcat-flash-lite", { score: "softplus" }),
  ...subjects([...logits, "topk"], "longcat-flash-lite", { logitsDtype: "bf16" }),
  ...subjects(attention, "glm-5", { topK: "96", heads: "8", splits: "5" }),
  ...subjects(["sparse_mla"], "v4-flash"),
  ...subjects(["paged_indexer_logits"], "longcat-flash-lite", { nextN: "3", pageTokens: "32" }),
].map(({ kernel, spec }) => ({ kernel, spec: scaleForSoftware(kernel, spec).spec }));

/** Small in every direction and odd where that is allowed, for executions that take microseconds an element. */
const tiny = {
  topK: "9",
  indexerHeads: "3",
  indexerDim: "32",
  pageTokens: "8",
  heads: "4",
  dV: "128",
  dRope: "16",
  splits: "3",
  nextN: "2",
};
export const tinySubjects: readonly Subject[] = [
  ...subjects(all, "v3.2", tiny),
  ...subjects(all, "v3.2", {
    ...tiny,
    topK: "16",
    indexerHeads: "5",
    indexerDim: "24",
    heads: "3",
    dV: "256",
    sink: "true",
    splits: "1",
    nextN: "1",
    score: "softplus",
  }),
  ...subjects(logits, "v3.2", { ...tiny, indexDtype: "bf16", logitsDtype: "bf16" }),
  ...subjects(["topk", "topk_slots"], "v3.2", { ...tiny, pageTokens: "5", nextN: "3", logitsDtype: "bf16" }),
  ...subjects(["sparse_mla"], "v4-flash", { topK: "9", heads: "5", dV: "72", dRope: "0" }),
];

export const titleOf = ({ kernel, spec }: Subject): string => `${kernel} of ${spec.name}`;
