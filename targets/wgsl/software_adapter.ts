/**
 * SwiftShader, a Vulkan driver that runs on the CPU, out of the npm package `@sparticuz/chromium`.
 * The same archive holds a Vulkan loader, so a machine with nothing but npm packages can run WebGPU.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { DeviceError } from "../device.ts";

const cache = fileURLToPath(new URL("../../.cache/swiftshader/", import.meta.url));
const members = ["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json"];

/** Absolute path of the driver manifest, a JSON file that names the library beside it. Unpacks the archive on first use. */
export const softwareDriver = (): string => join(unpack(), "vk_swiftshader_icd.json");

/**
 * Makes `libvulkan.so.1` resident, which Dawn opens by that name: the system's if there is one, else the one in the archive.
 * A library that is already mapped is found by its name wherever it lies, so neither LD_LIBRARY_PATH nor a restart is needed.
 */
export function loadVulkanLoader(): void {
  if (!mapLibrary("libvulkan.so.1")) mapLibrary(join(unpack(), "libvulkan.so.1"));
}

/** Maps a shared library for the rest of the process. False when the file does not exist. */
function mapLibrary(path: string): boolean {
  const keepMapped = 0x1000; // RTLD_NODELETE: Node closes the handle when it finds no addon in the library
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_LAZY | keepMapped);
  } catch (error) {
    return !String(error).includes("cannot open shared object file");
  }
  return true;
}

/** The folder with the members of the archive. Processes that unpack at once do not disturb each other: the rename decides. */
function unpack(): string {
  const { archive, version } = findArchive();
  const folder = join(cache, version);
  if (existsSync(folder)) return folder;
  mkdirSync(cache, { recursive: true });
  const unfinished = mkdtempSync(join(cache, "unpacking-"));
  try {
    const input = brotliDecompressSync(readFileSync(archive));
    const tar = spawnSync("tar", ["-xo", "-f", "-", "-C", unfinished, ...members], { input });
    if (tar.status !== 0) {
      const cause = tar.error?.message ?? tar.stderr.toString().trim();
      throw new DeviceError(`cannot unpack ${archive}: ${cause}`, `see that \`tar\` is installed and ${cache} is writable`);
    }
    renameSync(unfinished, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return folder;
}

function findArchive(): { archive: string; version: string } {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new DeviceError(
      `there is no embedded software adapter for ${process.platform}-${process.arch}`,
      "use Linux on x64, or a machine with a GPU; `npm run doctor` says why none was found",
    );
  try {
    const chromium = join(dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium")), "../..");
    const { version } = JSON.parse(readFileSync(join(chromium, "package.json"), "utf8")) as { version: string };
    return { archive: join(chromium, "bin/swiftshader.tar.br"), version };
  } catch {
    throw new DeviceError("the package @sparticuz/chromium, which carries the software adapter, is not installed", "run `npm install`");
  }
}
