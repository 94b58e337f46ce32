/**
 * The barriers of a lowered ring count what its plan makes happen: one announcement a fill with the bytes of its copies, one arrival of each
 * warp that releases a slot. Together with the trips of the plan (verify_trips.ts), every phase then ends, and no phase ends early.
 */
import { byteSize } from "../../dsl/dtype.ts";
import { bodiesOf, type LoopKernel, type LoopStmt } from "./loop.ts";
import type { Pipe, Plan, PlanStmt, Role } from "./plan.ts";
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
  const readers = (plan.roles ?? []).reduce((n, r) => n + releasingWarps(plan, r, pipe), 0);
  if (arrivalsOf(ring.full) !== 1) return `its full barrier counts ${arrivalsOf(ring.full)} arrivals, one thread fills a slot`;
  if (arrivalsOf(ring.empty) !== readers) return `its empty barrier counts ${arrivalsOf(ring.empty)} arrivals, ${readers} warps release a slot`;
  const fills = copiesOf(plan.roles?.flatMap((r) => r.body) ?? [], pipe).map((c) => c.stage.tiling!.digits.reduce((n, d) => n * d.size, byteSize(c.stage.dtype)));
  const bytes = fills.reduce((a, b) => a + b, 0);
  for (const { announced, brought } of announcements(kernel.body, ring.full, kernel)) {
    if (announced !== brought) return `${announced} bytes are announced, its copies bring ${brought}`;
    if (brought !== bytes && brought !== 0) return `a fill brings ${brought} bytes of ${bytes}`;
  }
  return undefined;
}

/** Warps of a role that release a slot of the pipe in one trip: all, or those of one copy where copies take turns. */
function releasingWarps(plan: Plan, { body, warps, copies }: Role, { name }: Pipe): number {
  const releases = (list: readonly PlanStmt[], inTurn: boolean): number =>
    list.reduce((n, s) => {
      if (s.kind === "Release" && s.pipe === name) return n + (inTurn ? warps / copies : warps);
      if (s.kind === "For") return n + releases(s.body, inTurn || (plan.persistence?.kind === "even" && s.index.name === plan.persistence.index));
      return s.kind === "If" ? n + releases(s.then, inTurn) + releases(s.otherwise, inTurn) : n;
    }, 0);
  return releases(body, false);
}

function copiesOf(list: readonly PlanStmt[], pipe: Pipe): readonly Extract<PlanStmt, { kind: "Copy" }>[] {
  return list.flatMap((s) => {
    if (s.kind === "Fill" && s.pipe === pipe.name) return s.copies;
    if (s.kind === "For") return copiesOf(s.body, pipe);
    return s.kind === "If" ? [...copiesOf(s.then, pipe), ...copiesOf(s.otherwise, pipe)] : [];
  });
}

/** Each announcement on a barrier with the bytes of the copies that follow it, up to the next wait. */
function announcements(list: readonly LoopStmt[], full: string, kernel: LoopKernel): { readonly announced: number; readonly brought: number }[] {
  const isOn = (s: LoopStmt): s is Call => s.kind === "Call" && s.operands.some((o) => o.kind === "Barrier" && o.barrier === full);
  return list.flatMap((s, i) => {
    if (!isOn(s) || s.instruction !== "mbarrierExpect") return bodiesOf(s).flatMap((body) => announcements(body, full, kernel));
    const later = list.slice(i + 1);
    const end = later.findIndex((t) => t.kind === "Call" && t.instruction.startsWith("mbarrier"));
    const copies = (end < 0 ? later : later.slice(0, end)).filter(isOn);
    const [bytes] = s.operands.flatMap((o) => (o.kind === "Value" && o.value.kind === "Const" ? [o.value.value] : []));
    return [{ announced: bytes ?? NaN, brought: copies.reduce((n, c) => n + boxBytes(c, kernel), 0) }];
  });
}

function boxBytes({ operands }: Call, { tensorMaps }: LoopKernel): number {
  const operand = operands.find((o) => o.kind === "TensorMap");
  const map = tensorMaps.find((m) => operand?.kind === "TensorMap" && m.name === operand.map);
  return map ? map.box.reduce((n, b) => n * b, byteSize(map.dtype)) : 0;
}
