/**
 * What every part of the simulated machine knows: who acts now, which accesses came before, and how to report a fault.
 *
 * Order is judged in one of two ways. Threads that meet at barriers of the whole block alone: an epoch is the time between two of them, and
 * whatever happened in an earlier epoch comes before. A kernel with roles, hardware barriers or asynchronous engines has clocks (loop_clocks.ts).
 * So has one with clusters, whose threads meet as whole blocks: there an entry of a clock stands for all threads of a block.
 */
import type { LoopKernel, LoopRole } from "../ir/loop.ts";
import type { Loc } from "../ir/tile.ts";
import { type Clock, fence, join, joinAll, newClock } from "./loop_clocks.ts";
import type { Registers } from "./loop_registers.ts";

export type FaultCode =
  /** Memory or a register is read that nothing has written, or a slot that was handed back. */
  | "uninitialised"
  /** Two actors of a block touch an element with nothing to order them, and one of them writes. */
  | "race"
  /** Blocks, or unordered threads, leave different values in one element of a param. */
  | "conflict"
  | "outOfRange"
  | "misaligned"
  /** Threads that should meet at a barrier or an instruction do not. */
  | "divergence"
  /** No thread can go on, and some wait for hardware barriers. */
  | "deadlock"
  /** A hardware barrier gets what it does not count: arrivals, bytes, or anything before it is initialised. */
  | "barrier"
  /** An asynchronous copy is used before somebody waited for it, or never waited for. */
  | "asyncCopy"
  /** The async proxy meets what ordinary instructions wrote, without a fence between. */
  | "proxy"
  /** Registers of a matrix product are touched while it is under way, or the product starts without a fence or is never waited for. */
  | "wgmma"
  /** The leader of a cluster may not have begun, or may have ended, when others use its memory; or arrivals and waits do not take turns. */
  | "cluster"
  /** A value that is declared uniform differs between threads. */
  | "notUniform"
  /** An instruction rejects its operands. */
  | "operand";

/** A fault of the program: where, by whom, what, and what to try. */
export class MachineFault extends Error {
  override readonly name = "MachineFault";
  readonly code: FaultCode;
  readonly loc: Loc;
  constructor(code: FaultCode, kernel: string, loc: Loc, block: number, who: string, text: string) {
    super(`${kernel}: ${text}\n  at ${loc.file}:${loc.line} (block ${block}, ${who})`);
    this.code = code;
    this.loc = loc;
  }
}

export const warpSize = 32;
export const warpgroupSize = 128;

/** Threads that meet at a barrier: those of a block, or of a role. */
export interface Group {
  readonly name: string;
  readonly first: number;
  readonly end: number;
}

/** The block, then the roles in order; or the blocks of a cluster. */
export function groupsOf(kernel: LoopKernel): readonly Group[] {
  const { threads, cluster } = kernel;
  if (cluster) return Array.from({ length: cluster }, (_, rank) => ({ name: `block ${rank} of the cluster`, first: rank * threads, end: (rank + 1) * threads }));
  const role = ({ name, firstWarp, warps }: LoopRole): Group => ({ name, first: firstWarp * warpSize, end: (firstWarp + warps) * warpSize });
  const roles = kernel.body.flatMap((s) => (s.kind === "Roles" ? s.roles.map(role) : []));
  return [{ name: "block", first: 0, end: kernel.threads }, ...roles];
}

interface Uniform {
  readonly site: number;
  readonly value: number | boolean;
  readonly thread: number;
}

/** Who acts now, and what it may see. */
export class Machine {
  readonly kernel: string;
  /** Of the block, or of all blocks of the cluster; the threads of a block are consecutive. */
  readonly threads: number;
  readonly blockThreads: number;
  /** Place of every checked access, by site number. */
  readonly sites: readonly Loc[];
  readonly groups: readonly Group[];
  /** Whether actors have clocks, and whether an entry of one stands for a block of the cluster instead of an actor. */
  readonly clocked: boolean;
  readonly byBlocks: boolean;
  /** The first one that runs. */
  block = 0;
  /** Blocks of the launch. */
  blocks = 0;
  /**
   * The actor: a thread or, above those, the asynchronous copies of a thread, the copy engine filling a slot of a hardware barrier, the matrix
   * unit of a warpgroup.
   */
  thread = 0;
  /** The actor's clock; an empty one in kernels without. */
  clock: Clock;
  /** Counts up over the whole launch; 0 is "never". */
  epoch = 0;
  /** First epoch of the block that runs. */
  blockEpoch = 0;
  /** What happened before this epoch comes before everything from now on. */
  ordered = 0;
  /** Of each thread. */
  readonly clocks: readonly Clock[];
  /** Register arrays of each thread that matrix products work on, by name. */
  readonly tracked: readonly Map<string, Registers>[];
  readonly #slots: readonly string[];
  /** Group of each thread, by number. */
  readonly #group: Uint8Array;
  readonly #uniforms: readonly Uniform[][];
  readonly #uniformCount: Uint32Array;

