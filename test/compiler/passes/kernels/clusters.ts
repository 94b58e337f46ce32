/** A kernel whose loop blocks can share, and, as `wrong` says, what they cannot. */
import { append, bag, blocks, each, full, histogram, input, iota, kernel, load, map, mask, output, scalar, store, sum } from "../../../../dsl/index.ts";

export const sharedRows = ({ wrong }: { readonly wrong: string }) =>
  kernel("shared_rows", {
    args: { x: input("f32", { r: "R", c: "C" }), total: output("f32", { r: "R" }), list: output("i32", { r: "R", j: 8 }), found: output("i32", { r: "R" }) },
    tune: { BC: 32, ROOM: 64 },
    grid: (a) => ({ r: each(a.x.size.r) }),
    body(a, { BC, ROOM }, { r }) {
      const columns = a.x.size.c;
      const out = append(a.list.tile({ r }));
      const first = iota({ axis: "j", start: 0, size: 8 });
      if (wrong === "a list before the loop") out.push(first, mask([first], (j) => j < 4));
      const kept = bag(ROOM, { c: "i32" });
      const signs = histogram(2);
      let sums = 0;
      if (wrong === "a bag that is used before the loop") kept.add({ c: first }, mask([first], (j) => j < 4));
      for (const half of each(2)) {
        const inner = bag(ROOM, { c: "i32" });
        for (const ib of blocks("c", 0, columns, BC)) {
          const c = iota(ib);
          inner.add({ c }, mask([c], (c) => (c & 1) === half));
        }
        if (half === 1) sums += inner.count;
      }
      const end = Math.min(columns, 4096);
      if (wrong === "a bag of an outer block of statements") {
        if (columns > 3) for (const cb of blocks("c", 0, columns, BC)) kept.add({ c: iota(cb) }, mask([load(a.x.tile({ r, c: cb }))], (x) => x > 0));
      } else {
        for (const cb of blocks("c", 0, end, BC)) {
          const x = load(a.x.tile({ r, c: cb }));
          const c = iota(cb);
          if (wrong === "turns that depend on each other") sums += scalar(sum(x, "c"));
          if (wrong === "a histogram") signs.add(map([x], (x) => (x < 0 ? 1 : 0), "i32"), mask([c], (c) => c < columns));
          if (wrong !== "nothing for the leader") kept.add({ c }, mask([x, c], (x, c) => x > 0 && c < columns));
        }
      }
      const { above } = signs.find(1);
      store(a.found.tile({ r }), full({}, kept.count + above, "i32"));
      store(a.total.tile({ r }), full({}, sums));
      out.fill(-1);
    },
  });
