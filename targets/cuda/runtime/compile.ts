/** CUDA C++ text to device code: NVRTC in this process, or nvcc where only the toolkit is there. */
import { execFile } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { DeviceError } from "../../device.ts";
import type { Native } from "./native.ts";

/** Both compilers know these by the same name. Line numbers serve compute-sanitizer and Nsight and change no instruction. */
const options = ["--std=c++17", "--generate-line-info"];

export type Compiler =
  | { readonly kind: "nvrtc"; readonly version: string; readonly native: Native; readonly architectures: readonly number[] }
  | { readonly kind: "nvcc"; readonly path: string };

/** NVRTC if it can be opened, else nvcc if there is one. `driverMajor` is the CUDA version of the driver: that NVRTC is tried first. */
export function findCompiler(native: Native, driverMajor: number): Compiler | undefined {
  try {
    return { kind: "nvrtc", native, ...native.nvrtcInfo(nvrtcPaths(driverMajor)) };
  } catch {
    const path = findNvcc();
    return path === undefined ? undefined : { kind: "nvcc", path };
  }
}

/** nvcc on PATH or in an installed toolkit. */
export function findNvcc(): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...toolkits().map((toolkit) => join(toolkit, "bin"))];
  return folders.map((folder) => join(folder, "nvcc")).find((path) => existsSync(path));
}

function toolkits(): string[] {
  const named = [process.env.CUDA_HOME, process.env.CUDA_PATH].filter((path) => path !== undefined && path !== "") as string[];
  const installed = existsSync("/usr/local") ? readdirSync("/usr/local").filter((name) => name.startsWith("cuda")) : [];
  return [...named, ...installed.map((name) => `/usr/local/${name}`)];
}

function nvrtcPaths(driverMajor: number): string[] {
  const override = process.env.TOKENSIEVE_LIBNVRTC;
  if (override !== undefined && override !== "") return [override];
  // code from an NVRTC newer than the driver's CUDA version may not load
  const versions = driverMajor === 12 ? [12, 13] : [13, 12];
  const names = [...versions.map((version) => `libnvrtc.so.${version}`), "libnvrtc.so"];
  return names.flatMap((name) => [name, ...toolkits().map((toolkit) => join(toolkit, "lib64", name))]);
}

/**
 * The architecture to compile for. A target with a suffix ("sm_90a") uses instructions of that chip and of no other;
 * one without is compiled for the device itself, or to PTX ("compute_80") when the compiler does not know the device yet.
 */
export function architectureFor(target: string, device: number, supported: readonly number[] = [device]): string {
  const match = /^cuda:sm_(\d+)([af]?)$/.exec(target);
  if (match === null) throw new DeviceError(`the CUDA runtime cannot run a kernel for "${target}"`, "compile with --target cuda:sm_80");
  const base = Number(match[1]);
  const suffix = match[2] ?? "";
  const sameFamily = Math.floor(device / 10) === Math.floor(base / 10);
  const runs = suffix === "a" ? device === base : device >= base && (suffix === "" || sameFamily);
  if (!runs)
    throw new DeviceError(`a kernel for ${target} does not run on this device, which is sm_${device}`, "compile with --target cuda:sm_80");
  if (suffix !== "") return `sm_${base}${suffix}`;
  return supported.includes(device) ? `sm_${device}` : `compute_${base}`;
}

export interface Source {
  readonly kernel: string;
  readonly text: string;
  /** As in the manifest, e.g. "cuda:sm_90a". */
  readonly target: string;
}

/**
 * Device code that the driver of a device of compute capability `device` (90 for 9.0) loads: a cubin, or PTX.
 * A refused text is a DeviceError with the log and the lines it names.
 */
export async function compileForDevice(compiler: Compiler, { kernel, text, target }: Source, device: number): Promise<Uint8Array> {
  if (compiler.kind === "nvcc") return (await compileWithNvcc(text, architectureFor(target, device), compiler.path)).cubin;
  const architecture = architectureFor(target, device, compiler.architectures);
  const includes = toolkits().map((toolkit) => join(toolkit, "include")).filter((path) => existsSync(path));
  const nvrtcOptions = [`--gpu-architecture=${architecture}`, ...options, ...includes.map((path) => `--include-path=${path}`)];
  const { ok, image, log } = await compiler.native.compile(text, `${kernel}.cu`, nvrtcOptions);
  if (!ok) throw refused(`NVRTC ${compiler.version}`, kernel, architecture, text, log);
  return image;
}

/** What ptxas says of one kernel; spillBytes adds spill stores and loads, sharedBytes is static shared memory. */
export interface KernelUsage {
  readonly entry: string;
  readonly registers: number;
  readonly stackBytes: number;
  readonly spillBytes: number;
  readonly sharedBytes: number;
}

/**
 * Assembles `text` for `architecture` ("sm_90a") with nvcc; needs no GPU. `warnings` holds what ptxas says of wgmma and setmaxnreg
 * (C75xx) too. A refused text is a DeviceError with the log and the lines it names.
 */
export async function compileWithNvcc(
  text: string,
  architecture: string,
  nvcc = findNvcc(),
): Promise<{ cubin: Uint8Array; kernels: KernelUsage[]; warnings: string[] }> {
  if (nvcc === undefined) throw new DeviceError("nvcc was not found", "install the CUDA toolkit, or set CUDA_HOME to it");
  const folder = await mkdtemp(join(tmpdir(), "tokensieve-nvcc-"));
  try {
    await writeFile(join(folder, "kernel.cu"), text);
    // a relative name, so that messages read kernel.cu(12)
    const args = ["-cubin", `-arch=${architecture}`, ...options, "-Xptxas", "-v", "kernel.cu", "-o", "kernel.cubin"];
    const { stdout, stderr } = await promisify(execFile)(nvcc, args, { cwd: folder, maxBuffer: 1 << 26 });
    return { cubin: await readFile(join(folder, "kernel.cubin")), ...parsePtxas(stdout + stderr) };
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    if (stderr === undefined) throw error;
    throw refused("nvcc", "kernel", architecture, text, `${stdout}${stderr}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function parsePtxas(log: string): { kernels: KernelUsage[]; warnings: string[] } {
  const sections = log.split(/Compiling entry function '/).slice(1);
  const kernels = sections.map((section): KernelUsage => {
    const figure = (pattern: RegExp): number => Number(pattern.exec(section)?.[1] ?? 0);
    return {
      entry: section.slice(0, section.indexOf("'")),
      registers: figure(/Used (\d+) registers/),
      stackBytes: figure(/(\d+) bytes stack frame/),
      spillBytes: figure(/(\d+) bytes spill stores/) + figure(/(\d+) bytes spill loads/),
      sharedBytes: figure(/(\d+) bytes smem/),
    };
  });
  return { kernels, warnings: log.split("\n").filter((line) => /warning|\(C75\d\d\)/i.test(line)) };
}

function refused(compiler: string, kernel: string, architecture: string, text: string, log: string): DeviceError {
  return new DeviceError(
    `${kernel}: ${compiler} refuses the text for ${architecture}\n${log.trim()}${excerpt(text, log)}`,
    "undo edits of the generated text (npm run compile writes it anew); without edits this is a fault of targets/cuda: report text and log",
  );
}

/** The lines of `text` that the log's errors name, with their numbers. */
function excerpt(text: string, log: string): string {
  const lines = text.split("\n");
  const named = new Set([...log.matchAll(/\((\d+)\): (?:catastrophic )?error/g)].map((match) => Number(match[1])));
  return [...named].map((line) => `\n  ${line} | ${lines[line - 1] ?? ""}`).join("");
}
