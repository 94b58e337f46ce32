/**
 * A simulated machine that runs Loop IR: what a generated kernel does, without a GPU and with every mistake called out.
 *
 * Blocks run one after another, those of a cluster side by side. The threads of a block run in a random order from one meeting point to the next: a barrier, a wait, or an
 * instruction of a warp, warpgroup or block. Copies and matrix products that the hardware makes on its own time land at random moments in
 * between. f32 operations round each result, integers wrap. The machine raises a MachineFault for
 *   - reads of shared memory, registers or outputs that nothing has written, or of slots that were handed back,
 *   - two actors on one shared element with nothing to order them, one of them writing (atomic additions among themselves are fine),
 *   - two blocks or unordered threads that leave different values in one element of a param, or exchange data through one,
 *   - accesses out of range, or less aligned than they claim,
 *   - barriers and joint instructions that some of their threads do not reach, and uniform values that differ,
 *   - hardware barriers that get arrivals or bytes that they do not count, and waits that nobody ends,
 *   - asynchronous copies and products that are used before their wait, or never waited for; registers that products still use,
 *   - blocks of a cluster that reach for a leader which may not have begun, or may have ended,
 *   - copies and products that meet what ordinary instructions wrote, with no proxy fence between.
 */
import { round } from "../../dsl/dtype.ts";
import { orderedKey, orderedValue } from "../../dsl/math.ts";
import type { Instruction, LaneOperand } from "../ir/instruction.ts";
import type { LoopKernel } from "../ir/loop.ts";
import { evaluate, MULTIPROCESSORS } from "../ir/manifest.ts";
import { type BarrierOperand, BarrierView, Mbarrier } from "./loop_barriers.ts";
import { callsOf, compileThread, type Stop, type ThreadProgram } from "./loop_compile.ts";
import { ClusterBarrier, LeaderView, LeaderVisits } from "./loop_clusters.ts";
import { BoxView, CopyEngine, type Engine } from "./loop_copies.ts";
import { meaningOf, needsClocks } from "./loop_instructions.ts";
import { Machine, MachineFault, warpgroupSize } from "./loop_machine.ts";
import { BufferView, FieldView, ParamMemory, SharedMemory, valueOperand } from "./loop_memory.ts";
import { Warpgroup } from "./loop_products.ts";
import { Registers } from "./loop_registers.ts";
import { runBlock } from "./loop_schedule.ts";

export { MachineFault, type FaultCode } from "./loop_machine.ts";

export interface LoopRunOptions {
  /** Picks the order of threads. */
  readonly seed?: number;
  /** Blocks to run, in this order, of a cluster its first one; all of them if absent. */
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
  const called = new Set(callsOf(kernel.body).map((c) => records.get(c.instruction)!));
  const clusterSize = kernel.cluster ?? 1;
  const clocked = kernel.body.some((s) => s.kind === "Roles") || [...called].some(needsClocks);
  if (kernel.cluster && clocked) throw new RangeError(`${kernel.name}: clusters with roles, hardware barriers or asynchronous engines are not simulated`);
  const machine = new Machine(kernel, sites, clocked);

