/** Kernels under schedules with roles on the simulated machine against the Tile interpreter: same values, and no fault of the machine. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { runLoop } from "../../../compiler/interp/loop.ts";
import { printLayout } from "../../../compiler/ir/layout.ts";
import { definedTiles } from "../../../compiler/ir/walk.ts";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import { compileTile } from "../../../compiler/pipeline.ts";
import type { Schedule } from "../../../compiler/target.ts";
import { fromBytes, type DType } from "../../../dsl/dtype.ts";
import { randomBuffers } from "../kernel_cases.ts";
import { hopper, readRings, ringSchedule } from "./small_kernels.ts";

interface Case {
  readonly kernel: Parameters<typeof readRings>[0];
  readonly spec: unknown;
  readonly tune: Readonly<Record<string, number>>;
  readonly schedule: Schedule;
  readonly dims: Readonly<Record<string, number>>;
  /** First token and end of each query's window. */
  readonly windows?: readonly (readonly [number, number])[];
  /** Pages of each entry of a table. */
  readonly table?: readonly number[];
  /** The row of each position. */
  readonly index?: readonly number[];
  readonly seed: number;
}

/** Sums run in another order, and a bf16 beside a boundary may round the other way. */
const allowed = (dtype: DType, x: number): number => Math.max(1, Math.abs(x)) * (dtype === "bf16" ? 2 ** -8 : 2 ** -17);

async function agree({ kernel, spec, tune, schedule, dims, windows, table, index, seed }: Case): Promise<void> {
  const read = await readRings(kernel, spec, tune);
  const { tile, loop } = compileTile(read, hopper, schedule, "");
  const want = randomBuffers(tile, dims, seed);
  windows?.forEach((ends, q) => (["first", "last"] as const).forEach((name, i) => new DataView(want[name]!.buffer).setInt32(4 * q, ends[i]!, true)));
  table?.forEach((page, i) => new DataView(want.table!.buffer).setInt32(4 * i, page, true));
  index?.forEach((row, i) => new DataView(want.index!.buffer).setInt32(4 * i, row, true));
  const got = structuredClone(want);
  interpretTile(tile, want, dims);
  runLoop(loop, [...hopper.instructions.values()], got, dims, { seed, multiprocessors: 3 });
  for (const { name, fields } of tile.params) {
    const { dtype } = fields[0]!;
    const [x, y] = [want, got].map((buffers) => fromBytes(dtype, buffers[name]!));
    const differs = [...x!].findIndex((v, i) => !Object.is(v, y![i]) && !(Math.abs(v - y![i]!) <= allowed(dtype, v)));
    expect(differs, `${name}[${differs}] is ${y![differs]}, not ${x![differs]}`).toBe(-1);
  }
}

const depth = fc.integer({ min: 1, max: 4 });
const seed = fc.integer({ min: 1, max: 1000 });
const warps = fc.constantFrom(4, 8);
const registers = fc.constantFrom({}, { registers: { math: 224, producer: 40 } });
/** Rows of a product that its warpgroups, and so many parts of each, can divide. */
const rowsFor = (warps: number, parts: number): fc.Arbitrary<number> => (warps === 8 ? fc.constant(128) : parts === 3 ? fc.constant(64) : fc.constantFrom(64, 128));

