/** One property on one executor: fixed cases, random ones, shrinking, and the report of it. */
import fc from "fast-check";
import type { Case, Shape } from "./checks/check.ts";
import type { Executor } from "./executor.ts";

/** How cases are drawn and replayed. */
export interface Draw {
  /** Random cases, after the fixed ones that every run has. Default 20. */
  readonly runs?: number;
  /** Default 1: the same cases in every run. */
  readonly seed?: number;
  /** With the seed of a failure: replays that case alone. */
  readonly path?: string;
  /** Called after every case that passed. */
  readonly onCase?: (progress: { readonly cases: number; readonly worst: number }) => void;
}

export interface Report {
  readonly kernel: string;
  /** Name of the spec; empty for a kernel without one. */
  readonly spec: string;
  /** Whose text ran all cases, where the kernel has several. */
  readonly tier?: string;
  readonly target: string;
  readonly device: string;
  readonly seed: number;
  /** Cases that ran and passed. */
  readonly cases: number;
  /** Output cells that were compared. */
  readonly cells: number;
  /** Largest error in units of its budget: at most 1 unless `failed`. */
  readonly worst: number;
  /** Launches of one case that were compared. Absent, with what they showed, where nothing is launched, and after a failure. */
  readonly launches?: number;
  /** Whether they left the same bits. */
  readonly launchesEqual?: boolean;
  readonly failed?: Failure;
}

export interface Failure {
  readonly seed: number;
  readonly path: string;
  /** The smallest case found that fails. */
  readonly shape: Shape;
  readonly message: string;
  /** Shell command that runs this case again. */
  readonly replay: string;
}

/** What went wrong, where, the smallest case, and how to see it again. */
export const describeFailure = ({ kernel, spec, tier = "", target, device }: Report, { message, shape, seed, replay }: Failure): string =>
  [
    `${[kernel, spec, tier, target].filter((word) => word !== "").join(" · ")} on ${device}: ${message}`,
    `  case ${JSON.stringify(shape)}, seed ${seed}`,
    `  replay: ${replay}`,
  ].join("\n");

export interface Property extends Draw {
  readonly kernel: string;
  readonly spec: string;
  readonly tier?: string;
  readonly executor: Executor;
  readonly fixed: readonly Shape[];
  readonly shapes: fc.Arbitrary<Shape>;
  /** Cases of which many launches must leave the same bits. Default: the first fixed one. */
  readonly repeated?: readonly Shape[];
  /** Launches of each; default 20. */
  readonly launches?: number;
  prepare(shape: Shape): Case;
  replay(at: { readonly seed: number; readonly path: string; readonly runs: number }): string;
}

/** Never rejects for a wrong kernel or a device that refuses: both are a report with `failed`. */
export async function checkProperty({
  kernel,
  spec,
  tier,
  executor,
  fixed,
  shapes,
  repeated = fixed.slice(0, 1),
  launches = 20,
  prepare,
  replay,
  runs = 20,
  seed = 1,
  path,
  onCase,
}: Property): Promise<Report> {
  let [cases, cells, worst] = [0, 0, 0];
  const property = fc.asyncProperty(shapes, async (shape) => {
    const { buffers, dims, judge } = prepare(shape);
    const verdict = judge(await executor.run(buffers, dims), executor);
    worst = Math.max(worst, verdict.worst);
    if (verdict.failure !== undefined) throw new Error(verdict.failure);
    cases++;
    cells += verdict.cells;
    onCase?.({ cases, worst });
  });
  const details = await fc.check(property, {
    seed,
    numRuns: fixed.length + runs,
    examples: fixed.map((shape): [Shape] => [shape]),
    ...(path !== undefined && { path, endOnFailure: true }),
  });
  const report = { kernel, spec, ...(tier !== undefined && { tier }), target: executor.target, device: executor.device, seed, cases, cells, worst };
  if (details.failed) {
    const [shape] = details.counterexample!;
    const at = { seed: details.seed, path: details.counterexamplePath! };
    const message = details.errorInstance instanceof Error ? details.errorInstance.message : String(details.errorInstance);
    return { ...report, failed: { ...at, shape, message, replay: replay({ ...at, runs }) } };
  }
  if (!executor.repeatsBitwise) return report;
  let launchesEqual = true;
  for (const shape of repeated) {
    const { buffers, dims } = prepare(shape);
    launchesEqual &&= await executor.repeatsBitwise(buffers, dims, launches);
  }
  return { ...report, launches, launchesEqual };
}
