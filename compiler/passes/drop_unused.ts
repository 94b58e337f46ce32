import { childrenOf, type Expr } from "../ir/expr.ts";
import { expressionsOf, type LoopKernel, type LoopStmt } from "../ir/loop.ts";

/**
 * Removes named scalars that nothing reads where they are visible: loop results nobody asks for, coordinates of work that had none.
 * Reads of shared memory stay: they are what keeps the writes before and after them apart.
 */
export const dropUnused = (kernel: LoopKernel): LoopKernel => ({ ...kernel, body: sweep(kernel.body).kept });

/** From the last statement to the first, so that what stays tells what it reads of those before it. `read`: names that are left for the outside. */
function sweep(list: readonly LoopStmt[]): { readonly kept: readonly LoopStmt[]; readonly read: ReadonlySet<string> } {
  const kept: LoopStmt[] = [];
  const read = new Set<string>();
  const inner = (body: readonly LoopStmt[]): readonly LoopStmt[] => {
    const swept = sweep(body);
    swept.read.forEach((name) => read.add(name));
    return swept.kept;
  };
  for (const s of list.toReversed()) {
    if (s.kind === "Let" || s.kind === "Uniform") {
      // deleted, because another role may have a scalar of the same name
      const isRead = read.delete(s.name);
      if (!isRead && !readsShared(s.value)) continue;
    }
    kept.unshift(withBodies(s, inner));
    for (const e of expressionsOf(s)) if (e) namesIn(e).forEach((name) => read.add(name));
  }
  return { kept, read };
}

function withBodies(s: LoopStmt, change: (body: readonly LoopStmt[]) => readonly LoopStmt[]): LoopStmt {
  if (s.kind === "For" || s.kind === "While") return { ...s, body: change(s.body) };
  if (s.kind === "Roles") return { ...s, roles: s.roles.map((r) => ({ ...r, body: change(r.body) })) };
  if (s.kind === "If") return { ...s, then: change(s.then), otherwise: change(s.otherwise) };
  return s;
}

const namesIn = (e: Expr): readonly string[] => [...(e.kind === "Var" ? [e.name] : []), ...childrenOf(e).flatMap(namesIn)];
const readsShared = (e: Expr): boolean => e.kind === "Shared" || childrenOf(e).some(readsShared);
