/** A register array of one thread, each access checked, and what matrix products do with it on their own time. */
import type { ScalarType } from "../ir/expr.ts";
import type { LaneOperand } from "../ir/instruction.ts";
import type { Machine } from "./loop_machine.ts";

/** How far the products of a warpgroup are: they come in groups, numbered from 1. */
export interface Progress {
  /** The last group that was waited for. */
  readonly done: number;
}

const empty = 0;
const ready = 1;
/** Ready, and not touched since a fence or a wait: products may use it. */
const settled = 2;
/** A product that is under way changes it; a wait that lists it makes it ready. */
const changing = 3;
/** A product that is under way reads it, until its group is waited for. */
const lent = 4;

export class Registers {
  readonly #machine: Machine;
  readonly #name: string;
  readonly #type: ScalarType;
  readonly #values: number[];
  readonly #state: number[];
  /** The last group of products that uses a register. */
  readonly #group: Int32Array;
  #progress: Progress = { done: 0 };

  /** `tracked`: matrix products work on the array. */
  constructor(machine: Machine, name: string, type: ScalarType, size: number, tracked: boolean) {
    this.#machine = machine;
    this.#name = name;
    this.#type = type;
    this.#values = new Array<number>(size).fill(0);
    this.#state = new Array<number>(size).fill(empty);
    this.#group = tracked ? new Int32Array(size) : none;
    if (tracked) machine.tracked[machine.thread]!.set(name, this);
  }
  read(i: number, site: number): number {
    if (this.#state[i] !== ready) this.#touch(i, site);
    return this.#values[i]!;
  }
  write(i: number, value: number, site: number): void {
    if (!(this.#state[i]! <= ready)) this.#touch(i, site);
    this.#values[i] = value;
    this.#state[i] = ready;
  }
  operand(start: number, count: number, site: number, writable: boolean): LaneOperand {
    const m = this.#machine;
    const { thread } = m;
    return {
      dtype: this.#type,
      address: 0,
      value: NaN,
      read: (i) => (m.become(thread), this.read(this.#within(i, start, count, site), site)),
      write: (i, value) => {
        m.become(thread);
        if (!writable) m.fault("operand", site, `the instruction writes "${this.#name}", which its record does not list under writes`);
        this.write(this.#within(i, start, count, site), value, site);
      },
    };
  }
  /** Registers of a matrix product: its meaning runs at some time until the wait, and nothing else touches them meanwhile. */
  productOperand(start: number, count: number, site: number): ProductRegisters {
    return {
      dtype: this.#type,
      address: 0,
      value: NaN,
      registers: this,
      start,
      count,
      read: (i) => this.#values[this.#within(i, start, count, site)]!,
      write: (i, value) => (this.#values[this.#within(i, start, count, site)] = value),
    };
  }

  /** The thread executes the fence: what it did to the registers comes before the products that follow. */
  fence(): void {
    this.#state.forEach((s, i) => {
      if (s === ready) this.#state[i] = settled;
    });
  }
  /** A product of group `group` starts that uses the registers as `use`; one that adds to them or reads them needs their values. */
  start(start: number, count: number, use: "overwrite" | "add" | "read", group: number, progress: Progress, site: number): void {
    const m = this.#machine;
    for (let r = 0; r < count; r++) {
      const i = this.#within(r, start, count, site);
      const state = this.#state[i];
      if (state === undefined || (state === empty && use !== "overwrite")) this.#bad(i, site);
      if (state === ready)
        m.fault("wgmma", site, `a product uses register "${this.#name}"[${i}], which this thread has touched since its last wgmmaFence`);
      if (use === "read" ? state === changing : state === lent && this.#group[i]! > progress.done)
        m.fault("wgmma", site, `a product uses register "${this.#name}"[${i}], which an earlier one is still ${use === "read" ? "changing" : "reading"}; wait for it first`);
      this.#state[i] = use === "read" ? lent : changing;
      this.#group[i] = group;
    }
    this.#progress = progress;
  }
  /** The thread has waited for all groups up to `done` and lists these registers. */
  finish(start: number, count: number, done: number, site: number): void {
    for (let r = 0; r < count; r++) {
      const i = this.#within(r, start, count, site);
      if (this.#state[i] === changing && this.#group[i]! <= done) this.#state[i] = settled;
    }
  }

  #within(i: number, start: number, count: number, site: number): number {
    if (!(i >= 0 && i < count)) this.#machine.fault("operand", site, `the instruction uses register ${i} of ${count} of "${this.#name}"`);
    return start + i;
  }
  /** The thread itself reads or writes a register that is not simply ready. */
  #touch(i: number, site: number): void {
    const state = this.#state[i];
    if (state === settled || (state === lent && this.#group[i]! <= this.#progress.done)) this.#state[i] = ready;
    else if (state === changing || state === lent)
      this.#machine.fault(
        "wgmma",
        site,
        `register "${this.#name}"[${i}] is touched while a matrix product that ${state === lent ? "reads" : "changes"} it is under way; ` +
          `a wgmmaWait ${state === lent ? "" : "that lists it "}must come first`,
      );
    else this.#bad(i, site);
  }
  #bad(i: number, site: number): never {
    const size = this.#values.length;
    if (!(i >= 0 && i < size))
      this.#machine.fault("outOfRange", site, `register array "${this.#name}" has ${size} elements, element ${i} is used`);
    this.#machine.fault("uninitialised", site, `register "${this.#name}"[${i}] is read before anything is written to it`);
  }
}
const none = new Int32Array(0);

/** What a product knows of its register operand. */
export interface ProductRegisters extends LaneOperand {
  readonly registers: Registers;
  readonly start: number;
  readonly count: number;
}
