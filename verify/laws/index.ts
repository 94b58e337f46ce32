/**
 * Laws: what must hold between runs of the kernels, whatever the right numbers are. They notice what a kernel and the reference could
 * both have wrong. Runs that add up in different orders may differ by the sum of both budgets; everything else is equal to the bit.
 */
import { kernelsOf } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { everythingSelected, splitsMerge } from "./attention.ts";
import { batchLaws } from "./batch.ts";
import type { Law } from "./law.ts";
import { flattenedDrafts, paddingHeads, pagedEqualsRagged, permutedKeys } from "./logits.ts";
import { permutedScores, scaledWeights } from "./selection.ts";

export type { ExecutorOf, Law } from "./law.ts";

export const laws: readonly Law[] = [
  paddingHeads,
  permutedKeys,
  pagedEqualsRagged,
  flattenedDrafts,
  permutedScores,
  scaledWeights,
  splitsMerge,
  everythingSelected,
  ...batchLaws,
];

/** The laws whose kernels a spec has. */
export const lawsOf = (spec: Dsa): readonly Law[] => laws.filter((law) => law.kernels.every((kernel) => kernelsOf(spec).includes(kernel)));
