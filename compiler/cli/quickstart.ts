/** `quickstart`: from a bare clone to kernels that were compiled, run and held to the reference, and the chain on real activations. */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { committedTrace, loadTrace } from "../../trace/index.ts";
import { root } from "../front/read.ts";
import { allTiers, generateAll } from "./compile.ts";
import { filesOf } from "./generate.ts";
import { jobsOfSpecs } from "./jobs.ts";
import { type DrawOptions, drawOf, type SpecOptions, specsOf, withDraw, withSpecs } from "./options.ts";
import { printOutcomes, printSpecs, requirePassed } from "./outcomes.ts";
import { seconds } from "./progress.ts";
import { openRunners, type Runner } from "./runners.ts";
import { printTable } from "./table.ts";
import { defaultTargets } from "./targets.ts";
import { runTasks, type Task, tasksOfSpecs } from "./tasks.ts";
import { type Selection, selectOn } from "./trace_chain.ts";
import { compareTree } from "./tree.ts";

interface QuickstartOptions extends SpecOptions, DrawOptions {
  readonly trace: string;
}

export const addQuickstart = (program: Command): Command =>
  withDraw(withSpecs(program.command("quickstart")))
    .description("Compile the kernels, run them against the reference on what this machine has, and run the chain on real activations.")
    .addOption(
      new Option("--trace <path>", "activations: a .safetensors file or a folder of .npy files, see docs/trace.md")
        .default(committedTrace, "those in trace/data"),
    )
    .action(quickstartCommand);

/** Selected tokens for which the chain is run. */
const sizes = [64, 256, 1024];

async function quickstartCommand(options: QuickstartOptions): Promise<void> {
  const start = performance.now();
  heading(`Compile: every kernel of every preset to ${defaultTargets.join(", ")}`);
  await compileAll();

  using runners = await openRunners("auto");
  const specs = specsOf(options, ["v3.2"]);
  const devices = [...new Set(runners.all.map((r) => r.device))].join(" and ");
  heading(`Verify: ${specs.map((s) => s.name).join(", ")} against the reference, on ${devices}`);
  for (const { message } of runners.missing) console.log(message);
  const tasks: Task[] = [];
  for (const runner of runners.all) tasks.push(...(await tasksOfSpecs(runner, specs, { scale: options.set?.topK === undefined })));
  const outcomes = await runTasks(tasks, { runs: 5, ...drawOf(options) });
  printOutcomes(outcomes);
  printSpecs(specs, tasks);
  console.log("Among the cases: contexts longer than k, ties and plateaus of zeros, NaN, empty and full rows, -1 padding, odd sizes.");
  requirePassed(outcomes);

  const runner = runners.all[0]!;
  const trace = options.trace === committedTrace ? "docs/trace.md" : options.trace;
  heading(`The chain on real activations (${trace}): quantise, index scores, top-k, sparse MLA, ${runner.target} on ${runner.device}`);
  printSelections(await chain(runner, options.trace));
  console.log(`\nAll of it held, in ${seconds(start)} on ${availableParallelism()} cores.`);
  console.log("Next: npm run compile -- --preset v3.2 --set topK=1000 --set indexerHeads=24");
}

async function compileAll(): Promise<void> {
  const start = performance.now();
  const made = await generateAll(await allTiers(jobsOfSpecs(specsOf({}), defaultTargets)));
  const differences = compareTree(resolve(root, "generated"), filesOf(made), true);
  const differ = `${differences.length} files of generated/ differ, which \`npm run compile\` mends`;
  const state = differences.length === 0 ? "byte for byte what generated/ holds" : differ;
  console.log(`${made.length} kernels in ${seconds(start)}, ${state}`);
}

async function chain(runner: Runner, path: string): Promise<Selection[]> {
  const { layers } = await loadTrace(path);
  const selections: Selection[] = [];
  for (const layer of layers) selections.push(...(await selectOn(runner, layer, sizes, (text) => console.error(text))));
  return selections;
}

function printSelections(selections: readonly Selection[]): void {
  const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
  printTable(
    ["layer", "k", "attention mass of the selected", "of the best k", "of the last k", "output error against dense", "worst error / budget"],
    selections.map((s) => [
      ...[`${s.layer}`, `${s.k}`, percent(s.selected), percent(s.oracle), percent(s.window), percent(s.outputError)],
      s.worst.toPrecision(2),
    ]),
  );
}

const heading = (text: string): void => console.log(`\n== ${text}`);
