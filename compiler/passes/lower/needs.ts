/** What the lowering of a plan has to know beforehand: scalars that something reads, and shared memory that is left over. */
import { byteSize } from "../../../dsl/dtype.ts";
import { childrenOf, type Expr } from "../../ir/expr.ts";
import type { Machine, Plan } from "../../ir/plan.ts";
import { planStatements } from "../../ir/plan_walk.ts";
import type { TileKernel, TileOp, TileStmt, TileView } from "../../ir/tile.ts";
import { collectionsOf, statements } from "../../ir/walk.ts";

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
      return [s.start, s.limit];
    default:
      return [];
  }
}

/** Elements for lists that marked positions go to, by list, where all of them fit beside stages and collectives. */
export function listStages(plan: Plan, machine: Machine): ReadonlyMap<string, number> {
  const all = [...planStatements(plan.body)];
  const sizes = new Map(all.flatMap((s) => (s.kind === "Bitmap" ? [[s.name, s.size] as const] : [])));
  const extents = new Map(all.flatMap((s) => (s.kind === "Append" ? [[s.name, s.view.coords.reduce((n, c) => (c.kind === "Block" ? c.axis.extent : n), 0)] as const] : [])));
  const elements = new Map<string, number>();
  for (const s of all) if (s.kind === "AppendMarked") elements.set(s.append, Math.max(elements.get(s.append) ?? 0, Math.min(extents.get(s.append)!, sizes.get(s.bitmap)!)));
  const sizesInBytes = [
    ...[...plan.places.values()].flatMap((p) => (p.kind === "Stored" && p.stage ? [p.stage.elements * byteSize(p.stage.dtype)] : [])),
    ...collectionsOf(all).map((c) => c.bytes + 128),
    ...[...elements.values()].map((e) => 4 * e),
  ];
  const bytes = sizesInBytes.reduce((n, b) => n + Math.ceil(b / 128) * 128, 3 * machine.exchangeBytes);
  return bytes <= machine.maxSharedBytes ? elements : new Map();
}
