/** `bench`: device time of full-size cases, each checked in the same run before it is timed. */
import { writeFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { chooseCases, specOf } from "../../bench/cases.ts";
import { ceilingsFor, type MeasuredCeilings, measureCeilings } from "../../bench/ceilings.ts";
import { drawRun } from "../../bench/svg.ts";
import { isMeasured, type Outcome, runCase } from "../../bench/run.ts";
import { type Named, type Subject, subjectOfCase, subjectOfFile, takesDims } from "../../bench/subject.ts";
import { type BenchReport, notesOf, tablesOf } from "../../bench/table.ts";
import { cudaTimer, type Timer, webGpuTimer } from "../../bench/timer.ts";
import { problems } from "../../bench/problems/index.ts";
import { type KernelName, kernelsOf } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { ProgramName } from "../../dsl/programs/index.ts";
import { architectureFor } from "../../targets/cuda/runtime/compile.ts";
import { type CudaDevice, openCuda } from "../../targets/cuda/runtime/driver.ts";
import { type Mode, modes } from "../../targets/cuda/runtime/measure.ts";
import { openWebGpu } from "../../targets/wgsl/runtime.ts";
import { kernelsOfFile } from "../../verify/file.ts";
import type { Compiled } from "../pipeline.ts";
import { describeError, Failure, UsageError } from "./failure.ts";
import { compileTiers, jobOf, textOf, textsIn } from "./jobs.ts";
import { addDim, checked, type Dims, type SpecOptions, specsOf, withKernels, withSpecs, withTargets } from "./options.ts";
import { writeJson } from "./outcomes.ts";
import { openProgress } from "./progress.ts";
import { printTable } from "./table.ts";
import { defaultTargets } from "./targets.ts";

interface BenchOptions extends SpecOptions {
  readonly kernel?: readonly KernelName[];
  readonly program?: readonly ProgramName[];
  readonly case?: readonly string[];
  readonly dim?: Dims;
  readonly device: "cuda" | "webgpu" | "software";
  readonly target?: readonly string[];
  readonly mode?: Mode;
  readonly json?: string;
  readonly svg?: string;
}

export const addBench = (program: Command): Command =>
  withTargets(withKernels(withSpecs(program.command("bench"))))
    .description("Time kernels at full size on a device. Each case is checked against the reference first; what is wrong gets no figure.")
    .argument("[file...]", "kernel files, whose kernels with all dims in --dim are timed; their check is the text itself, for a few blocks")
    .option("--case <words>", 'only cases with these words, repeatable, for example "S=2048 N=65536"; all sizes make a case of their own', addWord)
    .option("--dim <name=size>", "size for kernels of files, repeatable, for example M=8192", checked(addDim))
    .addOption(new Option("--device <kind>", "where to run").choices(["cuda", "webgpu", "software"]).default("cuda"))
    .addOption(new Option("--mode <mode>", "how to time on CUDA, instead of what the case says").choices(modes))
    .option("--json <file>", "write all figures as JSON, - for stdout")
    .option("--svg <file>", "draw rates over context")
    .action(benchCommand);

const addWord = (words: string, before: readonly string[] = []): readonly string[] => [...before, words];

/** An opened device, what its kernels are compiled for, and what it can do at most. */
interface Bench extends Disposable {
  readonly timer: Timer;
  readonly targets: readonly string[];
  readonly driver: string | null;
  readonly compiler: string | null;
  readonly ceilings: MeasuredCeilings | null;
}

async function benchCommand(files: readonly string[], options: BenchOptions): Promise<void> {
  if (options.mode !== undefined && options.device !== "cuda") throw new UsageError("--mode is for --device cuda: WebGPU has one way to time");
  const isCuda = options.device === "cuda";
  const wrong = options.target?.find((name) => (name === "wgsl") === isCuda);
  if (wrong !== undefined) throw new UsageError(`target ${wrong} does not run on --device ${options.device}`);
  const subjects = files.length > 0 ? await subjectsOfFiles(files, options) : subjectsOfCases(options);

  using bench = await openBench(options, [...new Set(subjects.map(({ mode }) => mode))]);
  const outcomes = await runAll(subjects.flatMap(({ on }) => bench.targets.map(on)), bench);
  const { timer, driver, compiler, ceilings } = bench;
  const report: BenchReport = { format: 1, date: new Date().toISOString(), device: timer.device.name, driver, compiler, ceilings, outcomes };
  if (options.json !== undefined) writeJson(options.json, report);
  if (options.svg !== undefined) writeFileSync(options.svg, drawRun(report));
  if (options.json !== "-") printReport(report);
  const failed = outcomes.filter((outcome) => !isMeasured(outcome)).length;
  if (failed > 0) throw new Failure(`${failed} of ${outcomes.length} cases have no figure, because they failed`);
}

/** What is to be timed, on a target that is not known yet. */
interface Wanted {
  readonly mode: Mode;
  on(target: string): Subject;
}

function subjectsOfCases(options: BenchOptions): Wanted[] {
  const set = options.set ?? {};
  const chosen = chooseCases({ kernels: options.kernel, programs: options.program, patterns: options.case, set });
  if (chosen.length === 0) throw new UsageError("no case fits", 'npm run bench -- --kernel topk --case "R=128 N=32768"');
  const bases = specsOf({ ...options, set: {} }, ["v3.2"]);
  const compiled = new Map<string, Promise<readonly Compiled[]>>();
  const compile = (kernel: KernelName, target: string, spec: Dsa): Promise<readonly Compiled[]> => {
    const key = `${kernel} ${target} ${spec.name}`;
    const job = compiled.get(key) ?? compileTiers(jobOf(textOf(kernel), target, spec));
    compiled.set(key, job);
    return job;
  };
  const wanted = bases.flatMap((base) =>
    chosen.flatMap((of): Wanted[] => {
      const spec = specOf(base, of.set, set);
      const known = kernelsOf(spec);
      const mode = options.mode ?? of.mode;
      const runs = problems[of.problem].kernels.every((kernel) => known.includes(kernel));
      return runs ? [{ mode, on: (target) => subjectOfCase(of, { spec, target, mode }, compile) }] : [];
    }),
  );
  if (wanted.length === 0) throw new UsageError(`no spec of ${bases.map((s) => s.name).join(", ")} has a kernel of these cases`);
  return wanted;
}

async function subjectsOfFiles(files: readonly string[], options: BenchOptions): Promise<Wanted[]> {
  const { dim: dims = {}, mode = "queued" } = options;
  if (options.case ?? options.kernel ?? options.program) throw new UsageError("--case, --kernel and --program choose kernels of dsl/kernels, not those of a file");
  const specs = specsOf(options, ["v3.2"]);
  const wanted: Wanted[] = [];
  for (const file of files) {
    for (const text of textsIn(file)) {
      for (const spec of text.factory ? specs : [undefined]) {
        const of = (await kernelsOfFile(file, spec)).find((kernel) => kernel.exportName === text.exportName)!;
        if (!takesDims(of.kernel, dims)) continue;
        const on = (target: string): Subject =>
          subjectOfFile(of, { dims, spec: spec?.name ?? "", target, mode }, () => compileTiers(jobOf(text, target, spec)));
        wanted.push({ mode, on });
      }
    }
  }
  if (wanted.length === 0) throw new UsageError(`no kernel of ${files.join(", ")} has exactly the dims that --dim gives`, "--dim M=8192 --dim N=8192 --dim K=8192");
  return wanted;
}

/** Ceilings are measured once, by every method that something is timed by. */
async function openBench({ device: kind, target }: BenchOptions, used: readonly Mode[]): Promise<Bench> {
  if (kind !== "cuda") {
    const device = await openWebGpu({ adapter: kind === "webgpu" ? "hardware" : "software" });
    return { timer: webGpuTimer(device), targets: ["wgsl"], driver: null, compiler: null, ceilings: null, [Symbol.dispose]: () => device.close() };
  }
  const device = await openCuda();
  return {
    timer: await cudaTimer(device),
    targets: target ?? [bestTarget(device)],
    driver: device.state()?.driver ?? null,
    compiler: device.info.compiler ?? null,
    ceilings: await measureCeilings(device, used),
    [Symbol.dispose]: () => device.close(),
  };
}

/** The last of the default targets that the device runs: the one made for it, if there is one. */
function bestTarget({ info }: CudaDevice): string {
  const [major, minor] = info.computeCapability;
  const runs = (target: string): boolean => {
    try {
      return architectureFor(target, 10 * major + minor) !== "";
    } catch {
      return false;
    }
  };
  return defaultTargets.filter((target) => target !== "wgsl" && runs(target)).at(-1) ?? "cuda:sm_80";
}

/** One after another; what goes wrong with one does not keep the others from running. */
async function runAll(subjects: readonly Subject[], { timer, ceilings }: Bench): Promise<Outcome[]> {
  const progress = openProgress(subjects.length);
  const outcomes: Outcome[] = [];
  for (const subject of subjects) {
    const title = titleOf(subject.named);
    progress.step(title);
    try {
      const bounds = (mode: Mode) => (ceilings ? ceilingsFor(ceilings, mode) : undefined);
      outcomes.push(await runCase(subject, { timer, ceilings: bounds, onStep: (step) => progress.detail(`${title} ${step}`) }));
    } catch (error) {
      outcomes.push({ ...subject.named, failed: await describeError(error) });
    }
  }
  progress.done();
  return outcomes;
}

function printReport(report: BenchReport): void {
  for (const { title, head, rows } of tablesOf(report)) {
    console.log(`\n${title}`);
    printTable(head, rows);
  }
  console.log(`\n${notesOf(report).join("\n")}`);
  for (const outcome of report.outcomes)
    if (!isMeasured(outcome)) console.log(`\n${titleOf(outcome)} FAILED: ${outcome.failed}`);
}

const titleOf = ({ problem, label, spec, target }: Named): string => [`${problem} ${label}`, spec, target].filter((part) => part !== "").join(", ");
