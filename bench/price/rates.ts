/** Rates of the stages: those that the paper's figure implies, those of a roofline, and those of a run of `bench`. */
import { z } from "zod";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { anchorCeilings, anchorsFrom } from "../anchors.ts";
import type { ProblemName } from "../problems/index.ts";
import { phases, type Phase, type Rate, type Rates, type Stage, stages } from "./model.ts";

const figure = (flops: number): Rate => ({ flops, from: "the paper's figure, H800" });
const inScores: Rate = { from: "the paper's figure, in the rate of scores" };

/** FLOP a second that explain the slopes and plateaus of the figure; selection is in that of the scores. */
export const paperRates: Rates = {
  prefill: { dense: figure(593.7e12), masked: figure(549.3e12), scores: figure(791.7e12), select: inScores, sparse: figure(567.1e12) },
  decode: { dense: figure(593.7e12), masked: figure(593.7e12), scores: figure(693e12), select: inScores, sparse: figure(395.4e12) },
};

/** What no kernel beats on an H200. */
export function rooflineRates(dsa: Dsa): Rates {
  const { memory, tensor } = anchorCeilings;
  const from = `roofline of an ${anchorsFrom.gpu}`;
  const rateOf = (stage: Stage): Rate => ({ flops: stage === "scores" ? tensor[dsa.indexDtype] : tensor.bf16, bytes: memory, from });
  const all = Object.fromEntries(stages.map((stage) => [stage, rateOf(stage)])) as Record<Stage, Rate>;
  return { prefill: all, decode: all };
}

const problemOf: Readonly<Record<Phase, Partial<Record<Stage, ProblemName>>>> = {
  prefill: { scores: "indexer_logits", select: "topk", sparse: "sparse_mla" },
  decode: { scores: "paged_indexer_logits", select: "topk", sparse: "sparse_mla_decode" },
};

const reportShape = z.object({
  format: z.literal(1),
  device: z.string(),
  date: z.string(),
  outcomes: z.array(z.object({ problem: z.string(), label: z.string(), spec: z.string(), tflops: z.number().nullish(), terabytes: z.number().optional() })),
});
type Outcome = z.infer<typeof reportShape>["outcomes"][number];

/** Selection in prefill has many rows, in decode few. */
const fewRows = 256;
const rowsOf = ({ label }: Outcome): number => Number(/(?:^| )R=(\d+)/.exec(label)?.[1] ?? 0);

/**
 * The best rate of each stage in a report that `bench --json` wrote, for this spec and no other; the paper's where the report has none.
 * A text that is no such report is a RangeError.
 */
export function ratesOfReport(text: string, dsa: Dsa): Rates {
  const { device, date, outcomes } = readReport(text);
  const measured = outcomes.filter((o) => o.spec === dsa.name && o.terabytes !== undefined);
  const rateOf = (phase: Phase, stage: Stage): Rate => {
    const problem = problemOf[phase][stage];
    const candidates = measured.filter((o) => o.problem === problem && (stage !== "select" || rowsOf(o) <= fewRows === (phase === "decode")));
    // logits of decode are bound by what they read, and several query tokens share that
    const byBytes = stage === "select" || (stage === "scores" && phase === "decode");
    const speed = (o: Outcome): number => (byBytes ? o.terabytes : o.tflops) ?? 0;
    const [best] = candidates.toSorted((a, b) => speed(b) - speed(a));
    if (!best || speed(best) === 0) return paperRates[phase][stage];
    return { [byBytes ? "bytes" : "flops"]: 1e12 * speed(best), from: `${problem} ${best.label} on ${device}, ${date.slice(0, 10)}` };
  };
  const ofPhase = (phase: Phase): Record<Stage, Rate> => Object.fromEntries(stages.map((stage) => [stage, rateOf(phase, stage)])) as Record<Stage, Rate>;
  return Object.fromEntries(phases.map((phase) => [phase, ofPhase(phase)])) as Record<Phase, Record<Stage, Rate>>;
}

function readReport(text: string): z.infer<typeof reportShape> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new RangeError("it is not JSON");
  }
  const { data, error } = reportShape.safeParse(json);
  if (data) return data;
  const { path, message } = error.issues[0]!;
  throw new RangeError(`it is no report of bench: ${path.join(".") || "the whole"}: ${message}`);
}
