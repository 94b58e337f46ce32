/** The property test of one kernel on one executor. vitest and `npm run verify` both come through here. */
import fc from "fast-check";
import { kernelsOf, type KernelName } from "../dsl/kernels/index.ts";
import type { Dsa } from "../dsl/kernels/spec.ts";
import { checks } from "./checks/index.ts";
import type { Case, Shape } from "./checks/check.ts";
import type { Executor } from "./executor.ts";
import { replayCommand } from "./replay.ts";

export interface VerifyOptions {
  readonly kernel: KernelName;
  readonly spec: Dsa;
  readonly executor: Executor;
  /** Random cases, after the fixed ones that every run has. Default 20. */
  readonly runs?: number;
  /** Default 1: the same cases in every run. */
  readonly seed?: number;
  /** With the seed of a failure: replays that case alone. */
  readonly path?: string;
  /** Multiply-adds of one case; default is the executor's. */
  readonly budget?: number;
  /** Called after every case. */
  readonly onCase?: (progress: { readonly cases: number; readonly worst: number }) => void;
}

export interface Report {
  readonly kernel: KernelName;
  /** Name of the spec. */
  readonly spec: string;
  readonly target: string;
  readonly device: string;
  readonly seed: number;
  /** Cases that ran and passed. */
  readonly cases: number;
  /** Output cells that were compared. */
  readonly cells: number;
  /** Largest error in units of its budget: at most 1 unless `failed`. */
  readonly worst: number;
  /** Whether 20 launches of one case left the same bits; absent where nothing is launched, and after a failure. */
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

const launches = 20;

/** Never rejects for a wrong kernel or a refusing device: both are a report with `failed`. A kernel that the spec lacks is a RangeError. */
export async function verifyKernel(options: VerifyOptions): Promise<Report> {
  const { kernel, spec, executor, runs = 20, seed = 1, path, budget = executor.budget, onCase } = options;
  if (!kernelsOf(spec).includes(kernel)) throw new RangeError(`spec ${spec.name} has no ${kernel}. Its kernels are ${kernelsOf(spec).join(", ")}.`);
  const check = checks[kernel];
  const fixed = check.fixed(spec, budget);
  let [cases, cells, worst] = [0, 0, 0];

  const property = fc.asyncProperty(check.shapes(spec, budget), async (shape) => {
    const verdict = await judge(check.prepare(spec, shape), executor);
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
  const report = { kernel, spec: spec.name, target: executor.target, device: executor.device, seed, cases, cells, worst };
  if (details.failed) {
    const [shape] = details.counterexample!;
    const at = { seed: details.seed, path: details.counterexamplePath! };
    const message = details.errorInstance instanceof Error ? details.errorInstance.message : String(details.errorInstance);
    return { ...report, failed: { ...at, shape, message, replay: replayCommand(kernel, spec.name, executor.target, { ...at, runs }) } };
  }
  if (!executor.repeatsBitwise) return report;
  const { buffers, dims } = check.prepare(spec, fixed[0]!);
  return { ...report, launchesEqual: await executor.repeatsBitwise(buffers, dims, launches) };
}

async function judge(prepared: Case, executor: Executor) {
  return prepared.judge(await executor.run(prepared.buffers, prepared.dims), executor);
}
