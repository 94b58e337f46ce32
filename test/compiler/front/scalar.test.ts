/** Scalar code means what JavaScript says: random lambdas, typed by the front end and interpreted, against the same text run as it stands. */
import fc from "fast-check";
import { join } from "node:path";
import { expect, test } from "vitest";
import { overlay, readKernel } from "../../../compiler/front/index.ts";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import { verifyTile } from "../../../compiler/ir/verify_tile.ts";
import { fromBytes, round, toBytes } from "../../../dsl/dtype.ts";
import { bitsOf, div, mod, popcount } from "../../../dsl/math.ts";

/** Texts whose values stay small: no overflow, for which JavaScript's numbers and 32-bit integers agree, and every f32 is exact. */
const { int, word, float, bool } = fc.letrec<{ int: string; word: string; float: string; bool: string }>((tie) => {
  const [i, w, f, b] = [tie("int"), tie("word"), tie("float"), tie("bool")];
  const pair = (x: fc.Arbitrary<string>, ...ops: readonly string[]) => fc.tuple(x, fc.constantFrom(...ops), x).map(([l, op, r]) => `(${l} ${op} ${r})`);
  const call = (names: readonly string[], ...xs: readonly fc.Arbitrary<string>[]) => fc.tuple(fc.constantFrom(...names), ...xs).map(([name, ...a]) => `${name}(${a.join(", ")})`);
  const choice = (x: fc.Arbitrary<string>) => fc.tuple(b, x, x).map(([c, t, e]) => `(${c} ? ${t} : ${e})`);
  const literal = fc.integer({ min: -9, max: 9 }).map((n) => (n < 0 ? `(${n})` : String(n)));
  const counts = fc.constantFrom("0", "1", "3", "(j & 3)");
  return {
    int: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constantFrom("i", "j", "n", "-(0)"), literal, pair(i, "+", "-", "&", "|", "^"), fc.tuple(i, literal).map(([a, k]) => `(${a} * ${k})`), fc.tuple(i, counts).map(([a, c]) => `(${a} >> ${c})`),
      fc.tuple(i, counts).map(([a, c]) => `((${a} << ${c}) & 1023)`), i.map((a) => `~${a}`), i.map((a) => `-(${a})`), choice(i), call(["Math.max", "Math.min"], i, i),
      call(["Math.abs"], i), fc.tuple(i, fc.constantFrom("3", "-4")).map(([a, k]) => `div(${a}, ${k})`), i.map((a) => `mod(${a}, 5)`), i.map((a) => `(${a} % 7)`),
      fc.tuple(literal, b).map(([a, c]) => `(${a} + (${c} ? 2 : 3))`), b.map((c) => `(!(${c}) ? 4 : 5)`),
    ),
    word: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constant("u"), fc.tuple(w, counts).map(([a, c]) => `(${a} >>> ${c})`), fc.tuple(pair(i, "&", "|", "^"), counts).map(([a, c]) => `((${a} & 65535) >>> ${c})`),
      choice(w), call(["Math.max", "Math.min"], w, w), w.map((a) => `popcount(${a})`), f.map((a) => `(bitsOf(${a}) & 255) >>> 0`).map((a) => `(${a})`), w.map((a) => `((${a} % 1000) + 7)`),
    ),
    float: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constantFrom("x", "y", "0.5", "2.25"), pair(f, "+", "-"), fc.tuple(f, fc.constantFrom("0.5", "2", "x")).map(([a, k]) => `(${a} * ${k})`), f.map((a) => `((x + ${a}) / 4)`), choice(f),
      call(["Math.max", "Math.min"], f, f), call(["Math.abs", "Math.floor", "Math.ceil"], f), fc.tuple(f, i).map(([a, k]) => `(${a} + ${k})`), fc.tuple(i, f).map(([k, a]) => `(${k} - ${a})`),
      fc.tuple(b, f).map(([c, a]) => `(${c} ? 0 : ${a})`), fc.tuple(f, i).map(([a, k]) => `Math.max(${a}, ${k})`),
    ),
    bool: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constantFrom("flag", "flag !== 0"), pair(i, ">", ">=", "===", "!=="), pair(w, ">", ">=", "==="), pair(f, ">", ">=", "!=="), pair(b, "&&", "||"), b.map((a) => `!(${a})`),
      fc.tuple(f, i).map(([a, k]) => `(${a} >= ${k})`), fc.tuple(w, fc.nat({ max: 300 })).map(([a, k]) => `(${a} <= ${k})`),
      fc.tuple(i, literal).map(([a, k]) => `(${a} < ${k})`), fc.tuple(literal, f).map(([k, a]) => `(${k} <= ${a})`), // TypeScript may take a < (b >> (c)) for type arguments
    ),
  };
});

