/**
 * Blocks of a cluster meet where all of them come, reach for the leader's memory only while the leader is there, and leave device memory to it.
 * They take the same way because what steers them is the same: nothing in it comes from the block's number in the cluster, from the order of
 * atomic operations, or from what either has changed.
 */
import { CLUSTER_SIZES } from "./cluster.ts";
import { childrenOf, type Expr } from "./expr.ts";
import type { Instruction } from "./instruction.ts";
import { bodiesOf, expressionsOf, type LoopKernel, type LoopStmt, type Operand } from "./loop.ts";
import type { Fail } from "./verify_loop.ts";

/** What the way to a statement has done. */
interface State {
  /** The block has arrived and not yet waited. */
  readonly arrived: boolean;
  /** A wait has said that the leader has begun. */
  readonly met: boolean;
  /** The leader's memory was used, and no arrival says that this is over. */
  readonly uses: boolean;
  /** The leader alone comes here. */
  readonly alone: boolean;
  /** Others may still use the leader's memory. */
  readonly visited: boolean;
}
type Names = ReadonlyMap<string, LoopStmt>;

/** A complaint about the kernel's declarations, if there is one. */
export function complaintOfCluster({ cluster, body, barriers, pipes }: LoopKernel): string | undefined {
  if (cluster === undefined) return undefined;
  if (!CLUSTER_SIZES.includes(cluster)) return `clusters of ${cluster} blocks`;
  return barriers.length + pipes.length > 0 || body.some((s) => s.kind === "Roles") ? "a kernel with roles has clusters" : undefined;
}

export function verifyClusters(kernel: LoopKernel, instructions: ReadonlyMap<string, Instruction>, fail: Fail): void {
  const { cluster } = kernel;
  const hasEvent = (s: LoopStmt): boolean => allIn(s).some((x) => meets(x) || usesLeader(x));
  if (cluster === undefined) {
    const event = kernel.body.flatMap(allIn).find((s) => s.kind !== "Exit" && (meets(s) || usesLeader(s)));
    if (event) fail(event, "the kernel has no clusters");
    return;
  }
  const differing = differences(kernel, cluster, instructions);

  /** The state behind a list; undefined: nobody comes there. */
  function walk(list: readonly LoopStmt[], entry: State): State | undefined {
    let state = entry;
    for (const s of list) {
      const next = step(s, state);
      if (!next) return undefined;
      state = next;
    }
    return state;
  }

  function step(s: LoopStmt, state: State): State | undefined {
    if (s.kind === "StoreGlobal" && !state.alone) fail(s, "every block of the cluster stores to device memory; that is the leader's");
    if (s.kind === "Exit") {
      checkEnd(s, state);
      return undefined;
    }
    if (s.kind === "If") return branch(s, state);
    if (s.kind === "For" || s.kind === "While") {
      if (s.body.flatMap(allIn).some(meets)) fail(s, "blocks of a cluster meet, or end, in a loop");
      return walk(s.body, state);
    }
    if (s.kind !== "Call" || !hasEvent(s)) return state;
    if (s.instruction === "clusterArrive") {
      if (state.arrived) fail(s, "the block has arrived before and not waited since");
      return { ...state, arrived: true, uses: false };
    }
    if (s.instruction === "clusterWait") {
      if (!state.arrived) fail(s, "the block has not arrived");
      return { ...state, arrived: false, met: true, visited: false };
    }
    if (!state.met) fail(s, "nothing says that the leader has begun");
    return { ...state, uses: true };
  }

  function branch(s: Extract<LoopStmt, { kind: "If" }>, state: State): State | undefined {
    const leads = leaderSide(s.cond, cluster!);
    if (leads !== undefined && !state.alone) {
      const followers = s[leads === "then" ? "otherwise" : "then"];
      const left = walk(followers, state);
      const visited = state.visited || state.uses || followers.flatMap(allIn).some(usesLeader);
      const leader = walk(s[leads], { ...state, alone: true, visited });
      if (left && hasEvent(s)) fail(s, "the leader and the other blocks take ways of their own and come together again");
      return left ? state : leader;
    }
    if (!state.alone && differing.has(s) && bodiesOf(s).some((body) => body.flatMap(allIn).some(meets))) fail(s, "its condition may differ between the blocks of a cluster");
    const [then, otherwise] = [walk(s.then, state), walk(s.otherwise, state)];
    if (!then || !otherwise) return then ?? otherwise;
    if (then.arrived !== otherwise.arrived) fail(s, "one way arrives at the cluster's barrier and the other does not");
    return {
      arrived: then.arrived,
      met: then.met && otherwise.met,
      uses: then.uses || otherwise.uses,
      alone: then.alone && otherwise.alone,
      visited: then.visited || otherwise.visited,
    };
  }

  function checkEnd(s: LoopStmt, { uses, visited }: State): void {
    if (uses) fail(s, "the block ends, and no arrival says that it is done with the leader's memory");
    if (visited) fail(s, "the leader ends while others may use its memory");
  }
  const end = walk(kernel.body, { arrived: false, met: false, uses: false, alone: false, visited: false });
  const last = kernel.body.at(-1);
  if (end && last) checkEnd(last, end);
}

