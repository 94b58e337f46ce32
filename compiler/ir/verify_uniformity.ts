/**
 * Barriers and instructions of several threads stand where these threads go together, and branches that are said to be uniform are. A value
 * is equal in all threads unless it comes from the thread index, from registers, or from a variable that may differ; where it comes from the
 * thread index by way of whole warps it is equal at least in each of them.
 */
import { childrenOf, type Expr } from "./expr.ts";
import type { Instruction } from "./instruction.ts";
import type { LoopKernel, LoopStmt } from "./loop.ts";
import type { Fail } from "./verify_loop.ts";

/** Threads that agree: each with itself alone, each warp, each warpgroup, all of the block or role. */
const [alone, warp, warpgroup, all] = [0, 1, 2, 3] as const;
type Agreement = typeof alone | typeof warp | typeof warpgroup | typeof all;
const least = (...levels: readonly Agreement[]): Agreement => Math.min(all, ...levels) as Agreement;

const WARP = 32;
const WARPGROUP = 128;
/** How many threads an instruction needs together. */
const needs: Readonly<Record<Instruction["scope"], Agreement>> = { thread: alone, warp, warpgroup, block: all };
const whom = ["", "lanes of a warp", "threads of a warpgroup", "threads of the block or role"] as const;

interface Scope {
  /** Declarations by name. */
  readonly names: ReadonlyMap<string, LoopStmt>;
  /** The first thread of the block or role. */
  readonly first: number;
  /** Whether one thread at most comes here. */
  readonly single: boolean;
}
const declare = (scope: Scope, name: string, s: LoopStmt): Scope => ({ ...scope, names: new Map(scope.names).set(name, s) });
type Visit = (s: LoopStmt, together: Agreement, own: Agreement, scope: Scope) => void;

export function verifyUniformity(kernel: LoopKernel, instructions: ReadonlyMap<string, Instruction>, fail: Fail): void {
  /** Declarations of scalars that not all threads agree on; sinks until a walk changes nothing. */
  const levels = new Map<LoopStmt, Agreement>();
  let changed = true;
  const note = (declaration: LoopStmt | undefined, level: Agreement): void => {
    if (!declaration || level >= (levels.get(declaration) ?? all)) return;
    levels.set(declaration, level);
    changed = true;
  };
  const agreement = (e: Expr, scope: Scope): Agreement => {
    if (e.kind === "ThreadIndex" || e.kind === "Reg") return alone;
    if (e.kind === "WarpIndex") return warp;
    const declaration = e.kind === "Var" ? scope.names.get(e.name) : undefined;
    if (declaration) return levels.get(declaration) ?? all;
    return Math.max(wholeWarps(e, scope), least(...childrenOf(e).map((x) => agreement(x, scope)))) as Agreement;
  };

  /** `together`: who executes the list together. Once nothing more is learnt, `visit` sees every statement, with the agreement on its own condition. */
  function walk(list: readonly LoopStmt[], together: Agreement, outer: Scope, visit: Visit): void {
    let scope = outer;
    for (const s of list) {
      const conditions = s.kind === "For" ? [s.lo, s.hi] : s.kind === "If" || s.kind === "While" ? [s.cond] : [];
      const own = least(...conditions.map((c) => agreement(c, scope)));
      visit(s, together, own, scope);
      if (s.kind === "Let") note(s, agreement(s.value, scope));
      if (s.kind === "Variable") note(s, agreement(s.init, scope));
      if (s.kind === "Atomic") note(s, alone);
      if (s.kind === "Let" || s.kind === "Uniform" || s.kind === "Variable") scope = declare(scope, s.name, s);
      if (s.kind === "Atomic" && s.old !== undefined) scope = declare(scope, s.old, s);
      if (s.kind === "Assign") note(scope.names.get(s.name), least(together, agreement(s.value, scope)));
      const inside = least(together, own);
      if (s.kind === "For") {
        note(s, inside);
        walk(s.body, inside, declare(scope, s.name, s), visit);
      }
      if (s.kind === "While") walk(s.body, inside, scope, visit);
      if (s.kind === "If") {
        walk(s.then, inside, { ...scope, single: scope.single || picksOne(s.cond) }, visit);
        walk(s.otherwise, inside, scope, visit);
      }
      if (s.kind === "Roles") s.roles.forEach((r) => walk(r.body, all, { ...scope, first: r.firstWarp * WARP }, visit));
    }
  }
  const block: Scope = { names: new Map(), first: 0, single: false };
  while (changed) {
    changed = false;
    walk(kernel.body, all, block, () => {});
  }
  walk(kernel.body, all, block, (s, together, own, scope) => {
    const record = s.kind === "Call" ? instructions.get(s.instruction) : undefined;
    const needed = s.kind === "Barrier" || s.kind === "Uniform" || s.kind === "Exit" ? all : record ? needs[record.scope] : alone;
    if (together < needed) fail(s, `some ${whom[needed]} may not come here`);
    if (s.kind === "If" && s.uniform && !scope.single && least(together, own) < all) fail(s, "its condition may differ between threads");
    if (s.kind !== "Call") return;
    for (const o of s.operands)
      if (o.kind === "Matrix" && agreement(o.index, scope) < warpgroup) fail(s, `the threads of a warpgroup may name different matrices in ${o.buffer}`);
  });
}

/** Whether a condition holds in one thread alone. */
const picksOne = (cond: Expr): boolean => cond.kind === "Binary" && ((cond.op === "==" && cond.a.kind === "ThreadIndex" && cond.b.kind === "Const") || (cond.op === "&&" && (picksOne(cond.a) || picksOne(cond.b))));

/** The agreement on a quotient of the thread or warp index, or on its comparison, if these split the block into whole warps or warpgroups. */
function wholeWarps(e: Expr, scope: Scope): Agreement {
  if (e.kind !== "Binary" || e.b.kind !== "Const") return alone;
  const by = e.op === ">>" || e.op === ">>>" ? 2 ** e.b.value : e.b.value;
  if (!["/", ">>", ">>>", "<", ">="].includes(e.op)) return alone;
  const unit = threadsAStep(e.a, scope);
  const size = unit === undefined ? 1 : by * unit;
  return size > 0 && size % WARPGROUP === 0 ? warpgroup : size > 0 && size % WARP === 0 ? warp : alone;
}

/** Threads from one value of an index to the next: 1 for the thread index, 32 for the warp's, also with whole warpgroups before it added or taken away. */
function threadsAStep(e: Expr, scope: Scope): number | undefined {
  if (e.kind === "ThreadIndex") return 1;
  if (e.kind === "WarpIndex") return WARP;
  if (e.kind === "Var") {
    const declaration = scope.names.get(e.name);
    return declaration?.kind === "Let" ? threadsAStep(declaration.value, scope) : undefined;
  }
  if (e.kind !== "Binary" || (e.op !== "-" && e.op !== "+") || e.b.kind !== "Const") return undefined;
  const unit = threadsAStep(e.a, scope);
  if (unit === undefined || (e.b.value * unit) % WARPGROUP !== 0) return undefined;
  return e.op === "+" || e.b.value * unit <= scope.first ? unit : undefined;
}
