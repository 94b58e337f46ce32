/** What the compiler needs from a target: its machine, its instruction records, its schedules and its text. */
import type { AlgebraPass, Bounds, RoleSchedule, Schedule, Scheduled, Tier } from "../dsl/schedule.ts";
import type { Instruction } from "./ir/instruction.ts";
import type { LoopKernel } from "./ir/loop.ts";
import type { Machine } from "./ir/plan.ts";
import type { Loc } from "./ir/tile.ts";

export type { AlgebraPass, Bounds, RoleSchedule, Schedule, Scheduled, Tier };

export interface EmitOptions {
  readonly header: readonly string[];
  sourceLine(loc: Loc): string;
}

export interface Target {
  /** "wgsl", "cuda:sm_80", … */
  readonly name: string;
  readonly machine: Machine;
  readonly instructions: ReadonlyMap<string, Instruction>;
  /** Name of the generated file. */
  readonly file: string;
  /** Schedule of a kernel by name, or its schedules by tier; any kernel without one gets the defaults. */
  scheduleOf(kernel: string, spec: unknown): Scheduled;
  emit(kernel: LoopKernel, options: EmitOptions): string;
  /** Name of the entry point in the text. */
  entryOf(kernel: LoopKernel): string;
  /** Features and limits that the launch must find, for the manifest. */
  needs(kernel: LoopKernel): { readonly features: readonly string[]; readonly limits: Readonly<Record<string, number>> };
}

export const DEFAULT_THREADS = 128;
