/** Hardware barriers (mbarrier) of the simulated machine: arrivals, announced bytes, phases, and what a wait learns. */
import type { LaneOperand } from "../ir/instruction.ts";
import { type Clock, clear, join, newClock } from "./loop_clocks.ts";
import type { Machine } from "./loop_machine.ts";

/** One barrier: a slot of a LoopBarrier. */
export class Mbarrier {
  readonly name: string;
  /** The copy engine as the actor that fills the slot. */
  readonly engine: number;
  readonly #machine: Machine;
  readonly #arrivals: number;
  readonly #onPhase: () => void;
  #initialised: { readonly thread: number; readonly epoch: number; fenced: boolean } | undefined;
  /** Phases that have ended. */
  #phases = 0;
  /** Arrivals that the phase still lacks. */
  #missing = 0;
  /** Bytes announced in the phase that no copy was started for. */
  #unclaimed = 0;
  /** Bytes announced in the phase that have not landed. */
  #bytes = 0;
  /** What arrivals of the phase bring; what those of the last one brought. */
  #gathering: Clock;
  #ended: Clock;
  /** Copies completed the phase; copies that nobody has waited for since. */
  #copied = false;
  #unseen = false;

  /** `onPhase` is called at the end of each phase. */
  constructor(machine: Machine, name: string, engine: number, arrivals: number, onPhase: () => void) {
    this.name = name;
    this.engine = engine;
    this.#machine = machine;
    this.#arrivals = arrivals;
    this.#onPhase = onPhase;
    const actors = machine.clocks[0]!.seen.length;
    [this.#gathering, this.#ended] = [newClock(actors), newClock(actors)];
  }

  startBlock(): void {
    this.#initialised = undefined;
    [this.#phases, this.#unclaimed, this.#bytes] = [0, 0, 0];
    [this.#copied, this.#unseen] = [false, false];
    clear(this.#gathering);
    clear(this.#ended);
  }
  init(arrivals: number, site: number): void {
    const m = this.#machine;
    if (this.#initialised) m.fault("barrier", site, `${this.name} is initialised twice`);
    if (arrivals !== this.#arrivals) m.fault("barrier", site, `${this.name} is initialised for ${arrivals} arrivals and declared with ${this.#arrivals}`);
    this.#initialised = { thread: m.thread, epoch: m.epoch, fenced: false };
    this.#missing = arrivals;
  }
  /** The running thread makes its initialisation visible to the copy engine. */
  fenceInit(): void {
    if (this.#initialised?.thread === this.#machine.thread) this.#initialised.fenced = true;
  }

  /** The running thread arrives: what it has done and knows comes before what the waiters do. */
  arrive(site: number): void {
    this.#count(site);
    this.#machine.release(this.#gathering);
    this.#endIfComplete();
  }
  expect(bytes: number, site: number): void {
    this.#count(site);
    this.#bytes += bytes;
    this.#unclaimed += bytes;
    this.#machine.release(this.#gathering);
    this.#endIfComplete();
  }
  /** The running thread starts a copy that will bring `bytes`. */
  claim(bytes: number, site: number): void {
    const m = this.#machine;
    this.#checkUse(site);
    if (!this.#initialised!.fenced)
      m.fault("proxy", site, `the copy engine uses ${this.name}, and no mbarrierInitFence has made its initialisation visible to it`);
    if (bytes > this.#unclaimed)
      m.fault("barrier", site, `a copy brings ${bytes} bytes to ${this.name}, of which ${this.#unclaimed} are announced; call mbarrierExpect before`);
    this.#unclaimed -= bytes;
  }
  land(bytes: number): void {
    this.#bytes -= bytes;
    this.#gathering.seen[this.engine] = this.#machine.epoch;
    this.#copied = true;
    this.#endIfComplete();
  }
  /** The asynchronous copies of a thread, those up to `epoch`, arrive. */
  arriveCopies(copies: number, epoch: number, site: number): void {
    this.#count(site);
    this.#gathering.seen[copies] = epoch;
    this.#copied = true;
    this.#endIfComplete();
  }

  /** Whether the phase of a parity has ended; before the first one, that of parity 1 counts as ended. */
  hasEnded(parity: number): boolean {
    return (this.#phases & 1) !== parity;
  }
  /** The running thread has waited. */
  acquire(): void {
    join(this.#machine.clock, this.#ended);
    if (this.#phases > 0) this.#unseen = false;
  }
  checkWait(parity: number, site: number): void {
    this.#checkUse(site);
    if (parity !== 0 && parity !== 1) this.#machine.fault("barrier", site, `a wait for ${this.name} names parity ${parity}; it is 0 or 1`);
  }
  checkArrival(site: number): void {
    this.#checkUse(site);
  }

  /** What the phase waits for, for messages. */
  get lacks(): string {
    const bytes = this.#bytes === 0 ? "" : ` and ${this.#bytes} bytes`;
    return `phase ${this.#phases} of ${this.name} lacks ${this.#missing} of ${this.#arrivals} arrivals${bytes}`;
  }
  /** The block has ended and everything has landed. */
  checkDone(site: number): void {
    if (this.#bytes !== 0) this.#machine.fault("barrier", site, `the block ends, and ${this.lacks}`);
    if (this.#copied || this.#unseen) this.#machine.fault("asyncCopy", site, `the block ends, and nobody has waited for the last copies of ${this.name}`);
  }

  #count(site: number): void {
    this.#checkUse(site);
    if (this.#missing === 0) this.#machine.fault("barrier", site, `${this.name} has its ${this.#arrivals} arrivals of the phase and gets one more; ${this.lacks}`);
    this.#missing--;
  }
  #checkUse(site: number): void {
    const m: Machine = this.#machine;
    const init = this.#initialised;
    if (!init) m.fault("barrier", site, `${this.name} is used before it is initialised`);
    if (init.thread !== m.thread && m.clock.seen[init.thread]! < init.epoch)
      m.fault("race", site, `${this.name} is used, and nothing orders that after thread ${init.thread} has initialised it; put a barrier between`);
  }
  #endIfComplete(): void {
    if (this.#missing > 0 || this.#bytes > 0) return;
    this.#phases++;
    this.#missing = this.#arrivals;
    [this.#gathering, this.#ended] = [this.#ended, this.#gathering];
    clear(this.#gathering);
    [this.#unseen, this.#copied] = [this.#copied, false];
    this.#machine.epoch++;
    this.#onPhase();
  }
}

/** A barrier as an operand. */
export interface BarrierOperand extends LaneOperand {
  readonly barrier: Mbarrier;
}

/** The slots of a LoopBarrier. */
export class BarrierView {
  readonly #machine: Machine;
  readonly #name: string;
  readonly #offset: number;
  readonly slots: readonly Mbarrier[];
  constructor(machine: Machine, name: string, offset: number, slots: readonly Mbarrier[]) {
    this.#machine = machine;
    this.#name = name;
    this.#offset = offset;
    this.slots = slots;
  }
  operand(slot: number, site: number): BarrierOperand {
    const m: Machine = this.#machine;
    const barrier = this.slots[slot];
    if (!barrier) m.fault("outOfRange", site, `"${this.#name}" has ${this.slots.length} barriers, number ${slot} is used`);
    const none = (): never => m.fault("operand", site, `the instruction reads or writes elements of ${barrier.name}`);
    return { dtype: "u32", address: this.#offset + 8 * slot, value: slot, read: none, write: none, barrier };
  }
}
