/** Softmax of rows of any length: one pass for maximum and sum, one to write. */
import { blocks, exp, full, input, iota, kernel, load, map, max, output, store, sum } from "../../dsl/index.ts";
import type { Example } from "../../verify/examples.ts";

const LOWEST = -1e30;

export const rowSoftmax = kernel("row_softmax", {
  args: { x: input("f32", { r: "R", c: "C" }), y: output("f32", { r: "R", c: "C" }) },
  tune: { BR: 4, BC: 32 },
  grid: (a, { BR }) => ({ rb: blocks("r", 0, a.x.size.r, BR) }),
  body(a, { BR, BC }, { rb }) {
    const columns = a.x.size.c;
    let m = full({ r: BR }, LOWEST);
    let l = full({ r: BR }, 0);
    for (const cb of blocks("c", 0, columns, BC)) {
      const x = map([load(a.x.tile({ r: rb, c: cb })), iota(cb)], (x, c) => (c < columns ? x : LOWEST));
      const raised = map([m, max(x, "c")], (m, x) => Math.max(m, x));
      const e = map([x, raised], (x, m) => exp(x - m));
      l = map([l, m, raised, sum(e, "c")], (l, before, after, s) => l * exp(before - after) + s);
      m = raised;
    }
    for (const cb of blocks("c", 0, columns, BC)) {
      store(
        a.y.tile({ r: rb, c: cb }),
        map([load(a.x.tile({ r: rb, c: cb })), m, l], (x, m, l) => exp(x - m) / l),
      );
    }
  },
});

export const examples: readonly Example[] = [{ dims: { C: { min: 1, max: 100 } }, inputs: { x: { min: -20, max: 20 } } }, {}];
