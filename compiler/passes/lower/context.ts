/** State of one lowering: names, the statement list being written, shared buffers, facts. */
import { byteSize, type DType } from "../../../dsl/dtype.ts";
import { add, binary, childrenOf, int, mul, variable, type Expr, type ScalarType } from "../../ir/expr.ts";
import { PRIOR_LAUNCH } from "../../ir/instruction.ts";
import type { Layout } from "../../ir/layout.ts";
import type { LoopBarrier, LoopStmt, SharedBuffer } from "../../ir/loop.ts";
import type { HostExpr, Param, TensorMap } from "../../ir/manifest.ts";
import type { Machine, Pipe, Place, Plan } from "../../ir/plan.ts";
import type { GridDim, Loc, TileKernel, TileStmt, TileValue } from "../../ir/tile.ts";
import { statements, variablesOf } from "../../ir/walk.ts";
import type { CollectiveBuffers } from "../../ir/collectives.ts";
import type { BagMemory } from "./bag_memory.ts";
import { Facts, hostMultiple } from "./facts.ts";
import { collectivesOf, scalarsRead } from "./needs.ts";

const threadOfBlock: Expr = { kind: "ThreadIndex", type: "i32" };

/** Where a role stands in a ring. Mutable scalars that it moves on; or, where copies of the role take turns, what follows from the turn. */
export interface RingPlace {
  readonly pipe: Pipe;
  readonly slot: Expr;
  readonly phase: Expr;
  readonly moves: boolean;
}

/** Which copy of a role this thread belongs to, where copies take the iterations of a loop in turn. */
export interface Turns {
  /** The loop's variable. */
  readonly index: string;
  readonly copies: number;
  readonly copy: Expr;
  /** A scalar that counts the iterations of all earlier runs of the loop. */
  readonly before: string;
  readonly pipes: readonly Pipe[];
}

/** Threads of a copying role, and this thread's number among them. */
export interface Bringers {
  readonly threads: number;
  readonly thread: Expr;
}

/** An array, the first register in it, and what its words hold if these are not single elements. */
interface RegisterPlace {
  readonly array: string;
  readonly first: number;
  readonly words?: DType;
}

export class Lowering {
  readonly plan: Plan;
  readonly machine: Machine;
  readonly facts: Facts;
  readonly shared: SharedBuffer[] = [];
  /** Threads that the layouts are made for, and this thread's number among them. */
  threads: number;
  thread: Expr = threadOfBlock;
  /** Where the role that is being written stands in its rings. */
  readonly rings = new Map<string, RingPlace>();
  turns: Turns | undefined;
  /** What is being written runs in one thread, or in each by itself. */
  alone = false;
  /** All threads of a copy of the role that is being written run its program, to bring tiles together; absent: one of them does. */
  bringers: Bringers | undefined;
  readonly barriers: LoopBarrier[] = [];
  readonly tensorMaps: TensorMap[] = [];
  /** Statements of the kernel's or the role's start: coordinates of the thread under each layout. */
  prologue: LoopStmt[] = [];
  /** Bags declared so far, by name. */
  readonly bags = new Map<string, BagMemory>();
  private out: LoopStmt[] = [];
  /** Names of the open scopes, outermost first; a closed scope's names are free again. */
  private readonly scopes: Set<string>[] = [new Set()];
  private depth = 0;
  private arrays = new Map<string, RegisterPlace>();
  private threadTerms = new Map<string, Expr>();
  private read: ReadonlySet<string> | undefined;
  private collectives: CollectiveBuffers | undefined;
  private readonly dimMultiples: ReadonlyMap<string, number>;
  private at: Loc | undefined;

  constructor(plan: Plan, machine: Machine) {
    this.plan = plan;
    this.machine = machine;
    this.threads = plan.threads;
    this.facts = new Facts(plan.threads);
    for (const name of authorsNames(plan.kernel)) this.scopes[0]!.add(name);
    this.dimMultiples = dimMultiples(plan.kernel);
    for (const [name, multiple] of this.dimMultiples) {
      this.scopes[0]!.add(name);
      this.facts.learn(name, { min: 0, multiple });
    }
  }