const windowsCase: fc.Arbitrary<Case> = fc
  .record({
    dtype: fc.constantFrom("e4m3" as const, "bf16" as const),
    lines: fc.constantFrom(1, 2, 3, 4),
    columns: fc.constantFrom([1, 8], [1, 16], [2, 4], [2, 8], [2, 12], [3, 8], [4, 4], [6, 4]) as fc.Arbitrary<[number, number]>,
    parts: fc.constantFrom(1, 2, 3),
    warps,
    registers,
    extra: fc.subarray(["w", "scale"]),
    depths: fc.tuple(depth, depth),
    copies: fc.constantFrom([1, 1], [1, 2], [2, 1], [2, 2]) as fc.Arbitrary<[number, number]>,
    persistent: fc.oneof(fc.constant(undefined), fc.constant("strided" as const), fc.record({ even: fc.constant("tb"), padding: fc.nat(3), least: fc.nat(5) })),
    tokens: fc.integer({ min: 1, max: 150 }),
    queries: fc.integer({ min: 1, max: 6 }),
    seed,
  })
  .filter(({ columns: [q, h], parts }) => (q * h) % (8 * parts) === 0)
  .chain((c) =>
    fc.record({
      BT: rowsFor(c.warps, c.parts),
      windows: fc.array(fc.tuple(fc.integer({ min: -20, max: c.tokens - 1 }), fc.nat(100)), { minLength: c.queries, maxLength: c.queries }),
    }).map(({ BT, windows }): Case => {
      const { dtype, columns: [BQ, heads], parts, extra, depths, persistent, tokens, queries } = c;
      const [math, producer] = typeof persistent === "object" && c.warps === 4 ? c.copies : [1, 1];
      const keys = depths[1] * Math.max(math, producer);
      const brings = { q: depths[0], k: keys, ...(extra.includes("w") && { w: depths[0] }), ...(extra.includes("scale") && { scale: keys }) };
      return {
        kernel: "windows",
        spec: { dtype, heads, depth: (c.lines * 32) / (dtype === "e4m3" ? 1 : 2) },
        tune: { BQ, BT },
        schedule: ringSchedule({ warps: c.warps, copies: { math, producer }, brings, mma: { dot: { parts } }, ...c.registers, ...(persistent && { persistent }) }),
        dims: { Q: queries, T: tokens, yPitch: tokens + (c.seed % 2) },
        windows: windows.map(([first, length]) => [first, Math.min(tokens, first + length)]),
        seed: c.seed,
      };
    }),
  );

/** The same scores in halves: an operand of the second product is computed, by itself or behind the queries in their slot. */
const halvesCase: fc.Arbitrary<Case> = fc
  .record({
    lines: fc.constantFrom(1, 2, 4),
    columns: fc.constantFrom([2, 8], [2, 16], [4, 4], [4, 8], [6, 8], [8, 8]) as fc.Arbitrary<[number, number]>,
    parts: fc.constantFrom(1, 2),
    behind: fc.boolean(),
    warps,
    registers,
    extra: fc.subarray(["w", "scale"]),
    depths: fc.tuple(depth, depth),
    persistent: fc.oneof(fc.constant(undefined), fc.constant("strided" as const), fc.record({ even: fc.constant("tb"), padding: fc.nat(3), least: fc.nat(5) })),
    tokens: fc.integer({ min: 1, max: 150 }),
    windows: fc.array(fc.tuple(fc.integer({ min: -20, max: 149 }), fc.nat(100)), { minLength: 1, maxLength: 6 }),
    seed,
  })
  .filter(({ columns: [q, h], parts }) => (q * h) % (8 * parts) === 0)
  .map(({ lines, columns: [BQ, heads], parts, behind, warps, registers, extra, depths, persistent, tokens, windows, seed }) => {
    const brings = { q: depths[0], k: depths[1], ...(extra.includes("w") && { w: depths[0] }), ...(extra.includes("scale") && { scale: depths[1] }) };
    const mma = { dot: { parts }, "dot.linear": behind ? { behind: "dot" } : {} };
    return {
      kernel: "windows",
      spec: { dtype: "e4m3", heads, depth: lines * 32 },
      tune: { BQ, BT: 16 * warps },
      schedule: { ...ringSchedule({ warps, brings, mma, ...registers, ...(persistent && { persistent }) }), algebra: ["hoistScales", "splitRelu", "hoistInvariants"] },
      dims: { Q: windows.length, T: tokens, yPitch: tokens + (seed % 2) },
      windows: windows.map(([first, length]) => [Math.min(first, tokens - 1), Math.min(tokens, first + length)]),
      seed,
    };
  });

const matmulCase: fc.Arbitrary<Case> = fc
  .record({
    dtype: fc.constantFrom("e4m3" as const, "bf16" as const),
    BN: fc.constantFrom(8, 16, 32, 40),
    BK: fc.constantFrom(32, 64),
    warps,
    registers,
    depth,
    parts: fc.constantFrom(1, 2),
    persistent: fc.constantFrom(undefined, "strided" as const),
    m: fc.integer({ min: 1, max: 140 }),
    n: fc.integer({ min: 1, max: 50 }),
    slices: fc.nat(9),
    seed,
  })
  .filter(({ BN, parts }) => BN % (8 * parts) === 0)
  .chain((c) =>
    rowsFor(c.warps, c.parts).map((BM): Case => {
      const K = 16 * c.slices;
      return {
        kernel: "matmul",
        spec: { dtype: c.dtype },
        tune: { BM, BN: c.BN, BK: c.BK },
        schedule: ringSchedule({ warps: c.warps, brings: { x: c.depth, y: c.depth }, mma: { acc: { parts: c.parts } }, ...c.registers, ...(c.persistent && { persistent: c.persistent }) }),
        dims: { M: c.m, N: c.n, K, aPitch: K, bPitch: K + 16, cPitch: c.n + (c.n % 2) },
        seed: c.seed,
      };
    }),
  );

