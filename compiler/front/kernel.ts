/** A call of `kernel(name, { args, tune, grid, body })` becomes a TileKernel. */
import type { Args } from "../../dsl/args.ts";
import { diagnostic, type Span } from "../diagnostics.ts";
import type { Expr } from "../ir/expr.ts";
import type { HostExpr } from "../ir/manifest.ts";
import type { GridDim } from "../ir/tile.ts";
import { locOf } from "./builder.ts";
import { apply, runFunction } from "./calls.ts";
import { checkBags, checkMarked } from "./collectives.ts";
import type { Evaluator } from "./evaluate.ts";
import { readArguments } from "./params.ts";
import { childOf, noName } from "./scope.ts";
import type { Call } from "./tile_ops.ts";
import { type Closure, describeValue, isPlainObject, kind, type KernelRef, refOf, scalarRef, type Value } from "./value.ts";

const form = "kernel(\"name\", { args: { … }, tune: { … }, grid: (a, tune) => ({ … }), body(a, tune, at) { … } })";

export function readKernelCall(ev: Evaluator, call: Call): KernelRef {
  const { build, span } = call;
  const [name, text] = call.args;
  const wrong = (i: number, what: string) => diagnostic("E-FRONT-13", call.argSpan(i), { callee: "kernel", what, form });
  if (typeof name !== "string") throw wrong(0, describeValue(name));
  if (!isPlainObject(text)) throw wrong(1, describeValue(text));
  const closure = (key: "grid" | "body"): Closure => {
    const ref = refOf(text[key]);
    if (ref?.[kind] === "Closure") return ref;
    throw wrong(1, `${describeValue(text[key])} as ${key}`);
  };
  if (!isPlainObject(text["args"])) throw wrong(1, `${describeValue(text["args"])} as args`);

  const tune = tuned(ev, name, text["tune"], span);
  const { params, dims, globals } = readArguments(text["args"] as Args, call.argSpan(1));
  for (const dim of dims) build.scalar(dim.name, "i32", span);

  const gridText = closure("grid");
  const places = apply(ev, gridText, [globals, tune], { base: "grid", direct: true }, gridText.fn.span);
  const grid: GridDim[] = [];
  const at = readGrid(ev, places, gridText.fn.span, grid);

  const bodyText = closure("body");
  const { statements } = build.capture(() =>
    ev.withRefusal(undefined, () =>
      runFunction(ev, bodyText.fn, [globals, tune, at], { ...childOf(bodyText.scope), frame: { prefix: "", result: noName } }),
    ),
  );
  checkBags(statements);
  checkMarked(statements);
  return { [kind]: "Kernel", kernel: { name, loc: locOf(span), spec: undefined, tune, params, dims, grid, body: statements } };
}

function tuned(ev: Evaluator, kernel: string, given: Value, span: Span): Readonly<Record<string, number>> {
  const tune = isPlainObject(given) ? given : {};
  const unknown = Object.keys(ev.tune).find((key) => !(key in tune));
  if (unknown !== undefined) throw diagnostic("E-FRONT-10", span, { kernel, name: unknown, known: Object.keys(tune).join(", ") || "none" });
  const numbers = { ...tune, ...ev.tune };
  for (const [key, value] of Object.entries(numbers)) {
    if (Number.isInteger(value) && Number(value) > 0) continue;
    throw diagnostic("E-DIM-06", span, { what: `tune number "${key}"`, found: describeValue(value) });
  }
  return numbers as Readonly<Record<string, number>>;
}

/** The grid's dimensions, and the place of a block in them as the body sees it. */
function readGrid(ev: Evaluator, places: Value, span: Span, grid: GridDim[]): Readonly<Record<string, Value>> {
  if (!isPlainObject(places)) throw diagnostic("E-DIM-04", span, { what: describeValue(places) });
  return Object.fromEntries(
    Object.entries(places).map(([key, value]) => {
      const ref = refOf(value);
      if (ref?.[kind] !== "Blocks") throw diagnostic("E-DIM-04", span, { what: `${describeValue(value)} as "${key}"` });
      const index = ev.build.scalar(key, "i32", span);
      const lo = toHost(ref.lo, ref.span);
      const hi = toHost(ref.hi, ref.span);
      grid.push({ index, lo, step: ref.step, count: countOf(lo, hi, ref.step) });
      const position = scalarRef({ kind: "Var", type: "i32", name: index.name });
      return [key, ref.axis === undefined ? position : { axis: ref.axis, start: position, size: ref.step }];
    }),
  );
}

function countOf(lo: HostExpr, hi: HostExpr, step: number): HostExpr {
  const length: HostExpr = lo === 0 ? hi : { op: "sub", args: [hi, lo] };
  if (typeof lo === "number" && typeof hi === "number") return Math.max(0, Math.ceil((hi - lo) / step));
  return step === 1 ? length : { op: "ceilDiv", args: [length, step] };
}

const hostOps = { "+": "add", "-": "sub", "*": "mul", "/": "div" } as const;

/** An expression over dims that the host can compute. */
function toHost(e: Expr, span: Span): HostExpr {
  if (e.kind === "Const") return e.value;
  if (e.kind === "Var") return e.name;
  if (e.kind === "Binary" && e.op in hostOps) return { op: hostOps[e.op as keyof typeof hostOps], args: [toHost(e.a, span), toHost(e.b, span)] };
  if (e.kind === "Call" && (e.fn === "min" || e.fn === "max")) return { op: e.fn, args: e.args.map((a) => toHost(a, span)) };
  throw diagnostic("E-DIM-03", span, { what: e.kind === "Call" ? `${e.fn}(…)` : e.kind === "Binary" ? `an operator ${e.op}` : "a condition" });
}
