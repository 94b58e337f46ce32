/** Sparse MLA over bf16 rows against the reference. */
import fc from "fast-check";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  generateMla,
  mlaArgs,
  mlaBudget,
  mlaKinds,
  randomOf,
  sinkKinds,
  slotKinds,
  sparseMla,
  type AttentionResult,
  type AttentionTarget,
  type MlaKind,
  type SinkKind,
  type SlotKind,
  type SparseMlaArgs,
} from "../../reference/index.ts";
import type { Arithmetic, Buffers } from "../executor.ts";
import { all, compare, pitchedRows, type Verdict } from "../verdict.ts";
import { affordable, bytesOf, extent, poisoned, seed, type Check, type Shape } from "./check.ts";

/** full: every slot counts; random: 0 … topK; beyond: also negative lengths and lengths past topK. */
export const lengthKinds = ["full", "random", "beyond"] as const;
export type LengthKind = (typeof lengthKinds)[number];

export interface MlaShape extends Shape {
  readonly queries: number;
  readonly tokens: number;
  readonly kind: MlaKind;
  readonly slots: SlotKind;
  readonly lengths: LengthKind;
  readonly sink: SinkKind;
  /** Elements between the rows of kv; a multiple of 16, for rows keep their alignment. */
  readonly gap: number;
  readonly seed: number;
}

const maxQueries = 4;
/** A kernel of a spec without sink takes −infinity. */
export const sinkKindsOf = (dsa: Dsa): readonly SinkKind[] => (dsa.sink ? sinkKinds : ["none"]);
export const attentionCost = (dsa: Dsa): number => dsa.heads * dsa.topK * (2 * dsa.dV + dsa.dRope);

export const sparseMlaCheck: Check<MlaShape> = {
  fixed(dsa) {
    const base = { queries: 1, tokens: 2 * dsa.topK + 1, lengths: "full", sink: sinkKindsOf(dsa).at(-1)!, gap: 16, seed: 1 } as const;
    return [
      ...mlaKinds.map((kind) => ({ ...base, kind, slots: "withEmpty" as const })),
      ...slotKinds.map((slots) => ({ ...base, kind: "nanUnselected" as const, slots, gap: 0 })),
      ...lengthKinds.map((lengths) => ({ ...base, kind: "normal" as const, slots: "distinct" as const, lengths, queries: 2 })),
    ];
  },

  shapes(dsa, budget) {
    return fc.record({
      queries: fc.integer({ min: 1, max: affordable(budget, attentionCost(dsa), 2, maxQueries) }),
      tokens: extent(1, 3 * dsa.topK + 1),
      kind: fc.constantFrom(...mlaKinds),
      slots: fc.constantFrom(...slotKinds),
      lengths: fc.constantFrom(...lengthKinds),
      sink: fc.constantFrom(...sinkKindsOf(dsa)),
      gap: fc.constantFrom(0, 16, 64),
      seed,
    });
  },

  prepare(dsa, { queries, tokens, kind, slots, lengths, sink, gap, seed }) {
    const dQk = dsa.dV + dsa.dRope;
    const shape = { queries, heads: dsa.heads, slots: dsa.topK, tokens, dQk, dV: dsa.dV };
    const problem = generateMla({ seed, kind, slotKind: slots, sink, rowLengths: false, shape });
    const length = drawLengths(lengths, queries, dsa.topK, seed);
    const args: SparseMlaArgs = { ...mlaArgs(problem), scale: dsa.smScale, length };
    return {
      buffers: {
        q: problem.q.bytes,
        kv: pitchedRows(problem.kv.bytes, tokens, 2 * dQk, 2 * (dQk + gap), 0xff),
        idx: bytesOf(problem.idx),
        lengths: bytesOf(length),
        sink: bytesOf(problem.sink ?? new Float32Array(dsa.heads).fill(-Infinity)),
        ...attentionOutputs(queries, dsa),
      },
      dims: { Q: queries, T: tokens, kvPitch: dQk + gap },
      judge: (outputs, { arithmetic, tune }) => judgeAttention(args, outputs, attentionTarget(arithmetic, tune.BJ ?? 1, 1)),
    };
  },
};

