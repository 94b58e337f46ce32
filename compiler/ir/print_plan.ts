/** Plan IR as text: who holds what, and what happens in which order. The level to read to understand a kernel. */
import { byteSize } from "../../dsl/dtype.ts";
import { printLayout } from "./layout.ts";
import { productsOf, type Persistence, type Plan, type PlanStmt, type ReducePlan, type Stage } from "./plan.ts";
import { margin, printExpr, printTileStmt, printGrid, printInterface, printLoc, printOp, printView, typed } from "./print_tile.ts";
import type { Loc, TileValue } from "./tile.ts";
import { definedTiles } from "./walk.ts";

/** The whole plan: params, the place of every tile, the tiles that share registers, the statements with their TypeScript lines. */
export function printPlan(plan: Plan): string {
  const { kernel } = plan;
  const lines = [
    `plan ${kernel.name}, ${plan.threads} threads${plan.cluster ? `, clusters of ${plan.cluster} blocks` : ""}  // ${kernel.loc.file}:${kernel.loc.line}`,
    ...printInterface(kernel),
    ...printGrid(kernel.grid),
    "places",
    ...[...definedTiles(kernel.body)].flatMap((v) => printPlace(plan, v)),
    ...printShared(plan),
    ...(plan.pipes ?? []).map((p) => `pipe ${p.name}: ${p.depth} slots of ${p.values.map((v) => v.label).join(", ")}${p.made.length > 0 ? `, of which ${p.made.map((v) => v.label).join(", ")} is made` : ""}${p.header.length > 0 ? `, with ${p.header.map((v) => v.name).join(", ")}` : ""}`),
    ...(plan.persistence ? [printPersistence(plan.persistence), ...(plan.persistence.kind === "even" ? plan.persistence.scalars.flatMap((s) => printStmt(s, "  ", kernel.loc.file)) : [])] : []),
    ...(plan.roles ?? []).flatMap((r) => [
      `role ${r.name}, ${r.warps} warps${r.copies > 1 ? ` in ${r.copies} copies` : ""}${r.registers ? `, ${r.registers} registers a thread` : ""}`,
      ...r.body.flatMap((s) => printStmt(s, "  ", kernel.loc.file)),
    ]),
    ...(plan.roles ? [] : ["body"]),
    ...plan.body.flatMap((s) => printStmt(s, "  ", kernel.loc.file)),
  ];
  return `${lines.join("\n")}\n`;
}

/** Nothing for a tile that no statement needs. */
function printPlace(plan: Plan, v: TileValue): readonly string[] {
  const place = plan.places.get(v.id);
  if (!place) return [];
  if (place.kind === "Inline") return [`  ${typed(v)} inline, ${printOp(place.op)}`];
  const registers = place.layout ? [`registers ${plan.registers.get(v.id) ?? v.label}, ${printLayout(place.layout)}`] : [];
  const shared = place.stage ? [`shared ${printStage(place.stage)}`] : [];
  const [first = "nowhere", ...more] = [...registers, ...shared];
  return [`  ${typed(v)} in ${first}`, ...more.map((at) => `    and in ${at}`)];
}

const printStage = (s: Stage): string =>
  s.tiling
    ? `${s.behind ? `the slot of ${s.behind.value.label} from ${s.behind.at} on` : s.buffer}, ${s.dtype}, ${s.tiling.digits.map((d) => `${d.axis} ${d.size} by ${d.stride}`).join(", ")}${s.tiling.swizzle > 0 ? `, swizzle ${s.tiling.swizzle}` : ""}, ${s.elements * byteSize(s.dtype)} bytes`
    : `${s.buffer}, ${s.dtype}[${s.axes.map((a) => `${a.name} ${a.extent} by ${a.stride}`).join(", ")}], ${s.elements * byteSize(s.dtype)} bytes`;

