/** Every instruction that orders a generated program with roles is needed: without it the simulated machine raises a fault. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readKernel } from "../../../compiler/front/index.ts";
import { MachineFault, runLoop } from "../../../compiler/interp/loop.ts";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import { binary, constant, int, mapExpr, variable, type Expr } from "../../../compiler/ir/expr.ts";
import { bodiesOf, type LoopKernel, type LoopStmt, type Operand } from "../../../compiler/ir/loop.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import { verifyLoop } from "../../../compiler/ir/verify_loop.ts";
import { verifyRings } from "../../../compiler/ir/verify_rings.ts";
import { compileTile } from "../../../compiler/pipeline.ts";
import type { Schedule } from "../../../compiler/target.ts";
import { randomBuffers } from "../kernel_cases.ts";
import { hopper, readRings, ringPasses, ringSchedule } from "./small_kernels.ts";

type Call = Extract<LoopStmt, { kind: "Call" }>;
/** What orders threads, copies and products; syncWarp is left out, which the text has for the assembler's sake. */
const orders = /^(mbarrier|wgmmaFence|wgmmaCommit|wgmmaWait)/;

function callsOf(list: readonly LoopStmt[]): readonly Call[] {
  return list.flatMap((s) => (s.kind === "Call" ? [s] : bodiesOf(s).flatMap(callsOf)));
}
/** The program with each statement replaced, inner ones first. */
function rewrite(list: readonly LoopStmt[], replace: (s: LoopStmt) => readonly LoopStmt[]): readonly LoopStmt[] {
  const within = (s: LoopStmt): LoopStmt => {
    if (s.kind === "For" || s.kind === "While") return { ...s, body: rewrite(s.body, replace) };
    if (s.kind === "If") return { ...s, then: rewrite(s.then, replace), otherwise: rewrite(s.otherwise, replace) };
    return s.kind === "Roles" ? { ...s, roles: s.roles.map((r) => ({ ...r, body: rewrite(r.body, replace) })) } : s;
  };
  return list.flatMap((s) => replace(within(s)));
}
const without = (kernel: LoopKernel, call: LoopStmt): LoopKernel => ({ ...kernel, body: rewrite(kernel.body, (s) => (s === call ? [] : [s])) });
const flipped = (o: Operand): Operand => (o.kind === "Value" ? { ...o, value: binary("^", o.value, constant(o.value.type, 1)) } : o);
const otherParity = (kernel: LoopKernel, call: Call): LoopKernel => ({ ...kernel, body: rewrite(kernel.body, (s) => [s === call ? { ...call, operands: call.operands.map(flipped) } : s]) });

const windows = [[3, 250], [0, 0], [60, 260], [99, 100], [7, 8]] as const;
const dims = { Q: 5, T: 260, yPitch: 260 };
const schedule = (more: Partial<Parameters<typeof ringSchedule>[0]>): Schedule => ringSchedule({ warps: 4, brings: { q: 1, k: 2, w: 1, scale: 2 }, mma: { dot: { parts: 2 } }, ...more });

async function compiled(more: Partial<Parameters<typeof ringSchedule>[0]>): Promise<{ readonly loop: LoopKernel; readonly run: (loop: LoopKernel, seed: number) => string }> {
  const read = await readKernel({ file: join(import.meta.dirname, "kernels/rings.ts"), exportName: "windows", spec: { dtype: "e4m3", heads: 8, depth: 32 }, tune: { BQ: 2, BT: 64 }, skipTypes: true });
  const { tile, loop } = compileTile(read, hopper, schedule(more), "");
  return { loop, run: runOf(tile, dims) };
}

/** The code of the fault that the machine finds in a program. */
function runOf(tile: TileKernel, dims: Readonly<Record<string, number>>): (loop: LoopKernel, seed: number) => string {
  const inputs = randomBuffers(tile, dims, 1);
  if (inputs.first) windows.forEach((ends, q) => (["first", "last"] as const).forEach((name, i) => new DataView(inputs[name]!.buffer).setInt32(4 * q, ends[i]!, true)));
  return (changed, seed) => {
    try {
      runLoop(changed, [...hopper.instructions.values()], structuredClone(inputs), dims, { seed, multiprocessors: 1 });
    } catch (e) {
      if (e instanceof MachineFault) return e.code;
      throw e;
    }
    return "no fault";
  };
}

