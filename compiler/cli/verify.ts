/** `verify`: property tests of generated kernels. */
import { type Command, Option } from "commander";
import type { KernelName } from "../../dsl/kernels/index.ts";
import type { ProgramName } from "../../dsl/programs/index.ts";
import { sweepTopK } from "../../verify/checks/topk.ts";
import { UsageError } from "./failure.ts";
import { type DrawOptions, drawOf, type SpecOptions, specsOf, withDraw, withKernels, withSpecs, withTargets } from "./options.ts";
import { printOutcomes, printSpecs, requirePassed, writeJson } from "./outcomes.ts";
import { type DeviceChoice, deviceChoices, openRunners } from "./runners.ts";
import { type Task, runTasks, tasksOfFiles, tasksOfPrograms, tasksOfSpecs } from "./tasks.ts";

interface VerifyOptions extends SpecOptions, DrawOptions {
  readonly kernel?: readonly KernelName[];
  readonly target?: readonly string[];
  readonly program?: readonly ProgramName[];
  readonly tier?: string;
  readonly sweep?: boolean;
  readonly device: DeviceChoice;
  readonly json?: string;
}

export const addVerify = (program: Command): Command =>
  withDraw(withKernels(withTargets(withSpecs(program.command("verify")))))
    .description("Hold generated kernels to the reference on random cases; for FILE the oracle is the kernel's own eager run.")
    .argument("[file...]", "kernel files; without any, the kernels of dsl/kernels")
    .addOption(new Option("--device <kind>", "where to run; auto takes what is there").choices(deviceChoices).default("auto"))
    .option("--tier <name>", "only the texts of this tier of launches; they run every case")
    .option("--sweep", "instead of random cases every length up to 2^20 times every kind of data, for the kernels that select; GPUs get the long rows")
    .option("--path <path>", "replay one case, as the message of a failure says")
    .option("--json <file>", "write the reports as JSON, - for stdout")
    .action(verifyCommand);

async function verifyCommand(files: readonly string[], options: VerifyOptions): Promise<void> {
  if (options.sweep && (files.length > 0 || options.program)) throw new UsageError("--sweep is for kernels of dsl/kernels");
  using runners = await openRunners(options.device, options.target);
  const { sweep = false } = options;
  const specs = sweep && options.set?.topK === undefined ? sweepTopK.flatMap((k) => specsOf({ ...options, set: { ...options.set, topK: `${k}` } }, ["v3.2"])) : specsOf(options, ["v3.2"]);
  const scale = options.set?.topK === undefined;
  const choice = { scale, only: options.kernel, tier: options.tier, sweep };
  const tasks: Task[] = [];
  const wantsKernels = options.kernel !== undefined || options.program === undefined;
  const wantsPrograms = options.program !== undefined || (options.kernel === undefined && options.tier === undefined && !sweep && files.length === 0);
  for (const runner of runners.all) {
    if (wantsPrograms) tasks.push(...tasksOfPrograms(runner, specs, { scale, only: options.program }));
    if (wantsKernels) tasks.push(...(files.length > 0 ? await tasksOfFiles(runner, files, specs, options.tier) : await tasksOfSpecs(runner, specs, choice)));
  }
  if (tasks.length === 0) {
    const wanted = [...(options.kernel ?? []), ...(options.tier === undefined ? [] : [`a tier "${options.tier}" there`])];
    throw new UsageError(`no spec of ${specs.map((s) => s.name).join(", ")} has ${wanted.join(", ")}`);
  }

  const outcomes = await runTasks(tasks, drawOf(options));
  if (options.json !== undefined) writeJson(options.json, outcomes);
  if (options.json !== "-") {
    printOutcomes(outcomes);
    if (files.length === 0 && !sweep) printSpecs(specs, tasks);
  }
  requirePassed(outcomes);
}
