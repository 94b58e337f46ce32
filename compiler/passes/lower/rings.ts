/** Rings between roles: the copying role fills slots by TMA or cp.async, the computing one awaits and releases them; a third may make tiles in them in between. */
import { byteSize } from "../../../dsl/dtype.ts";
import { add, binary, constant, convert, int, isConst, mul, variable, type Expr, type ScalarType } from "../../ir/expr.ts";
import type { LoopPipe, Operand } from "../../ir/loop.ts";
import type { HostExpr, TensorMap } from "../../ir/manifest.ts";
import type { Pipe, PlanStmt, Stage } from "../../ir/plan.ts";
import { fillOf, tilesOf } from "../../ir/plan_walk.ts";
import type { ScalarValue, TileView } from "../../ir/tile.ts";
import type { Lowering, RingPlace } from "./context.ts";
import { stageBuffer } from "./element.ts";
import { threadCopies } from "./thread_copies.ts";

type Copy = Extract<PlanStmt, { kind: "Copy" }>;

export const fullOf = (pipe: string): string => `${pipe}_full`;
export const madeOf = (pipe: string): string => `${pipe}_made`;
export const emptyOf = (pipe: string): string => `${pipe}_empty`;
export const headerOf = (pipe: string): string => `${pipe}_header`;

/** Words of a header: whether there is work, then the scalars. */
const headerWords = (pipe: Pipe): number => 1 + pipe.header.length;

/** Who fills slots of a pipe: all threads that take part in its copies by cp.async, and one that starts those by TMA and writes the header. */
const copiedByThreads = (ctx: Lowering, { name }: Pipe): readonly Copy[] => fillOf(ctx.plan, name).filter((c) => c.by === "cpAsync");
const isAnnounced = (ctx: Lowering, { name, header }: Pipe): boolean => header.length > 0 || fillOf(ctx.plan, name).some((c) => c.by === "tma");

/** Threads that fill a slot together, warps that make tiles in it, and warps that release it. */
export interface Hands {
  readonly bringers: number;
  readonly makers: number;
  readonly consumers: number;
}

/** Buffers and barriers of a ring. */
export function declareRing(ctx: Lowering, pipe: Pipe, { bringers, makers, consumers }: Hands): LoopPipe {
  const buffers = tilesOf(pipe).map((v) => {
    const place = ctx.place(v);
    if (place.kind !== "Stored" || !place.stage) throw new Error(`lower: "${v.label}" has no slot`);
    return { buffer: stageBuffer(ctx, v), elements: place.stage.elements };
  });
  if (pipe.header.length > 0) {
    const words = headerWords(pipe);
    const buffer = headerOf(pipe.name);
    ctx.namedBuffer(buffer, "i32", pipe.depth * words, `${pipe.depth} x whether there is work, ${pipe.header.map((v) => v.name).join(", ")}`);
    buffers.push({ buffer, elements: words });
  }
  const threads = copiedByThreads(ctx, pipe).length > 0 ? bringers : 0;
  const announced = isAnnounced(ctx, pipe) ? 1 : 0;
  const arrivals = [...(threads > 0 ? [`${threads} threads' copies`] : []), ...(announced > 0 ? ["1 arrival and its bytes"] : [])].join(", ");
  ctx.barrier(fullOf(pipe.name), pipe.depth, threads + announced, `${pipe.values.map((v) => v.label).join(", ")}: the slot is filled (${arrivals})`);
  if (pipe.made.length > 0) ctx.barrier(madeOf(pipe.name), pipe.depth, makers, `${pipe.made.map((v) => v.label).join(", ")}: made in the slot (${makers} warps)`);
  ctx.barrier(emptyOf(pipe.name), pipe.depth, consumers, `the slot is free (${consumers} warps)`);
  return { name: pipe.name, depth: pipe.depth, buffers, full: fullOf(pipe.name), ...(pipe.made.length > 0 && { made: madeOf(pipe.name) }), empty: emptyOf(pipe.name) };
}

/** At a role's start: its place in each ring that it uses. */
export function enterRings(ctx: Lowering, pipes: readonly Pipe[]): void {
  for (const pipe of pipes) {
    const scalar = (wish: string): Expr => {
      const name = ctx.name(wish);
      ctx.emit({ kind: "Variable", name, type: "i32", init: int(0) });
      return variable("i32", name);
    };
    ctx.rings.set(pipe.name, { pipe, slot: pipe.depth === 1 ? int(0) : scalar(`${pipe.name}_slot`), phase: scalar(`${pipe.name}_phase`), moves: true });
  }
}

