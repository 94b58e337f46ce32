/** `explain`: what the compiler made of a kernel, and when it made nothing, how far a setting may go. Needs no GPU. */
import type { Command } from "commander";
import { anchorCeilings, anchorsFrom } from "../../bench/anchors.ts";
import { type BenchCase, chooseCases, labelOf, specOf } from "../../bench/cases.ts";
import { problems } from "../../bench/problems/index.ts";
import type { Prepared } from "../../bench/problems/problem.ts";
import { type KernelName, kernelsOf } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { type ProgramName, programs } from "../../dsl/programs/index.ts";
import { compileWithNvcc, findNvcc } from "../../targets/cuda/runtime/compile.ts";
import { DEFAULT_SCRATCH_BYTES } from "../../targets/program.ts";
import { costOf, rooflineOf } from "../cost.ts";
import { CompileError } from "../diagnostics.ts";
import { fillBytes, rolesOf } from "../header.ts";
import { type Dim, textFor } from "../ir/manifest.ts";
import { printPlan } from "../ir/print_plan.ts";
import type { TileKernel } from "../ir/tile.ts";
import type { Compiled } from "../pipeline.ts";
import type { Tier } from "../target.ts";
import { printBounds } from "../tiers.ts";
import { describeError, Failure, UsageError } from "./failure.ts";
import { explainProgram } from "./explain_program.ts";
import { compileJob, compileTiers, type Job, jobOf, textOf } from "./jobs.ts";
import { addDim, checked, type Dims, kernelName, type SpecOptions, specsOf, targetName, wholeNumber, withSpecs } from "./options.ts";
import { printTable } from "./table.ts";
import { tryEvaluate, valueOf } from "./values.ts";
import { targetNamed } from "./targets.ts";
import { workOf } from "../work.ts";

interface ExplainOptions extends SpecOptions {
  readonly dim?: Dims;
  readonly case?: string;
  readonly tier?: string;
  readonly scratch?: number;
}

export const addExplain = (program: Command): Command =>
  withSpecs(program.command("explain"))
    .description("Show the plan of a kernel, its threads, memory and work; and when a setting does not fit, the largest value that does.")
    .argument("<kernel>", "a kernel of dsl/kernels, or a program of dsl/programs", checked(subjectName))
    .argument("<target>", "for example cuda:sm_80 or wgsl", checked(targetName))
    .option("--dim <name=size>", "size for which to give bytes and blocks, repeatable, for example T=65536", checked(addDim))
    .option("--tier <name>", "the text of this tier of launches; without it sizes or the case choose among several")
    .option("--scratch <bytes>", `bytes of scratch that a program may take (default ${DEFAULT_SCRATCH_BYTES})`, checked(wholeNumber))
    .option("--case <words>", 'case of bench whose products, bytes and roofline to count, for example "S=2048 N=65536"')
    .action(explainCommand);

const isProgram = (name: string): name is ProgramName => Object.hasOwn(programs, name);
const subjectName = (name: string): KernelName | ProgramName => (isProgram(name) ? name : kernelName(name));

async function explainCommand(subject: KernelName | ProgramName, target: string, options: ExplainOptions): Promise<void> {
  if (isProgram(subject)) {
    if (options.case !== undefined || options.tier !== undefined) throw new UsageError(`--case and --tier are for kernels, and ${subject} is a program`);
    const [spec, another] = specsOf(options, ["v3.2"]);
    if (!spec || another) throw new UsageError("explain takes one --preset");
    return explainProgram(programs[subject], target, spec, options);
  }
  if (options.scratch !== undefined) throw new UsageError(`${subject} is no program and has no scratch`, `one of: ${Object.keys(programs).join(", ")}`);
  await explainKernel(subject, target, options);
}

async function explainKernel(kernel: KernelName, target: string, options: ExplainOptions): Promise<void> {
  const of = options.case === undefined ? undefined : caseOf(kernel, options.case, options.set);
  const [base, another] = specsOf({ ...options, set: {} }, ["v3.2"]);
  if (!base || another) throw new UsageError("explain takes one --preset");
  const spec = specOf(base, of?.set, options.set);
  if (!kernelsOf(spec).includes(kernel)) throw new UsageError(`spec ${spec.name} has no ${kernel}; it has ${kernelsOf(spec).join(", ")}`);
  const job = jobOf(textOf(kernel), target, spec);
  const texts = await compileTiers(job).catch(async (error: unknown) => {
    if (!(error instanceof CompileError)) throw error;
    throw new Failure([await describeError(error), ...(await largestSettings(job, options))].join("\n"));
  });
  const launch = of && { of, ...problems[of.problem].prepare(spec, of.sizes, of.data) };
  const chosen = chooseText(texts, options.tier, launch?.dims ?? options.dim ?? {});
  await show(chosen, texts.at(-1)!.manifest.tiers ?? [], spec, options.dim ?? {}, launch);
}

/** The text of the tier that is asked for, or the one for launches of these sizes, or the last where they do not tell. */
function chooseText(texts: readonly Compiled[], tier: string | undefined, dims: Dims): Compiled {
  if (tier !== undefined) {
    const found = texts.find(({ manifest }) => manifest.tier?.name === tier);
    if (found) return found;
    const { kernel, target, tiers = [] } = texts.at(-1)!.manifest;
    throw new UsageError(`${kernel} has no tier "${tier}" on ${target}`, tiers.length > 0 ? `one of: ${tiers.map((t) => t.name).join(", ")}` : "leave out --tier");
  }
  try {
    return textFor(texts, dims);
  } catch {
    return texts.at(-1)!; // a size was not given
  }
}

