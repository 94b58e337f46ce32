/** Specs that a software adapter can run: everything keeps its real size except k, and the context with it. */
import type { KernelName } from "../dsl/kernels/index.ts";
import { withSettings } from "../dsl/kernels/settings.ts";
import type { Dsa } from "../dsl/kernels/spec.ts";
import type { ProgramName } from "../dsl/programs/index.ts";
import { attentionCost } from "./checks/sparse_mla.ts";

export interface ScaledSpec {
  /** Named after the spec and what changed, so that a replay command finds it again. */
  readonly spec: Dsa;
  /** One sentence for each changed number; empty when the spec is the real one. */
  readonly changes: readonly string[];
}

/** Multiply-adds of one query that a software adapter does in a fraction of a second. */
const perQuery = 1e7;

/**
 * Halves k, rounding up, until one query of sparse attention is affordable. Heads and head dims stay, for they decide how a kernel is
 * lowered; so does k where the kernel's cost does not depend on it. Contexts follow k: every check has rows longer than it.
 */
export function scaleForSoftware(kernel: KernelName, spec: Dsa): ScaledSpec {
  if (!kernel.startsWith("sparse_mla")) return { spec, changes: [] };
  let topK = spec.topK;
  while (topK > 1 && attentionCost({ ...spec, topK }) > perQuery) topK = Math.ceil(topK / 2);
  if (topK === spec.topK) return { spec, changes: [] };
  return {
    spec: withSettings(spec, { topK: String(topK) }),
    changes: [`topK ${spec.topK} is run as ${topK}, over contexts of up to ${3 * topK + 1} tokens`],
  };
}

/** What programs are run with on a CPU at most: chunks are what they are about, and chunks need many queries. */
const small: Readonly<Record<ProgramName, Readonly<Partial<Record<"topK" | "indexerHeads" | "indexerDim" | "heads" | "pageTokens", number>>>>> = {
  streaming_topk: { topK: 24, indexerHeads: 4, indexerDim: 32 },
  prefill: { topK: 24, indexerHeads: 4, indexerDim: 32, heads: 4 },
  decode: { topK: 24, indexerHeads: 4, indexerDim: 32, heads: 4, pageTokens: 16 },
  replay: { topK: 24 },
};

/** Lowers what is larger. */
export function scaleProgram(program: ProgramName, spec: Dsa): ScaledSpec {
  const larger = Object.entries(small[program]).filter(([key, most]) => spec[key as "topK"] > most);
  if (larger.length === 0) return { spec, changes: [] };
  return {
    spec: withSettings(spec, Object.fromEntries(larger.map(([key, most]) => [key, String(most)]))),
    changes: larger.map(([key, most]) => `${key} ${spec[key as "topK"]} is run as ${most}`),
  };
}
