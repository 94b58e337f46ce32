/** Loop nests over the registers of a layout. */
import { add, and, binary, int, mul, type Expr } from "../../ir/expr.ts";
import { covered, type Digit, type Layout } from "../../ir/layout.ts";
import type { Axis } from "../../ir/tile.ts";
import { isTrue, type Cursor } from "./element.ts";
import type { Hoist, Lowering } from "./context.ts";

/** Coordinates of a register, given a value for each register digit. */
export function coordsAt(ctx: Lowering, layout: Layout, axes: readonly Axis[], digits: readonly Expr[]): Map<string, Expr> {
  return new Map(
    axes.map((axis) => {
      const fromRegisters = layout.registers.reduce<Expr>((sum, d, i) => (d.axis === axis.name ? add(sum, mul(digits[i]!, int(d.stride))) : sum), int(0));
      return [axis.name, add(ctx.threadCoord(layout, axis.name), fromRegisters)];
    }),
  );
}

/** Condition that a position lies in the tile and not in the padding of the layout. */
export function insideTile(ctx: Lowering, layout: Layout, axes: readonly Axis[], coords: ReadonlyMap<string, Expr>): Expr {
  return axes.reduce<Expr>((cond, axis) => {
    if (covered(layout, axis.name) <= axis.extent || ctx.facts.of(coords.get(axis.name)!).max < axis.extent) return cond;
    return and(cond, binary("<", coords.get(axis.name)!, int(axis.extent)));
  }, isTrue);
}

/** Runs `write` for every register digit combination: nested unrolled loops over `order`, slowest first. */
export function overDigits(ctx: Lowering, digits: readonly Digit[], order: readonly number[], values: Expr[], write: (values: readonly Expr[]) => void): void {
  const [first, ...rest] = order;
  if (first === undefined) return write(values);
  const digit = digits[first]!;
  ctx.unrolled(digit.axis ?? "copy", digit.size, (index) => {
    values[first] = index;
    overDigits(ctx, digits, rest, values, write);
  });
}

/** Digits from slowest to fastest. */
export const slowestFirst = (layout: Layout): number[] => layout.registers.map((_, i) => i).reverse();

/** Every register of the layout, one at a time. */
export function overRegisters(ctx: Lowering, layout: Layout, axes: readonly Axis[], write: (at: Cursor) => void): void {
  overDigits(ctx, layout.registers, slowestFirst(layout), [], (digits) => write({ coords: coordsAt(ctx, layout, axes, digits), layout, digits: [...digits] }));
}

/** Most consecutive elements handled as one: four f32 are sixteen bytes. */
const WIDEST = 8;

/** The register digit whose positions are consecutive along an axis, if the fastest one is. */
function vectorAxis(layout: Layout): { axis: string; width: number } | undefined {
  const fastest = layout.registers[0];
  return fastest && fastest.axis !== null && fastest.stride === 1 && fastest.size <= WIDEST ? { axis: fastest.axis, width: fastest.size } : undefined;
}

/** Every register of the layout; loads of consecutive ones are made wide. */
export function overRegistersWide(ctx: Lowering, layout: Layout, axes: readonly Axis[], write: (at: Cursor) => void): void {
  const vector = vectorAxis(layout);
  if (!vector) return overRegisters(ctx, layout, axes, write);
  overDigits(ctx, layout.registers, slowestFirst(layout).slice(0, -1), [int(0)], (slow) => {
    const cursors = lanesOf(ctx, layout, axes, vector, slow);
    const body = ctx.block(() => ctx.unrolled(vector.axis, vector.width, (lane) => write(cursors.at(lane))));
    ctx.emit(...cursors.before.statements, ...body);
  });
}

/** Every register of the layout, in groups that are consecutive along one axis. */
export function overVectors(ctx: Lowering, layout: Layout, axes: readonly Axis[], write: (lanes: readonly Cursor[]) => void): void {
  const vector = vectorAxis(layout);
  if (!vector) return overRegisters(ctx, layout, axes, (at) => write([at]));
  overDigits(ctx, layout.registers, slowestFirst(layout).slice(0, -1), [int(0)], (slow) => {
    const cursors = lanesOf(ctx, layout, axes, vector, slow);
    const body = ctx.block(() => write(Array.from({ length: vector.width }, (_, lane) => cursors.at(int(lane)))));
    ctx.emit(...cursors.before.statements, ...body);
  });
}

function lanesOf(ctx: Lowering, layout: Layout, axes: readonly Axis[], { axis, width }: { axis: string; width: number }, slow: readonly Expr[]): { before: Hoist; at(lane: Expr): Cursor } {
  const rest = slow.slice(1);
  const start = coordsAt(ctx, layout, axes, [int(0), ...rest]).get(axis)!;
  const shared = { axis, width, start, loaded: new Map<number, string>(), common: new Map<number, Expr>(), before: ctx.hoist() };
  return {
    before: shared.before,
    at: (lane) => {
      const digits = [lane, ...rest];
      return { coords: coordsAt(ctx, layout, axes, digits), layout, digits, vector: { ...shared, lane } };
    },
  };
}
