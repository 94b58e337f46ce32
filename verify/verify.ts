/** The property tests of a kernel of `dsl/kernels`, and of a program, against the reference. vitest and `npm run verify` both come through here. */
import { kernelsOf, type KernelName } from "../dsl/kernels/index.ts";
import type { Dsa } from "../dsl/kernels/spec.ts";
import type { ProgramName } from "../dsl/programs/index.ts";
import type { Case, Shape } from "./checks/check.ts";
import { checks, programChecks } from "./checks/index.ts";
import type { Executor } from "./executor.ts";
import { checkProperty, type Draw, type Report } from "./property.ts";
import type { ProgramExecutor } from "./program.ts";
import { replayKernel, replayProgram } from "./replay.ts";

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
  /** The cases of the check's sweep instead of those of every run, and no random ones unless `runs` says so. */
  readonly sweep?: boolean;
}

/** Launches of one case of a sweep that must leave the same bits. */
const SWEEP_LAUNCHES = 100;

/**
 * Never rejects for a wrong kernel or a device that refuses: both are a report with `failed`, which holds the smallest failing case and the
 * command that replays it. A kernel that the spec lacks is a RangeError.
 */
export async function verifyKernel(options: VerifyOptions): Promise<Report> {
  const { kernel, spec, tier, executor, budget = executor.budget, sweep: wantsSweep = false, ...draw } = options;
  if (!kernelsOf(spec).includes(kernel))
    throw new RangeError(`spec ${spec.name} has no ${kernel}. Its kernels are ${kernelsOf(spec).join(", ")}.`);
  const check = checks[kernel];
  const sweep = wantsSweep ? check.sweep?.(spec, budget) : undefined;
  if (wantsSweep && !sweep) throw new RangeError(`${kernel} has no sweep. ${Object.keys(checks).filter((name) => checks[name as KernelName].sweep).join(", ")} have one.`);
  return checkProperty({
    ...(sweep && { runs: 0, repeated: sweep.repeated, launches: SWEEP_LAUNCHES }),
    ...draw,
    kernel,
    spec: spec.name,
    ...(tier !== undefined && { tier }),
    executor,
    fixed: sweep?.cases ?? check.fixed(spec, budget),
    shapes: check.shapes(spec, budget),
    prepare: (shape) => (sweep ? keptCase(kernel, spec, shape) : check.prepare(spec, shape)),
    replay: (at) => replayKernel(kernel, spec.name, executor.target, { ...at, tier, sweep: wantsSweep }),
  });
}

/** Cases of the kernel that is swept, for the text of its next tier: long rows take longer to make and sort than to select from. */
const kept = { of: "", cases: new Map<string, Case>() };
function keptCase(kernel: KernelName, spec: Dsa, shape: Shape): Case {
  const of = `${kernel} ${spec.name}`;
  if (kept.of !== of) kept.cases.clear();
  kept.of = of;
  const key = JSON.stringify(shape);
  const found = kept.cases.get(key) ?? checks[kernel].prepare(spec, shape);
  kept.cases.set(key, found);
  return found;
}

export interface VerifyProgramOptions extends Draw {
  readonly program: ProgramName;
  readonly spec: Dsa;
  /** Runs that program of that spec. */
  readonly executor: ProgramExecutor;
}

/** As `verifyKernel`, of a program: on chunks of several sizes, of which the last is often not full. */
export async function verifyProgram({ program, spec, executor, ...draw }: VerifyProgramOptions): Promise<Report> {
  const check = programChecks[program](executor.tile);
  return checkProperty({
    ...draw,
    kernel: program,
    spec: spec.name,
    executor,
    fixed: check.fixed(spec, executor.budget),
    shapes: check.shapes(spec, executor.budget),
    prepare: (shape) => check.prepare(spec, shape),
    replay: (at) => replayProgram(program, spec.name, executor.target, at),
  });
}
