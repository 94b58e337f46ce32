import { binary, constant, convert, int, select, variable, type Expr } from "../ir/expr.ts";
import type { Axis, TileKernel, TileOp, TileStmt, TileType, TileValue } from "../ir/tile.ts";
import { axisNames, statements, variablesOf } from "../ir/walk.ts";
import { factorsWhere, product } from "./factors.ts";
import { rewriteDefines, survey, unlike, type Survey } from "./survey.ts";

type Define = Extract<TileStmt, { kind: "Define" }>;
type Op<K extends TileOp["kind"]> = Extract<TileOp, { kind: K }>;

/** Pieces of four bits each: 16 bits, the first of which may be spent on the distance to the next power of two. */
const PIECES = 4;

/**
 * Sums of max(x, 0) * w in which x is a product <k, r_h>, as a sum of |x| * w / 2 and one product <k, u> with u = sum over h of w_h / 2 * r_h: for
 * max(x, 0) = (|x| + x) / 2, and the second half moves through the contraction. A machine that takes magnitudes for free then has one
 * operation for each x instead of two, and u costs next to nothing where k has many rows.
 *
 * u has to become an operand like r: e4m3, in pieces, the next one holding what the last one lost, in units of a power of two.
 *
 * What is 0 because no x is positive becomes a difference of two equal halves, so its error is relative to the sum of |x| * |w|. Only
 * operands of e4m3, whose products are no more exact than that, are split.
 */
export function splitRelu(kernel: TileKernel): TileKernel {
  const facts = survey(kernel);
  const instead = new Map<number, readonly Define[]>();
  for (const s of statements(kernel.body)) {
    if (s.kind !== "Define" || s.op.kind !== "Reduce" || s.op.fn !== "sum") continue;
    const found = reluSum(s.op, facts);
    if (!found) continue;
    instead.set(s.op.of.id, []);
    instead.set(s.value.id, halves(s.value, s.op, found, facts));
  }
  return rewriteDefines(kernel, instead);
}

/** The parts of a sum over h of max(<k, r_h>, 0) * w_h. */
interface ReluSum {
  readonly head: TileValue;
  readonly dot: TileValue;
  readonly gemm: Op<"Gemm">;
  /** The operand with the summed axes. */
  readonly rows: TileValue;
  /** w, and the map that it is taken from. */
  readonly weight: Expr;
  readonly map: Op<"Map">;
}

function reluSum({ of, over }: Op<"Reduce">, { definitions, readers }: Survey): ReluSum | undefined {
  const map = definitions.get(of.id);
  if (map?.kind !== "Map" || of.dtype !== "f32" || readers.get(of.id) !== 1) return undefined;
  const factors = factorsWhere(() => false).of(map.body);
  for (const relu of factors) {
    if (relu.kind !== "Call" || relu.fn !== "max") continue;
    const [x, bound] = relu.args;
    const dot = x?.kind === "Var" ? map.inputs[map.params.indexOf(x.name)] : undefined;
    const gemm = dot && definitions.get(dot.id);
    if (!dot || gemm?.kind !== "Gemm" || gemm.acc || bound?.kind !== "Const" || bound.value !== 0 || readers.get(dot.id) !== 1) continue;
    const rows = [gemm.a, gemm.b].find((t) => over.every((axis) => axisNames(t).includes(axis)));
    const weight = product(factors.filter((f) => f !== relu));
    const weights = inputsOf(weight, map).map(([, tile]) => tile);
    const isCovered = weights.some((t) => weights.every((other) => axisNames(other).every((axis) => axisNames(t).includes(axis))));
    if (!rows || rows.dtype !== "e4m3" || gemm.a.dtype !== gemm.b.dtype || gemm.over.length !== 1) continue;
    if (gemm.a === gemm.b || !isCovered || !weights.every((t) => axisNames(t).every((axis) => axisNames(rows).includes(axis)))) continue;
    return { head: of, dot, gemm, rows, weight, map };
  }
  return undefined;
}

