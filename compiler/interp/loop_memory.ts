/** The memory of the simulated machine: registers, shared memory and params, each access checked. */
import { byteSize, decode, type DType, writeElement } from "../../dsl/dtype.ts";
import type { ScalarType } from "../ir/expr.ts";
import type { LaneOperand } from "../ir/instruction.ts";
import type { SharedBuffer } from "../ir/loop.ts";
import { evaluate, type Field, type Param } from "../ir/manifest.ts";
import { type Machine, many, Shadow, threadName } from "./loop_machine.ts";

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

/** A register array of one thread. */
export class Registers {
  readonly #machine: Machine;
  readonly #name: string;
  readonly #type: ScalarType;
  readonly #values: Float64Array;
  readonly #written: Uint8Array;
  constructor(machine: Machine, name: string, type: ScalarType, size: number) {
    this.#machine = machine;
    this.#name = name;
    this.#type = type;
    this.#values = new Float64Array(size);
    this.#written = new Uint8Array(size);
  }
  read(i: number, site: number): number {
    if (this.#written[i] !== 1) this.#bad(i, site);
    return this.#values[i]!;
  }
  write(i: number, value: number, site: number): void {
    if (this.#written[i] === undefined) this.#bad(i, site);
    this.#values[i] = value;
    this.#written[i] = 1;
  }
  operand(start: number, count: number, site: number, writable: boolean): LaneOperand {
    const m = this.#machine;
    const { thread } = m;
    const check = (i: number) =>
      i >= 0 && i < count ? start + i : m.fault("operand", site, `the instruction uses register ${i} of ${count} of "${this.#name}"`);
    return {
      dtype: this.#type,
      address: 0,
      value: NaN,
      read: (i) => ((m.thread = thread), this.read(check(i), site)),
      write: (i, value) => {
        m.thread = thread;
        if (!writable) m.fault("operand", site, `the instruction writes "${this.#name}", which its record does not list under writes`);
        this.write(check(i), value, site);
      },
    };
  }
  #bad(i: number, site: number): never {
    const size = this.#values.length;
    if (!(i >= 0 && i < size))
      this.#machine.fault("outOfRange", site, `register array "${this.#name}" has ${size} elements, element ${i} is used`);
    this.#machine.fault("uninitialised", site, `register "${this.#name}"[${i}] is read before anything is written to it`);
  }
}

/** Shared memory of the block that runs. Checks work on words of 4 bytes, so buffers that overlap check each other. */
export class SharedMemory {
  readonly machine: Machine;
  readonly bytes: DataView;
  readonly #shadow: Shadow;
  readonly #atomic: Shadow;
  /** Threads whose asynchronous copy to the word is under way, plus 1. */
  readonly #pending: Int32Array;
  readonly #copies = new Map<number, { readonly word: number; readonly site: number }[]>();

  constructor(machine: Machine, bytes: number) {
    this.machine = machine;
    const words = Math.ceil(bytes / 4);
    this.bytes = new DataView(new ArrayBuffer(4 * words));
    this.#shadow = new Shadow(words);
    this.#atomic = new Shadow(words);
    this.#pending = new Int32Array(words);
  }

