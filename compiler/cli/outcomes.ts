/** Telling what came of tasks, to people and to machines. */
import { writeFileSync } from "node:fs";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { Report } from "../../verify/verify.ts";
import { Failure } from "./failure.ts";
import { printTable } from "./table.ts";
import type { Outcome, Task } from "./tasks.ts";

/** The real specs and how those that ran differ from them. */
export function printSpecs(specs: readonly Dsa[], tasks: readonly Task[]): void {
  for (const { name, indexerHeads, indexerDim, indexDtype, score, topK, heads, dV, dRope } of specs) {
    const indexer = `${indexerHeads} index heads of ${indexerDim} in ${indexDtype}, score ${score.name}, top-k ${topK}`;
    console.log(`${name} has ${indexer}, ${heads} heads of ${dV} + ${dRope} columns.`);
  }
  const kernels = new Map<string, Set<string>>(); // by what was changed for them
  for (const { kernel, runner, changes } of tasks) {
    for (const change of changes) {
      const text = `${change}, on ${runner.device}`;
      kernels.set(text, (kernels.get(text) ?? new Set()).add(kernel));
    }
  }
  console.log(kernels.size === 0 ? "It ran at that size." : "It ran at that size, except:");
  for (const [change, names] of kernels) console.log(`  ${[...names].join(", ")}: ${change}`);
}

export function printOutcomes(outcomes: readonly Outcome[]): void {
  printTable(
    ["kernel", "spec", "target", "device", "cases", "worst error / budget", "launches"],
    outcomes.map((o) => [nameOf(o), o.spec, o.target, o.device, ...("refused" in o ? ["–", "–", "–"] : figures(o))]),
  );
  for (const o of outcomes.filter((o) => !passed(o))) console.log(`\n${nameOf(o)} on ${o.target} FAILED: ${reasonOf(o)}`);
}

/** "topk.wave": a kernel, or one of its tiers. */
export const nameOf = ({ kernel, tier }: Pick<Outcome, "kernel" | "tier">): string => (tier === undefined ? kernel : `${kernel}.${tier}`);

function figures({ cases, worst, launches, launchesEqual, failed }: Report): string[] {
  const repeated = launches === undefined || failed ? "–" : `${launches} ${launchesEqual ? "equal" : "DIFFER"}`;
  return [`${cases}`, worst.toPrecision(2), repeated];
}

function reasonOf(outcome: Outcome): string {
  if ("refused" in outcome) return outcome.refused;
  const { failed, launches } = outcome;
  if (!failed) return `${launches} launches of one case left different bits`;
  return `${failed.message}\n  smallest case: ${JSON.stringify(failed.shape)}\n  replay: ${failed.replay}`;
}

/** `file` is "-" for stdout. */
export function writeJson(file: string, value: unknown): void {
  const text = `${JSON.stringify(value, undefined, 2)}\n`;
  if (file === "-") process.stdout.write(text);
  else writeFileSync(file, text);
}

export const passed = (outcome: Outcome): boolean =>
  !("refused" in outcome) && outcome.failed === undefined && outcome.launchesEqual !== false;

/** Throws a Failure unless all passed. */
export function requirePassed(outcomes: readonly Outcome[]): void {
  const wrong = outcomes.filter((outcome) => !passed(outcome));
  const names = wrong.map((o) => `${nameOf(o)} on ${o.target}`).join(", ");
  if (wrong.length > 0) throw new Failure(`${wrong.length} of ${outcomes.length} kernels failed: ${names}`);
}
