/** Lowered programs on the simulated machine against the Tile interpreter: same values, and no fault of the machine. */
import { expect, test } from "vitest";
import { runLoop } from "../../../compiler/interp/loop.ts";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import { fromBytes, type DType } from "../../../dsl/dtype.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import { balanceRelu } from "../../../compiler/passes/balance_relu.ts";
import { hoistInvariants } from "../../../compiler/passes/hoist_invariants.ts";
import { hoistScales } from "../../../compiler/passes/hoist_scales.ts";
import { splitRelu } from "../../../compiler/passes/split_relu.ts";
import type { Schedule } from "../../../compiler/target.ts";
import { randomBuffers, randomDims } from "../kernel_cases.ts";
import { cuda, readSmall, runPasses, smallKernelNames, smallKernels, wgsl } from "./small_kernels.ts";

/** Sums run in another order, and a bf16 beside a boundary may round the other way. */
const allowed = (dtype: DType, x: number): number => Math.max(1, Math.abs(x)) * (dtype === "bf16" ? 2 ** -8 : 2 ** -18);

test.each(smallKernelNames)("%s", async (name) => agrees(await readSmall(name)));
test.each(smallKernels.scales)("%s with its scales moved", async (name) => agrees(await readSmall(name), (tile) => hoistInvariants(hoistScales(tile))));
test("narrowReluScores with its maximum split", async () => agrees(hoistInvariants(splitRelu(hoistScales(await readSmall("narrowReluScores"))))));
test("narrowReluScores with half of its maxima added", async () => agrees(hoistInvariants(balanceRelu(hoistScales(await readSmall("narrowReluScores"))))));

test("windowSums, its loads an iteration ahead", async () => agrees(await readSmall("windowSums"), (tile) => tile, { ahead: ["part"], once: ["part"] }));

function agrees(tile: TileKernel, rewrite = (kernel: TileKernel) => kernel, schedule: Schedule = {}): void {
  for (const { target, threads, seed } of [{ target: cuda, threads: 64, seed: 1 }, { target: cuda, threads: 128, seed: 2 }, { target: wgsl, threads: 32, seed: 3 }, { target: wgsl, threads: 256, seed: 4 }]) {
    const { loop } = runPasses(rewrite(tile), target, { ...schedule, threads });
    const dims = randomDims(tile, seed);
    const want = randomBuffers(tile, dims, seed);
    const got = structuredClone(want);
    interpretTile(tile, want, dims);
    runLoop(loop, [...target.instructions.values()], got, dims, { seed });
    for (const { name: param, fields } of tile.params) {
      const { dtype } = fields[0]!;
      const [x, y] = [want, got].map((buffers) => fromBytes(dtype, buffers[param]!));
      const differs = [...x!].findIndex((v, i) => !Object.is(v, y![i]) && !(Math.abs(v - y![i]!) <= allowed(dtype, v)));
      expect(differs, `${param}[${differs}] is ${y![differs]}, not ${x![differs]}, on ${target.name} with ${threads} threads and seed ${seed}`).toBe(-1);
    }
  }
}