const rowsCase: fc.Arbitrary<Case> = fc
  .record({ rows: fc.integer({ min: 1, max: 20 }), columns: fc.integer({ min: 1, max: 12 }), warps, depth, persistent: fc.constantFrom(undefined, "strided" as const), n: fc.nat(6), seed })
  .map(({ rows, columns, warps, depth, persistent, n, seed }) => ({
    kernel: "scaledRows",
    spec: { rows, columns: 4 * columns },
    tune: {},
    schedule: ringSchedule({ warps, brings: { x: depth, w: depth }, ...(persistent && { persistent }) }),
    dims: { N: n },
    seed,
  }));

/** Loads that threads copy beside those that TMA brings, in a ring of their own or in one with them and a header. */
const copiedCase: fc.Arbitrary<Case> = fc
  .record({
    dtype: fc.constantFrom("e4m3" as const, "bf16" as const),
    lines: fc.constantFrom(1, 2, 3, 4),
    columns: fc.constantFrom([1, 8], [2, 4], [2, 12], [3, 8]) as fc.Arbitrary<[number, number]>,
    cpAsync: fc.subarray(["q", "k", "w"], { minLength: 1 }),
    bringing: fc.integer({ min: 1, max: 3 }),
    copies: fc.constantFrom([1, 1], [1, 2], [2, 2]) as fc.Arbitrary<[number, number]>,
    depths: fc.tuple(depth, depth),
    persistent: fc.oneof(fc.constantFrom(undefined, "strided" as const), fc.record({ even: fc.constant("tb"), padding: fc.nat(3), least: fc.nat(5) })),
    tokens: fc.integer({ min: 1, max: 150 }),
    windows: fc.array(fc.tuple(fc.integer({ min: -20, max: 149 }), fc.nat(100)), { minLength: 1, maxLength: 5 }),
    seed,
  })
  .map(({ dtype, lines, columns: [BQ, heads], cpAsync, bringing, copies: [math, producer], depths, persistent, tokens, windows, seed }) => {
    const turns = typeof persistent === "object" ? { math, producer } : { math: 1, producer: 1 };
    const keys = depths[1] * Math.max(turns.math, turns.producer);
    return {
      kernel: "windows",
      spec: { dtype, heads, depth: (lines * 32) / (dtype === "e4m3" ? 1 : 2) },
      tune: { BQ, BT: 64 },
      schedule: ringSchedule({ warps: 4, copies: turns, bringing, brings: { q: depths[0], w: depths[0], k: keys, scale: keys }, cpAsync, mma: { dot: {} }, ...(persistent && { persistent }) }),
      dims: { Q: windows.length, T: tokens, yPitch: tokens + (seed % 2) },
      windows: windows.map(([first, length]) => [Math.min(first, tokens - 1), Math.min(tokens, first + length)]),
      seed,
    };
  });

/** Rows of pages that lie anywhere, for both sides of products and for registers; a page table with entries that name no page. */
const pagedCase: fc.Arbitrary<Case> = fc
  .record({
    warps,
    page: fc.constantFrom(1, 4, 16, 24, 64),
    depth: fc.constantFrom(16, 32, 64, 128),
    missing: fc.constantFrom(0, 8, 16),
    gathered: fc.subarray(["y", "z", "w"], { minLength: 2 }),
    bringing: fc.integer({ min: 1, max: 4 }),
    depths: fc.tuple(depth, depth),
    apart: fc.boolean(),
    persistent: fc.constantFrom(undefined, "strided" as const),
    m: fc.integer({ min: 1, max: 150 }),
    pages: fc.integer({ min: 1, max: 9 }),
    entries: fc.array(fc.integer({ min: -2, max: 10 }), { minLength: 1, maxLength: 9 }),
    seed,
  })
  .map(({ warps, page, depth, missing, gathered, bringing, depths: [x, y], apart, persistent, m, pages, entries, seed }) => {
    const brings = ["x", ...new Set(["y", "z", ...gathered])];
    return {
      kernel: "paged",
      spec: { rows: 16 * warps, page, depth, width: Math.max(8, depth - missing) },
      tune: {},
      schedule: {
        ...ringSchedule({ warps, bringing, brings: Object.fromEntries(brings.map((label) => [label, y])), mma: { up: {}, down: {} }, ...(persistent && { persistent }) }),
        stage: Object.fromEntries(brings.map((label) => [label, { slots: label === "x" ? Math.min(x, 2) : y, ring: apart || label === "x" ? label : "rows" }])),
      },
      dims: { M: m, P: pages, I: entries.length },
      table: entries,
      seed,
    };
  });

