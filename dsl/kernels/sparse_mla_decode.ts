/**
 * Sparse MLA over the 656-byte latent records of the serving engines (decode), in two kernels: partial results of each split of the
 * slots, then their combination. A record holds dV e4m3 latents, one f32 scale for every 128 of them, and dRope bf16 rope columns.
 * A slot is page * pageTokens + position. The dequantised latent is bf16(e4m3 * bf16(scale)), as the serving kernels compute it.
 */
import { blocks, cast, div, each, exp2, field, full, gather, gemm, input, inputRecord, iota, kernel, load, log2, map, max, mod, output, scalar, store, sum } from "../index.ts";
import { beside, NEG } from "./sparse_mla.ts";
import type { Dsa } from "./spec.ts";

/** Latents that share a scale. */
export const GROUP = 128;

export const sparseMlaDecode = (dsa: Dsa) => {
  const groups = dsa.dV / GROUP;
  const logitScale = dsa.smScale * Math.LOG2E;
  const scalesAt = dsa.dV;
  const ropeAt = scalesAt + 4 * groups;
  const part = Math.ceil(dsa.topK / dsa.splits);
  return kernel("sparse_mla_decode", {
    args: {
      q: inputRecord(
        { q: "Q", h: dsa.heads },
        { latent: field("bf16", { g: groups, e: GROUP }, 0), rope: field("bf16", { r: dsa.dRope }, 2 * dsa.dV) },
        { bytes: 2 * (dsa.dV + dsa.dRope) },
      ),
      cache: inputRecord(
        { p: "P", s: dsa.pageTokens },
        { latent: field("e4m3", { g: groups, e: GROUP }, 0), scale: field("f32", { g: groups }, scalesAt), rope: field("bf16", { r: dsa.dRope }, ropeAt) },
        { bytes: ropeAt + 2 * dsa.dRope, pitch: "pageBytes" },
      ),
      idx: input("i32", { q: "Q", j: dsa.topK }),
      lengths: input("i32", { q: "Q" }),
      partial: output("f32", { q: "Q", i: dsa.splits, h: dsa.heads, g: groups, e: GROUP }),
      partialMax: output("f32", { q: "Q", i: dsa.splits, h: dsa.heads }),
      partialSum: output("f32", { q: "Q", i: dsa.splits, h: dsa.heads }),
    },
    tune: { BH: 16, BJ: 16 },
    grid: (a, { BH }) => ({ q: each(a.q.size.q), i: each(dsa.splits), hb: blocks("h", 0, dsa.heads, BH) }),
    body(a, { BH, BJ }, { q, i, hb }) {
      const latentQ = load(a.q.latent.tile({ q, h: hb }));
      const ropeQ = load(a.q.rope.tile({ q, h: hb }));
      const slots = a.cache.size.p * dsa.pageTokens;
      const end = Math.min(Math.min(scalar(load(a.lengths.tile({ q }))), dsa.topK), (i + 1) * part);
      let m = full({ h: BH }, NEG);
      let l = full({ h: BH }, 0);
      let o = full({ h: BH, g: groups, e: GROUP }, 0);
      for (const jb of blocks("j", i * part, end, BJ)) {
        const slot = map([load(a.idx.tile({ q, j: jb }), -1), iota(jb)], (s, j) => (j < end && s < slots ? s : -1), "i32");
        const p = map([slot], (s) => (s < 0 ? -1 : div(s, dsa.pageTokens)), "i32");
        const s = map([slot], (s) => (s < 0 ? -1 : mod(s, dsa.pageTokens)), "i32");
        const codes = gather(a.cache.latent.tile({}), { p, s });
        const scale = cast("bf16", gather(a.cache.scale.tile({}), { p, s }));
        const latent = cast("bf16", map([codes, scale], (x, scale) => x * scale));
        const rope = gather(a.cache.rope.tile({}), { p, s });
        const dot = gemm(ropeQ, rope, "r", gemm(latentQ, latent, ["g", "e"]));
        const z = map([dot, slot], (x, s) => (s < 0 ? NEG : x * logitScale));
        const raised = map([m, max(z, "j")], (m, z) => Math.max(m, z));
        const alpha = map([m, raised], (before, after) => exp2(before - after));
        const prob = map([z, raised], (z, m) => (z <= NEG ? 0 : exp2(z - m)));
        l = map([l, alpha, sum(prob, "j")], (l, a, s) => l * a + s);
        o = gemm(cast("bf16", prob), latent, "j", map([o, alpha], (o, a) => o * a));
        m = raised;
      }
      store(a.partial.tile({ q, i, h: hb }), o);
      store(a.partialMax.tile({ q, i, h: hb }), m);
      store(a.partialSum.tile({ q, i, h: hb }), l);
    },
  });
};

/** Merges the splits: weights 2^(max_i - max) on unnormalised sums, so an empty split weighs nothing. */
export const sparseMlaCombine = (dsa: Dsa) => {
  const groups = dsa.dV / GROUP;
  return kernel("sparse_mla_combine", {
    args: {
      partial: input("f32", { q: "Q", i: dsa.splits, h: dsa.heads, g: groups, e: GROUP }),
      partialMax: input("f32", { q: "Q", i: dsa.splits, h: dsa.heads }),
      partialSum: input("f32", { q: "Q", i: dsa.splits, h: dsa.heads }),
      sink: input("f32", { h: dsa.heads }),
      out: output("bf16", { q: "Q", h: dsa.heads, g: groups, e: GROUP }),
      lse: output("f32", { q: "Q", h: dsa.heads }),
      maxLogit: output("f32", { q: "Q", h: dsa.heads }),
    },
    tune: { BH: 2 },
    grid: (a, { BH }) => ({ q: each(a.partial.size.q), hb: blocks("h", 0, dsa.heads, BH) }),
    body(a, _tune, { q, hb }) {
      const maxima = load(a.partialMax.tile({ q, h: hb }));
      const m = max(maxima, "i");
      const weight = map([maxima, m], (part, m) => exp2(part - m));
      const l = sum(map([load(a.partialSum.tile({ q, h: hb })), weight], (l, w) => l * w), "i");
      const o = sum(map([load(a.partial.tile({ q, h: hb })), weight], (o, w) => o * w), "i");
      const lse = map([m, l], (m, l) => (l > 0 ? (m + log2(l)) * Math.LN2 : Infinity));
      const sink = load(a.sink.tile({ h: hb }));
      const norm = map([l, lse, sink], (l, lse, sink) => (l > 0 ? beside(sink, lse) / l : 0));
      store(a.out.tile({ q, h: hb }), map([o, norm], (o, n) => o * n));
      store(a.lse.tile({ q, h: hb }), lse);
      store(a.maxLogit.tile({ q, h: hb }), map([m, l], (m, l) => (l > 0 ? m * Math.LN2 : -Infinity)));
    },
  });
};
