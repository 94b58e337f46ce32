/** Property tests as tasks: one kernel, one spec, one tier, one runner. What `verify`, `quickstart` and `test-gpu` share. */
import { kernelsOf, type KernelName } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { type ProgramName, programs, programsOf } from "../../dsl/programs/index.ts";
import type { Shape } from "../../verify/checks/check.ts";
import { checks } from "../../verify/checks/index.ts";
import { type FileKernel, kernelsOfFile, verifyFile } from "../../verify/file.ts";
import { scaleForSoftware, scaleProgram } from "../../verify/scale.ts";
import { type Draw, type Report, verifyKernel, verifyProgram } from "../../verify/verify.ts";
import { describeError, Failure } from "./failure.ts";
import { type KernelText, textOf, textsIn } from "./jobs.ts";
import { openProgress } from "./progress.ts";
import type { Microseconds, Runner } from "./runners.ts";

/** One kernel or program, to be held to its oracle by one runner. */
export interface Task {
  readonly runner: Runner;
  readonly kernel: string;
  /** Name of the spec that is run; empty for kernels without one. */
  readonly spec: string;
  /** Whose text runs every case; undefined where the kernel has one text, or for that of all other launches. */
  readonly tier: string | undefined;
  /** How that spec was made smaller for the runner, one sentence a number. */
  readonly changes: readonly string[];
  /** Rejects when the kernel does not compile or load. */
  run(draw: Draw): Promise<Report>;
  /** Device time of one small case. Absent where there is no device, and for files. */
  time?(): Promise<Timed>;
}

export interface Timed extends Microseconds {
  readonly shape: Shape;
}

/** A kernel that could not be compiled or loaded. */
export interface Refusal extends Pick<Report, "kernel" | "spec" | "tier" | "target" | "device"> {
  readonly refused: string;
}
export type Outcome = Report | Refusal;

export interface Choice {
  readonly only?: readonly KernelName[] | undefined;
  /** Only the texts of that tier. */
  readonly tier?: string | undefined;
  /** CPUs get a smaller k where the cost depends on k. */
  readonly scale: boolean;
  /** The sweeps of those kernels that have one, and no other kernels. */
  readonly sweep?: boolean;
}

/** The kernels of each spec on one runner, each tier by itself: its text must be right for launches that another one would take, too. */
export async function tasksOfSpecs(runner: Runner, specs: readonly Dsa[], { only, scale, tier: wanted, sweep = false }: Choice): Promise<Task[]> {
  const tasks: Task[] = [];
  for (const spec of specs) {
    for (const kernel of kernelsOf(spec).filter((name) => (only?.includes(name) ?? true) && (!sweep || checks[name].sweep))) {
      const { spec: scaled, changes } = scale && !runner.isGpu ? scaleForSoftware(kernel, spec) : { spec, changes: [] };
      for (const tier of await tiersOn(runner, textOf(kernel), scaled, wanted)) {
        const run = async (draw: Draw): Promise<Report> => {
          const { executor } = await runner.load(textOf(kernel), scaled, tier);
          return verifyKernel({ kernel, spec: scaled, executor, ...(tier !== undefined && { tier }), sweep, ...draw });
        };
        const timed = runner.timeOf && { time: () => timeOf(runner, kernel, scaled, tier) };
        tasks.push({ runner, kernel, spec: scaled.name, tier, changes, run, ...timed });
      }
    }
  }
  return tasks;
}

/** The programs of each spec on one runner; CPUs get a small indexer and k. */
export const tasksOfPrograms = (runner: Runner, specs: readonly Dsa[], { only, scale }: { readonly only?: readonly ProgramName[] | undefined; readonly scale: boolean }): Task[] =>
  specs.flatMap((spec) =>
    programsOf(spec).filter((program) => only?.includes(program) ?? true).map((program): Task => {
      const { spec: scaled, changes } = scale && !runner.isGpu ? scaleProgram(program, spec) : { spec, changes: [] };
      const run = async (draw: Draw): Promise<Report> =>
        verifyProgram({ program, spec: scaled, executor: await runner.loadProgram(programs[program], scaled), ...draw });
      return { runner, kernel: program, spec: scaled.name, tier: undefined, changes, run };
    }),
  );

const tiersOn = async (runner: Runner, text: KernelText, spec: Dsa | undefined, wanted: string | undefined): Promise<(string | undefined)[]> =>
  (await runner.tiersOf(text, spec)).filter((tier) => wanted === undefined || tier === wanted);

/** Multiply-adds of a case that is timed. */
const timedBudget = 1e8;

/** Times the first case that every run has. */
async function timeOf(runner: Runner, kernel: KernelName, spec: Dsa, tier: string | undefined): Promise<Timed> {
  const shape = checks[kernel].fixed(spec, timedBudget)[0]!;
  const { buffers, dims } = checks[kernel].prepare(spec, shape);
  return { shape, ...(await runner.timeOf!({ text: textOf(kernel), spec, tier }, buffers, dims)) };
}

/** The kernels of anybody's files on one runner; factories get each spec. */
export async function tasksOfFiles(runner: Runner, files: readonly string[], specs: readonly Dsa[], wanted?: string): Promise<Task[]> {
  const tasks: Task[] = [];
  for (const file of files) {
    for (const text of textsIn(file)) {
      for (const spec of text.factory ? specs : [undefined]) {
        const of = await importKernel(file, text.exportName, spec);
        const specName = spec?.name ?? "";
        for (const tier of await tiersOn(runner, text, spec, wanted)) {
          const run = async (draw: Draw): Promise<Report> =>
            verifyFile({ of, specName, ...(tier !== undefined && { tier }), ...(await runner.load(text, spec, tier)), ...draw });
          tasks.push({ runner, kernel: of.kernel.name, spec: specName, tier, changes: [], run });
        }
      }
    }
  }
  return tasks;
}

const moduleHint = 'a kernel file is an ES module: name it .mts, or put a package.json with "type": "module" into its folder';

async function importKernel(file: string, exportName: string, spec: Dsa | undefined): Promise<FileKernel> {
  const kernels = await kernelsOfFile(file, spec).catch((error: unknown) => {
    throw new Failure(`${file} cannot be imported: ${error instanceof Error ? error.message : String(error)}`, moduleHint);
  });
  return kernels.find((kernel) => kernel.exportName === exportName)!;
}

/** Runs all tasks, one after another; what goes wrong with one does not keep the others from running. */
export async function runTasks(tasks: readonly Task[], draw: Draw): Promise<Outcome[]> {
  const progress = openProgress(tasks.length);
  const outcomes: Outcome[] = [];
  for (const { runner: { target, device }, kernel, spec, tier, run } of tasks) {
    const name = [kernel, spec, tier ?? "", `${target} on ${device}`].filter((part) => part !== "").join(", ");
    progress.step(name);
    try {
      outcomes.push(await run({ ...draw, onCase: ({ cases }) => progress.detail(`${name}: ${cases} cases`) }));
    } catch (error) {
      outcomes.push({ kernel, spec, ...(tier !== undefined && { tier }), target, device, refused: await describeError(error) });
    }
  }
  progress.done();
  return outcomes;
}
