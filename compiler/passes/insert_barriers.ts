/**
 * Puts a barrier between a write to shared memory, or to an output that the kernel also reads, and any later access of another
 * thread to it, and between a read and a later write. What is loaded asynchronously is waited for first; what threads store for wgmma is made
 * visible to it before they meet. Loops are walked until what is pending settles.
 */
import { childrenOf, type Expr } from "../ir/expr.ts";
import type { Instruction } from "../ir/instruction.ts";
import { bodiesOf, expressionsOf, type LoopKernel, type LoopStmt } from "../ir/loop.ts";

interface Access {
  readonly reads: ReadonlySet<string>;
  readonly writes: ReadonlySet<string>;
  /** Buffers written by copies that are still under way. */
  readonly asynchronous: ReadonlySet<string>;
  /** Buffers accessed by atomics alone, which need no order among themselves. */
  readonly atomics: ReadonlySet<string>;
}
const none: Access = { reads: new Set(), writes: new Set(), asynchronous: new Set(), atomics: new Set() };
const union = (a: Access, b: Access): Access => ({
  reads: new Set([...a.reads, ...b.reads]),
  writes: new Set([...a.writes, ...b.writes]),
  asynchronous: new Set([...a.asynchronous, ...b.asynchronous]),
  atomics: new Set([...a.atomics, ...b.atomics]),
});
const meets = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => [...a].some((x) => b.has(x));
const same = (a: Access, b: Access): boolean => (["reads", "writes", "asynchronous", "atomics"] as const).every((k) => a[k].size === b[k].size && [...a[k]].every((x) => b[k].has(x)));

export function insertBarriers(kernel: LoopKernel, instructions: ReadonlyMap<string, Instruction>): LoopKernel {
  const outputs = new Set(kernel.params.filter((p) => p.access !== "in").map((p) => p.name));
  // the barriers of a ring order what its copies bring to the slots
  const rings = new Set(kernel.pipes.flatMap((p) => p.buffers.map((b) => b.buffer)));
  const multiplied = matricesIn(kernel.body);
  const accessOf = (s: LoopStmt): Access => accesses(s, instructions, outputs, rings);

  function walk(list: readonly LoopStmt[], entry: Access): { body: LoopStmt[]; exit: Access } {
    let pending = entry;
    const body: LoopStmt[] = [];
    const barrier = () => {
      if (pending.asynchronous.size > 0) body.push({ kind: "Call", instruction: "cpAsyncWaitAll", operands: [] });
      if (meets(pending.writes, multiplied)) body.push({ kind: "Call", instruction: "fenceProxyAsync", operands: [] });
      body.push({ kind: "Barrier" });
      pending = none;
    };
    for (const s of list) {
      if (s.kind === "Barrier") {
        barrier();
        continue;
      }
      if (s.kind === "Exit") {
        if (pending.asynchronous.size > 0) body.push({ kind: "Call", instruction: "cpAsyncWaitAll", operands: [] });
        body.push(s);
        return { body, exit: none };
      }
      if (s.kind === "Roles") {
        body.push({ ...s, roles: s.roles.map((r) => ({ ...r, body: walk(r.body, none).body })) });
        continue;
      }
      if ((s.kind === "For" || s.kind === "While") && holdsBarriers(s)) {
        // what its products read is stored once, not in every turn
        if (meets(pending.writes, matricesIn([s]))) barrier();
        let start = pending;
        for (;;) {
          const { exit } = walk(s.body, start);
          const next = union(start, exit);
          if (same(next, start)) break;
          start = next;
        }
        const inner = walk(s.body, start);
        body.push({ ...s, body: inner.body });
        pending = union(pending, inner.exit);
        continue;
      }
      if (s.kind === "If" && s.uniform) {
        const then = walk(s.then, pending);
        const otherwise = walk(s.otherwise, pending);
        body.push({ ...s, then: then.body, otherwise: otherwise.body });
        pending = union(then.exit, otherwise.exit);
        continue;
      }
      const access = accessOf(s);
      if (conflict(pending, access)) barrier();
      body.push(s);
      pending = union(pending, access);
    }
    return { body, exit: pending };
  }
  /** A loop whose iterations conflict with each other, or that holds one, is uniform and is walked; any other is one access. */
  function holdsBarriers(s: Extract<LoopStmt, { kind: "For" | "While" }>): boolean {
    const { body, exit } = walk(s.body, none);
    const grew = (list: readonly LoopStmt[]): boolean => list.some((x) => x.kind === "Barrier" || bodiesOf(x).some(grew));
    return grew(body) || grew(walk(s.body, exit).body);
  }
  const { body, exit } = walk(kernel.body, none);
  if (exit.asynchronous.size > 0) body.push({ kind: "Call", instruction: "cpAsyncWaitAll", operands: [] }); // no thread ends before its copies
  return { ...kernel, body };
}

/** Buffers that products read as matrices. */
const matricesIn = (list: readonly LoopStmt[]): ReadonlySet<string> =>
  new Set(list.flatMap((s) => (s.kind === "Call" ? s.operands.flatMap((o) => (o.kind === "Matrix" ? [o.buffer] : [])) : bodiesOf(s).flatMap((body) => [...matricesIn(body)]))));

/**
 * Two writes need no order: the threads of one stage write different elements, and whatever reads stands between two stages. But a copy
 * under way may land on a later write.
 */
function conflict(before: Access, now: Access): boolean {
  const afterWrite = meets(before.writes, now.reads) || meets(before.writes, now.atomics);
  const afterAtomic = meets(before.atomics, now.reads) || meets(before.atomics, now.writes);
  const afterRead = meets(before.reads, now.writes) || meets(before.reads, now.atomics);
  const ontoWrite = [...now.writes].some((x) => before.asynchronous.has(x) && !now.asynchronous.has(x));
  return afterWrite || afterAtomic || afterRead || ontoWrite;
}

/** Buffers and outputs that a statement touches, those of nested statements included. */
function accesses(s: LoopStmt, instructions: ReadonlyMap<string, Instruction>, outputs: ReadonlySet<string>, rings: ReadonlySet<string>): Access {
  const reads = new Set<string>();
  const writes = new Set<string>();
  const asynchronous = new Set<string>();
  const atomics = new Set<string>();
  const expr = (e: Expr | undefined): void => {
    if (!e) return;
    if (e.kind === "Shared") reads.add(e.buffer);
    if (e.kind === "GlobalElement" && outputs.has(e.param)) reads.add(e.param);
    childrenOf(e).forEach(expr);
  };
  const visit = (s: LoopStmt): void => {
    expressionsOf(s).forEach(expr);
    bodiesOf(s).forEach((b) => b.forEach(visit));
    if (s.kind === "StoreShared") writes.add(s.buffer);
    else if (s.kind === "StoreGlobal") writes.add(s.param);
    else if (s.kind === "LoadGlobal" && outputs.has(s.param)) reads.add(s.param);
    else if (s.kind === "Atomic") atomics.add(s.buffer);
    else if (s.kind === "Call") {
      const record = instructions.get(s.instruction);
      s.operands.forEach((o, i) => {
        if (o.kind === "Matrix") reads.add(o.buffer);
        if (o.kind !== "SharedAddress" || rings.has(o.buffer)) return;
        const written = record?.writes.includes(i) ?? false;
        (written ? writes : reads).add(o.buffer);
        if (written && record?.timeline === "cpAsync") asynchronous.add(o.buffer);
      });
    }
  };
  visit(s);
  return { reads, writes, asynchronous, atomics };
}
