/**
 * Builds the native addon on demand; nobody runs an install script.
 *
 * By g++ and not by node-gyp: the addon is one call of the compiler with headers that are npm packages (`node-api-headers`,
 * `node-addon-api`), while node-gyp wants Python and downloads Node's headers. Node-API makes one binary serve every Node version.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rename, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { DeviceError } from "../../device.ts";

const folder = import.meta.dirname;
const sources = ["addon.cc", "gpu.cc", "libraries.cc", "nvml.cc", "nvrtc.cc", "worker.cc"];
const headers = ["convert.h", "cuda_abi.h", "gpu.h", "handles.h", "nvml.h", "nvrtc.h", "worker.h"];
const flags = [
  ...["-std=c++17", "-O2", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"],
  // Node-API 9 is in every Node from 18.17 on
  ...["-DNAPI_VERSION=9", "-DNODE_ADDON_API_CPP_EXCEPTIONS_ALL"],
  // runs on hosts with an older C++ library than the builder's, beside the one that Node itself uses
  ...["-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL"],
  // device threads may outlive the Node environment that unloads the addon
  "-Wl,-z,nodelete",
];

/**
 * Path of the addon, built first if it is not there. Safe to call from many processes at once.
 * Throws DeviceError on systems other than Linux, without a C++ compiler, and when compilation fails.
 */
export async function buildAddon(into = join(folder, "build")): Promise<string> {
  if (process.platform !== "linux")
    throw new DeviceError(`the CUDA runtime does not run on ${process.platform}`, "use Linux, or the WebGPU runtime");
  const path = join(into, `tokensieve-${await sourceHash()}.node`);
  if (existsSync(path)) return path;

  await mkdir(into, { recursive: true });
  const scratch = await mkdtemp(join(into, "tmp-"));
  try {
    const built = join(scratch, "addon.node");
    await compile(built);
    await rename(built, path); // atomic: another process sees the whole file or none
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return path;
}

/** Names the sources, the flags and the binary interface: what must match for a built addon to be the right one. */
async function sourceHash(): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify([flags, process.platform, process.arch]));
  for (const file of [...headers, ...sources]) hash.update(await readFile(join(folder, file)));
  return hash.digest("hex").slice(0, 16);
}

async function compile(to: string): Promise<void> {
  const compiler = process.env.CXX ?? "g++";
  const require = createRequire(import.meta.url);
  const include = ["node-addon-api/napi.h", "node-api-headers/include/node_api.h"].map((file) => `-I${dirname(require.resolve(file))}`);
  const args = [...flags, ...include, ...sources.map((file) => join(folder, file)), "-ldl", "-o", to];
  try {
    await promisify(execFile)(compiler, args);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT")
      throw new DeviceError(
        `the CUDA runtime needs a C++ compiler once, to build its addon, and "${compiler}" was not found`,
        "install g++ (Debian, Ubuntu: apt install g++), or set CXX to a C++17 compiler",
      );
    const { stderr } = error as { stderr?: string };
    throw new DeviceError(`${compiler} could not build the CUDA addon:\n${stderr ?? String(error)}`, "CXX chooses another C++17 compiler");
  }
}
