/** Running commands: in this process where only what they say matters, in a child where the process itself does. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { format } from "node:util";
import { onTestFinished, vi } from "vitest";
import { main } from "../../compiler/cli/main.ts";
import { listFiles } from "../../compiler/cli/tree.ts";

export const root = resolve(import.meta.dirname, "../..");

export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command in this process. */
export async function cli(...args: string[]): Promise<Said> {
  let [stdout, stderr] = ["", ""];
  const toStdout = (text: unknown): boolean => ((stdout += String(text)), true);
  const toStderr = (text: unknown): boolean => ((stderr += String(text)), true);
  const spies = [
    vi.spyOn(process.stdout, "write").mockImplementation(toStdout),
    vi.spyOn(process.stderr, "write").mockImplementation(toStderr),
    vi.spyOn(console, "log").mockImplementation((...parts: unknown[]) => void toStdout(`${format(...parts)}\n`)),
    vi.spyOn(console, "error").mockImplementation((...parts: unknown[]) => void toStderr(`${format(...parts)}\n`)),
  ];
  try {
    return { code: await main(args), stdout, stderr };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** A command in a process of its own. `output` is stdout and stderr so far; `ended` its exit code, or the signal that ended it. */
export interface Running {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | NodeJS.Signals>;
  /** Resolves as soon as the output matches; rejects when the process ends before. */
  until(pattern: RegExp): Promise<void>;
}

export function start(script: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Running {
  const child = spawn(process.execPath, [script, ...args], { cwd: root, env: { ...process.env, ...env } });
  let output = "";
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      output += String(chunk);
      for (const listener of listeners) listener();
    });
  }
  const ended = new Promise<number | NodeJS.Signals>((done) => child.on("close", (code, signal) => done(code ?? signal!)));
  onTestFinished(() => void child.kill("SIGKILL"));
  const until = (pattern: RegExp): Promise<void> =>
    new Promise((done, fail) => {
      const look = (): void => {
        if (!pattern.test(output)) return;
        listeners.delete(look);
        done();
      };
      listeners.add(look);
      void ended.then((how) => fail(new Error(`ended with ${how} before ${pattern}:\n${output}`)));
      look();
    });
  return { child, output: () => output, ended, until };
}

/** An empty folder that goes away with the test. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "tokensieve-cli-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Every file of a folder with its text. */
export const contents = (folder: string): Record<string, string> =>
  Object.fromEntries(listFiles(folder).map((path) => [path, readFileSync(join(folder, path), "utf8")]));

/** A kernel file in `folder`: y = factor · x. `source` is the tensor that it loads. Returns its path. */
export function writeKernel(folder: string, name = "doubled.ts", { factor = 2, source = "x" } = {}): string {
  const file = join(folder, name);
  writeFileSync(
    file,
    `import { blocks, input, kernel, load, map, output, store } from "${relative(folder, join(root, "dsl/index.ts"))}";

export const doubled = kernel("doubled", {
  args: { x: input("f32", { i: "N" }), y: output("f32", { i: "N" }) },
  tune: { B: 64 },
  grid: (a, { B }) => ({ ib: blocks("i", 0, a.x.size.i, B) }),
  body(a, _, { ib }) {
    store(a.y.tile({ i: ib }), map([load(a.${source}.tile({ i: ib }))], (x) => ${factor} * x));
  },
});
`,
  );
  return file;
}
