/** Expressions taken apart into factors, and sums whose scales moved: the same real numbers, and nothing moved that must not. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { exprText, library } from "../../../compiler/interp/expr_text.ts";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import { binary, constant, select, variable, visitExpr, type Expr } from "../../../compiler/ir/expr.ts";
import type { Param } from "../../../compiler/ir/manifest.ts";
import { printExpr } from "../../../compiler/ir/print_tile.ts";
import type { Axis, TileKernel, TileStmt, TileValue } from "../../../compiler/ir/tile.ts";
import { verifyTile } from "../../../compiler/ir/verify_tile.ts";
import { factorsWhere, product } from "../../../compiler/passes/factors.ts";
import { hoistInvariants } from "../../../compiler/passes/hoist_invariants.ts";
import { hoistScales } from "../../../compiler/passes/hoist_scales.ts";

const loc = { file: "test.ts", line: 1, column: 1 };
const float = (name: string): Expr => variable("f32", name);
const number = (value: number): Expr => constant("f32", value);
const call = (fn: string, ...args: readonly Expr[]): Expr => ({ kind: "Call", type: "f32", fn, args });
const minus = (a: Expr): Expr => ({ kind: "Unary", type: "f32", op: "-", a });
const times = (...factors: readonly Expr[]): Expr => factors.reduce((a, b) => binary("*", a, b));

/** Variables p and r are promised not to be negative. */
const promised = new Set(["p", "r"]);
const { of, isNonNegative } = factorsWhere((name) => promised.has(name));

function evaluate(e: Expr, values: Readonly<Record<string, number>>): number {
  const { lines, value } = exprText(e, (name) => `values.${name}`);
  return (new Function(...library.names, "values", `${lines.join(" ")} return ${value};`) as (...args: unknown[]) => number)(...library.values, values);
}

describe("factors", () => {
  const [x, w, p, r] = ["x", "w", "p", "r"].map(float) as [Expr, Expr, Expr, Expr];
  const zero = number(0);
  test.each<[string, Expr, readonly string[]]>([
    ["a product", times(x, p, w), ["x", "p", "w"]],
    ["promised factors leave a maximum with 0", call("max", times(x, p, r), zero), ["p", "r", "max(x, 0f)"]],
    ["factors of any sign stay in it", call("max", times(x, w, p), zero), ["p", "max(x * w, 0f)"]],
    ["a minimum of two products", call("min", times(x, p), times(p, w, r)), ["p", "min(x, w * r)"]],
    ["a constant bound holds them back", call("min", times(x, p), number(4)), ["min(x * p, 4f)"]],
    ["a maximum that has the factor once", call("max", times(p, p, x), times(p, w)), ["p", "max(p * x, w)"]],
    ["any factor leaves a magnitude", call("abs", times(x, p, w)), ["abs(x)", "p", "abs(w)"]],
    ["any common factor leaves a sum", binary("+", times(x, w), times(w, r)), ["w", "x + r"]],
    ["and a difference", binary("-", times(x, w), w), ["w", "x - 1f"]],
    ["a sign is a factor", minus(times(x, p)), ["-1f", "x", "p"]],
    ["a choice between products", select(binary(">", times(x, p), zero), times(x, p), times(number(0.5), x, p)), ["x", "p", "(x > 0f) ? 1f : 0.5"]],
    ["a condition keeps what is of any sign", select(binary(">", times(x, w), zero), times(x, w), times(r, w)), ["w", "((x * w) > 0f) ? x : r"]],
    ["a sum of scores", binary("-", call("max", times(x, p), zero), times(number(2), call("max", minus(times(x, p)), zero))), ["p", "max(x, 0f) - (2f * max(-x, 0f))"]],
    ["softplus is no product", binary("+", call("max", times(x, p), zero), call("log1p", call("exp", minus(call("abs", times(x, p)))))), ["max(x * p, 0f) + log1p(exp(-abs(x * p)))"]],
    ["nor is a maximum with 1", call("max", times(x, p), number(1)), ["max(x * p, 1f)"]],
    ["a sum of two alike", binary("+", times(x, p), times(x, p)), ["x", "p", "2f"]],
    ["a maximum of what is not negative", call("max", times(r, p), zero), ["r", "p"]],
    ["what has the factor twice", times(x, x, p), ["x", "x", "p"]],
  ])("%s", (_, e, factors) => {
    const print = (f: Expr): string => printExpr(f);
    expect(of(e).map(print)).toEqual(factors);
  });

  test("a shared node is taken apart once", () => {
    let e: Expr = times(x, p);
    for (let i = 0; i < 60; i++) e = binary("-", e, call("floor", e)); // 2 ** 60 paths
    expect(of(e)).toEqual([e]);
  });
});

