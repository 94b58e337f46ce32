/** What one run times: a case of the table, or a kernel of anybody's file. */
import type { TileKernel } from "../compiler/ir/tile.ts";
import type { Compiled } from "../compiler/pipeline.ts";
import type { Kernel } from "../dsl/index.ts";
import type { KernelName } from "../dsl/kernels/index.ts";
import type { Dsa } from "../dsl/kernels/spec.ts";
import type { ProgramName } from "../dsl/programs/index.ts";
import type { Mode } from "../targets/cuda/runtime/measure.ts";
import { examplesFor } from "../verify/examples.ts";
import type { FileKernel } from "../verify/file.ts";
import { type Anchor, anchorOf } from "./anchors.ts";
import { type BenchCase, labelOf } from "./cases.ts";
import { prepareFile } from "./problems/file.ts";
import { problems } from "./problems/index.ts";
import type { Prepared, Problem, Sizes } from "./problems/problem.ts";
import type { How } from "./timer.ts";

/** What it is called in every report. */
export interface Named {
  /** Of the table, or the kernel's name. */
  readonly problem: string;
  readonly label: string;
  readonly spec: string;
  readonly target: string;
}

export interface Subject {
  readonly named: Named;
  /** The kernels run as this program. */
  readonly program?: ProgramName | undefined;
  /** What WebGPU knows nothing of. */
  readonly mode: Mode;
  /** Kernels that run one after another, each with its texts: of its tiers, and of all other launches last. */
  compile(): Promise<readonly (readonly Compiled[])[]>;
  prepare(tiles: readonly TileKernel[]): Prepared;
  /** A figure of others for this method. */
  anchor(how: How): Anchor | undefined;
}

/** `spec` has the case's own changes. */
export function subjectOfCase(
  of: BenchCase,
  { spec, target, mode }: { readonly spec: Dsa; readonly target: string; readonly mode: Mode },
  compile: (kernel: KernelName, target: string, spec: Dsa) => Promise<readonly Compiled[]>,
): Subject {
  const problem: Problem = problems[of.problem];
  const isUsual = of.data === problem.data[0];
  return {
    named: { problem: of.problem, label: labelOf(of), spec: spec.name, target },
    program: problem.program,
    mode,
    async compile() {
      const compiled: (readonly Compiled[])[] = [];
      for (const kernel of problem.kernels) compiled.push(await compile(kernel, target, spec));
      return compiled;
    },
    prepare: () => problem.prepare(spec, of.sizes, of.data),
    anchor: (how) => (isUsual ? anchorOf({ problem: of.problem, sizes: of.sizes, spec, mode: how }) : undefined),
  };
}

/** A kernel of a file at the sizes that are given. */
export function subjectOfFile(
  { exportName, examples }: Pick<FileKernel, "exportName" | "examples">,
  { dims, spec, target, mode }: { readonly dims: Sizes; readonly spec: string; readonly target: string; readonly mode: Mode },
  compile: () => Promise<readonly Compiled[]>,
): Subject {
  const label = Object.entries(dims).map(([name, value]) => `${name}=${value}`).join(" ");
  return {
    named: { problem: exportName, label, spec, target },
    mode,
    compile: async () => [await compile()],
    prepare: ([tile]) => prepareFile(tile!, examplesFor(tile!, exportName, examples)[0]!, dims),
    anchor: () => undefined,
  };
}

/** Whether `given` has every extent of a kernel that is a dim, and nothing else but its pitches. */
export function takesDims({ args }: Pick<Kernel, "args">, given: Sizes): boolean {
  const all = Object.values(args);
  const extents = all.flatMap((arg) => Object.values(arg.dims)).filter((size) => typeof size === "string");
  const pitches = all.flatMap((arg) => (arg.kind === "tensor" ? Object.values(arg.pitch) : arg.pitch === undefined ? [] : [arg.pitch]));
  return extents.every((name) => given[name] !== undefined) && Object.keys(given).every((name) => [...extents, ...pitches].includes(name));
}
