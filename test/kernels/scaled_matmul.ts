/** c = a (b scale)^T: b in e4m3 with an f32 scale for each 128 of its contracted positions, made bf16 on the way to the product. */
import { blocks, cast, each, full, gemm, input, kernel, load, map, output, store, type Schedules } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

export const scaledMatmul = kernel("scaled_matmul", {
  args: {
    a: input("bf16", { m: "M", k: "K" }),
    b: input("e4m3", { n: "N", k: "K" }),
    scale: input("f32", { g: "G", n: "N" }, { pitch: { g: "scalePitch" } }),
    c: output("f32", { m: "M", n: "N" }, { pitch: { m: "cPitch" } }),
  },
  tune: { BM: 16, BN: 16, BK: 16, GROUP: 2 },
  grid: (a, { BM, BN, GROUP }) => ({ group: blocks("m", 0, a.a.size.m, BM * GROUP), nb: blocks("n", 0, a.b.size.n, BN), i: each(GROUP) }),
  body(a, { BM, BN, BK }, { group, nb, i }) {
    const mb = { axis: "m", start: group.start + i * BM, size: BM } as const;
    let acc = full({ m: BM, n: BN }, 0);
    for (const kb of blocks("k", 0, a.a.size.k, BK)) {
      const x = load(a.a.tile({ m: mb, k: kb }));
      const codes = load(a.b.tile({ n: nb, k: kb }));
      const s = load(a.scale.tile({ g: kb.start >> 7, n: nb }));
      const y = cast("bf16", map([codes, s], (code, s) => code * s));
      acc = gemm(x, y, "k", acc);
    }
    store(a.c.tile({ m: mb, n: nb }), acc);
  },
});

/** Two warpgroups multiply 128 by 128 each, what a third makes for them. */
export const schedules: Schedules = {
  scaledMatmul: {
    "cuda:sm_90a": {
      tune: { BM: 256, BN: 128, BK: 64, GROUP: 8 },
      roles: { math: { warps: 8, registers: 184 }, maker: { warps: 4, registers: 104, makes: ["y"] }, producer: { warps: 1, registers: 40, brings: ["x", "codes", "s"] } },
      stage: { x: { slots: 4, ring: "rows" }, codes: { slots: 3, ring: "columns" }, s: { slots: 3, ring: "columns" } },
      mma: { acc: {} },
      persistent: "strided",
    },
  },
};

// TMA wants rows that start at multiples of 16 bytes
export const examples: readonly Example[] = [{ dims: { M: { min: 1, max: 40 }, N: { min: 1, max: 40 }, K: 144, G: 2 } }];
