/**
 * What must hold of a program of one thread: one rule a node kind for names, types and memory; control flow, ranges, barriers
 * and hardware have files of their own.
 */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import type { Target } from "../target.ts";
import { visitExpr, type Expr, type ScalarType } from "./expr.ts";
import { bodiesOf, expressionsOf, type LoopKernel, type LoopStmt, type Operand, type SharedBuffer } from "./loop.ts";
import { computeType } from "./plan.ts";
import { printLoopStmt } from "./print_loop.ts";
import type { Loc } from "./tile.ts";
import { verifyBarriers } from "./verify_barriers.ts";
import { complaintOfCluster, verifyClusters } from "./verify_clusters.ts";
import { VerifyError } from "./verify_error.ts";
import { complaintOf } from "./verify_expr.ts";
import { complaintOfHardware, verifyHardware } from "./verify_hardware.ts";
import { verifyRanges } from "./verify_ranges.ts";
import { verifyUniformity } from "./verify_uniformity.ts";

type Verdict = string | undefined;
const unless = (holds: boolean, complaint: string): Verdict => (holds ? undefined : complaint);
const all = (...verdicts: readonly Verdict[]): Verdict => verdicts.find((v) => v !== undefined);

interface Name {
  readonly kind: "immutable" | "variable" | "array" | "cursor";
  readonly type: ScalarType;
}
/** Names in reach, and those of the innermost scope. */
interface Scope {
  readonly names: Map<string, Name>;
  readonly own: Set<string>;
}

interface Context {
  readonly kernel: LoopKernel;
  readonly target: Target;
  readonly scope: Scope;
}

/** How the rules report; `at` is the statement. */
export type Fail = (at: LoopStmt, complaint: string) => never;

/** Throws a VerifyError that names the pass if the program breaks a rule. */
export function verifyLoop(kernel: LoopKernel, target: Target, pass: string): void {
  const places = sourcePlaces(kernel);
  const fail: Fail = (at, complaint) => {
    const loc = places.get(at) ?? kernel.loc;
    throw new VerifyError(pass, `${loc.file}:${loc.line} "${printLoopStmt(at)}"`, complaint);
  };
  const memory = all(memoryRule(kernel, target), complaintOfHardware(kernel), complaintOfCluster(kernel));
  if (memory !== undefined) throw new VerifyError(pass, kernel.name, memory);

  function check(list: readonly LoopStmt[], outer: ReadonlyMap<string, Name>): void {
    const scope: Scope = { names: new Map(outer), own: new Set() };
    const context = { kernel, target, scope };
    for (const s of list) {
      const rule = rules[s.kind] as (s: LoopStmt, c: Context) => Verdict;
      const verdict = all(...expressionsOf(s).map((e) => e && expressionRule(e, context)), rule(s, context));
      if (verdict !== undefined) fail(s, verdict);
      const inner = s.kind === "For" ? new Map(scope.names).set(s.name, { kind: "immutable", type: "i32" } as const) : scope.names;
      for (const body of bodiesOf(s)) check(body, inner);
      declare(s, scope);
    }
  }
  check(kernel.body, new Map(kernel.dims.map((d) => [d.name, { kind: "immutable", type: "i32" }])));
  verifyHardware(kernel, target.instructions, fail);
  verifyUniformity(kernel, target.instructions, fail);
  verifyClusters(kernel, target.instructions, fail);
  verifyRanges(kernel, fail);
  verifyBarriers(kernel, target.instructions, fail);
}

function declare(s: LoopStmt, { names, own }: Scope): void {
  if (s.kind === "Let" || s.kind === "Uniform") names.set(s.name, { kind: "immutable", type: s.value.type });
  if (s.kind === "Variable") names.set(s.name, { kind: "variable", type: s.type });
  if (s.kind === "Array") names.set(s.name, { kind: "array", type: s.type });
  if (s.kind === "Cursor") names.set(s.name, { kind: "cursor", type: "i32" });
  if (s.kind === "Let" || s.kind === "Uniform" || s.kind === "Variable" || s.kind === "Array" || s.kind === "Cursor") own.add(s.name);
  if (s.kind === "Atomic" && s.old !== undefined) {
    names.set(s.old, { kind: "immutable", type: s.value.type });
    own.add(s.old);
  }
}

const none = (): Verdict => undefined;

