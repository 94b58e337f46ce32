/** The commands that repeat one failing case. */

/** `runs` is part of a command because the path counts the cases from the first one on. */
export interface ReplayAt {
  readonly tier?: string | undefined;
  readonly sweep?: boolean;
  readonly seed: number;
  readonly path: string;
  readonly runs: number;
}

export const replayKernel = (kernel: string, specName: string, target: string, at: ReplayAt): string =>
  command(["--kernel", kernel, ...specOptions(specName)], target, at);

export const replayProgram = (program: string, specName: string, target: string, at: ReplayAt): string =>
  command(["--program", program, ...specOptions(specName)], target, at);

/** The name of a spec says how it was made, "v3.2+topK=1000": a preset and settings. */
function specOptions(specName: string): string[] {
  const [preset, ...settings] = specName.split("+");
  return ["--preset", preset ?? "", ...settings.map((s) => `--set ${s}`)];
}

export const replayFile = (file: string, target: string, at: ReplayAt): string => command([file], target, at);

const command = (what: readonly string[], target: string, { tier, sweep, runs, seed, path }: ReplayAt): string =>
  ["npm run verify --", ...what, whereToRun(target), ...(tier === undefined ? [] : [`--tier ${tier}`]), ...(sweep ? ["--sweep"] : []), `--runs ${runs} --seed ${seed} --path ${path}`].join(" ");

/** Generated text is named by its target; everything else is an interpreter. */
const whereToRun = (target: string): string =>
  target === "wgsl" || target.startsWith("cuda:")
    ? `--target ${target}`
    : target.startsWith("loop ")
      ? `--device interp --target ${target.slice("loop ".length)}`
      : "--device interp";
