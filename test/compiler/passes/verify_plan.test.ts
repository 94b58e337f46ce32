/** Every rule of plans refuses a plan that breaks it. */
import { expect, test } from "vitest";
import type { Layout } from "../../../compiler/ir/layout.ts";
import type { GemmPlan, Machine, Place, Plan, PlanStmt, Stage } from "../../../compiler/ir/plan.ts";
import type { TileValue } from "../../../compiler/ir/tile.ts";
import { verifyPlan } from "../../../compiler/ir/verify_plan.ts";
import { definedTiles } from "../../../compiler/ir/walk.ts";
import { cuda, passesOf } from "./small_kernels.ts";

const { plan } = await passesOf("attention", cuda, 64);
const { plan: selection } = await passesOf("select", cuda, 64);

type Fault = (p: Plan) => Plan;
const tile = (p: Plan, label: string): TileValue => [...definedTiles(p.kernel.body)].find((v) => v.label === label)!;
/** Changes the place of a tile. */
const place = (label: string, change: (at: Extract<Place, { kind: "Stored" }>) => Place): Fault => (p) => {
  const { id } = tile(p, label);
  return { ...p, places: new Map(p.places).set(id, change(p.places.get(id) as Extract<Place, { kind: "Stored" }>)) };
};
const layoutOf = (label: string, change: (l: Layout) => Layout): Fault => place(label, (at) => ({ ...at, layout: change(at.layout!) }));
const stageOf = (label: string, change: (s: Stage) => Stage): Fault => place(label, (at) => ({ ...at, stage: change(at.stage!) }));
/** Changes, or with undefined removes, every statement of a kind. */
const statements = <K extends PlanStmt["kind"]>(kind: K, change: (s: Extract<PlanStmt, { kind: K }>) => PlanStmt | undefined): Fault => {
  const go = (list: readonly PlanStmt[]): PlanStmt[] =>
    list.flatMap((s): PlanStmt[] => {
      const changed = s.kind === kind ? change(s as Extract<PlanStmt, { kind: K }>) : s;
      if (changed === undefined) return [];
      return [changed.kind === "For" ? { ...changed, body: go(changed.body) } : changed.kind === "If" ? { ...changed, then: go(changed.then), otherwise: go(changed.otherwise) } : changed];
    });
  return (p) => ({ ...p, body: go(p.body) });
};
const gemm = (change: (g: GemmPlan) => GemmPlan): Fault => statements("Gemm", (s) => ({ ...s, plan: change(s.plan) }));
const halved = (l: Layout): Layout => ({ ...l, registers: l.registers.slice(1) });
const wide = (l: Layout): Layout => ({ ...l, threads: [...l.threads, { axis: null, size: 2, stride: 0 }] });

test("the plans themselves are fine", () => {
  verifyPlan(plan, cuda.machine, "shareRegisters");
  verifyPlan(selection, cuda.machine, "shareRegisters");
});

