/**
 * A cluster of blocks stands where one block would: each of them does what stands before the loop that the schedule deals out, and a part of
 * the loop's turns. What they add to bags there goes to the first one, the leader, which goes on alone. Until then only the leader writes to
 * device memory, and all take the same branches: what steers them is computed by each from the same values.
 */
import { diagnostic } from "../diagnostics.ts";
import { isLeader, rankIn } from "../ir/cluster.ts";
import { add, binary, int, mul, variable } from "../ir/expr.ts";
import type { Machine, Plan, PlanStmt } from "../ir/plan.ts";
import { planStatements } from "../ir/plan_walk.ts";
import type { Bound } from "./bind_schedule.ts";
import type { Part } from "./part_loop.ts";

type For = Extract<PlanStmt, { kind: "For" }>;
type If = Extract<PlanStmt, { kind: "If" }>;

/** Throws E-SCHEDULE-03 where the loop, or what stands before it, is not work that blocks can share or repeat. */
export function dealCluster(plan: Plan, { cluster }: Bound, part: Part | undefined, machine: Machine): Plan {
  if (!cluster || !part) return plan;
  const { blocks, deal } = cluster;
  const { kernel } = plan;
  const refuse = (reason: string, instead: string): Error =>
    diagnostic("E-SCHEDULE-03", { ...kernel.loc, length: kernel.name.length }, { kernel: kernel.name, target: machine.name, reason, instead });
  const loop = [...planStatements(plan.body)].find((s): s is For => s.kind === "For" && s.index.name === deal)!;
  const bags = bagsOf();
  return { ...plan, cluster: blocks, body: share(plan.body) };

  /** Bags that the loop's turns add to, and all that they may do besides: nothing that another turn, or what follows, would see. */
  function bagsOf(): readonly string[] {
    const inside = [...planStatements(loop.body)];
    const own = new Set(inside.flatMap((s) => (s.kind === "Histogram" || s.kind === "Bag" || s.kind === "Bitmap" ? [s.name] : [])));
    const seen = inside.find((s) => s.kind !== "BagAdd" && changes(s).some((name) => !own.has(name)));
    if (seen) throw refuse(`the loop "${deal}" does more than add to bags: it changes ${changes(seen).join(", ")}`, "deal out a loop that only adds to bags");
    const added = new Set(inside.flatMap((s) => (s.kind === "BagAdd" && !own.has(s.bag) ? [s.bag] : [])));
    if (added.size === 0) throw refuse(`the loop "${deal}" adds to no bag, so nothing of it would reach the leader`, "deal out a loop that adds to bags");
    return [...added];
  }

  /** The list that holds the loop, and those around it. */
  function share(list: readonly PlanStmt[]): PlanStmt[] {
    const at = list.findIndex((s) => [...planStatements([s])].includes(loop));
    const [before, holder, after] = [list.slice(0, at), list[at]!, list.slice(at + 1)];
    checkRepeatable(before);
    const repeated = before.map((s) => byLeader(parted(s)));
    if (holder === loop) return [...opened(repeated, loop), loop, { kind: "Collect", bags, loc: loop.loc }, ...after];
    // whoever does not come to the loop leaves the rest to the leader
    const { then, otherwise, loc } = holder as If;
    const dismissed = (side: readonly PlanStmt[]): readonly PlanStmt[] => [{ kind: "Dismiss", loc }, ...side];
    const inThen = [...planStatements(then)].includes(loop);
    return [...repeated, { ...(holder as If), then: inThen ? share(then) : dismissed(then), otherwise: inThen ? dismissed(otherwise) : share(otherwise) }, ...after];
  }

  /** The bags are declared beside the loop and empty when it starts; as soon as they are there, the other blocks hear of it. */
  function opened(before: readonly PlanStmt[], { loc }: For): PlanStmt[] {
    const declared = bags.map((name) => before.findIndex((s) => s.kind === "Bag" && s.name === name));
    const missing = bags.find((_, i) => declared[i]! < 0);
    if (missing !== undefined) throw refuse(`the bag "${missing}" is declared in another block of statements than the loop "${deal}"`, "declare it beside the loop");
    const used = bags.find((name) => [...planStatements(before)].some((s) => uses(s, name)));
    if (used !== undefined) throw refuse(`the bag "${used}" is used before the loop "${deal}", by every block of the cluster`, "add to it in the loop, or after it");
    const last = Math.max(...declared) + 1;
    return [...before.slice(0, last), { kind: "OpenBags", loc }, ...before.slice(last)];
  }

  /** Every block of the cluster does it. */
  function checkRepeatable(list: readonly PlanStmt[]): void {
    const pushed = [...planStatements(list)].find((s) => s.kind === "AppendPush" || s.kind === "AppendMarked" || s.kind === "AppendFill");
    if (pushed) throw refuse(`the list "${changes(pushed)[0]}" is written before the loop "${deal}"`, "write lists after the loop");
  }

  /** The turns that fall to a block: as many as to any other, but for the last ones. */
  function parted(s: PlanStmt): PlanStmt {
    if (s.kind !== "Let") return s;
    const length = mul(variable("i32", part!.turns), int(loop.step));
    switch (s.scalar.name) {
      case part!.turns:
        return { ...s, expr: binary("/", add(s.expr, int(blocks - 1)), int(blocks)) };
      case part!.start:
        return { ...s, expr: add(s.expr, mul(rankIn(blocks), length)) };
      case part!.end:
        return { ...s, expr: { kind: "Call", type: "i32", fn: "min", args: [s.expr, add(variable("i32", part!.start), length)] } };
      default:
        return s;
    }
  }

  /** Stores are the leader's. */
  function byLeader(s: PlanStmt): PlanStmt {
    if (s.kind === "Store") return { kind: "If", cond: isLeader(blocks), then: [s], otherwise: [], scalars: [], loc: s.loc };
    if (s.kind === "For") return { ...s, body: s.body.map(byLeader) };
    return s.kind === "If" ? { ...s, then: s.then.map(byLeader), otherwise: s.otherwise.map(byLeader) } : s;
  }
}

/** What outside of a loop could see of a statement in it: collectives, lists and params. */
function changes(s: PlanStmt): readonly string[] {
  switch (s.kind) {
    case "Store":
      return [s.view.param];
    case "HistogramAdd":
      return [s.histogram];
    case "BitmapAdd":
      return [s.bitmap];
    case "BagAdd":
      return [s.bag];
    case "AppendPush":
    case "AppendMarked":
    case "AppendFill":
      return [s.append];
    default:
      return [];
  }
}

const uses = (s: PlanStmt, bag: string): boolean => (s.kind === "BagAdd" || s.kind === "BagCount") && s.bag === bag;
