/** Checks a kernel's needs against what an adapter offers, before Dawn does so with less to say. */
import type { Manifest } from "../../compiler/ir/manifest.ts";
import { DeviceError } from "../device.ts";
import type { AdapterReport } from "./adapter.ts";

const splitLaunch = "split the launch: fewer queries or a shorter context at a time";
const fewerThreads = "lower the threads per block in the WGSL schedule";
const remedies: Readonly<Record<string, string>> = {
  maxBufferSize: splitLaunch,
  maxStorageBufferBindingSize: splitLaunch,
  maxStorageBuffersPerShaderStage: "give the kernel fewer tensor parameters",
  maxComputeWorkgroupStorageSize: "lower the tile sizes in `tune`, or the head dim that a tile holds",
  maxComputeInvocationsPerWorkgroup: fewerThreads,
  maxComputeWorkgroupSizeX: fewerThreads,
};

/** Throws a DeviceError with both numbers, and what to lower, when `need` exceeds the adapter's limit. */
export function requireLimit(adapter: AdapterReport, what: string, limit: string, need: number): void {
  const has = adapter.limits[limit] ?? 0;
  if (need > has)
    throw new DeviceError(
      `${what} needs ${limit} ${need}, and ${adapter.device} has ${has}`,
      remedies[limit] ?? "lower the spec value that it grows with",
    );
}

/** Features and limits that a kernel needs whatever its dims are. */
export function requireKernel(adapter: AdapterReport, manifest: Manifest): void {
  const { kernel, threads, sharedBytes, params } = manifest;
  const missing = manifest.features.filter((feature) => !adapter.features.includes(feature));
  if (missing.length > 0)
    throw new DeviceError(
      `${kernel} needs the WebGPU feature ${missing.join(", ")}, which ${adapter.device} lacks`,
      "compile it without that feature, or open another adapter",
    );
  const needs = {
    maxComputeInvocationsPerWorkgroup: threads,
    maxComputeWorkgroupSizeX: threads,
    maxComputeWorkgroupStorageSize: sharedBytes,
    maxStorageBuffersPerShaderStage: params.length,
    ...manifest.limits,
  };
  for (const [limit, need] of Object.entries(needs)) requireLimit(adapter, kernel, limit, need);
}

/** Spreads blocks over x and y, since one dimension of the grid holds no more than 65535; the kernel drops the surplus of the last row. */
export function gridOf(adapter: AdapterReport, kernel: string, blocks: number): { x: number; y: number } {
  const limit = adapter.limits["maxComputeWorkgroupsPerDimension"] ?? 0;
  const x = Math.min(blocks, limit);
  const y = Math.ceil(blocks / x);
  if (y > limit)
    throw new DeviceError(`${kernel}: ${blocks} blocks exceed the square of maxComputeWorkgroupsPerDimension, ${limit}`, splitLaunch);
  return { x, y };
}
