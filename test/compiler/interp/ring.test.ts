/** Programs with roles, hardware barriers, asynchronous copies and products on the simulated machine: right results, every mistake named. */
import { describe, expect, it } from "vitest";
import { MachineFault, runLoop } from "../../../compiler/interp/loop.ts";
import { add, binary, constant, int, mul, sub } from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt } from "../../../compiler/ir/loop.ts";
import { fromBytes, toBytes } from "../../../dsl/dtype.ts";
import { hopperInstructions } from "../../../targets/cuda/hopper.ts";
import { cudaInstructions } from "../../../targets/cuda/instructions.ts";
import { barrier, block, element, f32, forLoop, i32, ifThen, reg, storeGlobal, storeShared, tensor, thread } from "./loop_kernels.ts";
import { awaitPhase, define, eachTile, initialise, invoke, lane, matrix, onBarrier, registers, type Ring, ringKernel, sharedAt, slot, sound, tileBytes, value } from "./ring_kernel.ts";

const records = [...new Map([...cudaInstructions, ...hopperInstructions].map((i) => [i.name, i])).values()];
const sequence = (n: number, f: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => f(i));

const [q, factors] = [sequence(8 * 64, (i) => ((i * 7) % 9) - 4), [1, 0.5, -2, 3, 0.25]];
/** Runs the kernel over 5 tiles. */
function run(kernel: LoopKernel, seed: number, tiles = 5): { readonly got: readonly number[]; readonly want: readonly number[] } {
  const keys = sequence(tiles * 64 * 64, (i) => ((i * 5) % 13) - 6);
  const out = new Uint8Array(tiles * 64 * 8 * 4);
  runLoop(kernel, records, { q: toBytes("bf16", q), keys: toBytes("bf16", keys), factor: toBytes("f32", factors.slice(0, tiles)), out }, { T: 64 * tiles }, { seed });
  const dot = (t: number, n: number): number => sequence(64, (d) => keys[64 * t + d]! * q[64 * n + d]!).reduce((a, b) => a + b, 0);
  return { got: [...fromBytes("f32", out)], want: sequence(tiles * 64 * 8, (i) => factors[i >> 9]! * dot(i >> 3, i & 7)) };
}
/** The first line of the fault under each of several interleavings, as "[code] text"; "no fault" if there is none. */
function faults(kernel: LoopKernel, seeds = 4): readonly string[] {
  return sequence(seeds, (i) => i + 1).map((seed) => {
    try {
      run(kernel, seed);
    } catch (e) {
      if (!(e instanceof MachineFault)) throw e;
      return `[${e.code}] ${e.message.split("\n")[0]!}`;
    }
    return "no fault";
  });
}
/** Every interleaving must end in one of these faults. */
function expectFaults(kernel: LoopKernel, pattern: RegExp): void {
  for (const found of faults(kernel)) expect(found).toMatch(pattern);
}

it("multiplies through the ring, whatever the interleaving", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const { got, want } = run(ringKernel(), seed, seed % 6);
    expect(got, `seed ${seed}`).toEqual(want);
  }
});

