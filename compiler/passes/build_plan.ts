/** Turns the Tile program into the Plan: one statement per stored value, stages where other threads read, moves where loops carry. */
import { variable } from "../ir/expr.ts";
import { sameLayout, type Layout } from "../ir/layout.ts";
import { computeType, type Place, type Plan, type PlanStmt, type Product } from "../ir/plan.ts";
import type { Carried, TileKernel, TileOp, TileStmt, TileValue } from "../ir/tile.ts";
import { definedTiles, inputsOf } from "../ir/walk.ts";
import type { Bound } from "./bind_schedule.ts";
import type { Layouts } from "./infer_layouts.ts";
import type { Placement } from "./place_values.ts";
import type { StagedTile } from "./plan_stages.ts";

type Gemm = Extract<TileOp, { kind: "Gemm" }>;

const sameAs = (v: TileValue): TileOp => ({ kind: "Map", inputs: [v], params: ["x"], body: variable(computeType(v.dtype), "x") });

export function buildPlan(kernel: TileKernel, placement: Placement, layouts: Layouts, stages: readonly StagedTile[], bound: Bound): Plan {
  const stageOf = new Map(stages.map((s) => [s.value.id, s.stage]));
  const places = new Map<number, Place>();
  const led = new Set([...bound.leaders.values()].map((v) => v.id));
  let nextId = Math.max(-1, ...[...definedTiles(kernel.body)].map((v) => v.id)) + 1;
  for (const [id, op] of placement.inline) places.set(id, { kind: "Inline", op });

  /** Records where `value` lives. A load that found no room in shared memory is inline. */
  function settle(value: TileValue, op?: TileOp): { layout?: Layout; stage?: StagedTile["stage"] } {
    const layout = layouts.layouts.get(value.id);
    const stage = stageOf.get(value.id);
    if (!layout && !stage && op) places.set(value.id, { kind: "Inline", op });
    else places.set(value.id, { kind: "Stored", ...(layout && { layout }), ...(stage && { stage }) });
    return { ...(layout && { layout }), ...(stage && { stage }) };
  }

  function define(value: TileValue, op: TileOp): PlanStmt[] {
    if (placement.inline.has(value.id)) return [];
    const { layout, stage } = settle(value, op);
    const out: PlanStmt[] = [];
    if ((op.kind === "Load" || op.kind === "Gather") && stage && bound.rings.has(value.id))
      return [{ kind: "Copy", value, op, stage, by: bound.copied.has(value.id) ? "cpAsync" : "tma", evictFirst: bound.evictFirst.has(value.id) }, ...(layout ? [{ kind: "Fetch", value, layout, stage } as const] : [])];
    const leader = bound.leaders.get(value.id);
    if (op.kind === "Gemm") {
      if (led.has(value.id)) return []; // it is computed with the product that follows it
      out.push({ kind: "Gemm", ...(leader ? { ...product(leader), follower: product(value) } : product(value)) });
    } else if (op.kind === "Reduce") out.push({ kind: "Reduce", value, op, plan: layouts.reduces.get(value.id)!, layout: layout! });
    else if (op.kind === "Scan") out.push({ kind: "Scan", value, op, layout: layout! });
    else if (layout && stage && placement.onlyStaged.has(value.id)) {
      places.set(value.id, { kind: "Stored", stage });
      return [{ kind: "Stage", value, op, layout, stage }];
    } else if (layout) out.push({ kind: "Compute", value, op, layout });
    else if (stage) return [{ kind: "Stage", value, op, stage }];
    return [...out, ...[value, ...(leader ? [leader] : [])].flatMap(publish)];
  }
  const product = (value: TileValue): Product => ({ value, op: placement.definitions.get(value.id) as Gemm, plan: layouts.gemms.get(value.id)! });
  /** A loop variable or branch result takes over the value of another tile: its registers, or what it left in shared memory where they lie otherwise. */
  function take(to: TileValue, from: TileValue, layout = layouts.layouts.get(to.id)!): PlanStmt[] {
    const own = layouts.layouts.get(from.id);
    const op = placement.inline.get(from.id) ?? (stageOf.has(from.id) && !(own && sameLayout(own, layout)) ? sameAs(from) : undefined);
    return [op ? { kind: "Compute", value: to, op, layout } : { kind: "Move", to, from, layout }];
  }
  /** Whether evaluating `from` reads `v` itself. */
  function reads(from: TileValue, v: TileValue): boolean {
    const inline = placement.inline.get(from.id);
    return inline ? inputsOf(inline).some((input) => reads(input, v)) : from.id === v.id;
  }
  /** All next values of a loop at once: no variable is overwritten before what is read from it; where they go round in a circle, a copy is kept. */
  function takeTogether(carried: readonly Carried<TileValue>[]): PlanStmt[] {
    const out: PlanStmt[] = [];
    let left = carried.map((c) => ({ to: c.param, from: c.next }));
    while (left.length > 0) {
      const readLater = ({ to }: { to: TileValue }) => left.filter((t) => t.to.id !== to.id && reads(t.from, to));
      const now = left.find((t) => readLater(t).length === 0) ?? left[0]!;
      const late = readLater(now);
      left = left.filter((t) => t !== now).map((t) => (late.includes(t) ? { ...t, from: copyOf(t) } : t));
      out.push(...take(now.to, now.from));
    }
    return out;

    function copyOf({ to, from }: { to: TileValue; from: TileValue }): TileValue {
      const copy = { ...to, id: nextId++, label: `${to.label}.next` };
      const layout = layouts.layouts.get(to.id)!;
      places.set(copy.id, { kind: "Stored", layout });
      out.push(...take(copy, from, layout));
      return copy;
    }
  }
  const publish = (value: TileValue): PlanStmt[] => {
    const stage = stageOf.get(value.id);
    return stage ? [{ kind: "Stage", value, stage }] : [];
  };

  function body(list: readonly TileStmt[]): PlanStmt[] {
    return list.flatMap((s): PlanStmt[] => {
      switch (s.kind) {
        case "Define":
          return define(s.value, s.op);
        case "For": {
          s.tiles.forEach((c) => [c.param, c.result].forEach((v) => settle(v)));
          const inner = [...s.tiles.flatMap((c) => publish(c.param)), ...body(s.body), ...takeTogether(s.tiles)];
          const loop: PlanStmt = { kind: "For", index: s.index, lo: s.lo, hi: s.hi, step: s.step, scalars: s.scalars, body: inner, loc: s.loc };
          return [...s.tiles.flatMap((c) => take(c.param, c.init)), loop, ...s.tiles.flatMap((c) => publish(c.result))];
        }
        case "If": {
          s.tiles.forEach((m) => settle(m.result));
          const branch = (list: readonly TileStmt[], pick: "then" | "otherwise") => [...body(list), ...s.tiles.flatMap((m) => take(m.result, m[pick]))];
          const choice: PlanStmt = { kind: "If", cond: s.cond, then: branch(s.then, "then"), otherwise: branch(s.otherwise, "otherwise"), scalars: s.scalars, loc: s.loc };
          return [choice, ...s.tiles.flatMap((m) => publish(m.result))];
        }
        case "Store":
        case "HistogramAdd":
        case "AppendPush":
        case "BagAdd":
        case "BitmapAdd":
          return [{ ...s, layout: layouts.work.get(s)! }];
        default:
          return [s];
      }
    });
  }
  const statements = body(kernel.body);
  return { kernel, threads: bound.threads, ...(bound.makers !== undefined && { makers: bound.makers }), places, registers: new Map(), body: statements };
}

