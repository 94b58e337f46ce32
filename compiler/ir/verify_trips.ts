/**
 * All roles walk the same trips through every ring, and none waits for another that waits for it.
 *
 * A trip of a pipe is one run of the statement list in which it is filled. Each pipe is filled at one place of one role and, in each role
 * that reads it, awaited and released once in one list. Where one role makes tiles of its slots, it awaits them and hands them over, and the others
 * await what is made. These places are nested alike, in loops and branches whose bounds and conditions mean
 * the same in both roles; so the n-th fill, the n-th wait and the n-th release belong to one trip, on every path.
 *
 * Then a wait could be in vain only if roles wait for each other in a circle. Within a trip of a list, a role goes through its statements in order,
 * a wait for a full slot comes after its fill, and one for what is made after it is handed over; loops that several roles share are one step. If these steps have an order, then so
 * has the whole run: trips in sequence, steps in order within each. A fill that waits for an empty slot waits for the release of an earlier trip, which
 * comes after that trip's maker is done with the slot: so the maker needs no wait for its own tiles to be free.
 */
import { mapExpr, type Expr } from "./expr.ts";
import type { Pipe, Plan, PlanStmt, Role } from "./plan.ts";
import { describeStmt } from "./plan_walk.ts";
import { printExpr, printOp } from "./print_tile.ts";
import type { Refuse } from "./verify_roles.ts";

type Event = Extract<PlanStmt, { kind: "Fill" | "AwaitFull" | "HandOver" | "AwaitMade" | "Release" }>;
const does: Readonly<Record<Event["kind"], string>> = { Fill: "fills", AwaitFull: "awaits", HandOver: "hands over", AwaitMade: "awaits what is made in", Release: "releases" };
const isEvent = (s: PlanStmt): s is Event => s.kind in does;

/** Where an event stands. */
interface Site {
  readonly role: Role;
  readonly event: Event;
  readonly list: readonly PlanStmt[];
  /** The loops and branches around it, outermost first, by what their bounds and conditions mean. */
  readonly path: readonly string[];
}

export function verifyTrips(plan: Plan, roles: readonly Role[], refuse: Refuse): void {
  const pipes = plan.pipes ?? [];
  checkHeaders(plan, roles, refuse);
  const sites = roles.flatMap((role) => sitesOf(plan, role, refuse));
  for (const { event } of sites) if (!pipes.some((p) => p.name === event.pipe)) refuse(describeStmt(event), "there is no such pipe");
  for (const pipe of pipes) {
    const fills = sites.filter((s) => s.event.kind === "Fill" && s.event.pipe === pipe.name);
    const [fill] = fills;
    if (!fill || fills.length > 1) return refuse(pipe.name, `it is filled at ${fills.length} places`);
    checkFill(plan, pipe, fill, refuse);
    const readers = roles.filter((r) => sites.some((s) => s.role === r && s.event.kind !== "Fill" && s.event.pipe === pipe.name));
    if (readers.length === 0) refuse(pipe.name, "no role takes its slots");
    for (const reader of readers) checkReader(pipe, fill, sites.filter((s) => s.role === reader && s.event.pipe === pipe.name), refuse);
    const makers = readers.filter((r) => r.duty === "make").length;
    if (pipe.made.length > 0 && (makers !== 1 || makers === readers.length)) refuse(pipe.name, `${makers} of the ${readers.length} roles that take its slots make ${pipe.made.map((v) => v.label).join(", ")}`);
  }
  checkOrder(roles.map((role) => ({ role: role.name, list: role.body })), refuse);
}

/** Work is sent through the header of one pipe: to every computing role, which waits for it first. */
function checkHeaders({ persistence, pipes = [] }: Plan, roles: readonly Role[], refuse: Refuse): void {
  const carrier = persistence?.kind === "even" ? persistence.pipe : undefined;
  for (const p of pipes) if (p.header.length > 0 !== (p.name === carrier)) refuse(p.name, p.name === carrier ? "the work's pipe has no header" : "its header has no work to carry");
  for (const { name, duty, body } of roles) {
    const [first] = body;
    if (carrier !== undefined && duty !== "copy" && !((first?.kind === "AwaitFull" || first?.kind === "AwaitMade") && first.pipe === carrier)) refuse(name, `it does not begin with a wait for ${carrier}, which says what its work is`);
  }
}