  /** All threads of the block or role do what is being written: none of them is another copy's, or brings tiles by itself. */
  get together(): boolean {
    return !this.alone && (this.turns?.copies ?? 1) === 1;
  }
  emit(...statements: LoopStmt[]): void {
    this.out.push(...statements);
  }
  /** Collects what `write` emits, as a scope of its own. */
  block(write: () => void): LoopStmt[] {
    const outer = this.out;
    this.out = [];
    this.scopes.push(new Set());
    this.depth++;
    write();
    this.depth--;
    this.scopes.pop();
    const inner = this.out;
    this.out = outer;
    return inner;
  }
  /** The program of a role: a scope with a prologue, registers and rings of its own. */
  role(threads: number, write: () => void): LoopStmt[] {
    const { prologue, arrays, threadTerms, threads: ofBlock, thread } = this;
    this.prologue = [];
    this.arrays = new Map();
    this.threadTerms = new Map();
    this.threads = threads;
    this.rings.clear();
    this.turns = undefined;
    const body = this.block(write);
    const inner = [...this.prologue, ...body];
    this.prologue = prologue;
    this.arrays = arrays;
    this.threadTerms = threadTerms;
    this.threads = ofBlock;
    this.thread = thread;
    this.alone = false;
    this.bringers = undefined;
    return inner;
  }
  /**
   * What only one copy of a role does: it serves the rings outside the loop whose iterations the copies share. It is the last copy, so that the
   * loop's first turn, which is another one's, does not wait for it.
   */
  lastCopyOnly(write: () => void): void {
    if (this.turns) this.when(binary("==", this.turns.copy, int(this.turns.copies - 1)), write);
    else write();
  }
  /** What one of the threads that bring tiles together does. */
  byOneThread(write: () => void): void {
    if (this.bringers) this.when(binary("==", this.bringers.thread, int(0)), write);
    else write();
  }
  /** A place in the current scope, before what is emitted next, for statements that turn up later. */
  hoist(): Hoist {
    return { statements: [], depth: this.depth };
  }
  /** Runs `write` with what it emits, and the names it takes, in an outer place. */
  into<T>(place: Hoist, write: () => T): T {
    const [out, depth] = [this.out, this.depth];
    this.out = place.statements;
    this.depth = place.depth;
    const result = write();
    this.out = out;
    this.depth = depth;
    return result;
  }
  /** Notes the TypeScript statement that comes next. */
  source(loc: Loc): void {
    if (this.at && this.at.file === loc.file && this.at.line === loc.line) return;
    this.at = loc;
    this.emit({ kind: "Source", loc });
  }

  /** A name that no open scope has, near the wish. */
  name(wish: string): string {
    const base = wish.replace(/[^A-Za-z0-9_]/g, "_").replace(/^(?=[0-9])/, "_");
    let name = base;
    for (let i = 2; this.scopes.some((scope) => scope.has(name)); i++) name = `${base}_${i}`;
    this.scopes[this.depth]!.add(name);
    this.facts.learn(name, {});
    return name;
  }
  /** Binds an expression to a fresh immutable scalar, unless it is already as short as a name. */
  bind(wish: string, value: Expr): Expr {
    if (value.kind === "Const" || value.kind === "Var" || value.kind === "Reg" || value.kind === "ThreadIndex") return value;
    const name = this.name(wish);
    this.emit({ kind: "Let", name, value });
    this.facts.learn(name, this.facts.of(value));
    return variable(value.type, name);
  }
  /** Binds an expression of the thread index once, at the kernel's start. */
  once(wish: string, value: Expr): Expr {
    const key = JSON.stringify(value);
    const known = this.threadTerms.get(key);
    if (known) return known;
    const result = this.into({ statements: this.prologue, depth: 0 }, () => this.bind(wish, value));
    this.threadTerms.set(key, result);
    return result;
  }
  /** A loop's body, with a place before the loop for what does not change in it; `assigned` are the variables that do. */
  loopBody(assigned: readonly string[], write: () => void): LoopStmt[] {
    const place = this.hoist();
    this.loops.push({ place, assigned: new Set(assigned), known: new Map() });
    const body = this.block(write);
    this.loops.pop();
    this.emit(...place.statements);
    return body;
  }
  /** Binds an expression before the outermost loop in which nothing that it reads changes, once; as it stands where there is none. */
  invariant(wish: string, value: Expr): Expr {
    const reads = [...variablesOf(value)];
    const visible = (depth: number, name: string): boolean => this.scopes.slice(0, depth + 1).some((scope) => scope.has(name));
    const first = readsMemory(value) ? -1 : this.loops.findIndex((_, i) => reads.every((name) => visible(this.loops[i]!.place.depth, name) && !this.loops.slice(i).some((l) => l.assigned.has(name))));
    const loop = this.loops[first];
    if (!loop) return value;
    const key = JSON.stringify(value);
    const bound = loop.known.get(key) ?? this.into(loop.place, () => this.bind(wish, value));
    loop.known.set(key, bound);
    return bound;
  }
  private readonly loops: { readonly place: Hoist; readonly assigned: ReadonlySet<string>; readonly known: Map<string, Expr> }[] = [];
  array(wish: string, type: ScalarType, size: number): string {
    const name = this.name(wish);
    this.emit({ kind: "Array", name, type, size });
    return name;
  }
  /** An unrolled loop of constant length; `write` gets the index. */
  unrolled(wish: string, size: number, write: (index: Expr) => void): void {
    if (size === 1) return write(int(0));
    this.repeated(wish, size, write, true);
  }
  /** A loop of constant length that stays a loop. */
  repeated(wish: string, size: number, write: (index: Expr) => void, unroll = false): void {
    if (size === 1) return write(int(0));
    let name = "";
    const body = this.block(() => {
      name = this.name(wish);
      this.facts.learn(name, { min: 0, max: size - 1 });
      write(variable("i32", name));
    });
    this.emit({ kind: "For", name, lo: int(0), hi: int(size), step: 1, unroll, body });
  }
  when(cond: Expr, write: () => void, uniform = false): void {
    if (cond.kind === "Const") {
      if (cond.value) write();
      return;
    }
    const then = this.block(write);
    if (then.length > 0) this.emit({ kind: "If", cond, uniform, then, otherwise: [] });
  }

