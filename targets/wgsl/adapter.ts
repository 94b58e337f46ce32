/** Finds a WebGPU adapter, real or embedded, and opens a device with all that the adapter offers. */
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { DeviceError } from "../device.ts";
import { type Dawn, loadDawn, paced } from "./dawn.ts";
import { loadVulkanLoader, softwareDriver } from "./software_adapter.ts";

export type AdapterKind = "hardware" | "software";

export interface AdapterReport {
  readonly kind: AdapterKind;
  /** False for adapters that emulate a GPU on the CPU. */
  readonly isGpu: boolean;
  readonly vendor: string;
  readonly architecture: string;
  /** Lower case with dashes, e.g. "swiftshader-device-subzero"; names the adapter in messages. */
  readonly device: string;
  /** Driver name and version. */
  readonly description: string;
  /** Invocations per subgroup, least and greatest, 0 when not told; the driver picks per pipeline. */
  readonly subgroupSizes: readonly [min: number, max: number];
  readonly features: readonly string[];
  /** By their WebGPU names; bytes and counts. */
  readonly limits: Readonly<Record<string, number>>;
}

export interface OpenedDevice {
  /** Dawn dies with this object, so it must live as long as the device. */
  readonly instance: GPU;
  readonly device: GPUDevice;
  readonly report: AdapterReport;
}

/** What `doctor` prints: the adapters that work, and for each kind that does not, why and what would help. */
export interface WebGpuStatus {
  readonly adapters: readonly AdapterReport[];
  readonly missing: readonly { readonly kind: AdapterKind; readonly reason: string; readonly hint: string }[];
}

const wantedFeatures = ["shader-f16", "subgroups", "timestamp-query"] as const;

/**
 * Opens a device with the adapter's own limits and, where offered, f16, subgroups and timestamps.
 * "auto" takes a GPU if there is one, otherwise the embedded software adapter; "hardware" and "software" take that or throw a DeviceError
 * that says why there is none.
 */
export async function openAdapter(choice: AdapterKind | "auto"): Promise<OpenedDevice> {
  const dawn = await loadDawn();
  const { instance, adapter, report } = choice === "auto" ? await findAny(dawn) : await find[choice](dawn);
  const requiredFeatures = wantedFeatures.filter((f) => adapter.features.has(f));
  const requiredLimits = { ...report.limits };
  const device = await paced(() => adapter.requestDevice({ label: report.device, requiredFeatures, requiredLimits }));
  return { instance, device, report: { ...report, features: [...device.features] } };
}

/** Looks at every adapter without opening one. Prints nothing of its own and never throws. */
export async function webGpuStatus(): Promise<WebGpuStatus> {
  const adapters: AdapterReport[] = [];
  const missing: WebGpuStatus["missing"][number][] = [];
  for (const kind of ["hardware", "software"] as const) {
    try {
      adapters.push((await find[kind](await loadDawn())).report);
    } catch (error) {
      const reason = error instanceof Error ? error.message.split("\n  try: ")[0]! : String(error);
      missing.push({ kind, reason, hint: error instanceof DeviceError ? error.hint : "run `npm install`" });
    }
  }
  return { adapters, missing };
}

interface Found {
  readonly instance: GPU;
  readonly adapter: GPUAdapter;
  readonly report: AdapterReport;
}

const find: Record<AdapterKind, (dawn: Dawn) => Promise<Found>> = { hardware: findHardware, software: findSoftware };

async function findAny(dawn: Dawn): Promise<Found> {
  return findHardware(dawn).catch(() => findSoftware(dawn));
}

async function findHardware(dawn: Dawn): Promise<Found> {
  const drivers = process.platform === "linux" ? installedDrivers() : undefined;
  if (drivers) loadVulkanLoader();
  const found = await ask(dawn, "hardware", drivers);
  if (found?.report.isGpu) return found;
  const reason = found ? `the only adapter is ${found.report.description}, which runs on the CPU` : "Dawn accepted no driver";
  throw new DeviceError(
    `no GPU for WebGPU: ${reason}${drivers ? ` (Vulkan drivers: ${drivers.join(", ")})` : ""}`,
    "update the GPU driver, and in a container see that the GPU is passed in; adapter \"software\" needs no driver",
  );
}

