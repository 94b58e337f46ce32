/**
 * What must hold of a plan: one rule a statement kind, and the rules of places, layouts and shared memory. What is not refused here,
 * the lowering must get right.
 */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import { collectiveBuffers } from "./collectives.ts";
import { assemble, project, registerCount, sameLayout, threadCount, type Digit, type Layout, type PlacedDigit } from "./layout.ts";
import { computeType, productsOf, type GemmPlan, type Machine, type Plan, type PlanStmt, type Product, type ReducePlan, type Stage } from "./plan.ts";
import { describeStmt, planStatements, readsOfPlan } from "./plan_walk.ts";
import type { Axis, TileType, TileValue } from "./tile.ts";
import { VerifyError } from "./verify_error.ts";
import { verifyLifetimes } from "./verify_lifetimes.ts";
import { axisNames, definedTiles } from "./walk.ts";

interface Context {
  readonly plan: Plan;
  readonly machine: Machine;
}

/** A complaint, or nothing. */
type Verdict = string | undefined;
const unless = (holds: boolean, complaint: string): Verdict => (holds ? undefined : complaint);
const all = (...verdicts: readonly Verdict[]): Verdict => verdicts.find((v) => v !== undefined);

/** Throws a VerifyError that names the pass if the plan breaks a rule. */
export function verifyPlan(plan: Plan, machine: Machine, pass: string): void {
  const require = (where: string, verdict: Verdict): void => {
    if (verdict !== undefined) throw new VerifyError(pass, where, verdict);
  };
  const context = { plan, machine };
  require(plan.kernel.name, all(threadsRule(context), sharedRule(context)));
  for (const v of definedTiles(plan.kernel.body)) require(v.label, placeRule(v, context));
  require(plan.kernel.name, arraysRule(context));
  for (const s of planStatements(plan.body)) require(describeStmt(s), (rules[s.kind] as (s: PlanStmt, c: Context) => Verdict)(s, context));
  verifyLifetimes(plan, pass);
}

const none = (): Verdict => undefined;

/** Rules of statements; what they read is checked by verifyLifetimes. */
const rules: { readonly [K in PlanStmt["kind"]]: (s: Extract<PlanStmt, { kind: K }>, c: Context) => Verdict } = {
  Compute: (s, c) => livesUnder(s.value, s.layout, c),
  Stage: (s, c) => unless(stageOf(s.value, c) === s.stage, "it is staged elsewhere than its place says"),
  Copy: (s, c) => unless(stageOf(s.value, c) === s.stage && s.stage.tiling !== undefined, "it is copied elsewhere than its place says"),
  Fetch: (s, c) => all(livesUnder(s.value, s.layout, c), unless(stageOf(s.value, c) === s.stage, "it is fetched from elsewhere than its place says")),
  Await: none,
  SerialReduce: none,
  Fill: none,
  AwaitFull: none,
  HandOver: none,
  AwaitMade: none,
  Release: none,
  Gemm: (s, c) => all(...productsOf(s).flatMap((p) => [livesUnder(p.value, p.plan.layout, c), gemmRule(p, c)]), s.follower && followerRule(s, s.follower, c)),
  Pack: none,
  Reduce: (s, c) =>
    all(
      layoutRule(s.plan.layout, s.op.of.axes, [c.plan.threads]),
      livesUnder(s.value, s.layout, c),
      unless(sameLayout(s.layout, project(s.plan.layout, axisNames(s.value))), "its layout is not what its operand's leaves"),
      joinRule(s.plan, s.op.over, c.machine),
      inPlaceRule(s, c),
    ),
  Scan: (s, c) => all(livesUnder(s.value, s.layout, c), s.op.of.axes.length === 1 ? orderRule(s.layout) : undefined, inPlaceRule(s, c)),
  Move: (s, c) => all(livesUnder(s.to, s.layout, c), livesUnder(s.from, s.layout, c), unless(computeType(s.to.dtype) === computeType(s.from.dtype), `it turns ${s.from.dtype} into ${s.to.dtype}`)),
  For: (s) => unless(s.step > 0 && Number.isInteger(s.step), `step ${s.step}`),
  If: (s) => unless(s.cond.type === "bool", `its condition is ${s.cond.type}`),
  Store: (s, c) => layoutRule(s.layout, s.of.axes, [c.plan.threads]),
  HistogramAdd: (s, c) => layoutRule(s.layout, s.bin.axes, [c.plan.threads]),
  AppendPush: (s, c) => all(layoutRule(s.layout, s.of.axes, [c.plan.threads]), orderRule(s.layout)),
  BagAdd: (s, c) => layoutRule(s.layout, s.keep.axes, [c.plan.threads]),
  BitmapAdd: (s, c) => layoutRule(s.layout, s.position.axes, [c.plan.threads]),
  Let: none,
  ToScalar: none,
  Bag: none,
  BagCount: none,
  Bitmap: none,
  AppendMarked: none,
  Histogram: none,
  HistogramFind: none,
  Append: none,
  AppendFill: none,
  AppendCount: none,
  OpenBags: none,
  Collect: none,
  Dismiss: none,
};