  place(v: TileValue): Place {
    const place = this.plan.places.get(v.id);
    if (!place) throw new Error(`lower: "${v.label}" has no place`);
    return place;
  }
  /** Where the registers of a stored value are. */
  registersOf(v: TileValue): RegisterPlace {
    const label = this.plan.registers.get(v.id);
    const place = label === undefined ? undefined : this.arrays.get(label);
    if (place === undefined) throw new Error(`lower: "${v.label}" has no registers`);
    return place;
  }
  /** The array of a stored value that shares it with no value before it. */
  registers(v: TileValue): string {
    const { array, first } = this.registersOf(v);
    if (first > 0) throw new Error(`lower: "${v.label}" is not written where it lies behind others`);
    return array;
  }
  declareRegisters(v: TileValue, type: ScalarType, size: number): string {
    const label = this.plan.registers.get(v.id) ?? v.label;
    const known = this.arrays.get(label);
    if (known !== undefined) return known.array;
    return this.into({ statements: this.prologue, depth: 0 }, () => {
      const array = this.array(label.replace(/_[0-9]+$/, ""), type, size); // loop versions of one variable
      this.arrays.set(label, { array, first: 0 });
      return array;
    });
  }
  /** An array for the words of a stored value, as they lie in shared memory. */
  declareWords(v: TileValue, words: DType, size: number): string {
    const array = this.declareRegisters(v, "u32", size);
    this.arrays.set(this.plan.registers.get(v.id)!, { array, first: 0, words });
    return array;
  }
  /** Registers of a value from `first` on in an array that holds others before them. */
  placeRegisters(v: TileValue, array: string, first: number): void {
    this.arrays.set(this.plan.registers.get(v.id)!, { array, first });
  }

