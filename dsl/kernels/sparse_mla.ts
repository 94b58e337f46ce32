/**
 * Sparse MLA over bf16 rows (prefill): each query attends to its selected tokens alone, all heads to the same ones.
 * Slot j of query q names a token; an index below 0 or past the cache is an empty slot, and so is every slot from `lengths[q]` on.
 * out = softmax(smScale * q·kv) · kv[:, 0:dV]; lse in natural units without the sink. A query without tokens: out 0, max -inf, lse +inf.
 */
import { blocks, cast, each, exp2, full, gather, gemm, input, iota, kernel, load, log2, map, max, output, scalar, slice, store, sum } from "../index.ts";
import type { Dsa } from "./spec.ts";

/** Stands for -inf in running maxima: finite, so that NEG - NEG is 0 and not NaN. */
export const NEG = -1e30;

/** Weight that the selected tokens keep beside a sink logit. */
export const beside = (sink: number, lse: number): number => (sink - lse > 80 ? 0 : 1 / (1 + exp2((sink - lse) * Math.LOG2E)));

export const sparseMla = (dsa: Dsa) => {
  const dQk = dsa.dV + dsa.dRope;
  const logitScale = dsa.smScale * Math.LOG2E; // scores in log2 units
  return kernel("sparse_mla", {
    args: {
      q: input("bf16", { q: "Q", h: dsa.heads, c: dQk }),
      kv: input("bf16", { t: "T", c: dQk }, { pitch: { t: "kvPitch" } }),
      idx: input("i32", { q: "Q", j: dsa.topK }),
      lengths: input("i32", { q: "Q" }),
      sink: input("f32", { h: dsa.heads }),
      out: output("bf16", { q: "Q", h: dsa.heads, c: dsa.dV }),
      lse: output("f32", { q: "Q", h: dsa.heads }),
      maxLogit: output("f32", { q: "Q", h: dsa.heads }),
    },
    tune: { BH: 16, BJ: 16 },
    grid: (a, { BH }) => ({ q: each(a.q.size.q), hb: blocks("h", 0, dsa.heads, BH) }),
    body(a, { BH, BJ }, { q, hb }) {
      const query = load(a.q.tile({ q, h: hb }));
      const slots = Math.min(scalar(load(a.lengths.tile({ q }))), dsa.topK);
      const tokens = a.kv.size.t;
      let m = full({ h: BH }, NEG);
      let l = full({ h: BH }, 0);
      let o = full({ h: BH, c: dsa.dV }, 0);
      for (const jb of blocks("j", 0, slots, BJ)) {
        const token = map([load(a.idx.tile({ q, j: jb }), -1), iota(jb)], (t, j) => (j < slots && t < tokens ? t : -1), "i32");
        const kv = gather(a.kv.tile({}), { t: token });
        const dot = gemm(query, kv, "c");
        const z = map([dot, token], (s, t) => (t < 0 ? NEG : s * logitScale));
        const raised = map([m, max(z, "j")], (m, z) => Math.max(m, z));
        const alpha = map([m, raised], (before, after) => exp2(before - after));
        const p = map([z, raised], (z, m) => (z <= NEG ? 0 : exp2(z - m)));
        l = map([l, alpha, sum(p, "j")], (l, a, s) => l * a + s); // before p is rounded: lse keeps f32 accuracy
        o = gemm(cast("bf16", p), slice(kv, "c", 0, dsa.dV), "j", map([o, alpha], (o, a) => o * a));
        m = raised;
      }
      const lse = map([m, l], (m, l) => (l > 0 ? (m + log2(l)) * Math.LN2 : Infinity));
      const sink = load(a.sink.tile({ h: hb }));
      const norm = map([l, lse, sink], (l, lse, sink) => (l > 0 ? beside(sink, lse) / l : 0));
      store(a.out.tile({ q, h: hb }), map([o, norm], (o, n) => o * n));
      store(a.lse.tile({ q, h: hb }), lse);
      store(a.maxLogit.tile({ q, h: hb }), map([m, l], (m, l) => (l > 0 ? m * Math.LN2 : -Infinity)));
    },
  });
};
