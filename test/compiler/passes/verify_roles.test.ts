/**
 * Every rule of plans with roles refuses a plan that breaks it; and where the fault can be run, the simulated machine finds it in the
 * program that is lowered from the faulty plan.
 */
import { describe, expect, it } from "vitest";
import { MachineFault, runLoop } from "../../../compiler/interp/loop.ts";
import { binary, int, sub, variable } from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt } from "../../../compiler/ir/loop.ts";
import type { Plan, PlanStmt, Role } from "../../../compiler/ir/plan.ts";
import { planStatements } from "../../../compiler/ir/plan_walk.ts";
import { printPlan } from "../../../compiler/ir/print_plan.ts";
import { definedTiles } from "../../../compiler/ir/walk.ts";
import { verifyLoop } from "../../../compiler/ir/verify_loop.ts";
import { verifyRings } from "../../../compiler/ir/verify_rings.ts";
import { verifyRoles } from "../../../compiler/ir/verify_roles.ts";
import type { Schedule } from "../../../compiler/target.ts";
import { randomBuffers } from "../kernel_cases.ts";
import { hopper, latePasses, readRings, ringPasses, ringSchedule, runLoopPasses, runPasses } from "./small_kernels.ts";

const { split: windows } = await ringPasses.windows();
const { split: matmul } = await ringPasses.matmul();
const { split: apart } = await ringPasses.pooledApart();
const { split: paged } = await ringPasses.paged();
const { split: behind } = await ringPasses.pooledBehind();
const { split: made } = await ringPasses.made();
const inTurn = async (schedule: Partial<Schedule>): Promise<Plan> =>
  runPasses(await readRings("windows", { dtype: "e4m3", heads: 8, depth: 32 }), hopper, { ...ringSchedule({ warps: 4, brings: { q: 1, k: 2 }, mma: { dot: { parts: 2 } }, persistent: "strided" }), ...schedule }).split;
const strided = await inTurn({});
const { split: steered } = await (async () => runPasses(await readRings("steered"), hopper, ringSchedule({ warps: 4, brings: { x: 2, w: 2 }, persistent: "strided" })))();
const { delayed: late } = await latePasses();
const { split: carried } = await (async () => runPasses(await readRings("carried"), hopper, ringSchedule({ warps: 4, brings: { x: 2 }, persistent: "strided" })))();

const { machine } = hopper;
const verify = (plan: Plan, on = machine): void => verifyRoles(plan, on, "splitRoles");

type Fault = (plan: Plan) => Plan;
const role = (name: string, change: (r: Role) => Role): Fault => (plan) => ({ ...plan, roles: plan.roles!.map((r) => (r.name === name ? change(r) : r)) });
/** Changes every statement list of a role, inner ones first. */
const lists = (name: string, change: (list: readonly PlanStmt[]) => readonly PlanStmt[]): Fault =>
  role(name, (r) => {
    const go = (list: readonly PlanStmt[]): readonly PlanStmt[] =>
      change(list.map((s) => (s.kind === "For" ? { ...s, body: go(s.body) } : s.kind === "If" ? { ...s, then: go(s.then), otherwise: go(s.otherwise) } : s)));
    return { ...r, body: go(r.body) };
  });
type Pick = (s: PlanStmt) => boolean;
const statement = (name: string, pick: Pick, change: (s: PlanStmt) => readonly PlanStmt[]): Fault => lists(name, (list) => list.flatMap((s) => (pick(s) ? change(s) : [s])));
const drop = (name: string, pick: Pick): Fault => statement(name, pick, () => []);
/** Moves a statement of a list in front of another, or behind it. */
const move = (name: string, what: Pick, where: "before" | "behind", other: Pick): Fault =>
  lists(name, (list) => {
    const moved = list.filter(what);
    if (moved.length === 0 || !list.some(other)) return list;
    return list.filter((s) => !what(s)).flatMap((s) => (!other(s) ? [s] : where === "before" ? [...moved, s] : [s, ...moved]));
  });
const is = (kind: PlanStmt["kind"], label = ""): Pick => (s) =>
  s.kind === kind && (label === "" || ("pipe" in s && s.pipe === label) || ("value" in s && typeof s.value === "object" && "label" in s.value && s.value.label === label) || (s.kind === "For" && s.index.name === label));
const part = (kind: "Await" | "Reduce", i: number): Pick => (s) => (s.kind === "Await" && kind === "Await" && s.part === i) || (s.kind === "Reduce" && kind === "Reduce" && s.part?.index === i);

/** What stands directly in a role's list. */
const own = (plan: Plan, name: string, pick: Pick): readonly PlanStmt[] => plan.roles!.find((r) => r.name === name)!.body.filter(pick);