  sharedBuffer(wish: string, dtype: DType, elements: number, note: string): string {
    const name = this.into({ statements: this.prologue, depth: 0 }, () => this.name(wish));
    this.namedBuffer(name, dtype, elements, note);
    return name;
  }
  /** Shared memory in which a part of a list is put together, if there is room. */
  partOf(s: Extract<TileStmt, { kind: "AppendMarked" }>): { readonly buffer: string; readonly elements: number } | undefined {
    const part = this.memory().parts.get(s);
    return part && { buffer: this.collectiveBuffer(part.buffer), elements: part.elements };
  }
  /** Whether anything reads a uniform scalar. */
  isRead(scalar: string): boolean {
    return (this.read ??= scalarsRead(this.plan.kernel)).has(scalar);
  }
  /** The buffer of a collective: one may serve several that do not live together. */
  collective(name: string): string {
    return this.collectiveBuffer(this.memory().of.get(name)!);
  }
  private memory(): CollectiveBuffers {
    return (this.collectives ??= collectivesOf(this.plan, this.machine));
  }
  private collectiveBuffer(name: string): string {
    const { elements, what } = this.memory().buffers.find((b) => b.name === name)!;
    if (!this.shared.some((b) => b.name === name)) this.namedBuffer(name, "u32", elements, what);
    return name;
  }
  /** A buffer that has the author's name. */
  namedBuffer(name: string, dtype: DType, elements: number, note: string): void {
    this.shared.push({ name, dtype, elements, offset: 0, note });
  }
  /** Swizzled buffers need more than the usual alignment: they come first, and all of them are multiples of it. */
  tiledBuffer(wish: string, dtype: DType, elements: number, note: string, swizzled: boolean): string {
    const name = this.into({ statements: this.prologue, depth: 0 }, () => this.name(wish));
    this.shared.splice(swizzled ? this.swizzledBuffers++ : this.tiledBuffers, 0, { name, dtype, elements, offset: 0, note });
    this.tiledBuffers++;
    return name;
  }
  private tiledBuffers = 0;
  private swizzledBuffers = 0;
  /** One barrier a slot. */
  barrier(wish: string, slots: number, arrivals: number, note: string): string {
    const name = this.into({ statements: this.prologue, depth: 0 }, () => this.name(wish));
    this.barriers.push({ name, slots, arrivals, offset: 0, note });
    return name;
  }
  /** Barriers behind the buffers. */
  layOutBarriers(): LoopBarrier[] {
    let end = this.bufferBytes;
    return this.barriers.map((b) => {
      const placed = { ...b, offset: end };
      end += 8 * b.slots;
      return placed;
    });
  }
  private get bufferBytes(): number {
    return this.shared.reduce((n, b) => n + Math.ceil((b.elements * byteSize(b.dtype)) / 128) * 128, 0);
  }
  /** A scratch buffer of at least `elements`, shared by all short exchanges of one dtype. */
  scratch(dtype: "f32" | "i32" | "u32", elements: number): string {
    return this.growing(`exchange_${dtype}`, dtype, elements, "partial results on their way between threads");
  }
  /** A few elements beside the scratch buffer of the same dtype, for what groups of threads have in common. */
  groupSums(dtype: "f32" | "i32" | "u32", elements: number): string {
    return this.growing(`group_sums_${dtype}`, dtype, elements, "partial results of groups of threads");
  }
  private growing(name: string, dtype: DType, elements: number, note: string): string {
    const i = this.shared.findIndex((b) => b.name === name);
    const known = this.shared[i];
    if (!known) return this.sharedBuffer(name, dtype, elements, note);
    if (known.elements < elements) this.shared[i] = { ...known, elements };
    return known.name;
  }
  get sharedBytes(): number {
    return this.bufferBytes + this.barriers.reduce((n, b) => n + 8 * b.slots, 0);
  }
  /** Final buffers: scratch may have grown, so offsets are dealt out at the end. */
  layOutShared(): SharedBuffer[] {
    let end = 0;
    return this.shared.map((b) => {
      const placed = { ...b, offset: end };
      end += Math.ceil((b.elements * byteSize(b.dtype)) / 128) * 128;
      return placed;
    });
  }

  /** The part of an axis coordinate that the thread index fixes. */
  threadCoord(layout: Layout, axis: string): Expr {
    let coord: Expr = int(0);
    let below = 1;
    let most = 0;
    for (const d of layout.threads) {
      if (d.axis === axis) {
        const digit = binary("%", binary("/", this.thread, int(below)), int(d.size));
        const whole = below * d.size === this.threads ? binary("/", this.thread, int(below)) : digit;
        coord = add(coord, mul(whole, int(d.stride)));
        most += (d.size - 1) * d.stride;
      }
      below *= d.size;
    }
    if (coord.kind === "Const") return coord;
    const result = this.once(`${axis}_of_thread`, coord);
    if (result.kind === "Var") this.facts.learn(result.name, { min: 0, max: most, multiple: this.facts.of(coord).multiple });
    return result;
  }
  /** True in the one thread of each group of copies that may store. */
  firstCopy(layout: Layout): Expr {
    let below = 1;
    let cond: Expr = { kind: "Const", type: "bool", value: 1 };
    for (const d of layout.threads) {
      if (d.axis === null && d.size > 1) {
        const digit = below * d.size === this.threads ? binary("/", this.thread, int(below)) : binary("%", binary("/", this.thread, int(below)), int(d.size));
        cond = binary("&&", cond, below * d.size === this.threads ? binary("<", this.thread, int(below)) : binary("==", digit, int(0)));
      }
      below *= d.size;
    }
    return cond;
  }

