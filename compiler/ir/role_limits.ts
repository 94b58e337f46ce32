/** What roles ask of a machine: threads, whole warpgroups for products, registers. */
import { threadCount, type Layout } from "./layout.ts";
import type { Machine, Plan, PlanStmt, Role } from "./plan.ts";
import { describeStmt, planStatements } from "./plan_walk.ts";

/** Why the roles do not fit the machine, if they do not. */
export function complaintOfRoles(plan: Plan, roles: readonly Role[], machine: Machine): string | undefined {
  return complaintOfWarps(plan, roles, machine) ?? complaintOfSharing(roles) ?? complaintOfRegisters(roles, machine);
}

/** Copies of a role run the same program on the same shared memory: what threads store there, for others or to add it up, has no place for each. */
function complaintOfSharing(roles: readonly Role[]): string | undefined {
  const maker = roles.find((r) => r.duty === "make");
  const joined = maker && [...planStatements(maker.body)].find((s) => s.kind === "Reduce" && s.plan.joins.length > 0);
  if (joined?.kind === "Reduce") return `${maker!.name} would reduce ${joined.value.label} through the shared memory in which others do`;
  for (const { name, copies, body } of roles.filter((r) => r.copies > 1)) {
    const shares = [...planStatements(body)].find((s) => s.kind === "Stage" || (s.kind === "Reduce" && s.plan.joins.length > 0));
    if (shares?.kind === "Stage" || shares?.kind === "Reduce") return `the ${copies} copies of ${name} would all store ${shares.value.label} in one place`;
  }
  return undefined;
}

const WARPS_OF_GROUP = 4;
const groupsOf = (roles: readonly Role[]): number => Math.ceil(roles.reduce((n, r) => n + r.warps, 0) / WARPS_OF_GROUP);
const threadsOf = (roles: readonly Role[], machine: Machine): number => groupsOf(roles) * WARPS_OF_GROUP * machine.warp;

/** Warps for every copy, as many threads as the layouts are made for, and whole warpgroups where products need them. */
function complaintOfWarps(plan: Plan, roles: readonly Role[], machine: Machine): string | undefined {
  const threads = threadsOf(roles, machine);
  if (threads > machine.maxThreads) return `its roles take ${threads} threads of at most ${machine.maxThreads}`;
  let firstWarp = 0;
  for (const { name, warps, copies, duty, body } of roles) {
    const each = warps / copies;
    if (!(warps > 0 && copies > 0 && Number.isInteger(each))) return `the ${warps} warps of ${name} do not fall into ${copies} copies`;
    const wanted = duty === "compute" ? plan.threads : duty === "make" ? plan.makers : each * machine.warp;
    if (each * machine.warp !== wanted) return `a copy of ${name} has ${each * machine.warp} threads, the layouts are made for ${wanted}`;
    const other = duty === "copy" || plan.makers === undefined ? undefined : [...planStatements(body)].find((s) => layoutsOf(s).some((l) => threadCount(l) !== wanted));
    if (other) return `${name} has ${wanted} threads a copy, and ${describeStmt(other)} is laid out for others`;
    const products = [...planStatements(body)].some((s) => s.kind === "Gemm" && s.plan.atom === "wgmma");
    if (products && (firstWarp % WARPS_OF_GROUP !== 0 || each % WARPS_OF_GROUP !== 0)) return `wgmma needs whole warpgroups, and a copy of ${name} has the warps ${firstWarp} to ${firstWarp + each - 1}`;
    firstWarp += warps;
  }
  return new Set(roles.map((r) => r.name)).size < roles.length ? "two roles have one name" : undefined;
}

/** Layouts under which a role's threads run a statement. */
const layoutsOf = (s: PlanStmt): readonly Layout[] => [...("layout" in s && s.layout ? [s.layout] : []), ...(s.kind === "Gemm" || s.kind === "Reduce" ? [s.plan.layout] : [])];

/** What the warpgroups ask for is no more than what the block has at its start: a kernel that asks for more waits forever. */
function complaintOfRegisters(roles: readonly Role[], machine: Machine): string | undefined {
  if (machine.registers === undefined) return undefined;
  const threads = threadsOf(roles, machine);
  const atLaunch = Math.floor(machine.registers / threads / 8) * 8;
  const ofWarp = roles.flatMap((role) => Array.from({ length: role.warps }, () => role));
  let taken = 0;
  for (let group = 0; group < groupsOf(roles); group++) {
    const [first, ...others] = ofWarp.slice(group * WARPS_OF_GROUP, (group + 1) * WARPS_OF_GROUP);
    const stranger = others.find((r) => r.registers !== first!.registers);
    if (stranger) return `${stranger.name} asks for ${stranger.registers ?? "no"} registers in a warpgroup where ${first!.name} asks for ${first!.registers ?? "none"}`;
    const registers = first!.registers ?? atLaunch;
    if (first!.registers !== undefined && (registers % 8 !== 0 || registers < 24 || registers > 256)) return `${first!.name} asks for ${registers} registers a thread, not a multiple of 8 from 24 to 256`;
    taken += registers * WARPS_OF_GROUP * machine.warp;
  }
  return taken > atLaunch * threads ? `the warpgroups ask for ${taken} registers, the block has ${atLaunch * threads}` : undefined;
}
