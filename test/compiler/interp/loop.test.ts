/** The simulated machine: right results, and every planted fault named. */
import { describe, expect, it } from "vitest";
import { MachineFault, runLoop } from "../../../compiler/interp/loop.ts";
import { add, binary, constant, type Expr, int, mul, sub, variable } from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt } from "../../../compiler/ir/loop.ts";
import { encode, fromBytes, round, toBytes } from "../../../dsl/dtype.ts";
import { cudaInstructions } from "../../../targets/cuda/instructions.ts";
import {
  barrier,
  block,
  codecKernels,
  element,
  f32,
  forLoop,
  gatherRecords,
  histogram,
  i32,
  ifThen,
  mathFunctions,
  mathKernel,
  mmaTile,
  reg,
  rowCentre,
  shared,
  storeGlobal,
  storeShared,
  tensor,
  thread,
  transpose,
  vectorScale,
} from "./loop_kernels.ts";

const run = (kernel: LoopKernel, buffers: Record<string, Uint8Array>, dims: Record<string, number>, seed = 1) =>
  runLoop(kernel, cudaInstructions, buffers, dims, { seed });
const sequence = (n: number, f: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => f(i));
/** A fixed disorder of small numbers. */
const noise = (i: number): number => ((Math.imul(i + 1, 0x9e3779b1) >>> 8) % 2001) / 100 - 10;

