/**
 * How many slots of each query's row are not as `topk` writes them: tokens of the window [first, last), ascending, then -1. It guards
 * indices that come from elsewhere, for example recorded during sampling and used again in training; 0 says that the row is a selection.
 *
 * A slot is a fault when it holds a token outside the window, one that is not above the token before it (so no token comes twice), a token
 * behind a -1, or a number below -1. Windows end within the cache: the kernel sees no keys and cannot tell how many there are.
 */
import { blocks, each, full, gather, input, iota, kernel, load, map, output, scalar, store, sum } from "../index.ts";
import type { Dsa } from "./spec.ts";

export const checkSelection = (dsa: Dsa) =>
  kernel("check_selection", {
    args: {
      idx: input("i32", { q: "Q", j: dsa.topK }),
      first: input("i32", { q: "Q" }),
      last: input("i32", { q: "Q" }),
      faults: output("i32", { q: "Q" }),
    },
    tune: { SLOTS: 1024 },
    grid: (a) => ({ q: each(a.idx.size.q) }),
    body(a, { SLOTS }, { q }) {
      const lo = Math.max(scalar(load(a.first.tile({ q }))), 0);
      const hi = scalar(load(a.last.tile({ q })));
      let faults = 0;
      for (const jb of blocks("j", 0, dsa.topK, SLOTS)) {
        const slot = iota(jb);
        const token = load(a.idx.tile({ q, j: jb }), -1);
        const before = gather(a.idx.tile({ q }), { j: map([slot], (j) => Math.max(j - 1, 0), "i32") });
        const isFault = map(
          [token, before, slot],
          (t, b, j) => {
            const isToken = t >= lo && t < hi && (j === 0 || (b >= 0 && b < t));
            return j < dsa.topK && t !== -1 && !isToken ? 1 : 0;
          },
          "i32",
        );
        faults += scalar(sum(isFault, "j"));
      }
      store(a.faults.tile({ q }), full({}, faults, "i32"));
    },
  });
