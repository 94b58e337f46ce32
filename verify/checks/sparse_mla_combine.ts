/**
 * The combination of splits against the reference's attention over all slots. Its inputs are the reference's partial results, rounded to
 * f32: no worse than what a correct first kernel leaves, so the budget of both kernels together bounds the error of this one.
 */
import { NEG } from "../../dsl/kernels/sparse_mla.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { encodeArray, sparseMla, type SparseMlaArgs } from "../../reference/index.ts";
import type { Buffers } from "../executor.ts";
import { bytesOf, type Check } from "./check.ts";
import { attentionOutputs, attentionTarget, judgeAttention } from "./sparse_mla.ts";
import { decodeCases, decodeProblem, splitArgs, type DecodeShape } from "./sparse_mla_decode.ts";

/** Slots of one step of the online softmax that the reference's partial results stand for. */
const block = 16;

export const sparseMlaCombineCheck: Check<DecodeShape> = {
  ...decodeCases,
  prepare(dsa, shape) {
    const { args, sink, dims } = decodeProblem(dsa, shape);
    return {
      buffers: { ...partialResults(dsa, args), sink: bytesOf(sink), ...attentionOutputs(dims.Q, dsa) },
      dims: { Q: dims.Q },
      judge: (outputs, { arithmetic }) => judgeAttention(args, outputs, attentionTarget(arithmetic, block, dsa.splits)),
    };
  },
};

/** partial [Q, splits, heads, dV], partialMax and partialSum [Q, splits, heads] of every split, f32. */
function partialResults(dsa: Dsa, args: SparseMlaArgs): Buffers {
  const { splits, heads, dV } = dsa;
  const { queries } = args.shape;
  const [partial, max, sum] = [
    new Float64Array(queries * splits * heads * dV),
    new Float64Array(queries * splits * heads),
    new Float64Array(queries * splits * heads),
  ];
  for (let i = 0; i < splits; i++) {
    const part = sparseMla(splitArgs(dsa, args, i));
    for (let row = 0; row < queries * heads; row++) {
      const at = (Math.floor(row / heads) * splits + i) * heads + (row % heads);
      const isEmpty = part.lse[row] === Infinity;
      max[at] = isEmpty ? NEG : part.max[row]! / Math.LN2;
      sum[at] = isEmpty ? 0 : Math.exp(part.lse[row]! - part.max[row]!);
      for (let c = 0; c < dV; c++) partial[at * dV + c] = part.out[row * dV + c]! * sum[at]!;
    }
  }
  return { partial: encodeArray("f32", partial), partialMax: encodeArray("f32", max), partialSum: encodeArray("f32", sum) };
}
