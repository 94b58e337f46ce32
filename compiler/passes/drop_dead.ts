import { inputsOf, readsOf } from "../ir/walk.ts";
import type { TileKernel, TileStmt } from "../ir/tile.ts";

/** Removes values that no store, list, histogram or scalar depends on, and what loops carry for them. */
export function dropDead(kernel: TileKernel): TileKernel {
  const live = new Set<number>();
  let grown = true;
  const keep = (id: number) => {
    if (!live.has(id)) {
      live.add(id);
      grown = true;
    }
  };
  const mark = (body: readonly TileStmt[]): void => {
    for (const s of body) {
      if (s.kind === "Define") {
        if (live.has(s.value.id)) inputsOf(s.op).forEach((v) => keep(v.id));
      } else if (s.kind === "For") {
        for (const c of s.tiles)
          if (live.has(c.result.id) || live.has(c.param.id)) [c.param, c.init, c.next, c.result].forEach((v) => keep(v.id));
        mark(s.body);
      } else if (s.kind === "If") {
        for (const m of s.tiles) if (live.has(m.result.id)) [m.then, m.otherwise].forEach((v) => keep(v.id));
        mark(s.then);
        mark(s.otherwise);
      } else readsOf(s).forEach((v) => keep(v.id));
    }
  };
  while (grown) {
    grown = false;
    mark(kernel.body);
  }
  const sweep = (body: readonly TileStmt[]): TileStmt[] =>
    body.flatMap((s): TileStmt[] => {
      if (s.kind === "Define") return live.has(s.value.id) ? [s] : [];
      if (s.kind === "For") return [{ ...s, tiles: s.tiles.filter((c) => live.has(c.param.id)), body: sweep(s.body) }];
      if (s.kind === "If") return [{ ...s, tiles: s.tiles.filter((m) => live.has(m.result.id)), then: sweep(s.then), otherwise: sweep(s.otherwise) }];
      return [s];
    });
  return { ...kernel, body: sweep(kernel.body) };
}
