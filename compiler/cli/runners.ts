/** Where kernels run: GPUs, the software adapter, the interpreters. */
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { DsaProgram } from "../../dsl/programs/index.ts";
import { architectureFor } from "../../targets/cuda/runtime/compile.ts";
import { type CudaDevice, openCuda } from "../../targets/cuda/runtime/driver.ts";
import { type Device, type DeviceBuffer, DeviceError } from "../../targets/device.ts";
import { openWebGpu } from "../../targets/wgsl/runtime.ts";
import { arithmeticOf, type Buffers, deviceExecutor, type Dims, type Executor, loopExecutor, tileExecutor } from "../../verify/executor.ts";
import { hostDevice } from "../../verify/host_device.ts";
import { programExecutor, type ProgramExecutor } from "../../verify/program.ts";
import { runLoop } from "../interp/loop.ts";
import { interpretTile } from "../interp/tile.ts";
import type { Manifest } from "../ir/manifest.ts";
import type { TileKernel } from "../ir/tile.ts";
import type { Compiled } from "../pipeline.ts";
import { UsageError } from "./failure.ts";
import { compileJob, compileTiers, jobOf, type KernelText, textOf, tierJobs } from "./jobs.ts";
import { defaultTargets, targetNamed } from "./targets.ts";

/** Runs kernels that were compiled for one target. */
export interface Runner {
  readonly target: string;
  /** What the driver calls the device. */
  readonly device: string;
  readonly isGpu: boolean;
  /** Names of the tiers of a kernel, undefined for the text that takes all other launches. */
  tiersOf(text: KernelText, spec?: Dsa): Promise<readonly (string | undefined)[]>;
  /** Compiles the kernel and loads it; a tier's text then runs all launches. */
  load(text: KernelText, spec?: Dsa, tier?: string): Promise<Loaded>;
  /** Compiles and loads the kernels of a program with all of their tiers. */
  loadProgram(program: DsaProgram, spec: Dsa): Promise<ProgramExecutor>;
  /** Device time of one launch of what `load` loads. Devices only. */
  timeOf?(of: Timing, buffers: Buffers, dims: Dims): Promise<Microseconds>;
}

export interface Timing {
  readonly text: KernelText;
  readonly spec: Dsa;
  readonly tier: string | undefined;
}

export interface Loaded {
  readonly tile: TileKernel;
  readonly executor: Executor;
}

