/** Options that several commands share; each value is checked while the command line is parsed. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { kernels, type KernelName } from "../../dsl/kernels/index.ts";
import { type ProgramName, programs } from "../../dsl/programs/index.ts";
import { preset, presets } from "../../dsl/kernels/presets.ts";
import { withSettings } from "../../dsl/kernels/settings.ts";
import type { Dsa } from "../../dsl/kernels/spec.ts";
import { didYouMean, quoteAll } from "../../dsl/names.ts";
import { targetNamed } from "./targets.ts";

export interface SpecOptions {
  readonly preset?: readonly string[];
  readonly set?: Readonly<Record<string, string>>;
}

/** `--preset` and `--set`, which choose specs. */
export const withSpecs = (command: Command): Command =>
  command
    .option("--preset <name>", `a published spec, repeatable: ${Object.keys(presets).join(", ")}`, checked(addPreset))
    .option("--set <key=value>", "change one field of the spec, repeatable, for example topK=1000", checked(addSetting));

export const withTargets = (command: Command, fallback?: readonly string[]): Command =>
  command.addOption(
    new Option("--target <names>", "comma-separated, for example cuda:sm_90a,wgsl")
      .argParser(checked(parseTargets))
      .default(fallback, fallback?.join(",")),
  );

export const withKernels = (command: Command): Command =>
  command
    .option("--kernel <name>", "only this kernel, repeatable", checked(addKernel))
    .option("--program <name>", `only this program of kernels, repeatable: ${Object.keys(programs).join(", ")}`, checked(addProgram));

export interface DrawOptions {
  readonly runs?: number;
  readonly seed?: number;
  readonly path?: string;
}

/** `--runs` and `--seed`, which choose cases. */
export const withDraw = (command: Command): Command =>
  command
    .option("--runs <n>", "random cases of each kernel", checked(wholeNumber))
    .option("--seed <n>", "seed of the cases", checked(wholeNumber));

export const drawOf = ({ runs, seed, path }: DrawOptions): DrawOptions => ({
  ...(runs !== undefined && { runs }),
  ...(seed !== undefined && { seed }),
  ...(path !== undefined && { path }),
});

/** The presets that were named, or `fallback`, with the settings. */
export function specsOf({ preset: names, set }: SpecOptions, fallback: readonly string[] = Object.keys(presets)): Dsa[] {
  const specs = (names ?? fallback).map(preset);
  return set ? specs.map((spec) => withSettings(spec, set)) : specs;
}

/** A name of a kernel in `dsl/kernels`; an unknown one is a RangeError. */
export function kernelName(name: string): KernelName {
  const names = Object.keys(kernels);
  if (!names.includes(name))
    throw new RangeError(`no kernel is called "${name}".${didYouMean(name, names)} The kernels are ${quoteAll(names)}.`);
  return name as KernelName;
}

/** A name of a program in `dsl/programs`; an unknown one is a RangeError. */
export function programName(name: string): ProgramName {
  const names = Object.keys(programs);
  if (!names.includes(name)) throw new RangeError(`no program is called "${name}".${didYouMean(name, names)} The programs are ${quoteAll(names)}.`);
  return name as ProgramName;
}

export function targetName(name: string): string {
  targetNamed(name);
  return name;
}

export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) throw new RangeError(`"${text}" is not a whole number.`);
  return Number(text);
}

export type Dims = Readonly<Record<string, number>>;

/** Parses one more "name=size". */
export function addDim(text: string, before: Dims = {}): Dims {
  const [, name, size] = /^(\w+)=(.*)$/.exec(text) ?? [];
  if (name === undefined || size === undefined) throw new RangeError("It must read name=size.");
  return { ...before, [name]: wholeNumber(size) };
}

/** Turns the RangeError of a parser into commander's, which names the option. */
export const checked =
  <T>(parse: (text: string, previous?: T) => T) =>
  (text: string, previous?: T): T => {
    try {
      return parse(text, previous);
    } catch (error) {
      if (error instanceof RangeError) throw new InvalidArgumentError(error.message);
      throw error;
    }
  };

const addKernel = (name: string, before: readonly KernelName[] = []): readonly KernelName[] => [...before, kernelName(name)];

const addProgram = (name: string, before: readonly ProgramName[] = []): readonly ProgramName[] => [...before, programName(name)];

function addPreset(name: string, before: readonly string[] = []): readonly string[] {
  preset(name);
  return [...before, name];
}

function addSetting(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const [, key, value] = /^([^=]+)=(.*)$/.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new RangeError("It must read key=value.");
  withSettings(preset("v3.2"), { [key]: value });
  return { ...before, [key]: value };
}

const parseTargets = (text: string): readonly string[] => text.split(",").map((name) => targetName(name.trim()));