/** Expressions are well typed before these are asked. */
const rules: { readonly [K in LoopStmt["kind"]]: (s: Extract<LoopStmt, { kind: K }>, c: Context) => Verdict } = {
  Let: (s, c) => isNew(s.name, c),
  Uniform: (s, c) => isNew(s.name, c),
  Variable: (s, c) => all(isNew(s.name, c), unless(s.init.type === s.type, `it starts as ${s.init.type}`)),
  Array: (s, c) => all(isNew(s.name, c), unless(Number.isInteger(s.size) && s.size > 0, `${s.size} registers`)),
  Cursor: (s, c) => all(isNew(s.name, c), elementDtype(s, c) === undefined ? "there is no such element" : undefined),
  Advance: (s, c) => is(c.scope.names.get(s.cursor), "cursor", s.by.type, s.cursor),
  Assign: (s, c) => is(c.scope.names.get(s.name), "variable", s.value.type, s.name),
  SetRegister: (s, c) => all(is(c.scope.names.get(s.array), "array", s.value.type, s.array), unless(s.index.type === "i32", "its index is no i32")),
  For: (s) =>
    all(
      unless(s.lo.type === "i32" && s.hi.type === "i32" && Number.isInteger(s.step) && s.step > 0, "its bounds are no i32, or its step is not positive"),
      unless(!s.unroll || (s.lo.kind === "Const" && s.hi.kind === "Const"), "it is unrolled without constant bounds"),
    ),
  While: (s) => unless(s.cond.type === "bool", `its condition is ${s.cond.type}`),
  If: (s) => unless(s.cond.type === "bool", `its condition is ${s.cond.type}`),
  LoadGlobal: (s, c) => {
    const dtype = elementDtype(s, c);
    return dtype === undefined ? "there is no such element" : all(is(c.scope.names.get(s.array), "array", computeType(dtype), s.array), unless(s.fill.type === computeType(dtype), `it fills with ${s.fill.type}`), conditionRule(s));
  },
  StoreGlobal: (s, c) => {
    const dtype = elementDtype(s, c);
    const writable = c.kernel.params.some((p) => p.name === s.param && p.access !== "in");
    return dtype === undefined
      ? "there is no such element"
      : all(unless(writable, `${s.param} is an input`), unless(s.values.length > 0 && s.values.every((v) => v.type === computeType(dtype)), `its values are not all ${computeType(dtype)}`), conditionRule(s));
  },
  StoreShared: (s, c) => {
    const buffer = bufferOf(s.buffer, c);
    if (!buffer) return `there is no buffer ${s.buffer}`;
    return all(
      unless(s.index.type === "i32", "its index is no i32"),
      unless(s.values.length > 0 && s.values.every((v) => v.type === computeType(buffer.dtype)), `its values are not all ${computeType(buffer.dtype)}`),
      unless((s.values.length * byteSize(buffer.dtype)) % 4 === 0, `${s.values.length} elements of ${buffer.dtype} fill no whole word`),
    );
  },
  Atomic: (s, c) => {
    const dtype = bufferOf(s.buffer, c)?.dtype;
    const whole = unless((dtype === "i32" || dtype === "u32") && s.value.type === dtype && s.index.type === "i32", "only whole numbers change atomically");
    return all(whole, s.old === undefined ? undefined : isNew(s.old, c));
  },
  Barrier: none,
  Exit: none,
  Roles: none,
  Call: callRule,
  Source: none,
  Comment: none,
};

/** Once in a scope; inner scopes may use a name of outer ones anew. Params and buffers have names of their own. */
const isNew = (name: string, { scope }: Context): Verdict => unless(!scope.own.has(name), `${name} is declared twice`);

const is = (found: Name | undefined, kind: Name["kind"], type: ScalarType, name: string): Verdict =>
  all(unless(found?.kind === kind, `${name} is no ${kind} here`), unless(found?.type === type, `${name} is ${found?.type}, not ${type}`));

const bufferOf = (name: string, { kernel }: Context): SharedBuffer | undefined => kernel.shared.find((b) => b.name === name);

/** The dtype of a field, if the coordinates fit its axes. */
function elementDtype(at: { readonly param: string; readonly field: string; readonly coords: readonly Expr[] }, { kernel }: Context): DType | undefined {
  const param = kernel.params.find((p) => p.name === at.param);
  const field = param?.fields.find((f) => f.name === at.field);
  const fits = param && field && at.coords.length === param.axes.length + field.axes.length && at.coords.every((c) => c.type === "i32");
  return fits ? field.dtype : undefined;
}

const conditionRule = (s: Extract<LoopStmt, { kind: "LoadGlobal" | "StoreGlobal" }>): Verdict =>
  unless((s.guard?.type ?? "bool") === "bool" && (s.limit?.type ?? "i32") === "i32", "its guard is no bool, or its limit no i32");

