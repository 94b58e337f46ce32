/**
 * What must hold of a plan whose work is divided among roles, judged from the plan alone. The roles fit the machine (role_limits.ts and
 * this file). They make the same trips through their rings, and no order of waits stops them (verify_trips.ts);
 * statements that are a turn late do what they did in time (verify_late.ts). Within a role, slots and
 * the registers of products are used only while they are there (verify_slots.ts).
 */
import { byteSize } from "../../dsl/dtype.ts";
import type { Machine, Pipe, Plan, Role } from "./plan.ts";
import { describeStmt, planStatements, tilesOf } from "./plan_walk.ts";
import { complaintOfRoles } from "./role_limits.ts";
import { VerifyError } from "./verify_error.ts";
import { complaintOfLate } from "./verify_late.ts";
import { verifySlots } from "./verify_slots.ts";
import { verifyTrips } from "./verify_trips.ts";

/** How the rules report; `where` names a statement, a pipe or a role. */
export type Refuse = (where: string, complaint: string) => never;

/** Throws a VerifyError that names the pass if the roles of a plan break a rule; a plan without roles has none to break. */
export function verifyRoles(plan: Plan, machine: Machine, pass: string): void {
  const { roles } = plan;
  if (!roles) return;
  const refuse: Refuse = (where, complaint) => {
    throw new VerifyError(pass, where, complaint);
  };
  const complaint = complaintOfRoles(plan, roles, machine);
  if (complaint !== undefined) refuse(plan.kernel.name, complaint);
  checkMemory(plan, machine, refuse);
  checkCopies(plan, roles, refuse);
  for (const s of roles.flatMap((r) => [...planStatements(r.body)])) {
    const complaint = s.kind === "For" ? complaintOfLate(plan, s) : undefined;
    if (complaint !== undefined) refuse(describeStmt(s), complaint);
  }
  verifyTrips(plan, roles, refuse);
  for (const role of roles) verifySlots(plan, role, refuse);
}

/** Slots, headers, barriers, and what else is staged. */
function checkMemory(plan: Plan, machine: Machine, refuse: Refuse): void {
  const padded = (bytes: number): number => Math.ceil(bytes / 128) * 128;
  const pipeOf = new Map((plan.pipes ?? []).flatMap((p) => tilesOf(p).map((v) => [v.id, p] as const)));
  const stages = [...plan.places].flatMap(([id, place]) => (place.kind === "Stored" && place.stage && !place.stage.behind ? [(pipeOf.get(id)?.depth ?? 1) * padded(place.stage.elements * byteSize(place.stage.dtype))] : []));
  const words = (p: Pipe): number => (p.header.length > 0 ? 1 + p.header.length : 0);
  const rings = (plan.pipes ?? []).map((p) => padded(4 * p.depth * words(p)) + (p.made.length > 0 ? 3 : 2) * 8 * p.depth);
  const bytes = [...stages, ...rings].reduce((a, b) => a + b, 0);
  if (bytes > machine.maxSharedBytes) refuse(plan.kernel.name, `its rings and stages take ${bytes} bytes of shared memory of ${machine.maxSharedBytes}`);
}

/**
 * Copies of a role take turns at the iterations that are dealt out. The phases of a barrier are known by their parity alone, so each copy
 * must see every phase of the slots that it uses: all turns of one slot fall to one copy.
 */
function checkCopies(plan: Plan, roles: readonly Role[], refuse: Refuse): void {
  const { persistence } = plan;
  for (const { name, copies, body } of roles) {
    if (copies === 1) continue;
    if (persistence?.kind !== "even") refuse(name, "its copies have no iterations to take in turn");
    for (const loop of planStatements(body)) {
      if (loop.kind !== "For" || loop.index.name !== persistence.index) continue;
      for (const s of planStatements(loop.body)) {
        const pipe = s.kind === "Fill" || s.kind === "AwaitFull" || s.kind === "AwaitMade" ? plan.pipes?.find((p) => p.name === s.pipe) : undefined;
        if (pipe && pipe.depth % copies !== 0) refuse(pipe.name, `the ${copies} copies of ${name} take turns at ${pipe.depth} slots: a slot falls to one copy and then to another, which cannot tell its phases apart`);
      }
    }
  }
}
