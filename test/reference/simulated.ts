/** Evaluations of the stages as a device may do them: f32, any order of summation, narrow accumulators, blocks, splits. */
import type { Aligned } from "../../reference/accuracy.ts";
import type { AttentionTarget } from "../../reference/bounds.ts";
import { roundTo } from "../../reference/formats.ts";
import type { IndexerArgs } from "../../reference/indexer.ts";
import type { Random } from "../../reference/inputs/random.ts";
import { selectedTokens, type AttentionResult, type SparseMlaArgs } from "../../reference/sparse_mla.ts";

const f32 = Math.fround;

/** Sum in f32 by a random binary tree: repeatedly replaces two random partial sums by their rounded sum. */
export function anyOrderSum(random: Random, terms: readonly number[]): number {
  const sums = terms.map(f32);
  while (sums.length > 1) {
    const i = random.integer(0, sums.length - 1);
    const a = sums[i]!;
    sums[i] = sums[sums.length - 1]!;
    sums.pop();
    const j = random.integer(0, sums.length - 1);
    sums[j] = f32(sums[j]! + a);
  }
  return sums[0] ?? 0;
}

/** Sum in f32 from left to right. */
export const chainSum = (_: Random, terms: readonly number[]): number => terms.reduce((sum, term) => f32(sum + f32(term)), 0);

/** Sum of groups cut at the exponent of their largest addend, as fp8 tensor cores of Hopper are reported to do. */
export const alignedSum =
  ({ bits, group }: Aligned) =>
  (_: Random, terms: readonly number[]): number => {
    const cut = (x: number, exponent: number): number => Math.trunc(x / 2 ** (exponent - bits)) * 2 ** (exponent - bits);
    const exponentOf = (x: number): number => Math.floor(Math.log2(Math.abs(x)));
    let sum = 0;
    for (let start = 0; start < terms.length; start += group) {
      const addends = [sum, ...terms.slice(start, start + group)];
      const exponent = Math.max(...addends.map(exponentOf));
      if (exponent === -Infinity) continue;
      const total = addends.reduce((a, b) => a + cut(b, exponent), 0);
      sum = total === 0 ? 0 : cut(total, exponentOf(total));
    }
    return sum;
  };
export type Summation = (random: Random, terms: readonly number[]) => number;

const productsOf = (a: ArrayLike<number>, aAt: number, b: ArrayLike<number>, bAt: number, length: number): number[] =>
  Array.from({ length }, (_, d) => f32(a[aAt + d]! * b[bAt + d]!));

/** Logits in f32; with `fold`, ReLU kernels put qScale into the gate and kScale behind the sum. */
export function simulateLogits(random: Random, args: IndexerArgs, dotSum: Summation, fold: boolean): Float64Array {
  const { queries, heads, dim, tokens } = args.shape;
  const softplus = (x: number): number => f32(Math.max(x, 0) + f32(Math.log1p(f32(Math.exp(-Math.abs(x))))));
  const score = args.score === "softplus" ? softplus : (x: number): number => Math.max(x, 0);
  const logits = new Float64Array(queries * tokens).fill(NaN);
  for (let t = 0; t < queries; t++) {
    for (let s = args.first[t]!; s < args.last[t]!; s++) {
      const terms = Array.from({ length: heads }, (_, h) => {
        const row = t * heads + h;
        const dot = dotSum(random, productsOf(args.q, row * dim, args.k, s * dim, dim));
        if (fold) return f32(score(dot) * f32(args.w[row]! * args.qScale[row]!));
        return f32(score(f32(f32(dot * args.qScale[row]!) * args.kScale[s]!)) * args.w[row]!);
      });
      const sum = anyOrderSum(random, terms);
      logits[t * tokens + s] = fold ? f32(sum * args.kScale[s]!) : sum;
    }
  }
  return logits;
}

