import { fromBytes } from "../../dsl/dtype.ts";
import type { Kernel } from "../../dsl/index.ts";
import { kernels } from "../../dsl/kernels/index.ts";
import type { Buffers } from "../../verify/executor.ts";
import type { Subject } from "./specs.ts";

/** Outputs as numbers: JavaScript does not keep the bits of a NaN. */
export function numbersOf({ kernel, spec }: Subject, outputs: Buffers): Readonly<Record<string, Float64Array>> {
  const { args } = kernels[kernel](spec) as Kernel;
  const read = (name: string): Float64Array => {
    const arg = args[name]!;
    return arg.kind === "tensor" ? fromBytes(arg.dtype, outputs[name]!) : Float64Array.from(outputs[name]!);
  };
  return Object.fromEntries(Object.keys(outputs).map((name) => [name, read(name)]));
}
