/** Faults of given selections against the reference, exactly. */
import fc from "fast-check";
import { generateWindows, randomOf, selectionFaults, windowKinds, type Random, type WindowKind, type Windows } from "../../reference/index.ts";
import { compare } from "../verdict.ts";
import { bytesOf, integers, poisoned, seed, type Check, type Shape } from "./check.ts";

/** clean: selections as topk writes them; the others break what they are called after in some slots. */
export const selectionKinds = ["clean", "outOfWindow", "unordered", "repeated", "gaps", "extreme", "allEmpty"] as const;
export type SelectionKind = (typeof selectionKinds)[number];

export interface SelectionShape extends Shape {
  readonly queries: number;
  readonly tokens: number;
  readonly kind: SelectionKind;
  readonly windows: WindowKind;
  readonly seed: number;
}

const maxQueries = 5;

export const checkSelectionCheck: Check<SelectionShape> = {
  fixed(dsa) {
    const base = { queries: 3, tokens: 2 * dsa.topK + 3, seed: 1 } as const;
    return [
      ...selectionKinds.map((kind) => ({ ...base, kind, windows: "causalTail" as const })),
      ...windowKinds.map((windows) => ({ ...base, kind: "clean" as const, windows })),
    ];
  },

  shapes: (dsa) =>
    fc.record({
      queries: fc.integer({ min: 1, max: maxQueries }),
      tokens: fc.integer({ min: 1, max: 3 * dsa.topK + 1 }),
      kind: fc.constantFrom(...selectionKinds),
      windows: fc.constantFrom(...windowKinds),
      seed,
    }),

  prepare(dsa, { queries, tokens, kind, windows: windowKind, seed }) {
    const windows = generateWindows({ seed, kind: windowKind, queries, tokens });
    const idx = drawSelections({ seed, kind, slots: dsa.topK }, windows);
    return {
      buffers: { idx: bytesOf(idx), first: bytesOf(windows.first), last: bytesOf(windows.last), faults: poisoned(4 * queries, 0x5a) },
      dims: { Q: queries },
      judge({ faults }) {
        const want = selectionFaults({ shape: { queries, slots: dsa.topK }, idx, ...windows });
        return compare({ output: "faults", axes: { q: queries }, got: integers(faults!), want, budget: 0 });
      },
    };
  },
};

/** Rows of ascending tokens of the windows, then −1, in which `kind` breaks something. */
export function drawSelections({ seed, kind, slots }: { readonly seed: number; readonly kind: SelectionKind; readonly slots: number }, { first, last }: Windows): Int32Array {
  const random = randomOf(seed);
  const idx = new Int32Array(first.length * slots).fill(-1);
  if (kind === "allEmpty") return idx;
  for (let t = 0; t < first.length; t++) {
    const row = idx.subarray(t * slots, (t + 1) * slots);
    fillRow(row, Math.max(first[t]!, 0), last[t]!, random);
    spoil(row, kind, random, first[t]!, last[t]!);
  }
  return idx;
}

/** Each token of the window with the probability that fills the row. */
function fillRow(row: Int32Array, from: number, to: number, random: Random): void {
  let at = 0;
  for (let token = from; token < to && at < row.length; token++)
    if (random.uniform() * (to - token) < row.length - at) row[at++] = token;
}

function spoil(row: Int32Array, kind: SelectionKind, random: Random, first: number, last: number): void {
  const some = (change: (j: number) => number): void => {
    for (let j = 0; j < row.length; j++) if (random.uniform() < 0.2) row[j] = change(j);
  };
  if (kind === "outOfWindow") some(() => (random.uniform() < 0.5 ? first - 1 - random.integer(0, 3) : last + random.integer(0, 3)));
  if (kind === "unordered") some((j) => row[random.integer(0, j)]!);
  if (kind === "repeated") some((j) => row[Math.max(j - 1, 0)]!);
  if (kind === "gaps") some(() => -1);
  if (kind === "extreme") some(() => [-(2 ** 31), 2 ** 31 - 1, -2][random.integer(0, 2)]!);
}
