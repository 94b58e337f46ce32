/** One comparison of floats decides what the comparison of their keys decides, for any bits. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { exprText, library } from "../../../compiler/interp/expr_text.ts";
import { binary, variable, type Expr } from "../../../compiler/ir/expr.ts";
import { compareNumbers } from "../../../compiler/passes/lower/ordered.ts";
import { floatOf, orderedKey } from "../../../dsl/math.ts";

const above = binary(">", { kind: "Call", type: "u32", fn: "orderedKey", args: [variable("f32", "x")] }, variable("u32", "k"));
const run = (e: Expr): ((x: number, k: number) => boolean) => {
  const { lines, value } = exprText(e, (name) => name);
  return new Function(...library.names, `return (x, k) => { ${lines.join(" ")} return Boolean(${value}); };`)(...library.values);
};

test("orderedKey(x) > key without the key of x", () => {
  const rewritten = compareNumbers(above, (y) => y);
  expect(JSON.stringify(rewritten)).not.toContain("orderedKey");
  const compare = run(rewritten);
  const edges = [0, 1, 0x007ffffe, 0x007fffff, 0x00800000, 0x7ffffffe, 0x7fffffff, 0x80000000, 0x80000001, 0xff7fffff, 0xff800000, 0xff800001, 0xfffffffe, 0xffffffff];
  const bits = fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom(...edges, 0x7f800000, 0x7fc00000, 0xffc00000));
  const key = fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constantFrom(...edges), bits.map((b) => orderedKey(floatOf(b))));
  fc.assert(
    fc.property(bits, key, (b, k) => {
      expect(compare(floatOf(b), k)).toBe(orderedKey(floatOf(b)) > k);
    }),
    { numRuns: 5000 },
  );
});
