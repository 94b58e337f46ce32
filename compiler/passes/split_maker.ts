/**
 * Divides what computes a kernel's tiles between the role that makes some of them, in slots of rings, and the computing role. The maker gets what
 * its tiles are made of; the computing role keeps what else reads that, too.
 */
import { byteSize } from "../../dsl/dtype.ts";
import type { Machine, Plan, PlanStmt } from "../ir/plan.ts";
import { arraysWritten, planStatements, readsOfPlan } from "../ir/plan_walk.ts";

/** Statements that the maker runs beside loops and scalars, and those that the computing role does not need any more. */
export interface Division {
  readonly makes: ReadonlySet<PlanStmt>;
  readonly left: ReadonlySet<PlanStmt>;
}

export function divideMaking(plan: Plan, body: readonly PlanStmt[], made: ReadonlySet<number>): Division {
  const all = [...planStatements(body)];
  const stores = all.filter((s) => s.kind === "Stage" && made.has(s.value.id));
  const arraysRead = (list: readonly PlanStmt[]): ReadonlySet<string> => new Set(list.flatMap((s) => readsOfPlan(plan, s)).flatMap((r) => (r.from === "registers" ? (plan.registers.get(r.value.id) ?? []) : [])));
  const makes = new Set<PlanStmt>(stores);
  for (let size = -1; size !== makes.size; ) {
    size = makes.size;
    const needed = arraysRead([...makes]);
    for (const s of all) if (arraysWritten(plan, s).some((array) => needed.has(array))) makes.add(s);
  }
  const left = new Set<PlanStmt>();
  for (let size = -1; size !== left.size; ) {
    size = left.size;
    const needed = arraysRead(all.filter((s) => !left.has(s)));
    for (const s of makes) if (!arraysWritten(plan, s).some((array) => needed.has(array))) left.add(s);
  }
  return { makes, left };
}

/** Bytes that one load takes from shared memory at most. */
const LOAD_BYTES = 16;

/**
 * Whether a tile's slot can be fetched in whole words: narrow elements that a thread holds lie together there, and whoever reads the registers does so
 * element by element. Loads are then few and wide, and stand in front of what is computed.
 */
export function fetchesWords(plan: Plan, { value, layout, stage }: Extract<PlanStmt, { kind: "Fetch" }>, division: Division, machine: Machine): boolean {
  const size = byteSize(stage.dtype);
  const [run] = layout.registers;
  const inner = stage.tiling?.digits[0];
  const bytes = (run?.size ?? 0) * size;
  const liesTogether = run !== undefined && inner !== undefined && run.stride === 1 && inner.stride === 1 && run.axis === inner.axis && inner.size % run.size === 0;
  const isShared = [...plan.registers.values()].filter((array) => array === plan.registers.get(value.id)).length > 1;
  const isMoved = [...division.makes].some((s) => s.kind === "Move" && s.from.id === value.id);
  return machine.instructions.has(`unpack.${stage.dtype}`) && liesTogether && bytes % 4 === 0 && LOAD_BYTES % bytes === 0 && !isShared && !isMoved;
}