  constructor(kernel: LoopKernel, sites: readonly Loc[], clocked: boolean) {
    this.kernel = kernel.name;
    this.blockThreads = kernel.threads;
    this.threads = kernel.threads * (kernel.cluster ?? 1);
    this.sites = sites;
    this.groups = groupsOf(kernel);
    this.byBlocks = kernel.cluster !== undefined;
    this.clocked = clocked || this.byBlocks;
    this.#slots = kernel.barriers.flatMap((b) => Array.from({ length: b.slots }, (_, i) => `${b.name}[${i}]`));
    const entries = this.byBlocks ? this.groups.length : clocked ? this.matrixUnit(this.threads) + 1 : 0;
    const none = newClock(0);
    this.clocks = Array.from({ length: this.threads }, () => (entries > 0 ? newClock(entries) : none));
    this.clock = none;
    this.tracked = this.clocks.map(() => new Map());
    this.#group = new Uint8Array(this.threads);
    this.#uniforms = this.groups.map(() => []);
    this.#uniformCount = new Uint32Array(this.threads);
  }

  /** Of an actor, in clocks. */
  entryOf(actor: number): number {
    return this.byBlocks ? this.rankOf(actor) : actor;
  }
  /** Whether what an actor did in an epoch comes before what the running one does next. */
  knows(actor: number, epoch: number): boolean {
    return this.clock.seen[this.entryOf(actor)]! >= epoch;
  }

  /** Actors that are no threads. */
  copiesOf(thread: number): number {
    return this.threads + thread;
  }
  copyEngine(slot: number): number {
    return 2 * this.threads + slot;
  }
  matrixUnit(thread: number): number {
    return 2 * this.threads + this.#slots.length + Math.floor(thread / warpgroupSize);
  }
  /** Whether what the actor writes needs a fence before the async proxy sees it. */
  isGeneric(actor: number): boolean {
    return actor < 2 * this.threads;
  }

  startBlock(block: number): void {
    this.block = block;
    this.blockEpoch = this.ordered = ++this.epoch;
    for (let t = 0; t < this.threads; t++) this.#group[t] = this.rankOf(t);
    this.#uniforms.forEach((u) => (u.length = 0));
    this.#uniformCount.fill(0);
  }
  become(thread: number): void {
    this.thread = thread;
    this.clock = this.clocks[thread]!;
  }
  /** Number in the cluster of a thread's block. */
  rankOf(thread: number): number {
    return Math.floor(thread / this.blockThreads);
  }
  /** The running thread's group. */
  get group(): number {
    return this.#group[this.thread]!;
  }
  /** The running thread is one of the group's from now on. */
  enter(group: number): void {
    this.#group[this.thread] = group;
    this.#uniformCount[this.thread] = 0;
  }
  /** The threads of a group have met: what any of them did comes before what each does next. */
  barrier(group: number): void {
    const { first, end } = this.groups[group]!;
    if (this.clocked) this.joinThreads(first, end);
    else this.ordered = ++this.epoch;
    this.#uniforms[group]!.length = 0;
    this.#uniformCount.fill(0, first, end);
  }
  joinThreads(first: number, end: number): void {
    for (let t = first; t < end; t++) this.clocks[t]!.seen[this.entryOf(t)] = this.epoch;
    joinAll(this.clocks.slice(first, end));
    this.epoch++;
  }
  /** What the running thread has done and knows comes before whoever acquires `into`. */
  release(into: Clock): void {
    join(into, this.clock);
    into.seen[this.entryOf(this.thread)] = this.epoch++;
  }
  fenceProxy(): void {
    fence(this.clock, this.thread, this.epoch++);
  }

  /** Returns the value, having compared it with what the other threads of the group computed at the same point since they last met. */
  uniform<T extends number | boolean>(value: T, site: number): T {
    const position = this.#uniformCount[this.thread]!++;
    const known = this.#uniforms[this.#group[this.thread]!]!;
    const first = known[position];
    if (!first) known.push({ site, value, thread: this.thread });
    else if (first.site !== site)
      this.fault(
        "divergence",
        site,
        `threads part: thread ${first.thread} is at ${this.place(first.site)} now; conditions around uniform values must be uniform`,
      );
    else if (!Object.is(first.value, value))
      this.fault(
        "notUniform",
        site,
        `a uniform value is ${value} here and ${first.value} in thread ${first.thread}; derive it from values that all threads share`,
      );
    return value;
  }

