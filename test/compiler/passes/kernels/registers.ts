/** Loops and accumulators that may, or may not, work in place. */
import { blocks, cast, each, full, gemm, input, kernel, load, map, output, rename, store } from "../../../../dsl/index.ts";

const args = {
  x: input("f32", { n: "N", m: 16, c: 16 }),
  w: input("bf16", { n: "N", c: 16, d: 16 }),
  y: output("f32", { n: "N", m: 16, c: 16 }),
  z: output("f32", { n: "N", m: 16, c: 16 }),
};

/** `total` and `product` are overwritten by their next values. */
export const inPlace = kernel("in_place", {
  args: { x: input("f32", { n: "N", m: 16, c: 16 }), a: input("bf16", { t: 3, m: 16, k: 16 }), b: input("bf16", { t: 3, k: 16, c: 16 }), y: output("f32", { n: "N", m: 16, c: 16 }), z: output("f32", { n: "N", m: 16, c: 16 }) },
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let total = load(a.x.tile({ n }));
    let product = full({ m: 16, c: 16 }, 0);
    for (const { start: t } of blocks("t", 0, 3, 1)) {
      total = map([total], (v) => v + 1);
      product = gemm(load(a.a.tile({ t })), load(a.b.tile({ t })), "k", product);
    }
    store(a.y.tile({ n }), total);
    store(a.z.tile({ n }), product);
  },
});

/** The old value is read after the next one is known. */
export const readsOldLater = kernel("reads_old_later", {
  args,
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let old = load(a.x.tile({ n }));
    for (const b of blocks("m", 0, a.x.size.n, 4)) {
      const next = map([old], (v) => v + b.start);
      store(a.z.tile({ n }), old);
      store(a.y.tile({ n }), next);
      old = next;
    }
    store(a.z.tile({ n }), old);
  },
});

/** The accumulator is needed beside the product. */
export const readsAccumulator = kernel("reads_accumulator", {
  args,
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    const half = map([load(a.x.tile({ n }))], (v) => v / 2);
    const acc = gemm(cast("bf16", half), load(a.w.tile({ n })), "c");
    const more = gemm(cast("bf16", half), load(a.w.tile({ n })), "c", acc);
    store(a.y.tile({ n }), rename(acc, { d: "c" }));
    store(a.z.tile({ n }), rename(more, { d: "c" }));
  },
});

/** The variable is an operand of the product that makes its next value. */
export const multipliesItself = kernel("multiplies_itself", {
  args,
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let power = load(a.x.tile({ n }));
    const w = load(a.w.tile({ n }));
    for (const _ of blocks("m", 0, a.x.size.n, 4)) power = rename(gemm(cast("bf16", power), w, "c"), { d: "c" });
    store(a.y.tile({ n }), power);
    store(a.z.tile({ n }), power);
  },
});

/** Two variables that begin apart take one next value. */
export const bothTakeNext = kernel("both_take_next", {
  args,
  tune: {},
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, {}, { n }) {
    let p = load(a.x.tile({ n }));
    let q = map([p], (v) => 3 * v);
    for (const b of blocks("m", 0, a.x.size.n, 4)) {
      const next = map([p, q], (p, q) => p - 2 * q + b.start);
      p = next;
      q = next;
    }
    store(a.y.tile({ n }), p);
    store(a.z.tile({ n }), q);
  },
});