const count = 24;
const inputs = {
  x: Array.from({ length: count }, (_, t) => ((t * 7) % 13) / 4 - 1.5),
  y: Array.from({ length: count }, (_, t) => 2 - ((t * 5) % 11) / 2),
  i: Array.from({ length: count }, (_, t) => ((t * 11) % 17) - 8),
  j: Array.from({ length: count }, (_, t) => (t * 3) % 10),
  u: Array.from({ length: count }, (_, t) => (t % 3 === 0 ? 0xfffffff0 + (t % 16) : t * 9)),
};
const n = 3;

const file = join(import.meta.dirname, "lambda.ts");
const text = (lambda: string, dtype: string): string => `import { bitsOf, div, input, kernel, load, map, mask, mod, output, popcount, scalar, store } from "../../../dsl/index.ts";
export const lambda = kernel("lambda", {
  args: { x: input("f32", { t: 24 }), y: input("f32", { t: 24 }), i: input("i32", { t: 24 }), j: input("i32", { t: 24 }), u: input("u32", { t: 24 }), k: input("i32", {}), out: output("${dtype}", { t: 24 }) },
  tune: {},
  grid: () => ({}),
  body(a) {
    const n = scalar(load(a.k.tile({})));
    const [x, y, i, j, u] = [load(a.x.tile({})), load(a.y.tile({})), load(a.i.tile({})), load(a.j.tile({})), load(a.u.tile({}))];
    const flag = mask([x], (x) => x > 0);
    store(a.out.tile({}), map([x, y, i, j, u, flag], (x, y, i, j, u, flag) => ${lambda}, "${dtype}"));
  },
});
`;

/** What the interpreter makes of a lambda, and what JavaScript does. */
async function valuesOf(lambda: string, dtype: "f32" | "i32" | "u32"): Promise<{ found: number[]; expected: number[] }> {
  overlay(file, text(lambda, dtype));
  const kernel = await readKernel({ file, skipTypes: true });
  verifyTile(kernel, "readKernel");
  const out = new Uint8Array(4 * count);
  const { x, y, i, j, u } = inputs;
  interpretTile(kernel, { x: toBytes("f32", x), y: toBytes("f32", y), i: toBytes("i32", i), j: toBytes("i32", j), u: toBytes("u32", u), k: toBytes("i32", [n]), out }, {});
  const run = new Function("bitsOf", "div", "mod", "popcount", "n", `return (x, y, i, j, u, flag) => ${lambda};`)(bitsOf, div, mod, popcount, n) as (...operands: number[]) => number;
  const expected = x.map((_, t) => round(dtype, Number(run(x[t]!, y[t]!, i[t]!, j[t]!, u[t]!, Number(x[t]! > 0)))));
  return { found: Array.from(fromBytes(dtype, out)), expected };
}

test.each([
  ["f32", float],
  ["i32", int],
  ["u32", word],
  ["i32", bool],
] as const)("%s lambdas", async (dtype, lambdas) => {
  await fc.assert(
    fc.asyncProperty(lambdas, async (lambda) => {
      const { found, expected } = await valuesOf(lambda, dtype);
      expect(found.map((v) => v + 0), lambda).toEqual(expected.map((v) => v + 0)); // -0 and 0 are one integer
    }),
    { numRuns: 150 },
  );
});

test.each(["(flag ? -(0) : 3)", "((flag ? -(0) : 3) / 2)", "(flag ? -(0) : x)", "(x * (flag ? -(0) : 1))"])("f32 keeps the -0 of %s", async (lambda) => {
  const { found, expected } = await valuesOf(lambda, "f32");
  expect(found).toEqual(expected);
  expect(found).toContain(-0);
});
test.each(["(-(0) + i) % 7", "(flag ? -(0) : i) % 7", "mod((flag ? -(0) : 3), 5)", "-(flag ? -(0) : 3) % 7", "Math.abs(flag ? -(0) : 3) % 7", "((flag ? -(0) : 3) + (flag ? 2 : -(0))) % 7"])(
  "integers take the -0 of %s for 0",
  async (lambda) => {
    const { found, expected } = await valuesOf(lambda, "i32");
    expect(found).toEqual(expected.map((v) => v + 0));
  },
);
