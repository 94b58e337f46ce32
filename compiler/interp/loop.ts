/**
 * A simulated machine that runs Loop IR: what a generated kernel does, without a GPU and with every mistake called out.
 *
 * Blocks run one after another. The threads of a block run in a random order from one meeting point to the next: a barrier, or an
 * instruction of a warp or block. f32 operations round each result, integers wrap. The machine raises a MachineFault for
 *   - reads of shared memory, registers or outputs that nothing has written,
 *   - two threads on one shared element without a barrier between, one of them writing (atomic additions among themselves are fine),
 *   - two blocks or unordered threads that leave different values in one element of a param, or exchange data through one,
 *   - accesses out of range, or less aligned than they claim,
 *   - barriers and warp instructions that some of their threads do not reach, and uniform values that differ,
 *   - asynchronous copies that are read before their wait (by others: before the barrier after it) or never waited for.
 */
import { round } from "../../dsl/dtype.ts";
import type { Instruction, LaneOperand } from "../ir/instruction.ts";
import type { LoopKernel } from "../ir/loop.ts";
import { evaluate, MULTIPROCESSORS } from "../ir/manifest.ts";
import { compileThread, type Stop, type ThreadProgram } from "./loop_compile.ts";
import { Machine, MachineFault } from "./loop_machine.ts";
import { BufferView, FieldView, ParamMemory, Registers, SharedMemory, valueOperand } from "./loop_memory.ts";

export { MachineFault, type FaultCode } from "./loop_machine.ts";

const warpSize = 32;

export interface LoopRunOptions {
  /** Picks the order of threads. */
  readonly seed?: number;
  /** Blocks to run, in this order; all of them if absent. */
  readonly blocks?: readonly number[];
  /** Multiprocessors of the device that the launch believes in; 2 if absent. */
  readonly multiprocessors?: number;
}

/**
 * Runs a kernel over `buffers` (one per param, little-endian bytes as on the device; outputs are written in place).
 * Dims that have a default may be left out. Throws a MachineFault for a fault of the program, a RangeError for wrong arguments.
 */
