/** The memory of the simulated machine: shared memory and params, each access checked. */
import { byteSize, decode, type DType, writeElement } from "../../dsl/dtype.ts";
import type { ScalarType } from "../ir/expr.ts";
import type { LaneOperand } from "../ir/instruction.ts";
import { type Operand, type SharedBuffer, swizzled } from "../ir/loop.ts";
import { evaluate, type Field, type Param } from "../ir/manifest.ts";
import { type Machine, many, Shadow } from "./loop_machine.ts";

/** Values of the codes of a format of at most 16 bits. */
function decodeTable(dtype: DType): Float64Array {
  let table = tables.get(dtype);
  if (!table) tables.set(dtype, (table = Float64Array.from({ length: 2 ** (8 * byteSize(dtype)) }, (_, code) => decode(dtype, code))));
  return table;
}
const tables = new Map<DType, Float64Array>();

function reader(dtype: DType, view: DataView): (offset: number) => number {
  if (dtype === "f32") return (offset) => view.getFloat32(offset, true);
  if (dtype === "i32") return (offset) => view.getInt32(offset, true);
  if (dtype === "u32") return (offset) => view.getUint32(offset, true);
  const table = decodeTable(dtype);
  return byteSize(dtype) === 1 ? (offset) => table[view.getUint8(offset)]! : (offset) => table[view.getUint16(offset, true)]!;
}

/** Shared memory of the block that runs. Checks work on words of 4 bytes, so buffers that overlap check each other. */
export class SharedMemory {
  readonly machine: Machine;
  readonly bytes: DataView;
  readonly #shadow: Shadow;
  /** Additions count as reads of it: they need no order among themselves. */
  readonly #atomic: Shadow;
  /** The actor whose asynchronous write to the word is under way, plus 1; or `handedBack`. */
  readonly #pending: Int32Array;
  readonly #copies = new Map<number, Copy[]>();

  constructor(machine: Machine, bytes: number) {
    this.machine = machine;
    const words = Math.ceil(bytes / 4);
    this.bytes = new DataView(new ArrayBuffer(4 * words));
    this.#shadow = new Shadow(words);
    this.#atomic = new Shadow(words);
    this.#pending = new Int32Array(words);
  }