describe("mistakes in a ring", () => {
  const cases: [mistake: string, change: Partial<Ring>, pattern: RegExp, more?: Partial<LoopKernel>][] = [
    ["the slot is released before the products have read it", { awaitProducts: [], release: [], commit: [...sound.commit, ...sound.release, ...sound.awaitProducts] }, /^\[race\] .*(thread 128 of fetch writes what a matrix product of warpgroup 0 has read|a matrix product of warpgroup 0 reads what a copy for full\[.\] has written)|^\[asyncCopy\] .*"keys"\[0\] is read while a copy for full\[.\]/],
    ["the producer does not wait for the slot", { awaitEmpty: [] }, /^\[(race|asyncCopy|barrier)\] .*full\[0\]/],
    ["the consumer does not wait for the slot", { awaitFull: [] }, /^\[(race|uninitialised)\] .*"header"/],
    ["the consumer waits for the other parity", { awaitFull: [awaitPhase("full", sub(int(1), i32("parity")))] }, /^\[(deadlock|race|uninitialised)\]/],
    ["the producer waits for the other parity", { awaitEmpty: [awaitPhase("empty", i32("parity"))] }, /^\[deadlock\] .*fetch, threads 128 wait for parity 0 at ring.ts:1: phase 0 of empty\[0\] lacks 4 of 4 arrivals/],
    ["the header is read before the wait", { awaitFull: [...sound.readHeader, ...sound.awaitFull], readHeader: [] }, /^\[(race|uninitialised)\] .*"header"/],
    ["the header is read after the slot was handed back", { readHeader: [], release: [...sound.release, ...sound.readHeader] }, /^\[(race|uninitialised)\] .*"header"/],
    ["the header is written after the arrival", { header: [], expect: [...sound.expect, ...sound.header] }, /^\[(race|uninitialised)\] .*"header"/],
    ["no bytes are announced", { expect: [invoke("mbarrierArrive", onBarrier("full", slot))] }, /^\[barrier\] ring: a copy brings 8192 bytes to full\[0\], of which 0 are announced/],
    ["too few bytes are announced", { expect: [invoke("mbarrierExpect", onBarrier("full", slot), value(int(tileBytes - 16)))] }, /^\[barrier\] ring: a copy brings 8192 bytes/],
    ["too many bytes are announced", { expect: [invoke("mbarrierExpect", onBarrier("full", slot), value(int(tileBytes + 16)))] }, /^\[deadlock\] .*multiply, threads 0-127 wait .*full\[0\] lacks 0 of 1 arrivals and 16 bytes/],
    ["the copy is started before its bytes are announced", { expect: [], copy: [...sound.copy, ...sound.expect] }, /^\[barrier\] /],
    ["one arrival frees the slot that four warps use", { init: [...initialise("full", 2, 1), ...initialise("empty", 2, 1), invoke("mbarrierInitFence")] }, /^\[(race|deadlock)\]/, { barriers: ringKernel().barriers.map((b) => ({ ...b, arrivals: 1 })) }],
    ["more arrivals are wanted than come", { init: [...initialise("full", 2, 1), ...initialise("empty", 2, 5), invoke("mbarrierInitFence")] }, /^\[deadlock\] .*empty\[.\] lacks 1 of 5 arrivals/, { barriers: ringKernel().barriers.map((b) => ({ ...b, arrivals: b.name === "empty" ? 5 : 1 })) }],
    ["a barrier is initialised with another count than declared", { init: [...initialise("full", 2, 1), ...initialise("empty", 2, 1), invoke("mbarrierInitFence")] }, /^\[barrier\] ring: empty\[0\] is initialised for 1 arrivals and declared with 4/],
    ["two threads announce", { expect: [...sound.expect, ...sound.expect] }, /^\[barrier\] ring: full\[0\] has its 1 arrivals of the phase and gets one more/],
    ["lane 0 arrives for its warp without waiting for the other lanes", { release: [ifThen(binary("==", lane, int(0)), [invoke("mbarrierArrive", onBarrier("empty", slot))])] }, /^\[(race|uninitialised)\] .*"header"/],
    ["barriers are not initialised", { init: [] }, /^\[barrier\] .* is used before it is initialised/],
    ["nothing orders the initialisation before the roles", { initDone: [] }, /^\[(barrier|race)\]/],
    ["the initialisation is not fenced", { init: sound.init.slice(0, -1) }, /^\[proxy\] .*no mbarrierInitFence/],
    ["what ordinary stores staged is not fenced", { stage: sound.stage.slice(0, -1) }, /^\[proxy\] .*a matrix product of warpgroup 0 reads "q"\[\d+\] through the async proxy, which thread \d+ of multiply has written/],
    ["the staged tile is not complete", { staged: [] }, /^\[(race|uninitialised)\] .*"q"/],
    ["products start without a fence of the registers", { fence: [], stage: [...sound.stage, invoke("wgmmaFence")] }, /^\[wgmma\] ring: a product uses register "acc"\[0\], which this thread has touched since its last wgmmaFence/],
    ["products start without any fence", { fence: [] }, /^\[wgmma\] ring: a matrix product starts before any wgmmaFence/],
    ["products are not committed", { commit: [] }, /^\[wgmma\] ring: register "acc"\[0\] is touched while a matrix product that changes it is under way/],
    ["products are not waited for", { awaitProducts: [] }, /^\[wgmma\] ring: register "acc"\[0\] is touched/],
    ["the wait leaves a group under way", { awaitProducts: [invoke("wgmmaWait.1.4", registers("acc", 4))] }, /^\[wgmma\] ring: register "acc"\[0\] is touched/],
    ["the wait lists other registers", { awaitProducts: [invoke("wgmmaWait.0.4", registers("other", 4))], fence: [{ kind: "Array", name: "other", type: "f32", size: 4 }, ...sound.fence] }, /^\[wgmma\] ring: register "acc"\[0\] is touched .* a wgmmaWait that lists it must come first/],
    ["a register is written while products are under way", { commit: [...sound.commit, { kind: "SetRegister", array: "acc", index: int(3), value: f32(0) }] }, /^\[wgmma\] ring: register "acc"\[3\] is touched/],
    ["products add to registers that hold nothing", { products: sound.products.slice(1) }, /^\[uninitialised\] ring: register "acc"\[0\]/],
    ["a buffer lies over a slot that is in use", {}, /^\[(race|proxy)\] .*"(q|keys)"/, { shared: ringKernel().shared.map((b) => (b.name === "q" ? { ...b, offset: tileBytes } : b)) }],
    ["a copy goes past its buffer", { copy: [invoke("tmaLoad.2", sharedAt("keys", add(mul(slot, int(4096)), int(512))), { kind: "TensorMap", map: "keys_map" }, onBarrier("full", slot), value(int(0)), value(int(0)))] }, /^\[outOfRange\] ring: shared "keys" has 8192 elements, a copy fills bytes 9216 to 17407 of it/],
    ["a copy goes to the middle of a swizzle pattern", { copy: [invoke("tmaLoad.2", sharedAt("keys", add(mul(slot, int(4096)), int(64))), { kind: "TensorMap", map: "keys_map" }, onBarrier("full", slot), value(int(0)), value(int(0)))] }, /^\[misaligned\] ring: a box of keys_map goes to shared byte 128, which is no multiple of 1024/],
    ["a matrix starts in the middle of a line group", { products: [invoke("wgmma.m64n8k16.bf16.first", registers("acc", 4), matrix("keys", int(64)), matrix("q", int(0)))] }, /^\[misaligned\] ring: a matrix starts at byte 128/],
  ];
  it.each(cases)("%s", (_, change, pattern, more = {}) => expectFaults(ringKernel(change, more), pattern));

  it("the last copy is never waited for", () => {
    const roles = ringKernel().body.at(-1) as Extract<LoopStmt, { kind: "Roles" }>;
    const [multiply, fetch] = roles.roles;
    const oneMore = [define("slot", int(1)), define("tile", int(0)), ...sound.expect, ...sound.copy];
    const body = (before: readonly LoopStmt[]): readonly LoopStmt[] => [...ringKernel().body.slice(0, -1), { kind: "Roles", roles: [multiply!, { ...fetch!, body: [...fetch!.body, ...before] }] }];
    const late = ifThen(binary("==", thread, int(128)), [invoke("mbarrierWait", onBarrier("empty", int(1)), value(int(1))), ...oneMore]);
    expectFaults(ringKernel({}, { body: body([late]) }), /^\[asyncCopy\] ring: the block ends, and nobody has waited for the last copies of full\[1\]/);
  });
});

