/**
 * Tiles that the threads of a copying role bring themselves (cp.async), 16 bytes at a time: rows that lie anywhere are no box of a tensor map.
 * The threads take the runs of a slot in the order in which they lie there, so neighbours read one row together and write to different banks.
 */
import { byteSize } from "../../../dsl/dtype.ts";
import { add, and, binary, convert, int, mul, select, type Expr } from "../../ir/expr.ts";
import { RUN_COPY } from "../../ir/instruction.ts";
import type { Operand } from "../../ir/loop.ts";
import type { PlanStmt, TilingDigit } from "../../ir/plan.ts";
import type { TileView } from "../../ir/tile.ts";
import { complaintOfRing } from "../tile_rings.ts";
import type { Lowering } from "./context.ts";
import { address, element, isAligned, isTrue, limitOf, slotStart, stageBuffer } from "./element.ts";
import { indexOfDigits } from "./rings.ts";

type Copy = Extract<PlanStmt, { kind: "Copy" }>;

/** Rounds whose indices a thread reads before it waits for the slot; where there are more, it reads them as it goes. */
const MOST_AHEAD = 16;

/**
 * Reads the indices of the rows that this thread is to copy: they are then on their way while it waits for the slot. The result starts the
 * copies, to the slot where the role stands then. Throws E-SCHEDULE-02 where 16 bytes may start elsewhere than at a multiple, or go on past their row.
 */
export function threadCopies(ctx: Lowering, { value, op, stage }: Copy): () => void {
  const { thread, threads } = ctx.bringers!;
  const { view } = op;
  const picks = op.kind === "Gather" ? op.picks : [];
  const run = RUN_COPY.bytes / byteSize(stage.dtype);
  const [line, ...others] = stage.tiling!.digits as readonly [TilingDigit, ...TilingDigit[]];
  const rows = others.filter((d) => d.axis !== line.axis);
  const lines = others.find((d) => d.axis === line.axis)?.size ?? 1;
  const perLine = line.size / run;
  const runs = rows.reduce((n, d) => n * d.size, perLine);
  const rounds = Math.ceil(runs / threads);
  const refuse = (reason: string, instead: string) => complaintOfRing(ctx.plan.kernel, ctx.machine, value, reason, `${instead}, or leave it out of the schedule's stage`);

  /** Every round of this thread: where its run starts in a line, and the digits of its row. */
  function each(write: (round: Expr, start: Expr, row: readonly Expr[]) => void): void {
    ctx.repeated("i", rounds, (round) => {
      const number = ctx.bind("run", add(mul(round, int(threads)), thread));
      ctx.when(runs % threads === 0 ? isTrue : binary("<", number, int(runs)), () => {
        const place = threads % perLine === 0 ? ctx.once("run_of_line", binary("%", thread, int(perLine))) : ctx.bind("run_of_line", binary("%", number, int(perLine)));
        let rest = binary("/", number, int(perLine));
        const row = rows.map((d, i) => {
          const digit = ctx.bind(d.axis, i === rows.length - 1 ? rest : binary("%", rest, int(d.size)));
          if (digit.kind === "Var") ctx.facts.learn(digit.name, { min: 0, max: d.size - 1 });
          rest = binary("/", rest, int(d.size));
          return digit;
        });
        write(round, mul(place, int(run)), row);
      });
    }, rounds <= MOST_AHEAD);
  }
  function positionOf(row: readonly Expr[], inLine: Expr): ReadonlyMap<string, Expr> {
    const at = new Map<string, Expr>(value.axes.map((a) => [a.name, int(0)]));
    rows.forEach((d, i) => at.set(d.axis, add(at.get(d.axis)!, mul(row[i]!, int(d.stride)))));
    return at.set(line.axis, inLine);
  }

  ctx.source(value.loc);
  const ahead = rounds <= MOST_AHEAD ? picks.map(({ index }) => ctx.array(index.label, "i32", rounds)) : [];
  if (ahead.length > 0)
    each((round, start, row) => ahead.forEach((array, i) => ctx.emit({ kind: "SetRegister", array, index: round, value: element(ctx, picks[i]!.index, { coords: positionOf(row, start) }) })));

  return () => {
    ctx.source(value.loc);
    each((round, start, row) => {
      const indices = picks.map(({ index }, i): Expr => {
        const known = ahead[i];
        return ctx.bind(index.label, known === undefined ? element(ctx, index, { coords: positionOf(row, start) }) : { kind: "Reg", type: "i32", array: known, index: round });
      });
      const pick = (coord: number): Expr | undefined => indices[picks.findIndex((p) => p.coord === coord)];
      const exists = ctx.bind("exists", address(ctx, view, positionOf(row, start), pick).guard);
      ctx.unrolled("line", lines, (number) => {
        const { coords, lastGuard } = address(ctx, view, positionOf(row, add(start, mul(number, int(line.size)))), pick);
        checkRun(coords);
        const index = add(slotStart(ctx, value), indexOfDigits(stage, [start, ...row, ...(lines > 1 ? [number] : [])]));
        copyRun(ctx, view, coords, and(exists, lastGuard), (i) => pick(i) !== undefined, { kind: "SharedAddress", buffer: stageBuffer(ctx, value), index });
      });
    });
  };

  function checkRun(coords: readonly Expr[]): void {
    const last = view.coords.at(-1)!;
    if (!(last.kind === "Block" && last.axis.name === line.axis)) throw refuse("no axis of it lies together in memory", "pick along other axes");
    if (!isAligned(ctx, view, coords, run)) throw refuse("cp.async takes multiples of 16 bytes, and its rows need not start at one", `give the axes of "${view.param}" behind the rows fixed extents`);
    const param = ctx.param(view.param);
    const { size } = [...param.axes, ...param.fields.find((f) => f.name === view.field)!.axes].at(-1)!;
    if (limitOf(ctx, view, coords, run).limit && ctx.hostMultiple(size) % run !== 0) throw refuse("cp.async takes multiples of 16 bytes, and its rows need not end at one", `give the last axis of "${view.param}" a fixed extent, a multiple of ${run}`);
  }
}

/** 16 bytes of device memory, as they are, to shared memory; zeros where `exists` does not hold. */
export function copyRun(ctx: Lowering, { param, field }: TileView, coords: readonly Expr[], exists: Expr, isPicked: (coord: number) => boolean, to: Extract<Operand, { kind: "SharedAddress" }>): void {
  // an address must be valid even where nothing is copied
  const guard = ctx.bind("exists", exists);
  const safe = guard === isTrue ? coords : coords.map((c, i): Expr => (isPicked(i) || ctx.facts.of(c).max === Infinity ? select(guard, c, int(0)) : c));
  ctx.emit({ kind: "Call", instruction: RUN_COPY.instruction, operands: [to, { kind: "GlobalAddress", param, field, coords: safe }, { kind: "Value", value: guard === isTrue ? int(1) : convert("i32", guard) }] });
}
