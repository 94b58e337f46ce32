/**
 * Matrix products that run on their own time (wgmma). Each executes at some moment between its issue and the wait that covers its group: it
 * reads shared memory then, with what its warpgroup knew at issue. A group ends with a commit; a wait covers all groups but the last few.
 */
import type { Instruction, LaneOperand } from "../ir/instruction.ts";
import { type Clock, common } from "./loop_clocks.ts";
import type { Engine } from "./loop_copies.ts";
import { type Machine, warpgroupSize } from "./loop_machine.ts";
import type { ProductRegisters } from "./loop_registers.ts";

export interface Product {
  readonly instruction: Instruction;
  readonly lanes: readonly (readonly LaneOperand[])[];
  readonly site: number;
}
interface Issued extends Product {
  readonly group: number;
  readonly clock: Clock;
  readonly epoch: number;
}

export class Warpgroup implements Engine {
  readonly #machine: Machine;
  readonly #first: number;
  readonly #run: (product: Product) => void;
  /** Committed groups, and the epoch of each commit. */
  readonly #commits: number[] = [];
  #done = 0;
  #fenced = false;
  /** Issued since the last commit. */
  #open: Product | undefined;
  #waiting: Issued[] = [];
  #known: { readonly version: number; readonly clock: Clock } | undefined;

  /** `first` thread of the warpgroup; `run` executes the meaning of a product. */
  constructor(machine: Machine, first: number, run: (product: Product) => void) {
    this.#machine = machine;
    this.#first = first;
    this.#run = run;
  }
  get busy(): boolean {
    return this.#waiting.length > 0;
  }
  get done(): number {
    return this.#done;
  }
  step(): void {
    this.#execute(this.#waiting.shift()!);
  }
  startBlock(): void {
    this.#commits.length = 0;
    [this.#done, this.#fenced, this.#open, this.#waiting, this.#known] = [0, false, undefined, [], undefined];
  }

  fence(): void {
    this.#fenced = true;
    for (let t = this.#first; t < this.#first + warpgroupSize; t++) for (const r of this.#machine.tracked[t]!.values()) r.fence();
  }
  /** Operands: the registers that change, then a matrix or registers, then a matrix. `adds`: to what the registers hold. */
  issue(product: Product, adds: boolean): void {
    const { lanes, site } = product;
    const m = this.#machine;
    if (!this.#fenced) m.fault("wgmma", site, "a matrix product starts before any wgmmaFence of its warpgroup");
    const group = this.#commits.length + 1;
    lanes.forEach((operands, lane) => {
      m.become(this.#first + lane);
      operands.forEach((o, i) => {
        if (isRegisters(o)) o.registers.start(o.start, o.count, i > 0 ? "read" : adds ? "add" : "overwrite", group, this, site);
        else if (o.address !== lanes[0]![i]!.address) m.fault("notUniform", site, `the lanes of the warpgroup name matrices at bytes ${lanes[0]![i]!.address} and ${o.address}`);
      });
    });
    this.#open = product;
    this.#waiting.push({ ...product, group, clock: this.#clock(), epoch: m.epoch });
  }
  commit(): void {
    this.#commits.push(this.#machine.epoch++);
    this.#open = undefined;
  }
  /** All groups but the last `pending` are done; what each lane lists of them is ready. */
  wait(pending: number, lanes: readonly (readonly LaneOperand[])[], site: number): void {
    const m = this.#machine;
    this.#done = Math.max(this.#done, this.#commits.length - pending);
    while (this.#waiting[0] && this.#waiting[0].group <= this.#done) this.step();
    const unit = m.matrixUnit(this.#first);
    lanes.forEach((operands, lane) => {
      m.become(this.#first + lane);
      if (this.#done > 0) m.clock.seen[unit] = this.#commits[this.#done - 1]!;
      for (const o of operands) if (isRegisters(o)) o.registers.finish(o.start, o.count, this.#done, site);
    });
  }
  /** The block has ended. */
  checkDone(site: number): void {
    const m = this.#machine;
    m.become(this.#first);
    if (this.#open) m.fault("wgmma", this.#open.site, "the block ends, and this matrix product was never committed");
    if (this.#done < this.#commits.length) m.fault("wgmma", site, `the block ends, and nobody has waited for the last ${this.#commits.length - this.#done} groups of matrix products`);
  }

  #execute(product: Issued): void {
    const m = this.#machine;
    const { epoch } = m;
    m.thread = m.matrixUnit(this.#first);
    m.clock = product.clock;
    m.epoch = product.epoch;
    this.#run(product);
    m.epoch = epoch;
  }
  /** What comes before everything that each thread of the warpgroup does now. */
  #clock(): Clock {
    const m = this.#machine;
    const clocks = m.clocks.slice(this.#first, this.#first + warpgroupSize);
    clocks.forEach((c, lane) => (c.seen[this.#first + lane] = m.epoch));
    const version = clocks.reduce((n, c) => n + c.version, 0);
    if (this.#known?.version !== version) this.#known = { version, clock: common(clocks) };
    return this.#known.clock;
  }
}

const isRegisters = (o: LaneOperand): o is ProductRegisters => "registers" in o;
