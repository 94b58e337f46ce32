/**
 * Where the elements of a tile live in registers. A layout splits the thread index and the register index into digits
 * (mixed radix, fastest first); each digit moves along one axis by `stride`, or along none: then the element is replicated.
 *
 * The accumulator of mma.m16n8 on one warp, axes h (rows) and j (columns):
 *   threads: j 4 by 2, h 8 by 1      registers: j 2 by 1, h 2 by 8
 */
import type { Axis } from "./tile.ts";

export interface Digit {
  /** null: the digit does not move; its threads hold copies. */
  readonly axis: string | null;
  readonly size: number;
  readonly stride: number;
}

export interface Layout {
  readonly threads: readonly Digit[];
  readonly registers: readonly Digit[];
}

const product = (digits: readonly Digit[]): number => digits.reduce((n, d) => n * d.size, 1);
export const threadCount = (l: Layout): number => product(l.threads);
export const registerCount = (l: Layout): number => product(l.registers);

/** Extent that the layout covers along an axis: at least the tile's; positions beyond it are padding. */
export const covered = (l: Layout, axis: string): number =>
  [...l.threads, ...l.registers].reduce((n, d) => (d.axis === axis ? n + (d.size - 1) * d.stride : n), 1);

/** True when some thread digit replicates: several threads hold the same element. */
export const replicated = (l: Layout): boolean => l.threads.some((d) => d.axis === null && d.size > 1);

const clean = (digits: readonly Digit[]): Digit[] => {
  const out: Digit[] = [];
  for (const d of digits) {
    if (d.size === 1) continue;
    const last = out.at(-1);
    if (last && last.axis === d.axis && (d.axis === null || last.stride * last.size === d.stride)) out[out.length - 1] = { ...last, size: last.size * d.size };
    else out.push({ axis: d.axis, size: d.size, stride: d.axis === null ? 0 : d.stride });
  }
  return out;
};

/** The layout of a tile that keeps only `axes`: other thread digits replicate, other register digits vanish. */
export const project = (l: Layout, axes: readonly string[]): Layout => ({
  threads: clean(l.threads.map((d) => (d.axis !== null && axes.includes(d.axis) ? d : { axis: null, size: d.size, stride: 0 }))),
  registers: clean(l.registers.filter((d) => d.axis !== null && axes.includes(d.axis))),
});

export const renameAxes = (l: Layout, names: Readonly<Record<string, string>>): Layout => {
  const go = (d: Digit): Digit => (d.axis !== null ? { ...d, axis: names[d.axis] ?? d.axis } : d);
  return { threads: l.threads.map(go), registers: l.registers.map(go) };
};

export function sameLayout(a: Layout, b: Layout): boolean {
  const key = (l: Layout) => JSON.stringify([clean(l.threads), clean(l.registers)]);
  return key(a) === key(b);
}

/** Positions to hand out to axes, a power of two of them. */
export interface Slot {
  readonly name: string;
  readonly on: "thread" | "register";
  readonly size: number;
  /** Place in the thread or register index; smaller is faster. */
  readonly order: number;
}

export interface PlacedDigit extends Digit {
  readonly slot: string;
  readonly on: "thread" | "register";
  readonly order: number;
}

/** Name of the register digits that `distribute` adds for what the slots leave over. */
export const REST = "rest";

/**
 * Hands the slots (fastest first) to the axes (innermost first), one factor of two at a time: to the first axis whose
 * remaining extent is even, else to the first that has anything left (it is padded), else to none (threads replicate).
 * What then remains of each axis goes to registers, slowest.
 */
export function distribute(axes: readonly Axis[], slots: readonly Slot[]): PlacedDigit[] {
  const open = [...axes].reverse().map((a) => ({ name: a.name, left: a.extent, stride: 1 }));
  const digits: PlacedDigit[] = [];
  for (const slot of slots)
    for (let n = slot.size; n > 1; n /= 2) {
      const axis = open.find((a) => a.left > 1 && a.left % 2 === 0) ?? open.find((a) => a.left > 1);
      digits.push({ axis: axis?.name ?? null, size: 2, stride: axis?.stride ?? 0, slot: slot.name, on: slot.on, order: slot.order });
      if (axis) {
        axis.left = Math.ceil(axis.left / 2);
        axis.stride *= 2;
      }
    }
  open.forEach((a, i) => {
    if (a.left > 1) digits.push({ axis: a.name, size: a.left, stride: a.stride, slot: REST, on: "register", order: 1000 + i });
  });
  return digits.filter((d) => d.axis !== null || d.on === "thread");
}

/** Assembles the digits of one or several `distribute` calls; threads beyond those handed out replicate. */
export function assemble(digits: readonly PlacedDigit[], threads: number): Layout {
  const pick = (on: "thread" | "register") => digits.filter((d) => d.on === on).sort((a, b) => a.order - b.order);
  const rest = threads / product(pick("thread"));
  return { threads: clean([...pick("thread"), { axis: null, size: rest, stride: 0 }]), registers: clean(pick("register")) };
}

/** Further axes, innermost last: a few positions to each thread, then one of each place to the threads that hold copies, the rest to registers. */
export function spread(l: Layout, axes: readonly Axis[]): Layout {
  const copies = l.threads.map((d, i) => ({ name: `copies ${i}`, on: "thread" as const, size: d.axis === null ? d.size : 1, order: i }));
  const each = axes.reduce((n, a) => n * a.extent, 1) / copies.reduce((n, c) => n * c.size, 1);
  const vector = vectorWidth(axes.at(-1)?.extent ?? 1, each);
  const digits = distribute(axes, [{ name: "vector", on: "register", size: vector, order: 0 }, ...copies]);
  const inSlot = (slot: string): readonly Digit[] => digits.filter((d) => d.slot === slot);
  return { threads: clean(l.threads.flatMap((d, i) => (d.axis === null ? inSlot(`copies ${i}`) : [d]))), registers: clean([...inSlot("vector"), ...l.registers, ...inSlot(REST)]) };
}

/** Whether a thread's first registers are so many consecutive positions of an axis, or a multiple of them. */
export const startsWith = ({ registers: [first] }: Layout, axis: string, count: number): boolean => first?.axis === axis && first.stride === 1 && first.size % count === 0;

/** Largest of 4, 2, 1 that divides n. */
export const vectorWidth = (n: number, most = 4): number => (most >= 4 && n % 4 === 0 ? 4 : most >= 2 && n % 2 === 0 ? 2 : 1);

/** Consecutive elements in up to four registers (`least` at least), then across the threads: the layout of plain element-wise work. */
export function linearLayout(axes: readonly Axis[], threads: number, least = 1): Layout {
  const perThread = Math.floor(axes.reduce((n, a) => n * a.extent, 1) / threads);
  return runLayout(axes, threads, vectorWidth(axes.at(-1)?.extent ?? 1, Math.max(perThread, least)));
}

/** Runs of so many consecutive elements, across the threads. */
export const runLayout = (axes: readonly Axis[], threads: number, run: number): Layout =>
  assemble(
    distribute(axes, [
      { name: "vector", on: "register", size: run, order: 0 },
      { name: "thread", on: "thread", size: threads, order: 1 },
    ]),
    threads,
  );

export function printLayout(l: Layout): string {
  const digit = (d: Digit) => (d.axis === null ? `copies ${d.size}` : `${d.axis} ${d.size}${d.stride === 1 ? "" : ` by ${d.stride}`}`);
  return `threads(${clean(l.threads).map(digit).join(", ")}) registers(${clean(l.registers).map(digit).join(", ") || "1"})`;
}