export interface Microseconds {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Runners extends Disposable {
  readonly all: readonly Runner[];
  /** Why a device that was looked for is not there. */
  readonly missing: readonly DeviceError[];
}

export const deviceChoices = ["auto", "software", "webgpu", "cuda", "interp"] as const;
export type DeviceChoice = (typeof deviceChoices)[number];

/**
 * Opens what `choice` names. "auto" takes every GPU that is there, and the software adapter where WebGPU finds none; the others take
 * that or throw a DeviceError. `targets` restricts what is compiled for; without it CUDA runs each default target that fits the device.
 */
export async function openRunners(choice: DeviceChoice, targets?: readonly string[]): Promise<Runners> {
  if (choice === "interp") return interpreters(targets);
  const wants = (kind: Device["kind"]): boolean =>
    kindsOf[choice].includes(kind) && (targets?.some((target) => kindOf(target) === kind) ?? true);
  if (!wants("cuda") && !wants("webgpu")) throw new UsageError(`no target of ${targets?.join(", ")} runs on --device ${choice}`);

  const missing: DeviceError[] = [];
  const asked = choice === "cuda" || targets !== undefined; // then its absence is an error
  const cuda = !wants("cuda") ? undefined : await openCuda().catch((error: unknown) => {
    if (asked || !(error instanceof DeviceError)) throw error;
    missing.push(error);
    return undefined;
  });
  const adapter = choice === "webgpu" ? "hardware" : choice === "software" ? "software" : "auto";
  const webGpu = wants("webgpu") ? await openWebGpu({ adapter }) : undefined;
  const cudaTargets = cuda ? (targets?.filter((target) => kindOf(target) === "cuda") ?? defaultTargetsOf(cuda)) : [];
  return {
    all: [...cudaTargets.map((target) => deviceRunner(cuda!, target)), ...(webGpu ? [deviceRunner(webGpu, "wgsl")] : [])],
    missing,
    [Symbol.dispose]: () => [cuda, webGpu].forEach((device) => device?.close()),
  };
}
const kindsOf: Readonly<Record<DeviceChoice, readonly Device["kind"][]>> = {
  auto: ["cuda", "webgpu"], software: ["webgpu"], webgpu: ["webgpu"], cuda: ["cuda"], interp: [],
};
const kindOf = (target: string): Device["kind"] => (target === "wgsl" ? "webgpu" : "cuda");

/** The default targets that a device can run. */
function defaultTargetsOf({ info }: CudaDevice): string[] {
  const [major, minor] = info.computeCapability;
  return defaultTargets.filter((target) => {
    try {
      return kindOf(target) === "cuda" && architectureFor(target, 10 * major + minor) !== "";
    } catch {
      return false;
    }
  });
}

const timedLaunches = 20;

function deviceRunner(device: Device, target: string): Runner {
  return {
    target,
    device: device.name,
    isGpu: device.isGpu,
    tiersOf: tiersOn(target),
    async load(text, spec, tier) {
      const { tile, manifest, text: code } = await compileJob(jobOf(text, target, spec, tier));
      return { tile, executor: await deviceExecutor(device, manifest, code) };
    },
    async loadProgram(program, spec) {
      return programExecutor(device, program, await textsOf(program, target, spec), { target, budget: device.isGpu ? 1e8 : 1e6 });
    },
    async timeOf({ text, spec, tier }, buffers, dims) {
      const { manifest, text: code } = await compileJob(jobOf(text, target, spec, tier));
      const executable = await device.load(manifest, code);
      const held = manifest.params.map(({ name }) => [name, upload(device, buffers[name]!)] as const);
      try {
        return await device.time({ executable, buffers: Object.fromEntries(held), dims }, timedLaunches);
      } finally {
        for (const [, buffer] of held) device.free(buffer);
      }
    },
  };
}

/** All texts of each kernel of a program. */
export async function textsOf({ kernels }: DsaProgram, target: string, spec: Dsa): Promise<Compiled[][]> {
  const texts: Compiled[][] = [];
  for (const kernel of kernels) texts.push(await compileTiers(jobOf(textOf(kernel), target, spec)));
  return texts;
}

const tiersOn = (target: string) => async (text: KernelText, spec?: Dsa): Promise<(string | undefined)[]> =>
  (await tierJobs(jobOf(text, target, spec))).map((job) => job.tier);

function upload(device: Device, bytes: Uint8Array): DeviceBuffer {
  const buffer = device.alloc(bytes.byteLength);
  device.write(buffer, bytes);
  return buffer;
}

const interpreters = (targets: readonly string[] | undefined): Runners => ({
  all: targets?.map(loopRunner) ?? [tileRunner, loopRunner("cuda:sm_80"), loopRunner("wgsl")],
  missing: [],
  [Symbol.dispose]: () => {},
});

/** Tile IR on the CPU. Targets differ only below it, so any will do to get there. */
const tileRunner: Runner = {
  target: "tile",
  device: "CPU",
  isGpu: false,
  tiersOf: tiersOn("wgsl"),
  async load(text, spec, tier) {
    const { tile } = await compileJob(jobOf(text, "wgsl", spec, tier));
    return { tile, executor: tileExecutor(tile) };
  },
  async loadProgram(program, spec) {
    const texts = await textsOf(program, "wgsl", spec);
    const device = hostDevice("CPU", (manifest, buffers, dims) => interpretTile(compiledOf(texts, manifest).tile, buffers, dims));
    return programExecutor(device, program, texts, { target: "tile", budget: 1e5 });
  },
};

const compiledOf = (texts: readonly (readonly Compiled[])[], manifest: Manifest): Compiled => texts.flat().find((text) => text.manifest === manifest)!;

/** The Loop IR of a target on the CPU. */
const loopRunner = (target: string): Runner => ({
  target: `loop ${target}`,
  device: "CPU",
  isGpu: false,
  tiersOf: tiersOn(target),
  async load(text, spec, tier) {
    const { loop, manifest, tile } = await compileJob(jobOf(text, target, spec, tier));
    return { tile, executor: loopExecutor(loop, targetNamed(target), tile.tune, arithmeticOf(target, manifest)) };
  },
  async loadProgram(program, spec) {
    const texts = await textsOf(program, target, spec);
    const instructions = [...targetNamed(target).instructions.values()];
    const device = hostDevice("CPU", (manifest, buffers, dims) => runLoop(compiledOf(texts, manifest).loop, instructions, buffers, dims));
    return programExecutor(device, program, texts, { target: `loop ${target}`, budget: 4e3 });
  },
});
