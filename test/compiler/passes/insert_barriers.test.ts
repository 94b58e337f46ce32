/** Where barriers go, on hand-made programs: loops, branches, atomics, asynchronous copies, outputs that are read back. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { constant, int, type Expr } from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt, SharedBuffer } from "../../../compiler/ir/loop.ts";
import { printLoopStmt } from "../../../compiler/ir/print_loop.ts";
import { verifyLoop } from "../../../compiler/ir/verify_loop.ts";
import { insertBarriers } from "../../../compiler/passes/insert_barriers.ts";
import { cuda } from "./small_kernels.ts";

const thread: Expr = { kind: "ThreadIndex", type: "i32" };
const truth = constant("bool", 1);
const buffer = (name: string, offset: number): SharedBuffer => ({ name, dtype: "i32", elements: 64, offset, note: "" });
const read = (b: string): Expr => ({ kind: "Shared", type: "i32", buffer: b, index: int(3) });

let names = 0;
const reads = (b: string): LoopStmt => ({ kind: "Let", name: `r${names++}`, value: read(b) });
const writes = (b: string): LoopStmt => ({ kind: "StoreShared", buffer: b, index: thread, values: [thread] });
const adds = (b: string): LoopStmt => ({ kind: "Atomic", fn: "add", buffer: b, index: int(0), value: int(1) });
const copies = (b: string): LoopStmt => ({
  kind: "Call",
  instruction: "cpAsync16",
  operands: [{ kind: "SharedAddress", buffer: b, index: int(0) }, { kind: "GlobalAddress", param: "x", field: "", coords: [int(0)] }, { kind: "Value", value: int(1) }],
});
const loop = (...body: LoopStmt[]): LoopStmt => ({ kind: "For", name: `i${names++}`, lo: int(0), hi: int(9), step: 1, unroll: false, body });
const either = (then: LoopStmt[], otherwise: LoopStmt[] = [], uniform = true): LoopStmt => ({ kind: "If", cond: uniform ? truth : { kind: "Binary", type: "bool", op: "<", a: thread, b: int(5) }, uniform, then, otherwise });
const puts: LoopStmt = { kind: "StoreGlobal", param: "y", field: "", coords: [thread], values: [thread], aligned: true };
const gets: LoopStmt = { kind: "Let", name: "back", value: { kind: "GlobalElement", type: "i32", param: "y", field: "", coords: [int(0)] } };

function kernel(body: readonly LoopStmt[]): LoopKernel {
  const field = { name: "", dtype: "i32" as const, offset: 0, axes: [] };
  const axes = [{ axis: "n", size: 64, stride: 4 }];
  return {
    name: "scratch",
    loc: { file: "scratch.ts", line: 1, column: 1 },
    params: [{ name: "x", access: "in", axes, fields: [field], bytes: 256 }, { name: "y", access: "inout", axes, fields: [field], bytes: 256 }],
    dims: [],
    blocks: 1,
    threads: 64,
    shared: [buffer("a", 0), buffer("b", 256), buffer("c", 512)],
    sharedBytes: 768,
    barriers: [],
    pipes: [],
    tensorMaps: [],
    body,
  };
}

/** One letter a statement: R and W of buffer a, A atomic, C copy, w wait, | barrier, r and s of buffer b, P and G of the output. */
function shape(list: readonly LoopStmt[]): string {
  return list
    .map((s): string => {
      switch (s.kind) {
        case "Barrier":
          return "|";
        case "For":
          return `(${shape(s.body)})*`;
        case "If":
          return `[${shape(s.then)}:${shape(s.otherwise)}]`;
        case "StoreGlobal":
          return "P";
        case "Atomic":
          return "A";
        case "StoreShared":
          return s.buffer === "a" ? "W" : "s";
        case "Let":
          return s.value.kind === "GlobalElement" ? "G" : s.value.kind === "Shared" && s.value.buffer === "a" ? "R" : "r";
        case "Call":
          return s.instruction === "cpAsyncWaitAll" ? "w" : "C";
        default:
          return printLoopStmt(s);
      }
    })
    .join("");
}

const [R, W, A, C, r, s] = [() => reads("a"), () => writes("a"), () => adds("a"), () => copies("a"), () => reads("b"), () => writes("b")];

