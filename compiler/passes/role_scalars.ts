/** Scalars of a role: those that its statements need, and no others. */
import type { Plan, PlanStmt } from "../ir/plan.ts";
import { namesOfStmt, planStatements, readsOfPlan } from "../ir/plan_walk.ts";

/** Without the scalars that no other statement of the role needs, nor the reductions that only they read. */
export function withoutIdleScalars(plan: Plan, list: readonly PlanStmt[]): PlanStmt[] {
  const isScalar = (s: PlanStmt) => s.kind === "Let" || s.kind === "ToScalar";
  const all = [...planStatements(list)];
  const needed = new Set(all.filter((s) => !isScalar(s)).flatMap((s) => namesOfStmt(plan, s)));
  for (let size = -1; size !== needed.size; ) {
    size = needed.size;
    for (const s of all) if ((s.kind === "Let" || s.kind === "ToScalar") && needed.has(s.scalar.name)) namesOfStmt(plan, s).forEach((n) => needed.add(n));
  }
  const idle = new Set<PlanStmt>(all.filter((s) => (s.kind === "Let" || s.kind === "ToScalar") && !needed.has(s.scalar.name)));
  const readByIdle = new Set([...idle].flatMap((s) => (s.kind === "ToScalar" ? [s.of.id] : [])));
  const read = new Set(all.filter((s) => !idle.has(s)).flatMap((s) => readsOfPlan(plan, s).map((r) => r.value.id)));
  const sweep = (body: readonly PlanStmt[]): PlanStmt[] =>
    body.flatMap((s): PlanStmt[] => {
      if (idle.has(s) || (s.kind === "Reduce" && readByIdle.has(s.value.id) && !read.has(s.value.id))) return [];
      return [s.kind === "For" ? { ...s, body: sweep(s.body) } : s.kind === "If" ? { ...s, then: sweep(s.then), otherwise: sweep(s.otherwise) } : s];
    });
  return sweep(list);
}

/** A scalar of a list as one thread finds it, nothing for other statements: it folds by itself what others reduce together. */
export function serialScalar(s: PlanStmt, list: readonly PlanStmt[]): PlanStmt[] {
  if (s.kind === "Let") return [s];
  if (s.kind !== "ToScalar") return [];
  const reduce = list.find((t) => t.kind === "Reduce" && t.value.id === s.of.id);
  return [reduce?.kind === "Reduce" ? { kind: "SerialReduce", scalar: s.scalar, op: reduce.op } : s];
}

/** Statements of one thread, without the scalars that neither the others nor `names` need; loops and branches carry what is left. */
export function neededScalars(plan: Plan, list: readonly PlanStmt[], names: readonly string[]): PlanStmt[] {
  const needed = new Set(names);
  const isNeeded = (s: PlanStmt): boolean => !(s.kind === "Let" || s.kind === "ToScalar" || s.kind === "SerialReduce") || needed.has(s.scalar.name);
  const trim = (s: PlanStmt): PlanStmt => {
    if (s.kind === "For") return { ...s, scalars: s.scalars.filter((c) => needed.has(c.param.name) || needed.has(c.result.name)) };
    return s.kind === "If" ? { ...s, scalars: s.scalars.filter((m) => needed.has(m.result.name)) } : s;
  };
  for (let size = -1; size !== needed.size; ) {
    size = needed.size;
    for (const s of planStatements(list)) if (isNeeded(s)) namesOfStmt(plan, trim(s)).forEach((n) => needed.add(n));
  }
  const sweep = (body: readonly PlanStmt[]): PlanStmt[] =>
    body.filter(isNeeded).map(trim).map((s) => (s.kind === "For" ? { ...s, body: sweep(s.body) } : s.kind === "If" ? { ...s, then: sweep(s.then), otherwise: sweep(s.otherwise) } : s));
  return sweep(list);
}

/** A scalar that statements of one thread need and do not find, or find only in tiles that other threads hold. */
export function unknownScalar(plan: Plan, list: readonly PlanStmt[], known: readonly string[]): string | undefined {
  const all = [...planStatements(list)];
  const found = new Set([...known, ...plan.kernel.dims.map((d) => d.name), ...plan.kernel.grid.map((d) => d.index.name)]);
  for (const s of all) {
    if (s.kind === "Let" || s.kind === "ToScalar" || s.kind === "SerialReduce") found.add(s.scalar.name);
    if (s.kind === "For") [s.index, ...s.scalars.flatMap((c) => [c.param, c.result])].forEach((v) => found.add(v.name));
    if (s.kind === "If") s.scalars.forEach((m) => found.add(m.result.name));
  }
  const held = all.find((s) => (s.kind === "ToScalar" || s.kind === "SerialReduce") && readsOfPlan(plan, s).length > 0);
  if (held?.kind === "ToScalar" || held?.kind === "SerialReduce") return held.scalar.name;
  return all.flatMap((s) => namesOfStmt(plan, s)).find((n) => !found.has(n));
}