describe("results", () => {
  it("scales a vector with a ragged tail and leaves what lies behind it", () => {
    for (const n of [0, 1, 255, 258, 700]) {
      const y = toBytes(
        "f32",
        sequence(n + 3, () => -7),
      );
      run(vectorScale, { x: toBytes("f32", sequence(n, noise)), y }, { N: n });
      expect([...fromBytes("f32", y)]).toEqual([...sequence(n, (i) => Math.fround(Math.fround(noise(i)) * Math.fround(0.1))), -7, -7, -7]);
    }
  });

  it("sums rows through shared memory, whatever the order of threads", () => {
    const x = sequence(3 * 64, (i) => (i * 7) % 11);
    for (const seed of [1, 2, 3]) {
      const [y, total] = [new Uint8Array(4 * x.length), new Uint8Array(12)];
      run(rowCentre, { x: toBytes("f32", x), y, total }, { R: 3 }, seed);
      const sums = [0, 1, 2].map((r) => x.slice(64 * r, 64 * r + 64).reduce((a, b) => a + b, 0));
      expect([...fromBytes("f32", total)]).toEqual(sums);
      expect([...fromBytes("f32", y)]).toEqual(x.map((v, i) => Math.fround(v - Math.fround(sums[i >> 6]! / 64))));
    }
  });

  it("counts with atomics", () => {
    const x = sequence(1000, (i) => Math.imul(i, i));
    const [counts, most] = [new Uint8Array(64), new Uint8Array(4)];
    run(histogram, { x: toBytes("u32", x), counts, most }, { N: 1000 });
    const expected = sequence(16, (b) => x.filter((v) => (v & 15) === b).length);
    expect([...fromBytes("u32", counts)]).toEqual(expected);
    expect([...fromBytes("u32", most)]).toEqual([Math.max(...expected)]);
  });

  it("transposes pitched, ragged bf16", () => {
    const [rows, columns, xPitch, yPitch] = [37, 45, 50, 40];
    const x = sequence(rows * xPitch, noise);
    const y = toBytes(
      "bf16",
      sequence(columns * yPitch, () => 99),
    );
    run(transpose, { x: toBytes("bf16", x), y }, { R: rows, C: columns, xPitch, yPitch });
    const out = fromBytes("bf16", y);
    const at = (c: number, r: number) => out[c * yPitch + r];
    for (let c = 0; c < columns; c++)
      for (let r = 0; r < yPitch; r++) expect(at(c, r)).toBe(r < rows ? round("bf16", x[r * xPitch + c]!) : 99);
  });

  it("multiplies a tile with mma, ldmatrix and asynchronous copies", () => {
    const [a, b] = [sequence(16 * 16, (i) => (i % 7) - 3), sequence(8 * 16, (i) => (i % 5) - 2)];
    for (const rows of [16, 11]) {
      const d = new Uint8Array(4 * 128);
      run(mmaTile, { a: toBytes("bf16", a.slice(0, 16 * rows)), b: toBytes("bf16", b), d }, { rows });
      const dot = (m: number, n: number) =>
        m < rows ? sequence(16, (k) => a[16 * m + k]! * b[16 * n + k]!).reduce((x, y) => x + y, 0) : 0;
      expect([...fromBytes("f32", d)]).toEqual(sequence(128, (i) => dot(i >> 3, i & 7)));
    }
  });

  it("reads records, skips guarded elements", () => {
    const [pages, slots, pageBytes] = [3, 6, 48];
    const cache = new Uint8Array(pages * pageBytes).fill(0xff);
    const view = new DataView(cache.buffer);
    for (let slot = 0; slot < 2 * pages; slot++) {
      const at = (slot >> 1) * pageBytes + (slot & 1) * 16;
      cache.set(
        sequence(8, (d) => encode("e4m3", d + slot)),
        at,
      );
      view.setFloat32(at + 8, 2 ** (slot - 2), true);
      cache.set(toBytes("bf16", [1, 100 + slot]), at + 12);
    }
    const idx = [5, -1, 0, 3, 3, -1];
    const [out, last] = [new Uint8Array(slots * 16), new Uint8Array(slots * 4)];
    run(gatherRecords, { cache, idx: toBytes("i32", idx), out, last }, { P: pages, J: slots, pageBytes });
    expect([...fromBytes("f32", last)]).toEqual(idx.map((s) => (s < 0 ? 0 : 100 + s)));
    expect([...fromBytes("bf16", out)]).toEqual(idx.flatMap((s) => sequence(8, (d) => (s < 0 ? 0 : round("e4m3", d + s) * 2 ** (s - 2)))));
  });

  it("rounds and saturates the narrow formats as dsl/dtype.ts does", () => {
    for (const kernel of codecKernels) {
      const dtype = kernel.params[0]!.fields[0]!.dtype;
      const n = dtype === "bf16" || dtype === "f16" ? 514 : 256;
      const codes =
        dtype === "bf16" || dtype === "f16" ? new Uint8Array(sequence(2 * n, (i) => i * 37)) : new Uint8Array(sequence(n, (i) => i));
      const x = sequence(n, (i) => noise(i) * 2 ** ((i % 60) - 30));
      const [value, encoded, rounded] = [new Uint8Array(4 * n), new Uint8Array(codes.length), new Uint8Array(4 * n)];
      run(kernel, { codes, x: toBytes("f32", x), value, encoded, rounded }, { N: n });
      expect(value).toEqual(toBytes("f32", fromBytes(dtype, codes)));
      expect(encoded).toEqual(toBytes(dtype, x.map(Math.fround)));
      expect([...fromBytes("f32", rounded)]).toEqual(x.map((v) => round(dtype, Math.fround(v))));
    }
  });

  it("computes scalar code", () => {
    const [x, y, n, m] = [
      [0.7, -2.5, 3],
      [1.5, -2.5, NaN],
      [7, -9, 1 << 30],
      [3, 4, 5],
    ];
    const out = new Uint8Array(4 * 3 * 31);
    run(mathKernel, { x: toBytes("f32", x!), y: toBytes("f32", y!), n: toBytes("i32", n!), m: toBytes("i32", m!), out }, { N: 3 });
    const rows = [...fromBytes("f32", out)];
    const [first, second, third] = [rows.slice(0, 31), rows.slice(31, 62), rows.slice(62)];
    const x0 = Math.fround(0.7);
    expect(first.slice(0, 12)).toEqual(mathFunctions.map((f) => Math.fround(f === "exp2" ? 2 ** x0 : Math[f](x0))));
    expect(first.slice(12)).toEqual([
      1.5,
      x0,
      Math.fround(x0 / 1.5),
      2,
      1,
      7,
      7,
      3,
      -x0,
      3,
      0,
      56,
      -(2 ** 24),
      -8,
      5,
      0,
      0,
      Infinity,
      -Math.fround(x0 - Math.fround(1.5 - Math.fround(0.1))),
    ]);
    expect(second.slice(12)).toEqual([
      -2.5,
      -2.5,
      1,
      -2,
      -1,
      4,
      9,
      31,
      2.5,
      -5,
      15,
      -9,
      -(2 ** 24),
      8,
      5,
      -2,
      1,
      -0,
      -Math.fround(-2.5 - Math.fround(-2.5 - Math.fround(0.1))),
    ]);
    expect(third.slice(12, 14)).toEqual([3, 3]); // max and min ignore a NaN
    expect(third[23]).toBe(-(2 ** 31)); // 2^30 << 1 wraps
  });
});