test.each<[string, LoopStmt[], string]>([
  ["a write and a read", [W(), R()], "W|R"],
  ["a read and a write", [R(), W()], "R|W"],
  ["two reads", [W(), R(), R()], "W|RR"],
  ["two buffers share a barrier", [W(), s(), R(), r()], "Ws|Rr"],
  ["another buffer needs none", [W(), r()], "Wr"],
  ["a loop that writes and reads: also around its end", [loop(W(), R())], "(|W|R)*"],
  ["a loop that only reads is one access", [W(), loop(R(), R())], "W|(RR)*"],
  ["a loop that only writes is one access", [loop(W()), R()], "(W)*|R"],
  ["what is pending before a loop", [W(), loop(R(), s())], "W|(Rs)*"],
  ["a loop behind a read", [R(), loop(W(), R())], "R(|W|R)*"],
  ["nested loops", [loop(W(), loop(R(), s(), r()))], "(W(|Rs|r)*)*"],
  ["either branch", [W(), either([R()], [r()]), W()], "W[|R:r]|W"],
  ["a branch that writes", [either([W()]), R()], "[W:]|R"],
  ["a branch of some threads is one access", [W(), either([R()], [], false), R()], "W|[R:]R"],
  ["atomics among themselves", [A(), A()], "AA"],
  ["atomics beside writes and reads", [W(), A(), R(), A()], "W|A|R|A"],
  ["atomics in a loop", [W(), loop(A()), R()], "W|(A)*|R"],
  ["a copy is waited for before its barrier", [C(), R()], "Cw|R"],
  ["a copy in a loop", [loop(C(), R())], "(|Cw|R)*"],
  ["a copy that nobody reads is waited for at the end", [C(), r()], "Crw"],
  ["a copy of another buffer is waited for as well", [C(), s(), r()], "Csw|r"],
  ["a copy and a write", [C(), W()], "Cw|W"],
  ["an output that is read back", [puts, gets], "P|G"],
])("%s", (_, body, wanted) => {
  const placed = insertBarriers(kernel(body), cuda.instructions);
  expect(shape(placed.body)).toBe(wanted);
  verifyLoop(placed, cuda, "insertBarriers");
});

const { program } = fc.letrec<{ program: LoopStmt[]; statement: LoopStmt }>((tie) => ({
  program: fc.array(tie("statement"), { maxLength: 5, depthIdentifier: "nest" }),
  statement: fc.oneof(
    { maxDepth: 3, depthIdentifier: "nest", withCrossShrink: true },
    fc.record({ make: fc.constantFrom(reads, writes, adds, copies), b: fc.constantFrom("a", "b", "c") }).map(({ make, b }) => make(b)),
    tie("program").map((body) => loop(...body)),
    fc.tuple(tie("program"), tie("program")).map(([then, otherwise]) => either(then, otherwise)),
  ),
}));
test("the verifier agrees, whatever the program", () => {
  fc.assert(fc.property(program, (body) => verifyLoop(insertBarriers(kernel(body), cuda.instructions), cuda, "insertBarriers")), { numRuns: 1000 });
});

test.each<[string, LoopStmt[]]>([
  ["a read behind a write", [W(), R()]],
  ["a write behind a read", [R(), W()]],
  ["around the end of a loop", [loop(R(), { kind: "Barrier" }, W())]],
  ["out of a branch", [either([W()], [r()]), R()]],
  ["into a branch", [W(), either([r()], [R()])]],
  ["an atomic behind a read", [R(), A()]],
  ["a copy that was not waited for", [C(), { kind: "Barrier" }, R(), { kind: "Call", instruction: "cpAsyncWaitAll", operands: [] }]],
  ["a wait without a barrier", [C(), { kind: "Call", instruction: "cpAsyncWaitAll", operands: [] }, R()]],
  ["a copy at the end", [C()]],
  ["in one statement", [{ kind: "StoreShared", buffer: "a", index: thread, values: [read("a")] }]],
  ["through an output", [puts, gets]],
])("the verifier refuses %s", (_, body) => {
  expect(() => verifyLoop(kernel(body), cuda, "insertBarriers")).toThrow(/after insertBarriers: .*(is under way|have arrived)/);
});
