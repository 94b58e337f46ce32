import type { Machine, Plan } from "./plan.ts";
import { VerifyError } from "./verify_error.ts";

/** Throws a VerifyError that names the pass if the plan breaks a rule. */
export function verifyPlan(plan: Plan, machine: Machine, pass: string): void {
  const { threads } = plan;
  if (!Number.isInteger(Math.log2(threads)) || threads > machine.maxThreads) throw new VerifyError(pass, plan.kernel.name, `${threads} threads`);
}
