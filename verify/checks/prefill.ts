/**
 * Sparse attention of prefill by chunks of queries, stage by stage: scores within their budget, indices exactly those of a sort of the very same scores,
 * attention to those indices within its budget.
 */
import fc from "fast-check";
import { decodeArray, generateMla, indexerArgs, indexerLogits, logitsBudget, mlaArgs, raggedIndices, randomOf, selectedCounts, topK, windowKinds } from "../../reference/index.ts";
import { all, compare } from "../verdict.ts";
import { bytesOf, integers, poisoned, type Check } from "./check.ts";
import { logitsTarget, scorerProblem } from "./indexer_logits.ts";
import { attendedQueries, attentionOutputs, attentionTarget, judgeSomeAttention, sinkKindsOf } from "./sparse_mla.ts";
import { streamingShapes, streamingTopKCheck, type StreamingShape } from "./streaming_topk.ts";

export interface PrefillShape extends StreamingShape {
  /** Queries whose attention is held to the reference. */
  readonly attended: number;
}

/** Rows of kv that no sequence has. */
const spareRows = 9;

export const prefillCheck = (tile: number): Check<PrefillShape> => ({
  fixed(dsa, budget) {
    const base = { ...streamingTopKCheck(tile).fixed(dsa, budget)[0]!, attended: attendedQueries(dsa) };
    return [base, ...windowKinds.map((windows) => ({ ...base, queries: tile + 1, windows }))];
  },
  shapes: (dsa, budget) => fc.record({ ...streamingShapes(tile, dsa, budget), attended: fc.constant(attendedQueries(dsa)) }),

  prepare(dsa, { queries, tokens, tiles, kind, windows, overhang, attended, seed }) {
    const { problem, inputs } = scorerProblem(dsa, { queries, tokens, kind, windows, overhang, rule: "divide", seed });
    const { first, last } = problem;
    const random = randomOf(seed + 1);
    const kvRows = tokens + spareRows;
    const offset = Int32Array.from({ length: queries }, () => random.integer(0, spareRows));
    const dQk = dsa.dV + dsa.dRope;
    const shape = { queries, heads: dsa.heads, slots: dsa.topK, tokens: kvRows, dQk, dV: dsa.dV };
    const attention = generateMla({ seed, kind: "normal", slotKind: "allEmpty", sink: sinkKindsOf(dsa).at(-1)!, rowLengths: false, shape });
    return {
      buffers: {
        indexQ: inputs.q,
        indexQScale: inputs.qScale,
        indexW: inputs.w,
        indexK: inputs.k,
        indexKScale: inputs.kScale,
        first: inputs.first,
        last: inputs.last,
        offset: bytesOf(offset),
        q: attention.q.bytes,
        kv: attention.kv.bytes,
        sink: bytesOf(attention.sink ?? new Float32Array(dsa.heads).fill(-Infinity)),
        idx: poisoned(4 * queries * dsa.topK, 0x5a),
        count: poisoned(4 * queries, 0x5a),
        ...attentionOutputs(queries, dsa),
      },
      dims: { Q: queries, T: tokens, kvRows, kvPitch: dQk, tiles },
      judge(outputs, { arithmetic, tune }) {
        const logits = decodeArray(dsa.logitsDtype, outputs.logits!);
        const args = indexerArgs(problem);
        const selected = topK({ shape: { queries, tokens, k: dsa.topK }, scores: logits, first, last });
        const [idx, length] = [integers(outputs.idx!), integers(outputs.count!)];
        return all([
          compare({ output: "logits", axes: { q: queries, t: tokens }, got: logits, want: indexerLogits(args), budget: logitsBudget(args, logitsTarget(dsa, arithmetic)) }),
          compare({ output: "idx", axes: { q: queries, j: dsa.topK }, got: idx, want: raggedIndices({ shape: { queries, k: dsa.topK }, idx: selected, offset }), budget: 0 }),
          compare({ output: "count", axes: { q: queries }, got: length, want: selectedCounts({ shape: { queries, tokens, k: dsa.topK }, first, last }), budget: 0 }),
          judgeSomeAttention({ ...mlaArgs(attention), idx, length, scale: dsa.smScale }, outputs, attentionTarget(arithmetic, tune.BJ ?? 1, 1), { count: attended, seed }),
        ]);
      },
    };
  },
});
