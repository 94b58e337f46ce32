/**
 * Barriers and instructions of several threads stand where all threads of the block go together, and branches that are said to be
 * uniform are. A value is uniform unless it comes from the thread index, from registers, or from a variable that may differ.
 */
import { childrenOf, type Expr } from "./expr.ts";
import type { Instruction } from "./instruction.ts";
import type { LoopKernel, LoopStmt } from "./loop.ts";
import type { Fail } from "./verify_loop.ts";

export function verifyUniformity(kernel: LoopKernel, instructions: ReadonlyMap<string, Instruction>, fail: Fail): void {
  /** Declarations of scalars that may differ between threads; grows until a walk adds none. */
  const differs = new Set<LoopStmt>();
  let grown = true;
  const note = (declaration: LoopStmt | undefined, same: boolean): void => {
    if (same || !declaration || differs.has(declaration)) return;
    differs.add(declaration);
    grown = true;
  };
  type Scope = ReadonlyMap<string, LoopStmt>;
  const uniform = (e: Expr, scope: Scope): boolean =>
    e.kind !== "ThreadIndex" && e.kind !== "WarpIndex" && e.kind !== "Reg" && !(e.kind === "Var" && scope.has(e.name) && differs.has(scope.get(e.name)!)) && childrenOf(e).every((x) => uniform(x, scope));

  /** `together`: all threads of the block execute the list. Once nothing more is learnt, `visit` sees every statement. */
  function walk(list: readonly LoopStmt[], together: boolean, outer: Scope, visit: (s: LoopStmt, together: boolean, sameCondition: boolean) => void): void {
    let scope = outer;
    for (const s of list) {
      const same = s.kind === "For" ? uniform(s.lo, scope) && uniform(s.hi, scope) : s.kind === "If" ? uniform(s.cond, scope) : true;
      visit(s, together, same);
      if (s.kind === "Let") note(s, uniform(s.value, scope));
      if (s.kind === "Variable") note(s, uniform(s.init, scope));
      if (s.kind === "Let" || s.kind === "Uniform" || s.kind === "Variable") scope = new Map(scope).set(s.name, s);
      if (s.kind === "Atomic" && s.old !== undefined) {
        note(s, false);
        scope = new Map(scope).set(s.old, s);
      }
      if (s.kind === "Assign") note(scope.get(s.name), together && uniform(s.value, scope));
      if (s.kind === "For") {
        note(s, together && same);
        walk(s.body, together && same, new Map(scope).set(s.name, s), visit);
      }
      if (s.kind === "If") [s.then, s.otherwise].forEach((branch) => walk(branch, together && same, scope, visit));
    }
  }
  while (grown) {
    grown = false;
    walk(kernel.body, true, new Map(), () => {});
  }
  walk(kernel.body, true, new Map(), (s, together, same) => {
    const joint = s.kind === "Barrier" || s.kind === "Uniform" || (s.kind === "Call" && instructions.get(s.instruction)?.scope !== "thread");
    if (joint && !together) fail(s, "some threads of the block may not come here");
    if (s.kind === "If" && s.uniform && !(together && same)) fail(s, "its condition may differ between threads");
  });
}