test.each<[string, Partial<Parameters<typeof ringSchedule>[0]>]>([
  ["items in turn", { persistent: "strided" }],
  ["even shares", { persistent: { even: "tb", padding: 1 } }],
])("%s", async (_, more) => {
  const { loop, run } = await compiled(more);
  expect([1, 2, 3].map((seed) => run(loop, seed))).toEqual(["no fault", "no fault", "no fault"]);
  const calls = callsOf(loop.body).filter((c) => orders.test(c.instruction));
  expect(new Set(calls.map((c) => c.instruction.split(".")[0]))).toEqual(new Set(["mbarrierInit", "mbarrierInitFence", "mbarrierWait", "mbarrierExpect", "mbarrierArriveWarp", "wgmmaFence", "wgmmaCommit", "wgmmaWait"]));
  for (const call of calls) {
    const name = `${call.instruction} ${call.operands.map((o) => (o.kind === "Barrier" ? o.barrier : "")).join("")}`;
    for (const seed of [1, 2]) {
      expect(run(without(loop, call), seed), `without ${name}`).not.toBe("no fault");
      if (call.instruction === "mbarrierWait") expect(run(otherParity(loop, call), seed), `the other parity at ${name}`).not.toBe("no fault");
    }
  }
});

/** What the computing role puts between what it stores and what reads that, in front of the loop with the products. */
const isOrder = (s: LoopStmt): boolean => s.kind === "Barrier" || (s.kind === "Call" && s.instruction === "fenceProxyAsync");
const ordersOf = (list: readonly LoopStmt[]): readonly LoopStmt[] => list.flatMap((s) => [...(isOrder(s) ? [s] : []), ...(s.kind === "For" ? [] : bodiesOf(s).flatMap(ordersOf))]);

test.each(["pooledApart", "pooledBehind"] as const)("an operand that the role computes, %s: every fence and barrier is needed, and the verifier sees it", { timeout: 120_000 }, async (name) => {
  const { tile, loop } = await ringPasses[name]();
  const run = runOf(tile, { Q: 20, T: 150 });
  verifyLoop(loop, hopper, "insertBarriers");
  expect([1, 2].map((seed) => run(loop, seed))).toEqual(["no fault", "no fault"]);
  const math = loop.body.flatMap((s) => (s.kind === "Roles" ? s.roles[0]!.body : []));
  const orders = ordersOf(math);
  expect(orders.filter((s) => s.kind === "Call")).toHaveLength(1);
  for (const order of orders) {
    const fault = order.kind === "Call" ? /and no fenceProxyAsync stands between/ : /while another thread's \w+ of it is under way/;
    expect(() => verifyLoop(without(loop, order), hopper, "insertBarriers")).toThrow(fault);
    expect([1, 2, 3].map((seed) => run(without(loop, order), seed)).join()).toMatch(order.kind === "Call" ? /proxy/ : /race|uninitialised/);
  }
});