const printPersistence = (p: Persistence): string =>
  p.kind === "strided"
    ? "every block takes a work item of each round, every second round backwards"
    : `every block takes an equal share of the iterations ${p.index} = ${printExpr(p.lo)} to ${printExpr(p.hi)} step ${p.step} of all work items; n of them cost max(n + ${p.padding}, ${p.least})`;

/** Register arrays that hold more than one tile. */
function printShared(plan: Plan): readonly string[] {
  const holders = new Map<string, string[]>();
  for (const v of definedTiles(plan.kernel.body)) {
    const array = plan.registers.get(v.id);
    if (array !== undefined) holders.set(array, [...(holders.get(array) ?? []), v.label]);
  }
  const several = [...holders].filter(([, labels]) => labels.length > 1);
  return several.length === 0 ? [] : ["registers shared", ...several.map(([array, labels]) => `  ${array}: ${labels.join(", ")}`)];
}

function printJoin({ shuffles, joins }: ReducePlan): string {
  const lanes = shuffles.length > 0 ? [`lanes xor ${shuffles.join(", ")}`] : [];
  const shared = joins.map((j) => `shared memory, ${j.size} threads ${j.stride} apart`);
  return [...lanes, ...shared].map((by) => `, joined by ${by}`).join("");
}

/** `file` is the kernel's. */
function printStmt(s: PlanStmt, indent: string, file: string): readonly string[] {
  const line = (text: string, at?: Loc): string => (at === undefined ? indent + text : `${(indent + text).padEnd(margin)} // ${printLoc(at, file)}`);
  const block = (body: readonly PlanStmt[]): readonly string[] => body.flatMap((b) => printStmt(b, `${indent}  `, file));
  switch (s.kind) {
    case "Compute":
      return [line(`compute ${typed(s.value)} = ${printOp(s.op)}`, s.value.loc)];
    case "Stage":
      return [line(`stage ${typed(s.value)} = ${s.op ? printOp(s.op) : "its registers"}`, s.value.loc)];
    case "Copy":
      return [line(`copy ${typed(s.value)} = ${printOp(s.op)}${s.by === "cpAsync" ? ", by all threads" : ""}${s.evictFirst ? ", evict first" : ""}`, s.value.loc)];
    case "Fetch":
      return [line(`fetch ${typed(s.value)} from its slot${s.words ? ", in words" : ""}`, s.value.loc)];
    case "Await":
      return [line(`await ${s.value.label}${s.parts > 1 ? ` part ${s.part} of ${s.parts}` : ""}${s.pending > 0 ? `, ${s.pending} later groups under way` : ""}${s.last ? ", behind what stands before" : ""}`)];
    case "SerialReduce":
      return [line(`${s.scalar.name}: ${s.scalar.type} = ${printOp(s.op)}, by one thread`, s.scalar.loc)];
    case "Fill":
      return [line(`fill a slot of ${s.pipe}`), ...block(s.copies)];
    case "AwaitFull":
      return [line(`await a full slot of ${s.pipe}`)];
    case "HandOver":
      return [line(`hand over what is made in the slot of ${s.pipe}`)];
    case "AwaitMade":
      return [line(`await what is made in a slot of ${s.pipe}`)];
    case "Release":
      return [line(`release the slot of ${s.pipe}`)];
    case "Gemm":
      return productsOf(s).flatMap(({ value, op, plan }) => [
        line(`${typed(value)} = ${printOp(op)}, by ${plan.atom}${value === s.value ? "" : ` with the last columns of ${s.value.label}`}${(plan.parts ?? 1) > 1 ? ` in ${plan.parts} parts` : ""}`, value.loc),
        line(`  over ${printLayout(plan.layout)}`),
      ]);
    case "Pack":
      return [line(`pack ${s.of.op.a.label} for ${s.of.value.label}`, s.of.value.loc)];
    case "Reduce":
      return [line(`reduce ${typed(s.value)} = ${printOp(s.op)}${s.part ? `, part ${s.part.index} of ${s.part.count}` : ""}${printJoin(s.plan)}`, s.value.loc), line(`  over ${printLayout(s.plan.layout)}`)];
    case "Scan":
      return [line(`${typed(s.value)} = ${printOp(s.op)}`, s.value.loc)];
    case "Move":
      return [line(`move ${typed(s.to)} = ${s.from.label}`)];
    case "For":
      return [
        line(`for ${s.index.name} = ${printExpr(s.lo)} to ${printExpr(s.hi)} step ${s.step}`, s.loc),
        ...s.scalars.map((c) => line(`  carry ${c.param.name}: ${c.param.type} from ${c.init.name}`)),
        ...(s.late ? [line("  the first turn"), ...block(s.late.first).map((text) => `  ${text}`), line("  the others")] : []),
        ...block(s.body).map((text) => (s.late ? `  ${text}` : text)),
        ...(s.late ? [line("  behind the last turn"), ...block(s.late.rest).map((text) => `  ${text}`)] : []),
        ...s.scalars.map((c) => line(`  next ${c.param.name} = ${c.next.name}, at last ${c.result.name}`)),
      ];
    case "If":
      return [
        line(`if ${printExpr(s.cond)}`, s.loc),
        ...block(s.then),
        ...(s.otherwise.length > 0 ? [line("else"), ...block(s.otherwise)] : []),
        ...s.scalars.map((m) => line(`  ${m.result.name}: ${m.result.type} = ${m.then.name} or ${m.otherwise.name}`)),
      ];
    case "OpenBags":
      return [line("the bags are open to the cluster", s.loc)];
    case "Collect":
      return [line(`the leader collects ${s.bags.join(", ")} and goes on alone`, s.loc)];
    case "Dismiss":
      return [line("the leader goes on alone", s.loc)];
    case "Let":
      return [line(`${s.scalar.name}: ${s.scalar.type} = ${printExpr(s.expr)}`, s.scalar.loc)];
    case "ToScalar":
      return [line(`${s.scalar.name}: ${s.scalar.type} = scalar ${s.of.label}`, s.scalar.loc)];
    case "Store":
      return [line(`store ${printView(s.view)} = ${s.of.label}${s.keep ? ` where ${s.keep.label}` : ""}`, s.loc), line(`  over ${printLayout(s.layout)}`)];
    case "Histogram":
      return [line(`histogram ${s.name} of ${s.bins}`, s.loc)];
    case "HistogramAdd":
      return [line(`${s.histogram}.add ${s.bin.label} where ${s.keep.label}`, s.loc), line(`  over ${printLayout(s.layout)}`)];
    case "HistogramFind":
      return [line(`${s.bin.name}, ${s.above.name}, ${s.inBin.name} = ${s.histogram}.find ${printExpr(s.want)}`, s.loc)];
    case "BagAdd":
      return [line(`${s.bag}.add ${s.items.map((v) => v.label).join(", ")} where ${s.keep.label}`, s.loc), line(`  over ${printLayout(s.layout)}`)];
    case "BitmapAdd":
      return [line(`${s.bitmap}.add ${s.position.label} where ${s.keep.label}`, s.loc), line(`  over ${printLayout(s.layout)}`)];
    case "Bag":
    case "BagCount":
    case "Bitmap":
    case "AppendMarked":
      return printTileStmt(s, indent, file);
    case "Append":
      return [line(`append ${s.name} to ${printView(s.view)}`, s.loc)];
    case "AppendPush":
      return [line(`${s.append}.push ${s.of.label} where ${s.keep.label}`, s.loc), line(`  over ${printLayout(s.layout)}`)];
    case "AppendFill":
      return [line(`${s.append}.fill ${printExpr(s.value)}`, s.loc)];
    case "AppendCount":
      return [line(`${s.scalar.name}: i32 = ${s.append}.count`, s.scalar.loc)];
  }
}
