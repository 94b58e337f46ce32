/** Clusters of the simulated machine: the barrier that their blocks meet at, and what others do to the leader's shared memory. */
import type { LaneOperand } from "../ir/instruction.ts";
import { type Clock, clear, join, newClock } from "./loop_clocks.ts";
import type { Awaited } from "./loop_compile.ts";
import type { Machine } from "./loop_machine.ts";
import type { BufferView } from "./loop_memory.ts";

/** Arrivals and waits of all threads. One that has ended counts as arrived, and brings nothing. */
export class ClusterBarrier implements Awaited {
  readonly #machine: Machine;
  /** Phases that have ended. */
  #phases = 0;
  /** Phase of each thread's last arrival that it has not waited for; -1 without one. */
  readonly #owed: Int32Array;
  /** Threads that have arrived in this phase. */
  readonly #arrived = new Set<number>();
  readonly #ended = new Set<number>();
  /** What arrivals of the phase bring; what those of the last one brought. */
  #gathering: Clock;
  #brought: Clock;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.#owed = new Int32Array(machine.threads);
    const actors = machine.clocks[0]!.seen.length;
    [this.#gathering, this.#brought] = [newClock(actors), newClock(actors)];
  }
  startBlock(): void {
    this.#phases = 0;
    this.#owed.fill(-1);
    this.#arrived.clear();
    this.#ended.clear();
    [this.#gathering, this.#brought].forEach(clear);
  }

  /** All threads of the running thread's block arrive. */
  arrive(site: number): void {
    const m = this.#machine;
    const { first, end } = m.groups[m.group]!;
    for (let thread = first; thread < end; thread++) {
      m.become(thread);
      if (this.#owed[thread]! >= 0) m.fault("cluster", site, "a thread arrives at the cluster's barrier again, without having waited since");
      this.#owed[thread] = this.#phases;
      this.#arrived.add(thread);
      m.release(this.#gathering);
    }
    this.#endIfComplete();
  }
  /** Parity of the phase that the running thread waits for. */
  beginWait(site: number): number {
    const m = this.#machine;
    const phase = this.#owed[m.thread]!;
    if (phase < 0) m.fault("cluster", site, "a thread waits at the cluster's barrier, without having arrived");
    return phase & 1;
  }
  /** No phase ends before all that owe a wait for the last one have waited. */
  hasEnded(parity: number): boolean {
    return (this.#phases & 1) !== parity;
  }
  acquire(): void {
    join(this.#machine.clock, this.#brought);
    this.#owed[this.#machine.thread] = -1;
  }
  leave(thread: number): void {
    this.#ended.add(thread);
    this.#arrived.delete(thread);
    this.#endIfComplete();
  }
  get lacks(): string {
    return `phase ${this.#phases} of the cluster's barrier lacks ${this.#missing} threads`;
  }

  get #missing(): number {
    return this.#machine.threads - this.#arrived.size - this.#ended.size;
  }
  #endIfComplete(): void {
    if (this.#arrived.size === 0 || this.#missing > 0) return;
    this.#phases++;
    this.#arrived.clear();
    [this.#gathering, this.#brought] = [this.#brought, this.#gathering];
    clear(this.#gathering);
    this.#machine.epoch++;
  }
}

/** The leader's shared memory is there from its first statement to its last: others come after the one and before the other. */
export class LeaderVisits {
  readonly #machine: Machine;
  /** Threads of a block. */
  readonly #threads: number;
  /** Last visit of each thread of another block. */
  readonly #visits = new Map<number, { readonly epoch: number; readonly site: number }>();
  #left = 0;
  constructor(machine: Machine, threads: number) {
    this.#machine = machine;
    this.#threads = threads;
  }
  startBlock(): void {
    this.#visits.clear();
    this.#left = 0;
  }
  note(site: number): void {
    const m = this.#machine;
    if (m.thread < this.#threads) return;
    if (this.#left === this.#threads) m.fault("cluster", site, "the leader's shared memory is used after the leader has ended");
    if (!m.knows(0, m.blockEpoch))
      m.fault("cluster", site, "the leader's shared memory is used, and nothing says that the leader has begun; wait at the cluster's barrier first");
    this.#visits.set(m.thread, { epoch: m.epoch, site });
  }
  /** Once all threads of the leader have ended, one of them must know of every visit. */
  leave(thread: number): void {
    if (thread >= this.#threads || ++this.#left < this.#threads) return;
    const m = this.#machine;
    for (const [visitor, { epoch, site }] of this.#visits) {
      if (m.clocks.slice(0, this.#threads).some((clock) => clock.seen[m.entryOf(visitor)]! >= epoch)) continue;
      m.become(visitor);
      m.fault("cluster", site, "the leader's shared memory is used, and the leader may end before; it has to wait for this block's arrival");
    }
  }
}

/** A buffer of the leader as the other blocks see it. */
export interface LeaderOperand extends LaneOperand {
  add(value: number): number;
}
export class LeaderView {
  readonly #visits: LeaderVisits;
  readonly #buffer: BufferView;
  constructor(visits: LeaderVisits, buffer: BufferView) {
    this.#visits = visits;
    this.#buffer = buffer;
  }
  operand(start: number, site: number): LeaderOperand {
    const visited = <T>(access: () => T): T => {
      this.#visits.note(site);
      return access();
    };
    const own = this.#buffer.operand(start, site, true, false);
    return {
      ...own,
      read: (i) => visited(() => own.read(i)),
      write: (i, value) => visited(() => own.write(i, value)),
      add: (value) => visited(() => this.#buffer.add(start, value, site)),
    };
  }
}
