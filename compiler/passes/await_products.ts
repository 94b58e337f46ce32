/**
 * Says where wgmma products must be complete: before their first reader, at the latest at the end of the statement list. A reduction
 * behind a product in several parts folds each part as soon as it is there, while the next ones are still being multiplied.
 */
import type { Plan, PlanStmt } from "../ir/plan.ts";
import { readsOfPlan } from "../ir/plan_walk.ts";
import type { TileValue } from "../ir/tile.ts";

interface Group {
  readonly value: TileValue;
  readonly part: number;
  readonly parts: number;
  /** The product whose columns its last instruction computes too. */
  readonly follower?: TileValue;
}

export function awaitProducts(plan: Plan): Plan {
  function walk(list: readonly PlanStmt[]): PlanStmt[] {
    const out: PlanStmt[] = [];
    let inFlight: Group[] = [];
    /** Waits for a group and all before it; a later part's after the fold of the one before. */
    const wait = ({ value, part }: Group): void => {
      const at = inFlight.findIndex((g) => g.value.id === value.id && g.part === part);
      if (at < 0) return;
      inFlight.slice(0, at + 1).forEach((g, i) => out.push({ kind: "Await", ...g, pending: inFlight.length - 1 - i, ...(g.part > 0 && { last: true }) }));
      inFlight = inFlight.slice(at + 1);
    };
    const flush = (): void => {
      const last = inFlight.at(-1);
      if (last) wait(last);
    };
    for (const s of list) {
      if (s.kind === "For" || s.kind === "If") flush();
      if (s.kind === "For") out.push({ ...s, body: walk(s.body) });
      else if (s.kind === "If") out.push({ ...s, then: walk(s.then), otherwise: walk(s.otherwise) });
      else {
        const read = inFlight.filter((g) => readsOfPlan(plan, s).some((r) => (r.value.id === g.value.id || r.value.id === g.follower?.id) && r.from === "registers" && !accumulates(s, g.value)));
        if (s.kind === "Reduce" && read.length > 1 && new Set(read.map((g) => g.value.id)).size === 1 && divides(s, read.length))
          read.forEach((g, index) => {
            wait(g);
            out.push({ ...s, part: { index, count: read.length } });
          });
        else {
          read.forEach(wait);
          out.push(s);
        }
        if (s.kind === "Gemm" && s.plan.atom === "wgmma") {
          const count = s.plan.parts ?? 1;
          for (let part = 0; part < count; part++) inFlight.push({ value: s.value, part, parts: count, ...(s.follower && part === count - 1 && { follower: s.follower.value }) });
        }
      }
    }
    flush();
    return out;
  }
  /** A product that adds to the same registers follows in order by itself. */
  const accumulates = (s: PlanStmt, v: TileValue): boolean =>
    s.kind === "Gemm" && s.plan.atom === "wgmma" && s.op.acc?.id === v.id && plan.registers.get(v.id) === plan.registers.get(s.value.id);

  return { ...plan, body: walk(plan.body) };
}

/** The reduction's work falls into the product's parts along its slowest register digit. */
const divides = (s: Extract<PlanStmt, { kind: "Reduce" }>, parts: number): boolean => {
  const slowest = s.plan.layout.registers.at(-1);
  return slowest !== undefined && slowest.size % parts === 0;
};
