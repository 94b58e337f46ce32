/** What one block does, counted on Tile IR: bytes moved and arithmetic, for each loop and branch by itself. */
import { byteSize } from "../dsl/dtype.ts";
import { printExpr } from "./ir/print_tile.ts";
import type { Axis, TileKernel, TileStmt } from "./ir/tile.ts";

/** Work of the statements that stand directly in one body. Positions outside a param count too: they are masked, not skipped. */
export interface Work {
  /** When it happens: "once", or the loops and conditions around. */
  readonly when: string;
  readonly loadedBytes: number;
  readonly storedBytes: number;
  /** Multiply-adds of products of tiles. */
  readonly multiplyAdds: number;
  /** Elements that scalar code runs over, reductions and scans included. */
  readonly elements: number;
}

/** Bodies in the order of the text; those without work are left out. */
export function workOf(kernel: TileKernel): Work[] {
  return workOfBody(kernel.body, []).filter((w) => w.loadedBytes + w.storedBytes + w.multiplyAdds + w.elements > 0);
}

function workOfBody(body: readonly TileStmt[], around: readonly string[]): Work[] {
  const own = { when: around.join(", ") || "once", loadedBytes: 0, storedBytes: 0, multiplyAdds: 0, elements: 0 };
  const inside: Work[] = [];
  for (const s of body) {
    if (s.kind === "For") inside.push(...workOfBody(s.body, [...around, `each ${s.index.name}`]));
    else if (s.kind === "If") {
      const cond = printExpr(s.cond);
      inside.push(...workOfBody(s.then, [...around, `if ${cond}`]), ...workOfBody(s.otherwise, [...around, `unless ${cond}`]));
    } else if (s.kind === "Store") own.storedBytes += sizeOf(s.of.axes) * byteSize(s.view.dtype);
    else if (s.kind === "AppendPush") own.elements += sizeOf(s.of.axes);
    else if (s.kind === "HistogramAdd" || s.kind === "BagAdd" || s.kind === "BitmapAdd") own.elements += sizeOf(s.keep.axes);
    else if (s.kind === "Define") {
      const { op, value } = s;
      if (op.kind === "Load" || op.kind === "Gather") own.loadedBytes += sizeOf(value.axes) * byteSize(op.view.dtype);
      else if (op.kind === "Gemm") own.multiplyAdds += sizeOf(union(op.a.axes, op.b.axes));
      else if (op.kind === "Map" || op.kind === "Cast") own.elements += sizeOf(value.axes);
      else if (op.kind === "Reduce" || op.kind === "Scan") own.elements += sizeOf(op.of.axes);
    }
  }
  return [own, ...inside];
}

const sizeOf = (axes: readonly Axis[]): number => axes.reduce((product, axis) => product * axis.extent, 1);
const union = (a: readonly Axis[], b: readonly Axis[]): readonly Axis[] =>
  [...a, ...b.filter(({ name }) => a.every((axis) => axis.name !== name))];
