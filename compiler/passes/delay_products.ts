/**
 * Software pipelining of a loop with two products: one of them is issued a turn later, right behind the other one's next issue. Both are then
 * under way while the turn computes what lies between them. What the late product needs of its turn, operands in registers and slots of rings, it
 * reads before the next turn overwrites it: verify_late.ts proves it.
 */
import { diagnostic } from "../diagnostics.ts";
import type { Machine, Plan, PlanStmt } from "../ir/plan.ts";
import { planStatements, readsOfPlan, tilesOf } from "../ir/plan_walk.ts";
import { complaintOfLate } from "../ir/verify_late.ts";
import type { Bound } from "./bind_schedule.ts";

type For = Extract<PlanStmt, { kind: "For" }>;
type Gemm = Extract<PlanStmt, { kind: "Gemm" }>;

const isProduct = (s: PlanStmt): s is Gemm => s.kind === "Gemm" && s.plan.atom === "wgmma";

/** Throws E-SCHEDULE-03 where a product cannot be late. */
export function delayProducts(plan: Plan, { late }: Bound, machine: Machine): Plan {
  if (late.size === 0) return plan;
  const left = new Set(late);
  const refuse = (reason: string) =>
    diagnostic("E-SCHEDULE-03", { ...plan.kernel.loc, length: plan.kernel.name.length }, { kernel: plan.kernel.name, target: machine.name, reason, instead: "leave out late in its mma" });
  const isLate = (s: PlanStmt): s is Gemm => isProduct(s) && late.has(s.value.id);
  const roles = plan.roles?.map((role) => ({ ...role, body: walk(role.body) }));
  const stranger = [...planStatements(plan.roles?.flatMap((r) => r.body) ?? plan.body)].find((s) => isProduct(s) && left.has(s.value.id));
  if (left.size > 0) throw refuse(`${stranger && isProduct(stranger) ? `"${stranger.value.label}" stands in no loop of a role` : "a late product is not multiplied by a role"}`);
  return { ...plan, ...(roles && { roles }) };

  function walk(list: readonly PlanStmt[]): PlanStmt[] {
    return list.map((s) => (s.kind === "For" ? (s.body.some(isLate) ? delay(s) : { ...s, body: walk(s.body) }) : s.kind === "If" ? { ...s, then: walk(s.then), otherwise: walk(s.otherwise) } : s));
  }

  function delay(loop: For): For {
    const products = loop.body.filter(isLate);
    products.forEach((s) => left.delete(s.value.id));
    const ids = new Set(products.map((s) => s.value.id));
    const pipes = new Set(products.flatMap((s) => readsOfPlan(plan, s)).flatMap(({ value }) => (plan.pipes ?? []).filter((p) => tilesOf(p).some((v) => v.id === value.id)).map((p) => p.name)));
    const inRest = (s: PlanStmt): boolean => isLate(s) || (s.kind === "Await" && ids.has(s.value.id)) || ((s.kind === "AwaitFull" || s.kind === "AwaitMade" || s.kind === "Release") && pipes.has(s.pipe));
    // operands from registers are packed in their own turn: half as many registers outlive it
    const ofTurn = [...loop.body.filter((s) => !inRest(s)), ...products.flatMap((of): PlanStmt[] => (of.plan.fragment ? [{ kind: "Pack", of }] : []))];
    const rest = loop.body.filter(inRest).map((s) => (isLate(s) && s.plan.fragment ? { ...s, isPacked: true } : s));
    const behind = ofTurn.findIndex(isProduct) + 1;
    const issued = rest.findLastIndex(isLate) + 1;
    const packing = ofTurn.findIndex((s) => s.kind === "Pack");
    const end = packing < 0 ? ofTurn.length : packing;
    const body = [...ofTurn.slice(0, behind), ...rest.slice(0, issued), ...ofTurn.slice(behind, end), ...rest.slice(issued), ...ofTurn.slice(end)];
    // its wait stands behind all that the turn computes
    const delayed = { ...loop, body: counted(body).map((s) => (s.kind === "Await" && ids.has(s.value.id) ? { ...s, last: true } : s)), late: { first: counted(ofTurn), rest: counted(rest) } };
    const complaint = complaintOfLate(plan, delayed);
    if (complaint !== undefined) throw refuse(`"${products[0]!.value.label}" cannot be late: ${complaint}`);
    return delayed;
  }
}

/** Says anew how many groups each wait leaves under way. */
function counted(list: readonly PlanStmt[]): PlanStmt[] {
  let flying: { readonly id: number; readonly part: number }[] = [];
  return list.map((s) => {
    if (isProduct(s)) flying = [...flying, ...Array.from({ length: s.plan.parts ?? 1 }, (_, part) => ({ id: s.value.id, part }))];
    if (s.kind !== "Await") return s;
    const at = flying.findIndex((g) => g.id === s.value.id && g.part === s.part);
    flying = flying.slice(at + 1);
    return { ...s, pending: flying.length };
  });
}
