/**
 * Indexer logits over the paged index-key cache (decode).
 * A page holds `pageTokens` keys as e4m3 or bf16, token-major, and then one f32 scale a token (planar); the page stride may be larger.
 * Row r of request b is query token r of `nextN`; it sees `lengths[b, r]` tokens. A page id below 0 or past the cache reads as zero keys.
 */
import { each, field, gemm, input, inputRecord, kernel, load, map, max, output, scalar, store, sum } from "../index.ts";
import { byteSize } from "../dtype.ts";
import type { Dsa } from "./spec.ts";

export const pagedIndexerLogits = (dsa: Dsa) => {
  const keyBytes = dsa.pageTokens * dsa.indexerDim * byteSize(dsa.indexDtype);
  return kernel("paged_indexer_logits", {
    args: {
      q: input(dsa.indexDtype, { b: "B", n: dsa.nextN, h: dsa.indexerHeads, d: dsa.indexerDim }),
      pages: inputRecord(
        { p: "P" },
        {
          k: field(dsa.indexDtype, { t: dsa.pageTokens, d: dsa.indexerDim }, 0),
          kScale: field("f32", { t: dsa.pageTokens }, keyBytes),
        },
        { bytes: keyBytes + 4 * dsa.pageTokens, pitch: "pageBytes" },
      ),
      blockTable: input("i32", { b: "B", i: "I" }),
      qScale: input("f32", { b: "B", n: dsa.nextN, h: dsa.indexerHeads }),
      w: input("f32", { b: "B", n: dsa.nextN, h: dsa.indexerHeads }),
      lengths: input("i32", { b: "B", n: dsa.nextN }),
      logits: output(dsa.logitsDtype, { b: "B", n: dsa.nextN, t: "T" }, { pitch: { n: "logitsPitch" } }),
    },
    tune: {},
    grid: (a) => ({ b: each(a.q.size.b), i: each(a.blockTable.size.i) }),
    body(a, _tune, { b, i }) {
      const start = i * dsa.pageTokens;
      const length = scalar(max(load(a.lengths.tile({ b })), "n"));
      if (start < length) {
        const page = scalar(load(a.blockTable.tile({ b, i })));
        const q = load(a.q.tile({ b }));
        const k = load(a.pages.k.tile({ p: page }));
        const qScale = load(a.qScale.tile({ b }));
        const kScale = load(a.pages.kScale.tile({ p: page }));
        const w = load(a.w.tile({ b }));
        const dot = gemm(k, q, "d");
        const head = map([dot, qScale, kScale, w], (s, qs, ks, w) => dsa.score.f(s * qs * ks) * w);
        store(a.logits.tile({ b, t: { axis: "t", start, size: dsa.pageTokens } }), sum(head, "h"));
      }
    },
  });
};
