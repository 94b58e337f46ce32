/** How much the best head of a query beats the weighted mean of its heads, for every token. Products with two operands that lie together, one of them computed. */
import { blocks, cast, gemm, input, kernel, load, map, max, output, store, sum } from "../../dsl/index.ts";
import type { Schedule, Schedules } from "../../dsl/schedule.ts";
import type { Example } from "../../verify/examples.ts";

const pooled = (name: string) =>
  kernel(name, {
    args: {
      q: input("bf16", { q: "Q", h: 4, d: 64 }),
      k: input("bf16", { t: "T", d: 64 }),
      w: input("f32", { q: "Q", h: 4 }),
      lead: output("f32", { q: "Q", t: "T" }),
    },
    tune: { BQ: 8, BT: 64 },
    grid: (a, { BQ }) => ({ qb: blocks("q", 0, a.q.size.q, BQ) }),
    body(a, { BT }, { qb }) {
      const q = load(a.q.tile({ q: qb }));
      const w = load(a.w.tile({ q: qb }));
      const mean = cast("bf16", sum(map([q, w], (q, w) => q * w), "h"));
      for (const tb of blocks("t", 0, a.k.size.t, BT)) {
        const k = load(a.k.tile({ t: tb }));
        const dot = gemm(k, q, "d");
        const common = gemm(k, mean, "d");
        store(a.lead.tile({ q: qb, t: tb }), map([max(dot, "h"), common], (best, common) => best - common));
      }
    },
  });

/** The mean of the heads lies by itself, or behind the heads in their slot: then one instruction multiplies both. */
export const pooledApart = pooled("pooled_apart");
export const pooledBehind = pooled("pooled_behind");

const schedule = (common: { readonly behind?: string }): Schedule => ({
  roles: { math: { warps: 4, registers: 152 }, producer: { warps: 1, registers: 56, brings: ["q", "w", "k"] } },
  stage: { q: { slots: 2, ring: "queries" }, w: { slots: 2, ring: "queries" }, k: 3 },
  mma: { dot: { parts: 2 }, common },
  persistent: { even: "tb", padding: 1 },
});

export const schedules: Schedules = {
  pooledApart: { "cuda:sm_90a": schedule({}) },
  pooledBehind: { "cuda:sm_90a": schedule({ behind: "dot" }) },
};

const upTo = (max: number) => ({ min: 1, max });
export const examples: readonly Example[] = [{ dims: { Q: upTo(20), T: upTo(150) } }];
