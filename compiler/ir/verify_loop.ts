import type { Target } from "../target.ts";
import type { LoopKernel } from "./loop.ts";
import { VerifyError } from "./verify_error.ts";

/** Throws a VerifyError that names the pass if the program breaks a rule. */
export function verifyLoop(kernel: LoopKernel, target: Target, pass: string): void {
  if (kernel.sharedBytes > target.machine.maxSharedBytes) throw new VerifyError(pass, kernel.name, `${kernel.sharedBytes} bytes of shared memory`);
}