  nameOf(actor: number): string {
    if (actor === many) return "other threads";
    if (actor < this.threads) return `thread ${actor % this.blockThreads}${this.roleOf(actor, " of ")}`;
    if (actor < this.copyEngine(0)) return `an asynchronous copy of thread ${actor - this.threads}`;
    if (actor < this.matrixUnit(0)) return `a copy for ${this.#slots[actor - this.copyEngine(0)]}`;
    return `a matrix product of warpgroup ${actor - this.matrixUnit(0)}`;
  }
  /** The role of a thread, or its block in a cluster, behind `before`; nothing if it has none. */
  roleOf(thread: number, before = ""): string {
    const isNamed = (group: number): boolean => group > 0 || this.threads > this.blockThreads;
    const role = this.groups.find(({ first, end }, group) => isNamed(group) && first <= thread && thread < end);
    return role ? before + role.name : "";
  }
  place(site: number): string {
    const { file, line } = this.sites[site]!;
    return `${file}:${line}`;
  }
  fault(code: FaultCode, site: number, text: string): never {
    const rank = this.thread < this.threads ? this.rankOf(this.thread) : 0;
    throw new MachineFault(code, this.kernel, this.sites[site]!, this.block + rank, this.nameOf(this.thread), text);
  }
}

/** One of several readers of a unit, or several that share an entry of clocks. */
interface Reader {
  readonly actor: number;
  readonly epoch: number;
  readonly site: number;
}

/** Last accesses of every unit of a memory: epoch, actor and site of each kind. */
export class Shadow {
  readonly writeEpoch: Int32Array;
  readonly writer: Int32Array;
  readonly writeSite: Int32Array;
  readonly readEpoch: Int32Array;
  /** The actor, or `many`. */
  readonly reader: Int32Array;
  readonly readSite: Int32Array;
  /** By unit, with clocks: who reads, by entry of clocks, where that is `many`. */
  readonly #readers = new Map<number, Map<number, Reader>>();
  constructor(units: number) {
    [this.writeEpoch, this.writer, this.writeSite] = [new Int32Array(units), new Int32Array(units), new Int32Array(units)];
    [this.readEpoch, this.reader, this.readSite] = [new Int32Array(units), new Int32Array(units), new Int32Array(units)];
  }
  noteRead(unit: number, m: Machine, site: number): void {
    if (this.readEpoch[unit]! < m.ordered || this.reader[unit] === m.thread) this.#setReader(unit, m.thread, m.epoch, site);
    else if (m.clocked) this.#addReader(unit, m, site);
    else this.reader[unit] = many;
  }
  /** With clocks: whoever comes after this write comes after the reads before it, which need not be remembered. */
  noteWrite(unit: number, actor: number, m: Machine, site: number): void {
    this.writeEpoch[unit] = m.epoch;
    this.writer[unit] = actor;
    this.writeSite[unit] = site;
    if (m.clocked) this.readEpoch[unit] = 0;
  }
  otherWrote(unit: number, m: Machine): boolean {
    return this.writeEpoch[unit]! >= m.ordered && this.writer[unit] !== m.thread && !m.knows(this.writer[unit]!, this.writeEpoch[unit]!);
  }
  /** A reader that nothing orders before the actor. */
  otherReader(unit: number, m: Machine): { readonly actor: number; readonly site: number } | undefined {
    if (this.readEpoch[unit]! < m.ordered || this.reader[unit] === m.thread) return undefined;
    const [reader, site] = [this.reader[unit]!, this.readSite[unit]!];
    if (reader !== many) return m.knows(reader, this.readEpoch[unit]!) ? undefined : { actor: reader, site };
    if (!m.clocked) return { actor: many, site };
    for (const [entry, read] of this.#readers.get(unit)!)
      if (read.actor !== m.thread && m.clock.seen[entry]! < read.epoch) return read;
    return undefined;
  }

  #setReader(unit: number, actor: number, epoch: number, site: number): void {
    this.readEpoch[unit] = epoch;
    this.reader[unit] = actor;
    this.readSite[unit] = site;
  }
  /** Readers that are known to come before the actor need not be remembered. */
  #addReader(unit: number, m: Machine, site: number): void {
    const reader = this.reader[unit]!;
    if (reader !== many) {
      const before = { actor: reader, epoch: this.readEpoch[unit]!, site: this.readSite[unit]! };
      if (m.knows(reader, before.epoch)) return this.#setReader(unit, m.thread, m.epoch, site);
      this.#readers.set(unit, new Map([[m.entryOf(reader), before]]));
    }
    const readers = this.#readers.get(unit)!;
    const entry = m.entryOf(m.thread);
    const before = readers.get(entry);
    const isOther = before !== undefined && before.actor !== m.thread && m.clock.seen[entry]! < before.epoch;
    readers.set(entry, { actor: isOther ? many : m.thread, epoch: m.epoch, site });
    this.#setReader(unit, many, m.epoch, site);
  }
}
export const many = -1;
