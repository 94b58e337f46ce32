/**
 * `compile --watch`. A worker process holds the parsed files and compiles. A change to a kernel's text is compiled there at once;
 * a change to what runs (the language, specs, the compiler, targets) gets a fresh process, since a process loads a module once.
 */
import { type ChildProcess, fork } from "node:child_process";
import { watch as watchFolder } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { root } from "../front/read.ts";
import type { CompileOptions } from "./compile.ts";

export interface WatchRequest {
  readonly files: readonly string[];
  readonly options: CompileOptions;
}
/** To the worker: what to build at first, then files that changed. */
export type ToWorker = { readonly request: WatchRequest } | { readonly changed: readonly string[] };
/** From the worker after each build: the files that it can read again. */
export interface Built {
  readonly texts: readonly string[];
}

/** Editors write a file in several steps; changes within this time are one. */
const settleMs = 30;

/** Never resolves: ends with Ctrl-C. */
export function watch(files: readonly string[], options: CompileOptions): Promise<never> {
  const request: WatchRequest = { files, options };
  let texts: ReadonlySet<string> = new Set();
  const start = (): ChildProcess => {
    const started = fork(fileURLToPath(new URL("./watch_worker.ts", import.meta.url)), { execArgv: ["--import", import.meta.resolve("tsx")] });
    started.on("message", (built: Built) => (texts = new Set(built.texts)));
    started.send({ request } satisfies ToWorker);
    return started;
  };
  let worker = start();

  const changed = new Set<string>();
  const rebuild = (): void => {
    const paths = [...changed];
    changed.clear();
    if (worker.connected && paths.every((path) => texts.has(path))) return void worker.send({ changed: paths } satisfies ToWorker);
    console.error(`${paths.length === 1 ? paths[0] : `${paths.length} files`} changed: starting anew`);
    worker.kill();
    worker = start();
  };
  let timer: NodeJS.Timeout | undefined;
  for (const folder of watchedFolders(files)) {
    watchFolder(folder, { recursive: true }, (_event, name) => {
      if (!name || !/\.m?ts$/.test(name)) return;
      changed.add(join(folder, name));
      clearTimeout(timer);
      timer = setTimeout(rebuild, settleMs);
    });
  }
  return new Promise(() => {});
}

const watchedFolders = (files: readonly string[]): Set<string> =>
  new Set([...["dsl", "compiler", "targets"].map((name) => join(root, name)), ...files.map((file) => dirname(resolve(file)))]);
