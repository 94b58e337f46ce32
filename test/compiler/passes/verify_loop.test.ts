/** Every rule of programs refuses a program that breaks it. */
import { expect, test } from "vitest";
import { add, binary, constant, int, mul, variable, type Expr } from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt, SharedBuffer } from "../../../compiler/ir/loop.ts";
import { verifyLoop } from "../../../compiler/ir/verify_loop.ts";
import { cuda, passesOf } from "./small_kernels.ts";

const thread: Expr = { kind: "ThreadIndex", type: "i32" };
const f32 = (value: number): Expr => constant("f32", value);
const let_ = (name: string, value: Expr): LoopStmt => ({ kind: "Let", name, value });
const array = (name: string, size: number): LoopStmt => ({ kind: "Array", name, type: "f32", size });
const loop = (name: string, hi: Expr, body: LoopStmt[], unroll = false): LoopStmt => ({ kind: "For", name, lo: int(0), hi, step: 1, unroll, body });
const when = (cond: Expr, then: LoopStmt[], uniform = false): LoopStmt => ({ kind: "If", cond, uniform, then, otherwise: [] });
const set = (name: string, index: Expr, value: Expr = f32(0)): LoopStmt => ({ kind: "SetRegister", array: name, index, value });
const share = (index: Expr, values: Expr[] = [f32(1)]): LoopStmt => ({ kind: "StoreShared", buffer: "s", index, values });
const put = (at: Expr, more: Partial<Extract<LoopStmt, { kind: "StoreGlobal" }>> = {}): LoopStmt => ({ kind: "StoreGlobal", param: "y", field: "", coords: [at], values: [f32(1)], aligned: true, ...more });
const call = (instruction: string, operands: Extract<LoopStmt, { kind: "Call" }>["operands"]): LoopStmt => ({ kind: "Call", instruction, operands });
const barrier: LoopStmt = { kind: "Barrier" };
const registers = (name: string, index: Expr, count: number) => ({ kind: "Registers", array: name, index, count }) as const;
const value = (e: Expr) => ({ kind: "Value", value: e }) as const;
const i = variable("i32", "i");

const buffer: SharedBuffer = { name: "s", dtype: "f32", elements: 64, offset: 0, note: "" };
function kernel(body: readonly LoopStmt[], change: Partial<LoopKernel> = {}): LoopKernel {
  const param = (name: string, access: "in" | "out") => ({ name, access, axes: [{ axis: "n", size: 64, stride: 4 }], fields: [{ name: "", dtype: "f32" as const, offset: 0, axes: [] }], bytes: 256 });
  return {
    name: "scratch",
    loc: { file: "scratch.ts", line: 1, column: 1 },
    params: [param("x", "in"), param("y", "out")],
    dims: [{ name: "N" }],
    blocks: 1,
    threads: 64,
    shared: [buffer],
    sharedBytes: 256,
    barriers: [],
    pipes: [],
    tensorMaps: [],
    body,
    ...change,
  };
}
const verify = (k: LoopKernel): void => verifyLoop(k, cuda, "lower");

test.each<[string, LoopStmt[]]>([
  ["the same name in sibling scopes", [loop("i", int(2), [let_("a", int(1))]), loop("i", int(2), [let_("a", f32(1))])]],
  ["registers by unrolled indices", [array("r", 6), loop("i", int(3), [set("r", add(mul(i, int(2)), int(1)))], true)]],
  ["shared elements of each thread", [share(thread), barrier, let_("a", { kind: "Shared", type: "f32", buffer: "s", index: int(63) })]],
  ["a group's first thread plus a part of it", [let_("group", binary("-", thread, binary("%", thread, int(8)))), loop("i", int(8), [share(add(variable("i32", "group"), i))])]],
  ["a condition that keeps an index inside", [loop("i", int(2), [let_("at", add(mul(i, int(48)), thread)), when(binary("<", variable("i32", "at"), int(64)), [share(variable("i32", "at"))])])]],
  ["a barrier in a branch on a dim", [when(binary("<", variable("i32", "N"), int(5)), [barrier], true)]],
  ["a barrier in a loop over a variable that all threads share", [{ kind: "Variable", name: "n", type: "i32", init: int(0) }, loop("i", variable("i32", "n"), [barrier]), { kind: "Assign", name: "n", value: variable("i32", "N") }]],
])("accepts %s", (_, body) => verify(kernel(body)));

