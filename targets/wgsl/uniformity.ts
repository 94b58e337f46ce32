/**
 * Which values are equal in all threads of a block in a way that WGSL's uniformity analysis can see. Stricter than the truth:
 * registers, shared memory and writable buffers always count as varying.
 */
import { type Expr, type ScalarType, visitExpr } from "../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt } from "../../compiler/ir/loop.ts";
import { allStatements } from "../text.ts";
import { isNarrow } from "./codec.ts";
import { atomicBuffers } from "./memory.ts";

export interface Uniformity {
  isUniform(e: Expr): boolean;
}

export function analyseUniformity(kernel: LoopKernel): Uniformity {
  const readOnly = new Set(kernel.params.filter((p) => p.access === "in").map((p) => p.name));
  const varying = new Set<string>();
  const isUniform = (e: Expr): boolean => {
    let uniform = true;
    visitExpr(e, (x) => {
      if (x.kind === "ThreadIndex" || x.kind === "Reg" || x.kind === "Shared") uniform = false;
      else if (x.kind === "Var") uniform &&= !varying.has(x.name);
      else if (x.kind === "GlobalElement") uniform &&= readOnly.has(x.param);
    });
    return uniform;
  };
  const scan = (body: readonly LoopStmt[], flow: boolean): void => {
    for (const s of body) {
      if (s.kind === "Let" && !isUniform(s.value)) varying.add(s.name);
      if (s.kind === "Variable" && !isUniform(s.init)) varying.add(s.name);
      if (s.kind === "Atomic" && s.old !== undefined) varying.add(s.old);
      if (s.kind === "Assign" && !(flow && isUniform(s.value))) varying.add(s.name);
      if (s.kind === "For") {
        const bounds = isUniform(s.lo) && isUniform(s.hi);
        if (!bounds) varying.add(s.name);
        scan(s.body, flow && bounds);
      }
      if (s.kind === "If") {
        const inner = flow && (isUniform(s.cond) || isBroadcast(s));
        scan(s.then, inner);
        scan(s.otherwise, inner);
      }
    }
  };
  for (let before = -1; before < varying.size;) {
    before = varying.size;
    scan(kernel.body, true);
  }
  return { isUniform };
}

/** Statements that all threads must reach together. */
export const synchronises = (body: readonly LoopStmt[]): boolean => {
  for (const s of allStatements(body)) if (s.kind === "Barrier" || s.kind === "Uniform") return true;
  return false;
};

/** The condition is equal in all threads, and has to be made visibly so because a branch synchronises. */
export const isBroadcast = (s: Extract<LoopStmt, { kind: "If" }>): boolean =>
  s.uniform && (synchronises(s.then) || synchronises(s.otherwise));

/**
 * How a value becomes uniform for Tint: it is visibly so, or an element of workgroup memory is loaded as such, or thread 0 passes it on
 * through a variable of its own.
 */
export function passage(kernel: LoopKernel, uniformity: Uniformity, value: Expr): "visible" | "loaded" | "carried" {
  if (uniformity.isUniform(value)) return "visible";
  if (value.kind !== "Shared" || !uniformity.isUniform(value.index)) return "carried";
  const dtype = kernel.shared.find((b) => b.name === value.buffer)?.dtype;
  return dtype === undefined || isNarrow(dtype) || atomicBuffers(kernel).has(value.buffer) ? "carried" : "loaded";
}

/** The types that thread 0 has to pass on. */
export function carriedTypes(kernel: LoopKernel, uniformity: Uniformity): Set<ScalarType> {
  const types = new Set<ScalarType>();
  for (const s of allStatements(kernel.body)) {
    const value = s.kind === "Uniform" ? s.value : s.kind === "If" && isBroadcast(s) ? s.cond : undefined;
    if (value && passage(kernel, uniformity, value) === "carried") types.add(value.type);
  }
  return types;
}
