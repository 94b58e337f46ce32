/** Kernels with several schedules: each tier of launches gets a text of its own. */
import { quoteAll } from "../dsl/names.ts";
import { type CompileError, diagnostic } from "./diagnostics.ts";
import type { Manifest } from "./ir/manifest.ts";
import type { TileKernel } from "./ir/tile.ts";
import type { Bounds, Schedule, Scheduled, Tier } from "./target.ts";

/** A schedule and the launches that it is for: those of a tier, or all that no tier takes. */
export type Planned = Partial<Tier> & { readonly schedule: Schedule };

/** What a manifest says of the launches that a text is for. */
export type Launches = Pick<Manifest, "tier" | "tiers">;

/** The schedules of a kernel in the order in which a launch asks them. A list that leaves a launch without an answer is E-SCHEDULE-03. */
export function tiersOf(scheduled: Scheduled, kernel: string, target: string): readonly Planned[] {
  if (!Array.isArray(scheduled)) return [{ schedule: scheduled as Schedule }];
  const tiers: readonly Planned[] = scheduled;
  const refuse = (reason: string, instead: string): CompileError => diagnostic("E-SCHEDULE-03", undefined, { kernel, target, reason, instead });
  const rest = tiers.at(-1);
  if (!rest || rest.when || rest.name !== undefined)
    throw refuse("no schedule is for the launches that no tier takes", "end the list with { schedule: … }, without name and when");
  const names = new Set<string>();
  for (const { name, when } of tiers.slice(0, -1)) {
    if (name === undefined || !/^[a-z][a-z0-9_]*$/i.test(name)) throw refuse(`a tier is called ${JSON.stringify(name)}`, "give every tier but the last a name of letters and digits: files are called so");
    if (names.has(name)) throw refuse(`two tiers are called "${name}"`, "give one another name");
    if (!when || Object.keys(when).length === 0) throw refuse(`tier "${name}" takes every launch, so those behind it get none`, 'give it bounds, for example when: { Q: { atMost: 132 } }');
    names.add(name);
  }
  return tiers;
}

/** The schedule of a tier by name, or without one that for all other launches, and what its manifest says. An unknown name is a RangeError. */
export function tierNamed(tiers: readonly Planned[], name: string | undefined): { readonly schedule: Schedule; readonly launches: Launches } {
  const found = tiers.find((tier) => tier.name === name);
  const own = tiers.flatMap(({ name: other, when }): Tier[] => (other !== undefined && when ? [{ name: other, when }] : []));
  if (!found) throw new RangeError(`no tier is called "${name}"; ${own.length > 0 ? `there are ${quoteAll(own.map((tier) => tier.name))}` : "the kernel has none"}.`);
  const { schedule, when } = found;
  if (name !== undefined && when) return { schedule, launches: { tier: { name, when } } };
  return { schedule, launches: own.length > 0 ? { tiers: own } : {} };
}

/** Throws E-SCHEDULE-03 when bounds are not those of dims of the kernel. */
export function checkBounds(kernel: TileKernel, { tier, tiers = tier ? [tier] : [] }: Launches, target: string): void {
  const known = kernel.dims.map((dim) => dim.name);
  for (const { name, when } of tiers) {
    const wrong = Object.keys(when).find((dim) => !known.includes(dim));
    if (wrong === undefined) continue;
    const span = { ...kernel.loc, length: kernel.name.length };
    throw diagnostic("E-SCHEDULE-03", span, { kernel: kernel.name, target, reason: `tier "${name}" has bounds of "${wrong}", which is no dim of the kernel`, instead: `its dims are ${quoteAll(known)}` });
  }
}

/** "Q <= 132 and T >= 32768" */
export const printBounds = (when: Bounds): string =>
  Object.entries(when)
    .flatMap(([dim, { atLeast, atMost }]) => [...(atLeast === undefined ? [] : [`${dim} >= ${atLeast}`]), ...(atMost === undefined ? [] : [`${dim} <= ${atMost}`])])
    .join(" and ");
