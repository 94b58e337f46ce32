/** Products by wgmma: both operands in slots of rings, the accumulator in the registers of a warpgroup's threads. */
import { byteSize, type DType } from "../../../dsl/dtype.ts";
import { add, binary, int, mul, type Expr } from "../../ir/expr.ts";
import { registerCount } from "../../ir/layout.ts";
import type { Operand } from "../../ir/loop.ts";
import type { PlanStmt, Stage, Tiling } from "../../ir/plan.ts";
import type { TileValue } from "../../ir/tile.ts";
import { columnPartsOf, gemmAxes, instructionColumns } from "../select_atoms.ts";
import type { Lowering } from "./context.ts";
import { ringSlot, stageBuffer } from "./element.ts";

type Gemm = Extract<PlanStmt, { kind: "Gemm" }>;
/** Bytes of the contracted axis that one instruction takes. */
const STEP_BYTES = 32;

const product = (axes: readonly { readonly extent: number }[]): number => axes.reduce((n, a) => n * a.extent, 1);

/** Issues all parts, each as a group of its own. */
export function wgmma(ctx: Lowering, s: Gemm): void {
  ctx.source(s.value.loc);
  const { op, plan, value } = s;
  const { rows, columns, depth } = gemmAxes(op);
  const array = ctx.declareRegisters(value, "f32", registerCount(plan.layout));
  const parts = plan.parts ?? 1;
  const rowTiles = (product(rows) * 2) / ctx.threads;
  const columnParts = columnPartsOf(parts, rowTiles);
  const width = instructionColumns(product(columns), columnParts);
  const perTile = product(columns) / width;
  const [a, b] = [operand(ctx, op.a, op.over[0]!), operand(ctx, op.b, op.over[0]!)];
  const step = STEP_BYTES / byteSize(op.a.dtype as DType);
  const group = ctx.threads === 128 ? int(0) : ctx.once("warpgroup", binary("/", { kind: "WarpIndex", type: "i32" }, int(4)));
  ctx.emit({ kind: "Call", instruction: "wgmmaFence", operands: [] });
  // in the order of the registers: each part takes as many instructions from where the last one stopped
  for (let part = 0, i = 0; part < parts; part++) {
    for (const end = (rowTiles * perTile * (part + 1)) / parts; i < end; i++) {
      const [tile, column] = [Math.floor(i / perTile), (i % perTile) * width];
      const row = add(mul(group, int(64)), int((tile * ctx.threads) / 2));
      const first = (tile * product(columns) + column) / 2;
      for (let k = 0; k < depth; k += step)
        ctx.emit({
          kind: "Call",
          instruction: `wgmma.m64n${width}k${step}.${op.a.dtype}${k === 0 && !op.acc ? ".first" : ""}`,
          operands: [{ kind: "Registers", array, index: int(first), count: width / 2 }, a(row, k), b(int(column), k)],
        });
    }
    ctx.emit({ kind: "Call", instruction: "wgmmaCommit", operands: [] });
  }
}

/** Registers of a part may be read from here on. */
export function awaitPart(ctx: Lowering, s: Extract<PlanStmt, { kind: "Await" }>): void {
  const array = ctx.registers(s.value);
  const place = ctx.place(s.value);
  // also keeps the assembler from sinking the fold of an earlier part below this wait
  if (s.part > 0) ctx.emit({ kind: "Call", instruction: "syncWarp", operands: [] });
  const count = registerCount(place.kind === "Stored" ? place.layout! : { threads: [], registers: [] }) / s.parts;
  ctx.emit({ kind: "Call", instruction: `wgmmaWait.${s.pending}.${count}`, operands: [{ kind: "Registers", array, index: int(s.part * count), count }] });
}

/** How wgmma reads a staged tile from a row (or column) and contracted position on. */
function operand(ctx: Lowering, v: TileValue, over: string): (row: Expr, k: number) => Operand {
  const place = ctx.place(v);
  const stage: Stage | undefined = place.kind === "Stored" ? place.stage : undefined;
  const tiling: Tiling | undefined = stage?.tiling;
  if (!stage || !tiling?.major || tiling.swizzle === 0) throw new Error(`lower: wgmma cannot read "${v.label}": it is in no ring`);
  const { swizzle, major, digits } = tiling;
  const line = digits[0]!.size;
  const lines = digits.reduce((n, d) => n * d.size, 1) / line;
  const depth = v.axes.find((x) => x.name === over)!.extent;
  const buffer = stageBuffer(ctx, v);
  const base = mul(ringSlot(ctx, v), int(stage.elements));
  const free = (lines * line) / depth;
  return (row, k) => {
    // major "k": panels of one line a row; "mn": panels of one line a contracted position
    const inSlot = major === "k" ? add(mul(row, int(line)), int(Math.floor(k / line) * free * line + (k % line))) : add(mul(binary("/", row, int(line)), int(depth * line)), int(k * line));
    return { kind: "Matrix", buffer, index: add(base, inSlot), major, swizzle, stride: 8 * swizzle, leading: major === "k" ? 16 : depth * swizzle };
  };
}
