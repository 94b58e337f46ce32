/** `test-gpu`: every kernel of every preset on a GPU, through CUDA and through WebGPU. Fails, never skips, when one of them has no GPU. */
import { type Command, Option } from "commander";
import type { KernelName } from "../../dsl/kernels/index.ts";
import type { ProgramName } from "../../dsl/programs/index.ts";
import { DeviceError } from "../../targets/device.ts";
import { Failure } from "./failure.ts";
import { type DrawOptions, drawOf, type SpecOptions, specsOf, withDraw, withKernels, withSpecs } from "./options.ts";
import { nameOf, passed, printOutcomes, requirePassed, writeJson } from "./outcomes.ts";
import { openRunners } from "./runners.ts";
import { printTable } from "./table.ts";
import { type Outcome, runTasks, type Task, tasksOfPrograms, tasksOfSpecs, type Timed } from "./tasks.ts";

interface TestGpuOptions extends SpecOptions, DrawOptions {
  readonly kernel?: readonly KernelName[];
  readonly program?: readonly ProgramName[];
  readonly device?: "cuda" | "webgpu";
  readonly json?: string;
}

export const addTestGpu = (program: Command): Command =>
  withDraw(withKernels(withSpecs(program.command("test-gpu"))))
    .description("Hold every kernel of every preset to the reference on a GPU, through CUDA and through WebGPU. Fails when one has no GPU.")
    .addOption(new Option("--device <kind>", "only one of the two").choices(["cuda", "webgpu"]))
    .option("--json <file>", "write reports and times as JSON, - for stdout")
    .action(testGpuCommand);

type Time = Timed & Pick<Outcome, "kernel" | "spec" | "tier" | "target" | "device">;

async function testGpuCommand(options: TestGpuOptions): Promise<void> {
  const outcomes: Outcome[] = [];
  const times: Time[] = [];
  const absent: string[] = [];
  for (const choice of options.device ? [options.device] : (["cuda", "webgpu"] as const)) {
    const opened = await openRunners(choice).catch((error: unknown) => {
      if (error instanceof DeviceError) return error;
      throw error;
    });
    if (opened instanceof DeviceError) {
      absent.push(opened.message);
      continue;
    }
    using runners = opened;
    const tasks: Task[] = [];
    const [specs, { kernel, program }] = [specsOf(options), options];
    for (const runner of runners.all) {
      if (kernel !== undefined || program === undefined) tasks.push(...(await tasksOfSpecs(runner, specs, { scale: false, only: kernel })));
      if (program !== undefined || kernel === undefined) tasks.push(...tasksOfPrograms(runner, specs, { scale: false, only: program }));
    }
    const tested = await runTasks(tasks, drawOf(options));
    outcomes.push(...tested);
    for (const [i, { time }] of tasks.entries()) {
      const { kernel, spec, tier, target, device } = tested[i]!;
      if (time && passed(tested[i]!)) times.push({ kernel, spec, ...(tier !== undefined && { tier }), target, device, ...(await time()) });
    }
  }
  if (options.json !== undefined) writeJson(options.json, { reports: outcomes, times, absent });
  if (options.json !== "-") {
    printOutcomes(outcomes);
    printTimes(times);
  }
  if (absent.length > 0)
    throw new Failure(`${absent.join("\n")}\ntest-gpu did not run on all that it is for`, "--device, on a host that has only one of the two");
  if (outcomes.length === 0) throw new Failure("no kernel ran on a GPU", "--preset and --kernel name kernels that exist together");
  requirePassed(outcomes);
}

function printTimes(times: readonly Time[]): void {
  if (times.length === 0) return; // nor the heading
  console.log("\nmicroseconds of one launch of a small case");
  printTable(
    ["kernel", "spec", "target", "device", "median", "least", "most", "case"],
    times.map((t) => [nameOf(t), t.spec, t.target, t.device, t.median.toFixed(1), t.min.toFixed(1), t.max.toFixed(1), JSON.stringify(t.shape)]),
  );
}