describe("rows that threads copy", async () => {
  const rowDims = { M: 70, P: 5, I: 9 };
  const { tile, plan, loop } = compileTile(await readRings("paged", { rows: 64, page: 16, depth: 32 }), hopper, ringSchedule({ warps: 4, bringing: 2, brings: { x: 1, y: 2, z: 2, w: 2 }, mma: { up: {}, down: {} }, persistent: "strided" }), "");
  const inputs = randomBuffers(tile, rowDims, 1);
  [3, -1, 0, 4, 2, 5, 1, -2, 4].forEach((page, i) => new DataView(inputs.table!.buffer).setInt32(4 * i, page, true));
  const want = structuredClone(inputs);
  interpretTile(tile, want, rowDims);
  const outcome = (changed: LoopKernel, seed: number): string => {
    const got = structuredClone(inputs);
    try {
      runLoop(changed, [...hopper.instructions.values()], got, rowDims, { seed, multiprocessors: 1 });
    } catch (e) {
      if (e instanceof MachineFault) return e.code;
      throw e;
    }
    return Buffer.compare(got.down!, want.down!) === 0 ? "no fault" : "other values";
  };
  const replaced = (name: string, change: (c: Call) => readonly LoopStmt[]): LoopKernel => ({ ...loop, body: rewrite(loop.body, (s) => (s.kind === "Call" && s.instruction === name ? change(s) : [s])) });
  /** The program without the XOR that swizzles what a copy writes. */
  const straight = (e: Expr): Expr => mapExpr(e, (x) => (x.kind === "Binary" && x.op === "^" ? x.a : x));
  const arrivals = (by: number): LoopKernel => ({
    ...loop,
    barriers: loop.barriers.map((b) => (b.name === "y_full" ? { ...b, arrivals: b.arrivals + by } : b)),
    body: rewrite(loop.body, (s) => (s.kind === "Call" && s.instruction === "mbarrierInit" && s.operands.some((o) => o.kind === "Barrier" && o.barrier === "y_full") ? [{ ...s, operands: s.operands.map((o) => (o.kind === "Value" ? { ...o, value: int(64 + by) } : o)) }] : [s])),
  });

  test("the program itself is fine", () => {
    expect([1, 2, 3].map((seed) => outcome(loop, seed))).toEqual(["no fault", "no fault", "no fault"]);
    verifyRings(plan, loop, "insertBarriers");
  });

  const [fence] = callsOf(loop.body).filter((c) => c.instruction === "fenceProxyAsync");
  const reordered = rewrite(loop.body, (s) => {
    if (s.kind !== "For" || !callsOf(s.body).some((c) => c.instruction === "cpAsyncArrive")) return [s];
    const arrive = s.body.find((t) => t.kind === "Call" && t.instruction === "cpAsyncArrive")!;
    const first = s.body.findIndex((t) => callsOf([t]).some((c) => c.instruction === "cpAsync16"));
    return [{ ...s, body: s.body.flatMap((t, i) => (t === arrive ? [] : i === first ? [arrive, t] : [t])) }];
  });
  test.each<[string, LoopKernel, RegExp | undefined, RegExp]>([
    ["an arrival too many is counted", arrivals(1), /its full barrier counts 65 arrivals, 64 threads copy/, /deadlock/],
    ["an arrival too few is counted", arrivals(-1), /its full barrier counts 63 arrivals/, /barrier|asyncCopy|race/],
    ["no fence where products wait", without(loop, fence!), /products read what threads copied, and no fenceProxyAsync stands behind the wait/, /proxy/],
    ["an arrival that does not wait for copies", replaced("cpAsyncArrive", (c) => [{ ...c, instruction: "mbarrierArrive" }]), /mbarrierArrive does not wait for what its thread copies/, /asyncCopy|race/],
    ["no arrival", replaced("cpAsyncArrive", () => []), /arrives at 0 places/, /deadlock|asyncCopy/],
    ["an arrival that some threads leave out", replaced("cpAsyncArrive", (c) => [{ kind: "If", cond: binary("<", variable("i32", "thread_of_copy"), int(32)), uniform: false, then: [c], otherwise: [] }]), /arrives at 1 places, and not on every path/, /deadlock/],
    ["copies behind the arrival", { ...loop, body: reordered }, /a thread copies to a slot behind its arrival/, /asyncCopy|race/],
    ["rows that are left as they were where the index names none", replaced("cpAsync16", (c) => [{ kind: "If", cond: binary("!=", (c.operands[2] as Extract<Operand, { kind: "Value" }>).value, int(0)), uniform: false, then: [c], otherwise: [] }]), undefined, /uninitialised/],
    ["another row where the index names none", replaced("cpAsync16", (c) => [{ ...c, operands: [...c.operands.slice(0, 2), { kind: "Value", value: int(1) }] }]), undefined, /other values/],
    ["rows that are not swizzled", replaced("cpAsync16", (c) => [{ ...c, operands: c.operands.map((o) => (o.kind === "SharedAddress" ? { ...o, index: straight(o.index) } : o)) }]), undefined, /other values/],
  ])("%s", (_, faulty, complaint, code) => {
    if (complaint) expect(() => verifyRings(plan, faulty, "insertBarriers")).toThrow(complaint);
    expect([1, 2, 3, 4].map((seed) => outcome(faulty, seed)).join()).toMatch(code);
  });
});