export function ringAt(ctx: Lowering, pipe: string): RingPlace {
  const place = ctx.rings.get(pipe);
  if (!place) throw new Error(`lower: no role is in the ring "${pipe}"`);
  return place;
}

/** To the next slot; after the last one the phase turns. */
function advance(ctx: Lowering, { pipe, slot, phase, moves }: RingPlace): void {
  if (!moves) return;
  const turn = () => ctx.emit({ kind: "Assign", name: nameOf(phase), value: binary("^", phase, int(1)) });
  if (slot.kind === "Const") return turn();
  ctx.emit({ kind: "Assign", name: nameOf(slot), value: add(slot, int(1)) });
  ctx.when(
    binary("==", slot, int(pipe.depth)),
    () => {
      ctx.emit({ kind: "Assign", name: nameOf(slot), value: int(0) });
      turn();
    },
    !ctx.alone,
  );
}
const nameOf = (e: Expr): string => (e.kind === "Var" ? e.name : "");

const barrier = (name: string, slot: Expr): Operand => ({ kind: "Barrier", barrier: name, slot });
const value = (e: Expr): Operand => ({ kind: "Value", value: e });

/** In the turn number `turn`: the slot and phase of each ring that turns go through. */
export function placeTurn(ctx: Lowering, pipes: readonly Pipe[], turn: Expr): void {
  const count = convert("u32", turn);
  for (const pipe of pipes) {
    const depth = constant("u32", pipe.depth);
    const slot = ctx.bind(`${pipe.name}_slot`, convert("i32", binary("%", count, depth)));
    const phase = ctx.bind(`${pipe.name}_phase`, convert("i32", binary("%", binary("/", count, depth), constant("u32", 2))));
    ctx.rings.set(pipe.name, { pipe, slot, phase, moves: false });
  }
}

/** Waits for an empty slot, writes the header, and starts the copies; without copies only the word that there is no more work travels. */
export function fill(ctx: Lowering, name: string, copies: readonly Copy[], work = true): void {
  const ring = ringAt(ctx, name);
  const { pipe, slot, phase } = ring;
  const byThreads = copies.filter((c) => c.by === "cpAsync").map((c) => threadCopies(ctx, c));
  ctx.emit({ kind: "Call", instruction: "mbarrierWait", operands: [barrier(emptyOf(name), slot), value(binary("^", phase, int(1)))] });
  if (isAnnounced(ctx, pipe)) ctx.byOneThread(() => announce(ctx, ring, copies, work));
  for (const start of byThreads) start();
  if (copiedByThreads(ctx, pipe).length > 0) ctx.emit({ kind: "Call", instruction: "cpAsyncArrive", operands: [barrier(fullOf(name), slot)] });
  advance(ctx, ring);
}

/** What one thread does for a slot: the header, and what TMA brings. */
function announce(ctx: Lowering, { pipe, slot }: RingPlace, copies: readonly Copy[], work: boolean): void {
  const { name } = pipe;
  if (pipe.header.length > 0) {
    const words = headerWords(pipe);
    const write = (word: number, v: Expr) => ctx.emit({ kind: "StoreShared", buffer: headerOf(name), index: add(mul(slot, int(words)), int(word)), values: [v] });
    write(0, int(work ? 1 : 0));
    if (work) pipe.header.forEach((v, i) => write(1 + i, toWord(v)));
  }
  const full = barrier(fullOf(name), slot);
  const inBoxes = copies.filter((c) => c.by === "tma");
  const bytes = inBoxes.reduce((n, c) => n + boxBytes(c.stage), 0);
  ctx.emit({ kind: "Call", instruction: "mbarrierExpect", operands: [full, value(int(bytes))] });
  for (const c of inBoxes) {
    ctx.source(c.value.loc);
    for (const box of boxes(ctx, c))
      ctx.emit({
        kind: "Call",
        instruction: `tmaLoad.${box.coords.length}${c.evictFirst ? ".evictFirst" : ""}`,
        operands: [{ kind: "SharedAddress", buffer: stageBuffer(ctx, c.value), index: add(mul(slot, int(c.stage.elements)), int(box.at)) }, { kind: "TensorMap", map: box.map }, full, ...box.coords.map(value)],
      });
  }
}

