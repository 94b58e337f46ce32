/** On-chip memory of the collectives. Those of one kind whose lives do not meet have one buffer. */
import type { Loc, TileStmt } from "./tile.ts";
import { bodiesOf, inputsOf, readsOf, statements } from "./walk.ts";

type Kind = "Histogram" | "Bag" | "Bitmap";
type Listing = Extract<TileStmt, { kind: "AppendMarked" }>;
/** A listing that puts its part of the list together on chip, where it may have the place of a histogram. */
type Declaration = Extract<TileStmt, { kind: Kind }> | Listing;

/** u32 elements. */
export interface CollectiveBuffer {
  readonly name: string;
  readonly kind: Kind;
  readonly elements: number;
  /** What it is for, in the words of a message. */
  readonly what: string;
  readonly loc: Loc;
}

export interface CollectiveBuffers {
  readonly buffers: readonly CollectiveBuffer[];
  /** Name of the buffer of each collective. */
  readonly of: ReadonlyMap<string, string>;
  /** Where listings put their parts together, if they do. */
  readonly parts: ReadonlyMap<Listing, { readonly buffer: string; readonly elements: number }>;
}

interface Life {
  readonly declared: Declaration;
  readonly from: number;
  to: number;
  /** Loops that the declaration stands in. */
  readonly loops: readonly TileStmt[];
}

/** `listings`: parts of lists are put together on chip, so that whole lines are written. */
export function collectiveBuffers(body: readonly TileStmt[], listings: boolean): CollectiveBuffers {
  const free: { buffer: CollectiveBuffer; until: number }[] = [];
  const of = new Map<string, string>();
  const parts = new Map<Listing, { buffer: string; elements: number }>();
  const extents = listings ? partsOf(body) : new Map<Listing, number>();
  for (const { declared, from, to } of livesOf(body)) {
    if (declared.kind === "AppendMarked" && !listings) continue;
    const own = bufferOf(declared, extents);
    let place = free.find((f) => f.buffer.kind === own.kind && f.until < from);
    if (!place) free.push((place = { buffer: own, until: to }));
    else if (own.elements > place.buffer.elements) place.buffer = { ...own, name: place.buffer.name };
    place.until = to;
    if (declared.kind === "AppendMarked") parts.set(declared, { buffer: place.buffer.name, elements: own.elements });
    else of.set(declared.name, place.buffer.name);
  }
  return { buffers: free.map((f) => f.buffer), of, parts };
}

/** Elements that each listing can add to its list. */
function partsOf(body: readonly TileStmt[]): ReadonlyMap<Listing, number> {
  const all = [...statements(body)];
  const sizes = new Map(all.flatMap((s) => (s.kind === "Bitmap" ? [[s.name, s.size] as const] : [])));
  const extents = new Map(all.flatMap((s) => (s.kind === "Append" ? [[s.name, s.view.coords.reduce((n, c) => (c.kind === "Block" ? c.axis.extent : n), 1)] as const] : [])));
  return new Map(all.flatMap((s) => (s.kind === "AppendMarked" ? [[s, Math.min(sizes.get(s.bitmap)!, extents.get(s.append)!)] as const] : [])));
}

function bufferOf(s: Declaration, parts: ReadonlyMap<Listing, number>): CollectiveBuffer {
  if (s.kind === "AppendMarked") return { name: `${s.append}.part`, kind: "Histogram", loc: s.loc, elements: parts.get(s)!, what: `a part of ${s.append}` };
  const common = { name: s.name, kind: s.kind, loc: s.loc };
  if (s.kind === "Histogram") return { ...common, elements: s.bins, what: `histogram ${s.name} of ${s.bins}` };
  if (s.kind === "Bitmap") return { ...common, elements: Math.ceil(s.size / 32), what: `bitmap ${s.name} of ${s.size}` };
  return { ...common, elements: s.capacity * s.fields.length, what: `bag ${s.name} of ${s.capacity}` };
}

/** In order of declaration; positions count statements in the order of the text. */
function livesOf(body: readonly TileStmt[]): readonly Life[] {
  const lives = new Map<string, Life>();
  const listings: Life[] = [];
  /** Collectives that a tile is read from, wherever it is used. */
  const sources = new Map<number, ReadonlySet<string>>();
  /** Last position in each loop, filled in when it ends. */
  const used: { readonly life: Life; readonly loop: TileStmt }[] = [];
  const ends = new Map<TileStmt, number>();
  let at = 0;
  const use = (name: string, loops: readonly TileStmt[]): void => {
    const life = lives.get(name);
    if (!life) return;
    life.to = Math.max(life.to, at);
    const outer = loops[life.loops.length];
    if (outer) used.push({ life, loop: outer }); // needed again in the loop's next turn
  };
  const visit = (list: readonly TileStmt[], loops: readonly TileStmt[]): void => {
    for (const s of list) {
      at++;
      if (s.kind === "Histogram" || s.kind === "Bag" || s.kind === "Bitmap") lives.set(s.name, { declared: s, from: at, to: at, loops });
      for (const name of namesOf(s)) use(name, loops);
      for (const v of readsOf(s)) for (const name of sources.get(v.id) ?? []) use(name, loops);
      if (s.kind === "Define") {
        const own = s.op.kind === "Items" ? [s.op.bag] : s.op.kind === "Counts" ? [s.op.histogram] : [];
        sources.set(s.value.id, new Set([...own, ...inputsOf(s.op).flatMap((v) => [...(sources.get(v.id) ?? [])])]));
      }
      if (s.kind === "AppendMarked") listings.push({ declared: s, from: at, to: at, loops });
      for (const inner of bodiesOf(s)) visit(inner, s.kind === "For" ? [...loops, s] : loops);
      if (s.kind === "For") ends.set(s, at);
    }
  };
  visit(body, []);
  for (const { life, loop } of used) life.to = Math.max(life.to, ends.get(loop)!);
  return [...lives.values(), ...listings].sort((a, b) => a.from - b.from);
}

/** Collectives that a statement names. */
function namesOf(s: TileStmt): readonly string[] {
  switch (s.kind) {
    case "HistogramAdd":
    case "HistogramFind":
      return [s.histogram];
    case "BagAdd":
    case "BagCount":
      return [s.bag];
    case "BitmapAdd":
    case "AppendMarked":
      return [s.bitmap];
    default:
      return [];
  }
}
