/** Laws between runs of the kernels, run eagerly and as WGSL on the software adapter. */
import { afterAll, beforeAll, describe, test } from "vitest";
import { compileJob, textOf } from "../../compiler/cli/jobs.ts";
import type { Kernel } from "../../dsl/index.ts";
import { kernels } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import { openWebGpu, type WebGpuDevice } from "../../targets/wgsl/runtime.ts";
import { deviceExecutor, eagerExecutor, type Executor } from "../../verify/executor.ts";
import { lawsOf, type ExecutorOf } from "../../verify/laws/index.ts";

const specs = [
  withSettings(preset("v3.2"), { topK: "67", indexerHeads: "12", indexerDim: "64", heads: "10", nextN: "2", splits: "3" }),
  withSettings(preset("longcat-flash-lite"), {
    topK: "40",
    indexDtype: "bf16",
    logitsDtype: "bf16",
    score: "softplus",
    heads: "8",
    sink: "true",
  }),
];
const cases = specs.flatMap((spec) => lawsOf(spec).map((law) => [`${law.name} (${spec.name.split("+")[0]})`, law, spec] as const));

const eagerly: ExecutorOf = async (kernel, spec) => eagerExecutor(kernels[kernel](spec) as Kernel);

describe("eager", () => {
  test.each(cases)("%s", async (_, law, spec) => {
    for (const seed of [1, 2, 3]) await law.holds(spec, eagerly, seed);
  });
});

describe("WGSL on the software adapter", () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openWebGpu({ adapter: "software" });
  });
  afterAll(() => device.close());
  const loaded = new Map<string, Promise<Executor>>();
  const onDevice: ExecutorOf = (kernel, spec) => {
    const key = `${kernel} ${JSON.stringify(spec)}`;
    const executor =
      loaded.get(key) ??
      compileJob({ ...textOf(kernel), spec, target: "wgsl" }).then(({ manifest, text }) => deviceExecutor(device, manifest, text));
    loaded.set(key, executor);
    return executor;
  };
  test.each(cases)("%s", (_, law, spec) => law.holds(spec, onDevice, 1));
});
