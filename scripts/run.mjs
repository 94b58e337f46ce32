#!/usr/bin/env node
/**
 * Starts every command from a bare clone: checks Node, installs what is missing, then runs the TypeScript CLI in this process,
 * or with `--exec NAME args…` a tool of node_modules/.bin.
 */
import { spawn } from "node:child_process";
import { existsSync, lstatSync, statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const args = process.argv.slice(2);

requireNode(20, 19);
if (!isInstalled()) await install();
if (args[0] === "--exec") await exec(args[1], args.slice(2));
else await runCommand();

function requireNode(major, minor) {
  const [ownMajor, ownMinor] = process.versions.node.split(".").map(Number);
  if (ownMajor > major || (ownMajor === major && ownMinor >= minor)) return;
  console.error(`tokensieve needs Node ${major}.${minor} or later; this is Node ${process.versions.node} (${process.execPath})`);
  console.error("  try: install a current Node from https://nodejs.org, or `nvm install 22`");
  process.exit(2);
}

/** npm writes node_modules/.package-lock.json last, so an interrupted install counts as none. */
function isInstalled() {
  const installed = join(root, "node_modules/.package-lock.json");
  return existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, "package-lock.json")).mtimeMs;
}

async function install() {
  const folder = join(root, "node_modules");
  if (lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink()) {
    // npm ci would empty the folder behind the link, which others use
    console.error(`${folder} is a link to packages older than package-lock.json`);
    console.error("  try: `npm ci` where the link leads, or remove the link");
    process.exit(2);
  }
  console.error("tokensieve: installing the packages of package-lock.json (npm ci) …");
  const start = performance.now();
  const npm = process.env.npm_execpath; // under `npm run`: the npm that the user chose
  const ci = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
  const output = [];
  const [command, args] = npm ? [process.execPath, [npm, ...ci]] : ["npm", ci];
  const code = await finish(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] }, output);
  if (code !== 0) {
    console.error(`${Buffer.concat(output).toString().trim()}\nnpm ci failed with exit code ${code}`);
    console.error("  try: see that this machine reaches the npm registry (`npm ping`) and that node_modules is writable");
    process.exit(code);
  }
  console.error(`tokensieve: installed in ${((performance.now() - start) / 1000).toFixed(0)} s`);
}

async function exec(name, toolArgs) {
  const tool = join(root, "node_modules/.bin", name ?? "");
  if (!name || !existsSync(tool)) {
    console.error(`no installed package has a command "${name ?? ""}"\n  try: \`npm ci\``);
    process.exit(2);
  }
  process.exitCode = await finish(tool, toolArgs, { cwd: root, stdio: "inherit" });
}

async function runCommand() {
  const { register } = await import("tsx/esm/api");
  register();
  const { main } = await import("../compiler/cli/main.ts");
  process.exitCode = await main(args);
}

/** The exit code of a child: its own, or 128 and the number of the signal that ended it. Signals to this process are passed on. */
function finish(command, args, options, output = []) {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  // Ctrl-C in a terminal reaches the child by itself, and tools take a second one as "stop at once"
  const forward = (signal) => signal === "SIGINT" && process.stdin.isTTY ? undefined : child.kill(signal);
  // before the child starts: a signal that ended this process in between would leave the child alone
  for (const signal of signals) process.on(signal, forward);
  const child = spawn(command, args, options);
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk) => output.push(chunk));
  return new Promise((resolve) => {
    child.on("error", (error) => {
      output.push(Buffer.from(error.message));
      resolve(127);
    });
    child.on("close", (code, signal) => {
      for (const signal of signals) process.off(signal, forward);
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}