const threadsRule = ({ plan: { threads }, machine }: Context): Verdict =>
  unless(Number.isInteger(Math.log2(threads)) && threads <= machine.maxThreads, `${threads} threads: not a power of two of at most ${machine.maxThreads}`);

/** Stages and collections fit the block's shared memory. */
function sharedRule({ plan, machine }: Context): Verdict {
  const stages = [...plan.places.values()].flatMap((p) => (p.kind === "Stored" && p.stage ? [p.stage] : []));
  const collections = collectiveBuffers(plan.kernel.body, false).buffers.reduce((n, c) => n + 4 * c.elements, 0);
  const bytes = stages.reduce((n, s) => (s.behind ? n : n + s.elements * byteSize(s.dtype)), collections);
  return all(
    unless(new Set(stages.map((s) => s.buffer)).size === stages.length, "two stages have one name"),
    unless(bytes <= machine.maxSharedBytes, `${bytes} bytes of shared memory of ${machine.maxSharedBytes}`),
  );
}

function placeRule(v: TileValue, { plan }: Context): Verdict {
  const place = plan.places.get(v.id);
  if (!place) return "it has no place";
  if (place.kind === "Inline") return undefined;
  return all(
    unless(place.layout !== undefined || place.stage !== undefined, "it is stored nowhere"),
    place.layout && layoutRule(place.layout, v.axes, threadsOf(plan)),
    place.stage && stageRule(v, place.stage),
  );
}

/** Threads of the roles that run layouts. */
const threadsOf = ({ threads, makers }: Plan): readonly number[] => (makers === undefined || makers === threads ? [threads] : [threads, makers]);

/** Every thread has a part, and every element has a register of one thread, or of several threads that are declared copies. */
function layoutRule(l: Layout, axes: readonly Axis[], threads: readonly number[]): Verdict {
  const digits = [...l.threads, ...l.registers];
  return all(
    unless(threads.includes(threadCount(l)), `its layout has ${threadCount(l)} threads of ${threads.join(" or ")}`),
    unless(digits.every((d) => d.axis === null || axes.some((a) => a.name === d.axis)), "its layout has an axis that it lacks"),
    unless(l.registers.every((d) => d.axis !== null), "a thread holds an element twice"),
    ...axes.map((a) => unless(reach(digits.filter((d) => d.axis === a.name)) >= a.extent, `its layout does not hold every position along ${a.name}`)),
  );
}

/** How many positions the digits of one axis reach, each in one way; 0 if they leave gaps or overlap. */
function reach(digits: readonly Digit[]): number {
  const sorted = digits.filter((d) => d.size > 1).sort((a, b) => a.stride - b.stride);
  return sorted.reduce((n, d) => (d.stride === n ? n * d.size : 0), 1);
}

/** Which dtypes hold the values of others. */
const holds: Readonly<Record<TileType, readonly DType[]>> = {
  bool: ["u32"],
  e4m3: ["e4m3", "bf16", "f16", "f32"],
  e5m2: ["e5m2", "bf16", "f16", "f32"],
  ue8m0: ["ue8m0", "f32"],
  f16: ["f16", "f32"],
  bf16: ["bf16", "f32"],
  f32: ["f32"],
  i32: ["i32"],
  u32: ["u32"],
};

/** Different positions of the tile lie at different elements of the buffer. */
function stageRule(v: TileValue, s: Stage): Verdict {
  if (s.tiling) return tilingRule(v, s);
  const axes = [...s.axes].sort((a, b) => a.stride - b.stride);
  let span = 0; // the largest offset of the axes so far
  for (const a of axes.filter((x) => x.extent > 1)) {
    if (a.stride <= span) return `positions along ${a.name} of its stage overlap`;
    span += (a.extent - 1) * a.stride;
  }
  return all(
    unless(s.axes.length === v.axes.length && s.axes.every((a, i) => a.name === v.axes[i]!.name && a.extent === v.axes[i]!.extent), "its stage has other axes"),
    unless(span < s.elements, `its stage has ${s.elements} elements, position ${span} is beyond`),
    unless(holds[v.dtype].includes(s.dtype), `a ${v.dtype} is not exact in a stage of ${s.dtype}`),
  );
}