const dims = { Q: 5, T: 260, yPitch: 260, M: 100, N: 7, K: 208, P: 9, I: 12, aPitch: 208, bPitch: 208, cPitch: 8, G: 2, scalePitch: 8 };
const queries = [[3, 250], [0, 0], [60, 260], [99, 100], [7, 8]] as const;
/** The code of the fault that the machine finds in the program of a plan. */
function faultOf(plan: Plan, seeds: readonly number[] = [1, 2, 3, 4]): string {
  const { loop } = runLoopPasses(plan, hopper);
  const inputs = randomBuffers(plan.kernel, dims, 1);
  if (inputs.first) queries.forEach((ends, q) => (["first", "last"] as const).forEach((name, i) => new DataView(inputs[name]!.buffer).setInt32(4 * q, ends[i]!, true)));
  for (const seed of seeds) {
    const code = codeOf(loop, inputs, seed);
    if (code !== "none") return code;
  }
  return "none";
}
function codeOf(loop: LoopKernel, inputs: Record<string, Uint8Array>, seed: number): string {
  try {
    runLoop(loop, [...hopper.instructions.values()], structuredClone(inputs), dims, { seed, multiprocessors: 1 });
    return "none";
  } catch (e) {
    if (e instanceof MachineFault) return e.code;
    throw e;
  }
}

it("the plans themselves are fine", () => {
  for (const plan of [windows, matmul, strided, steered, carried, late, apart, behind, paged, made]) verify(plan);
  expect([windows, matmul, strided, late, apart, behind, paged, made].map((plan) => faultOf(plan))).toEqual(Array(8).fill("none"));
});
it("a complaint names pass, source line and label", () => {
  expect(() => verify(move("math", part("Reduce", 0), "before", part("Await", 0))(windows))).toThrow(/^after splitRoles: test\/compiler\/passes\/kernels\/rings\.ts:\d+ \w+ \(Reduce\): .* This is a fault of the compiler\.$/);
});

/** Name, plan, fault, what the verifier says, what the machine finds, which may depend on the order of threads; without it the fault cannot be run. */
type Case = readonly [string, Plan, Fault, RegExp, RegExp?];

/** A product of accumulators, which no slot serves. */
const fromRegisters = (s: PlanStmt): readonly PlanStmt[] => (s.kind === "Gemm" ? [{ ...s, op: { ...s.op, a: s.value, b: s.value } }] : []);

const refuses = (cases: readonly Case[]): void => {
  for (const [name, plan, fault, complaint, code] of cases)
    it(name, () => {
      expect(() => verify(fault(plan))).toThrow(complaint);
      if (code !== undefined) expect(faultOf(fault(plan))).toMatch(code);
    });
};

describe("slots and products", () => {
  refuses([
    ["a release before a product has read the slot", windows, move("math", is("Release", "k"), "before", part("Await", 1)), /k \(Release\): part 1 of dot, which reads the slot, is under way/, /race|asyncCopy/],
    ["a release before the slot's tile is fetched", windows, move("math", is("Release", "k"), "before", is("Fetch", "scale")), /it reads scale while it holds no slot of k/, /race|asyncCopy/],
    ["a product before its wait", windows, move("math", is("AwaitFull", "k"), "behind", is("Gemm")), /it reads (scale|k) while it holds no slot of k/, /race|asyncCopy/],
    ["no wait for a product", matmul, drop("math", is("Await")), /x \(Release\): acc_3, which reads the slot, is under way/, /race|asyncCopy/],
    ["no wait for a product, nor a release", matmul, drop("math", (s) => is("Release")(s) || is("Await")(s)), /releases it at 0/],
    ["a product that goes on into the next turn", matmul, move("math", is("Release"), "before", is("Gemm")), /it reads x while it holds no slot of x/, /race|asyncCopy/],
    ["a read before the part's wait", windows, drop("math", part("Await", 1)), /part 1 of dot, which reads the slot, is under way/, /wgmma/],
    ["a fold in front of all waits", windows, move("math", part("Reduce", 0), "before", part("Await", 0)), /it reads dot while part 0 of dot is under way/, /wgmma/],
    ["a fold of the part that is under way", windows, move("math", part("Reduce", 1), "before", part("Await", 1)), /it reads dot while part 1 of dot is under way/, /wgmma/],
    ["a wait that leaves too many groups", windows, statement("math", part("Await", 0), (s) => [{ ...s, pending: 2 } as PlanStmt]), /1 later groups are under way, not 2/, /wgmma/],
    ["a wait that leaves fewer than there are", windows, statement("math", part("Await", 0), (s) => [{ ...s, pending: 0 } as PlanStmt]), /1 later groups are under way, not 0/],
    ["waits in another order", windows, move("math", part("Await", 1), "before", part("Await", 0)), /it awaits part 1 of 2 where part 0 of dot is next/],
    ["a wait for what is not under way", windows, statement("math", part("Await", 1), (s) => [s, s]), /it awaits part 1 of 2 where nothing is next/],
    ["registers that change under a product", matmul, (p) => statement("math", is("Gemm"), (s) => [s, ...p.roles![0]!.body.slice(0, 1)])(p), /it changes registers that acc_3 uses, which is under way/, /wgmma/],
    ["parts in another order", windows, move("math", part("Reduce", 1), "before", part("Reduce", 0)), /part 1 of 2 comes where part 0 is due|while part 1 of dot is under way/],
    ["a part too few", windows, drop("math", part("Reduce", 1)), /it reads score before its last part/, /uninitialised/],
    ["a part too few for nobody", windows, drop("math", (s) => part("Reduce", 1)(s) || is("Store")(s)), /part 0 of 2 is its last/],
    ["a part twice", windows, statement("math", part("Reduce", 0), (s) => [s, s]), /part 0 of 2 comes where part 1 of 2 is due/],
    ["parts of another count", windows, statement("math", part("Reduce", 1), (s) => [{ ...s, part: { index: 1, count: 4 } } as PlanStmt]), /part 1 of 4 comes where part 1 of 2 is due/],
    ["a result that is read before its last part", windows, move("math", is("Store"), "before", part("Reduce", 1)), /it reads score before its last part/, /uninitialised/],
    ["a tile that nobody fetched", windows, drop("math", is("Fetch", "w")), /it reads w, of which math has no registers yet/],
    ["computing in a role that copies", windows, (p) => role("producer", (r) => ({ ...r, body: [...r.body, ...p.roles![0]!.body.filter(is("Fetch"))] }))(p), /producer only copies/],
    ["a stored tile in a role that copies", steered, (p) => role("producer", (r) => ({ ...r, body: [...p.roles![0]!.body.filter((s) => s.kind === "ToScalar" && s.scalar.name === "peak"), ...r.body] }))(p), /producer cannot read peak\.max, which another role stores/],
    ["a copy that no fill starts", windows, (p) => statement("producer", is("Fill", "k"), (s) => (s.kind === "Fill" ? [s, ...s.copies] : []))(p), /producer only copies/],
    ["a copy in a role that computes", windows, (p) => role("math", (r) => ({ ...r, body: [...r.body, ...p.roles![1]!.body.flatMap((s) => (s.kind === "Fill" ? s.copies : []))] }))(p), /no fill starts it/],
    ["a product that nobody awaits", matmul, role("math", (r) => ({ ...r, body: [...r.body, ...r.body.flatMap((s) => (s.kind === "For" ? s.body.flatMap(fromRegisters) : []))] })), /it ends while acc_3 is under way/],
    ["a product that one branch awaits", matmul, statement("math", is("Await"), (s) => [{ kind: "If", cond: binary("<", variable("i32", "kb"), int(64)), then: [s], otherwise: [], scalars: [], loc: matmul.kernel.loc }]), /one branch leaves acc_3 under way where there was nothing/, /race|asyncCopy/],
    ["a product that an inner loop awaits", matmul, statement("math", is("Await"), (s) => [{ kind: "For", index: { name: "again", type: "i32", loc: matmul.kernel.loc }, lo: int(0), hi: int(1), step: 1, scalars: [], body: [s], loc: matmul.kernel.loc }]), /a turn of the loop leaves nothing under way where there was acc_3/],
  ]);
});