const chainedCase: fc.Arbitrary<Case> = fc
  .record({ warps, depths: fc.tuple(depth, fc.integer({ min: 2, max: 3 })), late: fc.boolean(), persistent: fc.constantFrom(undefined, "strided" as const), m: fc.integer({ min: 1, max: 200 }), t: fc.nat(260), seed })
  .map(({ warps, depths: [y, z], late, persistent, m, t, seed }) => ({
    kernel: "chained",
    spec: { rows: 16 * warps },
    tune: {},
    schedule: { ...ringSchedule({ warps, brings: { x: 1, y, z }, mma: { up: {}, down: { late } }, ...(persistent && { persistent }) }), stage: { x: 1, y: { slots: y, ring: "ys" }, z: { slots: z, ring: "zs" } } },
    dims: { M: m, T: t },
    seed,
  }));

const makers = fc.constantFrom(1, 2, 4, 8);
/** Rows that another role makes, of keys in windows. */
const madeWindowsCase: fc.Arbitrary<Case> = fc
  .record({
    lines: fc.constantFrom(1, 2, 4),
    columns: fc.constantFrom([1, 8], [2, 8], [2, 12], [4, 4]) as fc.Arbitrary<[number, number]>,
    warps,
    makers,
    copies: fc.constantFrom([1, 1], [2, 1], [2, 2]) as fc.Arbitrary<[number, number]>,
    scaleInRing: fc.boolean(),
    depths: fc.tuple(depth, depth),
    persistent: fc.oneof(fc.constant(undefined), fc.constant("strided" as const), fc.record({ even: fc.constant("tb"), padding: fc.nat(3), least: fc.nat(5) })),
    tokens: fc.integer({ min: 1, max: 150 }),
    windows: fc.array(fc.tuple(fc.integer({ min: -20, max: 149 }), fc.nat(100)), { minLength: 1, maxLength: 6 }),
    seed,
  })
  .map(({ lines, columns: [BQ, heads], warps, makers, copies, scaleInRing, depths, persistent, tokens, windows, seed }) => {
    const [math, producer] = typeof persistent === "object" && warps === 4 ? copies : [1, 1];
    const slots = depths[1] * Math.max(math, producer);
    const brings = { q: depths[0], codes: slots, ...(scaleInRing && { scale: slots }) };
    return {
      kernel: "madeWindows",
      spec: { heads, depth: 16 * lines },
      tune: { BQ, BT: 16 * warps },
      schedule: ringSchedule({ warps, copies: { math, producer }, brings, maker: { warps: makers, makes: ["k"] }, mma: { dot: {} }, ...(persistent && { persistent }) }),
      dims: { Q: windows.length, T: tokens, yPitch: tokens + (seed % 2) },
      windows: windows.map(([first, length]) => [Math.min(first, tokens - 1), Math.min(tokens, first + length)]),
      seed,
    };
  });

const madeChainedCase: fc.Arbitrary<Case> = fc
  .record({ warps, makers, depths: fc.tuple(depth, fc.integer({ min: 2, max: 3 })), gainInRing: fc.boolean(), late: fc.boolean(), persistent: fc.constantFrom(undefined, "strided" as const), m: fc.integer({ min: 1, max: 140 }), t: fc.nat(260), seed })
  .map(({ warps, makers, depths: [y, z], gainInRing, late, persistent, m, t, seed }) => {
    const brings = { x: 1, codes: y, s: y, values: z, ...(gainInRing && { gain: 1 }) };
    const stage = { x: 1, codes: { slots: y, ring: "ys" }, s: { slots: y, ring: "ys" }, values: { slots: z, ring: "zs" }, ...(gainInRing && { gain: { slots: 1, ring: "gains" } }) };
    return {
      kernel: "madeChained",
      spec: { rows: 16 * warps },
      tune: {},
      schedule: { ...ringSchedule({ warps, brings, maker: { warps: makers, makes: ["y", "z"] }, mma: { up: {}, down: { late } }, ...(persistent && { persistent }) }), stage },
      dims: { M: m, T: t },
      seed,
    };
  });

