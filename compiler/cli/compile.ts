/** `compile`: kernels to texts and manifests. */
import { relative, resolve } from "node:path";
import type { Command } from "commander";
import { root } from "../front/read.ts";
import { Failure, UsageError } from "./failure.ts";
import { filesOf, type Generated, generate, readIndex } from "./generate.ts";
import { describeJob, type Job, jobsOfFiles, jobsOfSpecs, tierJobs } from "./jobs.ts";
import { type SpecOptions, specsOf, withSpecs, withTargets } from "./options.ts";
import { openProgress, seconds } from "./progress.ts";
import { defaultTargets } from "./targets.ts";
import { compareTree, writeTree } from "./tree.ts";

export interface CompileOptions extends SpecOptions {
  readonly target: readonly string[];
  readonly out?: string;
  readonly check?: boolean;
  readonly watch?: boolean;
  readonly json?: boolean;
}

export const addCompile = (program: Command): Command =>
  withTargets(withSpecs(program.command("compile")), defaultTargets)
    .description("Compile kernels: all of dsl/kernels for all presets, or those of FILE (kernels, or functions of a spec that return one).")
    .argument("[file...]", "kernel files; without any, the kernels of dsl/kernels")
    .option("--out <dir>", "folder to write (default: generated; with FILE or --set: dist/kernels)")
    .option("--check", "write nothing; fail when the folder differs from what would be written")
    .option("--watch", "compile again whatever depends on a file that changes")
    .option("--json", "print what was compiled as JSON")
    .action(compileCommand);

/** The folder that a request writes, and whether the request covers all that the folder should hold. */
export function destination(files: readonly string[], options: CompileOptions): { folder: string; complete: boolean } {
  const usual = files.length === 0 && !options.set;
  const folder = resolve(options.out ?? resolve(root, usual ? "generated" : "dist/kernels"));
  const complete = usual && !options.preset && defaultTargets.every((name) => options.target.includes(name));
  return { folder, complete };
}

export async function jobsOf(files: readonly string[], options: CompileOptions): Promise<Job[]> {
  const jobs = files.length > 0 ? jobsOfFiles(files, specsOf(options, ["v3.2"]), options.target) : jobsOfSpecs(specsOf(options), options.target);
  return allTiers(jobs);
}

/** A job for each tier of each. */
export const allTiers = async (jobs: readonly Job[]): Promise<Job[]> => (await Promise.all(jobs.map(tierJobs))).flat();

async function compileCommand(files: readonly string[], options: CompileOptions): Promise<void> {
  if (options.watch && (options.check || options.json)) throw new UsageError("--watch goes with neither --check nor --json");
  if (options.watch) return (await import("./watch.ts")).watch(files, options);
  const start = performance.now();
  const { folder, complete } = destination(files, options);
  const made = await generateAll(await jobsOf(files, options));
  const before = complete ? [] : readIndex(folder);
  const texts = filesOf(made, before);
  if (options.check) return check(folder, texts, complete);

  const stale = complete ? readIndex(folder).flatMap((entry) => [entry.text, entry.manifest]) : [];
  const changed = await writeTree(folder, texts, stale);
  if (options.json) console.log(JSON.stringify({ folder, kernels: made.map((g) => g.entry), changed }, undefined, 2));
  else {
    for (const { entry, note } of made) if (note !== undefined) console.log(`${entry.text}: ${note}`);
    console.log(`${made.length} kernels in ${displayFolder(folder)}, ${changed.length} of ${texts.size} files changed, ${seconds(start)}`);
  }
}

export async function generateAll(jobs: readonly Job[]): Promise<Generated[]> {
  const progress = openProgress(jobs.length);
  const made = new Map<string, Generated>();
  for (const job of jobs) {
    progress.step(describeJob(job));
    const generated = await generate(job);
    const { text, kernel } = generated.entry;
    if (made.has(text))
      throw new Failure(`two of these files export a kernel called "${kernel}"`, "give one another name, or compile them into two folders");
    made.set(text, generated);
  }
  progress.done();
  return [...made.values()];
}

function check(folder: string, texts: ReadonlyMap<string, string>, complete: boolean): void {
  const differences = compareTree(folder, texts, complete);
  if (differences.length === 0) return console.log(`${displayFolder(folder)} is up to date, ${texts.size} files`);
  for (const { path, what } of differences) console.log(`${path} ${what}`);
  throw new Failure(
    `${differences.length} files of ${displayFolder(folder)} are not what the kernels compile to`,
    "`npm run compile`, and commit what changed",
  );
}

const displayFolder = (folder: string): string => relative(process.cwd(), folder) || ".";
