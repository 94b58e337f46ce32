/** Batch invariance: what a query gets does not depend on the queries beside it. */
import { fromBytes } from "../../dsl/dtype.ts";
import type { Kernel } from "../../dsl/index.ts";
import { kernels, type KernelName } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { bytesOf, type Shape } from "../checks/check.ts";
import { checks } from "../checks/index.ts";
import type { Buffers, Dims } from "../executor.ts";
import { compare } from "../verdict.ts";
import { requireVerdict, type Law } from "./law.ts";

const batch = 3;

export const batchLaws: readonly Law[] = (Object.keys(kernels) as KernelName[]).map((name) => ({
  name: `${name}: a query alone gets the bits that it gets in a batch`,
  kernels: [name],
  async holds(dsa, executorOf, seed) {
    const executor = await executorOf(name, dsa);
    const { args } = kernels[name](dsa) as Kernel;
    const [shape] = checks[name].fixed(dsa, executor.budget);
    const size = "requests" in shape! ? "requests" : "queries";
    const { buffers, dims } = everythingSeen(dsa, checks[name].prepare(dsa, { ...shape!, [size]: batch, seed } as Shape));
    const dim = size === "requests" ? "B" : "Q";
    const isBatched = (arg: string): boolean => Object.values(args[arg]!.dims)[0] === dim;
    const rowOf = (bytes: Uint8Array, t: number): Uint8Array => bytes.slice((t * bytes.length) / batch, ((t + 1) * bytes.length) / batch);
    const together = await executor.run(buffers, dims);
    for (let t = 0; t < batch; t++) {
      const own = Object.fromEntries(Object.entries(buffers).map(([arg, bytes]) => [arg, isBatched(arg) ? rowOf(bytes, t) : bytes]));
      const alone = await executor.run(own, { ...dims, [dim]: 1 });
      for (const [output, bytes] of Object.entries(alone)) {
        const arg = args[output]!;
        if (arg.kind !== "tensor") continue;
        const [got, want] = [fromBytes(arg.dtype, bytes), fromBytes(arg.dtype, rowOf(together[output]!, t))];
        requireVerdict(compare({ output: `${output} of query ${t} alone`, axes: { element: got.length }, got, want, budget: 0 }));
      }
    }
  },
}));

/** Cells that nobody may read hold anything, so no cell is made one of them: windows and lengths take in everything. */
function everythingSeen(dsa: Dsa, { buffers, dims }: { readonly buffers: Buffers; readonly dims: Dims }): { buffers: Buffers; dims: Dims } {
  const full = (arg: string, value: number): Buffers =>
    buffers[arg] ? { [arg]: bytesOf(new Int32Array(buffers[arg].length / 4).fill(value)) } : {};
  return {
    buffers: {
      ...buffers,
      ...full("first", 0),
      ...full("last", dims.T ?? 0),
      ...("pages" in buffers && full("lengths", dims.I! * dsa.pageTokens)),
    },
    dims,
  };
}
