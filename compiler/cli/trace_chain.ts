/** The chain on a trace through generated kernels: how much of the true attention its selection holds, and what the rest costs. */
import { preset } from "../../dsl/kernels/presets.ts";
import { denseMla, hadamard } from "../../reference/index.ts";
import type { TraceLayer } from "../../trace/index.ts";
import { attentionMass, decodeLayer, massHeld, slidingWindow, topTokens } from "../../trace/recall.ts";
import { type ChainExecutors, inputOfLayer, runChain, specOfLayer } from "../../verify/chain.ts";
import type { Executor } from "../../verify/executor.ts";
import { Failure } from "./failure.ts";
import { textOf } from "./jobs.ts";
import type { Runner } from "./runners.ts";

/** Means over the queries of one layer. Shares are parts of the attention mass that all visible tokens hold. */
export interface Selection {
  readonly layer: number;
  readonly k: number;
  /** Share of the tokens that the kernels selected. */
  readonly selected: number;
  /** Share of the k tokens of most mass; no selection of k can do better. */
  readonly oracle: number;
  /** Share of the last k tokens. */
  readonly window: number;
  /** ‖sparse − dense‖ / ‖dense‖ over all outputs. */
  readonly outputError: number;
  /** Largest error of any stage against the reference, in units of its budget. */
  readonly worst: number;
}

/** Runs a layer once for each k. Throws a Failure when a stage is not what the reference says. */
export async function selectOn(
  runner: Runner, layer: TraceLayer, sizes: readonly number[], onStage: (text: string) => void,
): Promise<Selection[]> {
  onStage(`layer ${layer.layer}: dense attention, in f64, to compare with`);
  const values = decodeLayer(layer);
  const masses = values.positions.map((_, query) => attentionMass(values, query));
  const mean = (share: (mass: Float64Array, query: number) => number): number =>
    masses.reduce((sum, mass, query) => sum + share(mass, query), 0) / masses.length;
  const input = inputOfLayer({ ...values, indexQ: hadamard(values.indexQ, values.indexDim), indexK: hadamard(values.indexK, values.indexDim) });
  const { heads, dQk, smScale, positions } = values;
  const shape = { queries: positions.length, heads, tokens: layer.tokens, dQk, dV: layer.latent };
  const dense = denseMla({ shape, q: values.q, kv: values.rows, scale: smScale, first: new Int32Array(positions.length), last: input.last }).out;

  const selections: Selection[] = [];
  for (const k of sizes) {
    onStage(`layer ${layer.layer}: ${positions.length} queries over up to ${layer.tokens} tokens, k ${k}`);
    const spec = specOfLayer(preset("v3.2"), { ...values, layer: layer.layer, latent: layer.latent }, k);
    const executor = async (kernel: keyof ChainExecutors): Promise<Executor> => (await runner.load(textOf(kernel), spec)).executor;
    const executors = {
      indexer_logits: await executor("indexer_logits"),
      topk: await executor("topk"),
      sparse_mla: await executor("sparse_mla"),
    };
    const { idx, out, judge } = await runChain(spec, input, executors);
    const verdicts = Object.values(judge());
    for (const { failure } of verdicts)
      if (failure !== undefined) throw new Failure(`${spec.name}: ${failure}`, "`npm run verify`, which finds the smallest case");
    const chosen = (query: number): number[] => [...idx.subarray(query * k, (query + 1) * k)].filter((token) => token >= 0);
    selections.push({
      layer: layer.layer,
      k,
      selected: mean((mass, query) => massHeld(mass, chosen(query))),
      oracle: mean((mass) => massHeld(mass, topTokens(mass, k))),
      window: mean((mass) => massHeld(mass, slidingWindow(mass.length, k))),
      outputError: distance(out, dense) / norm(dense),
      worst: Math.max(...verdicts.map((v) => v.worst)),
    });
  }
  return selections;
}

const norm = (a: Float64Array): number => Math.sqrt(a.reduce((sum, x) => sum + x * x, 0));
const distance = (a: Float64Array, b: Float64Array): number => norm(a.map((x, i) => x - b[i]!));
