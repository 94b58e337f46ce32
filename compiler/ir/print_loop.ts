/** Loop IR as text: the program of one thread as compact pseudo-code, one statement a line. */
import { byteSize } from "../../dsl/dtype.ts";
import type { Expr } from "./expr.ts";
import type { LoopBarrier, LoopKernel, LoopPipe, LoopRole, LoopStmt, Operand, SharedBuffer } from "./loop.ts";
import type { TensorMap } from "./manifest.ts";
import { printExpr, printHost, printInterface, printLoc } from "./print_tile.ts";

/** Source lines stand before the statements that come from them. */
export function printLoop(kernel: LoopKernel): string {
  const lines = [
    `loop ${kernel.name}, ${printHost(kernel.blocks)} blocks of ${kernel.threads} threads${kernel.cluster ? ` in clusters of ${kernel.cluster}` : ""}  // ${kernel.loc.file}:${kernel.loc.line}`,
    ...printInterface(kernel),
    ...section("tensor maps", kernel.tensorMaps.map(printMap)),
    ...section(`shared, ${kernel.sharedBytes} bytes`, kernel.shared.map(printBuffer)),
    ...section("barriers", kernel.barriers.map(printBarrier)),
    ...section("pipes", kernel.pipes.map(printPipe)),
    ...kernel.body.flatMap((s) => printStmt(s, "  ", kernel.loc.file)),
  ];
  return `${lines.join("\n")}\n`;
}

const section = (title: string, lines: readonly string[]): readonly string[] => (lines.length > 0 ? [`  ${title}`, ...lines] : []);

const printMap = (m: TensorMap): string =>
  `    ${m.name}: ${m.param} + ${m.offset} bytes, ${m.dtype}[${m.sizes.map(printHost).join(", ")}], strides (${m.strides.map(printHost).join(", ")}), box ${m.box.join(" x ")}, swizzle ${m.swizzle}`;

const printBarrier = (b: LoopBarrier): string => `    at ${b.offset}: ${b.name} x ${b.slots}, ${b.arrivals} arrivals  (${b.note})`;

const printPipe = (p: LoopPipe): string =>
  `    ${p.name}: ${p.depth} slots of ${p.buffers.map((b) => `${b.buffer}[${b.elements}]`).join(", ")}, full ${p.full}${p.made === undefined ? "" : `, made ${p.made}`}, empty ${p.empty}`;

const printRole = (r: LoopRole): string =>
  `role ${r.name}, warps ${r.firstWarp} to ${r.firstWarp + r.warps - 1}${r.registers === undefined ? "" : `, ${r.registers} registers`}`;

const printBuffer = (b: SharedBuffer): string => `    at ${b.offset}: ${b.name}, ${b.dtype} x ${b.elements}, ${b.elements * byteSize(b.dtype)} bytes  (${b.note})`;

/** `count` elements from `index` on. */
const printRange = (name: string, index: Expr, count: number): string => (count === 1 ? `${name}[${printExpr(index)}]` : `${name}[${printExpr(index)} +${count}]`);

const printGlobal = (param: string, field: string, coords: readonly Expr[], count = 1): string =>
  `${param}${field === "" ? "" : `.${field}`}[${coords.map(printExpr).join(", ")}${count === 1 ? "" : ` +${count}`}]`;

const printConditions = (s: Extract<LoopStmt, { kind: "LoadGlobal" | "StoreGlobal" }>): string =>
  `${s.guard ? ` if ${printExpr(s.guard)}` : ""}${s.limit ? ` first ${printExpr(s.limit)}` : ""}${s.aligned ? "" : " unaligned"}`;

function printOperand(o: Operand): string {
  switch (o.kind) {
    case "Value":
      return printExpr(o.value);
    case "Registers":
      return printRange(o.array, o.index, o.count);
    case "SharedAddress":
      return `&${o.buffer}[${printExpr(o.index)}]`;
    case "LeaderAddress":
      return `&leader.${o.buffer}[${printExpr(o.index)}]`;
    case "GlobalAddress":
      return `&${printGlobal(o.param, o.field, o.coords)}`;
    case "Barrier":
      return `${o.barrier}[${printExpr(o.slot)}]`;
    case "TensorMap":
      return o.map;
    case "Matrix":
      return `${o.buffer}[${printExpr(o.index)}] as ${o.major}-major matrix, swizzle ${o.swizzle}, stride ${o.stride}, leading ${o.leading}`;
  }
}

/** The first line of a statement, for messages. */
export const printLoopStmt = (s: LoopStmt): string => printStmt(s, "", "")[0] ?? s.kind;

/** `file` is the kernel's. */
function printStmt(s: LoopStmt, indent: string, file: string): readonly string[] {
  const line = (text: string): string => indent + text;
  const block = (body: readonly LoopStmt[]): readonly string[] => body.flatMap((b) => printStmt(b, `${indent}  `, file));
  switch (s.kind) {
    case "Let":
    case "Uniform":
      return [line(`${s.kind.toLowerCase()} ${s.name}: ${s.value.type} = ${printExpr(s.value)}`)];
    case "Variable":
      return [line(`variable ${s.name}: ${s.type} = ${printExpr(s.init)}`)];
    case "Array":
      return [line(`registers ${s.name}: ${s.type} x ${s.size}`)];
    case "Cursor":
      return [line(`cursor ${s.name} at ${printGlobal(s.param, s.field, s.coords)}`)];
    case "Advance":
      return [line(`advance ${s.cursor} by ${printExpr(s.by)}`)];
    case "Assign":
      return [line(`${s.name} = ${printExpr(s.value)}`)];
    case "SetRegister":
      return [line(`${s.array}[${printExpr(s.index)}] = ${printExpr(s.value)}`)];
    case "For":
      return [line(`for ${s.name} = ${printExpr(s.lo)} to ${printExpr(s.hi)} step ${s.step}${s.unroll ? " unrolled" : ""}`), ...block(s.body)];
    case "While":
      return [line(`while ${printExpr(s.cond)}`), ...block(s.body)];
    case "If":
      return [line(`if ${s.uniform ? "uniform " : ""}${printExpr(s.cond)}`), ...block(s.then), ...(s.otherwise.length > 0 ? [line("else"), ...block(s.otherwise)] : [])];
    case "LoadGlobal":
      return [line(`${printRange(s.array, s.index, s.count)} = load ${printGlobal(s.param, s.field, s.coords, s.count)}${printConditions(s)} else ${printExpr(s.fill)}${s.once ? ", once" : ""}`)];
    case "StoreGlobal":
      return [line(`store ${printGlobal(s.param, s.field, s.coords, s.values.length)} = ${s.values.map(printExpr).join(", ")}${printConditions(s)}${s.at ? ` at ${s.at.cursor} + ${s.at.offset}` : ""}`)];
    case "StoreShared":
      return [line(`${printRange(s.buffer, s.index, s.values.length)} = ${s.values.map(printExpr).join(", ")}`)];
    case "Atomic":
      return [line(`atomic ${s.old === undefined ? "" : `${s.old} = `}${s.buffer}[${printExpr(s.index)}] ${s.fn === "add" ? "+=" : "|="} ${printExpr(s.value)}`)];
    case "Barrier":
      return [line("barrier")];
    case "Exit":
      return [line("exit")];
    case "Roles":
      return s.roles.flatMap((r) => [line(printRole(r)), ...block(r.body)]);
    case "Call":
      return [line(`${s.instruction}(${s.operands.map(printOperand).join(", ")})`)];
    case "Source":
      return [line(`// ${printLoc(s.loc, file)}`)];
    case "Comment":
      return [line(`// ${s.text}`)];
  }
}
