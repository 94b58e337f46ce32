/** What a law is. */
import type { KernelName } from "../../dsl/kernels/index.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { Executor } from "../executor.ts";
import type { Verdict } from "../verdict.ts";

/** Compiles, or finds, the kernel of a spec. */
export type ExecutorOf = (kernel: KernelName, spec: Dsa) => Promise<Executor>;

export interface Law {
  /** What holds, as a sentence. */
  readonly name: string;
  /** Kernels that it runs. */
  readonly kernels: readonly KernelName[];
  /** Rejects with an Error that names the worst cell that breaks it. */
  holds(spec: Dsa, executorOf: ExecutorOf, seed: number): Promise<void>;
}

export function requireVerdict({ failure }: Verdict): void {
  if (failure !== undefined) throw new Error(failure);
}