/** The box holds every position, each once. */
const tilingRule = (v: TileValue, s: Stage): Verdict =>
  all(
    ...v.axes.map((a) => unless(reach(s.tiling!.digits.filter((d) => d.axis === a.name)) >= a.extent, `its box does not hold every position along ${a.name}`)),
    unless(s.tiling!.digits.reduce((n, d) => n * d.size, 1) <= s.elements, "its box is larger than its slot"),
    unless(v.dtype === s.dtype, `nobody turns ${v.dtype} into ${s.dtype}`),
  );

const stageOf = (v: TileValue, { plan }: Context): Stage | undefined => {
  const place = plan.places.get(v.id);
  return place?.kind === "Stored" ? place.stage : undefined;
};

/** Of a tile, or of the one that it is cut from. */
const slotOf = (v: TileValue, c: Context): Stage | undefined => {
  const place = c.plan.places.get(v.id);
  return place?.kind === "Inline" && place.op.kind === "Slice" ? slotOf(place.op.of, c) : stageOf(v, c);
};

function livesUnder(v: TileValue, layout: Layout, { plan }: Context): Verdict {
  const place = plan.places.get(v.id);
  const own = place?.kind === "Stored" ? place.layout : undefined;
  return all(
    unless(own !== undefined && sameLayout(own, layout), `${v.label} lies under another layout than it is computed in`),
    unless(plan.registers.has(v.id), `${v.label} has no register array`),
  );
}

/** Tiles of one register array agree in registers and type. */
function arraysRule({ plan }: Context): Verdict {
  const first = new Map<string, TileValue>();
  const registersOf = (v: TileValue): number => {
    const place = plan.places.get(v.id);
    return place?.kind === "Stored" && place.layout ? registerCount(place.layout) : 0;
  };
  for (const v of definedTiles(plan.kernel.body)) {
    const array = plan.registers.get(v.id);
    if (array === undefined) continue;
    const other = first.get(array) ?? v;
    first.set(array, other);
    if (registersOf(other) !== registersOf(v)) return `${v.label} and ${other.label} share ${array}, with ${registersOf(v)} and ${registersOf(other)} registers`;
    if (computeType(other.dtype) !== computeType(v.dtype)) return `${v.label} and ${other.label} share ${array}, as ${v.dtype} and ${other.dtype}`;
  }
  return undefined;
}

/** Results of a reduction or scan are written while the operand is still read. */
function inPlaceRule(s: Extract<PlanStmt, { kind: "Reduce" | "Scan" }>, { plan }: Context): Verdict {
  const own = plan.registers.get(s.value.id);
  return unless(!readsOfPlan(plan, s).some((r) => r.from === "registers" && plan.registers.get(r.value.id) === own), "it overwrites its operand");
}

/** Thread bits along the reduced axes are joined once each, by a shuffle or through shared memory; no others are. */
function joinRule({ layout, shuffles, joins }: ReducePlan, over: readonly string[], machine: Machine): Verdict {
  const wanted: number[] = [];
  let below = 1;
  for (const d of layout.threads) {
    for (let bit = 1; bit < d.size; bit *= 2) if (d.axis !== null && over.includes(d.axis)) wanted.push(below * bit);
    below *= d.size;
  }
  const joined = [...shuffles, ...joins.flatMap((j) => Array.from({ length: Math.log2(j.size) }, (_, i) => j.stride * 2 ** i))].sort((a, b) => a - b);
  return all(
    unless(joined.length === wanted.length && joined.every((bit, i) => bit === wanted[i]), `it joins threads ${joined.join(", ")} apart, not ${wanted.join(", ")}`),
    unless(shuffles.every((mask) => mask < machine.warp) && (shuffles.length === 0 || machine.instructions.has("shuffleXor")), "the machine has no such shuffle"),
  );
}

/** Consecutive elements in a thread, then across threads, then the next stretch; copies are the slowest threads. */
function orderRule(l: Layout): Verdict {
  const own = l.registers.filter((d, i) => i === 0 && d.stride === 1);
  const threads = l.threads.filter((d) => d.axis !== null);
  const order = [...own, ...threads, ...l.registers.slice(own.length)];
  let next = 1;
  const ascending = order.every((d) => {
    const fits = d.stride === next;
    next *= d.size;
    return fits;
  });
  return all(
    unless(ascending, "its elements do not lie in order over threads and registers"),
    unless(l.threads.slice(0, threads.length).every((d) => d.axis !== null), "its threads are not the lowest ones"),
  );
}

/** Slots of an m16n8 accumulator, in bits: of its rows and of its columns. */
const fragment = { rows: { row: 8, half: 2 }, columns: { pair: 2, quad: 4 } } as const;

