/** Running property tests and telling of them: what `verify`, `quickstart` and `test-gpu` share. */
import { writeFileSync } from "node:fs";
import { kernelsOf, type KernelName } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { Shape } from "../../verify/checks/check.ts";
import { checks } from "../../verify/checks/index.ts";
import { type FileKernel, kernelsOfFile, verifyFile } from "../../verify/file.ts";
import { scaleForSoftware } from "../../verify/scale.ts";
import { type Draw, type Report, verifyKernel } from "../../verify/verify.ts";
import { describeError, Failure } from "./failure.ts";
import { textOf, textsIn } from "./jobs.ts";
import { openProgress } from "./progress.ts";
import type { Microseconds, Runner } from "./runners.ts";
import { printTable } from "./table.ts";

/** One kernel, to be held to its oracle by one runner. */
export interface Task {
  readonly runner: Runner;
  readonly kernel: string;
  /** Name of the spec that is run; empty for kernels without one. */
  readonly spec: string;
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
export interface Refusal extends Pick<Report, "kernel" | "spec" | "target" | "device"> {
  readonly refused: string;
}
export type Outcome = Report | Refusal;

/** The kernels of each spec on one runner, `only` those named. `scale`: CPUs get a smaller k where its cost depends on k. */
export const tasksOfSpecs = (runner: Runner, specs: readonly Dsa[], { only, scale }: { readonly only?: readonly KernelName[]; readonly scale: boolean }): Task[] =>
  specs.flatMap((spec) =>
    kernelsOf(spec).filter((kernel) => only?.includes(kernel) ?? true).map((kernel): Task => {
      const { spec: scaled, changes } = scale && !runner.isGpu ? scaleForSoftware(kernel, spec) : { spec, changes: [] };
      const run = async (draw: Draw): Promise<Report> => {
        const { executor } = await runner.load(textOf(kernel), scaled);
        return verifyKernel({ kernel, spec: scaled, executor, ...draw });
      };
      return { runner, kernel, spec: scaled.name, changes, run, ...(runner.timeOf && { time: () => timeOf(runner, kernel, scaled) }) };
    }),
  );

/** Multiply-adds of a case that is timed. */
const timedBudget = 1e8;

/** Times the first case that every run has. */
async function timeOf(runner: Runner, kernel: KernelName, spec: Dsa): Promise<Timed> {
  const shape = checks[kernel].fixed(spec, timedBudget)[0]!;
  const { buffers, dims } = checks[kernel].prepare(spec, shape);
  return { shape, ...(await runner.timeOf!(textOf(kernel), spec, buffers, dims)) };
}

/** The kernels of anybody's files on one runner; factories get each spec. */
export async function tasksOfFiles(runner: Runner, files: readonly string[], specs: readonly Dsa[]): Promise<Task[]> {
  const tasks: Task[] = [];
  for (const file of files) {
    for (const text of textsIn(file)) {
      for (const spec of text.factory ? specs : [undefined]) {
        const of = await importKernel(file, text.exportName, spec);
        const specName = spec?.name ?? "";
        const run = async (draw: Draw): Promise<Report> => verifyFile({ of, specName, ...(await runner.load(text, spec)), ...draw });
        tasks.push({ runner, kernel: of.kernel.name, spec: specName, changes: [], run });
      }
    }
  }
  return tasks;
}

const moduleHint = 'a kernel file is an ES module: name it .mts, or put a package.json with "type": "module" into its folder; `npm run compile` tells more about its text';

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
  for (const { runner: { target, device }, kernel, spec, run } of tasks) {
    const name = [kernel, spec, `${target} on ${device}`].filter((part) => part !== "").join(", ");
    progress.step(name);
    try {
      outcomes.push(await run({ ...draw, onCase: ({ cases }) => progress.detail(`${name}: ${cases} cases`) }));
    } catch (error) {
      outcomes.push({ kernel, spec, target, device, refused: await describeError(error) });
    }
  }
  progress.done();
  return outcomes;
}

/** The real specs and how those that ran differ from them. */
export function printSpecs(specs: readonly Dsa[], tasks: readonly Task[]): void {
  for (const { name, indexerHeads, indexerDim, indexDtype, score, topK, heads, dV, dRope } of specs)
    console.log(`${name} has ${indexerHeads} index heads of ${indexerDim} in ${indexDtype}, score ${score.name}, top-k ${topK}, ${heads} heads of ${dV} + ${dRope} columns.`);
  const changes = tasks.flatMap((task) => task.changes.map((change) => `  ${task.kernel} of ${task.spec}, for ${task.runner.device}: ${change}`));
  console.log(changes.length === 0 ? "It ran at that size." : ["It ran at that size, except:", ...changes].join("\n"));
}

export function printOutcomes(outcomes: readonly Outcome[]): void {
  if (outcomes.length === 0) return;
  printTable(
    ["kernel", "spec", "target", "device", "cases", "worst error / budget", "20 launches"],
    outcomes.map((o) => [o.kernel, o.spec, o.target, o.device, ...("refused" in o ? ["–", "–", "–"] : [`${o.cases}`, o.worst.toPrecision(2), launches(o)])]),
  );
  for (const outcome of outcomes.filter((o) => !passed(o))) console.log(`\n${outcome.kernel} on ${outcome.target} FAILED: ${reasonOf(outcome)}`);
}
const launches = ({ launchesEqual, failed }: Report): string => (launchesEqual === undefined || failed ? "–" : launchesEqual ? "equal" : "DIFFER");

function reasonOf(outcome: Outcome): string {
  if ("refused" in outcome) return outcome.refused;
  const { failed } = outcome;
  if (!failed) return "20 launches of one case left different bits";
  return `${failed.message}\n  smallest case: ${JSON.stringify(failed.shape)}\n  replay: ${failed.replay}`;
}

/** `file` is "-" for stdout. */
export function writeJson(file: string, value: unknown): void {
  const text = `${JSON.stringify(value, undefined, 2)}\n`;
  if (file === "-") process.stdout.write(text);
  else writeFileSync(file, text);
}

export const passed = (outcome: Outcome): boolean => !("refused" in outcome) && outcome.failed === undefined && outcome.launchesEqual !== false;

/** Throws a Failure unless all passed. */
export function requirePassed(outcomes: readonly Outcome[]): void {
  const wrong = outcomes.filter((outcome) => !passed(outcome));
  if (wrong.length > 0) throw new Failure(`${wrong.length} of ${outcomes.length} kernels failed: ${wrong.map((o) => `${o.kernel} on ${o.target}`).join(", ")}`);
}
