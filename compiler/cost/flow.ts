/** Which values of a kernel decide how often something runs or where it lies. */
import { type Expr, visitExpr } from "../ir/expr.ts";
import type { Carried, TileOp, TileStmt, TileValue, TileView } from "../ir/tile.ts";
import { inputsOf, statements } from "../ir/walk.ts";

/** Scalars by name; tiles by number, collectives and lists by name, each behind a mark of its own. */
export type Key = string;
export const tileKey = (t: Pick<TileValue, "id">): Key => `#${t.id}`;
const resourceKey = (name: string): Key => `@${name}`;

export interface Flow {
  /** Values that control flow and places depend on. */
  readonly needed: ReadonlySet<Key>;
  /** Values that depend on products, histograms, bags, bitmaps or lists, which are not run. */
  readonly opaque: ReadonlySet<Key>;
  /** What is made from each value. */
  readonly readers: ReadonlyMap<Key, readonly Key[]>;
}

export function flowOf(body: readonly TileStmt[]): Flow {
  const all = [...statements(body)];
  const sources = new Map<Key, Key[]>();
  const readers = new Map<Key, Key[]>();
  const add = (map: Map<Key, Key[]>, from: Key, to: Key): void => void map.set(from, [...(map.get(from) ?? []), to]);
  for (const [key, from] of all.flatMap(dependenciesOf)) {
    for (const source of from) {
      add(sources, key, source);
      add(readers, source, key);
    }
  }
  const computed = all.flatMap((s) => {
    if (s.kind === "Histogram" || s.kind === "Append" || s.kind === "Bag" || s.kind === "Bitmap") return [resourceKey(s.name)];
    return s.kind === "Define" && s.op.kind === "Gemm" ? [tileKey(s.value)] : [];
  });
  const opaque = reachedFrom(computed, readers);
  const needed = reachedFrom(all.flatMap(decidersOf).filter((key) => !opaque.has(key)), sources);
  return { needed, opaque, readers };
}

/** All that follows from `start`, itself included. */
export function reachedFrom(start: Iterable<Key>, edges: ReadonlyMap<Key, readonly Key[]>): Set<Key> {
  const reached = new Set(start);
  for (const key of reached) for (const next of edges.get(key) ?? []) reached.add(next); // the walk sees what is added
  return reached;
}

export function variablesOf(e: Expr): readonly Key[] {
  const names: Key[] = [];
  visitExpr(e, (x) => void (x.kind === "Var" && names.push(x.name)));
  return names;
}

/** Values that decide how often a statement or its body runs, or where in memory it lies. */
export function decidersOf(s: TileStmt): readonly Key[] {
  switch (s.kind) {
    case "For":
      return [...variablesOf(s.lo), ...variablesOf(s.hi)];
    case "If":
      return variablesOf(s.cond);
    case "Store":
    case "Append":
      return placesOf(s.view);
    case "Define":
      if (s.op.kind === "Load") return placesOf(s.op.view);
      return s.op.kind === "Gather" ? [...placesOf(s.op.view), ...s.op.picks.map((p) => tileKey(p.index))] : [];
    default:
      return [];
  }
}

const placesOf = (view: TileView): readonly Key[] => view.coords.flatMap((c) => variablesOf(c.kind === "Index" ? c.at : c.start));

/** What a statement gives values to, and from what. */
function dependenciesOf(s: TileStmt): readonly (readonly [Key, readonly Key[]])[] {
  switch (s.kind) {
    case "Define":
      return [[tileKey(s.value), [...inputsOf(s.op).map(tileKey), ...scalarsOf(s.op)]]];
    case "Let":
      return [[s.scalar.name, variablesOf(s.expr)]];
    case "ToScalar":
      return [[s.scalar.name, [tileKey(s.of)]]];
    case "For": {
      const bounds = decidersOf(s);
      const carried = [...s.tiles.map((c) => keysOf(c, tileKey)), ...s.scalars.map((c) => keysOf(c, (v) => v.name))];
      const variables = carried.flatMap(({ param, init, next, result }) => [param, result].map((key) => [key, [init, next, ...bounds]] as const));
      return [[s.index.name, bounds], ...variables];
    }
    case "If": {
      const cond = variablesOf(s.cond);
      return [
        ...s.tiles.map((m) => [tileKey(m.result), [tileKey(m.then), tileKey(m.otherwise), ...cond]] as const),
        ...s.scalars.map((m) => [m.result.name, [m.then.name, m.otherwise.name, ...cond]] as const),
      ];
    }
    case "HistogramAdd":
      return [[resourceKey(s.histogram), [tileKey(s.bin), tileKey(s.keep)]]];
    case "HistogramFind":
      return [s.bin, s.above, s.inBin].map((v) => [v.name, [resourceKey(s.histogram), ...variablesOf(s.want)]] as const);
    case "BagAdd":
      return [[resourceKey(s.bag), [...s.items, s.keep].map(tileKey)]];
    case "BagCount":
      return [[s.scalar.name, [resourceKey(s.bag)]]];
    case "BitmapAdd":
      return [[resourceKey(s.bitmap), [tileKey(s.position), tileKey(s.keep)]]];
    case "AppendMarked":
      return [[resourceKey(s.append), [resourceKey(s.bitmap), tileKey(s.of)]]];
    case "AppendPush":
      return [[resourceKey(s.append), [tileKey(s.of), tileKey(s.keep)]]];
    case "AppendCount":
      return [[s.scalar.name, [resourceKey(s.append)]]];
    default:
      return [];
  }
}

const keysOf = <V>(c: Carried<V>, key: (v: V) => Key) => ({ param: key(c.param), init: key(c.init), next: key(c.next), result: key(c.result) });

/** Uniform scalars that an op reads, and its histogram or bag. */
function scalarsOf(op: TileOp): readonly Key[] {
  switch (op.kind) {
    case "Load":
      return [...placesOf(op.view), ...variablesOf(op.fill)];
    case "Gather":
      return placesOf(op.view);
    case "Full":
      return variablesOf(op.value);
    case "Iota":
      return variablesOf(op.start);
    case "Map":
      return variablesOf(op.body).filter((name) => !op.params.includes(name));
    case "Counts":
      return [resourceKey(op.histogram)];
    case "Items":
      return [resourceKey(op.bag)];
    default:
      return [];
  }
}
