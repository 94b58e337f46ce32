/** Traversals of a plan: its statements, and what evaluating them reads, through what is inline. */
import { childrenOf, type Expr } from "./expr.ts";
import { project, renameAxes, sameLayout, type Layout } from "./layout.ts";
import { productsOf, type Pipe, type Plan, type PlanStmt } from "./plan.ts";
import type { Loc, TileOp, TileValue, TileView } from "./tile.ts";
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
      return productsOf(s).flatMap(({ op, plan: { fragment, layout } }) => [...(s.isPacked ? [] : read(op.a, fragment)), ...read(op.b), ...(op.acc ? read(op.acc, layout) : [])]);
    case "Pack":
      return read(s.of.op.a, s.of.plan.fragment);
    case "Copy":
      return readsOfOp(plan, s.op);
    case "Fill":
      return s.copies.flatMap((c) => readsOfOp(plan, c.op));
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
    case "AppendMarked":
      return read(s.of); // at any position
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

export function namesIn(e: Expr): string[] {
  return e.kind === "Var" ? [e.name] : childrenOf(e).flatMap(namesIn);
}
/** Scalars that a statement itself reads, through what is inline. */
export function namesOfStmt(plan: Plan, s: PlanStmt): string[] {
  const ofView = (view: TileView): string[] => view.coords.flatMap((c) => namesIn(c.kind === "Index" ? c.at : c.start));
  const ofTile = (v: TileValue): string[] => {
    const place = plan.places.get(v.id);
    return place?.kind === "Inline" ? ofOp(place.op) : [];
  };
  const ofOp = (op: TileOp): string[] => {
    const own = op.kind === "Load" ? [...ofView(op.view), ...namesIn(op.fill)] : op.kind === "Gather" ? ofView(op.view) : op.kind === "Full" ? namesIn(op.value) : op.kind === "Iota" ? namesIn(op.start) : op.kind === "Map" ? namesIn(op.body).filter((n) => !op.params.includes(n)) : [];
    return [...own, ...inputsOf(op).flatMap(ofTile)];
  };
  switch (s.kind) {
    case "Let":
      return namesIn(s.expr);
    case "For":
      return [...namesIn(s.lo), ...namesIn(s.hi), ...s.scalars.flatMap((c) => [c.init.name, c.next.name])];
    case "If":
      return [...namesIn(s.cond), ...s.scalars.flatMap((m) => [m.then.name, m.otherwise.name])];
    case "Store":
      return [...ofView(s.view), ...ofTile(s.of), ...(s.keep ? ofTile(s.keep) : [])];
    case "ToScalar":
      return ofTile(s.of);
    case "Move":
      return ofTile(s.from);
    case "HistogramAdd":
      return [...ofTile(s.bin), ...ofTile(s.keep)];
    case "AppendPush":
      return [...ofTile(s.of), ...ofTile(s.keep)];
    case "BagAdd":
      return [...s.items, s.keep].flatMap(ofTile);
    case "BitmapAdd":
      return [...ofTile(s.position), ...ofTile(s.keep)];
    case "AppendMarked":
      return [...ofTile(s.of), ...namesIn(s.limit)];
    case "HistogramFind":
      return namesIn(s.want);
    case "AppendFill":
      return namesIn(s.value);
    case "Append":
      return ofView(s.view);
    case "Fill":
      return s.copies.flatMap((c) => ofOp(c.op));
    case "Gemm":
      return productsOf(s).flatMap((p) => ofOp(p.op));
    case "Copy":
    case "Compute":
    case "Reduce":
    case "Scan":
    case "SerialReduce":
      return ofOp(s.op);
    case "Stage":
      return s.op ? ofOp(s.op) : [];
    default:
      return [];
  }
}

/** The tile whose slot holds a tile that lies behind another; a tile by itself otherwise. */
export function slotTile(plan: Plan, id: number): number {
  const place = plan.places.get(id);
  return place?.kind === "Stored" && place.stage?.behind ? place.stage.behind.value.id : id;
}
/** Names of the pipes whose slots hold tiles, by value id: those that are brought or made there, and those that are computed behind them. */
export function pipesOfTiles(plan: Plan): ReadonlyMap<number, string> {
  const travelling = new Map((plan.pipes ?? []).flatMap((p) => tilesOf(p).map((v) => [v.id, p.name] as const)));
  return new Map([...plan.places.keys()].flatMap((id) => {
    const pipe = travelling.get(slotTile(plan, id));
    return pipe === undefined ? [] : [[id, pipe] as const];
  }));
}

/** The copies that fill a slot of a pipe. */
export const fillOf = (plan: Plan, pipe: string): readonly Extract<PlanStmt, { kind: "Copy" }>[] =>
  (plan.roles ?? []).flatMap((r) => [...planStatements(r.body)]).flatMap((s) => (s.kind === "Fill" && s.pipe === pipe ? s.copies : []));

/** Tiles that have a place of their own in each slot. */
export const tilesOf = (pipe: Pipe): readonly TileValue[] => [...pipe.values, ...pipe.made];

/** Every statement, outer ones first; those of a loop in one of its turns. */
export function* planStatements(body: readonly PlanStmt[]): Generator<PlanStmt> {
  for (const s of body) {
    yield s;
    if (s.kind === "For") yield* planStatements(s.body);
    if (s.kind === "If") yield* planStatements([...s.then, ...s.otherwise]);
  }
}

/** Registers of a packed operand. */
export const packedName = ({ op }: Extract<PlanStmt, { kind: "Gemm" }>): string => `${op.a.label} packed`;

/** Register arrays that a statement itself writes. */
export function arraysWritten(plan: Plan, s: PlanStmt): readonly string[] {
  const arrayOf = (v: TileValue): readonly string[] => [plan.registers.get(v.id) ?? []].flat();
  if (s.kind === "Pack") return [packedName(s.of)];
  if (s.kind === "Move") return arrayOf(s.to);
  if (s.kind === "Gemm") return productsOf(s).flatMap((p) => arrayOf(p.value));
  return s.kind === "Compute" || s.kind === "Reduce" || s.kind === "Scan" || s.kind === "Fetch" ? arrayOf(s.value) : [];
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
    case "Pack":
      return at(s.of.value.loc, `${s.of.op.a.label} (${s.kind})`);
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
    case "HandOver":
    case "AwaitMade":
    case "Release":
      return `${s.pipe} (${s.kind})`;
    default:
      return at(s.loc, s.kind);
  }
}
