/**
 * Gives names to the turns of the loop that a cluster deals out, to their start and end, as far in front of the loop as they are known: what
 * reads ahead of the loop reads ahead of them. Here they are all of the loop's turns; `dealCluster` makes them those of a block.
 */
import { diagnostic } from "../diagnostics.ts";
import { add, binary, int, sub, substitute, variable, type Expr } from "../ir/expr.ts";
import type { Machine } from "../ir/plan.ts";
import type { ScalarValue, TileKernel, TileStmt } from "../ir/tile.ts";
import { bodiesOf, definedScalars, lastDefinition, statements, variablesOf } from "../ir/walk.ts";
import type { Bound } from "./bind_schedule.ts";

type For = Extract<TileStmt, { kind: "For" }>;
type Let = Extract<TileStmt, { kind: "Let" }>;

/** Names of i32 scalars. */
export interface Part {
  readonly turns: string;
  readonly start: string;
  readonly end: string;
}

/** Throws E-SCHEDULE-03 for a loop that is not there, or whose turns depend on each other. */
export function partLoop(kernel: TileKernel, { cluster }: Bound, machine: Machine): { readonly kernel: TileKernel; readonly part?: Part } {
  if (!cluster) return { kernel };
  const { deal } = cluster;
  const refuse = (reason: string, instead: string): Error =>
    diagnostic("E-SCHEDULE-03", { ...kernel.loc, length: kernel.name.length }, { kernel: kernel.name, target: machine.name, reason, instead });
  const loops = [...statements(kernel.body)].filter((s): s is For => s.kind === "For");
  const loop = loops.find((s) => s.index.name === deal);
  if (!loop) throw refuse(`there is no loop "${deal}" to deal out`, `its loops are ${loops.map((s) => s.index.name).join(", ") || "none"}`);
  const around = loops.find((s) => s !== loop && [...statements(s.body)].includes(loop));
  if (around) throw refuse(`the loop "${deal}" stands in the loop "${around.index.name}"`, "deal out a loop that runs once");
  if (loop.scalars.length + loop.tiles.length > 0) throw refuse(`the turns of "${deal}" depend on each other`, "deal out a loop that carries no variable");

  const taken = new Set([...definedScalars(kernel.body)].map((v) => v.name).concat(kernel.dims.map((d) => d.name), kernel.grid.map((d) => d.index.name)));
  const name = (wish: string): string => (taken.has(wish) ? name(`${wish}_`) : wish);
  const part: Part = { turns: name(`${deal}_turns`), start: name(`${deal}_start`), end: name(`${deal}_end`) };
  return { kernel: { ...kernel, body: rewrite(kernel.body) }, part };

  function rewrite(list: readonly TileStmt[]): TileStmt[] {
    const at = list.indexOf(loop!);
    if (at < 0) return list.map((s) => (bodiesOf(s).length > 0 && s.kind === "If" ? { ...s, then: rewrite(s.then), otherwise: rewrite(s.otherwise) } : s));
    const { place, bounds: [lo, hi] } = earliest(list.slice(0, at), [loop!.lo, loop!.hi]);
    const define = (to: string, expr: Expr): Let => ({ kind: "Let", scalar: { name: to, type: "i32", loc: loop!.loc } satisfies ScalarValue, expr });
    const length: Expr = { kind: "Call", type: "i32", fn: "max", args: [sub(hi!, lo!), int(0)] };
    const names = [define(part.turns, binary("/", add(length, int(loop!.step - 1)), int(loop!.step))), define(part.start, lo!), define(part.end, hi!)];
    const parted: For = { ...loop!, lo: variable("i32", part.start), hi: variable("i32", part.end) };
    return [...list.slice(0, place), ...names, ...list.slice(place, at), parted, ...list.slice(at + 1)];
  }
}

/** The first place in a list where expressions are known, if what scalars stand for is put in their place. */
function earliest(list: readonly TileStmt[], expressions: readonly Expr[]): { readonly place: number; readonly bounds: readonly Expr[] } {
  let bounds = expressions;
  for (;;) {
    const reads = new Set(bounds.flatMap((e) => [...variablesOf(e)]));
    const last = lastDefinition(list, reads);
    const known = list[last];
    // in front of the list's first scalars is no better place than behind them
    if (known?.kind !== "Let" || list.slice(0, last).every((s) => s.kind === "Let")) return { place: last + 1, bounds };
    bounds = bounds.map((e) => substitute(e, new Map([[known.scalar.name, known.expr]])));
  }
}
