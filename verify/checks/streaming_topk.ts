/** Indexer logits and top-k by chunks of queries: logits within their budget, indices exactly those of a sort of the same logits. */
import fc from "fast-check";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  indexerArgs,
  indexerKinds,
  indexerLogits,
  logitsBudget,
  topK,
  windowKinds,
  type IndexerKind,
  type WindowKind,
} from "../../reference/index.ts";
import { all, compare } from "../verdict.ts";
import { affordable, extent, integers, poisoned, seed, type Check, type Shape } from "./check.ts";
import { logitsTarget, scorerProblem } from "./indexer_logits.ts";

export interface StreamingShape extends Shape {
  readonly queries: number;
  readonly tokens: number;
  /** Tiles that the scratch has room for. */
  readonly tiles: number;
  readonly kind: IndexerKind;
  readonly windows: WindowKind;
  /** Windows at the ends of the tokens reach beyond them. */
  readonly overhang: boolean;
  readonly seed: number;
}

/** Chunks of a case, of which the last need not be full. */
const mostChunks = 3;

const mostTokens = (tile: number, dsa: Dsa, budget: number): number =>
  affordable(budget, mostChunks * tile * dsa.indexerHeads * dsa.indexerDim, dsa.topK + (dsa.topK >> 1) + 7, 2 * dsa.topK + 1000);

/** What shapes are drawn from, field by field. */
export const streamingShapes = (tile: number, dsa: Dsa, budget: number) => ({
  queries: fc.integer({ min: 1, max: mostChunks * tile }),
  tokens: extent(1, mostTokens(tile, dsa, budget)),
  tiles: fc.integer({ min: 1, max: mostChunks }),
  kind: fc.constantFrom(...indexerKinds),
  windows: fc.constantFrom(...windowKinds),
  overhang: fc.boolean(),
  seed,
});

export const streamingTopKCheck = (tile: number): Check<StreamingShape> => ({
  fixed(dsa, budget) {
    const base = { queries: 2 * tile + 1, tokens: mostTokens(tile, dsa, budget), tiles: 1, windows: "unalignedStarts", overhang: true, seed: 1 } as const;
    const ends = [1, tile - 1, tile, tile + 1, 2 * tile, 3 * tile - 1].filter((queries) => queries > 0);
    return [
      ...[...new Set(ends)].map((queries) => ({ ...base, kind: "normal" as const, queries })),
      ...indexerKinds.map((kind) => ({ ...base, kind })),
      ...windowKinds.map((windows) => ({ ...base, kind: "normal" as const, windows, tiles: 2 })),
    ];
  },

  shapes: (dsa, budget) => fc.record(streamingShapes(tile, dsa, budget)),

  prepare(dsa, { queries, tokens, tiles, kind, windows, overhang, seed }) {
    const { problem, inputs } = scorerProblem(dsa, { queries, tokens, kind, windows, overhang, rule: "divide", seed });
    return {
      buffers: { ...inputs, idx: poisoned(4 * queries * dsa.topK, 0x5a) },
      dims: { Q: queries, T: tokens, tiles },
      judge(outputs, { arithmetic }) {
        const args = indexerArgs(problem);
        const logits = decodeArray(dsa.logitsDtype, outputs.logits!);
        const want = topK({ shape: { queries, tokens, k: dsa.topK }, scores: logits, first: problem.first, last: problem.last });
        return all([
          compare({
            output: "logits",
            axes: { q: queries, t: tokens },
            got: logits,
            want: indexerLogits(args),
            budget: logitsBudget(args, logitsTarget(dsa, arithmetic)),
          }),
          compare({ output: "idx", axes: { q: queries, j: dsa.topK }, got: integers(outputs.idx!), want, budget: 0 }),
        ]);
      },
    };
  },
});
