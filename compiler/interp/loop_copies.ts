/** Copies that run on their own time: boxes of a param that the copy engine brings (TMA), and arrivals that follow a thread's cp.async. */
import { byteSize } from "../../dsl/dtype.ts";
import type { LaneOperand } from "../ir/instruction.ts";
import { swizzled } from "../ir/loop.ts";
import { evaluate, type TensorMap } from "../ir/manifest.ts";
import type { Mbarrier } from "./loop_barriers.ts";
import type { Machine } from "./loop_machine.ts";
import type { SharedMemory, TransferTarget } from "./loop_memory.ts";

/** Hardware beside the threads: work that waits to be done. */
export interface Engine {
  readonly busy: boolean;
  /** Does some of it. */
  step(random: () => number): void;
}

interface Transfer {
  /** Whose it is, where only the order of one thread's transfers is fixed. */
  readonly thread: number | undefined;
  land(): void;
}


export class CopyEngine implements Engine {
  readonly #machine: Machine;
  readonly #memory: SharedMemory;
  readonly #underWay: Transfer[] = [];
  constructor(machine: Machine, memory: SharedMemory) {
    this.#machine = machine;
    this.#memory = memory;
  }
  get busy(): boolean {
    return this.#underWay.length > 0;
  }
  startBlock(): void {
    this.#underWay.length = 0;
  }
  /** One transfer lands: any, but the arrivals of one thread in order. */
  step(random: () => number): void {
    const picked = this.#underWay[random() % this.#underWay.length]!;
    const first = picked.thread === undefined ? picked : this.#underWay.find((t) => t.thread === picked.thread)!;
    this.#underWay.splice(this.#underWay.indexOf(first), 1);
    first.land();
  }
  /** A box on its way to a slot. */
  start(map: BoxView, to: TransferTarget, barrier: Mbarrier, coords: readonly number[], site: number): void {
    map.checkTarget(to.address, coords, site);
    barrier.claim(map.bytes, site);
    to.buffer.beginTransfer(to.address, map.bytes, barrier.engine, site);
    const land = (): void => {
      map.read(coords, site, (from, value) => this.#memory.bytes.setUint8(swizzled(to.address + from, map.swizzle), value));
      for (let byte = 0; byte < map.bytes; byte += 4) this.#memory.land((to.address + byte) >> 2);
      barrier.land(map.bytes);
    };
    this.#underWay.push({ thread: undefined, land });
  }
  /** The running thread's copies arrive at a barrier once they have landed. */
  arriveAfterCopies(barrier: Mbarrier, site: number): void {
    const m = this.#machine;
    const { thread } = m;
    barrier.checkArrival(site);
    const copies = this.#memory.takeCopies();
    const epoch = m.epoch++;
    const land = (): void => {
      m.become(thread);
      this.#memory.landCopies(copies);
      barrier.arriveCopies(m.copiesOf(thread), epoch, site);
    };
    this.#underWay.push({ thread, land });
  }
  /** The running thread waits for all of its copies, those that arrive at a barrier too. */
  finishCopies(): void {
    const { thread } = this.#machine;
    const own = this.#underWay.filter((t) => t.thread === thread);
    for (const t of own) {
      this.#underWay.splice(this.#underWay.indexOf(t), 1);
      t.land();
    }
    this.#memory.finishCopies();
  }
}

/** A tensor map over the bytes of its param. */
export class BoxView {
  readonly #machine: Machine;
  readonly #map: TensorMap;
  readonly #view: DataView;
  readonly #sizes: readonly number[];
  readonly #strides: readonly number[];
  /** Bytes of a box. */
  readonly bytes: number;
  constructor(machine: Machine, map: TensorMap, bytes: Uint8Array, values: Readonly<Record<string, number>>) {
    this.#machine = machine;
    this.#map = map;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#sizes = map.sizes.map((s) => evaluate(s, values));
    this.#strides = [byteSize(map.dtype), ...map.strides.map((s) => evaluate(s, values))];
    this.bytes = map.box.reduce((n, b) => n * b, byteSize(map.dtype));
  }
  get swizzle(): TensorMap["swizzle"] {
    return this.#map.swizzle;
  }

  checkTarget(address: number, coords: readonly number[], site: number): void {
    const { name, box } = this.#map;
    const multiple = Math.max(128, 8 * this.swizzle);
    if (address % multiple !== 0) this.#machine.fault("misaligned", site, `a box of ${name} goes to shared byte ${address}, which is no multiple of ${multiple}`);
    if (coords.length !== box.length) this.#machine.fault("operand", site, `${name} has ${box.length} dimensions and gets ${coords.length} coordinates`);
  }
  /** Calls `put` for each byte of the box at `coords`, with its place in the linear image; outside of the sizes they are 0. */
  read(coords: readonly number[], site: number, put: (at: number, value: number) => void): void {
    const size = this.#strides[0]!;
    const row = this.#map.box[0]! * size;
    for (let at = 0; at < this.bytes; at += row) {
      const from = this.#rowAt(coords, at / row);
      for (let byte = 0; byte < row; byte++) {
        const x = coords[0]! + Math.floor(byte / size);
        const inside = from !== undefined && x >= 0 && x < this.#sizes[0]!;
        put(at + byte, inside ? this.#byte(from + coords[0]! * size + byte, site) : 0);
      }
    }
  }
  /** Byte address where row `row` of the box starts, if it lies inside the sizes. */
  #rowAt(coords: readonly number[], row: number): number | undefined {
    let [rest, from] = [row, this.#map.offset];
    for (let d = 1; d < coords.length; d++) {
      const x = coords[d]! + (rest % this.#map.box[d]!);
      rest = Math.floor(rest / this.#map.box[d]!);
      if (!(x >= 0 && x < this.#sizes[d]!)) return undefined;
      from += x * this.#strides[d]!;
    }
    return from;
  }
  #byte(at: number, site: number): number {
    if (at >= this.#view.byteLength)
      this.#machine.fault("outOfRange", site, `${this.#map.name} reads byte ${at} of "${this.#map.param}", which has ${this.#view.byteLength}`);
    return this.#view.getUint8(at);
  }
  operand(site: number): BoxOperand {
    const none = (): never => this.#machine.fault("operand", site, `the instruction reads or writes elements of ${this.#map.name}`);
    return { dtype: this.#map.dtype, address: 0, value: NaN, read: none, write: none, map: this };
  }
}

/** A tensor map as an operand. */
export interface BoxOperand extends LaneOperand {
  readonly map: BoxView;
}