export function runLoop(
  kernel: LoopKernel,
  instructions: readonly Instruction[],
  buffers: Readonly<Record<string, Uint8Array>>,
  dims: Readonly<Record<string, number>>,
  options: LoopRunOptions = {},
): void {
  const values: Record<string, number> = { ...dims };
  for (const d of kernel.dims) if (values[d.name] === undefined && d.default !== undefined) values[d.name] = evaluate(d.default, values);

  const records = new Map(instructions.map((i) => [i.name, i]));
  const { text, sites } = compileThread(kernel, records);
  const machine = new Machine(kernel, sites);
  const memory = new SharedMemory(machine, kernel.sharedBytes);
  const execute = (instruction: Instruction, lanes: readonly (readonly LaneOperand[])[], site: number): void => {
    const { thread } = machine;
    if (instruction.timeline === "cpAsync" && instruction.writes.length === 0) memory.finishCopies();
    try {
      instruction.semantics(lanes);
    } catch (cause) {
      if (cause instanceof MachineFault) throw cause;
      machine.thread = thread;
      machine.fault("operand", site, `${instruction.name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  };
  const library = {
    machine,
    buffers: Object.fromEntries(kernel.shared.map((b) => [b.name, new BufferView(memory, b)])),
    fields: fieldViews(kernel, machine, buffers, values),
    dims: values,
    round,
    scalar: scalarFunctions,
    Registers,
    value: valueOperand,
    instructions: records,
    execute,
  };
  const program = new Function("lib", `"use strict";\n${text}`)(library) as ThreadProgram;

  const count = evaluate(kernel.blocks, { ...values, [MULTIPROCESSORS]: options.multiprocessors ?? 2 });
  machine.blocks = count;
  const random = generator(options.seed ?? 1);
  for (const block of options.blocks ?? Array.from({ length: count }, (_, b) => b)) {
    if (!(block >= 0 && block < count)) throw new RangeError(`block ${block} is not one of the ${count} blocks of ${kernel.name}`);
    machine.startBlock(block);
    runBlock(kernel.threads, machine, program, execute, random);
    memory.checkNoCopies();
  }
}

function fieldViews(
  kernel: LoopKernel,
  machine: Machine,
  buffers: Readonly<Record<string, Uint8Array>>,
  dims: Readonly<Record<string, number>>,
): Record<string, FieldView> {
  const views: Record<string, FieldView> = {};
  for (const param of kernel.params) {
    const bytes = buffers[param.name];
    const need = evaluate(param.bytes, dims);
    if (!bytes)
      throw new RangeError(
        `${kernel.name}: no buffer for "${param.name}"; pass one for each of ${kernel.params.map((p) => p.name).join(", ")}`,
      );
    if (bytes.byteLength < need)
      throw new RangeError(
        `${kernel.name}: buffer "${param.name}" has ${bytes.byteLength} bytes and needs ${need}; check its dims and pitch`,
      );
    const memory = new ParamMemory(param, bytes);
    for (const field of param.fields) views[`${param.name}.${field.name}`] = new FieldView(machine, memory, field, dims);
  }
  return views;
}

/** What a thread waits for; "ready" to run, "done" at its end. */
type State = Stop | "ready" | "done";

function runBlock(
  count: number,
  machine: Machine,
  program: ThreadProgram,
  execute: (instruction: Instruction, lanes: readonly (readonly LaneOperand[])[], site: number) => void,
  random: () => number,
): void {
  const threads = Array.from({ length: count }, (_, thread) => program(machine.block, thread));
  const states: State[] = threads.map(() => "ready");
  const order = threads.map((_, thread) => thread);

  /** Runs the instruction that all these threads wait for, if they do. */
  const meet = (first: number, end: number, scope: Instruction["scope"]): boolean => {
    const stop = states[first];
    if (typeof stop !== "object" || stop.kind !== "Call" || stop.instruction.scope !== scope) return false;
    const lanes: (readonly LaneOperand[])[] = [];
    for (let t = first; t < end; t++) {
      const other = states[t];
      if (typeof other !== "object" || other.kind !== "Call" || other.site !== stop.site || other.instruction !== stop.instruction)
        return false;
      lanes.push(other.operands);
    }
    machine.thread = first;
    execute(stop.instruction, lanes, stop.site);
    states.fill("ready", first, end);
    return true;
  };

  for (;;) {
    shuffle(order, random);
    for (const thread of order) {
      if (states[thread] !== "ready") continue;
      machine.thread = thread;
      const step = threads[thread]!.next();
      states[thread] = step.done ? "done" : step.value;
    }
    let progress = false;
    for (let first = 0; first + warpSize <= count; first += warpSize) progress = meet(first, first + warpSize, "warp") || progress;
    if (progress || meet(0, count, "block")) continue;
    if (states.every((s) => s === "done")) return;
    const [stop] = states;
    if (
      typeof stop !== "object" ||
      stop.kind !== "Barrier" ||
      !states.every((s) => typeof s === "object" && s.kind === "Barrier" && s.site === stop.site)
    )
      diverged(machine, states);
    machine.nextEpoch();
    states.fill("ready");
  }
}

/** No thread can go on. */
function diverged(machine: Machine, states: readonly State[]): never {
  const describe = (s: State): string => {
    if (typeof s !== "object") return "ended";
    return `wait ${s.kind === "Barrier" ? "at a barrier" : `for all lanes at ${s.instruction.name}`}, ${machine.place(s.site)}`;
  };
  const groups = new Map<State | number, { readonly what: string; readonly threads: number[] }>();
  for (const [thread, s] of states.entries()) {
    const key = typeof s === "object" ? s.site : s;
    const group = groups.get(key);
    if (group) group.threads.push(thread);
    else groups.set(key, { what: describe(s), threads: [thread] });
  }
  const text = [...groups.values()].map(({ what, threads }) => `threads ${ranges(threads)} ${what}`).join("; ");
  const thread = states.findIndex((s) => typeof s === "object");
  machine.thread = thread;
  machine.fault(
    "divergence",
    (states[thread] as Stop).site,
    `threads part: ${text}. Barriers need all threads of the block, warp instructions all ${warpSize} lanes of each warp`,
  );
}

/** [0, 1, 2, 5] as "0-2, 5". */
function ranges(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < numbers.length;) {
    let end = i;
    while (numbers[end + 1] === numbers[end]! + 1) end++;
    parts.push(end === i ? String(numbers[i]) : `${numbers[i]}-${numbers[end]}`);
    i = end + 1;
  }
  return parts.join(", ");
}

function shuffle(list: number[], random: () => number): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random() % (i + 1);
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
}

/** Marsaglia's xorshift32. */
function generator(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
/** The scalar table as devices compute it; the caller rounds to the type. Conversions saturate, NaN becomes 0. */
const scalarFunctions = {
  exp: Math.exp,
  exp2: (x: number) => 2 ** x,
  log: Math.log,
  log2: Math.log2,
  log1p: Math.log1p,
  sqrt: Math.sqrt,
  abs: Math.abs,
  floor: Math.floor,
  ceil: Math.ceil,
  tanh: Math.tanh,
  sin: Math.sin,
  cos: Math.cos,
  max: (a: number, b: number) => (Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.max(a, b)),
  min: (a: number, b: number) => (Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.min(a, b)),
  div: (a: number, b: number) => Math.trunc(a / b),
  mod: (a: number, b: number) => a % b,
  bitsOf: (x: number) => ((float[0] = x), bits[0]!),
  floatOf: (x: number) => ((bits[0] = x), float[0]),
  popcount: (x: number) => {
    let count = 0;
    for (let rest = x >>> 0; rest !== 0; rest &= rest - 1) count++;
    return count;
  },
  toI32: (x: number) => (Number.isNaN(x) ? 0 : Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(x)))),
  toU32: (x: number) => (Number.isNaN(x) ? 0 : Math.max(0, Math.min(2 ** 32 - 1, Math.trunc(x)))),
};
