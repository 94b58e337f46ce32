/**
 * Sparse attention of decode by chunks of requests, stage by stage: scores of the paged keys within their budget, slots exactly those of a sort of the very
 * same scores, attention to the records in those slots within its budget.
 */
import fc from "fast-check";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import {
  decodeArray,
  elementBytes,
  generateMla,
  generateRecords,
  indexerLogits,
  latentRecordBytes,
  logitsBudget,
  pageSlots,
  recordKinds,
  selectedCounts,
  topK,
  type RecordKind,
} from "../../reference/index.ts";
import { all, compare, packedRows } from "../verdict.ts";
import { bytesOf, integers, poisoned, type Check } from "./check.ts";
import { logitsTarget } from "./indexer_logits.ts";
import { pagedIndexerLogitsCheck, pagedInputs, pagedProblem, pagedShapes, requestOf, type PagedShape } from "./paged_indexer_logits.ts";
import { attendedQueries, attentionOutputs, attentionTarget, judgeSomeAttention, sinkKindsOf } from "./sparse_mla.ts";

export interface DecodeProgramShape extends PagedShape {
  readonly records: RecordKind;
  /** Chunks begin at multiples of the tile, and the scratch has room for so many. */
  readonly tiles: number;
  /** Queries whose attention is held to the reference. */
  readonly attended: number;
}

/** Chunks of a case, of which the last need not be full. */
const mostChunks = 2;

export const decodeCheck = (tile: number): Check<DecodeProgramShape> => {
  /** Pages of a request that has more tokens than are selected. */
  const longRow = ({ topK, pageTokens }: Dsa): number => Math.ceil((topK + (topK >> 1) + 7) / pageTokens);
  return {
    fixed(dsa, budget) {
      const base = { ...pagedIndexerLogitsCheck.fixed(dsa, budget)[0]!, records: "arbitrary", tiles: 1, attended: attendedQueries(dsa) } as const;
      return [
        { ...base, requests: 2, maxPages: longRow(dsa), missingPages: true, seed: 24 }, // of as many tokens as there are, and of none
        { ...base, requests: 2, maxPages: longRow(dsa), trim: dsa.pageTokens - 1, seed: 13 }, // of one token, and of as many as there are
        { ...base, requests: 1, maxPages: 1 },
        { ...base, requests: mostChunks * tile - 1, maxPages: 1 },
        ...recordKinds.map((records) => ({ ...base, requests: tile + 1, records, missingPages: true })),
      ];
    },

    shapes(dsa, budget) {
      const of = (requests: number, maxPages: number): fc.Arbitrary<DecodeProgramShape> =>
        fc.record({
          ...pagedShapes(dsa, budget),
          requests: fc.integer({ min: 1, max: requests }),
          maxPages: fc.integer({ min: 1, max: maxPages }),
          records: fc.constantFrom(...recordKinds),
          tiles: fc.integer({ min: 1, max: mostChunks }),
          attended: fc.constant(attendedQueries(dsa)),
        });
      return fc.oneof({ withCrossShrink: true }, of(mostChunks * tile, 2), of(2, longRow(dsa)));
    },

    prepare(dsa, shape) {
      const { requests, tiles, attended, seed } = shape;
      const { nextN, pageTokens, topK: k, dV, dRope, heads } = dsa;
      const paged = pagedProblem(dsa, shape);
      const { rows, tokens, lengths, blockTable } = paged;
      const { buffers: scorer, dims } = pagedInputs(dsa, paged, shape.gap);
      const windows = { first: new Int32Array(rows), last: lengths };

      const recordBytes = latentRecordBytes(dV, dRope);
      const layout = { dV, dRope, pageTokens, pageStride: pageTokens * recordBytes + shape.pageGap };
      const slots = dims.P * pageTokens;
      const { cache, rows: kv } = generateRecords({ seed, kind: shape.records, tokens: slots, layout });
      const owned = new Set(blockTable);
      for (let page = 0; page < dims.P; page++) if (!owned.has(page)) cache.fill(0xff, page * layout.pageStride, page * layout.pageStride + pageTokens * recordBytes);
      const attention = { queries: rows, heads, slots: k, tokens: slots, dQk: dV + dRope, dV };
      const { q, sink } = generateMla({ seed, kind: "normal", slotKind: "allEmpty", sink: sinkKindsOf(dsa).at(-1)!, rowLengths: false, shape: attention });
      return {
        buffers: {
          indexQ: scorer.q,
          indexQScale: scorer.qScale,
          indexW: scorer.w,
          indexPages: scorer.pages,
          blockTable: scorer.blockTable,
          lengths: scorer.lengths,
          q: q.bytes,
          cache,
          sink: bytesOf(sink ?? new Float32Array(heads).fill(-Infinity)),
          idx: poisoned(4 * rows * k, 0x5a),
          count: poisoned(4 * rows, 0x5a),
          ...attentionOutputs(rows, dsa),
        },
        dims: { B: requests, P: dims.P, I: dims.I, T: tokens, indexPageBytes: dims.pageBytes, pageBytes: layout.pageStride, logitsPitch: dims.logitsPitch, tiles },
        judge(outputs, { arithmetic, tune }) {
          const [rowBytes, pitchBytes] = [tokens, dims.logitsPitch].map((n) => n * elementBytes(dsa.logitsDtype)) as [number, number];
          const requestBytes = outputs.logits!.length / requests; // without a gap behind its last row
          const packed = Array.from({ length: requests }, (_, b) => packedRows(outputs.logits!.subarray(b * requestBytes, (b + 1) * requestBytes), nextN, rowBytes, pitchBytes));
          const logits = decodeArray(dsa.logitsDtype, new Uint8Array(Buffer.concat(packed)));
          const scored = Array.from({ length: requests }, (_, b) => {
            const [args, cells] = [requestOf(dsa, paged, b), nextN * tokens];
            const [want, budget] = [indexerLogits(args), logitsBudget(args, logitsTarget(dsa, arithmetic))];
            return compare({ output: "logits", axes: { [`request ${b}, n`]: nextN, t: tokens }, got: logits.subarray(b * cells, (b + 1) * cells), want, budget });
          });
          const selected = topK({ shape: { queries: rows, tokens, k }, scores: logits, ...windows });
          const [idx, length] = [integers(outputs.idx!), integers(outputs.count!)];
          return all([
            ...scored,
            compare({ output: "idx", axes: { b: requests, n: nextN, j: k }, got: idx, want: pageSlots({ shape: { requests, nextN, k, entries: dims.I, pageTokens }, idx: selected, blockTable }), budget: 0 }),
            compare({ output: "count", axes: { b: requests, n: nextN }, got: length, want: selectedCounts({ shape: { queries: rows, tokens, k }, ...windows }), budget: 0 }),
            judgeSomeAttention({ shape: attention, q: q.values, kv, idx, scale: dsa.smScale, sink, length }, outputs, attentionTarget(arithmetic, tune.BJ ?? 1, dsa.splits), { count: attended, seed }),
          ]);
        },
      };
    },
  };
};
