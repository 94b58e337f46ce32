/** What a kernel does to memory that changes how WGSL declares or orders it. */
import { visitExpr } from "../../compiler/ir/expr.ts";
import { expressionsOf, type LoopKernel } from "../../compiler/ir/loop.ts";
import { allStatements } from "../text.ts";

/** Shared buffers that are added to atomically: arrays of atomics. */
export const atomicBuffers = (kernel: LoopKernel): Set<string> =>
  new Set([...allStatements(kernel.body)].flatMap((s) => (s.kind === "Atomic" ? [s.buffer] : [])));

/** Some thread may read from a buffer what another thread wrote to it: barriers must order device memory too. */
export function readsWritten(kernel: LoopKernel): boolean {
  const written = new Set(kernel.params.filter((p) => p.access !== "in").map((p) => p.name));
  let found = false;
  for (const s of allStatements(kernel.body)) {
    if (s.kind === "LoadGlobal") found ||= written.has(s.param);
    for (const e of expressionsOf(s)) if (e) visitExpr(e, (x) => void (found ||= x.kind === "GlobalElement" && written.has(x.param)));
  }
  return found;
}
