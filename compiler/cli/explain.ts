/** `explain`: what the compiler made of a kernel, and when it made nothing, how far a setting may go. Needs no GPU. */
import type { Command } from "commander";
import { type KernelName, kernelsOf } from "../../dsl/kernels/index.ts";
import { compileWithNvcc, findNvcc } from "../../targets/cuda/runtime/compile.ts";
import { CompileError } from "../diagnostics.ts";
import { type Dim, evaluate, type HostExpr } from "../ir/manifest.ts";
import { printPlan } from "../ir/print_plan.ts";
import { printHost } from "../ir/print_tile.ts";
import type { Compiled } from "../pipeline.ts";
import { describeError, Failure, UsageError } from "./failure.ts";
import { compileJob, type Job, jobOf, textOf } from "./jobs.ts";
import { checked, kernelName, type SpecOptions, specsOf, targetName, wholeNumber, withSpecs } from "./options.ts";
import { printTable } from "./table.ts";
import { targetNamed } from "./targets.ts";
import { workOf } from "./work.ts";

type Dims = Readonly<Record<string, number>>;

interface ExplainOptions extends SpecOptions {
  readonly dim?: Dims;
}

export const addExplain = (program: Command): Command =>
  withSpecs(program.command("explain"))
    .description("Show the plan of a kernel, its threads, memory and work; and when a setting does not fit, the largest value that does.")
    .argument("<kernel>", "a kernel of dsl/kernels", checked(kernelName))
    .argument("<target>", "for example cuda:sm_80 or wgsl", checked(targetName))
    .option("--dim <name=size>", "size for which to give bytes and blocks, repeatable, for example T=65536", checked(addDim))
    .action(explainCommand);

async function explainCommand(kernel: KernelName, target: string, options: ExplainOptions): Promise<void> {
  const [spec, another] = specsOf(options, ["v3.2"]);
  if (!spec || another) throw new UsageError("explain takes one --preset");
  if (!kernelsOf(spec).includes(kernel)) throw new UsageError(`spec ${spec.name} has no ${kernel}; it has ${kernelsOf(spec).join(", ")}`);
  const job = jobOf(textOf(kernel), target, spec);
  const compiled = await compileJob(job).catch(async (error: unknown) => {
    if (!(error instanceof CompileError)) throw error;
    throw new Failure([await describeError(error), ...(await largestSettings(job, options))].join("\n"));
  });
  await show(compiled, spec.name, options.dim ?? {});
}

async function show({ tile, plan, loop, manifest, text }: Compiled, specName: string, given: Dims): Promise<void> {
  const dims = withDefaults(manifest.dims, given);
  const { machine } = targetNamed(manifest.target);
  console.log(`${manifest.kernel}, ${specName}, ${manifest.target}: ${manifest.source}`);
  console.log(`threads of a block: ${manifest.threads}`);
  console.log(`blocks: ${valueOf(manifest.blocks, dims)}`);
  console.log(`tune: ${Object.entries(manifest.tune).map(([name, value]) => `${name} ${value}`).join(", ") || "none"}`);
  console.log(`registers: ${await registersOf(manifest.target, text)}`);

  console.log(`\nshared memory of a block: ${loop.sharedBytes} of ${machine.maxSharedBytes} bytes`);
  const buffers = loop.shared.map((b) => [`${b.offset}`, `${b.elements}`, b.dtype, b.name, b.note]);
  printTable(["offset", "elements", "dtype", "buffer", "holds"], buffers);

  console.log("\ndevice memory of a launch");
  printTable(["param", "access", "bytes"], manifest.params.map((p) => [p.name, p.access, valueOf(p.bytes, dims)]));

  console.log("\nwork of a block");
  printTable(
    ["bytes loaded", "bytes stored", "multiply-adds", "elements", "when"],
    workOf(tile).map((w) => [`${w.loadedBytes}`, `${w.storedBytes}`, `${w.multiplyAdds}`, `${w.elements}`, w.when]),
  );
  console.log(`\n${printPlan(plan).trimEnd()}`);
}

/** The formula, and its value where all sizes in it are known. */
function valueOf(e: HostExpr, dims: Dims): string {
  const value = tryEvaluate(e, dims);
  return value === undefined || typeof e === "number" ? printHost(e) : `${value} = ${printHost(e)}`;
}

/** Pitches are packed unless given. */
function withDefaults(dims: readonly Dim[], given: Dims): Dims {
  const values: Record<string, number> = { ...given };
  for (const { name, default: fallback } of dims) {
    const value = values[name] ?? (fallback === undefined ? undefined : tryEvaluate(fallback, values));
    if (value !== undefined) values[name] = value;
  }
  return values;
}

function tryEvaluate(e: HostExpr, dims: Dims): number | undefined {
  try {
    return evaluate(e, dims);
  } catch {
    return undefined; // a size that was not given
  }
}

async function registersOf(target: string, text: string): Promise<string> {
  if (!target.startsWith("cuda:")) return "the driver decides when it compiles";
  if (findNvcc() === undefined) return "nvcc would tell, and is not here";
  const { kernels, warnings } = await compileWithNvcc(text, target.slice("cuda:".length));
  const used = kernels.map((k) => `${k.registers} a thread, ${k.spillBytes} bytes spilled, ${k.stackBytes} bytes of stack`);
  return [...used, ...warnings].join("\n  ");
}

/** For each numeric setting of a job that does not compile, the largest value that does, found by trying. */
async function largestSettings(job: Job, options: SpecOptions): Promise<string[]> {
  const lines: string[] = [];
  for (const [key, text] of Object.entries(options.set ?? {})) {
    if (!/^\d+$/.test(text)) continue;
    const compiles = async (value: number): Promise<boolean> => {
      const [spec] = specsOf({ ...options, set: { ...options.set, [key]: `${value}` } }, ["v3.2"]);
      return compileJob(jobOf(job, job.target, spec)).then(() => true, (error: unknown) => {
        if (error instanceof CompileError) return false;
        throw error;
      });
    };
    const largest = await largestThat(compiles, Number(text) - 1);
    const found = `the largest ${key} that compiles here is ${largest}, with all else as it is`;
    lines.push(`  ${largest === undefined ? `no value of ${key} below ${text} compiles either` : found}`);
  }
  return lines;
}

/** The largest number from 1 to `most` for which `holds`, if numbers below a number that holds do too. */
export async function largestThat(holds: (n: number) => Promise<boolean>, most: number): Promise<number | undefined> {
  let [low, high] = [0, most]; // `low` holds, or is 0
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (await holds(middle)) low = middle;
    else high = middle - 1;
  }
  return low === 0 ? undefined : low;
}

function addDim(text: string, before: Dims = {}): Dims {
  const [, name, size] = /^(\w+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || size === undefined) throw new RangeError("It must read name=size.");
  return { ...before, [name]: wholeNumber(size) };
}