function callRule(s: Extract<LoopStmt, { kind: "Call" }>, c: Context): Verdict {
  const record = c.target.instructions.get(s.instruction);
  if (!record) return `${c.target.name} has no instruction ${s.instruction}`;
  const shape = (o: Operand): string => (o.kind === "Registers" ? `${o.count} registers` : o.kind);
  const [found, wanted] = [s.operands.map(shape).join(", "), record.operands.map((o) => (typeof o === "number" ? `${o} registers` : o)).join(", ")];
  return all(unless(found === wanted, `${s.instruction} takes (${wanted}), not (${found})`), ...s.operands.map((o) => operandRule(o, c)));
}

function operandRule(o: Operand, c: Context): Verdict {
  switch (o.kind) {
    case "Value":
      return undefined;
    case "Registers":
      return all(unless(c.scope.names.get(o.array)?.kind === "array", `${o.array} is no array here`), unless(o.index.type === "i32", "an index is no i32"));
    case "SharedAddress":
    case "LeaderAddress":
      return all(unless(bufferOf(o.buffer, c) !== undefined, `there is no buffer ${o.buffer}`), unless(o.index.type === "i32", "an index is no i32"));
    case "GlobalAddress":
      return unless(elementDtype(o, c) !== undefined, `there is no such element of ${o.param}`);
    case "Barrier":
      return all(unless(c.kernel.barriers.some((b) => b.name === o.barrier), `there is no barrier ${o.barrier}`), unless(o.slot.type === "i32", "a slot is no i32"));
    case "TensorMap":
      return unless(c.kernel.tensorMaps.some((m) => m.name === o.map), `there is no tensor map ${o.map}`);
    case "Matrix":
      return all(unless(bufferOf(o.buffer, c) !== undefined, `there is no buffer ${o.buffer}`), unless(o.index.type === "i32", "an index is no i32"));
  }
}

/** Typing rules of expressions, and what they read from. */
function expressionRule(root: Expr, c: Context): Verdict {
  let complaint = complaintOf(root, (name) => (c.scope.names.get(name)?.kind === "array" ? undefined : c.scope.names.get(name)?.type));
  visitExpr(root, (e) => {
    complaint ??= memoryReadRule(e, c);
  });
  return complaint;
}

function memoryReadRule(e: Expr, c: Context): Verdict {
  switch (e.kind) {
    case "Reg":
      return is(c.scope.names.get(e.array), "array", e.type, e.array);
    case "Shared": {
      const buffer = bufferOf(e.buffer, c);
      return all(unless(buffer !== undefined, `there is no buffer ${e.buffer}`), unless(buffer !== undefined && computeType(buffer.dtype) === e.type, `${e.buffer} is read as ${e.type}`));
    }
    case "GlobalElement": {
      const dtype = elementDtype(e, c);
      return all(unless(dtype !== undefined && computeType(dtype) === e.type, `there is no such ${e.type} in ${e.param}`), unless(!e.guard === !e.fill, "a guard without a fill"));
    }
    default:
      return undefined;
  }
}

/** Buffers lie behind each other and fit. */
function memoryRule(kernel: LoopKernel, { machine }: Target): Verdict {
  const sorted = [...kernel.shared].sort((a, b) => a.offset - b.offset);
  const end = (b: SharedBuffer): number => b.offset + b.elements * byteSize(b.dtype);
  return all(
    ...sorted.map((b) => unless(b.offset % 16 === 0, `${b.name} lies at byte ${b.offset}`)),
    ...sorted.slice(1).map((b, i) => unless(end(sorted[i]!) <= b.offset, `${b.name} overlaps ${sorted[i]!.name}`)),
    ...sorted.map((b) => unless(end(b) <= kernel.sharedBytes, `${b.name} ends at byte ${end(b)} of ${kernel.sharedBytes}`)),
    unless(new Set(sorted.map((b) => b.name)).size === sorted.length, "two buffers have one name"),
    unless(kernel.sharedBytes <= machine.maxSharedBytes, `${kernel.sharedBytes} bytes of shared memory of ${machine.maxSharedBytes}`),
  );
}

/** The TypeScript line above each statement. */
function sourcePlaces(kernel: LoopKernel): ReadonlyMap<LoopStmt, Loc> {
  const places = new Map<LoopStmt, Loc>();
  let at = kernel.loc;
  const visit = (list: readonly LoopStmt[]): void => {
    for (const s of list) {
      if (s.kind === "Source") at = s.loc;
      places.set(s, at);
      bodiesOf(s).forEach(visit);
    }
  };
  visit(kernel.body);
  return places;
}
