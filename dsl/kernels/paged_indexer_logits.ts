/**
 * Indexer logits over the paged index-key cache (decode).
 * A page holds `pageTokens` keys as e4m3 or bf16, token-major, and then one f32 scale a token (planar); the page stride may be larger.
 * Row r of request b is query token r of `nextN`; it sees `lengths[b, r]` tokens. A page id below 0 or past the cache reads as zero keys.
 *
 * A block takes one request and PAGES entries of its block table, and walks those that the request's length covers.
 */
import { blocks, div, each, field, gemm, input, inputRecord, kernel, load, map, max, output, scalar, store, sum } from "../index.ts";
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
          kScale: field("f32", { t: dsa.pageTokens }, keyBytes, { nonNegative: true }),
        },
        { bytes: keyBytes + 4 * dsa.pageTokens, pitch: "pageBytes" },
      ),
      blockTable: input("i32", { b: "B", i: "I" }),
      qScale: input("f32", { b: "B", n: dsa.nextN, h: dsa.indexerHeads }, { nonNegative: true }),
      w: input("f32", { b: "B", n: dsa.nextN, h: dsa.indexerHeads }),
      lengths: input("i32", { b: "B", n: dsa.nextN }),
      logits: output(dsa.logitsDtype, { b: "B", n: dsa.nextN, t: "T" }, { pitch: { n: "logitsPitch" } }),
    },
    tune: { PAGES: 8 },
    grid: (a, { PAGES }) => ({ b: each(a.q.size.b), ic: blocks("i", 0, a.blockTable.size.i, PAGES) }),
    body(a, _tune, { b, ic }) {
      const length = scalar(max(load(a.lengths.tile({ b })), "n"));
      const used = div(length + dsa.pageTokens - 1, dsa.pageTokens);
      const to = Math.min(ic.start + ic.size, used, a.blockTable.size.i);
      const q = load(a.q.tile({ b }));
      const qScale = load(a.qScale.tile({ b }));
      const w = load(a.w.tile({ b }));
      for (const { start: i } of blocks("i", ic.start, to, 1)) {
        const page = scalar(load(a.blockTable.tile({ b, i })));
        const k = load(a.pages.k.tile({ p: page }));
        const kScale = load(a.pages.kScale.tile({ p: page }));
        const dot = gemm(k, q, "d");
        const head = map([dot, qScale, kScale, w], (s, qs, ks, w) => dsa.score.f(s * qs * ks) * w);
        const tb = { axis: "t", start: i * dsa.pageTokens, size: dsa.pageTokens } as const;
        store(a.logits.tile({ b, t: tb }), sum(head, "h"));
      }
    },
  });
};
