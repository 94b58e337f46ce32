import { childrenOf, type Expr } from "../ir/expr.ts";
import { bodiesOf, expressionsOf, type LoopKernel, type LoopStmt } from "../ir/loop.ts";

/**
 * Removes named scalars that nothing reads: loop results nobody asks for, coordinates of work that had none. Reads of shared memory
 * stay: they are what keeps the writes before and after them apart.
 */
export function dropUnused(kernel: LoopKernel): LoopKernel {
  for (let body = kernel.body; ; ) {
    const used = new Set<string>();
    const expr = (e: Expr | undefined): void => {
      if (!e) return;
      if (e.kind === "Var") used.add(e.name);
      childrenOf(e).forEach(expr);
    };
    const visit = (s: LoopStmt): void => {
      for (const e of expressionsOf(s)) expr(e);
      bodiesOf(s).forEach((b) => b.forEach(visit));
    };
    body.forEach(visit);
    let dropped = false;
    const sweep = (list: readonly LoopStmt[]): LoopStmt[] =>
      list.flatMap((s): LoopStmt[] => {
        if ((s.kind === "Let" || s.kind === "Uniform") && !used.has(s.name) && !readsShared(s.value)) {
          dropped = true;
          return [];
        }
        if (s.kind === "For" || s.kind === "While") return [{ ...s, body: sweep(s.body) }];
        if (s.kind === "Roles") return [{ ...s, roles: s.roles.map((r) => ({ ...r, body: sweep(r.body) })) }];
        if (s.kind === "If") return [{ ...s, then: sweep(s.then), otherwise: sweep(s.otherwise) }];
        return [s];
      });
    body = sweep(body);
    if (!dropped) return { ...kernel, body };
  }
}

const readsShared = (e: Expr): boolean => e.kind === "Shared" || childrenOf(e).some(readsShared);
