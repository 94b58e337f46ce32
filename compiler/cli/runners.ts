/** Where kernels run: GPUs, the software adapter, the interpreters. */
import { type Buffers, type Dims, type Executor, deviceExecutor, loopExecutor, tileExecutor } from "../../verify/executor.ts";
import { architectureFor } from "../../targets/cuda/runtime/compile.ts";
import { type CudaDevice, openCuda } from "../../targets/cuda/runtime/driver.ts";
import { type Device, type DeviceBuffer, DeviceError } from "../../targets/device.ts";
import { openWebGpu } from "../../targets/wgsl/runtime.ts";
import type { TileKernel } from "../ir/tile.ts";
import type { Compiled } from "../pipeline.ts";
import { UsageError } from "./failure.ts";
import { compileJob, type KernelText } from "./jobs.ts";
import { defaultTargets, targetNamed } from "./targets.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";

/** Runs kernels that were compiled for one target. */
export interface Runner {
  readonly target: string;
  /** What the driver calls the device. */
  readonly device: string;
  readonly isGpu: boolean;
  /** Compiles the kernel and loads it. */
  load(text: KernelText, spec?: Dsa): Promise<Loaded>;
  /** Device time of one launch. Devices only. */
  timeOf?(text: KernelText, spec: Dsa | undefined, buffers: Buffers, dims: Dims): Promise<Microseconds>;
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
  const wants = (device: "cuda" | "webgpu"): boolean => choices[choice].includes(device) && (targets?.some((target) => deviceOf(target) === device) ?? true);
  if (choice === "interp") return { all: targets?.map(loopRunner) ?? [tileRunner, loopRunner("cuda:sm_80"), loopRunner("wgsl")], missing: [], [Symbol.dispose]: () => {} };
  if (!wants("cuda") && !wants("webgpu")) throw new UsageError(`no target of ${targets?.join(", ")} runs on --device ${choice}`);

  const missing: DeviceError[] = [];
  /** A device that is there, or was not asked for by name. */
  const ifThere = async <T extends Device>(opening: Promise<T>, required: boolean): Promise<T | undefined> =>
    opening.catch((error: unknown) => {
      if (required || !(error instanceof DeviceError)) throw error;
      missing.push(error);
      return undefined;
    });
  const cuda = wants("cuda") ? await ifThere(openCuda(), choice === "cuda" || targets !== undefined) : undefined;
  const webGpu = wants("webgpu") ? await ifThere(openWebGpu({ adapter: choice === "webgpu" ? "hardware" : choice === "software" ? "software" : "auto" }), true) : undefined;
  return {
    all: [
      ...(cuda ? (targets?.filter((target) => deviceOf(target) === "cuda") ?? cudaTargets(cuda)).map((target) => deviceRunner(cuda, target)) : []),
      ...(webGpu ? [deviceRunner(webGpu, "wgsl")] : []),
    ],
    missing,
    [Symbol.dispose]: () => [cuda, webGpu].forEach((device) => device?.close()),
  };
}
const choices: Readonly<Record<DeviceChoice, readonly ("cuda" | "webgpu")[]>> = {
  auto: ["cuda", "webgpu"], software: ["webgpu"], webgpu: ["webgpu"], cuda: ["cuda"], interp: [],
};
const deviceOf = (target: string): "cuda" | "webgpu" => (target === "wgsl" ? "webgpu" : "cuda");

/** The default targets that a device can run. */
function cudaTargets({ info }: CudaDevice): string[] {
  const [major, minor] = info.computeCapability;
  return defaultTargets.filter((target) => {
    try {
      return deviceOf(target) === "cuda" && architectureFor(target, 10 * major + minor) !== "";
    } catch {
      return false;
    }
  });
}

const timedLaunches = 20;

function deviceRunner(device: Device, target: string): Runner {
  const compiled = (text: KernelText, spec: Dsa | undefined): Promise<Compiled> => compileJob({ ...text, target, ...(spec && { spec }) });
  return {
    target,
    device: device.name,
    isGpu: device.isGpu,
    async load(text, spec) {
      const { tile, manifest, text: code } = await compiled(text, spec);
      return { tile, executor: await deviceExecutor(device, manifest, code) };
    },
    async timeOf(text, spec, buffers, dims) {
      const { manifest, text: code } = await compiled(text, spec);
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

function upload(device: Device, bytes: Uint8Array): DeviceBuffer {
  const buffer = device.alloc(bytes.byteLength);
  device.write(buffer, bytes);
  return buffer;
}

/** Tile IR on the CPU. Targets differ only below it, so any will do to get there. */
const tileRunner: Runner = {
  target: "tile",
  device: "CPU",
  isGpu: false,
  async load(text, spec) {
    const { tile } = await compileJob({ ...text, target: "wgsl", ...(spec && { spec }) });
    return { tile, executor: tileExecutor(tile) };
  },
};

/** The Loop IR of a target on the CPU. */
const loopRunner = (target: string): Runner => ({
  target: `loop ${target}`,
  device: "CPU",
  isGpu: false,
  async load(text, spec) {
    const { loop, tile } = await compileJob({ ...text, target, ...(spec && { spec }) });
    return { tile, executor: loopExecutor(loop, targetNamed(target), tile.tune) };
  },
});