describe("late products", () => {
  type For = Extract<PlanStmt, { kind: "For" }>;
  /** Changes the lists of the late loop. */
  const lateLoop = (change: (s: For, late: NonNullable<For["late"]>) => Partial<For>): Fault => lists("math", (list) => list.map((s) => (s.kind === "For" && s.late ? { ...s, ...change(s, s.late) } : s)));
  const moved = (list: readonly PlanStmt[], what: Pick, where: Pick): PlanStmt[] => list.filter((s) => !what(s)).flatMap((s) => (where(s) ? [...list.filter(what), s] : [s]));
  const awaits = (label: string, pending: number): Fault => lateLoop((s) => ({ body: s.body.map((t) => (is("Await", label)(t) ? ({ ...t, pending } as PlanStmt) : t)) }));
  refuses([
    ["a wait that leaves the earlier product too", late, awaits("up", 2), /1 later groups are under way, not 2/, /wgmma/],
    ["a first turn that counts what is not yet there", late, lateLoop((_, { first, rest }) => ({ late: { first: first.map((t) => (is("Await", "up")(t) ? ({ ...t, pending: 1 } as PlanStmt) : t)), rest } })), /0 later groups are under way, not 1/, /wgmma/],
    ["an operand that is packed while the product reads the last one", late, lateLoop((s) => ({ body: moved(s.body, is("Pack"), is("Await", "down_3")) })), /it packs .* into registers that down_3 uses, which is under way/, /wgmma/],
    ["an operand that is packed in front of the product", late, lateLoop((s) => ({ body: moved(s.body, is("Pack"), is("AwaitFull", "zs")), late: { first: s.late!.first, rest: s.late!.rest } })), /its turns are not those of its body/],
    ["no last product", late, lateLoop((_, { first }) => ({ late: { first, rest: [] } })), /its turns are not those of its body/],
    ["a first turn without its product", late, lateLoop((_, { first, rest }) => ({ late: { first: first.filter((t) => !is("Gemm")(t)), rest } })), /its turns are not those of its body/],
    ["work of a turn that becomes late", late, lateLoop((s, { first, rest }) => ({ late: { first: first.filter((t) => !is("Compute", "factor")(t)), rest: [...s.body.filter(is("Compute", "factor")), ...rest] } })), /its turns are not those of its body|cannot be late/],
    ["one slot", late, (p) => ({ ...p, pipes: p.pipes!.map((x) => (x.name === "zs" ? { ...x, depth: 1 } : x)) }), /the ring zs has 1 slot/],
  ]);
});