test.each<[string, Fault, RegExp]>([
  ["threads that are no power of two", (p) => ({ ...p, threads: 48 }), /48 threads/],
  ["a tile without a place", (p) => ({ ...p, places: new Map([...p.places].filter(([id]) => id !== tile(p, "s").id)) }), /has no place/],
  ["a tile stored nowhere", place("q", () => ({ kind: "Stored" })), /stored nowhere/],
  ["a layout of too many threads", layoutOf("l.sum", wide), /128 threads of 64/],
  ["a layout with a hole", layoutOf("p", halved), /does not hold every position/],
  ["a layout that overlaps", layoutOf("p", (l) => ({ ...l, registers: l.registers.map((d) => ({ ...d, stride: 1 })) })), /does not hold every position/],
  ["a layout along a foreign axis", layoutOf("l.sum", (l) => ({ ...l, registers: [...l.registers, { axis: "t", size: 2, stride: 1 }] })), /an axis that it lacks/],
  ["a register that copies", layoutOf("l.sum", (l) => ({ ...l, registers: [...l.registers, { axis: null, size: 2, stride: 0 }] })), /holds an element twice/],
  ["a stage whose rows overlap", stageOf("kv", (s) => ({ ...s, axes: s.axes.map((a) => (a.name === "t" ? { ...a, stride: 16 } : a)) })), /overlap/],
  ["a stage that is too short", stageOf("kv", (s) => ({ ...s, elements: 600 })), /600 elements/],
  ["a stage that loses bits", stageOf("kv", (s) => ({ ...s, dtype: "e4m3" })), /not exact in a stage of e4m3/],
  ["a stage with other axes", stageOf("kv", (s) => ({ ...s, axes: s.axes.slice(1) })), /other axes/],
  ["two stages of one name", stageOf("kv", (s) => ({ ...s, buffer: "q" })), /two stages have one name/],
  ["a stage elsewhere than its statement writes", stageOf("kv", (s) => ({ ...s })), /staged elsewhere/],
  ["a stage that is never written", statements("Stage", (s) => (s.value.label === "kv" ? undefined : s)), /from shared memory, where it is not yet/],
  ["a tile that is never computed", statements("Compute", (s) => (s.value.label === "p" ? undefined : s)), /before it is computed/],
  ["work under another layout than its result", statements("Compute", (s) => ({ ...s, layout: wide(s.layout) })), /another layout than it is computed in/],
  ["a reader that finds the tile nowhere", place("p", (at) => ({ kind: "Stored", layout: at.layout! })), /staged elsewhere|neither in registers nor in shared memory/],
  ["registers of different counts together", (p) => ({ ...p, registers: new Map(p.registers).set(tile(p, "l.sum").id, p.registers.get(tile(p, "s").id)!) }), /share .* with/],
  ["no registers at all", (p) => ({ ...p, registers: new Map([...p.registers].filter(([id]) => id !== tile(p, "s").id)) }), /has no register array/],
  ["a reduction that misses lanes", statements("Reduce", (s) => ({ ...s, plan: { ...s.plan, shuffles: s.plan.shuffles.slice(1) } })), /joins threads/],
  ["a reduction that joins twice", statements("Reduce", (s) => ({ ...s, plan: { ...s.plan, shuffles: [...s.plan.shuffles, 1] } })), /joins threads/],
  ["a reduction under another layout", statements("Reduce", (s) => ({ ...s, plan: { ...s.plan, layout: halved(s.plan.layout) } })), /does not hold|what its operand's leaves/],
  ["a fragment with other rows", gemm((g) => ({ ...g, rows: g.rows.filter((d) => d.slot !== "half") })), /has no half of 2/],
  ["a result that lies elsewhere", gemm((g) => ({ ...g, columns: g.columns.map((d) => (d.on === "thread" ? { ...d, stride: d.stride * 2 } : d)) })), /does not lie as its rows and columns say/],
  ["a loop that the kernel lacks", statements("For", () => undefined), /loops or branches of the kernel are missing/],
  ["a loop that stands still", statements("For", (s) => ({ ...s, step: 0 })), /step 0/],
])("%s", (_, fault, complaint) => {
  expect(() => verifyPlan(fault(plan), cuda.machine, "shareRegisters")).toThrow(complaint);
});

test.each<[string, Partial<Machine>, RegExp]>([
  ["too many threads", { maxThreads: 32 }, /64 threads/],
  ["too little shared memory", { maxSharedBytes: 3000 }, /bytes of shared memory of 3000/],
  ["no such atom", { instructions: new Set(["shuffleXor"]) }, /has no mma.m16n8k16.bf16/],
  ["no shuffles", { instructions: new Set(["mma.m16n8k16.bf16"]) }, /has no such shuffle/],
  ["smaller warps", { warp: 2 }, /no such shuffle|do not cover/],
])("a machine with %s", (_, change, complaint) => {
  expect(() => verifyPlan(plan, { ...cuda.machine, ...change }, "shareRegisters")).toThrow(complaint);
});

test("elements of an ordered list out of order", () => {
  const fault = statements("AppendPush", (s) => ({ ...s, layout: { threads: [{ axis: "t", size: 64, stride: 1 }], registers: [{ axis: "t", size: 2, stride: 64 }] } }));
  verifyPlan(fault(selection), cuda.machine, "shareRegisters"); // stretches of 64, one behind the other: in order
  const crossed = statements("AppendPush", (s) => ({ ...s, layout: { threads: [{ axis: "t", size: 64, stride: 2 }], registers: [{ axis: null, size: 1, stride: 0 }, { axis: "t", size: 2, stride: 1 }] } }));
  expect(() => verifyPlan(crossed(selection), cuda.machine, "shareRegisters")).toThrow(/in order|holds an element twice/);
});

test("a complaint names pass, source line and label", () => {
  expect(() => verifyPlan(statements("Reduce", (s) => ({ ...s, plan: { ...s.plan, shuffles: [] } }))(plan), cuda.machine, "shareRegisters")).toThrow(
    /^after shareRegisters: test\/compiler\/passes\/kernels\/products\.ts:\d+ l\.sum \(Reduce\): .* This is a fault of the compiler\.$/,
  );
});
