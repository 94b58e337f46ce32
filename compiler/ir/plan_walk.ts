/** Traversals of a plan: its statements, and what evaluating them reads, through what is inline. */
import { project, renameAxes, sameLayout, type Layout } from "./layout.ts";
import type { Plan, PlanStmt } from "./plan.ts";
import type { Loc, TileOp, TileValue } from "./tile.ts";
import { axisNames, inputsOf } from "./walk.ts";

/** A stored tile, or one without a place, and where its elements come from. */
export interface Read {
  readonly value: TileValue;
  /** Undefined: neither its registers nor shared memory serve the reader. */
  readonly from: "registers" | "shared" | undefined;
}

/** Tiles that a statement itself reads, not those inside it. */
export function readsOfPlan(plan: Plan, s: PlanStmt): readonly Read[] {
  const read = (v: TileValue, layout?: Layout): readonly Read[] => readsOfTile(plan, v, layout);
  switch (s.kind) {
    case "Compute":
      return readsOfOp(plan, s.op, s.layout);
    case "Stage":
      return s.op ? readsOfOp(plan, s.op, s.layout) : [{ value: s.value, from: "registers" }];
    case "Gemm":
      return [...read(s.op.a, s.plan.fragment), ...read(s.op.b), ...(s.op.acc ? read(s.op.acc, s.plan.layout) : [])];
    case "Reduce":
      return read(s.op.of, s.plan.layout);
    case "SerialReduce":
      return read(s.op.of);
    case "Scan":
      return s.op.of.axes.length === 1 ? read(s.op.of, s.layout) : read(s.op.of); // several axes: each element folds its own prefix
    case "Move":
      return read(s.from, s.layout);
    case "ToScalar":
      return read(s.of, { threads: [{ axis: null, size: plan.threads, stride: 0 }], registers: [] });
    case "Store":
      return [...read(s.of, s.layout), ...(s.keep ? read(s.keep, s.layout) : [])];
    case "HistogramAdd":
      return [...read(s.bin, s.layout), ...read(s.keep, s.layout)];
    case "BagAdd":
      return [...s.items, s.keep].flatMap((v) => read(v, s.layout));
    case "BitmapAdd":
      return [...read(s.position, s.layout), ...read(s.keep, s.layout)];
    case "AppendPush":
      return [...read(s.of, s.layout), ...read(s.keep, s.layout)];
    default:
      return [];
  }
}

/** `layout`: of the work that reads, where each thread reads its own elements. */
function readsOfTile(plan: Plan, value: TileValue, layout: Layout | undefined): readonly Read[] {
  const place = plan.places.get(value.id);
  if (!place) return [{ value, from: undefined }];
  if (place.kind === "Inline") return readsOfOp(plan, place.op, layout);
  const own = layout && place.layout && sameLayout(project(layout, axisNames(value)), place.layout);
  return [{ value, from: own ? "registers" : place.stage ? "shared" : undefined }];
}

function readsOfOp(plan: Plan, op: TileOp, layout?: Layout): readonly Read[] {
  const inputs = (under: Layout | undefined): readonly Read[] => inputsOf(op).flatMap((v) => readsOfTile(plan, v, under));
  switch (op.kind) {
    case "Map":
    case "Cast":
      return inputs(layout);
    case "Rename":
      return inputs(layout && renameAxes(layout, Object.fromEntries(Object.entries(op.axes).map(([from, to]) => [to, from]))));
    default:
      return inputs(undefined); // at positions that other threads hold
  }
}

/** Every statement, outer ones first. */
export function* planStatements(body: readonly PlanStmt[]): Generator<PlanStmt> {
  for (const s of body) {
    yield s;
    if (s.kind === "For") yield* planStatements(s.body);
    if (s.kind === "If") yield* planStatements([...s.then, ...s.otherwise]);
  }
}

/** Source place, label and kind of a statement, for messages. */
export function describeStmt(s: PlanStmt): string {
  const at = (loc: Loc, label: string): string => `${loc.file}:${loc.line} ${label}`;
  switch (s.kind) {
    case "Compute":
    case "Stage":
    case "Gemm":
    case "Reduce":
    case "Scan":
    case "Copy":
    case "Fetch":
    case "Await":
      return at(s.value.loc, `${s.value.label} (${s.kind})`);
    case "Move":
      return at(s.to.loc, `${s.to.label} (${s.kind})`);
    case "Let":
    case "ToScalar":
    case "AppendCount":
    case "SerialReduce":
    case "BagCount":
      return at(s.scalar.loc, `${s.scalar.name} (${s.kind})`);
    case "Fill":
    case "AwaitFull":
    case "Release":
      return `${s.pipe} (${s.kind})`;
    default:
      return at(s.loc, s.kind);
  }
}
