/** Host expressions for people: the formula, and its value where all sizes in it are known. */
import { evaluate, type HostExpr } from "../ir/manifest.ts";
import { printHost } from "../ir/print_tile.ts";
import type { Dims } from "./options.ts";

/** "4096 = Q · 4", or the formula alone. */
export function valueOf(e: HostExpr, dims: Dims): string {
  const value = tryEvaluate(e, dims);
  return value === undefined || typeof e === "number" ? printHost(e) : `${value} = ${printHost(e)}`;
}

export function tryEvaluate(e: HostExpr, dims: Dims): number | undefined {
  try {
    return evaluate(e, dims);
  } catch {
    return undefined; // a size that was not given
  }
}
