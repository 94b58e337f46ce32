/** c = a[rows] b^T in bf16: the rows of a lie where an index list says, -1 stands for a row of zeros. */
import { blocks, cast, full, gather, gemm, input, kernel, load, output, store, type Schedules } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

const K = 512;

export const gatheredMatmul = kernel("gathered_matmul", {
  args: {
    a: input("bf16", { r: "R", k: K }),
    rows: input("i32", { m: "M" }),
    b: input("bf16", { n: "N", k: K }),
    c: output("bf16", { m: "M", n: "N" }, { pitch: { m: "cPitch" } }),
  },
  tune: { BM: 16, BN: 16, BK: 64 },
  grid: (a, { BM, BN }) => ({ mb: blocks("m", 0, a.rows.size.m, BM), nb: blocks("n", 0, a.b.size.n, BN) }),
  body(a, { BM, BN, BK }, { mb, nb }) {
    const row = load(a.rows.tile({ m: mb }), -1);
    let acc = full({ m: BM, n: BN }, 0);
    for (const kb of blocks("k", 0, K, BK)) {
      const x = gather(a.a.tile({ k: kb }), { r: row });
      const y = load(a.b.tile({ n: nb, k: kb }));
      acc = gemm(x, y, "k", acc);
    }
    store(a.c.tile({ m: mb, n: nb }), cast("bf16", acc));
  },
});

/** Two warpgroups hold 64 by 256 accumulators each; four warps bring the rows that the list names, and one of their threads the columns. */
export const schedules: Schedules = {
  gatheredMatmul: {
    "cuda:sm_90a": {
      tune: { BM: 128, BN: 256, BK: 64 },
      roles: { math: { warps: 8, registers: 216 }, producer: { warps: 4, registers: 72, brings: ["x", "y"] } },
      stage: { x: { slots: 4, ring: "operands" }, y: { slots: 4, ring: "operands" } },
      mma: { acc: {} },
      persistent: "strided",
    },
  },
};

export const examples: readonly Example[] = [
  { dims: { R: { min: 1, max: 60 }, M: { min: 1, max: 40 }, N: { min: 1, max: 40 } }, inputs: { rows: { min: -2, max: "R" } } },
];