/** Rows that threads copy, and another role makes into operands. */
const madeRowsCase: fc.Arbitrary<Case> = fc
  .record({
    page: fc.constantFrom(1, 8, 24),
    depth: fc.constantFrom(32, 64, 128),
    makers,
    bringing: fc.integer({ min: 1, max: 4 }),
    slots: depth,
    xByThreads: fc.boolean(),
    persistent: fc.constantFrom(undefined, "strided" as const),
    m: fc.integer({ min: 1, max: 140 }),
    pages: fc.integer({ min: 1, max: 9 }),
    rows: fc.array(fc.integer({ min: -2, max: 220 }), { minLength: 1, maxLength: 200 }),
    seed,
  })
  .map(({ page, depth, makers, bringing, slots, xByThreads, persistent, m, pages, rows, seed }) => ({
    kernel: "madeRows",
    spec: { page, depth },
    tune: {},
    schedule: ringSchedule({ warps: 4, bringing, brings: { x: 1, codes: slots }, cpAsync: xByThreads ? ["x"] : [], maker: { warps: makers, makes: ["row"] }, mma: { product: {} }, ...(persistent && { persistent }) }),
    dims: { M: m, P: pages, T: rows.length },
    index: rows,
    seed,
  }));

/** Rows in one slot that some products contract and others do not, whole or in parts. */
const latentCase: fc.Arbitrary<Case> = fc
  .record({ warps, lines: fc.integer({ min: 2, max: 4 }), bringing: fc.integer({ min: 1, max: 4 }), slots: fc.integer({ min: 1, max: 2 }), persistent: fc.constantFrom(undefined, "strided" as const), m: fc.integer({ min: 1, max: 140 }), r: fc.integer({ min: 1, max: 90 }), rows: fc.array(fc.integer({ min: -2, max: 100 }), { minLength: 1, maxLength: 200 }), seed })
  .map(({ warps, lines, bringing, slots, persistent, m, r, rows, seed }) => ({
    kernel: "latent",
    spec: { rows: 16 * warps, width: 64 * lines },
    tune: {},
    schedule: ringSchedule({ warps, bringing, brings: { x: 1, kv: slots }, mma: { up: {}, twice: {}, head: {}, tail: {} }, ...(persistent && { persistent }) }),
    dims: { M: m, R: r, T: rows.length },
    index: rows,
    seed,
  }));

const runs = { seed: 9, endOnFailure: true };
test("scores over windows", () => fc.assert(fc.asyncProperty(windowsCase, agree), { ...runs, numRuns: 14 }));
test("scores in halves, with an operand that the role computes", () => fc.assert(fc.asyncProperty(halvesCase, agree), { ...runs, numRuns: 14 }));
test("tiles that threads copy", () => fc.assert(fc.asyncProperty(copiedCase, agree), { ...runs, numRuns: 14 }));
test("rows of pages that lie anywhere", () => fc.assert(fc.asyncProperty(pagedCase, agree), { ...runs, numRuns: 14 }));
test("products that accumulate", () => fc.assert(fc.asyncProperty(matmulCase, agree), { ...runs, numRuns: 8 }));
test("products behind each other, the second a turn late", () => fc.assert(fc.asyncProperty(chainedCase, agree), { ...runs, numRuns: 10 }));
test("rows that another role makes", () => fc.assert(fc.asyncProperty(madeWindowsCase, agree), { ...runs, numRuns: 14 }));
test("products of what another role makes, the second a turn late", () => fc.assert(fc.asyncProperty(madeChainedCase, agree), { ...runs, numRuns: 10 }));
test("rows that threads copy and another role makes", () => fc.assert(fc.asyncProperty(madeRowsCase, agree), { ...runs, numRuns: 12 }));
test("rows that products contract and do not contract", () => fc.assert(fc.asyncProperty(latentCase, agree), { ...runs, numRuns: 8 }));
test("element-wise work", () => fc.assert(fc.asyncProperty(rowsCase, agree), { ...runs, numRuns: 8 }));

