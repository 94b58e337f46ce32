/**
 * Indexer logits over contiguous keys (prefill):
 * logits[q, t] = sum over h of w[q, h] * score(qScale[q, h] * kScale[t] * <q[q, h], k[t]>).
 * Cells outside the window [first, last) of a query hold anything; nobody may read them.
 *
 * A block takes BQ queries and one chunk of CHUNK tokens, and walks the part of it that their windows cover in steps of BT. CHUNK is a
 * multiple of BT; one that exceeds every T makes a block walk whole windows.
 */
import { blocks, div, gemm, input, kernel, load, map, max, min, output, scalar, store, sum } from "../index.ts";
import type { Dsa } from "./spec.ts";

export const indexerLogits = (dsa: Dsa) =>
  kernel("indexer_logits", {
    args: {
      q: input(dsa.indexDtype, { q: "Q", h: dsa.indexerHeads, d: dsa.indexerDim }),
      k: input(dsa.indexDtype, { t: "T", d: dsa.indexerDim }),
      qScale: input("f32", { q: "Q", h: dsa.indexerHeads }, { nonNegative: true }),
      kScale: input("f32", { t: "T" }, { nonNegative: true }),
      w: input("f32", { q: "Q", h: dsa.indexerHeads }),
      first: input("i32", { q: "Q" }),
      last: input("i32", { q: "Q" }),
      logits: output(dsa.logitsDtype, { q: "Q", t: "T" }, { pitch: { q: "logitsPitch" } }),
    },
    tune: { BQ: 2, BT: 64, CHUNK: 1024 },
    grid: (a, { BQ, CHUNK }) => ({ qb: blocks("q", 0, a.q.size.q, BQ), tc: blocks("t", 0, a.k.size.t, CHUNK) }),
    body(a, { BT }, { qb, tc }) {
      const lo = scalar(min(load(a.first.tile({ q: qb }), 0x7fffffff), "q"));
      const hi = scalar(max(load(a.last.tile({ q: qb })), "q"));
      const from = Math.max(tc.start, div(lo, BT) * BT); // blocks start at multiples of BT, so that wide accesses are aligned
      const to = Math.min(tc.start + tc.size, hi, a.k.size.t);
      const q = load(a.q.tile({ q: qb }));
      const qScale = load(a.qScale.tile({ q: qb }));
      const w = load(a.w.tile({ q: qb }));
      for (const tb of blocks("t", from, to, BT)) {
        const k = load(a.k.tile({ t: tb }));
        const kScale = load(a.kScale.tile({ t: tb }));
        const dot = gemm(k, q, "d");
        const head = map([dot, qScale, kScale, w], (s, qs, ks, w) => dsa.score.f(s * qs * ks) * w);
        store(a.logits.tile({ q: qb, t: tb }), sum(head, "h"));
      }
    },
  });
