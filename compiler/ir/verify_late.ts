/**
 * A loop with late statements does what the same loop without them does. Its turns are `first`, then `body` again and again, then `rest`; the body
 * is `first` and `rest` merged, each in its own order. So every statement runs once a turn of the loop, and only late ones change places, with those
 * of the next turn that stand before them in the body. They may: late statements are products, their waits and their slots; of what they read, the next
 * turn writes nothing before them; what they write, the loop's other statements do not touch; and they name no scalar of the turn.
 */
import type { Plan, PlanStmt } from "./plan.ts";
import { arraysWritten, describeStmt, namesOfStmt, packedName, planStatements, readsOfPlan, tilesOf } from "./plan_walk.ts";
import type { TileValue } from "./tile.ts";

type For = Extract<PlanStmt, { kind: "For" }>;

/** What is wrong with the loop, if something is. */
export function complaintOfLate(plan: Plan, loop: For): string | undefined {
  if (!loop.late) return undefined;
  const { first, rest } = loop.late;
  const split = splitBody(loop.body, first, rest);
  if (!split) return "its turns are not those of its body";
  if (loop.scalars.length > 0) return "the loop carries scalars";
  if (plan.persistence?.kind === "even" && plan.persistence.index === loop.index.name && plan.roles?.some((r) => r.copies > 1)) return "copies of a role take the turns of its loop";
  const strange = rest.find((s) => !["Gemm", "Await", "AwaitFull", "AwaitMade", "Release"].includes(s.kind));
  if (strange) return `${describeStmt(strange)} cannot be late`;
  const nested = first.find((s) => (s.kind === "For" || s.kind === "If") && [...planStatements([s])].some((t) => t.kind === "Await"));
  if (nested) return `${describeStmt(nested)} awaits products of its own`;

  const pipeOf = (v: TileValue) => plan.pipes?.find((p) => tilesOf(p).some((x) => x.id === v.id));
  const isLate = (i: number): boolean => split[i] === "rest";
  const written = (s: PlanStmt): readonly string[] => [...planStatements([s])].flatMap((t) => arraysWritten(plan, t));
  const read = (s: PlanStmt): readonly string[] =>
    [...planStatements([s])].flatMap((t) => [...(t.kind === "Gemm" && t.isPacked ? [packedName(t)] : []), ...readsOfPlan(plan, t).flatMap((r) => (r.from === "registers" ? (plan.registers.get(r.value.id) ?? []) : []))]);
  const others = loop.body.filter((_, i) => !isLate(i));
  const ofTurn = new Set([loop.index.name, ...[...planStatements(others)].flatMap((s) => (s.kind === "Let" || s.kind === "ToScalar" ? [s.scalar.name] : s.kind === "If" ? s.scalars.map((m) => m.result.name) : []))]);
  for (const [i, s] of loop.body.entries()) {
    if (!isLate(i)) continue;
    const touched = others.find((t) => [...written(t), ...read(t)].some((array) => written(s).includes(array)));
    if (touched) return `${describeStmt(touched)} uses its result in the same turn`;
    const overwriting = loop.body.slice(0, i).find((t, j) => !isLate(j) && written(t).some((array) => read(s).includes(array)));
    if (overwriting) return `${describeStmt(overwriting)} overwrites what it reads`;
    const scalar = namesOfStmt(plan, s).find((name) => ofTurn.has(name));
    if (scalar !== undefined) return `it needs ${scalar} of its turn`;
    const staged = readsOfPlan(plan, s).find((r) => r.from === "shared" && !pipeOf(r.value));
    if (staged) return `it reads ${staged.value.label} from shared memory that is no ring`;
    if (s.kind === "AwaitFull" || s.kind === "AwaitMade" || s.kind === "Release") {
      const depth = plan.pipes?.find((p) => p.name === s.pipe)?.depth ?? 0;
      // the next turn awaits its slots before this one releases the late ones: the role that fills both may have to fill these first
      if (depth < 2) return `the ring ${s.pipe} has ${depth} slot`;
    }
  }
  const shared = others.find((t) => [...planStatements([t])].some((x) => readsOfPlan(plan, x).some((r) => r.from === "shared" && rest.some((s) => (s.kind === "AwaitFull" || s.kind === "AwaitMade") && s.pipe === pipeOf(r.value)?.name))));
  return shared ? `${describeStmt(shared)} reads a slot that is awaited for the turn before` : undefined;
}

/** Of which list each statement of the body is, if the body is the two merged; waits count what else is under way, which may differ. */
function splitBody(body: readonly PlanStmt[], first: readonly PlanStmt[], rest: readonly PlanStmt[]): readonly ("first" | "rest")[] | undefined {
  const found: ("first" | "rest")[] = [];
  let i = 0;
  let j = 0;
  for (const s of body) {
    if (isSame(s, first[i])) {
      found.push("first");
      i++;
    } else if (isSame(s, rest[j])) {
      found.push("rest");
      j++;
    } else return undefined;
  }
  return i === first.length && j === rest.length ? found : undefined;
}
const isSame = (a: PlanStmt, b: PlanStmt | undefined): boolean => a === b || (a.kind === "Await" && b?.kind === "Await" && a.value.id === b.value.id && a.part === b.part && a.parts === b.parts);
