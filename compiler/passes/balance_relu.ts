import { binary, constant, int, select, variable, type Expr } from "../ir/expr.ts";
import type { TileKernel, TileOp, TileStmt, TileValue } from "../ir/tile.ts";
import { axisNames, statements, variablesOf } from "../ir/walk.ts";
import { factorsWhere, product } from "./factors.ts";
import { rewriteDefines, survey, unlike, type Survey } from "./survey.ts";

type Define = Extract<TileStmt, { kind: "Define" }>;
type Op<K extends TileOp["kind"]> = Extract<TileOp, { kind: K }>;

/**
 * Sums of max(x, 0) * w in which every second maximum becomes an addition: (x + |x|) * (w / 2). Where maxima run at half the rate of additions, both
 * kinds of units then work at a time. The numbers stay the same to the last bit: twice x and half of w are exact, so long as w / 2 is not subnormal.
 *
 * An infinite x would give NaN: only products of e4m3 are rewritten, which are finite.
 */
export function balanceRelu(kernel: TileKernel): TileKernel {
  const facts = survey(kernel);
  const instead = new Map<number, readonly Define[]>();
  for (const s of statements(kernel.body)) {
    if (s.kind !== "Define" || s.op.kind !== "Reduce" || s.op.fn !== "sum") continue;
    const balanced = balance(s.op, facts);
    if (balanced) instead.set(s.op.of.id, balanced);
  }
  return rewriteDefines(kernel, instead);
}

function balance({ of, over }: Op<"Reduce">, { definitions, readers, fresh }: Survey): readonly Define[] | undefined {
  const map = definitions.get(of.id);
  if (map?.kind !== "Map" || of.dtype !== "f32" || readers.get(of.id) !== 1) return undefined;
  const factors = factorsWhere(() => false).of(map.body);
  const relu = factors.find((f) => f.kind === "Call" && f.fn === "max" && f.args[0]?.kind === "Var" && f.args[1]?.kind === "Const" && f.args[1].value === 0);
  if (relu?.kind !== "Call") return undefined;
  const x = relu.args[0] as Extract<Expr, { kind: "Var" }>;
  const dot = map.inputs[map.params.indexOf(x.name)];
  const gemm = dot && definitions.get(dot.id);
  const axis = over.find((name) => of.axes.some((a) => a.name === name && a.extent > 1));
  const weight = product(factors.filter((f) => f !== relu));
  const weights = map.params.flatMap((param, i) => (variablesOf(weight).has(param) ? [[param, map.inputs[i]!] as const] : []));
  if (!dot || gemm?.kind !== "Gemm" || gemm.acc || gemm.a.dtype !== "e4m3" || gemm.b.dtype !== "e4m3" || axis === undefined || weights.some(([, tile]) => tile.id === dot.id)) return undefined;
  if (!weights.some(([, tile]) => axisNames(tile).includes(axis))) return undefined; // halves would be multiplied for each x

  const out: Define[] = [];
  const define = (value: TileValue, op: TileOp): TileValue => {
    out.push({ kind: "Define", value, op });
    return value;
  };
  const covered = new Set(weights.flatMap(([, tile]) => axisNames(tile)));
  const [at, w] = ["position", "half"].map((wish) => unlike(wish, map.params)) as [string, string];
  const position = define({ ...fresh(`${dot.label}.${axis}`, of, of.axes.filter((a) => a.name === axis)), dtype: "i32" }, { kind: "Iota", start: int(0) });
  const isAdded = binary("==", binary("%", variable("i32", at), int(2)), int(1));
  const half = define(fresh(`${dot.label}.weight`, of, of.axes.filter((a) => covered.has(a.name))), {
    kind: "Map",
    inputs: [...weights.map(([, tile]) => tile), position],
    params: [...weights.map(([param]) => param), at],
    body: binary("*", weight, select(isAdded, constant("f32", 0.5), constant("f32", 1))),
  });
  const added: Expr = binary("+", x, { kind: "Call", type: "f32", fn: "abs", args: [x] });
  define(of, {
    kind: "Map",
    inputs: [dot, half, position],
    params: [x.name, w, at],
    body: binary("*", select(isAdded, added, relu), variable("f32", w)),
  });
  return out;
}