describe("a ring that cp.async fills", () => {
  const threads = 32;
  const toSlot = (row: number, chunk: number) => add(mul(slot, int(4096)), int(64 * row + 8 * chunk));
  /** Each lane brings two rows of 128 bytes, swizzled. */
  const copy: readonly LoopStmt[] = [0, 1].flatMap((half) => [
    forLoop(`chunk${half}`, int(0), int(8), [
      define("row", add(mul(sub(thread, int(128)), int(2)), int(half))),
      invoke(
        "cpAsync16",
        sharedAt("keys", add(add(toSlot(0, 0), mul(i32("row"), int(64))), mul(binary("^", i32(`chunk${half}`), binary("%", i32("row"), int(8))), int(8)))),
        { kind: "GlobalAddress", param: "keys", field: "", coords: [add(mul(i32("tile"), int(64)), i32("row")), mul(i32(`chunk${half}`), int(8))] },
        value(constant("bool", 1)),
      ),
    ]),
  ]);
  const ring = (arrive: readonly LoopStmt[], fence: readonly LoopStmt[], change: Partial<Ring> = {}): LoopKernel => {
    const kernel = ringKernel({
      init: [...initialise("full", 2, threads + 1), ...initialise("empty", 2, 4), invoke("mbarrierInitFence")],
      awaitFull: [...sound.awaitFull, ...fence],
      ...change,
    });
    const roles = kernel.body.at(-1) as Extract<LoopStmt, { kind: "Roles" }>;
    const header = ifThen(binary("==", lane, int(0)), [...sound.header, invoke("mbarrierArrive", onBarrier("full", slot))]);
    const fetch = { ...roles.roles[1]!, body: [eachTile([...sound.awaitEmpty, ...copy, ...arrive, header]), invoke("cpAsyncWaitAll")] };
    return {
      ...kernel,
      barriers: kernel.barriers.map((b) => (b.name === "full" ? { ...b, arrivals: threads + 1 } : b)),
      body: [...kernel.body.slice(0, -1), { kind: "Roles", roles: [roles.roles[0]!, fetch] }],
    };
  };
  const arrive = [invoke("cpAsyncArrive", onBarrier("full", slot))];
  const fence = [invoke("fenceProxyAsync")];
  it("multiplies", () => {
    for (let seed = 1; seed <= 12; seed++) {
      const { got, want } = run(ring(arrive, fence), seed);
      expect(got, `seed ${seed}`).toEqual(want);
    }
  });
  it("no fence between the copies and the products", () => expectFaults(ring(arrive, []), /^\[proxy\] .*which an asynchronous copy of thread \d+ has written/));
  it("threads arrive before their copies have landed", () => expectFaults(ring([invoke("mbarrierArrive", onBarrier("full", slot))], fence), /^\[asyncCopy\] .*is read while an asynchronous copy of thread \d+ to it is under way/));
  it("the slot is not waited for", () => expectFaults(ring(arrive, fence, { awaitFull: fence }), /^\[(race|uninitialised)\] .*"header"/));
});

