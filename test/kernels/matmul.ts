/** c = a b^T in bf16, by groups of row blocks so that neighbouring blocks share what the cache holds. */
import { blocks, cast, each, full, gemm, input, kernel, load, output, store, type Schedules } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

export const matmul = kernel("matmul_bf16", {
  args: {
    a: input("bf16", { m: "M", k: "K" }),
    b: input("bf16", { n: "N", k: "K" }),
    c: output("bf16", { m: "M", n: "N" }, { pitch: { m: "cPitch" } }),
  },
  tune: { BM: 16, BN: 16, BK: 16, GROUP: 2 },
  grid: (a, { BM, BN, GROUP }) => ({ group: blocks("m", 0, a.a.size.m, BM * GROUP), nb: blocks("n", 0, a.b.size.n, BN), i: each(GROUP) }),
  body(a, { BM, BN, BK }, { group, nb, i }) {
    const mb = { axis: "m", start: group.start + i * BM, size: BM } as const;
    let acc = full({ m: BM, n: BN }, 0);
    for (const kb of blocks("k", 0, a.a.size.k, BK)) {
      const x = load(a.a.tile({ m: mb, k: kb }));
      const y = load(a.b.tile({ n: nb, k: kb }));
      acc = gemm(x, y, "k", acc);
    }
    store(a.c.tile({ m: mb, n: nb }), cast("bf16", acc));
  },
});

/** Two warpgroups hold 64 by 256 accumulators each. */
export const schedules: Schedules = {
  matmul: {
    "cuda:sm_90a": {
      tune: { BM: 128, BN: 256, BK: 64, GROUP: 8 },
      roles: { math: { warps: 8, registers: 232 }, producer: { warps: 1, registers: 40, brings: ["x", "y"] } },
      stage: { x: { slots: 4, ring: "operands" }, y: { slots: 4, ring: "operands" } },
      mma: { acc: {} },
      persistent: "strided",
    },
  },
};

// TMA wants rows that start at multiples of 16 bytes
export const examples: readonly Example[] = [{ dims: { M: { min: 1, max: 40 }, N: { min: 1, max: 40 }, K: 24 } }];
