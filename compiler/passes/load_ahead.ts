/**
 * Tiles that a schedule wants ahead: a loop reads the next iteration's from device memory before it works on its own. Of a tile that is
 * read once the first iteration's is not: what stands before the loop may look at the same bytes.
 */
import { add, binary, int, substitute, variable, type Expr } from "../ir/expr.ts";
import type { TileKernel, TileOp, TileStmt, TileValue, TileView } from "../ir/tile.ts";
import { definedTiles, lastDefinition, variablesOf } from "../ir/walk.ts";

type For = Extract<TileStmt, { kind: "For" }>;
type Read = Extract<TileStmt, { kind: "Define" }> & { readonly op: Extract<TileOp, { kind: "Load" }> };

/** `early`: the loads of first iterations, which stand as far in front of their loops as they can. */
export function loadAhead(kernel: TileKernel, ahead: ReadonlySet<number>, once: ReadonlySet<number>): { readonly kernel: TileKernel; readonly early: ReadonlySet<number> } {
  const early = new Set<number>();
  if (ahead.size === 0) return { kernel, early };
  let nextId = Math.max(...[...definedTiles(kernel.body)].map((v) => v.id)) + 1;
  const version = (v: TileValue, part: string): TileValue => ({ ...v, id: nextId++, label: `${v.label}.${part}` });

  function rewrite(list: readonly TileStmt[]): TileStmt[] {
    const out: TileStmt[] = [];
    for (const s of list) {
      if (s.kind === "If") out.push({ ...s, then: rewrite(s.then), otherwise: rewrite(s.otherwise) });
      else if (s.kind !== "For") out.push(s);
      else {
        const reads = s.body.filter((r): r is Read => r.kind === "Define" && r.op.kind === "Load" && ahead.has(r.value.id));
        const loop: For = { ...s, body: rewrite(s.body) };
        if (reads.length === 0) out.push(loop);
        else {
          const { first, rest } = inAdvance(loop, reads);
          for (const load of first) {
            out.splice(earliest(out, load), 0, load);
            early.add(load.value.id);
          }
          out.push(rest);
        }
      }
    }
    return out;
  }

  /** What was read becomes a variable of the loop; the last iteration keeps it. */
  function inAdvance(loop: For, reads: readonly Read[]): { readonly first: readonly Read[]; readonly rest: TileStmt } {
    const following = add(variable("i32", loop.index.name), int(loop.step));
    const parts = reads.map(({ value, op }) => {
      const [init, early, next, result] = ["first", "early", "next", "last"].map((part) => version(value, part)) as [TileValue, TileValue, TileValue, TileValue];
      return { value, op, init, early, next, result };
    });
    const load = (to: TileValue, op: Read["op"], index: Expr): Read => ({ kind: "Define", value: to, op: { ...op, view: viewAt(op.view, loop.index.name, index) } });
    const bring: TileStmt = {
      kind: "If",
      cond: binary("<", following, loop.hi),
      then: parts.map((p) => load(p.early, once.has(p.value.id) ? { ...p.op, once: true } : p.op, following)),
      otherwise: [],
      tiles: parts.map((p) => ({ result: p.next, then: p.early, otherwise: p.value })),
      scalars: [],
      loc: loop.loc,
    };
    const body = [bring, ...loop.body.filter((s) => !reads.some((r) => s.kind === "Define" && s.value === r.value))];
    const carried = parts.map((p) => ({ param: p.value, init: p.init, next: p.next, result: p.result }));
    return { first: parts.map((p) => load(p.init, p.op, loop.lo)), rest: { ...loop, tiles: [...loop.tiles, ...carried], body } };
  }
  return { kernel: { ...kernel, body: rewrite(kernel.body) }, early };
}

/** The first place in a list where all scalars of a load's view are known. */
function earliest(list: readonly TileStmt[], load: Read): number {
  const reads = new Set(load.op.view.coords.flatMap((c) => [...variablesOf(c.kind === "Index" ? c.at : c.start)]));
  return lastDefinition(list, reads) + 1;
}

function viewAt(view: TileView, index: string, value: Expr): TileView {
  const moved = (e: Expr): Expr => substitute(e, new Map([[index, value]]));
  return { ...view, coords: view.coords.map((c) => (c.kind === "Index" ? { ...c, at: moved(c.at) } : { ...c, start: moved(c.start) })) };
}
