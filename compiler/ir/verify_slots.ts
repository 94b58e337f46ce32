/**
 * Within one role: slots of rings are read between the wait for them and their release, also by products that read on after their issue; what a role
 * makes there is written between the wait and the hand-over, all of it, and read by others behind their wait for it;
 * registers of such a product are left alone until it is awaited; waits count what is still under way; reductions in parts are whole.
 * One walk over the role's statements with what is open and under way.
 */
import { registerCount } from "./layout.ts";
import { productsOf, type Plan, type PlanStmt, type Role } from "./plan.ts";
import { describeStmt, packedName, pipesOfTiles, readsOfPlan } from "./plan_walk.ts";
import type { TileValue } from "./tile.ts";
import type { Refuse } from "./verify_roles.ts";

type Reduce = Extract<PlanStmt, { kind: "Reduce" }>;

/** Products that were issued together and are awaited together. */
interface Group {
  readonly value: TileValue;
  readonly part: number;
  readonly parts: number;
  /** Register arrays that they change; an operand from registers is packed into others when they are issued. */
  readonly arrays: readonly (string | undefined)[];
  /** Pipes whose slots they read, and computed tiles. */
  readonly slots: readonly string[];
  readonly staged: readonly number[];
}

interface State {
  /** Pipes whose slot the role holds; waits and releases come in pairs (verify_trips.ts), and where tiles are made, all roles but their maker wait for these. */
  readonly open: ReadonlySet<string>;
  /** In order of issue. */
  readonly flying: readonly Group[];
  /** Register arrays that something was written to. */
  readonly written: ReadonlySet<string>;
  /** Tiles that the role has stored in shared memory; those behind others in a slot go with it. */
  readonly stored: ReadonlySet<number>;
}

/** What one thread can do for copies. */
const ofCopies = new Set<PlanStmt["kind"]>(["Fill", "For", "If", "Let", "ToScalar", "SerialReduce"]);
/** What a role does that makes tiles for others: it writes nothing else that they see. */
const ofMakers = new Set<PlanStmt["kind"]>(["AwaitFull", "HandOver", "Release", "Fetch", "Compute", "Reduce", "Move", "Stage", "For", "If", "Let", "ToScalar", "SerialReduce"]);

