/** What is to be compiled: one job per kernel, spec, target and tier. */
import { basename, join, resolve } from "node:path";
import { kernelsOf, type KernelName } from "../../dsl/kernels/index.ts";
import { presets } from "../../dsl/kernels/presets.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { Scheduled } from "../../dsl/schedule.ts";
import { schedulesOfFile } from "../../verify/file.ts";
import { listKernels } from "../front/index.ts";
import { root } from "../front/read.ts";
import { compile, type Compiled } from "../pipeline.ts";
import { tiersOf } from "../tiers.ts";
import { UsageError } from "./failure.ts";
import { targetNamed } from "./targets.ts";

/** Where a kernel's text is. */
export interface KernelText {
  /** Absolute path. */
  readonly file: string;
  readonly exportName: string;
  /** Undefined for kernels of other people's files, which carry their own name. */
  readonly name?: KernelName;
  /** Needs a spec. */
  readonly factory: boolean;
}

export interface Job extends KernelText {
  readonly target: string;
  /** Undefined for kernels that need none. */
  readonly spec?: Dsa;
  /** Undefined for the text that takes all launches, or those that no tier takes. */
  readonly tier?: string;
}

export const jobOf = (text: KernelText, target: string, spec?: Dsa, tier?: string): Job => ({
  ...text,
  target,
  ...(spec && { spec }),
  ...(tier !== undefined && { tier }),
});

/** Files under `dsl/kernels` and their exports; a test holds this table to `dsl/kernels/index.ts`. */
const texts: Readonly<Record<KernelName, readonly [file: string, exportName: string]>> = {
  indexer_logits: ["indexer_logits.ts", "indexerLogits"],
  paged_indexer_logits: ["paged_indexer_logits.ts", "pagedIndexerLogits"],
  topk: ["topk.ts", "topK"],
  topk_window: ["topk.ts", "topKWindow"],
  topk_ragged: ["topk.ts", "topKRagged"],
  topk_slots: ["topk.ts", "topKSlots"],
  check_selection: ["check_selection.ts", "checkSelection"],
  sparse_mla: ["sparse_mla.ts", "sparseMla"],
  sparse_mla_decode: ["sparse_mla_decode.ts", "sparseMlaDecode"],
  sparse_mla_combine: ["sparse_mla_decode.ts", "sparseMlaCombine"],
};

export function textOf(name: KernelName): KernelText {
  const [file, exportName] = texts[name];
  return { file: join(root, "dsl/kernels", file), exportName, name, factory: true };
}

/** Kernels in anybody's file. One without kernels is a UsageError. */
export function textsIn(path: string): KernelText[] {
  const file = resolve(path);
  const found = listKernels(file).map(({ exportName, factory }) => ({ file, exportName, factory }));
  if (found.length === 0)
    throw new UsageError(`${path} exports no kernel`, 'export const mine = kernel("mine", { … }), or a function of a spec that returns one');
  return found;
}

/** Kernels whose texts differ between presets by a number or two: those of the first preset are kept for all. */
const alike: readonly KernelName[] = ["topk_window", "topk_ragged", "topk_slots"];
const isKept = (name: KernelName, spec: Dsa): boolean => !alike.includes(name) || Object.keys(presets).indexOf(spec.name) <= 0;

/** Jobs for the kernels of `dsl/kernels` that each spec has. */
export const jobsOfSpecs = (specs: readonly Dsa[], targets: readonly string[]): Job[] =>
  specs.flatMap((spec) =>
    kernelsOf(spec)
      .filter((name) => isKept(name, spec))
      .flatMap((name) => targets.map((target) => jobOf(textOf(name), target, spec))),
  );

/** Jobs for the kernels of other files; factories get each of the specs. */
export const jobsOfFiles = (files: readonly string[], specs: readonly Dsa[], targets: readonly string[]): Job[] =>
  files.flatMap(textsIn).flatMap((text) =>
    (text.factory ? specs : [undefined]).flatMap((spec) => targets.map((target) => jobOf(text, target, spec))),
  );

/** Compiles one job, with the schedule that its file has for the target. Mistakes in the kernel's text are a CompileError. */
export async function compileJob(job: Job): Promise<Compiled> {
  const { file, exportName, name, spec, target, tier } = job;
  const schedule = await scheduleInFile(job);
  return compile({
    file,
    exportName,
    target: targetNamed(target),
    ...(schedule && { schedule }),
    ...(tier !== undefined && { tier }),
    ...(name && { name }),
    ...(spec && { spec, specName: spec.name, sources: [join(root, "dsl/kernels/spec.ts")] }),
  });
}

const scheduleInFile = async ({ name, file, exportName, target }: Job): Promise<Scheduled | undefined> =>
  name === undefined ? (await schedulesOfFile(file))[exportName]?.[target] : undefined;

/** A job for each tier, in the order in which a launch asks them; one without a tier comes last. */
export async function tierJobs(job: Job): Promise<Job[]> {
  const { name, exportName, spec, target } = job;
  const kernel = name ?? exportName;
  const scheduled = (await scheduleInFile(job)) ?? targetNamed(target).scheduleOf(kernel, spec);
  return tiersOf(scheduled, kernel, target).map(({ name: tier }) => ({ ...job, ...(tier !== undefined && { tier }) }));
}

/** Every text of a kernel, in that order: what `textFor` chooses from. */
export async function compileTiers(job: Job): Promise<Compiled[]> {
  const compiled: Compiled[] = [];
  for (const tier of await tierJobs(job)) compiled.push(await compileJob(tier));
  return compiled;
}

export const describeJob = ({ name, file, exportName, spec, target, tier }: Job): string =>
  [name ?? `${basename(file)} ${exportName}`, ...(spec ? [spec.name] : []), target, ...(tier === undefined ? [] : [tier])].join(" · ");
