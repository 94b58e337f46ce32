/** The `webgpu` package (Dawn for Node): loading it, and waiting for it. */
import { DeviceError } from "../device.ts";

export type Dawn = typeof import("webgpu");

/** Imports Dawn. A DeviceError says why when this machine has no build of it. */
export async function loadDawn(): Promise<Dawn> {
  try {
    return await import("webgpu");
  } catch (cause) {
    throw new DeviceError(
      `the webgpu package does not load on ${process.platform}-${process.arch}: ${cause instanceof Error ? cause.message : String(cause)}`,
      "run `npm install`; the package has builds for Linux and Windows (x64, arm64) and macOS, and needs glibc on Linux",
    );
  }
}

/**
 * Starts an asynchronous Dawn call such that waiting for it leaves the CPU alone.
 *
 * While a call is pending, Dawn polls from `setImmediate`, which keeps one core busy: a software adapter on two cores
 * then loses half of its speed. During Dawn's own synchronous code, and only there, `setImmediate` means a 1 ms timer.
 */
export function paced<T>(call: () => T): T {
  const native = globalThis.setImmediate;
  const slow = (poll: () => void): NodeJS.Timeout => setTimeout(() => paced(poll), 1);
  globalThis.setImmediate = slow as unknown as typeof setImmediate;
  try {
    return call();
  } finally {
    globalThis.setImmediate = native;
  }
}
