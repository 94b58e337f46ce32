/**
 * No two threads meet in memory unordered: an independent, conservative check of what insertBarriers did. The program becomes a graph of
 * accesses; along its edges flows what other threads of the block or role may still be doing since their last barrier.
 */
import { childrenOf, type Expr } from "./expr.ts";
import type { Instruction } from "./instruction.ts";
import { expressionsOf, type LoopKernel, type LoopStmt } from "./loop.ts";
import type { Fail } from "./verify_loop.ts";

/** Who may be at it: all threads, before they part, or one role. */
type Actors = "block" | `role ${string}`;
/** `copy`: an asynchronous write that its own thread has not waited for. `product`: a read by wgmma that the warpgroup has not waited for. */
const modes = ["read", "write", "atomic", "copy", "product"] as const;
type Mode = (typeof modes)[number];

interface Access {
  readonly memory: string;
  readonly mode: Mode;
}

interface Node {
  readonly statement: LoopStmt;
  readonly accesses: readonly Access[];
  readonly actors: Actors;
  /** What it orders: "barrier" all its actors, "wait" a thread's own copies, "await" all products; or "fence", what threads wrote before products. */
  readonly orders?: "barrier" | "wait" | "await" | "fence";
  readonly next: Node[];
  /** What may be under way before it, as keys. */
  readonly pending: Set<string>;
}

/** Two writes are in order: the threads of one stage write different elements, and whoever reads stands between two stages. */
const harmless = new Set(["read read", "write write", "atomic atomic", "copy copy", "write copy", "product product", "product read", "read product"]);

export function verifyBarriers(kernel: LoopKernel, instructions: ReadonlyMap<string, Instruction>, fail: Fail): void {
  const nodes: Node[] = [];
  const outputs = new Set(kernel.params.filter((p) => p.access !== "in").map((p) => p.name));
  // hardware barriers order the slots of rings between roles, and what copies write there; the simulated machine judges them
  const rings = new Set(kernel.pipes.flatMap((p) => p.buffers.map((b) => b.buffer)));
  const leaves: Node[] = [];
  const exits = [...build(kernel.body, [], "block"), ...leaves];

  /** Appends a list behind `before`; returns what the next statement stands behind. */
  function build(list: readonly LoopStmt[], before: readonly Node[], actors: Actors): readonly Node[] {
    return list.reduce<readonly Node[]>((last, s) => {
      const accesses = accessesOf(s).filter((a) => a.mode !== "copy" || !rings.has(a.memory));
      const node: Node = { statement: s, actors, accesses, ...ordersOf(s), next: [], pending: new Set() };
      nodes.push(node);
      for (const n of last) n.next.push(node);
      if (s.kind === "Exit") leaves.push(node);
      if (s.kind === "Exit") return [];
      if (s.kind === "If") return [...build(s.then, [node], actors), ...build(s.otherwise, [node], actors)];
      if (s.kind === "Roles") return [node, ...s.roles.flatMap((r) => build(r.body, [node], `role ${r.name}`))];
      if (s.kind !== "For" && s.kind !== "While") return [node];
      for (const n of build(s.body, [node], actors)) n.next.push(node);
      return [node];
    }, before);
  }

  function ordersOf(s: LoopStmt): Pick<Node, "orders"> {
    if (s.kind === "Barrier") return { orders: "barrier" };
    const record = s.kind === "Call" ? instructions.get(s.instruction) : undefined;
    if (record?.name === "fenceProxyAsync") return { orders: "fence" };
    if (record?.name.startsWith("wgmmaWait.0.")) return { orders: "await" };
    return record?.timeline === "cpAsync" && record.writes.length === 0 ? { orders: "wait" } : {};
  }

  /** What the statement itself touches, not what stands inside it. */
  function accessesOf(s: LoopStmt): readonly Access[] {
    const found: Access[] = [];
    const read = (e: Expr): void => {
      if (e.kind === "Shared") found.push({ memory: e.buffer, mode: "read" });
      if (e.kind === "GlobalElement" && outputs.has(e.param)) found.push({ memory: e.param, mode: "read" });
      childrenOf(e).forEach(read);
    };
    for (const e of expressionsOf(s)) if (e) read(e);
    if (s.kind === "StoreShared") found.push({ memory: s.buffer, mode: "write" });
    if (s.kind === "Atomic") found.push({ memory: s.buffer, mode: "atomic" });
    if (s.kind === "StoreGlobal") found.push({ memory: s.param, mode: "write" });
    if (s.kind === "LoadGlobal" && outputs.has(s.param)) found.push({ memory: s.param, mode: "read" });
    if (s.kind === "Call") {
      const record = instructions.get(s.instruction)!;
      s.operands.forEach((o, i) => {
        if (o.kind === "Matrix") found.push({ memory: o.buffer, mode: "product" });
        if (o.kind === "SharedAddress" && record.timeline !== "tma") found.push({ memory: o.buffer, mode: !record.writes.includes(i) ? "read" : record.timeline === "cpAsync" ? "copy" : "write" });
      });
    }
    return found;
  }

  /** "unfenced": a write that the matrix units need not see yet. */
  const keyOf = (mode: Mode | "unfenced", actors: Actors, memory: string): string => `${mode}/${actors}/${memory}`;
  const after = ({ actors, orders, pending, accesses }: Node): string[] => {
    const own = accesses.flatMap((a) => [keyOf(a.mode, actors, a.memory), ...(a.mode === "write" ? [keyOf("unfenced", actors, a.memory)] : [])]);
    const all = [...pending, ...own];
    switch (orders) {
      case "barrier":
        return all.filter((k) => /^(copy|product|unfenced)/.test(k) || (actors !== "block" && k.split("/")[1] !== actors));
      case "wait":
        return all.map((k) => k.replace(/^copy/, "write"));
      case "await":
        return all.map((k) => k.replace(/^product/, "read"));
      case "fence":
        return all.filter((k) => !k.startsWith("unfenced"));
      default:
        return all;
    }
  };
  const work = new Set(nodes);
  for (const node of work) {
    work.delete(node);
    for (const next of node.next) {
      const before = next.pending.size;
      for (const k of after(node)) next.pending.add(k);
      if (next.pending.size > before) work.add(next);
    }
  }

  for (const node of nodes)
    for (const access of node.accesses) {
      const underWay = (mode: Mode): boolean => (["block", node.actors] as const).some((actors) => node.pending.has(keyOf(mode, actors, access.memory)));
      const earlier = modes.filter((mode) => underWay(mode) || node.accesses.some((a) => a !== access && a.memory === access.memory && a.mode === mode));
      const clash = earlier.find((mode) => !harmless.has(`${mode} ${access.mode}`));
      const done = access.mode === "product" ? "read" : access.mode;
      if (clash) fail(node.statement, `it may ${done} ${access.memory} while another thread's ${clash} of it is under way`);
      if (access.mode === "product" && node.pending.has(keyOf("unfenced", node.actors, access.memory))) fail(node.statement, `it multiplies what threads wrote to ${access.memory}, and no fenceProxyAsync stands between`);
    }
  for (const node of exits) if (after(node).some((k) => k.startsWith("copy/"))) fail(node.statement, "the program may end before its copies have arrived");
}