/** Expressions in which everything is a small multiple of a power of two, so that f64 computes them exactly. */
const exprs = (depth: number, leaves: readonly string[], isScore = false): fc.Arbitrary<Expr> => {
  const leaf = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...leaves.map(float)) }, fc.constantFrom(...[0, 1, 2, 0.5, -1, -0.5].map(number)));
  if (depth === 0) return leaf;
  const inner = exprs(depth - 1, leaves, isScore);
  const two = fc.tuple(inner, inner);
  const compared = fc.tuple(fc.constantFrom("<" as const, ">=" as const, ">" as const), inner, fc.oneof(inner, fc.constant(number(0)))).map(([op, a, b]) => binary(op, a, b));
  return fc.oneof(
    leaf,
    { weight: 4, arbitrary: two.map(([a, b]) => binary("*", a, b)) },
    { weight: 2, arbitrary: two.map(([a, b]) => call("max", a, b)) },
    two.map(([a, b]) => call("min", a, b)),
    two.map(([a, b]) => binary("+", a, b)),
    two.map(([a, b]) => binary("-", a, b)),
    inner.map((a) => call("abs", a)),
    inner.map(minus),
    ...(isScore ? [] : [fc.tuple(compared, inner, inner).map(([c, a, b]) => select(c, a, b)), inner.map((a) => call("floor", a))]),
  );
};

