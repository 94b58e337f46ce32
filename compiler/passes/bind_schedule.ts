/** Finds the tiles that a schedule names. */
import { didYouMean } from "../../dsl/names.ts";
import { diagnostic } from "../diagnostics.ts";
import { CLUSTER_SIZES } from "../ir/cluster.ts";
import type { Machine } from "../ir/plan.ts";
import type { TileKernel, TileOp, TileStmt, TileValue } from "../ir/tile.ts";
import { bodiesOf, definedTiles, inputsOf, readsOf, statements } from "../ir/walk.ts";
import { DEFAULT_THREADS, type RoleSchedule, type Schedule } from "../target.ts";

export interface Bound {
  /** Threads that layouts are made for: of the block, or of one copy of the computing role. */
  readonly threads: number;
  /** Depth of the ring of each tile that travels through one, by value id. */
  readonly rings: ReadonlyMap<number, number>;
  /** Name of the ring that a tile asks for. */
  readonly ringNames: ReadonlyMap<number, string>;
  /** Tiles in rings that threads copy by cp.async. */
  readonly copied: ReadonlySet<number>;
  /** Tiles that a role makes for others, by value id, and the tile of a ring in whose slot each lies. */
  readonly made: ReadonlyMap<number, TileValue>;
  /** Threads of that role. */
  readonly makers?: number;
  /** Tiles whose copies leave the L2 cache first. */
  readonly evictFirst: ReadonlySet<number>;
  /** Tiles that loops read an iteration ahead, by value id. */
  readonly ahead: ReadonlySet<number>;
  /** Those of them that no cache need keep. */
  readonly once: ReadonlySet<number>;
  /** Accumulators in flight of each product that wgmma computes, by value id. */
  readonly products: ReadonlyMap<number, number>;
  /** Products that a turn of their loop issues for the turn before. */
  readonly late: ReadonlySet<number>;
  /** Products whose columns go along with those of another, by value id: the other's. */
  readonly leaders: ReadonlyMap<number, TileValue>;
  readonly roles: readonly (RoleSchedule & { readonly name: string })[];
  readonly persistent?: Schedule["persistent"];
  readonly cluster?: Schedule["cluster"];
}

