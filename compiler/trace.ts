/** DSA_TRACE=passes: the program after every pass, as text files and as one page of differences. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { sourceText } from "./front/index.ts";
import { root } from "./front/read.ts";
import { tracePage } from "./trace_page.ts";

export interface Trace {
  /** Notes the program after a pass. The page is written anew each time, so that it is complete when a later pass fails. */
  write(pass: string, text: string): void;
}

export const traceFolder = resolve(root, "generated/.trace");

/**
 * A trace in `<folder>/<kernel>/<target>/`: NN-<pass>.txt in order and index.html. What an earlier compilation left there is removed.
 * Undefined where the environment does not ask for traces. A RangeError if it asks for something else.
 */
export function openTrace(kernel: string, target: string, folder = traceFolder, wish = process.env["DSA_TRACE"]): Trace | undefined {
  if (wish === undefined || wish === "") return undefined;
  if (wish !== "passes") throw new RangeError(`DSA_TRACE="${wish}" asks for a trace that does not exist. Set DSA_TRACE=passes for the program after each pass, or unset it.`);
  const home = join(folder, kernel, target.replace(":", "-"));
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  const steps: { pass: string; text: string }[] = [];
  return {
    write(pass, text) {
      writeFileSync(join(home, `${String(steps.length).padStart(2, "0")}-${pass}.txt`), text);
      steps.push({ pass, text });
      writeFileSync(join(home, "index.html"), tracePage(`${kernel} for ${target}`, steps, sourceText));
    },
  };
}