describe("random expressions", () => {
  const names = ["p", "r", "x", "w"];
  const value = (nonNegative: boolean) => fc.constantFrom(...[0, 0.5, 1, 2, 3, ...(nonNegative ? [] : [-0.5, -1, -3])]);
  const values = fc.record({ p: value(true), r: value(true), x: value(false), w: value(false) });

  test("are the product of their factors", () => {
    fc.assert(
      fc.property(exprs(4, names), values, (e, v) => {
        expect(evaluate(product(of(e)), v) + 0).toBe(evaluate(e, v) + 0); // + 0: the sign of 0 is not kept
        if (isNonNegative(e)) expect(evaluate(e, v)).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 3000 },
    );
  });

  test("hand on every promised factor of their arguments", () => {
    fc.assert(
      fc.property(exprs(3, ["x", "w"], true), values, (inner, v) => {
        const scaled = call("max", binary("*", inner, float("p")), number(0));
        expect(of(scaled).some((f) => f.kind === "Var" && f.name === "p")).toBe(true);
        expect(evaluate(product(of(scaled)), v) + 0).toBe(evaluate(scaled, v) + 0);
      }),
      { numRuns: 500 },
    );
  });
});

describe("random sums", () => {
  const [q, t, h] = [{ name: "q", extent: 2 }, { name: "t", extent: 3 }, { name: "h", extent: 5 }];
  /** x and c change in the loop over t; p, r and w do not. */
  const inputs: Readonly<Record<string, readonly Axis[]>> = { x: [q!, t!, h!], c: [t!], p: [q!, h!], r: [h!], w: [q!, h!] };
  const blocks = 4;

  function kernelOf(body: Expr): TileKernel {
    let id = 0;
    const tile = (label: string, axes: readonly Axis[]): TileValue => ({ id: id++, label, dtype: "f32", axes, loc });
    const params = Object.entries(inputs).map(([name, axes]) => param(name, axes, "in"));
    const load = (name: string): Extract<TileStmt, { kind: "Define" }> => ({
      kind: "Define",
      value: tile(name, inputs[name]!),
      op: { kind: "Load", view: view(name, inputs[name]!), fill: number(0) },
    });
    const outside = ["p", "r", "w"].map(load);
    const inside = ["x", "c"].map(load);
    const read = [...inside, ...outside].filter(({ value }) => value.label === "x" || reads(body, value.label)).map((s) => s.value);
    const head = tile("head", [q!, t!, h!]);
    const sum = tile("sum", [q!, t!]);
    const loop: TileStmt = {
      kind: "For",
      index: { name: "tb", type: "i32", loc },
      lo: constant("i32", 0),
      hi: constant("i32", blocks * t!.extent),
      step: t!.extent,
      tiles: [],
      scalars: [],
      loc,
      body: [
        ...inside,
        { kind: "Define", value: head, op: { kind: "Map", inputs: read, params: read.map((v) => v.label), body } },
        { kind: "Define", value: sum, op: { kind: "Reduce", fn: "sum", of: head, over: ["h"] } },
        { kind: "Store", view: view("y", [q!, t!]), of: sum, loc },
      ],
    };
    return { name: "k", loc, spec: undefined, tune: {}, params: [...params, param("y", [q!, t!], "out")], dims: [], grid: [], body: [...outside, loop] };
  }
  const sizeOf = (a: Axis): number => (a.name === "t" ? blocks * a.extent : a.extent);
  function param(name: string, axes: readonly Axis[], access: Param["access"]): Param {
    let bytes = 4;
    const sizes = [...axes].reverse().map((a) => {
      const stride = bytes;
      bytes *= sizeOf(a);
      return { axis: a.name, size: sizeOf(a), stride };
    });
    return { name, access, axes: sizes.reverse(), fields: [{ name: "", dtype: "f32", offset: 0, axes: [], nonNegative: name === "p" || name === "c" }], bytes };
  }
  const view = (name: string, axes: readonly Axis[]) => ({
    param: name,
    field: "",
    dtype: "f32" as const,
    coords: axes.map((axis) => ({ kind: "Block" as const, axis, start: axis.name === "t" ? variable("i32", "tb") : constant("i32", 0) })),
  });
  const reads = (e: Expr, name: string): boolean => {
    let found = false;
    visitExpr(e, (n) => (found ||= n.kind === "Var" && n.name === name));
    return found;
  };

  function run(kernel: TileKernel, data: Readonly<Record<string, Float32Array>>): Float32Array {
    const y = new Float32Array(q!.extent * sizeOf(t!));
    const bytes = (a: Float32Array) => new Uint8Array(a.buffer);
    interpretTile(kernel, { ...Object.fromEntries(Object.entries(data).map(([name, a]) => [name, bytes(a)])), y: bytes(y) }, {});
    return y;
  }
  const sizes = Object.entries(inputs).map(([name, axes]) => [name, axes.reduce((n, a) => n * sizeOf(a), 1)] as const);
  const dataOf = (element: fc.Arbitrary<number>): fc.Arbitrary<Record<string, Float32Array>> =>
    fc.record(
      Object.fromEntries(
        sizes.map(([name, size]) => {
          const one = name === "p" || name === "c" ? element.map(Math.abs) : element;
          return [name, fc.array(one, { minLength: size, maxLength: size }).map((a) => Float32Array.from(a))];
        }),
      ),
    );
  const rewritten = (kernel: TileKernel): TileKernel => {
    const moved = hoistScales(kernel);
    verifyTile(moved, "hoistScales");
    const out = hoistInvariants(moved);
    verifyTile(out, "hoistInvariants");
    return out;
  };
  const names = ["x", "c", "p", "r", "w"];
  const scored = fc.tuple(exprs(3, names), exprs(2, names)).map(([a, b]) => times(call("max", times(float("x"), float("p"), float("c"), a), number(0)), b, float("w")));
  const bodies = fc.oneof(exprs(4, names), scored);

  test("keep every number, where none is rounded", () => {
    let moved = 0;
    fc.assert(
      fc.property(bodies, dataOf(fc.constantFrom(0, 0.5, 1, 2, -1, -0.5)), (body, data) => {
        const kernel = kernelOf(body);
        const after = rewritten(kernel);
        if (after !== kernel) moved++;
        const [want, got] = [run(kernel, data), run(after, data)];
        expect([...got].map((x) => x + 0)).toEqual([...want].map((x) => x + 0));
      }),
      { numRuns: 400 },
    );
    expect(moved).toBeGreaterThan(100);
  });

  /** The same expression of magnitudes, each difference a sum: what the roundings are relative to. */
  const majorant = (e: Expr): Expr => {
    if (e.kind === "Var") return call("abs", e);
    if (e.kind === "Const") return number(Math.abs(e.value));
    if (e.kind === "Unary") return majorant(e.a);
    if (e.kind === "Binary") return binary(e.op === "*" ? "*" : "+", majorant(e.a), majorant(e.b));
    if (e.kind === "Call" && e.fn === "abs") return majorant(e.args[0]!);
    if (e.kind === "Call") return e.args.map(majorant).reduce((a, b) => binary("+", a, b));
    throw new Error(`no majorant of a ${e.kind}`);
  };
  const depth = (e: Expr): number => {
    let nodes = 0;
    visitExpr(e, () => nodes++);
    return nodes;
  };

  test("differ by roundings alone", () => {
    const continuous = fc.tuple(exprs(3, names, true), exprs(2, names, true)).map(([a, b]) => times(call("max", times(float("x"), float("p"), float("c"), a), number(0)), b, float("w")));
    const element = fc.oneof(fc.constant(0), fc.double({ min: 2 ** -9, max: 4, noNaN: true }), fc.double({ min: -4, max: -(2 ** -9), noNaN: true }));
    fc.assert(
      fc.property(continuous, dataOf(element), (body, data) => {
        const kernel = kernelOf(body);
        const [want, got] = [run(kernel, data), run(rewritten(kernel), data)];
        const sizes = run(kernelOf(majorant(body)), data);
        // each side: a rounding a node at most, and those of the sum; nothing comes near the ends of f32
        const roundings = 2 * (depth(body) + h!.extent) * 2 ** -24;
        want.forEach((x, i) => expect(Math.abs(x - got[i]!)).toBeLessThanOrEqual(roundings * sizes[i]! * 1.001));
      }),
      { numRuns: 300 },
    );
  });
});