/** The fill brings every tile of the pipe, each to its slot. */
function checkFill(plan: Plan, pipe: Pipe, { role, event }: Site, refuse: Refuse): void {
  if (role.duty !== "copy") refuse(describeStmt(event), `${role.name} computes and cannot start copies`);
  if (!(Number.isInteger(pipe.depth) && pipe.depth > 0)) refuse(pipe.name, `it has ${pipe.depth} slots`);
  const copies = event.kind === "Fill" ? event.copies : [];
  for (const v of pipe.values) {
    const own = copies.filter((c) => c.value.id === v.id);
    const place = plan.places.get(v.id);
    if (own.length !== 1) refuse(describeStmt(event), `it brings ${v.label} ${own.length} times`);
    if (!(place?.kind === "Stored" && place.stage === own[0]!.stage)) refuse(describeStmt(event), `it brings ${v.label} elsewhere than its place says`);
  }
  const picked = copies.find((c) => c.op.kind === "Gather" && c.by === "tma");
  if (picked) refuse(describeStmt(event), `it brings ${picked.value.label} by TMA, which takes no indices`);
  const stranger = copies.find((c) => !pipe.values.some((v) => v.id === c.value.id));
  if (stranger) refuse(describeStmt(event), `it brings ${stranger.value.label}, which is not of the pipe`);
}

/** One wait, then one release, in one list; nested as the fill is. A role that makes tiles of the slots hands them over instead, and others await that. */
function checkReader(pipe: Pipe, fill: Site, sites: readonly Site[], refuse: Refuse): void {
  const { name, duty } = sites[0]!.role;
  const makes = pipe.made.length > 0 && duty === "make";
  const [await_, end] = makes ? (["AwaitFull", "HandOver"] as const) : ([pipe.made.length > 0 ? "AwaitMade" : "AwaitFull", "Release"] as const);
  const of = (kind: Event["kind"]): readonly Site[] => sites.filter((s) => s.event.kind === kind);
  const [waits, releases] = [of(await_), of(end)];
  const stranger = sites.find((s) => s.event.kind !== await_ && s.event.kind !== end);
  if (stranger) refuse(pipe.name, `${name} ${does[stranger.event.kind]} it, ${makes ? "and makes" : pipe.made.length > 0 ? "and does not make" : "where nobody makes"} tiles of it`);
  const [wait] = waits;
  const [release] = releases;
  if (!wait || !release || waits.length + releases.length > 2) return refuse(pipe.name, `${name} ${does[await_]} it at ${waits.length} places and ${does[end]} it at ${releases.length}`);
  if (wait.list !== release.list || wait.list.indexOf(wait.event) > wait.list.indexOf(release.event)) refuse(pipe.name, `${name} does not ${makes ? "hand it over" : "release it"} behind the wait, in the same trip`);
  const [ours, theirs] = [wait, fill].map((s) => s.path.join(", ") || "nothing");
  if (ours !== theirs) refuse(pipe.name, `${fill.role.name} fills it inside ${theirs}, ${name} awaits it inside ${ours}`);
}

/** What scalars mean: their definitions down to grid, sizes and tiles. Two roles that agree in the text agree in the value. */
type Meanings = Map<string, string>;

/** Undefined: it names a scalar that the role does not know. */
function meaningOf(e: Expr, known: Meanings): string | undefined {
  let complete = true;
  const text = printExpr(
    mapExpr(e, (n) => {
      if (n.kind !== "Var") return n;
      const name = known.get(n.name);
      complete &&= name !== undefined;
      return name === undefined ? n : { ...n, name };
    }),
  );
  return complete ? `(${text})` : undefined;
}