/** The rows of both second operands lie in one slot, one behind the other. */
function followerRule(s: Product, follower: Product, c: Context): Verdict {
  const [slot, own] = [stageOf(s.op.b, c), stageOf(follower.op.b, c)];
  return all(
    unless(s.plan.atom === "wgmma" && follower.plan.atom === "wgmma", `${follower.value.label} goes along with a product that is not by wgmma`),
    unless(s.op.a.id === follower.op.a.id && !s.op.acc && !follower.op.acc, `${follower.value.label} goes along with a product of another operand, or one of them adds to a sum`),
    unless(own?.behind?.value.id === s.op.b.id && own.behind.at === boxOf(slot) && own.tiling?.swizzle === slot?.tiling?.swizzle, `${follower.op.b.label} does not lie right behind ${s.op.b.label}`),
    unless(slot !== undefined && own !== undefined && boxOf(slot) + boxOf(own) <= slot.elements, `the slot of ${s.op.b.label} has no room for ${follower.op.b.label}`),
  );
}
/** Elements of a stage with a tiling. */
const boxOf = (s: Stage | undefined): number => s?.tiling?.digits.reduce((n, d) => n * d.size, 1) ?? 0;

function gemmRule(s: Product, c: Context): Verdict {
  const { plan, op } = s;
  const lies = unless(sameLayout(plan.layout, assemble([...plan.columns, ...plan.rows], c.plan.threads)), "its result does not lie as its rows and columns say");
  if (plan.atom === "fma") return lies;
  if (plan.atom === "wgmma")
    return all(lies, ...[op.a, op.b].filter((v) => v !== op.a || slotOf(v, c)).map((v) => unless(slotOf(v, c)?.tiling?.major !== undefined, `wgmma reads ${v.label}, which does not lie as it wants it`)));
  const depth = op.a.axes.reduce((n, a) => (op.over.includes(a.name) ? n * a.extent : n), 1);
  const size = (digits: readonly PlacedDigit[], slot: string): number => digits.reduce((n, d) => (d.slot === slot ? n * d.size : n), 1);
  return all(
    unless(c.machine.instructions.has(plan.atom), `${c.machine.name} has no ${plan.atom}`),
    unless(depth % 16 === 0, `${plan.atom} contracts 16 at a time, not ${depth}`),
    ...Object.entries(fragment).flatMap(([side, slots]) => Object.entries(slots).map(([slot, n]) => unless(size(plan[side as "rows" | "columns"], slot) === n, `${plan.atom} has no ${slot} of ${n}`))),
    unless(size(plan.rows, "warpRow") * size(plan.columns, "warpColumn") * c.machine.warp === c.plan.threads, "its warps do not cover its tile"),
    lies,
    ...[op.a, op.b].map((v) => operandRule(v, plan, c)),
  );
}

/** ldmatrix reads eight 16-bit elements from an address that is a multiple of 16 bytes. */
function operandRule(v: TileValue, plan: GemmPlan, c: Context): Verdict {
  const place = c.plan.places.get(v.id);
  if (place?.kind === "Inline" && place.op.kind === "Rename") return operandRule(place.op.of, plan, c);
  if (place?.kind === "Inline" && place.op.kind === "Slice") {
    const { of, axis, start } = place.op;
    const stride = sourceStride(of, axis, c);
    return all(operandRule(of, plan, c), unless(stride !== undefined && (stride * start) % 8 === 0, `${plan.atom} cannot read ${v.label}, which starts at ${start} along ${axis}`));
  }
  const stage = stageOf(v, c);
  if (!stage) return `${plan.atom} reads ${v.label}, which is not in shared memory`;
  const rows = stage.axes.filter((a, i) => a.stride !== stage.axes.slice(i + 1).reduce((n, x) => n * x.extent, 1));
  return all(
    unless(plan.atom.endsWith(`.${stage.dtype}`), `${plan.atom} reads ${v.label} as ${stage.dtype}`),
    ...rows.map((a) => unless(a.stride % 8 === 0, `rows of ${v.label} along ${a.name} are not aligned to 16 bytes`)),
  );
}

/** Elements between neighbours along an axis of what is staged behind slices and renames. */
function sourceStride(v: TileValue, axis: string, c: Context): number | undefined {
  const place = c.plan.places.get(v.id);
  if (place?.kind === "Inline" && place.op.kind === "Slice") return sourceStride(place.op.of, axis, c);
  if (place?.kind === "Inline" && place.op.kind === "Rename") return sourceStride(place.op.of, Object.entries(place.op.axes).find(([, to]) => to === axis)?.[0] ?? axis, c);
  return stageOf(v, c)?.axes.find((a) => a.name === axis)?.stride;
}
