/** Attention to given selections: the result of the slots that name tokens, and the faults of each row. */
import fc from "fast-check";
import { generateMla, generateWindows, mlaArgs, selectionFaults, windowKinds, type SparseMlaArgs, type WindowKind } from "../../reference/index.ts";
import { all, compare } from "../verdict.ts";
import { bytesOf, integers, poisoned, seed, type Check, type Shape } from "./check.ts";
import { drawSelections, selectionKinds, type SelectionKind } from "./check_selection.ts";
import { attentionOutputs, attentionTarget, judgeAttention, sinkKindsOf } from "./sparse_mla.ts";

export interface ReplayShape extends Shape {
  readonly queries: number;
  readonly tokens: number;
  readonly selections: SelectionKind;
  readonly windows: WindowKind;
  readonly seed: number;
}

const maxQueries = 3;

export const replayCheck = (): Check<ReplayShape> => ({
  fixed: (dsa) =>
    selectionKinds.map((selections) => ({ queries: 2, tokens: 2 * dsa.topK + 1, selections, windows: "causalTail" as const, seed: 1 })),

  shapes: (dsa) =>
    fc.record({
      queries: fc.integer({ min: 1, max: maxQueries }),
      tokens: fc.integer({ min: 1, max: 3 * dsa.topK + 1 }),
      selections: fc.constantFrom(...selectionKinds),
      windows: fc.constantFrom(...windowKinds),
      seed,
    }),

  prepare(dsa, { queries, tokens, selections, windows: windowKind, seed }) {
    const dQk = dsa.dV + dsa.dRope;
    const shape = { queries, heads: dsa.heads, slots: dsa.topK, tokens, dQk, dV: dsa.dV };
    const problem = generateMla({ seed, kind: "normal", slotKind: "distinct", sink: sinkKindsOf(dsa).at(-1)!, rowLengths: false, shape });
    const windows = generateWindows({ seed, kind: windowKind, queries, tokens });
    const idx = drawSelections({ seed, kind: selections, slots: dsa.topK }, windows);
    const length = new Int32Array(queries).fill(dsa.topK);
    const args: SparseMlaArgs = { ...mlaArgs(problem), idx, scale: dsa.smScale, length };
    return {
      buffers: {
        q: problem.q.bytes,
        kv: problem.kv.bytes,
        idx: bytesOf(idx),
        lengths: bytesOf(length),
        sink: bytesOf(problem.sink ?? new Float32Array(dsa.heads).fill(-Infinity)),
        first: bytesOf(windows.first),
        last: bytesOf(windows.last),
        faults: poisoned(4 * queries, 0x5a),
        ...attentionOutputs(queries, dsa),
      },
      dims: { Q: queries, T: tokens, kvPitch: dQk },
      judge(outputs, { arithmetic, tune }) {
        const want = selectionFaults({ shape: { queries, slots: dsa.topK }, idx, ...windows });
        const got = integers(outputs.faults!);
        return all([
          compare({ output: "faults", axes: { q: queries }, got, want, budget: 0 }),
          judgeAttention(args, outputs, attentionTarget(arithmetic, tune.BJ ?? 1, 1)),
        ]);
      },
    };
  },
});