test.each<[string, LoopStmt[], RegExp]>([
  ["a name before its declaration", [let_("a", variable("i32", "b")), let_("b", int(1))], /variable b is not defined/],
  ["a name after its scope", [loop("i", int(2), [let_("a", int(1))]), let_("b", variable("i32", "a"))], /variable a is not defined/],
  ["a name twice in a scope", [let_("a", int(1)), let_("a", int(2))], /a is declared twice/],
  ["operands of two types", [let_("a", { kind: "Binary", type: "i32", op: "+", a: int(1), b: f32(1) })], /ill-typed Binary/],
  ["a variable that changes type", [{ kind: "Variable", name: "v", type: "f32", init: f32(0) }, { kind: "Assign", name: "v", value: int(1) }], /v is f32, not i32/],
  ["an immutable that is assigned", [let_("a", int(1)), { kind: "Assign", name: "a", value: int(2) }], /a is no variable/],
  ["registers of another type", [array("r", 2), set("r", int(0), int(1))], /r is f32, not i32/],
  ["a register past the end", [array("r", 2), set("r", int(2))], /registers 2 to 2 of the 2/],
  ["a register past the end of an unrolled loop", [array("r", 4), loop("i", int(3), [set("r", mul(i, int(2)))], true)], /registers 0 to 4 of the 4/],
  ["a register by thread", [array("r", 64), set("r", thread)], /no constant/],
  ["a register by the index of a loop that stays", [array("r", 4), loop("i", int(4), [set("r", i)])], /no constant/],
  ["an unrolled loop without constant bounds", [loop("i", variable("i32", "N"), [], true)], /without constant bounds/],
  ["a condition that is a number", [when(int(1), [])], /condition is i32/],
  ["a buffer that does not exist", [{ ...share(int(0)), buffer: "t" } as LoopStmt], /no buffer t/],
  ["a shared value of another type", [share(int(0), [int(1)])], /not all f32/],
  ["a shared index outside", [share(add(thread, int(1)))], /leaves the 64 elements of s/],
  ["a shared index that only one thread takes outside", [when(binary(">", thread, int(60)), [share(mul(thread, int(2)))])], /leaves the 64 elements/],
  ["a coordinate outside", [put(add(thread, int(1)))], /leaves the 64 positions of y along n/],
  ["a coordinate too many", [put(thread, { coords: [thread, thread] })], /no such element/],
  ["a store to an input", [put(thread, { param: "x" })], /x is an input/],
  ["a guard that is a number", [put(thread, { guard: int(1) })], /guard is no bool/],
  ["an atomic on floats", [{ kind: "Atomic", fn: "add", buffer: "s", index: int(0), value: f32(1) }], /only whole numbers/],
  ["an instruction that does not exist", [call("wgmma", [])], /no instruction wgmma/],
  ["too few operands", [array("r", 1), call("shuffleXor", [registers("r", int(0), 1), value(f32(1))])], /takes \(1 registers, Value, Value\)/],
  ["too many registers", [array("r", 2), call("shuffleXor", [registers("r", int(0), 2), value(f32(1)), value(int(1))])], /not \(2 registers/],
  ["an operand past its array", [array("r", 1), call("shuffleXor", [registers("r", int(1), 1), value(f32(1)), value(int(1))])], /registers 1 to 1 of the 1/],
  ["a barrier that some threads skip", [when(binary("<", thread, int(5)), [barrier])], /may not come here/],
  ["a barrier in a loop that ends early for some", [loop("i", thread, [barrier])], /may not come here/],
  ["a shuffle that some lanes skip", [array("r", 1), when(binary("<", thread, int(5)), [call("shuffleXor", [registers("r", int(0), 1), value(f32(1)), value(int(1))])])], /may not come here/],
  ["a branch that is not uniform", [when(binary("<", thread, int(5)), [], true)], /may differ between threads/],
  ["a branch on a variable that became different", [
    { kind: "Variable", name: "v", type: "i32", init: int(0) },
    loop("i", int(3), [when(binary("<", variable("i32", "v"), int(5)), [barrier], true), when(binary("<", thread, int(3)), [{ kind: "Assign", name: "v", value: int(9) }])]),
  ], /may differ between threads/],
  ["a uniform value where some threads are", [when(binary("<", thread, int(5)), [{ kind: "Uniform", name: "u", value: int(1) }])], /may not come here/],
])("refuses %s", (_, body, complaint) => {
  expect(() => verify(kernel(body))).toThrow(complaint);
});

test.each<[string, Partial<LoopKernel>, RegExp]>([
  ["overlap", { shared: [buffer, { ...buffer, name: "t", offset: 128 }], sharedBytes: 512 }, /t overlaps s/],
  ["end behind the block's", { sharedBytes: 128 }, /ends at byte 256 of 128/],
  ["are not aligned", { shared: [{ ...buffer, offset: 8 }], sharedBytes: 512 }, /lies at byte 8/],
  ["do not fit the machine", { sharedBytes: 2 ** 20 }, /of shared memory of/],
])("refuses buffers that %s", (_, change, complaint) => {
  expect(() => verify(kernel([], change))).toThrow(complaint);
});

test("narrow elements fill whole words", () => {
  expect(() => verify(kernel([share(int(0))], { shared: [{ ...buffer, dtype: "bf16" }] }))).toThrow(/fill no whole word/);
});

test("a complaint names pass, source line and statement", () => {
  const source: LoopStmt = { kind: "Source", loc: { file: "scratch.ts", line: 7, column: 1 } };
  expect(() => verify(kernel([source, share(int(64))]))).toThrow('after lower: scratch.ts:7 "s[64] = 1f": it leaves the 64 elements of s. This is a fault of the compiler.');
});

test("a barrier taken from a real program is missed", async () => {
  for (const name of ["attention", "softmaxRows", "select"] as const) {
    const { loop: placed } = await passesOf(name, cuda, 128);
    let barriers = 0;
    const without = (list: readonly LoopStmt[], skip: number): LoopStmt[] =>
      list.flatMap((s): LoopStmt[] => {
        if (s.kind === "Barrier" && barriers++ === skip) return [];
        return [s.kind === "For" ? { ...s, body: without(s.body, skip) } : s.kind === "If" ? { ...s, then: without(s.then, skip), otherwise: without(s.otherwise, skip) } : s];
      });
    without(placed.body, -1);
    for (let skip = 0, count = barriers; skip < count; skip++) {
      barriers = 0;
      expect(() => verify({ ...placed, body: without(placed.body, skip) }), `${name} without barrier ${skip}`).toThrow(/is under way/);
    }
  }
});