  /** Runs `semantics`; what it throws is a fault of the program at `site`. */
  const compute = (instruction: Instruction, lanes: readonly (readonly LaneOperand[])[], site: number): void => {
    const { thread } = machine;
    try {
      instruction.semantics(lanes);
    } catch (cause) {
      if (cause instanceof MachineFault) throw cause;
      machine.thread = thread;
      machine.fault("operand", site, `${instruction.name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
  };
  const warpgroups = Array.from(
    { length: Math.floor(machine.threads / warpgroupSize) },
    (_, i) => new Warpgroup(machine, i * warpgroupSize, ({ instruction, lanes, site }) => compute(instruction, lanes, site)),
  );
  const cluster = new ClusterBarrier(machine);
  const visits = new LeaderVisits(machine, kernel.threads);
  const wait = ({ barrier }: BarrierOperand, { value: parity }: LaneOperand, site: number): Stop => {
    barrier.checkWait(parity, site);
    return { kind: "Wait", site, barrier, parity };
  };
  const clusterWait = (site: number): Stop => ({ kind: "Wait", site, barrier: cluster, parity: cluster.beginWait(site) });
  const fields = fieldViews(kernel, machine, buffers, values);
  const maps = Object.fromEntries(kernel.tensorMaps.map((m) => [m.name, new BoxView(machine, m, bytesOf(kernel, buffers, m.param), values)]));
  const programOf = new Function("lib", `"use strict";\n${text}`) as (library: object) => ThreadProgram;

  /** The hardware of a block: one, or one for each block of a cluster. */
  const hardware = Array.from({ length: clusterSize }, () => {
    const memory = new SharedMemory(machine, kernel.sharedBytes);
    const views = new Map(kernel.shared.map((b) => [b.name, new BufferView(memory, b)]));
    const { barriers, slots } = barriersOf(kernel, machine, views);
    const copies = new CopyEngine(machine, memory);
    const meanings = new Map([...called].map((instruction) => [instruction, meaningOf(instruction, { machine, barriers: slots, copies, warpgroups, cluster })]));
    return { memory, views, barriers, slots, copies, meanings };
  });
  const execute = (instruction: Instruction, lanes: readonly (readonly LaneOperand[])[], site: number): void => {
    const own = hardware[machine.rankOf(machine.thread)]!.meanings.get(instruction);
    if (own) own(lanes, site);
    else compute(instruction, lanes, site);
  };
  const leader = Object.fromEntries([...hardware[0]!.views].map(([name, view]) => [name, new LeaderView(visits, view)]));
  const programs = hardware.map(({ views, barriers }) =>
    programOf({
      machine,
      buffers: Object.fromEntries(views),
      leader,
      barriers,
      fields,
      maps,
      dims: values,
      round,
      scalar: scalarFunctions,
      Registers,
      value: valueOperand,
      instructions: records,
      execute,
      wait,
      clusterWait,
    }),
  );

  const count = evaluate(kernel.blocks, { ...values, [MULTIPROCESSORS]: options.multiprocessors ?? 2 });
  machine.blocks = count;
  const random = generator(options.seed ?? 1);
  const engines: readonly Engine[] = machine.clocked ? [...hardware.map((h) => h.copies), ...warpgroups] : [];
  const parts = [machine, cluster, visits, ...hardware.flatMap(({ memory, copies, slots }) => [memory, copies, ...slots]), ...warpgroups];
  for (const block of options.blocks ?? Array.from({ length: Math.ceil(count / clusterSize) }, (_, c) => c * clusterSize)) {
    if (!(block >= 0 && block < count)) throw new RangeError(`block ${block} is not one of the ${count} blocks of ${kernel.name}`);
    if (block % clusterSize !== 0) throw new RangeError(`block ${block} of ${kernel.name} is not the first one of a cluster of ${clusterSize}`);
    parts.forEach((p) => p.startBlock(block));
    const threads = programs.flatMap((program, rank) => Array.from({ length: kernel.threads }, (_, thread) => program(block + rank, thread)));
    runBlock(machine, threads, execute, engines, random, (thread) => {
      cluster.leave(thread);
      visits.leave(thread);
    });
    for (const { memory } of hardware) memory.checkNoCopies();
    for (const part of [...hardware.flatMap((h) => h.slots), ...warpgroups]) part.checkDone(sites.length - 1);
  }
}

/** The barriers by name, and all slots. At the end of each phase of an empty slot, nobody may read what lies in it any more. */
function barriersOf(
  kernel: LoopKernel,
  machine: Machine,
  buffers: ReadonlyMap<string, BufferView>,
): { readonly barriers: Record<string, BarrierView>; readonly slots: readonly Mbarrier[] } {
  const barriers: Record<string, BarrierView> = {};
  const slots: Mbarrier[] = [];
  for (const { name, slots: count, arrivals, offset } of kernel.barriers) {
    const filled = kernel.pipes.filter((p) => p.empty === name).flatMap((p) => p.buffers);
    const own = Array.from({ length: count }, (_, slot) => {
      const handBack = (): void => filled.forEach(({ buffer, elements }) => buffers.get(buffer)!.handBack(slot * elements, elements));
      return new Mbarrier(machine, `${name}[${slot}]`, machine.copyEngine(slots.length + slot), arrivals, handBack);
    });
    slots.push(...own);
    barriers[name] = new BarrierView(machine, name, offset, own);
  }
  return { barriers, slots };
}

function bytesOf(kernel: LoopKernel, buffers: Readonly<Record<string, Uint8Array>>, param: string): Uint8Array {
  const bytes = buffers[param];
  if (!bytes)
    throw new RangeError(`${kernel.name}: no buffer for "${param}"; pass one for each of ${kernel.params.map((p) => p.name).join(", ")}`);
  return bytes;
}

function fieldViews(
  kernel: LoopKernel,
  machine: Machine,
  buffers: Readonly<Record<string, Uint8Array>>,
  dims: Readonly<Record<string, number>>,
): Record<string, FieldView> {
  const views: Record<string, FieldView> = {};
  for (const param of kernel.params) {
    const need = evaluate(param.bytes, dims);
    const bytes = bytesOf(kernel, buffers, param.name);
    if (bytes.byteLength < need)
      throw new RangeError(
        `${kernel.name}: buffer "${param.name}" has ${bytes.byteLength} bytes and needs ${need}; check its dims and pitch`,
      );
    const memory = new ParamMemory(param, bytes);
    for (const field of param.fields) views[`${param.name}.${field.name}`] = new FieldView(machine, memory, field, dims);
  }
  return views;
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
  clz32: Math.clz32,
  orderedKey,
  orderedValue,
  toI32: (x: number) => (Number.isNaN(x) ? 0 : Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(x)))),
  toU32: (x: number) => (Number.isNaN(x) ? 0 : Math.max(0, Math.min(2 ** 32 - 1, Math.trunc(x)))),
};
