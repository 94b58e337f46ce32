/**
 * Divides the plan among roles: copies go to the role that brings them, what makes tiles in slots to the role that makes them, everything else to
 * the computing role, and the scalars that steer loops to all. The copies of one statement list form a pipe; where its slots are awaited, handed over
 * and given back follows from who reads and makes what.
 */
import { variable, type Expr } from "../ir/expr.ts";
import { diagnostic } from "../diagnostics.ts";
import type { Machine, Persistence, Pipe, Plan, PlanStmt, Role } from "../ir/plan.ts";
import { namesIn, namesOfStmt, planStatements, readsOfPlan, slotTile, tilesOf } from "../ir/plan_walk.ts";
import { complaintOfRoles } from "../ir/role_limits.ts";
import type { ScalarValue, TileValue } from "../ir/tile.ts";
import type { Bound } from "./bind_schedule.ts";
import { divideMaking, fetchesWords } from "./split_maker.ts";
import { neededScalars, serialScalar, unknownScalar, withoutIdleScalars } from "./role_scalars.ts";

type For = Extract<PlanStmt, { kind: "For" }>;
type Copy = Extract<PlanStmt, { kind: "Copy" }>;

export function splitRoles(plan: Plan, bound: Bound, machine: Machine): Plan {
  const [computing, ...others] = bound.roles;
  const [making] = others.filter((r) => r.makes);
  const [bringing, ...more] = others.filter((r) => r !== making);
  const refuse = (reason: string, instead: string) => diagnostic("E-SCHEDULE-03", { ...plan.kernel.loc, length: plan.kernel.name.length }, { kernel: plan.kernel.name, target: machine.name, reason, instead });
  if (!computing) return plan;
  if (!bringing?.brings || more.length > 0) throw refuse("it needs two roles, one that computes and one that brings tiles, and at most a third one that makes tiles", "name them in roles, with `brings` in the second and `makes` in the third");
  const brought = new Set(bringing.brings);

  const products = new Map([...planStatements(plan.body)].flatMap((s) => (s.kind === "Gemm" ? [[s.value.id, s] as const] : [])));
  if (bound.roles.some((r) => (r.copies ?? 1) > 1) && typeof bound.persistent !== "object") throw refuse("copies of a role take turns, but no loop's iterations are dealt out", "name the loop in persistent.even");

  const pipes: Pipe[] = [];
  const ringOf = (s: Copy): string => bound.ringNames.get(s.value.id) ?? "";
  /** Pipes of the copies that stand in a list, in order. */
  const pipesOf = (list: readonly PlanStmt[]): Pipe[] => {
    const ids = new Set(list.flatMap((s) => (s.kind === "Copy" ? [s.value.id] : [])));
    return pipes.filter((p) => p.values.some((v) => ids.has(v.id)));
  };
  collectPipes(plan.body, "outside");

  const shared = bound.persistent && bound.persistent !== "strided" ? evenly(plan.body, bound.persistent) : undefined;
  const roleOf = ({ name, warps, copies = 1, registers }: (typeof bound.roles)[number], duty: Role["duty"], body: readonly PlanStmt[]): Role => ({ name, warps, copies, duty, ...(registers && { registers }), body });
  const division = divideMaking(plan, plan.body, new Set(bound.made.keys()));
  const roles: Role[] = [
    roleOf(computing, "compute", withoutIdleScalars(plan, consume(shared?.compute ?? plan.body, "compute"))),
    ...(making ? [roleOf(making, "make", neededScalars(plan, consume(shared?.compute ?? plan.body, "make"), []))] : []),
    roleOf(bringing, "copy", neededScalars(plan, produce(shared?.copy ?? plan.body), [])),
  ];
  if (making) checkMaking(making.name);
  const header = pipes.flatMap((p) => p.header.map((v) => v.name));
  for (const { name, duty, body } of roles.slice(1)) {
    const scalars = duty === "copy" ? (shared?.persistence.scalars ?? []) : [];
    const unknown = unknownScalar(plan, [...scalars, ...body], duty === "copy" ? (shared?.range ?? []) : header);
    if (unknown === undefined) continue;
    throw refuse(`${name} needs "${unknown}" to ${duty === "copy" ? "bring" : "make"} its tiles, and only ${computing.name} can compute it`, `compute it from loads and other scalars, outside of loops, or leave those tiles out of ${duty === "copy" ? "stage" : "makes"}`);
  }
  const split: Plan = { ...plan, roles, pipes, ...(shared ? { persistence: shared.persistence } : bound.persistent === "strided" && { persistence: { kind: "strided" } }), body: [] };
  const complaint = complaintOfRoles(split, roles, machine);
  if (complaint !== undefined) throw refuse(complaint, "change the warps, copies and registers of its roles");
  return split;

  /** Where the list stands: outside of the loop whose iterations are dealt out, in it, or in another loop or a branch in it. */
  function collectPipes(list: readonly PlanStmt[], where: "outside" | "turn" | "within"): void {
    const copies = list.filter((s) => s.kind === "Copy");
    const stranger = copies.find((c) => !brought.has(c.value.label));
    if (stranger) throw refuse(`no role brings "${stranger.value.label}"`, `add it to ${bringing!.name}'s brings, or leave it out of stage`);
    for (const ring of new Set(copies.map(ringOf))) {
      const own = copies.filter((c) => ringOf(c) === ring);
      const values = own.map((c) => c.value);
      const labels = values.map((v) => v.label).join(", ");
      const name = ring || values[0]!.label;
      const [depth, ...others] = [...new Set(values.map((v) => bound.rings.get(v.id)!))];
      if (others.length > 0) throw refuse(`the tiles ${labels} share a ring and ask for ${[depth, ...others].join(" and ")} slots`, "give them one number, or rings of their own");
      if (pipes.some((p) => p.name === name)) throw refuse(`the tiles ${labels} are loaded elsewhere than the others of the ring "${name}"`, "give them a ring of their own");
      const between = list.slice(list.indexOf(own[0]!), list.lastIndexOf(own.at(-1)!)).find(hasInnerCopies);
      if (between) throw refuse(`the tiles ${labels} share a ring, and others are brought in a loop or branch between their loads`, "give them rings of their own");
      const several = where === "within" ? bound.roles.find((r) => (r.copies ?? 1) > 1) : undefined;
      if (several) throw refuse(`the ${several.copies} copies of ${several.name} take turns at the slots of "${name}", which a turn fills more than once or not at all`, "load its tiles in the loop itself, or leave out copies");
      const turning = bound.roles.find((r) => where !== "outside" && depth! % (r.copies ?? 1) !== 0);
      if (turning) throw refuse(`the ${turning.copies} copies of ${turning.name} take turns at the ${depth} slots of "${name}", so that a slot goes from one to another`, `give it a multiple of ${turning.copies} slots`);
      const made = list.flatMap((s) => (s.kind === "Stage" && values.some((v) => v.id === bound.made.get(s.value.id)?.id) ? [s.value] : []));
      pipes.push({ name, depth: depth!, values, made, header: [] });
    }
    for (const s of list) {
      const inside = where === "outside" ? "outside" : "within";
      if (s.kind === "For") collectPipes(s.body, typeof bound.persistent === "object" && s.index.name === bound.persistent.even ? "turn" : inside);
      if (s.kind === "If") [s.then, s.otherwise].forEach((side) => collectPipes(side, inside));
    }
  }

  /** Takes the loop whose iterations are dealt out evenly out of the kernel's body. */
  function evenly(body: readonly PlanStmt[], { even, padding = 0, least = 0 }: { readonly even: string; readonly padding?: number; readonly least?: number }) {
    const at = body.findIndex((s) => s.kind === "For" && s.index.name === even);
    const loop = body[at] as For | undefined;
    if (!loop) throw refuse(`no loop "${even}" stands directly in the body`, "name the variable of such a loop in persistent.even");
    if (at !== body.length - 1 || loop.scalars.length > 0 || [...planStatements(loop.body)].some((s) => s.kind === "Move"))
      throw refuse(`the iterations of "${even}" depend on each other, or something follows the loop`, `use persistent: "strided"`);
    const before = body.slice(0, at);
    const [pipe] = pipesOf(body);
    if (!pipe) throw refuse(`no tile outside "${even}" travels through a ring, so nothing carries the work's header`, "bring a tile that is loaded before the loop");
    const range = ["from", "to"].map((end): ScalarValue => ({ name: `${even}_${end}`, type: "i32", loc: loop.loc }));
    const [from, to] = range.map((v) => variable("i32", v.name)) as [Expr, Expr];
    const inner: PlanStmt = { ...loop, lo: from, hi: to };
    // scalars that come from tiles are found by the copying role and sent along; what follows from them is computed again
    const own = withoutIdleScalars(plan, [...before.filter((s) => s.kind !== "Copy"), inner]).filter((s) => s.kind !== "ToScalar" && !(s.kind === "Reduce" && before.some((t) => t.kind === "ToScalar" && t.of.id === s.value.id)));
    const used = new Set([...planStatements(own)].flatMap((s) => namesOfStmt(plan, s)));
    const scalars = neededScalars(plan, before.flatMap((s) => serialScalar(s, before)), [...namesIn(loop.lo), ...namesIn(loop.hi), ...before.flatMap((s) => (s.kind === "Copy" ? namesOfStmt(plan, s) : [])), ...used]);
    const grid = plan.kernel.grid.map((d) => d.index).filter((v) => used.has(v.name));
    const sent = scalars.flatMap((s) => (s.kind === "SerialReduce" || s.kind === "ToScalar" ? [s.scalar] : [])).filter((v) => used.has(v.name));
    const headed: Pipe = { ...pipe, header: [...grid, ...sent, ...range] };
    pipes[pipes.indexOf(pipe)] = headed;
    const compute = [...before.filter((s) => s.kind === "Copy"), ...own];
    const copy = [...before.filter((s) => s.kind === "Copy"), inner];
    const persistence: Extract<Persistence, { kind: "even" }> = { kind: "even", index: even, padding, least, pipe: pipe.name, scalars, lo: loop.lo, hi: loop.hi, step: loop.step };
    return { compute, copy, persistence, range: range.map((v) => v.name) };
  }

  /** The statements of a role that computes or makes tiles: no copies, but waits for their slots. */
  function consume(list: readonly PlanStmt[], duty: "compute" | "make"): PlanStmt[] {
    const own = list.flatMap((s): readonly PlanStmt[] => (s.kind === "Copy" ? [] : duty === "make" ? ownOfMaker(s, list) : division.left.has(s) ? [] : [s]));
    const before = new Map<number, PlanStmt[]>();
    const after = new Map<number, PlanStmt[]>();
    const put = (at: Map<number, PlanStmt[]>, i: number, s: PlanStmt) => at.set(i, [...(at.get(i) ?? []), s]);
    for (const pipe of pipesOf(list)) {
      const touched = own.map((s) => touches(s, pipe, duty));
      const makes = duty === "make" && pipe.made.length > 0;
      put(before, pipe.header.length > 0 ? 0 : touched.indexOf(true), { kind: makes || pipe.made.length === 0 ? "AwaitFull" : "AwaitMade", pipe: pipe.name });
      put(after, pipe.header.length > 0 ? own.length - 1 : touched.lastIndexOf(true), { kind: makes ? "HandOver" : "Release", pipe: pipe.name });
    }
    const within = (s: PlanStmt): PlanStmt => {
      if (s.kind === "For") return { ...s, body: consume(s.body, duty) };
      if (s.kind === "If") return { ...s, then: consume(s.then, duty), otherwise: consume(s.otherwise, duty) };
      return duty === "make" && s.kind === "Fetch" && fetchesWords(plan, s, division, machine) ? { ...s, words: true } : s;
    };
    return own.flatMap((s, i) => [...(before.get(i) ?? []), within(s), ...(after.get(i) ?? [])]);
  }
  /** What the maker runs of a statement of a list: scalars it finds by itself. */
  function ownOfMaker(s: PlanStmt, list: readonly PlanStmt[]): readonly PlanStmt[] {
    if (s.kind === "For" || s.kind === "If") return [...planStatements([s])].some((t) => division.makes.has(t)) ? [s] : [];
    return division.makes.has(s) ? [s] : serialScalar(s, list);
  }
  /** A role of its own can make the tiles: from what is brought, and from what each thread finds by itself. */
  function checkMaking(maker: string): void {
    const inSlots = new Set(pipes.flatMap((p) => tilesOf(p).map((v) => v.id)));
    for (const s of division.makes) {
      const isSimple = s.kind === "Stage" || s.kind === "Fetch" || s.kind === "Compute" || s.kind === "Reduce" || s.kind === "Move";
      const strange = readsOfPlan(plan, s).find((r) => r.from === "shared" && !inSlots.has(r.value.id))?.value.label ?? (isSimple ? undefined : s.kind === "Gemm" || s.kind === "Scan" ? s.value.label : s.kind);
      if (strange !== undefined) throw refuse(`${maker} needs "${strange}" to make its tiles, and only ${computing!.name} has it`, "compute them from loads and from tiles in rings, or leave them out of makes");
    }
  }
  /** A statement reads a pipe's slot, or waits for a product that does. */
  function touches(s: PlanStmt, pipe: Pipe, duty: "compute" | "make"): boolean {
    const inPipe = (v: TileValue) => tilesOf(pipe).some((x) => x.id === slotTile(plan, v.id));
    return [...planStatements([s])].some((t) => {
      if (duty === "make" ? !division.makes.has(t) : division.left.has(t)) return false;
      if (t.kind === "Fetch" || (t.kind === "Stage" && inPipe(t.value))) return inPipe(t.value);
      const reader = t.kind === "Await" ? products.get(t.value.id) : t;
      return reader !== undefined && readsOfPlan(plan, reader).some((r) => r.from === "shared" && inPipe(r.value));
    });
  }

  /** The copying role's statements: copies, the control flow around them, and scalars. */
  function produce(list: readonly PlanStmt[]): PlanStmt[] {
    return list.flatMap((s): PlanStmt[] => {
      if (s.kind === "Copy") {
        // all copies of a pipe together, where the last of them stands
        const pipe = pipes.find((p) => p.values.includes(s.value))!;
        const copies = list.filter((c) => c.kind === "Copy" && pipe.values.includes(c.value)) as Copy[];
        return copies.at(-1) === s ? [{ kind: "Fill", pipe: pipe.name, copies }] : [];
      }
      if (s.kind === "For" && hasCopies(s)) return [{ ...s, body: produce(s.body) }];
      if (s.kind === "If" && hasCopies(s)) return [{ ...s, then: produce(s.then), otherwise: produce(s.otherwise) }];
      return serialScalar(s, list);
    });
  }
}

const hasInnerCopies = (s: PlanStmt): boolean => s.kind !== "Copy" && hasCopies(s);
const hasCopies = (s: PlanStmt): boolean => [...planStatements([s])].some((t) => t.kind === "Copy");