const kernelOf = (body: readonly LoopStmt[], more: Partial<LoopKernel> = {}): LoopKernel => ({
  name: "k",
  loc: { file: "k.ts", line: 1, column: 1 },
  params: [tensor("in", "x", "f32", { i: 64 }), tensor("out", "y", "f32", { i: 64 })],
  dims: [],
  blocks: 1,
  threads: 64,
  shared: [
    { name: "s", dtype: "f32", elements: 64, offset: 0, note: "s" },
    { name: "half", dtype: "bf16", elements: 128, offset: 256, note: "half" },
  ],
  sharedBytes: 512,
  barriers: [],
  pipes: [],
  tensorMaps: [],
  body: [{ kind: "Source", loc: { file: "k.ts", line: 7, column: 3 } }, ...body],
  ...more,
});
const fault = (body: readonly LoopStmt[], more: Partial<LoopKernel> = {}): string => {
  const buffers = {
    x: toBytes(
      "f32",
      sequence(64, (i) => i),
    ),
    y: new Uint8Array(256),
  };
  for (const seed of [1, 2]) {
    try {
      run(kernelOf(body, more), buffers, {}, seed);
    } catch (e) {
      if (!(e instanceof MachineFault)) throw e;
      if (seed === 2) return `[${e.code}] ${e.message}`;
      continue;
    }
    return "no fault";
  }
  throw new Error("a fault under one order of threads only");
};
/** What a few orders of threads bring up. */
const faultsOverSeeds = (body: readonly LoopStmt[], more: Partial<LoopKernel> = {}): Set<string> => {
  const found = new Set<string>();
  for (let seed = 1; seed <= 12; seed++) {
    try {
      run(
        kernelOf(body, more),
        {
          x: toBytes(
            "f32",
            sequence(64, (i) => i),
          ),
          y: new Uint8Array(256),
        },
        {},
        seed,
      );
      found.add("no fault");
    } catch (e) {
      if (!(e instanceof MachineFault)) throw e;
      found.add(`[${e.code}] ${e.message.split("\n")[0]!}`);
    }
  }
  return found;
};
const neighbour = binary("%", add(thread, int(1)), int(64));
const y = (value: Expr) => storeGlobal("y", [thread], value);
const call = (instruction: string, ...operands: Extract<LoopStmt, { kind: "Call" }>["operands"]): LoopStmt => ({
  kind: "Call",
  instruction,
  operands,
});

