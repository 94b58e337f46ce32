/** Which values of a kernel decide how often something runs or where it lies. */
import { type Expr, visitExpr } from "../ir/expr.ts";
import type { Carried, TileOp, TileStmt, TileValue, TileView } from "../ir/tile.ts";
import { inputsOf } from "../ir/walk.ts";

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
  const opaque = new Set<Key>();
  const counted = new Set<TileStmt>();
  follow(body, opaque, counted);
  const all = [...counted];
  const sources = new Map<Key, Key[]>();
  const readers = new Map<Key, Key[]>();
  const add = (map: Map<Key, Key[]>, from: Key, to: Key): void => void map.set(from, [...(map.get(from) ?? []), to]);
  for (const [key, from] of all.flatMap(dependenciesOf)) {
    for (const source of from) {
      if (!opaque.has(key)) add(sources, key, source); // what is not run needs nothing
      add(readers, source, key);
    }
  }
  const needed = reachedFrom(all.flatMap(decidersOf).filter((key) => !opaque.has(key)), sources);
  return { needed, opaque, readers };
}

/**
 * Adds what depends on results to `opaque`, and to `counted` the statements that may run. A branch on a result is taken and a loop up to one
 * makes no trip; what they leave is known where it is known on that way.
 */
function follow(body: readonly TileStmt[], opaque: Set<Key>, counted: Set<TileStmt>): void {
  const isOpaque = (key: Key): boolean => opaque.has(key);
  for (const s of body) {
    counted.add(s);
    const isAssumed = (s.kind === "If" || s.kind === "For") && decidersOf(s).some(isOpaque);
    if (s.kind === "If") {
      const ways = isAssumed ? (["then"] as const) : (["then", "otherwise"] as const);
      for (const way of ways) follow(s[way], opaque, counted);
      for (const merge of mergesOf(s)) if (ways.some((way) => isOpaque(merge[way]))) opaque.add(merge.result);
    } else if (s.kind === "For") {
      const carried = carriedOf(s);
      for (let before = -1; !isAssumed && before < opaque.size; ) {
        before = opaque.size;
        for (const { param, init, next } of carried) if (isOpaque(init) || isOpaque(next)) opaque.add(param);
        follow(s.body, opaque, counted);
      }
      for (const { param, init, result } of carried) if (isOpaque(isAssumed ? init : param)) opaque.add(result);
    } else {
      if (s.kind === "Histogram" || s.kind === "Append" || s.kind === "Bag" || s.kind === "Bitmap") opaque.add(resourceKey(s.name));
      if (s.kind === "Define" && s.op.kind === "Gemm") opaque.add(tileKey(s.value));
      for (const [key, from] of dependenciesOf(s)) if (from.some(isOpaque)) opaque.add(key);
    }
  }
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
      const variables = carriedOf(s).flatMap(({ param, init, next, result }) => [[param, [init, next, ...bounds]], [result, [param, init, ...bounds]]] as const);
      return [[s.index.name, bounds], ...variables];
    }
    case "If":
      return mergesOf(s).map(({ result, then, otherwise }) => [result, [then, otherwise, ...variablesOf(s.cond)]] as const);
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

type Stmt<K extends TileStmt["kind"]> = Extract<TileStmt, { kind: K }>;
const carriedOf = (s: Stmt<"For">) => {
  const keysOf = <V>(c: Carried<V>, key: (v: V) => Key) => ({ param: key(c.param), init: key(c.init), next: key(c.next), result: key(c.result) });
  return [...s.tiles.map((c) => keysOf(c, tileKey)), ...s.scalars.map((c) => keysOf(c, (v) => v.name))];
};
const mergesOf = (s: Stmt<"If">) => [
  ...s.tiles.map((m) => ({ result: tileKey(m.result), then: tileKey(m.then), otherwise: tileKey(m.otherwise) })),
  ...s.scalars.map((m) => ({ result: m.result.name, then: m.then.name, otherwise: m.otherwise.name })),
];

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
