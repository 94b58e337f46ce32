/** The property test of a kernel of `dsl/kernels` against the reference. vitest and `npm run verify` both come through here. */
import { kernelsOf, type KernelName } from "../dsl/kernels/index.ts";
import type { Dsa } from "../dsl/kernels/spec.ts";
import { checks } from "./checks/index.ts";
import type { Executor } from "./executor.ts";
import { checkProperty, type Draw, type Report } from "./property.ts";
import { replayKernel } from "./replay.ts";

export { describeFailure, type Draw, type Failure, type Report } from "./property.ts";

export interface VerifyOptions extends Draw {
  readonly kernel: KernelName;
  readonly spec: Dsa;
  /** Whose text the executor runs. */
  readonly tier?: string;
  /** Runs that kernel of that spec. */
  readonly executor: Executor;
  /** Multiply-adds of one case; default is the executor's. */
  readonly budget?: number;
}

/**
 * Never rejects for a wrong kernel or a device that refuses: both are a report with `failed`, which holds the smallest failing case and the
 * command that replays it. A kernel that the spec lacks is a RangeError.
 */
export async function verifyKernel(options: VerifyOptions): Promise<Report> {
  const { kernel, spec, tier, executor, budget = executor.budget, ...draw } = options;
  if (!kernelsOf(spec).includes(kernel))
    throw new RangeError(`spec ${spec.name} has no ${kernel}. Its kernels are ${kernelsOf(spec).join(", ")}.`);
  const check = checks[kernel];
  return checkProperty({
    ...draw,
    kernel,
    spec: spec.name,
    ...(tier !== undefined && { tier }),
    executor,
    fixed: check.fixed(spec, budget),
    shapes: check.shapes(spec, budget),
    prepare: (shape) => check.prepare(spec, shape),
    replay: (at) => replayKernel(kernel, spec.name, executor.target, { ...at, tier }),
  });
}
