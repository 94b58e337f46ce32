import { variable, type Expr } from "../ir/expr.ts";
import type { Axis, TileKernel, TileOp, TileStmt, TileValue } from "../ir/tile.ts";
import { axisNames, statements, variablesOf } from "../ir/walk.ts";
import { factorsWhere, product } from "./factors.ts";
import { rewriteDefines, survey, unlike, type Survey } from "./survey.ts";

type MapOp = Extract<TileOp, { kind: "Map" }>;
type Define = Extract<TileStmt, { kind: "Define" }>;

/**
 * Multiplies once where a sum of products multiplies every element: sum over h of max(x * qs * ks, 0) * w becomes ks times the sum of
 * max(x, 0) * (qs * w), if qs and ks have no negative elements and ks has no axis h.
 *
 * 1. The summed map is taken apart into factors (`factors.ts`).
 * 2. Those without a summed axis move behind the sum.
 * 3. Those of fewer axes than the map are multiplied in a tile of their own, apart by the loops in which they change, so that `hoistInvariants`
 *    can move it.
 *
 * Results differ by roundings: each product of factors is rounded as often as before. They differ by more where a product of factors leaves
 * the range of f32, and a NaN that infinity times 0 gave in the score may be 0. A result that is 0 stays 0; its sign is not kept.
 */
export function hoistScales(kernel: TileKernel): TileKernel {
  const facts = survey(kernel);
  const instead = new Map<number, readonly Define[]>(); // by the id of the value
  for (const s of statements(kernel.body)) {
    if (s.kind !== "Define" || s.op.kind !== "Reduce" || s.op.fn !== "sum" || s.value.dtype !== "f32") continue;
    const map = facts.definitions.get(s.op.of.id);
    if (map?.kind !== "Map" || s.op.of.dtype !== "f32" || facts.readers.get(s.op.of.id) !== 1) continue;
    const parts = partsOf(s.op.of, map, s.op.over, facts);
    if (!parts) continue;
    instead.set(s.op.of.id, [...parts.groups, { kind: "Define", value: s.op.of, op: parts.inner }]);
    if (parts.behind.length === 0) continue;
    const sum = facts.fresh(`${s.value.label}.unscaled`, s.value, s.value.axes);
    const name = unlike("sum", parts.behind.flatMap((f) => [...variablesOf(f)]));
    const behind = mapOf(product([variable("f32", name), ...parts.behind]), [[name, sum], ...sources(map)]);
    instead.set(s.value.id, [{ kind: "Define", value: sum, op: s.op }, { kind: "Define", value: s.value, op: behind }]);
  }
  return rewriteDefines(kernel, instead);
}

/** What becomes of a summed map; undefined if it stays as it is. */
interface Parts {
  /** Products of factors, as tiles. */
  readonly groups: readonly Define[];
  /** The map that is summed now. */
  readonly inner: MapOp;
  /** Factors of the sum. */
  readonly behind: readonly Expr[];
}

function partsOf(value: TileValue, map: MapOp, over: readonly string[], facts: Survey): Parts | undefined {
  const inputs = new Map(sources(map));
  const tilesOf = (f: Expr): readonly TileValue[] => [...variablesOf(f)].flatMap((name) => inputs.get(name) ?? []);
  const loopsAround = (f: Expr): number => Math.max(0, ...[...variablesOf(f)].map((name) => facts.depths.get(inputs.get(name)?.id ?? name) ?? 0));

  const factors = factorsWhere((name) => facts.nonNegative.has(inputs.get(name)?.id ?? -1)).of(map.body);
  const behind = factors.filter((f) => !tilesOf(f).some((t) => axisNames(t).some((a) => over.includes(a))));
  const inside = factors.filter((f) => !behind.includes(f));

  // larger tiles first: a factor joins one that has all of its axes
  const groups: Group[] = [];
  for (const f of [...inside].sort((a, b) => coverOf(tilesOf(b)).length - coverOf(tilesOf(a)).length)) {
    const [cover, depth] = [coverOf(tilesOf(f)), loopsAround(f)];
    if (cover.length === 0 || cover.length === value.axes.length) continue; // no tile could hold it, or nothing is saved
    const group = groups.find((g) => g.depth === depth && within(cover, g.cover));
    if (group) group.factors.push(f);
    else groups.push({ cover, depth, factors: [f] });
  }
  const products = groups.filter((g) => g.factors.length > 1 || g.factors[0]!.kind !== "Var");
  if (behind.length === 0 && products.length === 0) return undefined;

  const inOrder = (some: readonly Expr[]): readonly Expr[] => inside.filter((f) => some.includes(f));
  const tiles = products.map((g): Define => {
    const op = mapOf(product(inOrder(g.factors)), sources(map));
    return { kind: "Define", value: facts.fresh(op.inputs.map((t) => t.label).join("_"), value, g.cover), op };
  });
  const taken = [...variablesOf(map.body), ...map.params];
  const named = tiles.map((t): Source => [unlike((t.op as MapOp).params.join("_"), taken), t.value]);
  const rest = inside.filter((f) => !products.some((g) => g.factors.includes(f)));
  const inner = mapOf(product([...rest, ...named.map(([name]) => variable("f32", name))]), [...sources(map), ...named]);
  if (coverOf(inner.inputs).length !== value.axes.length) return undefined;
  return { groups: tiles, inner, behind };
}

/** Factors that become one tile. */
interface Group {
  readonly cover: readonly Axis[];
  /** Loops around what they are computed from. */
  readonly depth: number;
  readonly factors: Expr[];
}

/** The axes of the tile that has those of all the others; none if there is no such tile. */
function coverOf(tiles: readonly TileValue[]): readonly Axis[] {
  return tiles.find((t) => tiles.every((other) => within(other.axes, t.axes)))?.axes ?? [];
}
const within = (some: readonly Axis[], all: readonly Axis[]): boolean => some.every((a) => all.some((b) => a.name === b.name));

type Source = readonly [param: string, input: TileValue];
const sources = (map: MapOp): readonly Source[] => map.params.map((param, i) => [param, map.inputs[i]!]);
/** A map of those inputs alone that its body reads. */
function mapOf(body: Expr, from: readonly Source[]): MapOp {
  const read = variablesOf(body);
  const used = from.filter(([param]) => read.has(param));
  return { kind: "Map", inputs: used.map(([, input]) => input), params: used.map(([param]) => param), body };
}
