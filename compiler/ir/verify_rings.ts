/**
 * The barriers of a lowered ring count what its plan makes happen: one announcement a fill with the bytes of its copies by TMA, one arrival of each
 * thread behind its own copies, one arrival of each warp that hands over what it made in a slot, one of each that releases it. Together with the trips of
 * the plan (verify_trips.ts), every phase then ends, and no phase ends early. What threads copied is made visible to the matrix units where they wait for it,
 * what they made where they hand it over.
 */
import { byteSize } from "../../dsl/dtype.ts";
import { RUN_COPY } from "./instruction.ts";
import { bodiesOf, type LoopKernel, type LoopStmt } from "./loop.ts";
import type { Pipe, Plan, PlanStmt, Role } from "./plan.ts";
import { fillOf, planStatements } from "./plan_walk.ts";
import { VerifyError } from "./verify_error.ts";

type Call = Extract<LoopStmt, { kind: "Call" }>;

/** Throws a VerifyError that names the pass if the rings of `kernel` are not those of `plan`, which it was lowered from. */
export function verifyRings(plan: Plan, kernel: LoopKernel, pass: string): void {
  for (const pipe of plan.pipes ?? []) {
    const complaint = complaintOf(plan, pipe, kernel);
    if (complaint !== undefined) throw new VerifyError(pass, pipe.name, complaint);
  }
}

function complaintOf(plan: Plan, pipe: Pipe, kernel: LoopKernel): string | undefined {
  const ring = kernel.pipes.find((p) => p.name === pipe.name);
  if (!ring || ring.depth !== pipe.depth) return `it has ${ring?.depth ?? "no"} slots, not ${pipe.depth}`;
  const arrivalsOf = (name: string): number | undefined => kernel.barriers.find((b) => b.name === name)?.arrivals;
  const copies = fillOf(plan, pipe.name);
  const byThreads = copies.filter((c) => c.by === "cpAsync");
  const announced = pipe.header.length > 0 || byThreads.length < copies.length ? 1 : 0;
  const threads = byThreads.length > 0 ? fillingThreads(plan, pipe) : 0;
  const warps = (kind: "HandOver" | "Release"): number => (plan.roles ?? []).reduce((n, r) => n + warpsAt(kind, plan, r, pipe), 0);
  const [makers, readers] = [warps("HandOver"), warps("Release")];
  if (arrivalsOf(ring.full) !== threads + announced) return `its full barrier counts ${arrivalsOf(ring.full)} arrivals, ${threads > 0 ? `${threads} threads copy` : "one thread fills a slot"}${threads * announced > 0 ? " and one announces" : ""}`;
  if (arrivalsOf(ring.empty) !== readers) return `its empty barrier counts ${arrivalsOf(ring.empty)} arrivals, ${readers} warps release a slot`;
  if ((ring.made === undefined ? 0 : arrivalsOf(ring.made)) !== makers) return `its made barrier counts ${ring.made === undefined ? "no" : arrivalsOf(ring.made)} arrivals, ${makers} warps make tiles of a slot`;
  if (ring.made !== undefined && arrivesUnfenced(kernel.body, ring.made)) return "tiles are handed over, and no fenceProxyAsync stands in front of it";
  const boxes = copies.filter((c) => c.by === "tma").map((c) => c.stage.tiling!.digits.reduce((n, d) => n * d.size, byteSize(c.stage.dtype)));
  const bytes = boxes.reduce((a, b) => a + b, 0);
  for (const { announced, brought } of announcements(kernel.body, ring.full, kernel)) {
    if (announced !== brought) return `${announced} bytes are announced, its copies bring ${brought}`;
    if (brought !== bytes && brought !== 0) return `a fill brings ${brought} bytes of ${bytes}`;
  }
  const fills = behindWaits(kernel.body, ring.empty);
  if (fills.length === 0) return "nothing fills its slots";
  const multiplied = byThreads.some((c) => c.stage.tiling!.major);
  return fills.map((fill) => complaintOfFill(fill, ring, threads > 0, announced)).find((c) => c !== undefined) ?? (multiplied ? complaintOfWaits(kernel, ring) : undefined);
}

/** Threads of the copy of a role that fills a slot. */
const fillingThreads = (plan: Plan, { name }: Pipe): number =>
  (plan.roles ?? []).reduce((n, r) => n + ([...planStatements(r.body)].some((s) => s.kind === "Fill" && s.pipe === name) ? (WARP * r.warps) / r.copies : 0), 0);
const WARP = 32;

/** What stands in a list around each wait for a barrier: in front of the first one, and behind each up to the next; loops and branches with waits of their own count for themselves. */
interface Behind {
  readonly before: readonly LoopStmt[];
  readonly after: readonly LoopStmt[];
}
function behindWaits(list: readonly LoopStmt[], barrier: string): readonly Behind[] {
  const isWait = (s: LoopStmt): boolean => isOn(s, barrier) && s.instruction === "mbarrierWait";
  const own = list.filter((s) => isWait(s) || !bodiesOf(s).some((body) => callsIn(body).some(isWait)));
  const waits = own.flatMap((s, i) => (isWait(s) ? [i] : []));
  const around = waits.map((at, i) => ({ before: own.slice(0, waits[0]), after: own.slice(at + 1, waits[i + 1]) }));
  return [...around, ...list.flatMap((s) => bodiesOf(s).flatMap((body) => behindWaits(body, barrier)))];
}
const isOn = (s: LoopStmt, barrier: string): s is Call => s.kind === "Call" && s.operands.some((o) => o.kind === "Barrier" && o.barrier === barrier);
const callsIn = (list: readonly LoopStmt[]): readonly Call[] => list.flatMap((s) => (s.kind === "Call" ? [s] : bodiesOf(s).flatMap(callsIn)));