const boxBytes = ({ tiling, dtype }: Stage): number => tiling!.digits.reduce((n, d) => n * d.size, byteSize(dtype));

export function awaitFull(ctx: Lowering, name: string): void {
  const { pipe, slot, phase } = ringAt(ctx, name);
  ctx.emit({ kind: "Call", instruction: "mbarrierWait", operands: [barrier(fullOf(name), slot), value(phase)] });
  if (pipe.made.length === 0) fenceCopies(ctx, pipe);
}
/** What threads copied is not yet there for the matrix units of who waits for it. */
function fenceCopies(ctx: Lowering, pipe: Pipe): void {
  if (copiedByThreads(ctx, pipe).some((c) => c.stage.tiling!.major)) ctx.emit({ kind: "Call", instruction: "fenceProxyAsync", operands: [] });
}

/** What was made becomes visible to the matrix units before those learn of it who start them. */
export function handOver(ctx: Lowering, name: string): void {
  const ring = ringAt(ctx, name);
  ctx.emit({ kind: "Call", instruction: "fenceProxyAsync", operands: [] }, { kind: "Call", instruction: "mbarrierArriveWarp", operands: [barrier(madeOf(name), ring.slot)] });
  advance(ctx, ring);
}

export function awaitMade(ctx: Lowering, name: string): void {
  const { pipe, slot, phase } = ringAt(ctx, name);
  ctx.emit({ kind: "Call", instruction: "mbarrierWait", operands: [barrier(madeOf(name), slot), value(phase)] });
  fenceCopies(ctx, pipe);
}

export function release(ctx: Lowering, name: string): void {
  const ring = ringAt(ctx, name);
  ctx.emit({ kind: "Call", instruction: "mbarrierArriveWarp", operands: [barrier(emptyOf(name), ring.slot)] });
  advance(ctx, ring);
}

/** A word of the header in the slot where the role stands; word 0 says whether there is work. */
export function headerWord(ctx: Lowering, name: string, word: number): Expr {
  const { pipe, slot } = ringAt(ctx, name);
  return { kind: "Shared", type: "i32", buffer: headerOf(name), index: add(mul(slot, int(headerWords(pipe))), int(word)) };
}

/** Scalars travel as bits. */
const toWord = ({ name, type }: ScalarValue): Expr => {
  const v = variable(type, name);
  return convert("i32", type === "f32" ? { kind: "Call", type: "u32", fn: "bitsOf", args: [v] } : v);
};
export function headerScalar(ctx: Lowering, name: string, i: number, type: ScalarType): Expr {
  const word = headerWord(ctx, name, 1 + i);
  return type === "f32" ? { kind: "Call", type, fn: "floatOf", args: [convert("u32", word)] } : convert(type, word);
}

/**
 * A copy as boxes of one tensor map: a dimension a digit, and one for each single position or axis of one. Where an axis of run-time size, or of one
 * that a digit does not divide, has several digits only its fastest one can be a dimension, or the map would not end where the axis does: the others become boxes of their own.
 */
