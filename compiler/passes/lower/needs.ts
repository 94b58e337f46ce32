/** What the lowering of a plan has to know beforehand: scalars that something reads, and shared memory that is left over. */
import { byteSize } from "../../../dsl/dtype.ts";
import { collectiveBuffers, type CollectiveBuffers } from "../../ir/collectives.ts";
import { childrenOf, type Expr } from "../../ir/expr.ts";
import type { Machine, Plan } from "../../ir/plan.ts";
import type { TileKernel, TileOp, TileStmt, TileView } from "../../ir/tile.ts";
import { statements } from "../../ir/walk.ts";

/** Names of the uniform scalars that expressions and loops read. */
export function scalarsRead(kernel: TileKernel): ReadonlySet<string> {
  const names = new Set<string>();
  const seen = new Set<Expr>();
  const read = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    if (e.kind === "Var") names.add(e.name);
    childrenOf(e).forEach(read);
  };
  for (const s of statements(kernel.body)) {
    expressionsOf(s).forEach(read);
    if (s.kind === "For") s.scalars.forEach((c) => [c.init, c.next].forEach((v) => names.add(v.name)));
    if (s.kind === "If") s.scalars.forEach((m) => [m.then, m.otherwise].forEach((v) => names.add(v.name)));
  }
  return names;
}

function expressionsOf(s: TileStmt): readonly Expr[] {
  const view = (v: TileView): readonly Expr[] => v.coords.map((c) => (c.kind === "Index" ? c.at : c.start));
  const op = (o: TileOp): readonly Expr[] => {
    if (o.kind === "Load") return [...view(o.view), o.fill];
    if (o.kind === "Gather") return view(o.view);
    if (o.kind === "Full") return [o.value];
    if (o.kind === "Iota") return [o.start];
    return o.kind === "Map" ? [o.body] : [];
  };
  switch (s.kind) {
    case "Define":
      return [...op(s.op), ...s.value.axes.flatMap((a) => a.held ?? [])];
    case "Let":
      return [s.expr];
    case "For":
      return [s.lo, s.hi];
    case "If":
      return [s.cond];
    case "Store":
    case "Append":
      return view(s.view);
    case "HistogramFind":
      return [s.want];
    case "AppendFill":
      return [s.value];
    case "AppendMarked":
      return [s.limit];
    default:
      return [];
  }
}

/** The memory of the plan's collectives; lists are put together on chip where that fits beside stages and exchanges. */
export function collectivesOf(plan: Plan, machine: Machine): CollectiveBuffers {
  const stages = [...plan.places.values()].flatMap((p) => (p.kind === "Stored" && p.stage ? [p.stage.elements * byteSize(p.stage.dtype)] : []));
  const listing = collectiveBuffers(plan.kernel.body, true);
  // a bag has a counter and, in a cluster, a place in the leader's
  const sizes = [...stages, ...listing.buffers.map((b) => 4 * b.elements + (b.kind === "Bag" ? (plan.cluster ? 256 : 128) : 0))];
  const bytes = sizes.reduce((n, b) => n + Math.ceil(b / 128) * 128, 3 * machine.exchangeBytes);
  return bytes <= machine.maxSharedBytes ? listing : collectiveBuffers(plan.kernel.body, false);
}
