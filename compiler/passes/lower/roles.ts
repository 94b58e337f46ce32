/** A plan with roles: barriers and the block's share of the work first, then every role's own program. */
import { binary, int, type Expr } from "../../ir/expr.ts";
import type { LoopPipe, LoopRole, LoopStmt } from "../../ir/loop.ts";
import type { Plan, PlanStmt, Role } from "../../ir/plan.ts";
import { planStatements } from "../../ir/plan_walk.ts";
import type { Lowering } from "./context.ts";
import { findShare, gridOf, sendWork, strideWork, takeWork, type Share } from "./persistent.ts";
import { declareRing, enterRings } from "./rings.ts";

const threadOfBlock: Expr = { kind: "ThreadIndex", type: "i32" };

type Lower = (ctx: Lowering, list: readonly PlanStmt[]) => void;

export function lowerRoles(ctx: Lowering, plan: Plan, roles: readonly Role[], lower: Lower): { readonly body: LoopStmt[]; readonly pipes: LoopPipe[]; readonly threads: number } {
  const warps = roles.reduce((n, r) => n + r.warps, 0);
  // whole warpgroups: setmaxnreg is theirs
  const threads = 32 * 4 * Math.ceil(warps / 4);
  const computing = roles.filter((r) => r.duty === "compute");
  const pipes = (plan.pipes ?? []).map((p) => declareRing(ctx, p, computing.reduce((n, r) => n + r.warps / r.copies, 0)));
  let share: Share | undefined;
  const start = ctx.block(() => {
    ctx.when(binary("==", threadOfBlock, int(0)), () => {
      for (const b of ctx.barriers)
        ctx.repeated("slot", b.slots, (slot) => ctx.emit({ kind: "Call", instruction: "mbarrierInit", operands: [{ kind: "Barrier", barrier: b.name, slot }, { kind: "Value", value: int(b.arrivals) }] }));
      ctx.emit({ kind: "Call", instruction: "mbarrierInitFence", operands: [] });
    });
    if (plan.persistence?.kind === "even") share = findShare(ctx, plan.persistence, threads, lower);
    ctx.emit({ kind: "Barrier" });
  });
  const opening = [...ctx.prologue, ...start];
  let firstWarp = 0;
  const programs = roles.map((role): LoopRole => {
    const body = ctx.role(plan.threads, () => {
      if (role.duty === "copy") ctx.when(binary("==", threadOfBlock, int(32 * firstWarp)), () => program(role));
      else program(role);
    });
    const placed = { name: role.name, firstWarp, warps: role.warps, ...(role.registers && { registers: role.registers }), body };
    firstWarp += role.warps;
    return placed;
  });
  return { body: [...opening, { kind: "Roles", roles: programs }], pipes, threads };

  function program(role: Role): void {
    const used = new Set([...planStatements(role.body)].flatMap((s) => (s.kind === "Fill" || s.kind === "AwaitFull" ? [s.pipe] : [])));
    enterRings(ctx, (plan.pipes ?? []).filter((p) => used.has(p.name)));
    const { persistence } = plan;
    if (!persistence) {
      gridOf(ctx, { kind: "BlockIndex", type: "i32" });
      lower(ctx, role.body);
    } else if (persistence.kind === "strided") strideWork(ctx, role.body, lower);
    else if (role.duty === "copy") sendWork(ctx, persistence, share!, role.body, lower);
    else takeWork(ctx, persistence, plan.pipes!.find((p) => p.name === persistence.pipe)!, role.body, lower);
  }
}
