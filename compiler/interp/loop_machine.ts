/**
 * What every part of the simulated machine knows: who runs now, which accesses came before, and how to report a fault.
 * Order is judged by epochs: an epoch is the time between two barriers of one block, and no two blocks share one.
 */
import type { LoopKernel } from "../ir/loop.ts";
import type { Loc } from "../ir/tile.ts";

export type FaultCode =
  /** Memory or a register is read that nothing has written. */
  | "uninitialised"
  /** Two threads of a block touch an element without a barrier between them, and one of them writes. */
  | "race"
  /** Blocks, or threads in the same epoch, leave different values in one element of a param. */
  | "conflict"
  | "outOfRange"
  | "misaligned"
  /** Threads that should meet at a barrier or an instruction do not. */
  | "divergence"
  /** An asynchronous copy is used before the thread waited for it, or never waited for. */
  | "asyncCopy"
  /** A value that is declared uniform differs between threads. */
  | "notUniform"
  /** An instruction rejects its operands. */
  | "operand";

/** A fault of the program: where, by whom, what, and what to try. */
export class MachineFault extends Error {
  override readonly name = "MachineFault";
  readonly code: FaultCode;
  readonly loc: Loc;
  constructor(code: FaultCode, kernel: string, loc: Loc, block: number, thread: number | undefined, text: string) {
    const who = thread === undefined ? `block ${block}` : `block ${block}, thread ${thread}`;
    super(`${kernel}: ${text}\n  at ${loc.file}:${loc.line} (${who})`);
    this.code = code;
    this.loc = loc;
  }
}

/** Who runs now, and what it may see. */
export class Machine {
  readonly kernel: string;
  /** Place of every checked access, by site number. */
  readonly sites: readonly Loc[];
  block = 0;
  /** Blocks of the launch. */
  blocks = 0;
  thread = 0;
  /** Counts up over the whole launch; 0 is "never". */
  epoch = 0;
  /** First epoch of the block that runs. */
  blockEpoch = 0;
  readonly #uniforms: { readonly site: number; readonly value: number | boolean; readonly thread: number }[] = [];
  readonly #uniformCount: Uint32Array;

  constructor(kernel: LoopKernel, sites: readonly Loc[]) {
    this.kernel = kernel.name;
    this.sites = sites;
    this.#uniformCount = new Uint32Array(kernel.threads);
  }

  startBlock(block: number): void {
    this.block = block;
    this.nextEpoch();
    this.blockEpoch = this.epoch;
  }
  nextEpoch(): void {
    this.epoch++;
    this.#uniforms.length = 0;
    this.#uniformCount.fill(0);
  }

  /** Returns the value, having compared it with what the other threads of the epoch computed at the same point. */
  uniform<T extends number | boolean>(value: T, site: number): T {
    const position = this.#uniformCount[this.thread]!++;
    const first = this.#uniforms[position];
    if (!first) this.#uniforms.push({ site, value, thread: this.thread });
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

  place(site: number): string {
    const { file, line } = this.sites[site]!;
    return `${file}:${line}`;
  }
  fault(code: FaultCode, site: number, text: string): never {
    throw new MachineFault(code, this.kernel, this.sites[site]!, this.block, this.thread, text);
  }
}

/** Last accesses of every unit of a memory: epoch, thread and site of each kind. */
export class Shadow {
  readonly writeEpoch: Int32Array;
  readonly writer: Int32Array;
  readonly writeSite: Int32Array;
  readonly readEpoch: Int32Array;
  /** The thread, or `many`. */
  readonly reader: Int32Array;
  readonly readSite: Int32Array;
  constructor(units: number) {
    [this.writeEpoch, this.writer, this.writeSite] = [new Int32Array(units), new Int32Array(units), new Int32Array(units)];
    [this.readEpoch, this.reader, this.readSite] = [new Int32Array(units), new Int32Array(units), new Int32Array(units)];
  }
  noteRead(unit: number, m: Machine, site: number): void {
    if (this.readEpoch[unit] !== m.epoch) {
      this.readEpoch[unit] = m.epoch;
      this.reader[unit] = m.thread;
      this.readSite[unit] = site;
    } else if (this.reader[unit] !== m.thread) this.reader[unit] = many;
  }
  noteWrite(unit: number, m: Machine, site: number): void {
    this.writeEpoch[unit] = m.epoch;
    this.writer[unit] = m.thread;
    this.writeSite[unit] = site;
  }
  otherWrote(unit: number, m: Machine): boolean {
    return this.writeEpoch[unit] === m.epoch && this.writer[unit] !== m.thread;
  }
  otherRead(unit: number, m: Machine): boolean {
    return this.readEpoch[unit] === m.epoch && this.reader[unit] !== m.thread;
  }
}
export const many = -1;
export const threadName = (thread: number): string => (thread === many ? "other threads" : `thread ${thread}`);