/** ReLU logits in f32 as two halves, the second one through a vector in four e4m3 pieces. */
export function simulateSplitLogits(random: Random, args: IndexerArgs, dotSum: Summation): Float64Array {
  const { queries, heads, dim, tokens } = args.shape;
  const logits = new Float64Array(queries * tokens).fill(NaN);
  for (let t = 0; t < queries; t++) {
    const rows = Array.from({ length: heads }, (_, h) => t * heads + h);
    const half = rows.map((row) => f32(f32(args.w[row]! * args.qScale[row]!) / 2));
    const vector = Array.from({ length: dim }, (_, d) => anyOrderSum(random, rows.map((row, h) => f32(args.q[row * dim + d]! * half[h]!))));
    const unit = 2 ** (Math.floor(Math.log2(Math.max(2 ** -100, ...vector.map(Math.abs)))) - 7);
    let left = vector.map((x) => x / unit);
    const pieces = [0, 1, 2, 3].map(() => {
      const piece = left.map((x) => roundTo("e4m3", x));
      left = left.map((x, d) => (x - piece[d]!) * 16);
      return piece;
    });
    for (let s = args.first[t]!; s < args.last[t]!; s++) {
      const dot = (a: ArrayLike<number>, at: number): number => dotSum(random, productsOf(a, at, args.k, s * dim, dim));
      const first = anyOrderSum(random, rows.map((row, h) => f32(Math.abs(dot(args.q, row * dim)) * half[h]!)));
      const second = anyOrderSum(random, pieces.map((piece, p) => f32(dot(piece, 0) * unit * 16 ** -p)));
      logits[t * tokens + s] = f32(f32(first + second) * args.kScale[s]!);
    }
  }
  return logits;
}

/** f32(x · (1 + error)), with a random error of up to `ulps` ulp. */
const perturbed = (random: Random, x: number, ulps: number): number =>
  f32(x * (1 + (2 * random.uniform() - 1) * Math.max(ulps - 1, 0) * 2 ** -24));

/** One part of an online softmax in base 2 over the given tokens: unnormalised out, sum, and maximum in base-2 units. */
function onlineSoftmax(random: Random, args: SparseMlaArgs, row: number, tokens: Int32Array, target: AttentionTarget, sum: Summation) {
  const { dQk, dV } = args.shape;
  const { ulp, ulpPerUnit } = target.scalars.exp;
  const exp2 = (x: number): number => perturbed(random, 2 ** x, ulp + ulpPerUnit * Math.abs(x));
  const scale = f32(f32(args.scale) * f32(Math.LOG2E));
  let max = -1e30;
  let total = 0;
  let out = new Array<number>(dV).fill(0);
  for (let start = 0; start < tokens.length; start += target.block) {
    const block = [...tokens.subarray(start, start + target.block)];
    const z = block.map((token) => f32(scale * sum(random, productsOf(args.q, row * dQk, args.kv, token * dQk, dQk))));
    const next = Math.max(max, ...z);
    const alpha = exp2(f32(max - next));
    const p = z.map((x) => exp2(f32(x - next)));
    total = f32(f32(total * alpha) + sum(random, p));
    const stored = p.map((x) => roundTo(target.probability, x));
    out = out.map((o, c) =>
      f32(
        f32(o * alpha) +
          sum(
            random,
            block.map((token, j) => f32(stored[j]! * args.kv[token * dQk + c]!)),
          ),
      ),
    );
    max = next;
  }
  return { out, total, max };
}

/** Sparse MLA in f32, split, merged, and rounded to its output format. */
export function simulateMla(random: Random, args: SparseMlaArgs, target: AttentionTarget, sum: Summation): AttentionResult {
  const { queries, heads, dV } = args.shape;
  const rows = queries * heads;
  const result = {
    out: new Float64Array(rows * dV),
    lse: new Float64Array(rows).fill(Infinity),
    max: new Float64Array(rows).fill(-Infinity),
  };
  for (let row = 0; row < rows; row++) {
    const h = row % heads;
    const tokens = selectedTokens(args, Math.floor(row / heads));
    if (tokens.length === 0) continue;
    const width = Math.ceil(tokens.length / target.splits);
    const starts = Array.from({ length: Math.ceil(tokens.length / width) }, (_, p) => p * width);
    const parts = starts.map((start) => onlineSoftmax(random, args, row, tokens.subarray(start, start + width), target, sum));
    const lses = parts.map((part) => f32(part.max + f32(Math.log2(part.total))));
    const top = Math.max(...lses);
    const weights = lses.map((lse) => f32(2 ** f32(lse - top)));
    const total = parts.length === 1 ? parts[0]!.total : chainSum(random, weights);
    const lse = f32((parts.length === 1 ? lses[0]! : f32(top + f32(Math.log2(total)))) * f32(Math.LN2));
    result.lse[row] = lse;
    result.max[row] = f32(Math.max(...parts.map((part) => part.max)) * f32(Math.LN2));
    const factor = args.sink ? f32(1 / f32(1 + f32(Math.exp(f32(args.sink[h]! - lse))))) : 1;
    for (let c = 0; c < dV; c++) {
      const normalised = parts.map((part) => f32(part.out[c]! / part.total));
      const merged =
        parts.length === 1
          ? normalised[0]!
          : f32(
              chainSum(
                random,
                normalised.map((o, p) => f32(o * weights[p]!)),
              ) / total,
            );
      result.out[row * dV + c] = roundTo(target.output, f32(merged * factor));
    }
  }
  return result;
}
