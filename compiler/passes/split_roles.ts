/**
 * Divides the plan among roles: copies go to the role that brings them, everything else to the computing role, and the scalars that
 * steer loops to both. The copies of one statement list form a pipe; where its slots are awaited and given back follows from who reads them.
 */
import { childrenOf, variable, type Expr } from "../ir/expr.ts";
import { diagnostic } from "../diagnostics.ts";
import type { Machine, Persistence, Pipe, Plan, PlanStmt, Role } from "../ir/plan.ts";
import { planStatements, readsOfPlan } from "../ir/plan_walk.ts";
import type { ScalarValue, TileOp, TileValue, TileView } from "../ir/tile.ts";
import { inputsOf } from "../ir/walk.ts";
import type { Bound } from "./bind_schedule.ts";

type For = Extract<PlanStmt, { kind: "For" }>;
type Copy = Extract<PlanStmt, { kind: "Copy" }>;

export function splitRoles(plan: Plan, bound: Bound, machine: Machine): Plan {
  const [computing, bringing, ...more] = bound.roles;
  if (!computing) return plan;
  const refuse = (reason: string, instead: string) => diagnostic("E-SCHEDULE-03", { ...plan.kernel.loc, length: plan.kernel.name.length }, { kernel: plan.kernel.name, target: machine.name, reason, instead });
  if (!bringing?.brings || more.length > 0) throw refuse("it needs two roles, one that computes and one that brings tiles", "name them in roles, with `brings` in the second");
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
  collectPipes(plan.body);

  const shared = bound.persistent && bound.persistent !== "strided" ? evenly(plan.body, bound.persistent) : undefined;
  const roles: Role[] = [
    { name: computing.name, warps: computing.warps, copies: computing.copies ?? 1, duty: "compute", ...(computing.registers && { registers: computing.registers }), body: withoutIdleScalars(plan, consume(shared?.compute ?? plan.body)) },
    { name: bringing.name, warps: bringing.warps, copies: bringing.copies ?? 1, duty: "copy", ...(bringing.registers && { registers: bringing.registers }), body: produce(shared?.copy ?? plan.body) },
  ];
  return { ...plan, roles, pipes, ...(shared ? { persistence: shared.persistence } : bound.persistent === "strided" && { persistence: { kind: "strided" } }), body: [] };

  function collectPipes(list: readonly PlanStmt[]): void {
    const copies = list.filter((s) => s.kind === "Copy");
    const stranger = copies.find((c) => !brought.has(c.value.label));
    if (stranger) throw refuse(`no role brings "${stranger.value.label}"`, `add it to ${bringing!.name}'s brings, or leave it out of stage`);
    for (const ring of new Set(copies.map(ringOf))) {
      const values = copies.filter((c) => ringOf(c) === ring).map((c) => c.value);
      const depths = new Set(values.map((v) => bound.rings.get(v.id)!));
      if (depths.size > 1) throw refuse(`the tiles ${values.map((v) => v.label).join(", ")} share a ring and ask for ${[...depths].join(" and ")} slots`, "give them one number, or rings of their own");
      pipes.push({ name: ring || values[0]!.label, depth: [...depths][0]!, values, header: [] });
    }
    for (const s of list) {
      if (s.kind === "For") collectPipes(s.body);
      if (s.kind === "If") [s.then, s.otherwise].forEach(collectPipes);
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
    const scalars = slice(before, [...namesIn(loop.lo), ...namesIn(loop.hi), ...before.flatMap((s) => (s.kind === "Copy" ? namesOfStmt(plan, s) : [])), ...used]);
    const grid = plan.kernel.grid.map((d) => d.index).filter((v) => used.has(v.name));
    const sent = scalars.flatMap((s) => (s.kind === "SerialReduce" || s.kind === "ToScalar" ? [s.scalar] : [])).filter((v) => used.has(v.name));
    const headed: Pipe = { ...pipe, header: [...grid, ...sent, ...range] };
    pipes[pipes.indexOf(pipe)] = headed;
    const compute = [...before.filter((s) => s.kind === "Copy"), ...own];
    const copy = [...before.filter((s) => s.kind === "Copy"), inner];
    const persistence: Persistence = { kind: "even", index: even, padding, least, pipe: pipe.name, scalars, lo: loop.lo, hi: loop.hi, step: loop.step };
    return { compute, copy, persistence };
  }

  /** The computing role's statements: no copies, but waits for their slots. */
  function consume(list: readonly PlanStmt[]): PlanStmt[] {
    const own = list.filter((s) => s.kind !== "Copy");
    const before = new Map<number, PlanStmt[]>();
    const after = new Map<number, PlanStmt[]>();
    const put = (at: Map<number, PlanStmt[]>, i: number, s: PlanStmt) => at.set(i, [...(at.get(i) ?? []), s]);
    for (const pipe of pipesOf(list)) {
      const touched = own.map((s) => touches(s, pipe));
      put(before, pipe.header.length > 0 ? 0 : touched.indexOf(true), { kind: "AwaitFull", pipe: pipe.name });
      put(after, pipe.header.length > 0 ? own.length - 1 : touched.lastIndexOf(true), { kind: "Release", pipe: pipe.name });
    }
    return own.flatMap((s, i): PlanStmt[] => {
      const inner: PlanStmt = s.kind === "For" ? { ...s, body: consume(s.body) } : s.kind === "If" ? { ...s, then: consume(s.then), otherwise: consume(s.otherwise) } : s;
      return [...(before.get(i) ?? []), inner, ...(after.get(i) ?? [])];
    });
  }
  /** A statement reads a pipe's slot, or waits for a product that does. */
  function touches(s: PlanStmt, pipe: Pipe): boolean {
    const inPipe = (v: TileValue) => pipe.values.some((x) => x.id === v.id);
    return [...planStatements([s])].some((t) => {
      if (t.kind === "Fetch") return inPipe(t.value);
      const reader = t.kind === "Await" ? products.get(t.value.id) : t;
      return reader !== undefined && readsOfPlan(plan, reader).some((r) => r.from === "shared" && inPipe(r.value));
    });
  }

  /** The copying role's statements: copies, the control flow around them, and the scalars that these need. */
  function produce(list: readonly PlanStmt[]): PlanStmt[] {
    const needed = list.flatMap((s) => (s.kind === "Copy" ? namesOfStmt(plan, s) : hasCopies(s) ? [...planStatements([s])].flatMap((t) => namesOfStmt(plan, t)) : []));
    const scalars = new Set(slice(list, needed));
    return list.flatMap((s): PlanStmt[] => {
      if (s.kind === "Copy") {
        // all copies of a pipe together, where the last of them stands
        const pipe = pipes.find((p) => p.values.includes(s.value))!;
        const copies = list.filter((c) => c.kind === "Copy" && pipe.values.includes(c.value)) as Copy[];
        return copies.at(-1) === s ? [{ kind: "Fill", pipe: pipe.name, copies }] : [];
      }
      if (s.kind === "For" && hasCopies(s)) return [{ ...s, body: produce(s.body) }];
      if (s.kind === "If" && hasCopies(s)) return [{ ...s, then: produce(s.then), otherwise: produce(s.otherwise) }];
      const steering = [...scalars].find((t) => t === s || (t.kind === "SerialReduce" && s.kind === "ToScalar" && t.scalar === s.scalar));
      return steering ? [steering] : [];
    });
  }
}

const hasCopies = (s: PlanStmt): boolean => [...planStatements([s])].some((t) => t.kind === "Copy");

/** Statements of a list that give the named scalars, for one thread: in order, with what they are made of. */
function slice(list: readonly PlanStmt[], names: readonly string[]): PlanStmt[] {
  const needed = new Set(names);
  const out: PlanStmt[] = [];
  for (const s of [...list].reverse()) {
    if (s.kind === "Let" && needed.has(s.scalar.name)) {
      namesIn(s.expr).forEach((n) => needed.add(n));
      out.unshift(s);
    } else if (s.kind === "ToScalar" && needed.has(s.scalar.name)) {
      const reduce = list.find((t) => t.kind === "Reduce" && t.value.id === s.of.id);
      out.unshift(reduce?.kind === "Reduce" ? { kind: "SerialReduce", scalar: s.scalar, op: reduce.op } : s);
    }
  }
  return out;
}

function namesIn(e: Expr): string[] {
  return e.kind === "Var" ? [e.name] : childrenOf(e).flatMap(namesIn);
}
/** Scalars that a statement itself reads, through what is inline. */
function namesOfStmt(plan: Plan, s: PlanStmt): string[] {
  const ofView = (view: TileView): string[] => view.coords.flatMap((c) => namesIn(c.kind === "Index" ? c.at : c.start));
  const ofTile = (v: TileValue): string[] => {
    const place = plan.places.get(v.id);
    return place?.kind === "Inline" ? ofOp(place.op) : [];
  };
  const ofOp = (op: TileOp): string[] => {
    const own = op.kind === "Load" ? [...ofView(op.view), ...namesIn(op.fill)] : op.kind === "Gather" ? ofView(op.view) : op.kind === "Full" ? namesIn(op.value) : op.kind === "Iota" ? namesIn(op.start) : op.kind === "Map" ? namesIn(op.body) : [];
    return [...own, ...inputsOf(op).flatMap(ofTile)];
  };
  switch (s.kind) {
    case "Let":
      return namesIn(s.expr);
    case "For":
      return [...namesIn(s.lo), ...namesIn(s.hi), ...s.scalars.flatMap((c) => [c.init.name, c.next.name])];
    case "If":
      return [...namesIn(s.cond), ...s.scalars.flatMap((m) => [m.then.name, m.otherwise.name])];
    case "Store":
      return [...ofView(s.view), ...ofTile(s.of), ...(s.keep ? ofTile(s.keep) : [])];
    case "ToScalar":
      return ofTile(s.of);
    case "Move":
      return ofTile(s.from);
    case "HistogramAdd":
      return [...ofTile(s.bin), ...ofTile(s.keep)];
    case "AppendPush":
      return [...ofTile(s.of), ...ofTile(s.keep)];
    case "BagAdd":
      return [...s.items, s.keep].flatMap(ofTile);
    case "BitmapAdd":
      return [...ofTile(s.position), ...ofTile(s.keep)];
    case "AppendMarked":
      return [...namesIn(s.start), ...namesIn(s.limit)];
    case "HistogramFind":
      return namesIn(s.want);
    case "AppendFill":
      return namesIn(s.value);
    case "Append":
      return ofView(s.view);
    case "Copy":
    case "Compute":
    case "Gemm":
    case "Reduce":
    case "Scan":
    case "SerialReduce":
      return ofOp(s.op);
    case "Stage":
      return s.op ? ofOp(s.op) : [];
    default:
      return [];
  }
}

/** Without the scalars that no other statement of the role needs, nor the reductions that only they read. */
function withoutIdleScalars(plan: Plan, list: readonly PlanStmt[]): PlanStmt[] {
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