async function findSoftware(dawn: Dawn): Promise<Found> {
  const driver = softwareDriver();
  loadVulkanLoader();
  const found = await ask(dawn, "software", [driver]);
  if (found) return found;
  throw new DeviceError(
    `Dawn does not accept the embedded software driver ${driver}`,
    "delete .cache/swiftshader, which is unpacked again on the next run; the driver also needs leave to map executable memory",
  );
}

/** The first adapter of the given Vulkan drivers, or of the platform's own API. Undefined when Dawn accepts none. */
async function ask(dawn: Dawn, kind: AdapterKind, drivers: readonly string[] | undefined): Promise<Found | undefined> {
  const instance = dawn.create(["disable-dawn-features=timestamp_quantization"]);
  const request = () => paced(() => instance.requestAdapter({ powerPreference: "high-performance" }));
  const adapter = await (drivers ? withDrivers(drivers, request) : request());
  return adapter ? { instance, adapter, report: describe(kind, adapter) } : undefined;
}

/** Runs `request` with only these drivers visible. Dawn reads the environment before `requestAdapter` returns. */
function withDrivers<T>(drivers: readonly string[], request: () => T): T {
  const names = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] as const; // loaders before 1.3.207 know only the second
  const saved = names.map((name) => process.env[name]);
  for (const name of names) process.env[name] = drivers.join(delimiter);
  try {
    return request();
  } finally {
    names.forEach((name, i) => {
      if (saved[i] === undefined) delete process.env[name];
      else process.env[name] = saved[i];
    });
  }
}

/**
 * Manifests of the Vulkan drivers on a Linux machine: those that VK_DRIVER_FILES or VK_ICD_FILENAMES name, else what lies where the
 * Vulkan loader looks and where NVIDIA's container runtime mounts its driver. A DeviceError when there is none, since Dawn would
 * print warnings.
 */
function installedDrivers(): string[] {
  const named = process.env["VK_DRIVER_FILES"] || process.env["VK_ICD_FILENAMES"];
  const places = named ? named.split(delimiter) : manifestFolders();
  const drivers = named ? places.filter((file) => existsSync(file)) : places.flatMap((folder) => listManifests(folder));
  if (drivers.length > 0) return drivers;
  throw new DeviceError(
    `no GPU for WebGPU: no Vulkan driver is installed (looked at ${places.join(", ")})`,
    "install the GPU's Vulkan driver, and in an NVIDIA container set NVIDIA_DRIVER_CAPABILITIES=all; adapter \"software\" needs no driver",
  );
}

function manifestFolders(): string[] {
  const { XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_CONFIG_DIRS, XDG_DATA_DIRS } = process.env;
  const roots = [
    XDG_CONFIG_HOME || join(homedir(), ".config"),
    XDG_DATA_HOME || join(homedir(), ".local/share"),
    ...(XDG_CONFIG_DIRS || "/etc/xdg").split(delimiter),
    "/etc",
    ...(XDG_DATA_DIRS || "/usr/local/share:/usr/share").split(delimiter),
    "/usr/local/nvidia/share",
  ];
  return roots.map((root) => join(root, "vulkan/icd.d"));
}

function listManifests(folder: string): string[] {
  try {
    const files = readdirSync(folder).filter((file) => file.endsWith(".json"));
    return files.sort().map((file) => join(folder, file));
  } catch {
    return [];
  }
}

function describe(kind: AdapterKind, adapter: GPUAdapter): AdapterReport {
  const { vendor, architecture, device, description, isFallbackAdapter, subgroupMinSize = 0, subgroupMaxSize = 0 } = adapter.info;
  return {
    kind,
    isGpu: !isFallbackAdapter,
    vendor,
    architecture,
    device: device.replace(/-+$/, ""),
    description,
    subgroupSizes: [subgroupMinSize, subgroupMaxSize],
    features: [...adapter.features],
    limits: limitsOf(adapter.limits),
  };
}

function limitsOf(supported: GPUSupportedLimits): Record<string, number> {
  const limits: Record<string, number> = {};
  // for…in, since they are getters of the prototype
  for (const name in supported) limits[name] = (supported as unknown as Record<string, number>)[name]!;
  return limits;
}
