/** Which tiles work in place, which must not, and that the verifier sees it when they do all the same. */
import { expect, test } from "vitest";
import type { Plan, PlanStmt } from "../../../compiler/ir/plan.ts";
import { planStatements } from "../../../compiler/ir/plan_walk.ts";
import { definedTiles } from "../../../compiler/ir/walk.ts";
import { verifyPlan } from "../../../compiler/ir/verify_plan.ts";
import { cuda, passesOf, type SmallKernel } from "./small_kernels.ts";

const idOf = (plan: Plan, label: string): number => [...definedTiles(plan.kernel.body)].find((v) => v.label === label)!.id;
const together = (plan: Plan, a: string, b: string): boolean => plan.registers.get(idOf(plan, a)) === plan.registers.get(idOf(plan, b));
const moves = (plan: Plan): string[] => [...planStatements(plan.body)].flatMap((s) => (s.kind === "Move" ? [`${s.to.label} = ${s.from.label}`] : []));

test("a loop's next value and an accumulator take over the registers of what they replace", async () => {
  const { plan } = await passesOf("inPlace", cuda, 64);
  expect(together(plan, "total_2", "total_3")).toBe(true);
  expect(together(plan, "product_2", "product_3")).toBe(true);
  expect(moves(plan)).toEqual([]);
});

test.each<[SmallKernel, string, string, string]>([
  ["readsOldLater", "old_2", "next", "the old value is read after the next one is known"],
  ["readsAccumulator", "acc", "more", "the accumulator is read beside the product"],
  ["swap", "p_2", "q_2", "two variables live at once"],
  ["rotate", "p_2", "next", "the next value goes to another variable"],
])("%s: %s and %s have registers of their own: %s", async (name, a, b) => {
  const { plan } = await passesOf(name, cuda, 64);
  expect(together(plan, a, b)).toBe(false);
  const forced = { ...plan, registers: new Map(plan.registers).set(idOf(plan, b), plan.registers.get(idOf(plan, a))!) };
  expect(() => verifyPlan(forced, cuda.machine, "shareRegisters")).toThrow(/after shareRegisters: .*(by then|takes it over|overwrites its operand)/);
});

test("a move that is missing is seen", async () => {
  const { plan } = await passesOf("rotate", cuda, 64);
  const without = (list: readonly PlanStmt[]): PlanStmt[] => list.filter((s) => s.kind !== "Move").map((s) => (s.kind === "For" ? { ...s, body: without(s.body) } : s));
  expect(() => verifyPlan({ ...plan, body: without(plan.body) }, cuda.machine, "shareRegisters")).toThrow(/do not hold the value of/);
});