describe("operands that the role computes", () => {
  const staged = is("Stage", "mean");
  refuses([
    ["one that is stored when the slot is given back", behind, (p) => statement("math", is("Release", "queries"), (s) => [s, ...own(p, "math", staged)])(p), /mean \(Stage\): it writes to a slot of queries and holds none/],
    ["one that is never stored", behind, drop("math", staged), /dot \(Gemm\): it reads mean, which math has not stored yet/, /uninitialised/],
    ["one of the slot before", behind, move("math", staged, "behind", is("For")), /dot \(Gemm\): it reads mean, which math has not stored yet/, /uninitialised|race/],
    ["one that is stored again while a product reads it", behind, (p) => statement("math", is("Gemm"), (s) => [s, ...own(p, "math", staged)])(p), /mean \(Stage\): it overwrites what part 0 of dot reads, which is under way/, /race/],
    ["one by itself that is stored again while a product reads it", apart, (p) => statement("math", is("Gemm", "common"), (s) => [s, ...own(p, "math", staged)])(p), /mean \(Stage\): it overwrites what common reads, which is under way/, /race/],
    ["a product that goes along, read before the last part", behind, move("math", is("Stage", "common"), "before", part("Await", 1)), /common \(Stage\): it reads common while part 1 of dot is under way/, /wgmma/],
  ]);
});

