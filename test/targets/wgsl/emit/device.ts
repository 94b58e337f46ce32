/** Runs generated WGSL of a Loop kernel on the embedded software adapter. */
import type { LoopKernel } from "../../../../compiler/ir/loop.ts";
import type { Manifest } from "../../../../compiler/ir/manifest.ts";
import { emitWgsl, wgslEntry, wgslSharedBytes } from "../../../../targets/wgsl/emit.ts";
import type { WebGpuDevice } from "../../../../targets/wgsl/runtime.ts";
import { sourceLine } from "../../../compiler/interp/loop_kernels.ts";

export const emit = (kernel: LoopKernel): string =>
  emitWgsl(kernel, { header: [`${kernel.name}, a test`], sourceLine, enabledFeatures: [] });

/** Launches once; outputs are copied back into `buffers`. */
export async function launch(
  device: WebGpuDevice,
  kernel: LoopKernel,
  buffers: Readonly<Record<string, Uint8Array>>,
  dims: Readonly<Record<string, number>>,
): Promise<void> {
  const { name, params, blocks, threads } = kernel;
  const manifest: Manifest = {
    format: 1,
    kernel: name,
    target: "wgsl",
    entry: wgslEntry(kernel),
    file: `${name}.wgsl`,
    source: "",
    spec: {},
    tune: {},
    params,
    dims: kernel.dims,
    tensorMaps: [],
    blocks,
    threads,
    sharedBytes: wgslSharedBytes(kernel),
    features: [],
    limits: {},
    sha256: "",
  };
  const executable = await device.load(manifest, emit(kernel));
  const onDevice = Object.fromEntries(Object.entries(buffers).map(([param, bytes]) => [param, device.alloc(bytes.byteLength)]));
  for (const [param, bytes] of Object.entries(buffers)) device.write(onDevice[param]!, bytes);
  device.launch({ executable, buffers: onDevice, dims });
  for (const p of params) if (p.access !== "in") buffers[p.name]!.set(await device.read(onDevice[p.name]!));
  for (const buffer of Object.values(onDevice)) device.free(buffer);
}
