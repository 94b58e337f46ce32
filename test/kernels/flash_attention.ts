/** Dense causal attention of one head a block, online softmax, bf16. */
import { blocks, cast, each, exp2, full, gemm, input, iota, kernel, load, map, max, output, store, sum } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

const LOWEST = -1e30;
const D = 64;
const scale = D ** -0.5 * Math.LOG2E;

export const flashAttention = kernel("flash_attention", {
  args: {
    q: input("bf16", { h: "H", i: "S", d: D }),
    k: input("bf16", { h: "H", j: "S", d: D }),
    v: input("bf16", { h: "H", j: "S", d: D }),
    o: output("bf16", { h: "H", i: "S", d: D }),
    lse: output("f32", { h: "H", i: "S" }),
  },
  tune: { BI: 16, BJ: 16 },
  grid: (a, { BI }) => ({ h: each(a.q.size.h), ib: blocks("i", 0, a.q.size.i, BI) }),
  body(a, { BI, BJ }, { h, ib }) {
    const q = load(a.q.tile({ h, i: ib }));
    let m = full({ i: BI }, LOWEST);
    let l = full({ i: BI }, 0);
    let o = full({ i: BI, d: D }, 0);
    for (const jb of blocks("j", 0, Math.min(ib.start + BI, a.k.size.j), BJ)) {
      const dot = gemm(q, load(a.k.tile({ h, j: jb })), "d");
      const z = map([dot, iota(ib), iota(jb)], (s, i, j) => (j <= i ? s * scale : LOWEST));
      const raised = map([m, max(z, "j")], (m, z) => Math.max(m, z));
      const alpha = map([m, raised], (before, after) => exp2(before - after));
      const p = map([z, raised], (z, m) => exp2(z - m));
      l = map([l, alpha, sum(p, "j")], (l, a, s) => l * a + s);
      o = gemm(
        cast("bf16", p),
        load(a.v.tile({ h, j: jb })),
        "j",
        map([o, alpha], (o, a) => o * a),
      );
      m = raised;
    }
    store(
      a.o.tile({ h, i: ib }),
      map([o, l], (o, l) => o / l),
    );
    store(
      a.lse.tile({ h, i: ib }),
      map([m, l], (m, l) => m * Math.LN2 + Math.log(l)),
    );
  },
});

export const examples: readonly Example[] = [{ dims: { H: { min: 1, max: 2 }, S: { min: 1, max: 40 } } }];