describe("tiles that a role makes", () => {
  const find = (p: Plan, name: string, pick: Pick): PlanStmt => [...planStatements(p.roles!.find((r) => r.name === name)!.body)].find(pick)!;
  const store = is("Stage", "y");
  /** Without a layout, a stage is computed by whoever is there. */
  const anywhere = (s: PlanStmt): PlanStmt => {
    if (s.kind !== "Stage") return s;
    const { layout: _, ...stage } = s;
    return stage;
  };
  const withoutMakers = ({ makers: _, ...plan }: Plan): Plan => ({ ...plan, roles: plan.roles!.filter((r) => r.duty !== "make") });
  const lost = /race|uninitialised|proxy|asyncCopy/;
  refuses([
    ["a tile that is handed over before it is made", made, move("maker", is("HandOver"), "before", store), /columns \(HandOver\): maker has not stored y in the slot/, lost],
    ["a tile that is never made", made, drop("maker", store), /columns \(HandOver\): maker has not stored y in the slot/, lost],
    ["one that nobody hands over", made, drop("maker", is("HandOver")), /columns: maker awaits it at 1 places and hands over it at 0/],
    ["one that is handed over twice", made, statement("maker", is("HandOver"), (s) => [s, s]), /columns: maker awaits it at 1 places and hands over it at 2/, /barrier|race|deadlock|uninitialised/],
    ["one that is handed over in another trip", made, (p) => lists("maker", (list): readonly PlanStmt[] => list.flatMap((s): PlanStmt[] => (s.kind === "For" ? [s, { kind: "HandOver", pipe: "columns" }] : [s])))(drop("maker", is("HandOver"))(p)), /columns: maker does not hand it over behind the wait, in the same trip/, /deadlock/],
    ["a maker that does not wait for what it is to use", made, drop("maker", is("AwaitFull")), /columns: maker awaits it at 0 places and hands over it at 1/],
    ["a maker that waits too late", made, move("maker", is("AwaitFull"), "behind", is("Fetch", "codes")), /codes \(Fetch\): it reads codes while it holds no slot of columns/, lost],
    ["a maker that stores in a slot that is not there yet", made, move("maker", store, "before", is("AwaitFull")), /it reads codes, of which maker has no registers yet|it writes to a slot of columns and holds none/],
    ["a maker that reads on", made, (p) => statement("maker", is("HandOver"), (s) => [s, find(p, "maker", is("Fetch", "codes"))])(p), /codes \(Fetch\): it reads codes while it holds no slot of columns/, /race|asyncCopy|uninitialised/],
    ["a maker that gives the slot back", made, statement("maker", is("HandOver"), (s) => [{ kind: "Release", pipe: "columns" }, s]), /columns: maker releases it, and makes tiles of it/, /barrier|race|deadlock|uninitialised|asyncCopy/],
    ["a consumer that awaits what is brought", made, statement("math", is("AwaitMade"), () => [{ kind: "AwaitFull", pipe: "columns" }]), /columns: math awaits it, and does not make tiles of it/, lost],
    ["a consumer that awaits both", made, statement("math", is("AwaitMade"), (s) => [{ kind: "AwaitFull", pipe: "columns" }, s]), /columns: math awaits it, and does not make tiles of it/],
    ["a consumer that awaits what nobody makes", made, statement("math", is("AwaitFull", "rows"), () => [{ kind: "AwaitMade", pipe: "rows" }]), /rows: math awaits what is made in it, where nobody makes tiles of it/],
    ["a consumer that reads before it is made", made, move("math", is("AwaitMade"), "behind", is("Gemm")), /it reads y while it holds no slot of columns/, lost],
    ["a consumer that makes the tile itself", made, (p) => statement("math", is("Gemm"), (s) => [anywhere(find(p, "maker", store)), s])(p), /y is another role's to make/],
    ["a maker that stores for itself", made, (p) => statement("maker", store, (s) => (s.kind === "Stage" ? [{ ...s, value: { ...s.value, id: 999 } }, s] : [s]))(p), /maker stores what is not its to make/],
    ["a maker that waits for products", made, (p) => statement("maker", is("HandOver"), (s) => [find(p, "math", is("Await")), s])(p), /maker only makes tiles/],
    ["no maker", made, withoutMakers, /columns: 0 of the 1 roles that take its slots make y/],
    ["nobody else", made, drop("math", (s) => (s.kind === "AwaitMade" || s.kind === "Release") && s.pipe === "columns"), /columns: 1 of the 1 roles that take its slots make y/],
    ["threads that the layouts do not know", made, (p) => ({ ...p, makers: 128 }), /a copy of maker has 64 threads, the layouts are made for 128/],
    ["layouts for other threads", made, (p) => ({ ...role("maker", (r) => ({ ...r, warps: 4 }))(p), makers: 128 }), /maker has 128 threads a copy, and .* \(Fetch\) is laid out for others/],
  ]);
});

describe("trips", () => {
  /** The branch around the copies depends on what the loop carries. */
  const byCarried: Fault = (plan) => ["math", "producer"].reduce((p, name) => statement(name, is("If"), (s) => [{ ...s, cond: binary("<", variable("i32", "at_2"), int(20)) } as PlanStmt])(p), plan);
  it("accepts what a loop carries, where both roles carry it alike", () => verify(byCarried(carried)));
  refuses([
    ["no wait for a slot", windows, drop("math", is("AwaitFull", "k")), /k: math awaits it at 0 places and releases it at 1/],
    ["no release", windows, drop("math", is("Release", "k")), /k: math awaits it at 1 places and releases it at 0/, /deadlock/],
    ["a release too many", windows, statement("math", is("Release", "k"), (s) => [s, s]), /releases it at 2/],
    ["a release in front of the wait", windows, move("math", is("Release", "k"), "before", is("AwaitFull", "k")), /math does not release it behind the wait, in the same trip/],
    ["a release behind the loop", matmul, (p) => lists("math", (list): readonly PlanStmt[] => list.flatMap((s): PlanStmt[] => (s.kind === "For" ? [s, { kind: "Release", pipe: "x" }] : [s])))(drop("math", is("Release"))(p)), /math does not release it behind the wait, in the same trip/, /deadlock/],
    ["a wait around the loop", matmul, (p) => lists("math", (list): readonly PlanStmt[] => (list.some(is("For")) ? [{ kind: "AwaitFull", pipe: "x" }, ...list, { kind: "Release", pipe: "x" }] : list))(drop("math", (s) => s.kind === "AwaitFull" || s.kind === "Release")(p)), /producer fills it inside for kb .*, math awaits it inside nothing/],
    ["a loop that brings fewer", matmul, statement("producer", is("For"), (s) => [{ ...s, hi: sub((s as Extract<PlanStmt, { kind: "For" }>).hi, int(64)) } as PlanStmt]), /producer fills it inside for kb = \(0\) to \(K - 64\) step 64, math awaits it inside for kb = \(0\) to \(K\) step 64/, /deadlock/],
    ["a loop of another step", matmul, statement("producer", is("For"), (s) => [{ ...s, step: 32 } as PlanStmt]), /step 32, math awaits it inside .* step 64/, /deadlock/],
    ["a scalar that means something else", strided, statement("producer", is("Let"), (s) => [{ ...s, expr: sub(variable("i32", "lo"), int(64)) } as PlanStmt]), /producer fills it inside .*, math awaits it inside/, /deadlock/],
    ["a scalar that is folded otherwise", strided, statement("producer", is("SerialReduce"), (s) => [{ ...s, op: { ...(s as Extract<PlanStmt, { kind: "SerialReduce" }>).op, fn: "sum" } } as PlanStmt]), /producer fills it inside .*, math awaits it inside/],
    ["a scalar that the role does not know", strided, drop("producer", is("Let")), /producer steers by a scalar that it does not know/],
    ["another branch", carried, statement("producer", is("If"), (s) => [{ ...s, then: (s as Extract<PlanStmt, { kind: "If" }>).otherwise, otherwise: (s as Extract<PlanStmt, { kind: "If" }>).then } as PlanStmt]), /producer fills it inside .* otherwise, math awaits it inside .* then/],
    ["a carried scalar that goes on otherwise", byCarried(carried), statement("producer", (s) => s.kind === "Let" && s.scalar.name === "at_3", (s) => [{ ...s, expr: int(9) } as PlanStmt]), /producer fills it inside .* where carried\(at_2\) is .*, math awaits it inside/, /deadlock/],
    ["a carried scalar whose next value the role does not know", byCarried(carried), statement("producer", (s) => s.kind === "Let" && s.scalar.name === "at_3", () => []), /it steers by carried\(at_2\), of which it does not know the next value/],
    ["a fill at two places", windows, statement("producer", is("Fill", "k"), (s) => [s, s]), /k: it is filled at 2 places/],
    ["no fill", windows, drop("producer", is("Fill", "k")), /k: it is filled at 0 places/, /deadlock/],
    ["a fill that forgets a tile", windows, statement("producer", is("Fill", "k"), (s) => [{ ...s, copies: (s as Extract<PlanStmt, { kind: "Fill" }>).copies.slice(1) } as PlanStmt]), /it brings k 0 times/, /uninitialised/],
    ["a fill of another's tile", windows, (p) => statement("producer", is("Fill", "k"), (s) => [{ ...s, copies: [...(s as Extract<PlanStmt, { kind: "Fill" }>).copies, ...(p.roles![1]!.body.find(is("Fill")) as Extract<PlanStmt, { kind: "Fill" }>).copies] } as PlanStmt])(p), /it brings q, which is not of the pipe/],
    ["a fill elsewhere than the place", windows, statement("producer", is("Fill", "k"), (s) => [{ ...s, copies: (s as Extract<PlanStmt, { kind: "Fill" }>).copies.map((c) => ({ ...c, stage: { ...c.stage } })) } as PlanStmt]), /it brings k elsewhere than its place says/],
    ["a fill by TMA of rows at indices", paged, statement("producer", is("Fill", "rows"), (s) => [{ ...s, copies: (s as Extract<PlanStmt, { kind: "Fill" }>).copies.map((c) => ({ ...c, by: "tma" })) } as PlanStmt]), /it brings y by TMA, which takes no indices/],
    ["a fill by indices that another role stores", paged, (p) => ({ ...p, places: new Map([...p.places, [[...definedTiles(p.kernel.body)].find((v) => v.label === "s")!.id, p.places.get(p.pipes![0]!.values[0]!.id)!]]) }), /rows \(Fill\): producer cannot read s, which another role stores/],
    ["a fill by a role that computes", strided, role("producer", (r) => ({ ...r, duty: "compute", warps: 4 })), /producer computes and cannot start copies/],
    ["a pipe that nobody reads", strided, drop("math", (s) => (s.kind === "AwaitFull" || s.kind === "Release") && s.pipe === "k"), /k: no role takes its slots/],
    ["an unknown pipe", windows, statement("math", is("AwaitFull", "k"), (s) => [s, { kind: "AwaitFull", pipe: "none" }]), /there is no such pipe/],
    ["no slots", windows, (p) => ({ ...p, pipes: p.pipes!.map((x) => ({ ...x, depth: 0 })) }), /it has 0 slots/],
    ["a header without work", strided, (p) => ({ ...p, pipes: p.pipes!.map((x) => ({ ...x, header: [windows.pipes![0]!.header[0]!] })) }), /its header has no work to carry/],
    ["work without a header", windows, (p) => ({ ...p, pipes: p.pipes!.map((x) => ({ ...x, header: [] })) }), /the work's pipe has no header/],
    ["a header with less than the role needs", windows, (p) => ({ ...p, pipes: p.pipes!.map((x) => ({ ...x, header: x.header.slice(0, -1) })) }), /math steers by a scalar that it does not know/],
    ["a header of unknown scalars", windows, (p) => ({ ...p, pipes: p.pipes!.map((x) => ({ ...x, header: x.header.map((v) => ({ ...v, name: `${v.name}_` })) })) }), /its header has qb_, which nobody finds/],
    ["work before its header", windows, lists("math", (list) => (list.some(is("For", "tb")) ? [...list.slice(1, 2), list[0]!, ...list.slice(2)] : list)), /math: it does not begin with a wait for q, which says what its work is/],
    ["fills in the wrong order", strided, move("producer", is("Fill", "q"), "behind", is("For")), /the roles wait for each other in a circle/, /deadlock/],
    ["waits in the wrong order", strided, lists("math", (list) => (list.some(is("Release", "q")) ? [...list.filter((s) => !is("AwaitFull", "q")(s) && !is("Release", "q")(s)), { kind: "AwaitFull", pipe: "q" }, { kind: "Release", pipe: "q" }] : list)), /it reads q while it holds no slot of q/],
  ]);

  it("an early fill and a late wait are no circle", async () => {
    // w is awaited behind the loop, and was brought before it
    const late = lists("math", (list) => {
      const waits = list.filter((s) => is("AwaitFull", "w")(s) || is("Release", "w")(s) || is("Fetch", "w")(s));
      return waits.length === 0 ? list : [...list.filter((s) => !waits.includes(s)), ...waits];
    });
    const plan = late(steered);
    expect(() => verify(plan)).toThrow(/it reads w, of which math has no registers yet/);
    const idle = lists("math", (list) => list.filter((s) => !is("Reduce", "y.sum")(s) && !is("Store")(s)));
    verify(idle(plan));
    expect(faultOf(idle(plan))).toBe("none");
  });
});

/** The list with a statement dropped, doubled, or in the place of the next one, at any depth. */
function* mutants(list: readonly PlanStmt[]): Generator<readonly PlanStmt[]> {
  for (const [i, s] of list.entries()) {
    const [before, after] = [list.slice(0, i), list.slice(i + 1)];
    yield [...before, ...after];
    yield [...before, s, s, ...after];
    if (after.length > 0) yield [...before, after[0]!, s, ...after.slice(1)];
    if (s.kind === "For") for (const body of mutants(s.body)) yield [...before, { ...s, body }, ...after];
    if (s.kind === "For" && s.late) for (const rest of mutants(s.late.rest)) yield [...before, { ...s, late: { ...s.late, rest } }, ...after];
    if (s.kind === "If") for (const then of mutants(s.then)) yield [...before, { ...s, then }, ...after];
  }
}
it.each([["windows", strided], ["matmul", matmul], ["carried", carried], ["chained", late], ["pooled", behind], ["scaled", made]] as const)("accepts no changed %s in which the machine finds a fault", (_, plan) => {
  const verdicts = { refused: 0, ran: 0 };
  for (const { name, body } of plan.roles!)
    for (const changed of mutants(body)) {
      const mutant = role(name, (r) => ({ ...r, body: changed }))(plan);
      if (isRefused(() => verify(mutant)) || isRefused(() => verifyLoop(runLoopPasses(mutant, hopper).loop, hopper, "insertBarriers"))) verdicts.refused++;
      else {
        expect(faultOf(mutant, [1, 2]), printPlan(mutant)).toBe("none");
        verdicts.ran++;
      }
    }
  expect(verdicts.refused).toBeGreaterThan(15);
  expect(verdicts.ran).toBeGreaterThan(3);
});
function isRefused(work: () => void): boolean {
  try {
    work();
    return false;
  } catch {
    return true;
  }
}

describe("copies of a role", () => {
  it.each([
    ["that computes", { math: 2, producer: 1 }],
    ["that brings tiles", { math: 1, producer: 2 }],
  ] as const)("%s, in a ring that they cannot share", async (_, copies) => {
    const plan = await inTurn({ ...ringSchedule({ warps: 4, copies, brings: { q: 2, k: 2 }, mma: { dot: {} }, persistent: { even: "tb" } }) });
    verify(plan);
    expect(faultOf(plan)).toBe("none");
    const odd: Plan = { ...plan, pipes: plan.pipes!.map((p) => ({ ...p, depth: p.name === "k" ? 1 : p.depth })) };
    expect(() => verify(odd)).toThrow(/k: the 2 copies of \w+ take turns at 1 slots/);
    expect(["race", "barrier", "asyncCopy"]).toContain(faultOf(odd));
  });
  it("that store what they compute", () => {
    const plan = role("math", (r) => ({ ...r, copies: 2, warps: 8 }))({ ...behind, pipes: behind.pipes!.map((p) => ({ ...p, depth: 2 })) });
    expect(() => verify(plan)).toThrow(/the 2 copies of math would all store mean(\.sum)? in one place/);
    expect(["race", "barrier", "notUniform", "deadlock"]).toContain(faultOf(plan));
  });
  it("without iterations to take in turn", () => {
    const plan = role("math", (r) => ({ ...r, copies: 2, warps: 8 }))(strided);
    expect(() => verify(plan)).toThrow(/math: its copies have no iterations to take in turn/);
  });
});

describe("the rings of the program", () => {
  const { loop } = runLoopPasses(windows, hopper);
  const barrier = (name: string, arrivals: number): LoopKernel => ({ ...loop, barriers: loop.barriers.map((b) => (b.name === name ? { ...b, arrivals } : b)) });
  const calls = (change: (s: Extract<LoopStmt, { kind: "Call" }>) => readonly LoopStmt[], of = loop): LoopKernel => {
    const go = (list: readonly LoopStmt[]): readonly LoopStmt[] =>
      list.flatMap((s): readonly LoopStmt[] => {
        if (s.kind === "Call") return change(s);
        if (s.kind === "For" || s.kind === "While") return [{ ...s, body: go(s.body) }];
        if (s.kind === "If") return [{ ...s, then: go(s.then), otherwise: go(s.otherwise) }];
        return [s.kind === "Roles" ? { ...s, roles: s.roles.map((r) => ({ ...r, body: go(r.body) })) } : s];
      });
    return { ...of, body: go(of.body) };
  };
  it("are those of the plan", () => verifyRings(windows, loop, "lower"));
  it("of copies count the warps of one copy inside the loop, those of all outside", async () => {
    const plan = await inTurn({ ...ringSchedule({ warps: 4, copies: { math: 2, producer: 1 }, brings: { q: 2, k: 2 }, mma: { dot: {} }, persistent: { even: "tb" } }) });
    const program = runLoopPasses(plan, hopper).loop;
    verifyRings(plan, program, "lower");
    expect(program.barriers.map((b) => [b.name, b.arrivals])).toEqual([["q_full", 1], ["q_empty", 8], ["k_full", 1], ["k_empty", 4]]);
  });
  it.each<[string, LoopKernel, RegExp]>([
    ["another depth", { ...loop, pipes: loop.pipes.map((p) => ({ ...p, depth: 3 })) }, /q: it has 3 slots, not 2/],
    ["a fill that two threads announce", barrier("k_full", 2), /its full barrier counts 2 arrivals, one thread fills a slot/],
    ["a release of fewer warps", barrier("k_empty", 3), /its empty barrier counts 3 arrivals, 4 warps release a slot/],
    ["bytes that nothing brings", calls((s) => [{ ...s, operands: s.operands.map((o) => (s.instruction === "mbarrierExpect" && o.kind === "Value" ? { ...o, value: int(64) } : o)) }]), /64 bytes are announced, its copies bring/],
    ["a copy that is left out", calls((s) => (s.operands.some((o) => o.kind === "TensorMap" && o.map === "scale_map") ? [] : [s])), /2304 bytes are announced, its copies bring 2048/],
  ])("%s", (_, kernel, complaint) => expect(() => verifyRings(windows, kernel, "lower")).toThrow(complaint));

  describe("with made tiles", () => {
    const program = runLoopPasses(made, hopper).loop;
    const isFence = (s: LoopStmt): boolean => s.kind === "Call" && s.instruction === "fenceProxyAsync";
    it("count the warps that make them", () => {
      verifyRings(made, program, "lower");
      expect(program.barriers.map((b) => [b.name, b.arrivals])).toEqual([["rows_full", 1], ["rows_empty", 4], ["columns_full", 1], ["columns_made", 2], ["columns_empty", 4]]);
    });
    it.each<[string, LoopKernel, RegExp]>([
      ["other warps that make", { ...program, barriers: program.barriers.map((b) => (b.name === "columns_made" ? { ...b, arrivals: 4 } : b)) }, /its made barrier counts 4 arrivals, 2 warps make tiles of a slot/],
      ["no barrier for what is made", { ...program, pipes: program.pipes.map(({ made: _, ...p }) => p) }, /its made barrier counts no arrivals, 2 warps make tiles of a slot/],
      ["no fence", calls((s) => (isFence(s) ? [] : [s]), program), /tiles are handed over, and no fenceProxyAsync stands in front of it/],
    ])("%s", (_, kernel, complaint) => expect(() => verifyRings(made, kernel, "lower")).toThrow(complaint));
  });
});

describe("what the machine has", () => {
  const registers = (math: number | undefined, producer: number | undefined): Fault => (p) => ({
    ...p,
    roles: p.roles!.map(({ registers: _, ...r }) => ({ ...r, ...(r.name === "math" ? math && { registers: math } : producer && { registers: producer }) })),
  });
  const more = (r: Partial<Role>): Fault => (p) => ({ ...p, roles: [...p.roles!, { ...p.roles![1]!, body: [], ...r }] });
  it.each<[string, Fault, RegExp]>([
    ["registers in sevens", registers(220, 40), /math asks for 220 registers a thread, not a multiple of 8 from 24 to 256/],
    ["too many registers of one thread", registers(264, 40), /not a multiple of 8 from 24 to 256/],
    ["too few", registers(224, 16), /producer asks for 16 registers a thread/],
    ["two counts in a warpgroup", more({ name: "other", registers: 56 }), /other asks for 56 registers in a warpgroup where producer asks for 40/],
    ["a count and none in a warpgroup", (p) => more({ name: "other", registers: 40 })(registers(224, undefined)(p)), /other asks for 40 registers in a warpgroup where producer asks for none/],
    ["threads that the layouts do not know", role("math", (r) => ({ ...r, warps: 8 })), /a copy of math has 256 threads, the layouts are made for 128/],
    ["warps that copies cannot share", role("math", (r) => ({ ...r, warps: 4, copies: 3 })), /the 4 warps of math do not fall into 3 copies/],
    ["too many threads", role("producer", (r) => ({ ...r, warps: 29 })), /its roles take 1152 threads of at most 1024/],
    ["a product off the warpgroups", (p) => ({ ...p, roles: [...p.roles!].reverse() }), /wgmma needs whole warpgroups, and a copy of math has the warps 1 to 4/],
    ["two roles of one name", more({ name: "math" }), /two roles have one name/],
  ])("%s", (_, fault, complaint) => {
    expect(() => verify(fault(matmul))).toThrow(complaint);
  });
  it("registers of two and three warpgroups", () => {
    verify(registers(256, 256)(matmul)); // all that there are
    const three = (math: number): Plan => ({ ...matmul, threads: 256, roles: matmul.roles!.map((r) => (r.name === "math" ? { ...r, warps: 8, registers: math } : { ...r, registers: 24 })) });
    verify(three(240));
    expect(() => verify(three(248))).toThrow(/the warpgroups ask for 66560 registers, the block has 64512/);
  });
  it("shared memory", () => {
    verify(matmul, { ...machine, maxSharedBytes: 3 * (8192 + 4096) + 48 });
    expect(() => verify(matmul, { ...machine, maxSharedBytes: 3 * (8192 + 4096) + 47 })).toThrow(/take 36912 bytes of shared memory of 36911/);
  });
});
