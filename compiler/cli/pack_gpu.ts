/**
 * `pack-gpu`: one archive with all that `verify`, `test-gpu`, `bench` and the tests of the CUDA runtime need on a GPU host without Node and without a registry: this Node,
 * the project as JavaScript, its packages without what other platforms need, and the CUDA addon when it can be built here.
 */
import { execFile } from "node:child_process";
import {
  copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Command } from "commander";
import { buildAddon } from "../../targets/cuda/runtime/build.ts";
import { DeviceError } from "../../targets/device.ts";
import { root } from "../front/read.ts";
import { Failure } from "./failure.ts";
import { seconds } from "./progress.ts";

const run = promisify(execFile);
const MB = 1e6;
const largestMB = 40;

/** What of the project the archive holds. TypeScript stays beside the JavaScript made of it: the compiler reads kernels as text. */
const project = ["bench", "compiler", "dsl", "reference", "targets", "test/kernels", "test/targets/cuda", "test/compiler/interp", "trace", "verify", "generated", "package.json", "tsconfig.json", "LICENSE"];

/** Packages that run there; those that they depend on come along. */
const packages = [
  ...["commander", "cli-table3", "fast-check", "pure-rand", "zod", "ts-morph", "webgpu", "@sparticuz/chromium"],
  ...["node-addon-api", "node-api-headers", "@types/node", "@webgpu/types", "@vitest/expect"],
];
/** What is needed of packages that are large. Of Chromium it is the archive with SwiftShader, and not the code. */
const partsOf: Readonly<Record<string, readonly string[]>> = {
  webgpu: ["package.json", "index.js", "LICENSE", "dist/linux-x64"],
  "@sparticuz/chromium": ["package.json", "LICENSE", "build", "bin/swiftshader.tar.br"],
};
const withoutDependencies = ["@sparticuz/chromium"];
/** The filter for x86 code, since most of the archive is Node. */
const compressor = "xz -T0 --x86 --lzma2=preset=6";

export const addPackGpu = (program: Command): Command =>
  program
    .command("pack-gpu")
    .description("Write one archive that runs verify, test-gpu and bench on a Linux x64 host that has neither Node nor a registry.")
    .option("--out <file>", "archive to write", "dist/tokensieve-gpu.tar.xz")
    .action(packCommand);

async function packCommand({ out }: { readonly out: string }): Promise<void> {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== "linux-x64") throw new Failure(`the archive is for linux-x64, and this is ${platform}`, "pack on Linux x64");
  const start = performance.now();
  const scratch = mkdtempSync(join(tmpdir(), "tokensieve-pack-"));
  process.once("exit", () => rmSync(scratch, { recursive: true, force: true }));
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));

  const folder = join(scratch, "tokensieve");
  mkdirSync(folder);
  console.error("copying the project and its packages …");
  await copyProject(folder);
  copyPackages(folder);
  addTestRunner(folder);
  await addNode(folder);
  console.error(await addAddon(folder));
  addStarter(folder);
  console.error("compressing, which takes a minute …");
  const packed = join(scratch, "packed.tar.xz");
  await run("tar", ["-C", scratch, "--sort=name", "--owner=0", "--group=0", "-I", compressor, "-cf", packed, basename(folder)]);
  const megabytes = statSync(packed).size / MB;
  if (megabytes > largestMB)
    throw new Failure(`the archive has ${megabytes.toFixed(1)} MB, more than ${largestMB}`, "leave out what grew, in compiler/cli/pack_gpu.ts");
  mkdirSync(dirname(resolve(out)), { recursive: true });
  copyFileSync(packed, `${out}.part`);
  renameSync(`${out}.part`, out);
  console.log(`${out}: ${megabytes.toFixed(1)} MB, ${seconds(start)}`);
  console.log(`there: tar xf ${basename(out)} && tokensieve/run.sh doctor && tokensieve/run.sh tests && tokensieve/run.sh test-gpu`);
}

/** Copies the project and puts JavaScript beside every TypeScript file. */
async function copyProject(to: string): Promise<void> {
  const { default: ts } = await import("typescript"); // not in the archive, where this command is not needed
  const isSource = (path: string): boolean => !/^(\.|build$|__pycache__$)|\.py$/.test(basename(path));
  for (const name of project.filter((name) => existsSync(join(root, name))))
    cpSync(join(root, name), join(to, name), { recursive: true, filter: isSource });
  const compilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    verbatimModuleSyntax: true,
    rewriteRelativeImportExtensions: true,
  };
  for (const path of readdirSync(to, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".ts"))) {
    const { outputText } = ts.transpileModule(readFileSync(join(to, path), "utf8"), { compilerOptions });
    writeFileSync(join(to, path.replace(/\.ts$/, ".js")), outputText);
  }
}

function copyPackages(to: string): void {
  const wanted = new Set(packages);
  for (const name of wanted) {
    const from = join(root, "node_modules", name);
    for (const part of (partsOf[name] ?? ["."]).filter((part) => existsSync(join(from, part))))
      cpSync(join(from, part), join(to, "node_modules", name, part), { recursive: true });
    if (withoutDependencies.includes(name)) continue;
    const { dependencies = {} } = JSON.parse(readFileSync(join(from, "package.json"), "utf8")) as { dependencies?: object };
    for (const dependency of Object.keys(dependencies))
      if (!existsSync(join(from, "node_modules", dependency))) wanted.add(dependency);
  }
}

/** Tests of the CUDA runtime import vitest, which comes with a native bundler of many megabytes. */
function addTestRunner(to: string): void {
  const folder = join(to, "node_modules/vitest");
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(root, "scripts/vitest_on_node.mjs"), join(folder, "index.mjs"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "vitest", exports: "./index.mjs" }));
}

/** This Node, without symbols where `strip` is installed. */
async function addNode(to: string): Promise<void> {
  const copy = join(to, "node");
  await run("strip", ["-o", copy, process.execPath]).catch(() => copyFileSync(process.execPath, copy));
}

async function addAddon(to: string): Promise<string> {
  try {
    return `with the CUDA addon ${basename(await buildAddon(join(to, "targets/cuda/runtime/build")))}`;
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return `without a built CUDA addon, so the GPU host needs a C++ compiler: ${error.message}`;
  }
}

const starter = `import { main } from "./compiler/cli/main.js";

process.exitCode = await main(process.argv.slice(2));
`;
const shell = `#!/bin/sh
# The commands of tokensieve, for example: run.sh doctor; run.sh verify --device cuda; run.sh test-gpu; run.sh bench
# and run.sh tests: those of the CUDA runtime and of Hopper's instructions
here=$(cd "$(dirname "$0")" && pwd)
if [ "$1" = tests ]; then exec "$here/node" --test --test-reporter=spec "$here"/test/targets/cuda/runtime/*gpu.test.js; fi
exec "$here/node" "$here/start.mjs" "$@"
`;

function addStarter(to: string): void {
  writeFileSync(join(to, "start.mjs"), starter);
  writeFileSync(join(to, "run.sh"), shell, { mode: 0o755 });
}