  /** What the grid says of its index. */
  learnGrid(d: GridDim): void {
    const lo = typeof d.lo === "number" ? d.lo : undefined;
    const below = lo === 0 && d.step === 1 && typeof d.count === "string" ? d.count : undefined;
    const max = lo !== undefined && typeof d.count === "number" ? lo + d.step * (d.count - 1) : Infinity;
    this.facts.learn(d.index.name, { min: lo ?? -Infinity, max, multiple: lo === undefined ? 1 : Math.min(multipleOf(lo), multipleOf(d.step)), ...(below !== undefined && { below }) });
  }

  param(name: string): Param {
    return this.plan.kernel.params.find((p) => p.name === name)!;
  }
  hostMultiple(e: HostExpr): number {
    return hostMultiple(e, this.dimMultiples);
  }
}

const readsMemory = (e: Expr): boolean => e.kind === "Reg" || e.kind === "Shared" || childrenOf(e).some(readsMemory);

export const multipleOf = (n: number): number => (n === 0 ? 2 ** 20 : n & -n);

/** A place for statements in an outer scope. */
export interface Hoist {
  readonly statements: LoopStmt[];
  readonly depth: number;
}

/** Names that the author gave to params and scalars: generated names keep clear of them. */
function* authorsNames(kernel: TileKernel): Generator<string> {
  for (const p of kernel.params) yield p.name;
  for (const d of kernel.grid) yield d.index.name;
  for (const s of statements(kernel.body)) {
    if (s.kind === "Let" || s.kind === "ToScalar" || s.kind === "AppendCount") yield s.scalar.name;
    else if (s.kind === "BagCount") yield s.scalar.name;
    else if (s.kind === "HistogramFind") yield* [s.bin.name, s.above.name, s.inBin.name];
    else if (s.kind === "Histogram" || s.kind === "Append" || s.kind === "Bag" || s.kind === "Bitmap") yield s.name;
    else if (s.kind === "For") yield* [s.index.name, ...s.scalars.flatMap((c) => [c.param.name, c.result.name])];
    else if (s.kind === "If") yield* s.scalars.map((m) => m.result.name);
  }
}

/**
 * A power of two that divides each dim; the launch checks it. A pitch keeps the alignment of its packed value up to 16, and rows
 * of a narrow output start at whole words.
 */
export function dimMultiples(kernel: TileKernel): Map<string, number> {
  const multiples = new Map(kernel.dims.map((d) => [d.name, d.default === undefined ? 1 : Math.min(16, hostMultiple(d.default, new Map()))]));
  for (const param of kernel.params) {
    if (param.access === "in") continue;
    const word = Math.max(1, ...param.fields.map((f) => 4 / byteSize(f.dtype)));
    for (const axis of param.axes)
      for (const d of kernel.dims) if (d.default !== undefined && mentions(axis.stride, d.name)) multiples.set(d.name, Math.max(word, multiples.get(d.name)!));
  }
  return multiples;
}
const mentions = (e: HostExpr, dim: string): boolean => (typeof e === "object" ? e.args.some((a) => mentions(a, dim)) : e === dim);

/** A host expression as device integer arithmetic. */
export function hostExpr(e: HostExpr): Expr {
  if (typeof e === "number") return int(e);
  if (typeof e === "string") return variable("i32", e);
  const [first = int(0), ...rest] = e.args.map(hostExpr);
  return rest.reduce((a, b) => {
    switch (e.op) {
      case "add":
        return binary("+", a, b);
      case "sub":
        return binary("-", a, b);
      case "mul":
        return binary("*", a, b);
      case "div":
        return binary("/", a, b);
      case "ceilDiv":
        return binary("/", add(a, binary("-", b, int(1))), b);
      case "min":
      case "max":
        return { kind: "Call", type: "i32", fn: e.op, args: [a, b] };
    }
  }, first);
}

/** Before anything reads or writes device memory: where launches may overlap, the one before this one is awaited here. */
export function awaitPriorLaunch(ctx: Lowering): void {
  if (ctx.machine.instructions.has(PRIOR_LAUNCH)) ctx.emit({ kind: "Call", instruction: PRIOR_LAUNCH, operands: [] });
}
