/** A plan with roles: barriers and the block's share of the work first, then every role's own program. */
import { binary, int, sub, type Expr } from "../../ir/expr.ts";
import type { LoopPipe, LoopRole, LoopStmt } from "../../ir/loop.ts";
import type { Pipe, Plan, PlanStmt, Role } from "../../ir/plan.ts";
import { planStatements } from "../../ir/plan_walk.ts";
import { awaitPriorLaunch, type Lowering } from "./context.ts";
import { findShare, gridOf, sendWork, strideWork, takeWork, type Share } from "./persistent.ts";
import { declareRing, enterRings } from "./rings.ts";

const threadOfBlock: Expr = { kind: "ThreadIndex", type: "i32" };
const warpOfBlock: Expr = { kind: "WarpIndex", type: "i32" };

type Lower = (ctx: Lowering, list: readonly PlanStmt[]) => void;

export function lowerRoles(ctx: Lowering, plan: Plan, roles: readonly Role[], lower: Lower): { readonly body: LoopStmt[]; readonly pipes: LoopPipe[]; readonly threads: number } {
  const warps = roles.reduce((n, r) => n + r.warps, 0);
  // whole warpgroups: setmaxnreg is theirs
  const threads = 32 * 4 * Math.ceil(warps / 4);
  const turning = turningPipes(plan, roles);
  const bringers = roles.reduce((n, r) => n + (r.duty === "copy" ? threadsOfCopy(r) : 0), 0);
  const warpsAt = (kind: "HandOver" | "Release", p: Pipe): number =>
    roles.filter((r) => [...planStatements(r.body)].some((s) => s.kind === kind && s.pipe === p.name)).reduce((n, r) => n + (turning.includes(p) ? r.warps / r.copies : r.warps), 0);
  const pipes = (plan.pipes ?? []).map((p) => declareRing(ctx, p, { bringers, makers: warpsAt("HandOver", p), consumers: warpsAt("Release", p) }));
  // a thread of a copying role: those of the others come first in what follows
  const starts = binary("==", threadOfBlock, int(32 * roles.reduce((n, r) => (r.duty === "copy" ? n : n + r.warps), 0)));
  let share: Share | undefined;
  const start = ctx.block(() => {
    ctx.when(starts, () => {
      for (const b of ctx.barriers)
        ctx.repeated("slot", b.slots, (slot) => ctx.emit({ kind: "Call", instruction: "mbarrierInit", operands: [{ kind: "Barrier", barrier: b.name, slot }, { kind: "Value", value: int(b.arrivals) }] }));
      ctx.emit({ kind: "Call", instruction: "mbarrierInitFence", operands: [] });
    });
    awaitPriorLaunch(ctx); // what stands above needs nothing of it
    if (plan.persistence?.kind === "even") share = findShare(ctx, plan.persistence, threads, lower);
    ctx.emit({ kind: "Barrier" });
  });
  const opening = [...ctx.prologue, ...start];
  let firstWarp = 0;
  const programs = roles.map((role): LoopRole => {
    const body = ctx.role(role.duty === "make" ? plan.makers! : plan.threads, () => {
      const warpsOfCopy = role.warps / role.copies;
      const copy = role.copies === 1 ? int(0) : ctx.bind("copy", binary("/", sub(warpOfBlock, int(firstWarp)), int(warpsOfCopy)));
      ctx.alone = role.duty === "copy";
      if (role.duty === "copy" && bringsByThreads(role)) {
        ctx.bringers = { threads: threadsOfCopy(role), thread: threadOf(role) };
        program(role, copy);
      } else if (role.duty === "copy") {
        // one thread of each copy
        const elected = role.copies === 1 ? binary("==", threadOfBlock, int(32 * firstWarp)) : binary("==", binary("%", threadOfBlock, int(32 * warpsOfCopy)), int((32 * firstWarp) % (32 * warpsOfCopy)));
        ctx.when(elected, () => program(role, copy));
      } else {
        if (role.copies > 1) ctx.thread = ctx.once("thread_of_copy", binary("%", threadOfBlock, int(plan.threads)));
        else if (firstWarp > 0) ctx.thread = threadOf(role);
        program(role, copy);
      }
    });
    const placed = { name: role.name, firstWarp, warps: role.warps, ...(role.registers && { registers: role.registers }), body };
    firstWarp += role.warps;
    return placed;
  });
  const prefetch = ctx.block(() =>
    ctx.when(starts, () => ctx.tensorMaps.forEach((m) => ctx.emit({ kind: "Call", instruction: "prefetchTensorMap", operands: [{ kind: "TensorMap", map: m.name }] }))),
  );
  return { body: [...prefetch, ...opening, { kind: "Roles", roles: programs }], pipes, threads };

  /** This thread's number in its copy of the role that is being written. */
  function threadOf(role: Role): Expr {
    const number = sub(threadOfBlock, int(32 * firstWarp));
    const thread = ctx.once("thread_of_copy", role.copies === 1 ? number : binary("%", number, int(threadsOfCopy(role))));
    if (thread.kind === "Var") ctx.facts.learn(thread.name, { min: 0, max: threadsOfCopy(role) - 1 });
    return thread;
  }

  function program(role: Role, copy: Expr): void {
    const used = new Set([...planStatements(role.body)].flatMap((s) => (s.kind === "Fill" || s.kind === "AwaitFull" || s.kind === "AwaitMade" ? [s.pipe] : [])));
    const { persistence } = plan;
    if (turning.length > 0 && persistence?.kind === "even") {
      const before = ctx.name(`${persistence.index}_before`);
      ctx.emit({ kind: "Variable", name: before, type: "i32", init: int(0) });
      ctx.facts.learn(before, { min: 0 });
      ctx.turns = { index: persistence.index, copies: role.copies, copy, before, pipes: turning };
    }
    enterRings(ctx, (plan.pipes ?? []).filter((p) => used.has(p.name) && !turning.includes(p)));
    if (!persistence) {
      gridOf(ctx, { kind: "BlockIndex", type: "i32" });
      lower(ctx, role.body);
    } else if (persistence.kind === "strided") strideWork(ctx, role.body, lower);
    else if (role.duty === "copy") sendWork(ctx, persistence, share!, role.body, lower);
    else takeWork(ctx, persistence, plan.pipes!.find((p) => p.name === persistence.pipe)!, role.body, lower);
  }
}

const threadsOfCopy = (role: Role): number => (32 * role.warps) / role.copies;
const bringsByThreads = (role: Role): boolean => [...planStatements(role.body)].some((s) => s.kind === "Fill" && s.copies.some((c) => c.by === "cpAsync"));

/** Pipes inside the loop whose iterations copies of roles take in turn. */
function turningPipes(plan: Plan, roles: readonly Role[]): Pipe[] {
  const { persistence } = plan;
  if (persistence?.kind !== "even" || roles.every((r) => r.copies === 1)) return [];
  const inside = new Set(roles.flatMap((r) => [...planStatements(r.body)].flatMap((s) => (s.kind === "For" && s.index.name === persistence.index ? [...planStatements(s.body)] : []))).flatMap((s) => (s.kind === "Fill" ? [s.pipe] : [])));
  return (plan.pipes ?? []).filter((p) => inside.has(p.name));
}