/** Throws E-SCHEDULE-01 for a label that no tile has, E-SCHEDULE-03 for numbers that no program can have. */
export function bindSchedule(kernel: TileKernel, schedule: Schedule, machine: Machine): Bound {
  const target = machine.name;
  const span = { ...kernel.loc, length: kernel.name.length };
  const refuse = (reason: string, instead: string) => diagnostic("E-SCHEDULE-03", span, { kernel: kernel.name, target, reason, instead });
  const tiles = [...definedTiles(kernel.body)];
  const defined = [...statements(kernel.body)].flatMap((s) => (s.kind === "Define" && s.op.kind === "Gemm" ? [s.value] : []));
  /** Every tile of that name; a variable that is assigned again and again is several tiles. */
  const named = (part: string, label: string, what: "tile" | "product"): readonly TileValue[] => {
    const among = what === "tile" ? tiles : defined;
    const found = among.filter((t) => t.label === label || nameOf(t) === label);
    if (found.length > 0) return found;
    const names = [...new Set(among.map(nameOf))];
    throw diagnostic("E-SCHEDULE-01", span, { label, part, what, kernel: kernel.name, target, known: names.join(", ") || "none", guess: didYouMean(label, names) });
  };
  const bind = <V, W>(part: string, what: "tile" | "product", of: Readonly<Record<string, V>>, value: (v: V) => W): Map<number, W> =>
    new Map(Object.entries(of).flatMap(([label, v]) => named(part, label, what).map((t) => [t.id, value(v)] as const)));

  const roles = Object.entries(schedule.roles ?? {}).map(([name, role]) => ({ name, ...role }));
  const [computing] = roles;
  if (computing && !machine.instructions.has("mbarrierInit")) throw refuse("the target has no barriers between roles", "leave roles, stage, mma and persistent to schedules of other targets");
  if (!computing && (schedule.stage || schedule.persistent)) throw refuse("rings and blocks that stay need roles", "name two roles, the computing one first, or leave out stage and persistent");
  const threads = computing ? (32 * computing.warps) / (computing.copies ?? 1) : (schedule.threads ?? DEFAULT_THREADS);
  if (!Number.isInteger(Math.log2(threads))) throw refuse(`${threads} threads ${computing ? `of a copy of ${computing.name}` : "of a block"} are no power of two`, "layouts halve them again and again");
  if (schedule.cluster) {
    const { blocks } = schedule.cluster;
    if (!machine.instructions.has("clusterArrive")) throw refuse("the target has no clusters", "leave cluster to schedules of other targets");
    if (computing) throw refuse("it has roles and a cluster", "leave out one of them");
    if (!CLUSTER_SIZES.includes(blocks)) throw refuse(`a cluster of ${blocks} blocks`, `give it ${CLUSTER_SIZES.join(", ")}`);
  }
  for (const [label, ring] of Object.entries(schedule.stage ?? {})) {
    const slots = typeof ring === "number" ? ring : ring.slots;
    if (!(Number.isInteger(slots) && slots > 0)) throw refuse(`the ring of "${label}" has ${slots} slots`, "give it at least one");
  }
  const rings = bind("stage", "tile", schedule.stage ?? {}, (ring) => (typeof ring === "number" ? { slots: ring, name: "" } : { slots: ring.slots, name: ring.ring }));
  for (const { name, brings = [] } of roles)
    for (const label of brings)
      if (!named("brings", label, "tile").some((t) => rings.has(t.id))) throw refuse(`${name} brings "${label}", which travels through no ring`, "give it slots in stage");
  for (const { name, brings = [], cpAsync = [] } of roles)
    for (const label of cpAsync) if (!brings.includes(label)) throw refuse(`${name} copies "${label}" by cp.async and does not bring it`, `add it to ${name}'s brings`);
  const gathers = new Set([...statements(kernel.body)].flatMap((s) => (s.kind === "Define" && s.op.kind === "Gather" ? [s.value.id] : [])));
  const byThreads = new Set(roles.flatMap(({ cpAsync = [] }) => cpAsync.flatMap((label) => named("cpAsync", label, "tile").map((t) => t.id))));
  const copied = new Set([...rings.keys()].filter((id) => gathers.has(id) || byThreads.has(id)));
  const evictFirst = new Set((schedule.evictFirst ?? []).flatMap((label) => named("evictFirst", label, "tile").map((t) => t.id)));
  const early = tiles.find((t) => copied.has(t.id) && evictFirst.has(t.id));
  if (early) throw refuse(`"${early.label}" comes by cp.async, which leaves nothing early`, "leave it out of evictFirst");
  const makers = roles.filter((r) => r.makes);
  if (makers.length > 1 || makers.includes(computing!)) throw refuse(`tiles are made by ${makers.map((r) => r.name).join(" and ")}`, "let one role beside the computing one make them all");
  const [maker] = makers;
  if (maker?.brings) throw refuse(`${maker.name} brings tiles and makes others`, "give each a role of its own");
  if ((maker?.copies ?? 1) > 1) throw refuse(`${maker!.copies} copies of ${maker!.name} make tiles`, "give one copy as many warps");
  if (maker && !Number.isInteger(Math.log2(32 * maker.warps))) throw refuse(`${32 * maker.warps} threads of ${maker.name} are no power of two`, "layouts halve them again and again");
  const made = new Map(
    (maker?.makes ?? []).flatMap((label) =>
      named("makes", label, "tile").map((t) => {
        const slot = madeIn(kernel.body, t, (v) => rings.has(v.id));
        if (!slot) throw refuse(`${maker!.name} makes "${label}", which is not computed from a tile that is brought beside it`, "give that tile slots in stage, or leave it out of makes");
        return [t.id, slot] as const;
      }),
    ),
  );
  const readByLoops = new Set([...statements(kernel.body)].flatMap((s) => (s.kind === "For" ? s.body.flatMap((d) => (d.kind === "Define" && d.op.kind === "Load" ? [d.value.id] : [])) : [])));
  for (const label of schedule.ahead ?? [])
    if (!named("ahead", label, "tile").every((t) => readByLoops.has(t.id))) throw refuse(`"${label}" is no tile that a loop loads`, "name one whose load stands in the loop itself");
  for (const label of schedule.once ?? []) if (!schedule.ahead?.includes(label)) throw refuse(`"${label}" is to be read once and not ahead`, "name it in ahead too");
  const leaders = new Map(
    Object.entries(schedule.mma ?? {}).flatMap(([label, { behind, late }]) => {
      if (behind === undefined) return [];
      if (late || schedule.mma?.[behind]?.late) throw refuse(`"${label}" goes along with "${behind}", and one of them is late`, "leave `behind` or `late` out");
      const [[follower, ...others], [leader, ...more]] = [named("mma", label, "product"), named("mma", behind, "product")];
      if (others.length > 0 || more.length > 0) throw refuse(`"${label}" or "${behind}" is several products`, "leave `behind` out");
      const complaint = complaintOfPair(kernel, leader!, follower!, (v) => rings.has(v.id), (v) => made.has(v.id));
      if (complaint !== undefined) throw refuse(`"${label}" cannot go along with "${behind}": ${complaint}`, "leave `behind` out");
      return [[follower!.id, leader!] as const];
    }),
  );
  return {
    threads,
    rings: new Map([...rings].map(([id, { slots }]) => [id, slots])),
    ringNames: new Map([...rings].flatMap(([id, { name }]) => (name === "" ? [] : [[id, name]]))),
    copied,
    made,
    ...(maker && { makers: 32 * maker.warps }),
    evictFirst,
    ahead: new Set((schedule.ahead ?? []).flatMap((label) => named("ahead", label, "tile").map((t) => t.id))),
    once: new Set((schedule.once ?? []).flatMap((label) => named("once", label, "tile").map((t) => t.id))),
    products: bind("mma", "product", schedule.mma ?? {}, ({ parts = 1 }) => parts),
    late: new Set([...bind("mma", "product", schedule.mma ?? {}, ({ late = false }) => late)].flatMap(([id, late]) => (late ? [id] : []))),
    leaders,
    roles,
    ...(schedule.persistent && { persistent: schedule.persistent }),
    ...(schedule.cluster && { cluster: schedule.cluster }),
  };
}

