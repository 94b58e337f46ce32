/** `doctor`: what this machine can run, and for what it cannot: why, and what would help. */
import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { promisify } from "node:util";
import type { Command } from "commander";
import { findNvcc } from "../../targets/cuda/runtime/compile.ts";
import { type CudaInfo, cudaStatus } from "../../targets/cuda/runtime/driver.ts";
import { type AdapterReport, webGpuStatus } from "../../targets/wgsl/adapter.ts";
import { Failure } from "./failure.ts";

export interface Finding {
  readonly what: string;
  readonly ok: boolean;
  /** What was found. */
  readonly found?: string;
  /** Why it is not there. */
  readonly reason?: string;
  /** What would help. */
  readonly hint?: string;
  /** Everything that the driver told. */
  readonly details?: CudaInfo | AdapterReport;
}

export const addDoctor = (program: Command): Command =>
  program
    .command("doctor")
    .description("Say what this machine can run, and for what it cannot: why, and what would help. Fails when it can run no kernel at all.")
    .option("--json", "print the findings as JSON")
    .action(doctorCommand);

async function doctorCommand({ json }: { readonly json?: boolean }): Promise<void> {
  const findings = await examine();
  if (json) console.log(JSON.stringify(findings, undefined, 2));
  else for (const finding of findings) console.log(describeFinding(finding));
  if (!findings.some((f) => f.ok && f.details)) throw new Failure("no kernel can run on this machine", "one of the hints above");
}

/** Never rejects. */
export async function examine(): Promise<Finding[]> {
  return [node(), ...packages(), await nvcc(), await cuda(), ...(await webGpu())];
}

function describeFinding({ what, ok, found, reason, hint }: Finding): string {
  const [mark, text] = ok ? ["ok", found] : ["--", reason];
  return `${mark} ${what}: ${text ?? ""}${hint === undefined ? "" : `\n     try: ${hint}`}`;
}

const node = (): Finding => ({ what: "Node", ok: true, found: `${process.versions.node}, ${process.platform}-${process.arch}` });

/** Packages that commands need at run time. */
function packages(): Finding[] {
  const require = createRequire(import.meta.url);
  return ["webgpu", "@sparticuz/chromium", "ts-morph"].map((name): Finding => {
    const what = `package ${name}`;
    try {
      return { what, ok: true, found: versionOf(require, name) };
    } catch {
      return { what, ok: false, reason: "not installed", hint: "`npm ci`" };
    }
  });
}

/** Not every package lets its package.json be imported, so this looks where Node would. */
function versionOf(require: NodeJS.Require, name: string): string {
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      return (require(`${folder}/${name}/package.json`) as { version: string }).version;
    } catch {} // the next folder
  }
  throw new Error(`no package ${name}`);
}

async function nvcc(): Promise<Finding> {
  const what = "nvcc";
  const path = findNvcc();
  const hint = "install the CUDA toolkit or set CUDA_HOME; only `explain` and tests use it";
  if (path === undefined) return { what, ok: false, reason: "not found on PATH nor under /usr/local", hint };
  try {
    const { stdout } = await promisify(execFile)(path, ["--version"]);
    return { what, ok: true, found: `${path}, ${/release [\d.]+/.exec(stdout)?.[0] ?? "unknown release"}` };
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    return { what, ok: false, reason: `${path} does not run: ${cause}`, hint: "reinstall the CUDA toolkit" };
  }
}

async function cuda(): Promise<Finding> {
  const { available, reason, hint, device } = await cudaStatus();
  if (available && device) return { what: "CUDA", ok: true, found: describeCuda(device), details: device };
  const known = device ? `${describeCuda(device)}; ` : "";
  return { what: "CUDA", ok: false, reason: `${known}${reason}`, ...(hint && { hint }) };
}

const describeCuda = ({ name, computeCapability, driver, compiler }: CudaInfo): string =>
  `${name}, sm_${computeCapability.join("")}, driver for CUDA ${driver}, compiler ${compiler ?? "none"}`;

async function webGpu(): Promise<Finding[]> {
  const { adapters, missing } = await webGpuStatus();
  return [
    ...adapters.map((adapter): Finding => ({ what: `WebGPU, ${adapter.kind}`, ok: true, found: describeAdapter(adapter), details: adapter })),
    ...missing.map(({ kind, reason, hint }): Finding => ({ what: `WebGPU, ${kind}`, ok: false, reason, hint })),
  ];
}

function describeAdapter({ device, description, subgroupSizes: [min, max], limits }: AdapterReport): string {
  const memory = `${limits["maxComputeWorkgroupStorageSize"]} bytes of workgroup memory`;
  return `${device}, ${description}, subgroups of ${min === max ? min : `${min} to ${max}`}, ${memory}`;
}
