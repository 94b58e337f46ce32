/**
 * The one place to change: a `Dsa` object. Kernels are functions of it; tests, reference, manifests and the cost model take the same object.
 */
import { exp, log1p, scalarFn, type ScalarFn } from "../math.ts";

/** Score of one index head: `f(qScale * kScale * <q, k>)`. */
export interface ScoreFn {
  readonly name: string;
  readonly f: ScalarFn;
}

export const relu: ScoreFn = { name: "relu", f: scalarFn("relu", (x) => Math.max(x, 0)) };
/** ln(1 + e^x), written so that neither tail overflows. */
export const softplus: ScoreFn = {
  name: "softplus",
  f: scalarFn("softplus", (x) => Math.max(x, 0) + log1p(exp(-Math.abs(x)))),
};
export const scores: Readonly<Record<string, ScoreFn>> = { relu, softplus };

/**
 * How a sum of max(x, 0) over heads may be computed. "linear": as halves of |x| and of x, the second by one more product, where the target's schedule
 * has that form; a sum of scores that are all 0 is then a small number of either sign.
 */
export type ScoreForm = "exact" | "linear";

/** Dtypes that index queries and keys can have. */
export type IndexDtype = "e4m3" | "bf16";

/** Everything that shapes the kernels of one model. */
export interface Dsa {
  readonly name: string;
  /** Selected tokens per query. */
  readonly topK: number;
  readonly indexerHeads: number;
  readonly indexerDim: number;
  readonly indexDtype: IndexDtype;
  readonly logitsDtype: "f32" | "bf16";
  readonly score: ScoreFn;
  readonly scoreForm: ScoreForm;
  /** Tokens of one index-key page. */
  readonly pageTokens: number;
  /** Query tokens verified together in decode. */
  readonly nextN: number;
  /** Heads of the main attention on this device. */
  readonly heads: number;
  /** Latent columns: the values. */
  readonly dV: number;
  /** RoPE columns behind the latent ones; 0 where the rope is inside the latent (V4). */
  readonly dRope: number;
  readonly smScale: number;
  /** A logit per head that joins the softmax's denominator. */
  readonly sink: boolean;
  /** Parts that the slots of one decode query are split into. */
  readonly splits: number;
}