const allIn = (s: LoopStmt): readonly LoopStmt[] => [s, ...bodiesOf(s).flat().flatMap(allIn)];
/** Where all blocks of a cluster come, or none. */
const meets = (s: LoopStmt): boolean => s.kind === "Exit" || (s.kind === "Call" && (s.instruction === "clusterArrive" || s.instruction === "clusterWait"));
const usesLeader = (s: LoopStmt): boolean => s.kind === "Call" && s.operands.some((o) => o.kind === "LeaderAddress");

/** The branch that the leader alone takes, where the condition asks for nothing else. */
function leaderSide(cond: Expr, cluster: number): "then" | "otherwise" | undefined {
  if (cond.kind !== "Binary" || cond.b.kind !== "Const" || cond.b.value !== 0) return undefined;
  const { a, op } = cond;
  const isRank = a.kind === "Binary" && a.op === "%" && a.a.kind === "BlockIndex" && a.b.kind === "Const" && a.b.value === cluster;
  return !isRank ? undefined : op === "==" ? "then" : op === "!=" ? "otherwise" : undefined;
}

/** Branches whose condition may differ between the blocks of a cluster. */
function differences(kernel: LoopKernel, cluster: number, instructions: ReadonlyMap<string, Instruction>): ReadonlySet<LoopStmt> {
  /** Declarations, and names of shared buffers; grows until a walk changes nothing. */
  const tainted = new Set<LoopStmt | string>();
  const branches = new Set<LoopStmt>();
  const written = new Set(kernel.params.filter((p) => p.access !== "in").map((p) => p.name));
  const taint = (what: LoopStmt | string | undefined): void => {
    if (what !== undefined) tainted.add(what);
  };
  const isTainted = (what: LoopStmt | string | undefined): boolean => what !== undefined && tainted.has(what);
  const differs = (e: Expr, names: Names): boolean => {
    if (e.kind === "BlockIndex") return true;
    if (e.kind === "Binary" && e.op === "/" && e.a.kind === "BlockIndex" && e.b.kind === "Const" && e.b.value % cluster === 0) return false;
    if (e.kind === "Var" && isTainted(names.get(e.name))) return true;
    if (e.kind === "Reg" && isTainted(names.get(e.array))) return true;
    if (e.kind === "Shared" && isTainted(e.buffer)) return true;
    if (e.kind === "GlobalElement" && written.has(e.param)) return true;
    return childrenOf(e).some((x) => differs(x, names));
  };
  const places = (o: Operand, names: Names): LoopStmt | string | undefined =>
    o.kind === "Registers" ? names.get(o.array) : o.kind === "SharedAddress" || o.kind === "LeaderAddress" ? o.buffer : undefined;

  /** `apart`: not all blocks of a cluster come here, or not equally often. */
  function walk(list: readonly LoopStmt[], apart: boolean, outer: Names): void {
    let names = outer;
    for (const s of list) {
      const own = apart || expressionsOf(s).some((e) => e !== undefined && differs(e, names)) || usesLeader(s);
      if (own || (s.kind === "Atomic" && s.old !== undefined)) change(s, own, names);
      if (s.kind === "Let" || s.kind === "Uniform" || s.kind === "Variable" || s.kind === "Array" || s.kind === "Cursor") names = new Map(names).set(s.name, s);
      if (s.kind === "Atomic" && s.old !== undefined) names = new Map(names).set(s.old, s);
      if (s.kind === "If" && differs(s.cond, names)) branches.add(s);
      for (const body of bodiesOf(s)) walk(body, own, s.kind === "For" ? new Map(names).set(s.name, s) : names);
    }
  }
  /** What a statement changes differs between blocks; `own`: not only what it returns. */
  function change(s: LoopStmt, own: boolean, names: Names): void {
    taint(s); // what it declares
    if (!own) return;
    if (s.kind === "Assign") taint(names.get(s.name));
    if (s.kind === "Advance") taint(names.get(s.cursor));
    if (s.kind === "SetRegister" || s.kind === "LoadGlobal") taint(names.get(s.array));
    if (s.kind === "StoreShared" || s.kind === "Atomic") taint(s.buffer);
    if (s.kind === "Call") instructions.get(s.instruction)?.writes.forEach((i) => taint(places(s.operands[i]!, names)));
  }
  for (let before = -1; before < tainted.size; ) {
    before = tainted.size;
    walk(kernel.body, false, new Map());
  }
  return branches;
}
