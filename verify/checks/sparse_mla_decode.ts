/** Decode over latent records: the partial results of every split against the reference's attention over the slots of that split. */
import fc from "fast-check";
import { NEG } from "../../dsl/kernels/sparse_mla.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  generateMla,
  generateRecords,
  latentRecordBytes,
  mlaBudget,
  mlaKinds,
  recordKinds,
  slotKinds,
  sparseMla,
  type AttentionResult,
  type AttentionTarget,
  type MlaKind,
  type RecordKind,
  type SinkKind,
  type SlotKind,
  type SparseMlaArgs,
} from "../../reference/index.ts";
import { all, compare, type Verdict } from "../verdict.ts";
import { affordable, bytesOf, poisoned, seed, type Check, type Shape } from "./check.ts";
import { attentionCost, attentionTarget, compareAttention, drawLengths, lengthKinds, sinkKindsOf, type LengthKind } from "./sparse_mla.ts";

export interface DecodeShape extends Shape {
  readonly queries: number;
  readonly pages: number;
  /** nanUnselected: records that no slot names are NaN throughout. */
  readonly kind: MlaKind;
  readonly records: RecordKind;
  readonly slots: SlotKind;
  readonly lengths: LengthKind;
  readonly sink: SinkKind;
  /** Bytes between pages, a multiple of 16. */
  readonly pageGap: number;
  readonly seed: number;
}

const maxQueries = 4;

export const decodeCases = {
  fixed(dsa: Dsa): readonly DecodeShape[] {
    const pages = Math.ceil((dsa.topK + 3) / dsa.pageTokens);
    const base = {
      queries: 1,
      pages,
      records: "arbitrary",
      lengths: "full",
      sink: sinkKindsOf(dsa).at(-1)!,
      pageGap: 16,
      seed: 1,
    } as const;
    return [
      ...mlaKinds.map((kind) => ({ ...base, kind, slots: "withEmpty" as const })),
      ...recordKinds.map((records) => ({ ...base, kind: "normal" as const, slots: "distinct" as const, records, pageGap: 0 })),
      ...slotKinds.map((slots) => ({ ...base, kind: "nanUnselected" as const, slots })),
      ...lengthKinds.map((lengths) => ({ ...base, kind: "normal" as const, slots: "distinct" as const, lengths, queries: 2 })),
    ];
  },
  shapes: (dsa: Dsa, budget: number): fc.Arbitrary<DecodeShape> =>
    fc.record({
      queries: fc.integer({ min: 1, max: affordable(budget, attentionCost(dsa), 2, maxQueries) }),
      pages: fc.integer({ min: 1, max: Math.ceil((2 * dsa.topK + 3) / dsa.pageTokens) }),
      kind: fc.constantFrom(...mlaKinds),
      records: fc.constantFrom(...recordKinds),
      slots: fc.constantFrom(...slotKinds),
      lengths: fc.constantFrom(...lengthKinds),
      sink: fc.constantFrom(...sinkKindsOf(dsa)),
      pageGap: fc.constantFrom(0, 16, 256),
      seed,
    }),
};

/** One decode problem: as the reference takes it, and as bytes. */
export interface DecodeProblem {
  readonly args: SparseMlaArgs;
  /** Inputs of the first kernel. */
  readonly inputs: { readonly q: Uint8Array; readonly cache: Uint8Array; readonly idx: Uint8Array; readonly lengths: Uint8Array };
  /** [heads], −infinity without a sink. */
  readonly sink: Float32Array;
  readonly dims: { readonly Q: number; readonly P: number; readonly pageBytes: number };
}

export function decodeProblem(
  dsa: Dsa,
  { queries, pages, kind, records: recordKind, slots, lengths, sink, pageGap, seed }: DecodeShape,
): DecodeProblem {
  const { dV, dRope, pageTokens, topK, heads } = dsa;
  const recordBytes = latentRecordBytes(dV, dRope);
  const layout = { dV, dRope, pageTokens, pageStride: pageTokens * recordBytes + pageGap };
  const tokens = pages * pageTokens;
  const shape = { queries, heads, slots: topK, tokens, dQk: dV + dRope, dV };
  const problem = generateMla({ seed, kind, slotKind: slots, sink, rowLengths: false, shape });
  const { cache, rows } = generateRecords({ seed, kind: recordKind, tokens, layout });
  if (kind === "nanUnselected") {
    const selected = new Set(problem.idx);
    for (let slot = 0; slot < tokens; slot++) {
      if (selected.has(slot)) continue;
      const at = Math.floor(slot / pageTokens) * layout.pageStride + (slot % pageTokens) * recordBytes;
      cache.fill(0xff, at, at + recordBytes);
    }
  }
  const length = drawLengths(lengths, queries, topK, seed);
  return {
    args: { shape, q: problem.q.values, kv: rows, idx: problem.idx, scale: dsa.smScale, sink: problem.sink, length },
    inputs: { q: problem.q.bytes, cache, idx: bytesOf(problem.idx), lengths: bytesOf(length) },
    sink: problem.sink ?? new Float32Array(heads).fill(-Infinity),
    dims: { Q: queries, P: pages, pageBytes: layout.pageStride },
  };
}

