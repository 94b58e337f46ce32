import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { abs, bitsOf, div, exp2, floatOf, log1p, mod, popcount, scalarFn, scalarFunctions } from "../../dsl/math.ts";

const i32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });

test("div and mod truncate, as BigInt does", () => {
  for (const type of [i32, u32]) {
    fc.assert(
      fc.property(
        type,
        type.filter((b) => b !== 0),
        (a, b) => {
          expect(div(a, b) + 0).toBe(Number(BigInt(a) / BigInt(b)));
          expect(mod(a, b)).toBe(Number(BigInt(a) % BigInt(b)));
        },
      ),
    );
  }
});

test("integer division by zero names the cause", () => {
  expect(() => div(7, 0)).toThrow("div(7, 0): an integer has no quotient by 0. Guard the division with a condition.");
  expect(() => mod(7, 0)).toThrow("mod(7, 0)");
});

test("bitsOf and floatOf are inverse on every f32, and bitsOf agrees with typed arrays", () => {
  fc.assert(
    fc.property(u32, (bits) => {
      const x = floatOf(bits);
      if (!Number.isNaN(x)) expect(bitsOf(x)).toBe(bits);
      expect(x).toBe(new Float32Array(Uint32Array.of(bits).buffer)[0]);
    }),
  );
});

test("popcount counts ones", () => {
  fc.assert(
    fc.property(i32, (x) => {
      expect(popcount(x)).toBe([...(x >>> 0).toString(2)].filter((b) => b === "1").length);
    }),
  );
});

test("functions of Math keep its values", () => {
  expect([exp2(-3), log1p(1e-20), abs(-2)]).toEqual([1 / 8, 1e-20, 2]);
});

describe("the table", () => {
  test("has one row for each name, and a budget on both targets", () => {
    const names = scalarFunctions.map((f) => f.name);
    expect(new Set(names).size).toBe(names.length);
    for (const f of scalarFunctions) for (const budget of [f.wgsl, f.cuda]) expect(budget.ulp).toBeGreaterThanOrEqual(0);
  });
  test("covers every function of Math that a lambda may call, with its value", () => {
    for (const name of ["max", "min", "abs", "floor", "ceil", "sqrt", "exp", "log", "log2", "log1p", "tanh", "sin", "cos"] as const) {
      const f = scalarFunctions.find((row) => row.name === name)!;
      const operands = f.operands.map((_, i) => 0.75 + i);
      expect(f.run(...operands)).toBe((Math[name] as (...x: number[]) => number)(...operands));
    }
  });
});

describe("scalarFn", () => {
  test("carries its name and stays callable", () => {
    const twice = scalarFn("test.twice", (x) => 2 * x);
    expect([twice.scalarName, twice(3)]).toEqual(["test.twice", 6]);
  });
  test("may be declared again with the same text only", () => {
    const declare = () => scalarFn("test.same", (x) => x + 1);
    declare();
    expect(declare()(1)).toBe(2);
    expect(() => scalarFn("test.same", (x) => x + 2)).toThrow(
      /^scalarFn\("test.same"\) is declared twice, as .*x \+ 1 and as .*x \+ 2\. Give one of them another name\.$/,
    );
  });
  test("may not take the name of a function of the language", () => {
    expect(() => scalarFn("exp2", (x) => x)).toThrow('scalarFn("exp2"): the language has a function of this name. Choose another name.');
  });
});
