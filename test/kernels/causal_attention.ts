/** Causal attention forward with head dim 128, online softmax in powers of two; the block on the diagonal alone is masked. */
import { blocks, cast, div, each, exp2, full, gemm, input, iota, kernel, load, map, max, output, store, sum, type Schedules } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

const LOWEST = -1e30;
const D = 128;
const scale = D ** -0.5 * Math.LOG2E;

export const causalAttention = kernel("causal_attention", {
  args: {
    q: input("bf16", { h: "H", i: "S", d: D }),
    k: input("bf16", { h: "H", j: "S", d: D }),
    v: input("bf16", { h: "H", j: "S", d: D }),
    o: output("bf16", { h: "H", i: "S", d: D }),
    lse: output("f32", { h: "H", i: "S" }),
  },
  tune: { BI: 16, BJ: 16 },
  grid: (a, { BI }) => ({ ib: blocks("i", 0, a.q.size.i, BI), h: each(a.q.size.h) }),
  body(a, { BI, BJ }, { h, ib }) {
    const start = div(a.q.size.i - 1, BI) * BI - ib.start; // the last rows, which have most to do, come first
    const rows = { axis: "i", start, size: BI } as const;
    const q = load(a.q.tile({ h, i: rows }));
    let m = full({ i: BI }, LOWEST);
    let l = full({ i: BI }, 0);
    let o = full({ i: BI, d: D }, 0);
    for (const jb of blocks("j", 0, start + BI, BJ)) {
      const k = load(a.k.tile({ h, j: jb }));
      const v = load(a.v.tile({ h, j: jb }));
      let s = gemm(q, k, "d");
      if (jb.start + BJ > start) s = map([s, iota(rows), iota(jb)], (s, i, j) => (j <= i ? s : LOWEST));
      const raised = map([m, max(s, "j")], (m, s) => Math.max(m, s * scale));
      const alpha = map([m, raised], (before, after) => exp2(before - after));
      const p = map([s, raised], (s, m) => exp2(s * scale - m));
      l = map([l, alpha, sum(p, "j")], (l, a, s) => l * a + s);
      o = gemm(cast("bf16", p), v, "j", map([o, alpha], (o, a) => o * a));
      m = raised;
    }
    const inverse = map([l], (l) => 1 / l); // one division a row
    store(a.o.tile({ h, i: rows }), cast("bf16", map([o, inverse], (o, x) => o * x)));
    store(a.lse.tile({ h, i: rows }), map([m, l], (m, l) => m * Math.LN2 + Math.log(l)));
  },
});

/**
 * Each of two warpgroups has 64 rows. While one takes exponentials the other multiplies, and its own tensor cores add the values of the block
 * before. The probabilities stay in registers.
 */
export const schedules: Schedules = {
  causalAttention: {
    "cuda:sm_90a": {
      tune: { BI: 128, BJ: 128 },
      roles: { math: { warps: 8, registers: 224 }, producer: { warps: 1, registers: 56, brings: ["q", "k", "v"] } },
      stage: { q: 1, k: { slots: 2, ring: "keys" }, v: { slots: 2, ring: "values" } },
      mma: { s: {}, o: { late: true } },
      persistent: "strided",
    },
  },
};

export const examples: readonly Example[] = [{ dims: { H: { min: 1, max: 2 }, S: { min: 1, max: 40 } } }];
