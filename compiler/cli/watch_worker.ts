/** The process behind `compile --watch`: builds everything once, then what depends on the files that it is told of. */
import { join } from "node:path";
import { refresh } from "../front/index.ts";
import { importedFile, readModule, root } from "../front/read.ts";
import { destination, jobsOf } from "./compile.ts";
import { describeError } from "./failure.ts";
import { filesOf, type Generated, generate, readIndex } from "./generate.ts";
import type { Job } from "./jobs.ts";
import { seconds } from "./progress.ts";
import { writeTree } from "./tree.ts";
import type { Built, ToWorker, WatchRequest } from "./watch.ts";

const made = new Map<Job, Generated>();
let jobs: readonly Job[] = [];
let folder = "";
let building = Promise.resolve();

process.on("message", (message: ToWorker) => {
  building = building.then(() => ("request" in message ? buildAll(message.request) : rebuild(message.changed)));
});
process.on("disconnect", () => process.exit());

function buildAll({ files, options }: WatchRequest): Promise<void> {
  folder = destination(files, options).folder;
  return build(async () => (jobs = await jobsOf(files, options)));
}

function rebuild(changed: readonly string[]): Promise<void> {
  changed.forEach(refresh);
  return build(() => jobs.filter((job) => !made.has(job) || changed.some((path) => textsOf(job.file).has(path))));
}

/** Compiles what `choose` returns; an error is told and the other kernels are compiled all the same. */
async function build(choose: () => readonly Job[] | Promise<readonly Job[]>): Promise<void> {
  const start = performance.now();
  const errors = new Set<string>(); // one mistake fails the kernel for each spec and target
  const attempt = async (work: () => Promise<void> | void): Promise<void> => {
    try {
      await work();
    } catch (error) {
      errors.add(await describeError(error));
    }
  };
  let chosen: readonly Job[] = [];
  await attempt(async () => void (chosen = await choose()));
  for (const job of chosen) {
    made.delete(job);
    await attempt(async () => void made.set(job, await generate(job)));
  }
  await attempt(async () => {
    const changed = await writeTree(folder, filesOf([...made.values()], readIndex(folder)), []);
    console.log(`${chosen.length} kernels compiled, ${changed.length} files changed, ${seconds(start)}`);
  });
  for (const message of errors) console.error(message);
  process.send?.({ texts: jobs.flatMap((job) => [...textsOf(job.file)]) } satisfies Built);
}

/** A kernel's file and what it imports, apart from modules that run: the language and what makes specs. */
function textsOf(file: string): Set<string> {
  const running = (path: string): boolean => path.startsWith(join(root, "dsl/")) && !jobs.some((job) => job.file === path);
  const seen = new Set([file]);
  for (const path of seen) {
    const { imports, starExports } = readModule(path);
    for (const source of [...[...imports.values()].map((i) => i.module), ...starExports]) {
      const target = importedFile(path, source);
      if (source.startsWith(".") && !running(target)) seen.add(target);
    }
  }
  return seen;
}
