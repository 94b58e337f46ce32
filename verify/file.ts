/** Anybody's kernel: held to its own eager run. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { listKernels } from "../compiler/front/index.ts";
import { evaluate, type Param } from "../compiler/ir/manifest.ts";
import type { TileKernel } from "../compiler/ir/tile.ts";
import { byteSize, readElement } from "../dsl/dtype.ts";
import type { Kernel, Scheduled, Schedules } from "../dsl/index.ts";
import type { Dsa } from "../dsl/kernels/spec.ts";
import type { Case } from "./checks/check.ts";
import { dimsOf, drawBuffers, examplesFor, fixedShapes, forEachElement, shapesOf, type Example, type ExampleShape } from "./examples.ts";
import type { Buffers, Dims, Executor } from "./executor.ts";
import { checkProperty, type Draw, type Report } from "./property.ts";
import { replayFile } from "./replay.ts";
import { budgetOf, toleranceOf, type Tolerance } from "./tolerance.ts";
import { all, compare, type Verdict } from "./verdict.ts";

export type { Example, InputRange } from "./examples.ts";

/** A kernel of a file, as the running module exports it. */
export interface FileKernel {
  readonly file: string;
  readonly exportName: string;
  readonly kernel: Kernel;
  /** By target. */
  readonly schedules: Readonly<Record<string, Scheduled>>;
  /** The file's `examples`, those of its other kernels among them. */
  readonly examples: readonly Example[];
}

/** Imports a file and makes its kernels; factories get `spec`, and are left out without one. */
export async function kernelsOfFile(path: string, spec?: Dsa): Promise<FileKernel[]> {
  const file = resolve(path);
  const module = (await import(pathToFileURL(importable(file)).href)) as Readonly<Record<string, unknown>>;
  const examples = (module.examples ?? []) as readonly Example[];
  const schedules = (module.schedules ?? {}) as Schedules;
  return listKernels(file).flatMap(({ exportName, factory }): FileKernel[] => {
    if (!factory) return [{ file: path, exportName, kernel: module[exportName] as Kernel, schedules: schedules[exportName] ?? {}, examples }];
    return spec ? [{ file: path, exportName, kernel: (module[exportName] as (spec: Dsa) => Kernel)(spec), schedules: schedules[exportName] ?? {}, examples }] : [];
  });
}

/** What a file says of its kernels' schedules, by export name and target. */
export async function schedulesOfFile(path: string): Promise<Schedules> {
  const file = resolve(path);
  if (!/^export const schedules\b/m.test(readFileSync(file, "utf8"))) return {};
  const module = (await import(pathToFileURL(importable(file)).href)) as { readonly schedules: Schedules };
  return module.schedules;
}

/** An archive for GPU hosts has JavaScript beside each text, and no loader for TypeScript. */
const importable = (file: string): string => (import.meta.url.endsWith(".js") ? file.replace(/\.ts$/, ".js") : file);

export interface VerifyFileOptions extends Draw {
  readonly of: FileKernel;
  /** The same kernel as Tile IR: its params, and what tolerances follow from. */
  readonly tile: TileKernel;
  readonly executor: Executor;
  /** Name of the factory's spec. */
  readonly specName?: string;
  /** Whose text the executor runs. */
  readonly tier?: string;
}

/** Runs the kernel on inputs from its examples, and compares every byte that the eager run wrote, or left alone. */
export async function verifyFile({ of, tile, executor, specName = "", tier, ...draw }: VerifyFileOptions): Promise<Report> {
  const examples = examplesFor(tile, of.exportName, of.examples);
  return checkProperty({
    ...draw,
    kernel: of.kernel.name,
    spec: specName,
    ...(tier !== undefined && { tier }),
    executor,
    fixed: fixedShapes(tile, examples),
    shapes: shapesOf(tile, examples),
    prepare: (shape) => caseOf(of.kernel, tile, examples, shape as ExampleShape),
    replay: (at) => replayFile(of.file, executor.target, { ...at, tier }),
  });
}

function caseOf(kernel: Kernel, tile: TileKernel, examples: readonly Example[], shape: ExampleShape): Case {
  const example = examples[shape.example]!;
  const dims = dimsOf(tile, example, shape);
  const buffers = drawBuffers(tile, example, shape, dims);
  return {
    buffers,
    dims,
    judge(outputs, { arithmetic, tune }) {
      // with the tune numbers of what it is compared with: blocks of other sizes round in other places
      const wanted: Buffers = { ...buffers, ...Object.fromEntries(Object.keys(outputs).map((name) => [name, buffers[name]!.slice()])) };
      kernel.run(wanted, dims, tune);
      const { accumulator, e4m3 } = arithmetic;
      const tolerance = toleranceOf(tile, dims, e4m3 ? 2 ** -e4m3.bits : accumulator.roundoff);
      const written = tile.params.filter((param) => param.access !== "in");
      return all(written.flatMap((param) => compareParam(param, dims, outputs[param.name]!, wanted[param.name]!, tolerance)));
    },
  };
}

/** Compares the elements of every field, and the bytes between them, which nobody may write. */
function compareParam(param: Param, dims: Dims, got: Uint8Array, want: Uint8Array, tolerance: Tolerance): Verdict[] {
  const between = new Uint8Array(got.byteLength).fill(1);
  const verdicts = param.fields.map((field) => {
    const read = (bytes: Uint8Array): Float64Array => {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const values: number[] = [];
      forEachElement(param, field, dims, (offset) => values.push(readElement(field.dtype, view, offset)));
      return Float64Array.from(values);
    };
    forEachElement(param, field, dims, (offset) => between.fill(0, offset, offset + byteSize(field.dtype)));
    const wanted = read(want);
    const axes = Object.fromEntries([...param.axes, ...field.axes].map((a) => [a.axis, evaluate(a.size, dims)]));
    const output = field.name === "" ? param.name : `${param.name}.${field.name}`;
    return compare({ output, axes, got: read(got), want: wanted, budget: budgetOf(field.dtype, wanted, tolerance) });
  });
  const stray = between.findIndex((isBetween, at) => isBetween === 1 && got[at] !== want[at]);
  if (stray >= 0)
    verdicts.push({ worst: Infinity, cells: 0, failure: `${param.name}: byte ${stray} was written, which belongs to no element` });
  return verdicts;
}