const base = { kernel: "windows", spec: { dtype: "e4m3", heads: 16, depth: 64 }, dims: { Q: 5, T: 100, yPitch: 100 }, windows: [[3, 90], [0, 0], [60, 100], [99, 100], [7, 8]], seed: 1 } as const;
const scores = (more: Partial<Parameters<typeof ringSchedule>[0]>): Schedule => ringSchedule({ warps: 4, brings: { q: 2, k: 2, w: 2, scale: 2 }, mma: { dot: { parts: 2 } }, ...more });
test.each<[string, Case]>([
  ["an axis of one position, which no digit of the box has", { ...base, tune: { BQ: 1, BT: 64 }, schedule: scores({ persistent: "strided" }) }],
  ["parts along the rows, where a warpgroup multiplies several tiles of them", { ...base, tune: { BQ: 2, BT: 128 }, schedule: scores({ persistent: { even: "tb", padding: 2, least: 3 } }) }],
  ["parts of half a tile of rows", { ...base, tune: { BQ: 2, BT: 128 }, schedule: scores({ mma: { dot: { parts: 4 } } }) }],
  ["swizzled rings behind others in the text", { ...base, tune: { BQ: 2, BT: 64 }, schedule: scores({ brings: { q: 1, w: 1, k: 3, scale: 3 } }) }],
  ["turns of producers that copy, each of two warps", { ...base, tune: { BQ: 2, BT: 64 }, schedule: scores({ copies: { math: 1, producer: 2 }, bringing: 2, cpAsync: ["k", "w"], persistent: { even: "tb", padding: 1 } }) }],
  ["turns of which some bring nothing", { kernel: "skipped", spec: undefined, tune: {}, schedule: ringSchedule({ warps: 4, brings: { w: 1, x: 2 }, cpAsync: ["x"], persistent: { even: "tb" } }), dims: { Q: 3, T: 300 }, seed: 1 }],
  ["windows that are all empty", { ...base, tune: { BQ: 2, BT: 64 }, windows: base.windows.map(([first]) => [first, first] as const), schedule: scores({ persistent: { even: "tb" } }) }],
  ["scalars of all types in a header, and windows that start before the first token", { kernel: "steered", spec: undefined, tune: {}, schedule: ringSchedule({ warps: 4, brings: { x: 2, w: 2 }, persistent: { even: "tb" } }), dims: { Q: 5, T: 90 }, windows: [[-40, 80], [-3, -1], [7, 90], [5, 5], [80, 85]], seed: 1 }],
  ["scalars that loops and branches carry, of which copies need some", { kernel: "carried", spec: undefined, tune: {}, schedule: ringSchedule({ warps: 4, brings: { x: 3 }, persistent: "strided" }), dims: { N: 7, T: 100 }, seed: 1 }],
  ["an operand whose columns lie together", { kernel: "matmulColumns", spec: undefined, tune: { BM: 128, BN: 128 }, schedule: ringSchedule({ warps: 8, brings: { x: 2, y: 2 }, mma: { acc: { parts: 2 } }, persistent: "strided" }), dims: { M: 130, N: 150, K: 72, bPitch: 152 }, seed: 1 }],
])("%s", (_, c) => agree(c));
test("weights that a loop folds by lie as it reads them, also for the sum in front of it", async () => {
  const { kernel, spec, tune, schedule } = { ...base, tune: { BQ: 4, BT: 64 }, schedule: { ...scores({ mma: { dot: { parts: 2 }, "dot.linear": { behind: "dot" } } }), algebra: ["hoistScales", "splitRelu", "hoistInvariants"] } satisfies Schedule };
  const { plan, tile } = compileTile(await readRings(kernel, spec, tune), hopper, schedule, "");
  const placeOf = (label: string) => plan.places.get([...definedTiles(tile.body)].find((v) => v.label === label)!.id)!;
  const [half, vector] = [placeOf("dot.half"), placeOf("dot.vector")];
  expect(half.kind === "Stored" && !half.stage && printLayout(half.layout!)).toBe("threads(q 4, copies 32) registers(h 16)");
  expect(vector.kind === "Stored" && printLayout(vector.layout!)).toBe("threads(q 4, d 32 by 2) registers(d 2)");
});