/** The slots of split i alone, without sink; lengths count from its first slot. */
export function splitArgs(dsa: Dsa, { shape, q, kv, idx, scale, length }: SparseMlaArgs, i: number): SparseMlaArgs {
  const part = Math.ceil(dsa.topK / dsa.splits);
  const [lo, hi] = [Math.min(i * part, dsa.topK), Math.min((i + 1) * part, dsa.topK)];
  const slots = Array.from({ length: shape.queries }, (_, t) =>
    Array.from({ length: hi - lo }, (_, j) => idx[t * dsa.topK + lo + j]!),
  ).flat();
  const lengths = Array.from({ length: shape.queries }, (_, t) => Math.max(length![t]! - lo, 0));
  return { shape: { ...shape, slots: hi - lo }, q, kv, idx: slots, scale, length: lengths };
}

export const sparseMlaDecodeCheck: Check<DecodeShape> = {
  ...decodeCases,
  prepare(dsa, shape) {
    const { args, inputs, dims } = decodeProblem(dsa, shape);
    const rows = dims.Q * dsa.splits * dsa.heads;
    return {
      buffers: { ...inputs, partial: poisoned(4 * rows * dsa.dV), partialMax: poisoned(4 * rows), partialSum: poisoned(4 * rows) },
      dims,
      judge({ partial, partialMax, partialSum }, { arithmetic, tune }) {
        const target = { ...attentionTarget(arithmetic, tune.BJ ?? 1, 1), output: "f32" as const };
        const decoded = {
          partial: decodeArray("f32", partial!),
          max: decodeArray("f32", partialMax!),
          sum: decodeArray("f32", partialSum!),
        };
        return all(
          Array.from({ length: dsa.splits }, (_, i) => {
            const part = splitArgs(dsa, args, i);
            const verdict = judgePart(part, partOf(dsa, dims.Q, i, decoded), target);
            return { ...verdict, ...(verdict.failure !== undefined && { failure: `split ${i}: ${verdict.failure}` }) };
          }),
        );
      },
    };
  },
};

/** Unnormalised sums, in units of 2^max; max in units of log2. */
interface Partial {
  readonly partial: Float64Array;
  readonly max: Float64Array;
  readonly sum: Float64Array;
}

/** Rows [queries, heads] of split i out of [queries, splits, heads]. */
function partOf({ splits, heads, dV }: Dsa, queries: number, i: number, { partial, max, sum }: Partial): Partial {
  const pick = (all: Float64Array, width: number): Float64Array => {
    const picked = new Float64Array(queries * heads * width);
    for (let t = 0; t < queries; t++)
      picked.set(all.subarray((t * splits + i) * heads * width, (t * splits + i + 1) * heads * width), t * heads * width);
    return picked;
  };
  return { partial: pick(partial, dV), max: pick(max, 1), sum: pick(sum, 1) };
}

function judgePart(args: SparseMlaArgs, { partial, max, sum }: Partial, target: AttentionTarget): Verdict {
  const { queries, heads, dV } = args.shape;
  const want = sparseMla(args);
  const rows = { q: queries, h: heads };
  const isEmpty = Float64Array.from(want.lse, (lse) => (lse === Infinity ? 1 : 0));
  // an empty part holds zeros and the stand-in for −infinity, exactly: the second kernel counts on it
  const whereEmpty = isEmpty.map((empty) => (empty ? 0 : NaN));
  const negative = new Float64Array(want.lse.length).fill(Math.fround(NEG));
  const got: AttentionResult = {
    out: partial.map((x, i) => (isEmpty[Math.floor(i / dV)] ? x : x / sum[Math.floor(i / dV)]!)),
    lse: max.map((m, row) => (isEmpty[row] ? Infinity : m * Math.LN2 + Math.log(sum[row]!))),
    max: max.map((m, row) => (isEmpty[row] ? -Infinity : m * Math.LN2)),
  };
  return all([
    compare({ output: "partialSum of an empty split", axes: rows, got: sum, want: new Float64Array(sum.length), budget: whereEmpty }),
    compare({ output: "partialMax of an empty split", axes: rows, got: max, want: negative, budget: whereEmpty }),
    compareAttention(args.shape, want, mlaBudget(args, target), got),
  ]);
}
