/** Faults of the driver, told with a cause and with what to try. */
import { DeviceError } from "../../device.ts";
import type { NativeFault } from "./native.ts";

export const outOfMemoryHint = "free buffers, or lower the context or the batch; nvidia-smi shows who holds the device's memory";
export const lostHint =
  "start the process again, this one cannot use the device any more; compute-sanitizer, or CUDA_LAUNCH_BLOCKING=1 in the environment, " +
  "finds the launch";
const hints: Readonly<Record<string, string>> = {
  LIBRARY_NOT_FOUND:
    "install the NVIDIA driver (nvidia-smi shows whether it runs), start a container with --gpus all, " +
    "or set TOKENSIEVE_LIBCUDA to the library's path",
  CUDA_ERROR_OUT_OF_MEMORY: outOfMemoryHint,
  CUDA_ERROR_NO_DEVICE: "check nvidia-smi, the variable CUDA_VISIBLE_DEVICES and, in a container, --gpus all",
  CUDA_ERROR_INVALID_DEVICE: "pass an ordinal below the number of devices; CUDA_VISIBLE_DEVICES hides some",
  CUDA_ERROR_UNKNOWN: "see whether nvidia-smi works; if it does not, restart the machine",
  CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: "restart the machine: the driver's library and its kernel module differ in version",
  CUDA_ERROR_UNSUPPORTED_PTX_VERSION: "update the driver, or install an NVRTC of the driver's CUDA version",
  CUDA_ERROR_NOT_FOUND: "the manifest and the text belong to different kernels: compile both anew",
};

/** Errors after which the driver refuses every further call in the context. */
const lossCodes: ReadonlySet<string> = new Set([
  "CUDA_ERROR_DEVICE_UNAVAILABLE",
  "CUDA_ERROR_ECC_UNCORRECTABLE",
  "CUDA_ERROR_NVLINK_UNCORRECTABLE",
  "CUDA_ERROR_CONTAINED",
  "CUDA_ERROR_ILLEGAL_ADDRESS",
  "CUDA_ERROR_LAUNCH_TIMEOUT",
  "CUDA_ERROR_CONTEXT_IS_DESTROYED",
  "CUDA_ERROR_ASSERT",
  "CUDA_ERROR_HARDWARE_STACK_ERROR",
  "CUDA_ERROR_ILLEGAL_INSTRUCTION",
  "CUDA_ERROR_MISALIGNED_ADDRESS",
  "CUDA_ERROR_INVALID_ADDRESS_SPACE",
  "CUDA_ERROR_INVALID_PC",
  "CUDA_ERROR_LAUNCH_FAILED",
  "CUDA_ERROR_EXTERNAL_DEVICE",
  "CUDA_ERROR_UNKNOWN",
]);

/** True for a fault after which the device is of no more use. */
export const isLoss = (error: unknown): error is NativeFault => isFault(error) && lossCodes.has(error.code);

/** The one full report of a loss; asynchronous errors name no kernel, so it names those that ran since the last wait. */
export const lossReport = ({ message, kernels }: NativeFault): DeviceError =>
  new DeviceError(`the device is lost${suspects(kernels)}: ${message}`, lostHint);

/** Any other fault of the addon as a DeviceError; what is no fault comes back as it is. */
export function describe(error: unknown): unknown {
  if (!isFault(error)) return error;
  const { code, message } = error;
  if (code === "LIBRARY_NOT_FOUND") return new DeviceError(`no NVIDIA driver: ${message}`, hints[code]!);
  return new DeviceError(message, hints[code] ?? "npm run doctor shows the driver and the device");
}

/** True for what the addon rejects with. */
const isFault = (error: unknown): error is NativeFault => error instanceof Error && "code" in error && "kernels" in error;

function suspects(kernels: readonly string[]): string {
  if (kernels.length === 0) return "";
  if (kernels.length === 1) return ` in kernel ${kernels[0]}`;
  return ` in one of the kernels ${kernels.join(", ")} (launched since the last sync or read)`;
}