export function drawLengths(kind: LengthKind, queries: number, slots: number, seed: number): Int32Array {
  const random = randomOf(seed);
  const extremes = [-1, -(2 ** 31), slots + 1, 2 ** 31 - 1];
  return Int32Array.from({ length: queries }, () => {
    if (kind === "full") return slots;
    const beyond = kind === "beyond" && random.uniform() < 0.5;
    return beyond ? extremes[random.integer(0, extremes.length - 1)]! : random.integer(0, slots);
  });
}

export const attentionOutputs = (queries: number, dsa: Dsa) => ({
  out: poisoned(2 * queries * dsa.heads * dsa.dV),
  lse: poisoned(4 * queries * dsa.heads),
  maxLogit: poisoned(4 * queries * dsa.heads),
});

/** Probabilities and out are bf16; `block` slots are a step of the online softmax. */
export const attentionTarget = (arithmetic: Arithmetic, block: number, splits: number): AttentionTarget => ({
  ...arithmetic,
  probability: "bf16",
  output: "bf16",
  block,
  splits,
});

/** How many queries' attention the reference affords beside other work. */
export const attendedQueries = (dsa: Dsa): number => affordable(3e8, attentionCost(dsa), 1, 16);

/** As `judgeAttention`, of `count` of the queries, spread over all: the reference takes its time. */
export function judgeSomeAttention(args: SparseMlaArgs, { out, lse, maxLogit }: Buffers, target: AttentionTarget, { count, seed }: { readonly count: number; readonly seed: number }): Verdict {
  const { queries, heads, dQk, dV, slots } = args.shape;
  const some = Math.min(count, queries);
  const rows = Array.from({ length: some }, (_, i) => (seed + Math.floor((i * queries) / some)) % queries);
  const pick = (values: ArrayLike<number>, width: number): number[] => rows.flatMap((t) => Array.from({ length: width }, (_, i) => values[t * width + i]!));
  const pickBytes = (bytes: Uint8Array, width: number): Uint8Array => Uint8Array.from(pick(bytes, width));
  const picked = { ...args, shape: { ...args.shape, queries: some }, q: pick(args.q, heads * dQk), idx: pick(args.idx, slots), ...(args.length && { length: pick(args.length, 1) }) };
  const verdict = judgeAttention(picked, { out: pickBytes(out!, 2 * heads * dV), lse: pickBytes(lse!, 4 * heads), maxLogit: pickBytes(maxLogit!, 4 * heads) }, target);
  return verdict.failure === undefined ? verdict : { ...verdict, failure: `of queries ${rows.join(", ")}: ${verdict.failure}` };
}

/** Compares bf16 out, f32 lse and f32 maxLogit with the reference. */
export function judgeAttention(args: SparseMlaArgs, { out, lse, maxLogit }: Buffers, target: AttentionTarget): Verdict {
  return compareAttention(args.shape, sparseMla(args), mlaBudget(args, target), {
    out: decodeArray("bf16", out!),
    lse: decodeArray("f32", lse!),
    max: decodeArray("f32", maxLogit!),
  });
}

export function compareAttention(
  { queries, heads, dV }: { readonly queries: number; readonly heads: number; readonly dV: number },
  want: AttentionResult,
  budget: AttentionResult,
  got: AttentionResult,
): Verdict {
  const rows = { q: queries, h: heads };
  return all([
    compare({ output: "out", axes: { ...rows, c: dV }, got: got.out, want: want.out, budget: budget.out }),
    compare({ output: "lse", axes: rows, got: got.lse, want: want.lse, budget: budget.lse }),
    compare({ output: "maxLogit", axes: rows, got: got.max, want: want.max, budget: budget.max }),
  ]);
}