/** Every thread arrives once, wherever it goes, and behind all that it copies; the announcement, if there is one, is made once. */
function complaintOfFill({ before, after }: Behind, { buffers, full }: LoopKernel["pipes"][number], byThreads: boolean, announced: number): string | undefined {
  const copiesIn = (list: readonly LoopStmt[]): boolean => callsIn(list).some((c) => c.instruction === RUN_COPY.instruction && c.operands.some((o) => o.kind === "SharedAddress" && buffers.some((b) => b.buffer === o.buffer)));
  const arrivals = callsIn(after).filter((c) => isOn(c, full) && c.instruction !== "mbarrierExpect" && !c.instruction.startsWith("tmaLoad."));
  const announcements = callsIn(after).filter((c) => isOn(c, full) && c.instruction === "mbarrierExpect").length;
  const at = after.findIndex((s) => s === arrivals[0]);
  if (announcements !== announced) return `a fill makes ${announcements} announcements`;
  if (!byThreads) return arrivals.length > 0 || copiesIn(after) ? "threads copy to its slots, which its full barrier does not count" : undefined;
  if (arrivals.length !== 1 || at < 0) return `a thread that fills a slot arrives at ${arrivals.length} places${arrivals.length === 1 ? ", and not on every path" : ""}`;
  if (arrivals[0]!.instruction !== "cpAsyncArrive") return `${arrivals[0]!.instruction} does not wait for what its thread copies`;
  if (copiesIn(after.slice(at))) return "a thread copies to a slot behind its arrival";
  return copiesIn(before) ? "a thread copies to a slot in front of its wait" : undefined;
}

/** A fence stands right behind each wait for slots whose rows threads copied for products. */
function complaintOfWaits({ body }: LoopKernel, { full, made }: LoopKernel["pipes"][number]): string | undefined {
  const unfenced = behindWaits(body, made ?? full).some(({ after: [next] }) => !(next?.kind === "Call" && next.instruction === "fenceProxyAsync"));
  return unfenced ? "products read what threads copied, and no fenceProxyAsync stands behind the wait" : undefined;
}

/** Warps of a role that release a slot of the pipe in one trip, or hand it over: all, or those of one copy where copies take turns. */
function warpsAt(kind: "HandOver" | "Release", plan: Plan, { body, warps, copies }: Role, { name }: Pipe): number {
  const releases = (list: readonly PlanStmt[], inTurn: boolean): number =>
    list.reduce((n, s) => {
      if (s.kind === kind && s.pipe === name) return n + (inTurn ? warps / copies : warps);
      if (s.kind === "For") return n + releases(s.body, inTurn || (plan.persistence?.kind === "even" && s.index.name === plan.persistence.index));
      return s.kind === "If" ? n + releases(s.then, inTurn) + releases(s.otherwise, inTurn) : n;
    }, 0);
  return releases(body, false);
}

/** Whether a list has an arrival on the barrier without a fence right in front of it. */
function arrivesUnfenced(list: readonly LoopStmt[], made: string): boolean {
  const isFence = (s: LoopStmt | undefined): boolean => s?.kind === "Call" && s.instruction === "fenceProxyAsync";
  return list.some((s, i) => (isOn(s, made) && s.instruction.startsWith("mbarrierArrive") && !isFence(list[i - 1])) || bodiesOf(s).some((body) => arrivesUnfenced(body, made)));
}

/** Each announcement on a barrier with the bytes of the copies that follow it, up to the next wait. */
function announcements(list: readonly LoopStmt[], full: string, kernel: LoopKernel): { readonly announced: number; readonly brought: number }[] {
  return list.flatMap((s, i) => {
    if (!isOn(s, full) || s.instruction !== "mbarrierExpect") return bodiesOf(s).flatMap((body) => announcements(body, full, kernel));
    const later = list.slice(i + 1);
    const end = later.findIndex((t) => t.kind === "Call" && t.instruction.startsWith("mbarrier"));
    const copies = (end < 0 ? later : later.slice(0, end)).filter((t): t is Call => isOn(t, full));
    const [bytes] = s.operands.flatMap((o) => (o.kind === "Value" && o.value.kind === "Const" ? [o.value.value] : []));
    return [{ announced: bytes ?? NaN, brought: copies.reduce((n, c) => n + boxBytes(c, kernel), 0) }];
  });
}

function boxBytes({ operands }: Call, { tensorMaps }: LoopKernel): number {
  const operand = operands.find((o) => o.kind === "TensorMap");
  const map = tensorMaps.find((m) => operand?.kind === "TensorMap" && m.name === operand.map);
  return map ? map.box.reduce((n, b) => n * b, byteSize(map.dtype)) : 0;
}
