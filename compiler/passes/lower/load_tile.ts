/**
 * Tiles that are read from device memory into registers, all at once, so that many loads are under way together. Whether rows start at
 * whole vectors and whether the tile lies inside its tensor is the same for the whole block: asked once, it leaves plain wide loads.
 */
import { byteSize } from "../../../dsl/dtype.ts";
import { add, and, binary, constant, convert, int, mul, sub, type Expr } from "../../ir/expr.ts";
import { covered, type Layout } from "../../ir/layout.ts";
import { computeType } from "../../ir/plan.ts";
import type { TileOp, TileValue, TileView } from "../../ir/tile.ts";
import { hostExpr, type Lowering } from "./context.ts";
import { address, element, isAligned, isTrue, limitOf, registerIndex, type Cursor } from "./element.ts";
import { overVectors } from "./work.ts";

type Reading = Extract<TileOp, { kind: "Load" | "Gather" }>;

/** Fills the registers of a tile; `generic` writes the way that serves everywhere. */
export function loadTile(ctx: Lowering, value: TileValue, op: Reading, layout: Layout, array: string, generic: () => void): void {
  const fits = layout.registers[0]?.stride === 1 && lastBlock(op.view)?.name === layout.registers[0].axis && value.axes.every((a) => covered(layout, a.name) === a.extent);
  if (!fits) return generic();
  const width = layout.registers[0]!.size;
  if (op.kind === "Gather" && !startsAtVectors(ctx, value, op, layout, width)) return generic();
  const plain = op.kind === "Load";
  const asked = and(isAlignedRow(ctx, op.view, width), plain ? isWhole(ctx, op.view) : isTrue);
  const wide = ctx.block(() => overVectors(ctx, layout, value.axes, (lanes) => loadLanes(ctx, value, op, layout, array, lanes, plain)));
  if (asked === isTrue) return ctx.emit(...wide);
  ctx.emit({ kind: "If", cond: asked, uniform: true, then: wide, otherwise: ctx.block(generic) });
}

/** Picked runs start at multiples of a vector, and not before the param. */
function startsAtVectors(ctx: Lowering, value: TileValue, op: Extract<TileOp, { kind: "Gather" }>, layout: Layout, width: number): boolean {
  const pick = op.picks.find((p) => p.coord === op.view.coords.length - 1);
  if (!pick || op.picks.length > 1) return false;
  let known = true;
  ctx.block(() =>
    overVectors(ctx, layout, value.axes, (lanes) => {
      const { min, multiple } = ctx.facts.of(element(ctx, pick.index, { coords: lanes[0]!.coords }));
      known &&= min >= 0 && multiple % width === 0;
    }),
  );
  return known;
}

const lastBlock = (view: TileView) => {
  const last = view.coords.at(-1);
  return last?.kind === "Block" ? last.axis : undefined;
};

function loadLanes(ctx: Lowering, value: TileValue, op: Reading, layout: Layout, array: string, lanes: readonly Cursor[], plain: boolean): void {
  const at = lanes[0]!;
  const picks = new Map(op.kind === "Gather" ? op.picks.map((p) => [p.coord, p.index] as const) : []);
  const { coords, guard } = address(ctx, op.view, at.coords, (i) => {
    const index = picks.get(i);
    return index && ctx.bind(index.label, element(ctx, index, { coords: at.coords }));
  });
  ctx.emit({
    kind: "LoadGlobal",
    array,
    index: registerIndex(layout, at.digits!, value.axes.map((a) => a.name)),
    count: lanes.length,
    param: op.view.param,
    field: op.view.field,
    coords,
    ...(!plain && guard !== isTrue && { guard }),
    ...(!plain && limitOf(ctx, op.view, coords, lanes.length)),
    fill: convert(computeType(op.view.dtype), op.kind === "Load" ? op.fill : constant(computeType(op.view.dtype), 0)),
    aligned: true,
    ...(op.kind === "Load" && op.once && { once: true }),
  });
}

/** The whole block lies inside the param. */
function isWhole(ctx: Lowering, view: TileView): Expr {
  const sizes = axesOf(ctx, view).map((a) => a.size);
  return view.coords.reduce<Expr>((cond, c, i) => {
    const [first, extent] = c.kind === "Index" ? [c.at, 1] : [c.start, c.axis.extent];
    const size = sizes[i]!;
    const fact = ctx.facts.of(first);
    const known = typeof size === "number" ? fact.max + extent <= size : extent === 1 && fact.below === size;
    const notBelow = fact.min >= 0 ? isTrue : binary(">=", first, int(0));
    const notAbove = known ? isTrue : binary("<=", first, sub(hostExpr(size), int(extent)));
    return and(cond, and(notBelow, notAbove));
  }, isTrue);
}

/** Every vector of `width` elements along the last axis starts at a multiple of its bytes. */
function isAlignedRow(ctx: Lowering, view: TileView, width: number): Expr {
  const axes = axesOf(ctx, view);
  const bytes = width * byteSize(view.dtype);
  const multiple = (e: Expr): Expr => binary("==", { kind: "Binary", type: "i32", op: "&", a: e, b: int(bytes - 1) }, int(0));
  const starts = view.coords.map((c) => (c.kind === "Index" ? c.at : c.start));
  if (isAligned(ctx, view, starts, width) && axes.slice(0, -1).every((a, i) => view.coords[i]!.kind === "Index" || ctx.hostMultiple(a.stride) % bytes === 0)) return isTrue;
  // sums that wrap around keep their lowest bits
  const { offset } = ctx.param(view.param).fields.find((f) => f.name === view.field)!;
  const first = starts.reduce<Expr>((sum, s, i) => add(sum, mul(s, hostExpr(axes[i]!.stride))), int(offset));
  const strides = axes.slice(0, -1).filter((a, i) => view.coords[i]!.kind === "Block" && ctx.hostMultiple(a.stride) % bytes !== 0);
  return strides.reduce<Expr>((cond, a) => and(cond, multiple(hostExpr(a.stride))), multiple(first));
}

function axesOf(ctx: Lowering, view: TileView) {
  const param = ctx.param(view.param);
  return [...param.axes, ...param.fields.find((f) => f.name === view.field)!.axes];
}