describe("roles", () => {
  const y = (e: Parameters<typeof storeGlobal>[2]): LoopStmt => storeGlobal("y", [thread], e);
  const roles = (first: readonly LoopStmt[], second: readonly LoopStmt[], more: Partial<LoopKernel> = {}): LoopKernel => ({
    ...ringKernel(),
    params: [tensor("in", "x", "f32", { i: 128 }), tensor("out", "y", "f32", { i: 128 })],
    dims: [],
    tensorMaps: [],
    pipes: [],
    barriers: [],
    threads: 128,
    shared: [{ name: "s", dtype: "f32", elements: 128, offset: 0, note: "s" }],
    body: [
      {
        kind: "Roles",
        roles: [
          { name: "low", firstWarp: 0, warps: 2, body: first },
          { name: "high", firstWarp: 2, warps: 1, body: second },
        ],
      },
    ],
    ...more,
  });
  const outcome = (kernel: LoopKernel, seed = 1): { readonly y: readonly number[] } | string => {
    const [x, out] = [toBytes("f32", sequence(128, (i) => i)), toBytes("f32", sequence(128, () => -1))];
    try {
      runLoop(kernel, records, { x, y: out }, {}, { seed, multiprocessors: 3 });
    } catch (e) {
      if (!(e instanceof MachineFault)) throw e;
      return `[${e.code}] ${e.message.split("\n")[0]!}`;
    }
    return { y: [...fromBytes("f32", out)] };
  };
  const read = (index: Parameters<typeof reg>[1]) => ({ kind: "Shared", type: "f32", buffer: "s", index }) as const;
  const swap = [storeShared("s", thread, element("x", [thread])), barrier, y(read(sub(int(63), thread)))];

  it("a barrier meets its role alone, and warps without a role end", () => {
    expect(outcome(roles(swap, [y(f32(7))]))).toEqual({ y: sequence(128, (i) => (i < 64 ? 63 - i : i < 96 ? 7 : -1)) });
  });
  it("a barrier of one role orders nothing in another", () => {
    expect(outcome(roles(swap, [barrier, y(read(int(3)))]))).toMatch(/^\[(race|uninitialised)\]/);
  });
  it("some threads of a role miss its barrier", () => {
    expect(outcome(roles([ifThen(binary("<", thread, int(3)), [barrier])], []))).toMatch(/^\[divergence\] ring: threads part: low, threads 0-2 wait at a barrier/);
  });
  it("a warp orders its lanes with syncWarp", () => {
    const shift = (between: readonly LoopStmt[]): LoopKernel => roles([], [storeShared("s", thread, element("x", [thread])), ...between, y(read(binary("^", thread, int(1))))]);
    expect(outcome(shift([invoke("syncWarp")]))).toEqual({ y: sequence(128, (i) => (i >= 64 && i < 96 ? i ^ 1 : -1)) });
    expect(outcome(shift([]))).toMatch(/^\[(race|uninitialised)\]/);
  });
  it("uniform values are those of a role", () => {
    const uniform = (e: Parameters<typeof storeGlobal>[2]): LoopStmt => ({ kind: "Uniform", name: "u", value: e });
    const own = [uniform(binary("/", thread, int(64)))];
    expect(outcome(roles(own, own))).toHaveProperty("y");
    expect(outcome(roles([uniform(binary("/", thread, int(32)))], own))).toMatch(/^\[notUniform\]/);
  });
  it("loops while a condition holds, over the blocks of a persistent grid", () => {
    const body: readonly LoopStmt[] = [
      { kind: "Variable", name: "i", type: "i32", init: block },
      {
        kind: "While",
        cond: binary("<", i32("i"), int(7)),
        body: [
          ifThen(binary("==", thread, int(0)), [storeGlobal("y", [i32("i")], { kind: "Convert", type: "f32", a: block })]),
          { kind: "Assign", name: "i", value: add(i32("i"), { kind: "BlockCount", type: "i32" }) },
        ],
      },
    ];
    const kernel = roles([], [], { body, blocks: { op: "min", args: ["multiprocessors", 100] } });
    expect(outcome(kernel)).toEqual({ y: sequence(128, (i) => (i < 7 ? i % 3 : -1)) });
    const endless = { kind: "While", cond: binary("<", thread, int(1)), body: [] } as const;
    expect(outcome(roles([], [], { body: [endless] }))).toMatch(/^\[deadlock\] ring: a loop has taken 1000000 turns/);
  });
});