/** A case of bench with its inputs. */
type CaseLaunch = Prepared & { readonly of: BenchCase };

/** The one case of bench that the words mean. */
function caseOf(kernel: KernelName, words: string, set: SpecOptions["set"] = {}): BenchCase {
  const fitting = chooseCases({ kernels: [kernel], patterns: [words], set });
  if (fitting.length === 1) return fitting[0]!;
  const all = chooseCases({ kernels: [kernel], patterns: [""], set }).map(labelOf).join("; ");
  throw new UsageError(`${fitting.length} cases of ${kernel} have the words "${words}"`, `one of: ${all}`);
}

async function show({ tile, plan, loop, manifest, text }: Compiled, tiers: readonly Tier[], spec: Dsa, given: Dims, launch: CaseLaunch | undefined): Promise<void> {
  const dims = withDefaults(manifest.dims, given);
  const { machine } = targetNamed(manifest.target);
  console.log(`${manifest.kernel}, ${spec.name}, ${manifest.target}: ${manifest.source}`);
  if (tiers.length > 0) {
    const others = [{ name: "", launches: "all others" }];
    const asked = [...tiers.map(({ name, when }) => ({ name, launches: printBounds(when) })), ...others];
    console.log("texts by tier; a launch takes the first that fits it");
    printTable(["tier", "launches", ""], asked.map(({ name, launches }) => [name || "–", launches, name === (manifest.tier?.name ?? "") ? "shown here" : ""]));
  }
  console.log(`threads of a block: ${manifest.threads}`);
  console.log(`blocks: ${valueOf(manifest.blocks, dims)}`);
  console.log(`tune: ${Object.entries(manifest.tune).map(([name, value]) => `${name} ${value}`).join(", ") || "none"}`);
  console.log(`registers: ${await registersOf(manifest.target, text)}`);

  console.log(`\nshared memory of a block: ${loop.sharedBytes} of ${machine.maxSharedBytes} bytes`);
  const buffers = loop.shared.map((b) => [`${b.offset}`, `${b.elements}`, b.dtype, b.name, b.note]);
  printTable(["offset", "elements", "dtype", "buffer", "holds"], buffers);

  const roles = plan.roles ?? [];
  if (roles.length > 0) {
    const placed = new Map(rolesOf(loop).map((r) => [r.name, r]));
    console.log("\nroles of a block");
    printTable(
      ["role", "first warp", "warps", "copies", "registers", "duty"],
      roles.map((r) => [r.name, `${placed.get(r.name)?.firstWarp}`, `${r.warps}`, `${r.copies}`, `${r.registers ?? "–"}`, r.duty]),
    );
    console.log("\nrings");
    const pipes = plan.pipes ?? [];
    printTable(
      ["ring", "slots", "bytes of a fill", "tiles", "header"],
      pipes.map((p) => [p.name, `${p.depth}`, `${fillBytes(p, plan)}`, [...p.values.map((v) => v.label), ...p.made.map((v) => `${v.label} (made)`)].join(", "), p.header.map((v) => v.name).join(", ") || "none"]),
    );
    console.log("\nbarriers of a block");
    printTable(["offset", "slots", "arrivals", "barrier", "ends when"], loop.barriers.map((b) => [`${b.offset}`, `${b.slots}`, `${b.arrivals}`, b.name, b.note]));
  }

  console.log("\ndevice memory of a launch");
  printTable(["param", "access", "bytes"], manifest.params.map((p) => [p.name, p.access, valueOf(p.bytes, dims)]));

  console.log("\nwork of a block");
  printTable(
    ["bytes loaded", "bytes stored", "multiply-adds", "elements", "when"],
    workOf(tile).map((w) => [`${w.loadedBytes}`, `${w.storedBytes}`, `${w.multiplyAdds}`, `${w.elements}`, w.when]),
  );
  if (launch) showCost(tile, launch);
  console.log(`\n${printPlan(plan).trimEnd()}`);
}

/** What a launch of a case costs at least, and how long that takes at the ceilings that were once measured. */
function showCost(tile: TileKernel, { of, inputs, dims, flops }: CaseLaunch): void {
  const cost = costOf(tile, inputs, dims);
  console.log(`\ncost of a launch at ${labelOf(of)}, in whole tiles and in sectors of 32 bytes that are touched at least once`);
  printTable(["what", "how much"], [
    ...Object.entries(cost.gemmFlops).map(([dtype, n]) => [`products in ${dtype}`, `${n} FLOP`]),
    ...(flops === undefined ? [] : [["products that the result needs", `${flops} FLOP`]]),
    ["other arithmetic", `${cost.otherFlops} FLOP`],
    ...Object.entries(cost.readBytes).map(([param, n]) => [`read of ${param}`, `${n} bytes`]),
    ...Object.entries(cost.writtenBytes).map(([param, n]) => [`write of ${param}`, `${n} bytes`]),
  ]);
  for (const text of cost.assumed) console.log(`counted as if: ${text}`);
  const roofline = rooflineOf(cost, anchorCeilings);
  const { memory, tensor } = anchorCeilings;
  const at = `${memory / 1e12} TB/s and ${tensor.e4m3 / 1e12} (e4m3) or ${tensor.bf16 / 1e12} (bf16) TFLOPS, as an ${anchorsFrom.gpu} reached`;
  if (roofline) console.log(`roofline: ${roofline.microseconds.toFixed(1)} µs, bound by ${roofline.by}, at ${at} on ${anchorsFrom.date}`);
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
