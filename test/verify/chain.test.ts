/** The whole chain on the committed trace of a real model, as WGSL on the software adapter and eagerly. */
import { expect, test } from "vitest";
import { compileJob, textOf } from "../../compiler/cli/jobs.ts";
import type { Kernel } from "../../dsl/index.ts";
import { kernels, type KernelName } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { openWebGpu } from "../../targets/wgsl/runtime.ts";
import { committedTrace, loadTrace } from "../../trace/index.ts";
import { decodeLayer, type LayerValues } from "../../trace/recall.ts";
import { inputOfLayer, runChain, specOfLayer, type ChainExecutors } from "../../verify/chain.ts";
import { deviceExecutor, eagerExecutor, type Executor } from "../../verify/executor.ts";

const trace = await loadTrace(committedTrace);
const layer = { ...trace.layers[0]!, ...decodeLayer(trace.layers[0]!) };
/** The last two positions, so that the context is longer than k. */
const tail = (values: LayerValues): LayerValues => {
  const from = values.positions.length - 2;
  const rows = (x: Float64Array): Float64Array => x.subarray((x.length / values.positions.length) * from);
  return {
    ...values,
    positions: values.positions.slice(from),
    q: rows(values.q),
    indexQ: rows(values.indexQ),
    indexW: rows(values.indexW),
  };
};
const spec = specOfLayer(preset("v3.2"), layer, 100);

async function expectRight(executorOf: (kernel: KernelName) => Promise<Executor>): Promise<Int32Array> {
  const [indexer_logits, topk, sparse_mla] = await Promise.all((["indexer_logits", "topk", "sparse_mla"] as const).map(executorOf));
  const executors = { indexer_logits, topk, sparse_mla } as ChainExecutors;
  const result = await runChain(spec, inputOfLayer(tail(layer)), executors);
  for (const verdict of Object.values(result.judge())) {
    expect(verdict.failure).toBeUndefined();
    expect(verdict.cells).toBeGreaterThan(0);
  }
  return result.idx;
}

test("eager and WGSL are right at every stage and select nearly the same tokens", async () => {
  const device = await openWebGpu({ adapter: "software" });
  const eager = await expectRight(async (kernel) => eagerExecutor(kernels[kernel](spec) as Kernel));
  const wgsl = await expectRight(async (kernel) => {
    const { manifest, text } = await compileJob({ ...textOf(kernel), spec, target: "wgsl" });
    return deviceExecutor(device, manifest, text);
  });
  device.close();
  const shared = eager.filter((token, i) =>
    wgsl.subarray(Math.floor(i / 100) * 100, (Math.floor(i / 100) + 1) * 100).includes(token),
  ).length;
  expect(shared).toBeGreaterThanOrEqual(198); // of 200: scores a few roundings apart may change places at the k-th
}, 120_000);