function boxes(ctx: Lowering, { value: v, op, stage }: Copy): { readonly map: string; readonly at: number; readonly coords: readonly Expr[] }[] {
  const { view } = op;
  const { digits, swizzle } = stage.tiling!;
  const param = ctx.param(view.param);
  const field = param.fields.find((f) => f.name === view.field)!;
  const axes = [...param.axes, ...field.axes];
  const placeOf = (axis: string): number => view.coords.findIndex((c) => c.kind === "Block" && c.axis.name === axis);
  const isWhole = (size: HostExpr, unit: number): boolean => typeof size === "number" && size % unit === 0;
  const apart = digits.map((d) => !isWhole(axes[placeOf(d.axis)]!.size, d.stride) && digits.some((x) => x.axis === d.axis && x.stride < d.stride));
  const dense = apart.indexOf(true) < 0 ? digits.length : apart.indexOf(true);
  if (apart.slice(dense).includes(false)) throw new Error(`lower: the box of "${v.label}" has gaps`);
  const dims: { size: HostExpr; stride: HostExpr; box: number; axis: string | undefined; coord: Expr }[] = digits.slice(0, dense).map((d) => {
    const i = placeOf(d.axis);
    const { size, stride } = axes[i]!;
    const { start } = view.coords[i] as Extract<TileView["coords"][number], { kind: "Block" }>;
    const same = digits.slice(0, dense).filter((x) => x.axis === d.axis);
    const outermost = same.every((x) => x.stride <= d.stride);
    if (same.length > 1 && ctx.facts.of(start).multiple % Math.max(...same.map((x) => x.stride)) !== 0) throw new Error(`lower: "${v.label}" starts along ${d.axis} where its box cannot`);
    return {
      size: same.length === 1 ? size : outermost ? (size as number) / d.stride : d.size,
      stride: d.stride === 1 ? stride : hostMul(stride, d.stride),
      box: d.size,
      axis: d.axis,
      coord: outermost ? (d.stride === 1 ? start : binary("/", start, int(d.stride))) : int(0),
    };
  });
  view.coords.forEach((c, i) => {
    if (c.kind === "Index" || !digits.some((d) => d.axis === c.axis.name)) dims.push({ size: axes[i]!.size, stride: axes[i]!.stride, box: 1, axis: undefined, coord: c.kind === "Index" ? c.at : c.start });
  });
  const map: TensorMap = {
    name: `${v.label}_map`,
    param: view.param,
    offset: field.offset,
    dtype: stage.dtype,
    swizzle,
    sizes: dims.map((d) => d.size),
    strides: dims.slice(1).map((d) => d.stride),
    box: dims.map((d) => d.box),
  };
  if (!ctx.tensorMaps.some((m) => m.name === map.name)) ctx.tensorMaps.push(map);
  const inBox = digits.slice(0, dense).reduce((n, d) => n * d.size, 1);
  const turns = digits.slice(dense).reduce<{ at: number; shift: ReadonlyMap<string, number> }[]>(
    (list, d, i) => {
      const below = digits.slice(dense, dense + i).reduce((n, x) => n * x.size, inBox);
      return Array.from({ length: d.size }, (_, n) => list.map((t) => ({ at: t.at + n * below, shift: new Map(t.shift).set(d.axis, (t.shift.get(d.axis) ?? 0) + n * d.stride) }))).flat();
    },
    [{ at: 0, shift: new Map() }],
  );
  return turns.map(({ at, shift }) => ({ map: map.name, at, coords: dims.map((d) => add(d.coord, int(shift.get(d.axis ?? "") ?? 0))) }));
}
const hostMul = (a: HostExpr, b: number): HostExpr => (typeof a === "number" ? a * b : { op: "mul", args: [a, b] });

/** Element of a slot, or of a tile behind another in it: the digits of the box, swizzled. */
export function tiledIndex(stage: Stage, coords: ReadonlyMap<string, Expr>): Expr {
  const { digits } = stage.tiling!;
  const values = digits.map((d) => {
    const quotient = binary("/", coords.get(d.axis) ?? int(0), int(d.stride));
    const above = digits.some((x) => x.axis === d.axis && x.stride > d.stride);
    return above ? binary("%", quotient, int(d.size)) : quotient;
  });
  return indexOfDigits(stage, values);
}
/** The same from the digits themselves. */
export function indexOfDigits({ dtype, tiling }: Stage, values: readonly Expr[]): Expr {
  const { digits, swizzle } = tiling!;
  const places = digits.map((d, i) => ({ at: values[i]!, size: d.size, below: digits.slice(0, i).reduce((n, x) => n * x.size, 1) }));
  const total = (list: typeof places, unit = 1): Expr => list.reduce<Expr>((sum, p) => add(sum, mul(p.at, int(p.below / unit))), int(0));
  if (swizzle === 0) return total(places);
  // a line's chunks of 16 bytes are permuted by its number, of which the lowest digits are enough
  const [inLine, ...lines] = places;
  const line = inLine!.size;
  const chunk = 16 / byteSize(dtype);
  const lowest = lines.filter((p) => p.below < LINES_OF_PATTERN * line);
  const fits = lowest.every((p) => (p.below * p.size) / line <= LINES_OF_PATTERN);
  const number = fits ? total(lowest, line) : binary("%", total(lowest, line), int(LINES_OF_PATTERN));
  const { at } = inLine!;
  const [first, inChunk] = at.kind === "Binary" && at.op === "*" && isConst(at.b, chunk) ? [at.a, int(0)] : [binary("/", at, int(chunk)), binary("%", at, int(chunk))];
  const permuted = binary("^", first, binary("/", number, int(128 / swizzle)));
  return add(add(total(lines), mul(permuted, int(chunk))), inChunk);
}
const LINES_OF_PATTERN = 8;