  startBlock(): void {
    this.#pending.fill(0);
    this.#copies.clear();
  }
  checkRead(word: number, site: number, where: () => string): void {
    const m = this.machine;
    if (this.#pending[word] !== 0) this.#underWay(word, "read", site, where());
    if (this.#shadow.writeEpoch[word]! < m.blockEpoch)
      m.fault("uninitialised", site, `${where()} is read and this block has not written it`);
    if (this.#shadow.otherWrote(word, m)) this.#race(site, where(), "reads", "written", this.#shadow.writer[word]!, this.#shadow.writeSite[word]!);
    const adder = this.#atomic.otherReader(word, m);
    if (adder) this.#race(site, where(), "reads", "added to", adder.actor, adder.site);
    this.#shadow.noteRead(word, m, site);
  }
  checkWrite(word: number, site: number, where: () => string): void {
    this.#checkWriter(word, this.machine.thread, site, where);
  }
  checkAtomic(word: number, site: number, where: () => string): void {
    const m = this.machine;
    const s = this.#shadow;
    if (this.#pending[word] !== 0) this.#underWay(word, "added to", site, where());
    if (s.writeEpoch[word]! < m.blockEpoch) m.fault("uninitialised", site, `${where()} is added to and this block has not set it`);
    if (s.otherWrote(word, m)) this.#race(site, where(), "adds to", "written", s.writer[word]!, s.writeSite[word]!);
    const reader = s.otherReader(word, m);
    if (reader) this.#race(site, where(), "adds to", "read", reader.actor, reader.site);
    this.#atomic.noteRead(word, m, site);
  }
  /** A read of the matrix unit, in the async proxy; its clock is that of the threads that started it. */
  checkAsyncRead(word: number, site: number, where: () => string): void {
    this.#checkFenced(word, "reads", site, where);
    this.checkRead(word, site, where);
  }

  /** A write of the running thread whose data arrives when it waits. */
  beginCopy(word: number, site: number, where: () => string): void {
    const m = this.machine;
    const { thread } = m;
    const actor = m.copiesOf(thread);
    if (this.#pending[word] === actor + 1) return;
    this.#checkWriter(word, actor, site, where);
    this.#pending[word] = actor + 1;
    const copies = this.#copies.get(thread);
    if (copies) copies.push({ word, site });
    else this.#copies.set(thread, [{ word, site }]);
  }
  /** The running thread's copies arrive: from now on they count as its writes. */
  finishCopies(): void {
    const m = this.machine;
    for (const { word, site } of this.takeCopies()) {
      this.#pending[word] = 0;
      if (!m.clocked || m.byBlocks) this.#shadow.noteWrite(word, m.thread, m, site);
    }
    if (m.clocked && !m.byBlocks) m.clock.seen[m.copiesOf(m.thread)] = m.epoch++;
  }
  /** Hands over the running thread's copies that are under way. */
  takeCopies(): readonly Copy[] {
    const copies = this.#copies.get(this.machine.thread) ?? [];
    this.#copies.delete(this.machine.thread);
    return copies;
  }
  landCopies(copies: readonly Copy[]): void {
    for (const { word } of copies) this.#pending[word] = 0;
  }
  checkNoCopies(): void {
    for (const [thread, [copy]] of this.#copies) {
      this.machine.become(thread);
      this.machine.fault("asyncCopy", copy!.site, "the block ends and an asynchronous copy of this thread was never waited for");
    }
  }

  /** The copy engine writes the word from now on, at the running thread's behest, until `land`. */
  beginTransfer(word: number, engine: number, site: number, where: () => string): void {
    this.#checkFenced(word, "overwrites", site, where);
    this.#checkWriter(word, engine, site, where);
    this.#pending[word] = engine + 1;
  }
  land(word: number): void {
    this.#pending[word] = 0;
  }
  /** The bytes are free for a new content: nobody may read the old one. */
  handBack(offset: number, bytes: number): void {
    for (let word = offset >> 2; word < (offset + bytes) >> 2; word++) if (this.#pending[word] === 0) this.#pending[word] = handedBack;
  }

  /** The running thread starts a write of `actor`: itself, or an engine on its behalf. */
  #checkWriter(word: number, actor: number, site: number, where: () => string): void {
    const m = this.machine;
    const s = this.#shadow;
    if (this.#pending[word] !== 0) this.#underWay(word, "written", site, where());
    if (s.otherWrote(word, m)) this.#race(site, where(), "writes", "written", s.writer[word]!, s.writeSite[word]!);
    const reader = s.otherReader(word, m);
    if (reader) this.#race(site, where(), "writes", "read", reader.actor, reader.site);
    const adder = this.#atomic.otherReader(word, m);
    if (adder) this.#race(site, where(), "writes", "added to", adder.actor, adder.site);
    s.noteWrite(word, m.clocked && !m.byBlocks ? actor : m.thread, m, site);
  }
  #checkFenced(word: number, does: string, site: number, where: () => string): void {
    const m = this.machine;
    const [writer, epoch] = [this.#shadow.writer[word]!, this.#shadow.writeEpoch[word]!];
    if (epoch < m.blockEpoch || !m.isGeneric(writer) || m.clock.fenced[writer]! >= epoch) return;
    if (this.#shadow.otherWrote(word, m)) return; // a race, which the caller reports
    m.fault(
      "proxy",
      site,
      `${m.nameOf(m.thread)} ${does} ${where()} through the async proxy, which ${m.nameOf(writer)} has written at ` +
        `${m.place(this.#shadow.writeSite[word]!)} without a fenceProxyAsync in between`,
    );
  }
  /** Something that is not simply there: a copy under way, or a slot that was handed back, which may only be written. */
  #underWay(word: number, done: string, site: number, where: string): void {
    const m: Machine = this.machine;
    const pending = this.#pending[word]!;
    if (pending !== handedBack) m.fault("asyncCopy", site, `${where} is ${done} while ${m.nameOf(pending - 1)} to it is under way; wait for it first`);
    if (done !== "written") m.fault("uninitialised", site, `${where} is ${done} after its slot was handed back to the producer`);
    this.#pending[word] = 0;
  }
  #race(site: number, where: string, does: string, done: string, other: number, otherSite: number): never {
    const m: Machine = this.machine;
    const since = m.clocked ? ` at ${m.place(otherSite)}, and nothing orders the two` : ` since the last barrier, at ${m.place(otherSite)}; put a barrier between them`;
    m.fault("race", site, `shared-memory race on ${where}: ${m.nameOf(m.thread)} ${does} what ${m.nameOf(other)} ${other === many ? "have" : "has"} ${done}${since}`);
  }
}
const handedBack = -1;

/** A word that an asynchronous copy writes. */
export interface Copy {
  readonly word: number;
  readonly site: number;
}

/** Where a copy of the copy engine goes. */
export interface TransferTarget extends LaneOperand {
  readonly buffer: BufferView;
}
export type MatrixShape = Pick<Extract<Operand, { kind: "Matrix" }>, "major" | "swizzle" | "stride" | "leading">;

/** One shared buffer. */
export class BufferView {
  readonly #memory: SharedMemory;
  readonly #buffer: SharedBuffer;
  readonly #size: number;
  readonly #get: (offset: number) => number;
  constructor(memory: SharedMemory, buffer: SharedBuffer) {
    this.#memory = memory;
    this.#buffer = buffer;
    this.#size = byteSize(buffer.dtype);
    this.#get = reader(buffer.dtype, memory.bytes);
  }
  read(i: number, site: number): number {
    const offset = this.#offset(i, site);
    this.#memory.checkRead(offset >> 2, site, () => this.#where(i));
    return this.#get(offset);
  }
  write(i: number, value: number, site: number): void {
    const offset = this.#offset(i, site);
    this.#memory.checkWrite(offset >> 2, site, () => this.#where(i));
    writeElement(this.#buffer.dtype, this.#memory.bytes, offset, value);
  }
  /** The start of a store of `count` elements. */
  checkStart(i: number, count: number, site: number): void {
    if (i % count !== 0)
      this.#memory.machine.fault(
        "misaligned",
        site,
        `${count} elements are stored from ${this.#where(i)}, which is no multiple of ${count}`,
      );
  }
  /** Atomic changes; they return the value before. */
  add(i: number, value: number, site: number): number {
    return this.#change(i, site, (old) => old + value);
  }
  or(i: number, value: number, site: number): number {
    return this.#change(i, site, (old) => old | value);
  }
  #change(i: number, site: number, change: (old: number) => number): number {
    const offset = this.#offset(i, site);
    this.#memory.checkAtomic(offset >> 2, site, () => this.#where(i));
    const old = this.#get(offset);
    writeElement(this.#buffer.dtype, this.#memory.bytes, offset, change(old));
    return old;
  }
  operand(start: number, site: number, writable: boolean, asynchronous: boolean): LaneOperand {
    const m = this.#memory.machine;
    const { thread } = m;
    return {
      dtype: this.#buffer.dtype,
      address: this.#buffer.offset + start * this.#size,
      value: NaN,
      read: (i) => (m.become(thread), this.read(start + i, site)),
      write: (i, value) => {
        m.become(thread);
        if (!writable)
          m.fault("operand", site, `the instruction writes shared "${this.#buffer.name}", which its record does not list under writes`);
        if (!asynchronous) return this.write(start + i, value, site);
        const offset = this.#offset(start + i, site);
        this.#memory.beginCopy(offset >> 2, site, () => this.#where(start + i));
        writeElement(this.#buffer.dtype, this.#memory.bytes, offset, value);
      },
    };
  }
  /** The bytes that a copy of `bytes` fills from element `start` on. */
  target(start: number, site: number): TransferTarget {
    const { dtype, offset } = this.#buffer;
    const none = (): never => this.#memory.machine.fault("operand", site, "the instruction reads or writes elements of what a copy fills");
    return { dtype, address: offset + start * this.#size, value: NaN, read: none, write: none, buffer: this };
  }
  /** Starts a copy to a byte address; the engine is its actor. */
  beginTransfer(address: number, bytes: number, engine: number, site: number): void {
    const { offset, elements, name } = this.#buffer;
    if (address < offset || address + bytes > offset + elements * this.#size)
      this.#memory.machine.fault("outOfRange", site, `shared "${name}" has ${elements} elements, a copy fills bytes ${address - offset} to ${address - offset + bytes - 1} of it`);
    const where = (byte: number) => () => this.#where((byte - offset) / this.#size);
    for (let byte = address; byte < address + bytes; byte += 4) this.#memory.beginTransfer(byte >> 2, engine, site, where(byte));
  }
  handBack(start: number, elements: number): void {
    this.#memory.handBack(this.#buffer.offset + start * this.#size, elements * this.#size);
  }
  /** A matrix that the matrix unit reads: element (row, k) is number row * 1024 + k. */
  matrix(start: number, { major, swizzle, stride, leading }: MatrixShape, site: number): LaneOperand {
    const m = this.#memory.machine;
    const { name, dtype, offset, elements } = this.#buffer;
    const size = this.#size;
    const address = offset + start * size;
    const pattern = 8 * swizzle;
    if (offset % pattern !== 0 || address % 16 !== 0 || address % pattern >= swizzle)
      m.fault(
        "misaligned",
        site,
        `a matrix starts at byte ${address} in "${name}" at byte ${offset}; with swizzle ${swizzle} it starts in the first line of ${pattern} aligned bytes, at a multiple of 16`,
      );
    const perLine = swizzle / size;
    const byteOf = (row: number, k: number): number => {
      if (major === "mn") return address + Math.floor(row / perLine) * leading + (k >> 3) * stride + (k & 7) * swizzle + (row % perLine) * size;
      if ((address % swizzle) + k * size >= swizzle) m.fault("operand", site, `a product reads k ${k} of "${name}", past its line of ${swizzle} bytes`);
      return address + (row >> 3) * stride + (row & 7) * swizzle + k * size;
    };
    return {
      dtype,
      address,
      value: NaN,
      read: (i) => {
        const byte = swizzled(byteOf(i >> 10, i & 1023), swizzle);
        if (!(byte >= offset && byte < offset + elements * size))
          m.fault("outOfRange", site, `shared "${name}" has ${elements} elements, a product reads byte ${byte - offset} of it`);
        this.#memory.checkAsyncRead(byte >> 2, site, () => this.#where((byte - offset) / size));
        return this.#get(byte);
      },
      write: () => m.fault("operand", site, `the instruction writes the matrix in "${name}"`),
    };
  }
  #offset(i: number, site: number): number {
    const { elements, offset, name } = this.#buffer;
    if (!(i >= 0 && i < elements))
      this.#memory.machine.fault("outOfRange", site, `shared "${name}" has ${elements} elements, element ${i} is used`);
    return offset + i * this.#size;
  }
  #where(i: number): string {
    return `"${this.#buffer.name}"[${i}]`;
  }
}

/** The bytes of one param and, where the kernel writes it, who touched what. */
export class ParamMemory {
  readonly param: Param;
  readonly view: DataView;
  readonly shadow: Shadow | undefined;
  /** Bytes of one unit of the shadow. */
  readonly unit: number;
  constructor(param: Param, bytes: Uint8Array) {
    this.param = param;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.unit = Math.min(...param.fields.map((f) => byteSize(f.dtype)));
    this.shadow = param.access === "in" ? undefined : new Shadow(Math.ceil(bytes.byteLength / this.unit));
  }
}

/** One field of a param. `at` turns coords into a byte offset, having checked them. */
export class FieldView {
  readonly #machine: Machine;
  readonly #memory: ParamMemory;
  readonly #dtype: DType;
  readonly #name: string;
  readonly #get: (offset: number) => number;
  readonly #axes: readonly { readonly axis: string; readonly size: number; readonly stride: number }[];
  readonly #offset: number;
  constructor(machine: Machine, memory: ParamMemory, field: Field, dims: Readonly<Record<string, number>>) {
    this.#machine = machine;
    this.#memory = memory;
    this.#dtype = field.dtype;
    this.#name = field.name === "" ? memory.param.name : `${memory.param.name}.${field.name}`;
    this.#get = reader(field.dtype, memory.view);
    this.#axes = [...memory.param.axes, ...field.axes].map((a) => ({
      axis: a.axis,
      size: evaluate(a.size, dims),
      stride: evaluate(a.stride, dims),
    }));
    this.#offset = field.offset;
  }

  at(site: number, ...coords: readonly number[]): number {
    let offset = this.#offset;
    for (let i = 0; i < this.#axes.length; i++) {
      const { axis, size, stride } = this.#axes[i]!;
      const coord = coords[i]!;
      if (!(coord >= 0 && coord < size))
        this.#machine.fault("outOfRange", site, `"${this.#name}"[${coords.join(", ")}]: axis ${axis} has ${size} positions`);
      offset += coord * stride;
    }
    if (offset + byteSize(this.#dtype) > this.#memory.view.byteLength)
      this.#machine.fault(
        "outOfRange",
        site,
        `"${this.#name}"[${coords.join(", ")}] lies at byte ${offset} of a buffer of ${this.#memory.view.byteLength}; check the pitch`,
      );
    return offset;
  }
  checkAligned(offset: number, count: number, site: number): void {
    const bytes = Math.min(count * byteSize(this.#dtype), 16);
    if (offset % bytes !== 0)
      this.#machine.fault(
        "misaligned",
        site,
        `${this.#where(offset)} is accessed as aligned and lies at byte ${offset}, no multiple of ${bytes}`,
      );
  }

  read(offset: number, site: number): number {
    const { shadow, unit, param } = this.#memory;
    if (shadow) {
      const m = this.#machine;
      const i = offset / unit;
      const written = shadow.writeEpoch[i]!;
      if (written === 0 && param.access === "out")
        m.fault("uninitialised", site, `output ${this.#where(offset)} is read before anything is written to it`);
      if (written !== 0 && written < m.blockEpoch)
        m.fault(
          "race",
          site,
          `${this.#where(offset)} is read, which another block wrote at ${m.place(shadow.writeSite[i]!)}; blocks run in any order`,
        );
      if (shadow.otherWrote(i, m))
        m.fault(
          "race",
          site,
          `${this.#where(offset)} is read, which ${m.nameOf(shadow.writer[i]!)} wrote since the last barrier, ` +
            `at ${m.place(shadow.writeSite[i]!)}; put a barrier between them`,
        );
      shadow.noteRead(i, m, site);
    }
    return this.#get(offset);
  }

  write(offset: number, value: number, site: number): void {
    const { shadow, unit } = this.#memory;
    const m: Machine = this.#machine;
    if (!shadow) m.fault("conflict", site, `"${this.#name}" is an input and is written`);
    const i = offset / unit;
    const written = shadow.writeEpoch[i]!;
    const reader = shadow.otherReader(i, m);
    if (reader || (shadow.readEpoch[i] !== 0 && shadow.readEpoch[i]! < m.blockEpoch))
      m.fault(
        "race",
        site,
        `${this.#where(offset)} is written, which ${reader ? m.nameOf(reader.actor) : "another block"} has read, ` +
          `at ${m.place(reader?.site ?? shadow.readSite[i]!)}, with nothing to order them`,
      );
    const unordered = written !== 0 && (written < m.blockEpoch || shadow.otherWrote(i, m));
    const before = unordered ? this.#get(offset) : value;
    const [writer, writeSite] = [shadow.writer[i]!, shadow.writeSite[i]!];
    writeElement(this.#dtype, this.#memory.view, offset, value);
    if (unordered && !Object.is(this.#get(offset), before))
      m.fault(
        "conflict",
        site,
        `${this.#where(offset)} gets ${this.#get(offset)}, where ${written < m.blockEpoch ? "another block" : m.nameOf(writer)} left ${before}, ` +
          `at ${m.place(writeSite)}; one of them must own the element`,
      );
    shadow.noteWrite(i, m.thread, m, site);
  }

  /** The element at a byte offset, by its coords. */
  #where(offset: number): string {
    let rest = offset - this.#offset;
    const coords = this.#axes.map(({ stride }) => {
      const coord = Math.floor(rest / stride);
      rest -= coord * stride;
      return coord;
    });
    return `"${this.#name}"[${coords.join(", ")}]`;
  }

  operand(coords: readonly number[], site: number, writable: boolean): LaneOperand {
    const m = this.#machine;
    const { thread } = m;
    const last = coords.length - 1;
    const at = (i: number) => this.at(site, ...coords.map((c, d) => (d === last ? c + i : c)));
    return {
      dtype: this.#dtype,
      address: this.#axes.reduce((offset, { stride }, d) => offset + coords[d]! * stride, this.#offset),
      value: NaN,
      read: (i) => (m.become(thread), this.read(at(i), site)),
      write: (i, value) => {
        m.become(thread);
        if (!writable) m.fault("operand", site, `the instruction writes "${this.#name}", which its record does not list under writes`);
        this.write(at(i), value, site);
      },
    };
  }
}

/** A value operand. */
export function valueOperand(machine: Machine, dtype: ScalarType, value: number | boolean, site: number): LaneOperand {
  const none = (): never => machine.fault("operand", site, "the instruction reads or writes elements of an operand that is a value");
  return { dtype, address: 0, value: Number(value), read: none, write: none };
}