test("an operand that another role makes: every order is needed", { timeout: 120_000 }, async () => {
  const { tile, loop } = await ringPasses.made();
  const run = runOf(tile, { M: 100, N: 7, K: 208, G: 2, cPitch: 8, scalePitch: 8 });
  const seeds = [1, 2, 3];
  verifyLoop(loop, hopper, "insertBarriers");
  expect(seeds.map((seed) => run(loop, seed))).toEqual(["no fault", "no fault", "no fault"]);
  // the ring of the other operand has more slots than the producer is ever ahead
  const calls = callsOf(loop.body).filter((c) => c.instruction === "fenceProxyAsync" || (orders.test(c.instruction) && c.operands.some((o) => o.kind === "Barrier" && o.barrier.startsWith("columns"))));
  expect(calls).toHaveLength(10);
  for (const call of calls) {
    const name = `${call.instruction} ${call.operands.map((o) => (o.kind === "Barrier" ? o.barrier : "")).join("")}`;
    for (const seed of seeds) {
      expect(run(without(loop, call), seed), `without ${name}`).not.toBe("no fault");
      if (call.instruction === "mbarrierWait") expect(run(otherParity(loop, call), seed), `the other parity at ${name}`).not.toBe("no fault");
    }
  }
  const on = (instruction: string, barrier: string): Call => calls.find((c) => c.instruction === instruction && c.operands.some((o) => o.kind === "Barrier" && o.barrier === barrier))!;
  const replaced = (call: Call, ...instead: readonly LoopStmt[]): LoopKernel => ({ ...loop, body: rewrite(loop.body, (s) => (s === call ? instead : [s])) });
  const onto = (call: Call, barrier: string): Call => ({ ...call, operands: call.operands.map((o) => (o.kind === "Barrier" ? { ...o, barrier } : o)) });
  const counted = (arrivals: number): LoopKernel => ({
    ...replaced(on("mbarrierInit", "columns_made"), { ...on("mbarrierInit", "columns_made"), operands: on("mbarrierInit", "columns_made").operands.map((o) => (o.kind === "Value" ? { ...o, value: int(arrivals) } : o)) }),
    barriers: loop.barriers.map((b) => (b.name === "columns_made" ? { ...b, arrivals } : b)),
  });
  const [handOver, fence, awaitFull, awaitMade] = [on("mbarrierArriveWarp", "columns_made"), calls.find((c) => c.instruction === "fenceProxyAsync")!, on("mbarrierWait", "columns_full"), on("mbarrierWait", "columns_made")];
  const mistakes: Readonly<Record<string, readonly [LoopKernel, RegExp]>> = {
    "a fence behind the hand-over": [{ ...loop, body: rewrite(loop.body, (s) => (s === fence ? [] : s === handOver ? [handOver, fence] : [s])) }, /proxy/],
    "a hand-over that counts one warp": [counted(1), /race|uninitialised|barrier|proxy|deadlock/],
    "a hand-over that counts three": [counted(3), /deadlock|barrier/],
    "a consumer that awaits what is brought": [replaced(awaitMade, onto(awaitMade, "columns_full")), /race|uninitialised|proxy/],
    "a maker that awaits nothing before it stores": [{ ...loop, body: rewrite(loop.body, (s) => (s === awaitFull ? [] : s === fence ? [awaitFull, fence] : [s])) }, /race|asyncCopy|uninitialised/],
    "a maker that gives the slot back": [replaced(handOver, handOver, onto(handOver, "columns_empty")), /barrier|race|asyncCopy|uninitialised|deadlock/],
  };
  for (const [name, [mistaken, code]] of Object.entries(mistakes)) for (const seed of seeds) expect(run(mistaken, seed), name).toMatch(code);
});

test("an operand that is stored while a product may still read it is refused: no barrier stands for the wait", async () => {
  const { loop } = await ringPasses.pooledApart();
  const waits = callsOf(loop.body).filter((c) => c.instruction.startsWith("wgmmaWait.0"));
  const early = waits.reduce<LoopKernel>(without, loop);
  expect(() => verifyLoop(early, hopper, "insertBarriers")).toThrow(/it may write mean_shared while another thread's product of it is under way/);
});