/** The tile in whose slot a tile can be made: the first that its computation reads of those that travel and are loaded in its own list. */
function madeIn(body: readonly TileStmt[], made: TileValue, travels: (v: TileValue) => boolean): TileValue | undefined {
  const definitions = new Map([...statements(body)].flatMap((s) => (s.kind === "Define" ? [[s.value.id, s.op] as const] : [])));
  const home = listsOf(body).find((list) => list.some((s) => s.kind === "Define" && s.value.id === made.id)) ?? [];
  const beside = new Set(home.flatMap((s) => (s.kind === "Define" ? [s.value.id] : [])));
  const sources = (v: TileValue): readonly TileValue[] => {
    const op = definitions.get(v.id);
    return travels(v) ? [v] : op ? inputsOf(op).flatMap(sources) : [];
  };
  const op = definitions.get(made.id);
  return op && isComputed(op) ? sources(made).find((v) => v.id !== made.id && beside.has(v.id)) : undefined;
}
const isComputed = (op: TileOp): boolean => op.kind === "Map" || op.kind === "Cast";

/** Why the columns of one product cannot be computed along with those of another, if they cannot. */
function complaintOfPair(kernel: TileKernel, leader: TileValue, follower: TileValue, travels: (v: TileValue) => boolean, isMade: (v: TileValue) => boolean): string | undefined {
  const place = (v: TileValue) => listsOf(kernel.body).flatMap((list) => list.flatMap((s, i) => (s.kind === "Define" && s.value.id === v.id && s.op.kind === "Gemm" ? [{ list, i, op: s.op }] : [])))[0]!;
  const [first, second] = [place(leader), place(follower)];
  const between = first.list.slice(first.i + 1, second.i);
  if (first.op.a.id !== second.op.a.id || first.op.over.join() !== second.op.over.join()) return "they have different first operands";
  if (first.op.acc || second.op.acc) return "one of them adds to a sum";
  if (!travels(first.op.b)) return `${first.op.b.label} travels through no ring`;
  if (travels(second.op.b)) return `${second.op.b.label} travels through a ring of its own`;
  if (isMade(second.op.b)) return `another role makes ${second.op.b.label}`;
  if (first.list !== second.list || first.i > second.i || between.some((s) => s.kind !== "Define" || readsOf(s).some((v) => v.id === leader.id))) return "it does not stand right behind it";
  return undefined;
}
const listsOf = (body: readonly TileStmt[]): readonly (readonly TileStmt[])[] => [body, ...body.flatMap((s) => bodiesOf(s).flatMap(listsOf))];

/** The author's name: a variable that is assigned again has a number for each time. */
const nameOf = (v: TileValue): string => v.label.replace(/_[0-9]+$/, "");