export function verifySlots(plan: Plan, role: Role, refuse: Refuse): void {
  const pipeOf = pipesOfTiles(plan);
  const travelling = new Set((plan.pipes ?? []).flatMap((p) => p.values.map((v) => v.id)));
  const made = new Set((plan.pipes ?? []).flatMap((p) => p.made.map((v) => v.id)));
  const isMaker = role.duty === "make";
  const arrayOf = (v: TileValue): string | undefined => plan.registers.get(v.id);
  const end = run(role.body, { open: new Set(), flying: [], written: new Set(), stored: new Set() });
  if (end.flying.length > 0) refuse(role.name, `it ends while ${name(end.flying[0]!)} is under way`);

  function run(list: readonly PlanStmt[], entry: State): State {
    /** Parts of reductions so far, by value id; they begin and end in one list. */
    const parts = new Map<number, Reduce>();
    const end = list.reduce((state, s) => {
      for (const [id, last] of parts)
        if (!(s.kind === "Reduce" && s.value.id === id) && readsOfPlan(plan, s).some((r) => r.value.id === id)) refuse(describeStmt(s), `it reads ${last.value.label} before its last part`);
      if (s.kind === "Reduce") notePart(s, parts);
      return step(s, state);
    }, entry);
    for (const last of parts.values()) refuse(describeStmt(last), `part ${last.part!.index} of ${last.part!.count} is its last`);
    return end;
  }

  function notePart(s: Reduce, parts: Map<number, Reduce>): void {
    const { index, count } = s.part ?? { index: 0, count: 1 };
    const before = parts.get(s.value.id)?.part;
    const next = before ? before.index + 1 : 0;
    if (index !== next || (before && before.count !== count) || index >= count) refuse(describeStmt(s), `part ${index} of ${count} comes where part ${next}${before ? ` of ${before.count}` : ""} is due`);
    if (index === count - 1) parts.delete(s.value.id);
    else parts.set(s.value.id, s);
  }

  function step(s: PlanStmt, before: State): State {
    const where = describeStmt(s);
    if (role.duty === "copy" && !ofCopies.has(s.kind)) refuse(where, `${role.name} only copies`);
    if (isMaker && !ofMakers.has(s.kind)) refuse(where, `${role.name} only makes tiles`);
    checkReads(s, before, where);
    switch (s.kind) {
      case "Copy":
        return refuse(where, "no fill starts it");
      case "AwaitFull":
      case "AwaitMade":
        return { ...before, open: new Set([...before.open, s.pipe]) };
      case "HandOver": {
        const missing = plan.pipes?.find((p) => p.name === s.pipe)?.made.find((v) => !before.stored.has(v.id));
        if (missing) refuse(where, `${role.name} has not stored ${missing.label} in the slot`);
        return closed(before, s.pipe);
      }
      case "Release": {
        const reader = before.flying.find((g) => g.slots.includes(s.pipe));
        if (reader) refuse(where, `${name(reader)}, which reads the slot, is under way`);
        return closed(before, s.pipe);
      }
      case "Await": {
        const [first, ...later] = before.flying;
        if (!first || first.value.id !== s.value.id || first.part !== s.part || first.parts !== s.parts) refuse(where, `it awaits part ${s.part} of ${s.parts} where ${first ? name(first) : "nothing"} is next`);
        if (s.pending !== later.length) refuse(where, `${later.length} later groups are under way, not ${s.pending}`);
        return { ...before, flying: later };
      }
      case "For": {
        const entered = s.late ? run(s.late.first, before) : before;
        const after = run(s.body, entered);
        sameAs(entered, after, where, "a turn of the loop");
        if (s.late) sameAs(before, run(s.late.rest, after), where, "its end");
        return before;
      }
      case "If": {
        const [then, otherwise] = [run(s.then, before), run(s.otherwise, before)];
        sameAs(then, otherwise, where, "one branch");
        return { ...then, written: both(then.written, otherwise.written), stored: both(then.stored, otherwise.stored) };
      }
      case "Gemm": {
        const packed = s.plan.fragment && !s.isPacked ? packing(s, before, where) : before;
        if (s.isPacked && !packed.written.has(packedName(s))) refuse(where, `its operand ${s.op.a.label} is not packed`);
        const state = productsOf(s).reduce((state, { value }) => writing(s, value, state, where), packed);
        return s.plan.atom === "wgmma" ? { ...state, flying: [...state.flying, ...groupsOf(s)] } : state;
      }
      case "Pack":
        return packing(s.of, before, where);
      case "Compute":
      case "Reduce":
      case "Scan":
      case "Fetch":
        return writing(s, s.value, before, where);
      case "Move":
        return writing(s, s.to, before, where);
      case "Stage": {
        const pipe = pipeOf.get(s.value.id);
        if (pipe !== undefined && !before.open.has(pipe)) refuse(where, `it writes to a slot of ${pipe} and holds none`);
        if (made.has(s.value.id) !== isMaker) refuse(where, isMaker ? `${role.name} stores what is not its to make` : `${s.value.label} is another role's to make`);
        const reader = before.flying.find((g) => g.staged.includes(s.value.id));
        if (reader) refuse(where, `it overwrites what ${name(reader)} reads, which is under way`);
        return { ...before, stored: new Set([...before.stored, s.value.id]) };
      }
      default:
        return before;
    }
  }

  /** The role gives a slot away, with what it has stored there. */
  function closed(state: State, pipe: string): State {
    return { ...state, open: new Set([...state.open].filter((p) => p !== pipe)), stored: new Set([...state.stored].filter((id) => pipeOf.get(id) !== pipe)) };
  }

  /** What the statement reads is there. */
  function checkReads(s: PlanStmt, { open, flying, written, stored }: State, where: string): void {
    const reads = s.kind === "Fetch" ? [{ value: s.value, from: "shared" as const }] : readsOfPlan(plan, s);
    for (const { value, from } of reads) {
      const pipe = pipeOf.get(value.id);
      if (role.duty === "copy") refuse(where, `${role.name} cannot read ${value.label}, which another role stores`);
      if (from === "shared" && pipe !== undefined && !open.has(pipe)) refuse(where, `it reads ${value.label} while it holds no slot of ${pipe}`);
      if (from === "shared" && !travelling.has(value.id) && !(made.has(value.id) && !isMaker) && !stored.has(value.id)) refuse(where, `it reads ${value.label}, which ${role.name} has not stored yet`);
      if (from !== "registers") continue;
      const array = arrayOf(value);
      if (array === undefined || !written.has(array)) refuse(where, `it reads ${value.label}, of which ${role.name} has no registers yet`);
      const changing = flying.find((g) => g.arrays.includes(array) && !(isOwnSum(s, array) || (s.kind === "Reduce" && foldsBefore(s, value, g))));
      if (changing) refuse(where, `it reads ${value.label} while ${name(changing)} is under way`);
    }
  }
  /** A product that adds to registers follows in order those that change them. */
  function isOwnSum(s: PlanStmt, array: string | undefined): boolean {
    return s.kind === "Gemm" && s.plan.atom === "wgmma" && s.op.acc !== undefined && arrayOf(s.value) === array;
  }
  /** A part of a reduction reads the same part of a product's registers, and this group is a later one. */
  function foldsBefore({ part, plan: { layout } }: Reduce, product: TileValue, g: Group): boolean {
    const place = plan.places.get(product.id);
    const own = place?.kind === "Stored" ? place.layout : undefined;
    const divides = part !== undefined && (layout.registers.at(-1)?.size ?? 1) % part.count === 0;
    return divides && own !== undefined && registerCount(own) === registerCount(layout) && g.parts === part.count && part.index < g.part;
  }

  /** Registers of a tile change: no product may be using them. */
  function writing(s: PlanStmt, v: TileValue, state: State, where: string): State {
    const array = arrayOf(v);
    const user = state.flying.find((g) => g.arrays.includes(array) && !isOwnSum(s, array));
    if (user) refuse(where, `it changes registers that ${name(user)} uses, which is under way`);
    return array === undefined ? state : { ...state, written: new Set([...state.written, array]) };
  }

  /** The product's operand is packed: the last issue must have read its own. */
  function packing(s: Extract<PlanStmt, { kind: "Gemm" }>, state: State, where: string): State {
    const user = state.flying.find((g) => g.value.id === s.value.id);
    if (user) refuse(where, `it packs ${s.op.a.label} into registers that ${name(user)} uses, which is under way`);
    return { ...state, written: new Set([...state.written, packedName(s)]) };
  }

  function groupsOf(s: Extract<PlanStmt, { kind: "Gemm" }>): Group[] {
    const reads = readsOfPlan(plan, s);
    const shared = reads.flatMap((r) => (r.from === "shared" ? [r.value.id] : []));
    const slots = shared.flatMap((id) => pipeOf.get(id) ?? []);
    const parts = s.plan.parts ?? 1;
    // the columns of a product that follows are those of the last instruction
    const arraysOf = (part: number) => [s, ...(s.follower && part === parts - 1 ? [s.follower] : [])].map((p) => arrayOf(p.value));
    return Array.from({ length: parts }, (_, part) => ({ value: s.value, part, parts, arrays: arraysOf(part), slots, staged: shared }));
  }

  function sameAs(a: State, b: State, where: string, what: string): void {
    const text = ({ flying }: State): string => flying.map(name).join(", ") || "nothing";
    if (text(a) !== text(b)) refuse(where, `${what} leaves ${text(b)} under way where there was ${text(a)}`);
  }
}

const both = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>): ReadonlySet<T> => new Set([...a].filter((x) => b.has(x)));
const name = (g: Group): string => (g.parts > 1 ? `part ${g.part} of ${g.value.label}` : g.value.label);