function halves(value: TileValue, { over }: Op<"Reduce">, { head, dot, gemm, rows, weight, map }: ReluSum, facts: Survey): readonly Define[] {
  const out: Define[] = [];
  const define = (label: string, axes: readonly Axis[], op: TileOp, dtype: TileType = "f32"): TileValue => {
    const tile = { ...facts.fresh(`${dot.label}.${label}`, value, axes), dtype };
    out.push({ kind: "Define", value: tile, op });
    return tile;
  };
  const mapOf = (inputs: Readonly<Record<string, TileValue>>, body: Expr): Op<"Map"> => ({ kind: "Map", inputs: Object.values(inputs), params: Object.keys(inputs), body });
  const [depth] = gemm.over;
  const row = rows.axes.filter((a) => !over.includes(a.name)); // of u
  const point = row.filter((a) => a.name !== depth);
  const piece: Axis = { name: unlike("piece", [...gemm.a.axes, ...gemm.b.axes].map((a) => a.name)), extent: PIECES };
  const [x, w, u, p] = ["x", "w", "u", "p"].map((name) => variable("f32", name)) as [Expr, Expr, Expr, Expr];

  // w / 2
  const weights = inputsOf(weight, map);
  const names = new Set(weights.flatMap(([, tile]) => axisNames(tile)));
  const half = define("half", rows.axes.filter((a) => names.has(a.name)), mapOf(Object.fromEntries(weights), binary("*", weight, constant("f32", 0.5))));

  // u, in units that put it into (-256, 256)
  const weighted = define("weighted", rows.axes, mapOf({ x: rows, w: half }, binary("*", x, w)));
  const vector = define("vector", row, { kind: "Reduce", fn: "sum", of: weighted, over });
  const magnitude = define("magnitude", row, mapOf({ u: vector }, call("abs", u)));
  const largest = define("largest", point, { kind: "Reduce", fn: "max", of: magnitude, over: [depth!] });
  const unit = define("unit", point, mapOf({ u: largest }, binary("*", powerBelow(call("max", u, constant("f32", 2 ** -100))), constant("f32", 2 ** -7))));

  const index = define("index", [piece], { kind: "Iota", start: int(0) }, "i32");
  const cube = define("cube", [...point, piece, ...row.filter((a) => a.name === depth)], { kind: "Full", value: constant("f32", 0) });
  const digits = define("digits", cube.axes, mapOf({ u: vector, unit, p: index, cube }, digitOf(binary("*", u, inverse(variable("f32", "unit"))), variable("i32", "p"))));
  const pieces = define("pieces", cube.axes, { kind: "Cast", of: digits }, "e4m3");
  // <k, u>
  const operands = gemm.b === rows ? { a: gemm.a, b: pieces } : { a: pieces, b: gemm.b };
  const others = dot.axes.filter((a) => !axisNames(rows).includes(a.name));
  const linear = define("linear", [...others, ...point, piece], { kind: "Gemm", ...operands, over: gemm.over });
  out.push({ kind: "Define", value: head, op: mapOf({ x: dot, w: half }, binary("*", call("abs", x), w)) });
  const folded = define("folded", value.axes, { kind: "Reduce", fn: "sum", of: head, over });
  // read behind what is folded: a machine may multiply on meanwhile
  const terms = define("terms", linear.axes, mapOf({ x: linear, p: index }, binary("*", x, sixteenthTo(variable("i32", "p")))));
  const straight = define("straight", value.axes, { kind: "Reduce", fn: "sum", of: terms, over: [piece.name] });
  out.push({ kind: "Define", value, op: mapOf({ x: folded, p: straight, unit }, binary("+", x, binary("*", p, variable("f32", "unit")))) });
  return out;
}

/** The tiles that an expression in a map's parameters reads. */
const inputsOf = (e: Expr, map: Op<"Map">): readonly (readonly [string, TileValue])[] => {
  const read = variablesOf(e);
  return map.params.flatMap((param, i) => (read.has(param) ? [[param, map.inputs[i]!] as const] : []));
};

const call = (fn: string, ...args: readonly Expr[]): Expr => ({ kind: "Call", type: "f32", fn, args });
const fromBits = (bits: Expr): Expr => ({ kind: "Call", type: "f32", fn: "floatOf", args: [convert("u32", bits)] });

/** The largest power of two that is no larger than a positive normal number: its exponent alone. */
const powerBelow = (x: Expr): Expr => fromBits(binary("&", convert("i32", { kind: "Call", type: "u32", fn: "bitsOf", args: [x] }), int(0x7f800000)));

/** 1 / 2^k by its bits: a division may round. */
const inverse = (power: Expr): Expr => fromBits(binary("-", int(0x7f000000), convert("i32", { kind: "Call", type: "u32", fn: "bitsOf", args: [power] })));

/** 16^-p. */
const sixteenthTo = (p: Expr): Expr => fromBits(binary("<<", binary("-", int(127), binary("*", p, int(4))), constant("u32", 23)));

/** Piece p of x: the first is x in e4m3, each next one what is left, sixteen times as large. All of it is exact. */
function digitOf(x: Expr, p: Expr): Expr {
  const rounded = (a: Expr): Expr => ({ kind: "Round", type: "f32", dtype: "e4m3", a });
  let rest = x;
  let result = rounded(rest);
  for (let i = 1; i < PIECES; i++) {
    rest = binary("*", binary("-", rest, rounded(rest)), constant("f32", 16));
    result = select(binary("<", p, int(i)), result, rounded(rest));
  }
  return result;
}
