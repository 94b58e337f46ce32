/** Expressions are graphs: a value that the author named and used twice is one node. Texts of them name such nodes. */
import { childrenOf, type Expr } from "./expr.ts";

/** Nodes that occur more than once below a root, variables and constants aside; each after those that it uses. */
export function sharedNodes(root: Expr): ReadonlySet<Expr> {
  const seen = new Set<Expr>();
  const again = new Set<Expr>();
  const shared = new Set<Expr>();
  const count = (e: Expr): void => {
    if (seen.has(e)) return void again.add(e);
    seen.add(e);
    childrenOf(e).forEach(count);
  };
  count(root);
  const collect = (e: Expr): void => {
    if (!seen.delete(e)) return;
    childrenOf(e).forEach(collect);
    if (again.has(e) && e.kind !== "Var" && e.kind !== "Const") shared.add(e);
  };
  collect(root);
  return shared;
}
