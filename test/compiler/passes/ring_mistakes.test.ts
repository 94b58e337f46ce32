/** Every instruction that orders a generated program with roles is needed: without it the simulated machine raises a fault. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { readKernel } from "../../../compiler/front/index.ts";
import { MachineFault, runLoop } from "../../../compiler/interp/loop.ts";
import { binary, constant } from "../../../compiler/ir/expr.ts";
import { bodiesOf, type LoopKernel, type LoopStmt, type Operand } from "../../../compiler/ir/loop.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import { verifyLoop } from "../../../compiler/ir/verify_loop.ts";
import { compileTile } from "../../../compiler/pipeline.ts";
import type { Schedule } from "../../../compiler/target.ts";
import { randomBuffers } from "../kernel_cases.ts";
import { hopper, ringPasses, ringSchedule } from "./small_kernels.ts";

type Call = Extract<LoopStmt, { kind: "Call" }>;
/** What orders threads, copies and products; syncWarp is left out, which the text has for the assembler's sake. */
const orders = /^(mbarrier|wgmmaFence|wgmmaCommit|wgmmaWait)/;

function callsOf(list: readonly LoopStmt[]): readonly Call[] {
  return list.flatMap((s) => (s.kind === "Call" ? [s] : bodiesOf(s).flatMap(callsOf)));
}
/** The program with each statement replaced. */
function rewrite(list: readonly LoopStmt[], replace: (s: LoopStmt) => readonly LoopStmt[]): readonly LoopStmt[] {
  const within = (s: LoopStmt): LoopStmt => {
    if (s.kind === "For" || s.kind === "While") return { ...s, body: rewrite(s.body, replace) };
    if (s.kind === "If") return { ...s, then: rewrite(s.then, replace), otherwise: rewrite(s.otherwise, replace) };
    return s.kind === "Roles" ? { ...s, roles: s.roles.map((r) => ({ ...r, body: rewrite(r.body, replace) })) } : s;
  };
  return list.flatMap((s) => replace(s).map(within));
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

test("an operand that is stored while a product may still read it is refused: no barrier stands for the wait", async () => {
  const { loop } = await ringPasses.pooledApart();
  const waits = callsOf(loop.body).filter((c) => c.instruction.startsWith("wgmmaWait.0"));
  const early = waits.reduce<LoopKernel>(without, loop);
  expect(() => verifyLoop(early, hopper, "insertBarriers")).toThrow(/it may write mean_shared while another thread's product of it is under way/);
});
