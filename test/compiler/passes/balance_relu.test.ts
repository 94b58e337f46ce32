/** Every second maximum of a sum as an addition: the same bits. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import { visitExpr } from "../../../compiler/ir/expr.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import { verifyTile } from "../../../compiler/ir/verify_tile.ts";
import { statements } from "../../../compiler/ir/walk.ts";
import { balanceRelu } from "../../../compiler/passes/balance_relu.ts";
import { hoistInvariants } from "../../../compiler/passes/hoist_invariants.ts";
import { hoistScales } from "../../../compiler/passes/hoist_scales.ts";
import { randomBuffers } from "../kernel_cases.ts";
import { readSmall } from "./small_kernels.ts";

const scaled = hoistScales(await readSmall("narrowReluScores"));
const plain = hoistInvariants(scaled);
const balanced = hoistInvariants(balanceRelu(scaled));

const outputs = (kernel: TileKernel, T: number, seed: number): Uint8Array => {
  const buffers = randomBuffers(kernel, { T }, seed);
  interpretTile(kernel, buffers, { T });
  return buffers.y!;
};

test("the sums are the same to the last bit", () => {
  verifyTile(balanced, "balanceRelu");
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 1000 }), (T, seed) => {
      expect(outputs(balanced, T, seed)).toEqual(outputs(plain, T, seed));
    }),
    { numRuns: 60 },
  );
});

test("the fold has both, and weights are halved outside the loop", () => {
  const functions: string[] = [];
  const inLoop = [...statements(balanced.body)].flatMap((s) => (s.kind === "For" ? [...statements(s.body)] : []));
  for (const s of inLoop) if (s.kind === "Define" && s.op.kind === "Map") visitExpr(s.op.body, (e) => e.kind === "Call" && functions.push(e.fn));
  expect(functions.sort()).toEqual(["abs", "max"]);
  expect(inLoop.some((s) => s.kind === "Define" && s.value.label.endsWith(".weight"))).toBe(false);
});

test.each(["reluScores", "leakyScores", "clippedScores", "softScores", "gatedInside", "readTwice"] as const)("%s stays as it is", async (name) => {
  const kernel = hoistScales(await readSmall(name));
  expect(balanceRelu(kernel)).toBe(kernel);
});