function sitesOf(plan: Plan, role: Role, refuse: Refuse): Site[] {
  const { kernel, persistence, pipes = [] } = plan;
  const sites: Site[] = [];
  const start: Meanings = new Map(kernel.dims.map((d) => [d.name, d.name]));
  const grid = kernel.grid.map((d) => d.index.name);
  if (persistence?.kind === "even") {
    const sender: Meanings = new Map([...start, ...[...grid, `${persistence.index}_from`, `${persistence.index}_to`].map((n) => [n, n] as const)]);
    persistence.scalars.forEach((s, i) => define(s, persistence.scalars.slice(0, i), sender));
    const header = pipes.find((p) => p.name === persistence.pipe)?.header ?? [];
    const known = role.duty === "copy" ? [...sender] : header.map((v) => [v.name, sender.get(v.name) ?? refuse(persistence.pipe, `its header has ${v.name}, which nobody finds`)] as const);
    known.forEach(([name, meaning]) => start.set(name, meaning));
  } else grid.forEach((name) => start.set(name, name));
  /** What loops carry, by a name that no scalar has. */
  const carried = new Map<string, string | undefined>();
  walk(role.body, start, []);
  return sites.map((site) => ({ ...site, path: site.path.map((text) => `${text}${[...carriedIn(text, new Set())].join("")}`) }));

  function carriedIn(text: string, found: Set<string>): Set<string> {
    for (const [name] of text.matchAll(/carried\([^()]+\)/g)) {
      const meaning = carried.get(name) ?? refuse(role.name, `it steers by ${name}, of which it does not know the next value`);
      if (found.has(` where ${name} is ${meaning}`)) continue;
      carriedIn(meaning, found.add(` where ${name} is ${meaning}`));
    }
    return found;
  }
  function walk(list: readonly PlanStmt[], known: Meanings, path: readonly string[]): void {
    list.forEach((s, i) => {
      if (isEvent(s)) sites.push({ role, event: s, list, path });
      else if (s.kind === "For") loop(s, known, path);
      else if (s.kind === "If") branch(s, known, path);
      else define(s, list.slice(0, i), known);
    });
  }
  function loop(s: Extract<PlanStmt, { kind: "For" }>, known: Meanings, path: readonly string[]): void {
    const bounds = [s.lo, s.hi].map((e) => meaningOf(e, known));
    const text = steering(s, bounds) && `for ${s.index.name} = ${bounds.join(" to ")} step ${s.step}`;
    const inner = new Map(known).set(s.index.name, s.index.name);
    for (const c of s.scalars) inner.set(c.param.name, `carried(${c.param.name})`);
    walk(s.body, inner, [...path, text]);
    for (const c of s.scalars) {
      const [init, next] = [known.get(c.init.name), inner.get(c.next.name)];
      carried.set(`carried(${c.param.name})`, init && next && `${init}, then ${next} in ${text}`);
      known.set(c.result.name, `the last carried(${c.param.name})`);
    }
  }
  function branch(s: Extract<PlanStmt, { kind: "If" }>, known: Meanings, path: readonly string[]): void {
    const cond = meaningOf(s.cond, known);
    const text = steering(s, [cond]) && `if ${cond}`;
    const sides = (["then", "otherwise"] as const).map((side) => {
      const inner = new Map(known);
      walk(s[side], inner, [...path, `${text} ${side}`]);
      return inner;
    });
    for (const m of s.scalars) known.set(m.result.name, `${cond} ? ${sides[0]!.get(m.then.name)} : ${sides[1]!.get(m.otherwise.name)}`);
  }
  /** Refuses a loop or branch around events whose way the role cannot know. */
  function steering(s: PlanStmt, meanings: readonly (string | undefined)[]): string {
    if (hasEvents(s) && meanings.includes(undefined)) refuse(describeStmt(s), `${role.name} steers by a scalar that it does not know`);
    return " ";
  }
}

const hasEvents = (s: PlanStmt): boolean => isEvent(s) || listsOf(s).flat().some(hasEvents);
const listsOf = (s: PlanStmt): readonly (readonly PlanStmt[])[] => (s.kind === "For" ? [s.body] : s.kind === "If" ? [s.then, s.otherwise] : []);