describe("faults", () => {
  it("a missing barrier: one thread reads what another writes", () => {
    const body = (between: readonly LoopStmt[]) => [storeShared("s", thread, f32(1)), ...between, y(shared("s", neighbour))];
    expect(fault(body([barrier]))).toBe("no fault");
    expect(fault(body([]))).toMatch(/\[uninitialised\]|\[race\]/);
    // the second round of a loop, where everything is initialised
    const loop = (end: readonly LoopStmt[]) => [forLoop("n", int(0), int(2), [...body([barrier]), ...end])];
    expect(fault(loop([barrier]))).toBe("no fault");
    expect(fault(loop([]))).toMatch(
      /^\[race\] k: shared-memory race on "s"\[\d+\]: thread \d+ (writes|reads) what thread \d+ has (read|written) since the last barrier, at k.ts:7; put a barrier between them\n {2}at k.ts:7 \(block 0, thread \d+\)$/,
    );
  });

  it("a race between two threads, whichever comes first", () => {
    const reader = ifThen(binary("==", thread, int(5)), [storeGlobal("y", [int(0)], shared("s", int(9)))]);
    const writer = ifThen(binary("==", thread, int(40)), [storeShared("s", int(9), f32(2))]);
    expect(faultsOverSeeds([storeShared("s", thread, f32(1)), barrier, reader, writer])).toEqual(
      new Set([
        '[race] k: shared-memory race on "s"[9]: thread 40 writes what thread 5 has read since the last barrier, at k.ts:7; put a barrier between them',
        '[race] k: shared-memory race on "s"[9]: thread 5 reads what thread 40 has written since the last barrier, at k.ts:7; put a barrier between them',
      ]),
    );
  });

  it("two threads write one element, even the same value", () => {
    expect(fault([storeShared("s", binary("/", thread, int(2)), f32(1))])).toMatch(
      /^\[race\] k: shared-memory race on "s"\[\d+\]: thread \d+ writes what thread \d+ has written/,
    );
  });

  it("a plain read beside atomic additions", () => {
    const counters: LoopKernel["shared"] = [{ name: "c", dtype: "u32", elements: 2, offset: 0, note: "c" }];
    const addOne: LoopStmt = { kind: "Atomic", fn: "add", buffer: "c", index: int(0), value: constant("u32", 1) };
    const clear = ifThen(binary("==", thread, int(0)), [storeShared("c", int(0), constant("u32", 0))]);
    const read = y({ kind: "Convert", type: "f32", a: shared("c", int(0), "u32") });
    expect(fault([clear, barrier, addOne, barrier, read], { shared: counters })).toBe("no fault");
    expect(fault([clear, barrier, addOne, read], { shared: counters })).toMatch(/^\[race\] k: shared-memory race on "c"\[0\]/);
    expect(fault([clear, addOne, barrier, read], { shared: counters })).toMatch(/^\[(race|uninitialised)\]/);
    expect(fault([addOne], { shared: counters })).toMatch(/^\[uninitialised\] k: "c"\[0\] is added to and this block has not set it/);
  });

  it("two threads on the place that one of them was given", () => {
    const counters: LoopKernel["shared"] = [...kernelOf([]).shared, { name: "c", dtype: "u32", elements: 2, offset: 1024, note: "c" }];
    const clear = ifThen(binary("<", thread, int(2)), [storeShared("c", thread, constant("u32", 0))]);
    const take = (fn: "add" | "or"): LoopStmt => ({ kind: "Atomic", fn, buffer: "c", index: int(0), value: constant("u32", 1), old: "place" });
    const keep = storeShared("s", { kind: "Convert", type: "i32", a: variable("u32", "place") }, f32(1));
    const body = [keep, barrier, y(shared("s", thread))];
    expect(fault([clear, barrier, take("add"), ...body], { shared: counters, sharedBytes: 1152 })).toBe("no fault");
    expect(fault([clear, barrier, take("or"), ...body], { shared: counters, sharedBytes: 1152 })).toMatch(/^\[race\] k: shared-memory race on "s"\[1\]/);
  });

  it("buffers that overlap while both live", () => {
    const overlap: LoopKernel["shared"] = [kernelOf([]).shared[0]!, { ...kernelOf([]).shared[1]!, offset: 0 }];
    const body = [
      storeShared("s", thread, f32(1)),
      storeShared("half", mul(thread, int(2)), f32(1), f32(2)),
      barrier,
      y(shared("half", thread)),
    ];
    expect(fault(body)).toBe("no fault");
    expect(fault([...body.slice(0, 1), barrier, ...body.slice(1)], { shared: overlap })).toBe("no fault");
    expect(fault([storeShared("s", sub(int(63), thread), f32(1)), ...body.slice(1)], { shared: overlap })).toMatch(
      /^\[race\] k: shared-memory race on "(s|half)"/,
    );
  });

  it("memory and registers that nothing wrote", () => {
    expect(fault([y(shared("s", thread))])).toMatch(
      /^\[uninitialised\] k: "s"\[(\d+)\] is read and this block has not written it\n {2}at k.ts:7 \(block 0, thread \1\)$/,
    );
    const array: LoopStmt = { kind: "Array", name: "r", type: "f32", size: 4 };
    expect(fault([array, { kind: "SetRegister", array: "r", index: int(0), value: f32(1) }, y(reg("r", int(1)))])).toMatch(
      /^\[uninitialised\] k: register "r"\[1\] is read before anything is written to it/,
    );
    expect(fault([y(element("y", [thread]))])).toMatch(
      /^\[uninitialised\] k: output "y"\[\d+\] is read before anything is written to it/,
    );
    // what an earlier block left in shared memory
    const first = ifThen(binary("==", block, int(0)), [storeShared("s", thread, f32(1))], true);
    expect(fault([first, barrier, y(shared("s", thread))], { blocks: 2 })).toMatch(/^\[uninitialised\] .*\n.*block 1/);
  });

  it("accesses out of range", () => {
    const array: LoopStmt = { kind: "Array", name: "r", type: "f32", size: 4 };
    expect(fault([array, { kind: "SetRegister", array: "r", index: int(4), value: f32(1) }])).toMatch(
      /^\[outOfRange\] k: register array "r" has 4 elements, element 4 is used/,
    );
    expect(fault([storeShared("s", add(thread, int(1)), f32(1))])).toMatch(
      /^\[outOfRange\] k: shared "s" has 64 elements, element 64 is used/,
    );
    expect(fault([y(element("x", [add(thread, int(1))]))])).toMatch(/^\[outOfRange\] k: "x"\[64\]: axis i has 64 positions/);
    expect(fault([storeGlobal("y", [sub(thread, int(1))], f32(1))])).toMatch(/^\[outOfRange\] k: "y"\[-1\]: axis i has 64 positions/);
    const load: LoopStmt = {
      kind: "LoadGlobal",
      array: "r",
      index: int(0),
      count: 4,
      param: "x",
      field: "",
      coords: [thread],
      fill: f32(0),
      aligned: true,
    };
    expect(fault([array, { ...load, guard: binary("==", thread, int(1)) }])).toMatch(
      /^\[misaligned\] k: "x"\[1\] is accessed as aligned and lies at byte 4, no multiple of 16/,
    );
    expect(fault([array, { ...load, aligned: false }])).toMatch(/^\[outOfRange\] k: "x"\[64\]/);
    expect(fault([array, { ...load, aligned: false, limit: sub(int(64), thread) }])).toBe("no fault");
  });

  it("different values in one element of an output", () => {
    expect(fault([storeGlobal("y", [binary("/", thread, int(2))], f32(3))])).toBe("no fault");
    const value: Expr = { kind: "Convert", type: "f32", a: add(block, int(1)) };
    expect(fault([storeGlobal("y", [binary("/", thread, int(2))], { kind: "Convert", type: "f32", a: thread })])).toMatch(
      /^\[conflict\] k: "y"\[\d+\] gets \d+, where thread \d+ left \d+, at k.ts:7; one of them must own the element/,
    );
    expect(fault([y(value)], { blocks: 2 })).toMatch(/^\[conflict\] k: "y"\[\d+\] gets 2, where another block left 1/);
    expect(fault([y(f32(1)), barrier, y(f32(2))])).toBe("no fault");
    expect(fault([y(f32(1)), storeGlobal("y", [thread], add(element("y", [neighbour]), f32(1)))])).toMatch(/^\[(race|uninitialised)\] k: /);
    expect(fault([storeGlobal("x", [thread], f32(1))])).toMatch(/^\[conflict\] k: "x" is an input and is written/);
  });

  it("a barrier that some threads do not reach", () => {
    expect(fault([ifThen(binary("<", thread, int(16)), [barrier])])).toBe(
      "[divergence] k: threads part: threads 0-15 wait at a barrier, k.ts:7; threads 16-63 ended. Barriers need all threads of the block or role, joint instructions all of each warp or warpgroup\n  at k.ts:7 (block 0, thread 0)",
    );
    const split: LoopStmt = { kind: "If", cond: binary("<", thread, int(32)), uniform: false, then: [barrier], otherwise: [barrier] };
    expect(fault([split])).toMatch(
      /^\[divergence\] k: threads part: threads 0-31 wait at a barrier, k.ts:7; threads 32-63 wait at a barrier, k.ts:7/,
    );
  });

  it("a warp instruction that some lanes do not reach", () => {
    const shuffle = call(
      "shuffleXor",
      { kind: "Registers", array: "r", index: int(0), count: 1 },
      { kind: "Value", value: f32(1) },
      { kind: "Value", value: int(1) },
    );
    const array: LoopStmt = { kind: "Array", name: "r", type: "f32", size: 1 };
    expect(fault([array, shuffle, y(reg("r", int(0)))])).toBe("no fault");
    expect(fault([array, ifThen(binary("<", thread, int(32)), [shuffle])])).toBe("no fault");
    expect(fault([array, ifThen(binary("!=", thread, int(5)), [shuffle])])).toMatch(
      /^\[divergence\] k: threads part: threads 0-4, 6-31 wait for all lanes at shuffleXor, k.ts:7; threads 5, 32-63 ended/,
    );
  });

  it("uniform values and conditions that are not", () => {
    expect(fault([{ kind: "Uniform", name: "u", value: thread }])).toMatch(
      /^\[notUniform\] k: a uniform value is \d+ here and \d+ in thread \d+/,
    );
    expect(fault([ifThen(binary("<", thread, int(3)), [], true)])).toMatch(/^\[notUniform\]/);
    expect(
      fault([
        ifThen(binary("<", thread, int(3)), [{ kind: "Uniform", name: "u", value: int(1) }]),
        { kind: "Uniform", name: "v", value: int(2) },
      ]),
    ).toMatch(/^\[divergence\] k: threads part: thread \d+ is at k.ts:7/);
  });

  it("asynchronous copies used too early", () => {
    const copy = (valid: Expr = constant("bool", 1)): LoopStmt =>
      call(
        "cpAsync16",
        { kind: "SharedAddress", buffer: "s", index: mul(thread, int(4)) },
        { kind: "GlobalAddress", param: "x", field: "", coords: [mul(thread, int(4))] },
        { kind: "Value", value: valid },
      );
    const wait = call("cpAsyncWaitAll");
    const few = { threads: 16 };
    const own = y(shared("s", mul(thread, int(4))));
    const others = y(shared("s", thread));
    expect(fault([copy(), wait, own], few)).toBe("no fault");
    expect(fault([copy(), wait, barrier, others], few)).toBe("no fault");
    expect(fault([copy(), own, wait], few)).toMatch(
      /^\[asyncCopy\] k: "s"\[\d+\] is read while an asynchronous copy of thread \d+ to it is under way; wait for it first/,
    );
    const read1 = ifThen(binary("==", thread, int(1)), [storeGlobal("y", [int(0)], shared("s", int(0)))]);
    const copy0 = ifThen(binary("==", thread, int(0)), [copy()]);
    expect(faultsOverSeeds([copy0, barrier, wait, read1], few)).toEqual(
      new Set([
        '[asyncCopy] k: "s"[0] is read while an asynchronous copy of thread 0 to it is under way; wait for it first',
        '[race] k: shared-memory race on "s"[0]: thread 1 reads what thread 0 has written since the last barrier, at k.ts:7; put a barrier between them',
      ]),
    );
    expect(fault([copy(), barrier, others], few)).toMatch(/^\[asyncCopy\]/);
    expect(fault([copy()], few)).toMatch(/^\[asyncCopy\] k: the block ends and an asynchronous copy of this thread was never waited for/);
    const misplaced = call(
      "cpAsync16",
      { kind: "SharedAddress", buffer: "s", index: thread },
      { kind: "GlobalAddress", param: "x", field: "", coords: [mul(thread, int(4))] },
      { kind: "Value", value: constant("bool", 1) },
    );
    expect(fault([ifThen(binary("==", thread, int(1)), [misplaced])], few)).toMatch(
      /^\[operand\] k: cpAsync16: cpAsync16 needs multiples of 16 bytes, not shared byte 4 and global byte 16/,
    );
  });

  it("wrong arguments", () => {
    expect(() => run(vectorScale, { x: new Uint8Array(8), y: new Uint8Array(4) }, { N: 2 })).toThrow(
      'vector_scale: buffer "y" has 4 bytes and needs 8; check its dims and pitch',
    );
    expect(() => run(vectorScale, { x: new Uint8Array(8) }, { N: 2 })).toThrow(
      'vector_scale: no buffer for "y"; pass one for each of x, y',
    );
    expect(() => run(vectorScale, {}, {})).toThrow('dim "N" has no value');
  });
});

it("runs millions of operations a second", () => {
  const spin = kernelOf(
    [
      { kind: "Variable", name: "a", type: "f32", init: f32(0) },
      forLoop("n", int(0), int(20_000), [
        { kind: "Assign", name: "a", value: add(mul(variable("f32", "a"), f32(0.5)), { kind: "Convert", type: "f32", a: i32("n") }) },
      ]),
      y(variable("f32", "a")),
    ],
    { threads: 128, params: [tensor("in", "x", "f32", { i: 128 }), tensor("out", "y", "f32", { i: 128 })] },
  );
  run(spin, { x: new Uint8Array(512), y: new Uint8Array(512) }, {}); // about 10^7 operations; slow if a thread is interpreted step by step
});
