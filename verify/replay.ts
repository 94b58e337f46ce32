/** The command that repeats one failing case. */

/**
 * The name of a spec says how it was made, "v3.2+topK=1000": a preset and settings. `runs` is part of the command because the path
 * counts the cases from the first one on.
 */
export function replayCommand(kernel: string, specName: string, target: string, at: { readonly seed: number; readonly path: string; readonly runs: number }): string {
  const [preset, ...settings] = specName.split("+");
  const words = ["npm run verify -- --kernel", kernel, "--preset", preset, ...settings.map((s) => `--set ${s}`), ...deviceWords(target)];
  return [...words, `--runs ${at.runs} --seed ${at.seed} --path ${at.path}`].join(" ");
}

/** Generated text is named by its target; everything else is an interpreter. */
const deviceWords = (target: string): readonly string[] => (target === "wgsl" || target.startsWith("cuda:") ? ["--target", target] : ["--device interp"]);