  checkRead(word: number, site: number, where: () => string): void {
    const m = this.machine;
    if (this.#pending[word] !== 0)
      m.fault(
        "asyncCopy",
        site,
        `${where()} is read while an asynchronous copy of thread ${this.#pending[word]! - 1} to it is under way; wait for it first`,
      );
    if (this.#shadow.writeEpoch[word]! < m.blockEpoch)
      m.fault("uninitialised", site, `${where()} is read and this block has not written it`);
    if (this.#shadow.otherWrote(word, m))
      this.#race(site, where(), "reads", "written", this.#shadow.writer[word]!, this.#shadow.writeSite[word]!);
    if (this.#atomic.otherWrote(word, m))
      this.#race(site, where(), "reads", "added to", this.#atomic.writer[word]!, this.#atomic.writeSite[word]!);
    this.#shadow.noteRead(word, m, site);
  }
  checkWrite(word: number, site: number, where: () => string): void {
    const m = this.machine;
    const s = this.#shadow;
    if (this.#pending[word] !== 0)
      m.fault(
        "asyncCopy",
        site,
        `${where()} is written while an asynchronous copy of thread ${this.#pending[word]! - 1} to it is under way; wait for it first`,
      );
    if (s.otherWrote(word, m)) this.#race(site, where(), "writes", "written", s.writer[word]!, s.writeSite[word]!);
    if (s.otherRead(word, m)) this.#race(site, where(), "writes", "read", s.reader[word]!, s.readSite[word]!);
    if (this.#atomic.otherWrote(word, m))
      this.#race(site, where(), "writes", "added to", this.#atomic.writer[word]!, this.#atomic.writeSite[word]!);
    s.noteWrite(word, m, site);
  }
  checkAtomic(word: number, site: number, where: () => string): void {
    const m = this.machine;
    const s = this.#shadow;
    if (s.writeEpoch[word]! < m.blockEpoch) m.fault("uninitialised", site, `${where()} is added to and this block has not set it`);
    if (s.otherWrote(word, m)) this.#race(site, where(), "adds to", "written", s.writer[word]!, s.writeSite[word]!);
    if (s.otherRead(word, m)) this.#race(site, where(), "adds to", "read", s.reader[word]!, s.readSite[word]!);
    const shared = this.#atomic.otherWrote(word, m);
    this.#atomic.noteWrite(word, m, site);
    if (shared) this.#atomic.writer[word] = many;
  }

  /** A write whose data arrives when the thread waits. */
  beginCopy(word: number, site: number, where: () => string): void {
    const { thread } = this.machine;
    if (this.#pending[word] === thread + 1) return;
    this.checkWrite(word, site, where);
    this.#pending[word] = thread + 1;
    const copies = this.#copies.get(thread);
    if (copies) copies.push({ word, site });
    else this.#copies.set(thread, [{ word, site }]);
  }
  /** The running thread's copies arrive: from now on they count as its writes. */
  finishCopies(): void {
    const m = this.machine;
    for (const { word, site } of this.#copies.get(m.thread) ?? []) {
      this.#pending[word] = 0;
      this.#shadow.noteWrite(word, m, site);
    }
    this.#copies.delete(m.thread);
  }
  checkNoCopies(): void {
    for (const [thread, [copy]] of this.#copies) {
      this.machine.thread = thread;
      this.machine.fault("asyncCopy", copy!.site, "the block ends and an asynchronous copy of this thread was never waited for");
    }
  }

  #race(site: number, where: string, does: string, done: string, other: number, otherSite: number): never {
    const m: Machine = this.machine;
    m.fault(
      "race",
      site,
      `shared-memory race on ${where}: thread ${m.thread} ${does} what ${threadName(other)} has ${done} since the last barrier, ` +
        `at ${m.place(otherSite)}; put a barrier between them`,
    );
  }
}

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
      read: (i) => ((m.thread = thread), this.read(start + i, site)),
      write: (i, value) => {
        m.thread = thread;
        if (!writable)
          m.fault("operand", site, `the instruction writes shared "${this.#buffer.name}", which its record does not list under writes`);
        if (!asynchronous) return this.write(start + i, value, site);
        const offset = this.#offset(start + i, site);
        this.#memory.beginCopy(offset >> 2, site, () => this.#where(start + i));
        writeElement(this.#buffer.dtype, this.#memory.bytes, offset, value);
      },
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
          `${this.#where(offset)} is read, which ${threadName(shadow.writer[i]!)} wrote since the last barrier, ` +
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
    if (shadow.otherRead(i, m) || (shadow.readEpoch[i] !== 0 && shadow.readEpoch[i]! < m.blockEpoch))
      m.fault(
        "race",
        site,
        `${this.#where(offset)} is written, which ${shadow.readEpoch[i] === m.epoch ? threadName(shadow.reader[i]!) : "another block"} has read, ` +
          `at ${m.place(shadow.readSite[i]!)}, with nothing to order them`,
      );
    const unordered = written !== 0 && (written < m.blockEpoch || shadow.otherWrote(i, m));
    const before = unordered ? this.#get(offset) : value;
    const [writer, writeSite] = [shadow.writer[i]!, shadow.writeSite[i]!];
    writeElement(this.#dtype, this.#memory.view, offset, value);
    if (unordered && !Object.is(this.#get(offset), before))
      m.fault(
        "conflict",
        site,
        `${this.#where(offset)} gets ${this.#get(offset)}, where ${written < m.blockEpoch ? "another block" : threadName(writer)} left ${before}, ` +
          `at ${m.place(writeSite)}; one of them must own the element`,
      );
    shadow.noteWrite(i, m, site);
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
      read: (i) => ((m.thread = thread), this.read(at(i), site)),
      write: (i, value) => {
        m.thread = thread;
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