/** Notes what a scalar means; `before`: the statements of its list so far. */
function define(s: PlanStmt, before: readonly PlanStmt[], known: Meanings): void {
  if (s.kind === "Let") {
    const meaning = meaningOf(s.expr, known);
    if (meaning !== undefined) known.set(s.scalar.name, meaning);
  } else if (s.kind === "SerialReduce") known.set(s.scalar.name, printOp(s.op));
  else if (s.kind === "ToScalar") {
    const found = before.find((t) => t.kind === "Reduce" && t.value.id === s.of.id);
    known.set(s.scalar.name, found?.kind === "Reduce" ? printOp(found.op) : `scalar ${s.of.label}`);
  }
}

interface Program {
  readonly role: string;
  readonly list: readonly PlanStmt[];
}

/** A step: an event of one role, or a loop or branch that roles share, named by the pipes in it. */
interface Step {
  readonly key: string;
  readonly text: string;
}

/** The steps of one trip, of all roles together, have an order. */
function checkOrder(programs: readonly Program[], refuse: Refuse): void {
  const nests = programs.flatMap(({ role, list }) => list.filter((s) => !isEvent(s) && hasEvents(s)).map((s) => ({ role, s, pipes: pipesIn(s) })));
  // nests of different roles that serve one pipe are one step
  const groups: (typeof nests)[] = [];
  for (const nest of nests) {
    const joined = groups.filter((g) => g.some((n) => n.pipes.some((p) => nest.pipes.includes(p))));
    for (const g of joined) groups.splice(groups.indexOf(g), 1);
    groups.push([...joined.flat(), nest]);
  }
  const stepOf = (role: string, s: PlanStmt): Step => {
    if (isEvent(s)) return { key: `${s.kind} ${s.pipe} ${s.kind === "Fill" || s.kind === "HandOver" ? "" : role}`, text: `${role} ${does[s.kind]} ${s.pipe}` };
    return { key: `nest ${groups.findIndex((g) => g.some((n) => n.s === s))}`, text: describeStmt(s) };
  };
  const after = new Map<string, Set<string>>();
  const texts = new Map<string, string>();
  const edge = (a: string, b: string): void => void after.set(a, (after.get(a) ?? new Set()).add(b));
  for (const { role, list } of programs) {
    const steps = list.filter(hasEvents).map((s) => stepOf(role, s));
    steps.forEach((step, i) => {
      texts.set(step.key, step.text);
      if (i > 0) edge(steps[i - 1]!.key, step.key);
    });
    for (const s of list) if (s.kind === "AwaitFull" || s.kind === "AwaitMade") edge(`${s.kind === "AwaitFull" ? "Fill" : "HandOver"} ${s.pipe} `, stepOf(role, s).key);
  }
  const circle = circleIn(after);
  if (circle) refuse(circle.map((key) => texts.get(key)).join(", then "), "the roles wait for each other in a circle");
  for (const group of groups)
    for (const side of [0, 1])
      checkOrder(group.flatMap(({ role, s }) => (listsOf(s)[side] ? [{ role, list: listsOf(s)[side]! }] : [])), refuse);
}

const pipesIn = (s: PlanStmt): readonly string[] => (isEvent(s) ? [s.pipe] : listsOf(s).flat().flatMap(pipesIn));

/** Keys that follow each other in a circle, if there are any. */
function circleIn(after: ReadonlyMap<string, ReadonlySet<string>>): readonly string[] | undefined {
  const done = new Set<string>();
  const visit = (key: string, way: readonly string[]): readonly string[] | undefined => {
    if (way.includes(key)) return [...way.slice(way.indexOf(key)), key];
    if (done.has(key)) return undefined;
    for (const next of after.get(key) ?? []) {
      const circle = visit(next, [...way, key]);
      if (circle) return circle;
    }
    done.add(key);
    return undefined;
  };
  for (const key of after.keys()) {
    const circle = visit(key, []);
    if (circle) return circle;
  }
  return undefined;
}
