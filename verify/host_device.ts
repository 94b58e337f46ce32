/** A device on the CPU: `run` stands for kernels. It holds what drives a device to the same calls without one. */
import { evaluate, type Manifest } from "../compiler/ir/manifest.ts";
import { checkView, type Device, type DeviceBuffer, DeviceError, planLaunch } from "../targets/device.ts";
import type { Dims } from "./executor.ts";

/** Runs all blocks of one launch in place, on exactly the bytes that its params have at these dims. */
export type RunKernel = (manifest: Manifest, buffers: Readonly<Record<string, Uint8Array>>, dims: Dims) => void;

export function hostDevice(name: string, run: RunKernel): Device {
  const memory = new Map<DeviceBuffer, Uint8Array>();
  const hold = (bytes: Uint8Array): DeviceBuffer => {
    const buffer = { bytes: bytes.byteLength };
    memory.set(buffer, bytes);
    return buffer;
  };
  const bytesOf = (buffer: DeviceBuffer): Uint8Array => {
    const bytes = memory.get(buffer);
    if (!bytes) throw new DeviceError("this buffer is not of this device, or was freed", "use what its alloc returned");
    return bytes;
  };
  return {
    kind: "cuda",
    name,
    isGpu: false,
    viewAlignment: 4,
    alloc: (bytes) => hold(new Uint8Array(bytes)),
    view(buffer, from, bytes) {
      checkView(buffer, from, bytes, 4);
      return hold(bytesOf(buffer).subarray(from, from + bytes));
    },
    write: (buffer, data) => bytesOf(buffer).set(data),
    read: async (buffer) => bytesOf(buffer).slice(),
    readPart: async (buffer, from, bytes) => bytesOf(buffer).slice(from, from + bytes),
    free: (buffer) => void memory.delete(buffer),
    load: async (manifest) => ({ manifest }),
    launch(launch) {
      const { manifest } = launch.executable;
      const { dims: values } = planLaunch(launch, 1);
      const dims = Object.fromEntries(manifest.dims.map((dim, i) => [dim.name, values[i]!]));
      run(manifest, Object.fromEntries(manifest.params.map(({ name: param, bytes }) => [param, bytesOf(launch.buffers[param]!).subarray(0, evaluate(bytes, dims))])), dims);
    },
    sync: async () => {},
    time: () => Promise.reject(new DeviceError("the CPU has no device time", "open a GPU")),
    close: () => memory.clear(),
  };
}
