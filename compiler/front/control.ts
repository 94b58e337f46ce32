/** Loops and branches that only the device can decide: For and If with the variables that they change. */
import { diagnostic, type Span } from "../diagnostics.ts";
import type { Expr, ScalarType } from "../ir/expr.ts";
import type { Carried, ScalarValue, TileStmt, TileValue } from "../ir/tile.ts";
import { locOf } from "./builder.ts";
import type { Evaluator } from "./evaluate.ts";
import { bind } from "./patterns.ts";
import { conditional, literalTo, toExpr } from "./scalar.ts";
import { type Binding, childOf, find, type Naming, type Scope } from "./scope.ts";
import { run } from "./statements.ts";
import type { Expression, Statement } from "./syntax.ts";
import { sameAxes } from "./tile_ops.ts";
import {
  type BlocksRef, describeTile, describeValue, isScalar, isTile, kind, type Leaf, leavesOf, replaceLeaves, scalarRef, sized, type TileRef,
  type Value,
} from "./value.ts";

const isNumber = (value: Value): boolean => typeof value === "number" || typeof value === "boolean" || isScalar(value);
const tileRef = (tile: TileValue): TileRef => ({ [kind]: "Tile", tile });
const variableOf = ({ name, type }: ScalarValue): Value => scalarRef({ kind: "Var", type, name });

/** Whether two values are known to be the same without running anything. */
function same(a: Value, b: Value): boolean {
  if (isTile(a) && isTile(b)) return a.tile === b.tile;
  if (!isScalar(a) || !isScalar(b)) return Object.is(a, b);
  const [x, y] = [a.expr, b.expr];
  if (x.kind === "Var" && y.kind === "Var") return x.name === y.name;
  return x === y || (x.kind === "Const" && y.kind === "Const" && x.type === y.type && Object.is(x.value, y.value));
}

// ---- Branches --------------------------------------------------------------------------------------------------------------------------

interface Way {
  readonly statements: readonly TileStmt[];
  readonly changed: ReadonlyMap<Binding, Value>;
  readonly result: Value;
}

const take = (ev: Evaluator, f: () => Value): Way => {
  const { result, statements } = ev.build.capture(() => ev.variables.undoing(f));
  return { statements, ...result };
};

/** `if` on a run-time condition. */
export function branch(ev: Evaluator, cond: Expr, s: Extract<Statement, { kind: "If" }>, scope: Scope): void {
  const then = take(ev, () => run(ev, s.then, childOf(scope)));
  const otherwise = take(ev, () => run(ev, s.otherwise, childOf(scope)));
  const join = joiner(ev, cond, then, otherwise, s.span);
  const joined = [...new Set([...then.changed.keys(), ...otherwise.changed.keys()])].map((binding): readonly [Binding, Value] => {
    const [a, b] = [then, otherwise].map((way) => (way.changed.has(binding) ? way.changed.get(binding) : binding.value));
    return [binding, ev.named(join.value(binding.label, a, b), binding.label, s.span)];
  });
  join.finish();
  for (const [binding, value] of joined) ev.variables.assign(binding, value);
}

/** `cond ? a : b` on a run-time condition. */
export function choose(ev: Evaluator, cond: Expr, e: Extract<Expression, { kind: "Conditional" }>, scope: Scope, naming: Naming): Value {
  const then = take(ev, () => ev.evaluate(e.then, scope, naming));
  const otherwise = take(ev, () => ev.evaluate(e.otherwise, scope, naming));
  const join = joiner(ev, cond, then, otherwise, e.span);
  const value = join.value(naming.base || "the result", then.result, otherwise.result);
  join.finish();
  return value;
}

interface Joiner {
  /** The value of `name` after both ways. */
  value(name: string, a: Value, b: Value): Value;
  /** Emits the If, once all values are joined. */
  finish(): void;
}

/** Joins what two ways leave behind: by Selects where they only compute numbers, else by an If. */
function joiner(ev: Evaluator, cond: Expr, then: Way, otherwise: Way, span: Span): Joiner {
  type If = Extract<TileStmt, { kind: "If" }>;
  const tiles: If["tiles"][number][] = [];
  const scalars: If["scalars"][number][] = [];
  const statements = { then: [...then.statements], otherwise: [...otherwise.statements] };
  const pure = [...then.statements, ...otherwise.statements];
  const silent = pure.every((s) => s.kind === "Let");
  if (silent) {
    for (const s of pure) ev.build.emit(s);
    statements.then = statements.otherwise = [];
  }

  const held = (side: "then" | "otherwise", expr: Expr, name: string): ScalarValue => {
    const { result, statements: added } = ev.build.capture(() => ev.build.hold(expr, name, span));
    statements[side].push(...added);
    return result;
  };
  const leaf = (name: string, a: Value, b: Value): Value => {
    if (same(a, b)) return a;
    if (isTile(a) && isTile(b)) {
      keepShape(ev, name, "branch", a.tile, b.tile, span);
      const result = ev.build.tile(name, a.tile.dtype, a.tile.axes, span);
      tiles.push({ result, then: a.tile, otherwise: b.tile });
      return tileRef(result);
    }
    if (!isNumber(a) || !isNumber(b)) throw diagnostic("E-SUBSET-10", span, { name, a: describeValue(a), b: describeValue(b), construct: "branch" });
    const chosen = conditional(cond, toExpr(a, span), toExpr(b, span), span);
    if (silent || chosen.kind !== "Select") return scalarRef(chosen);
    const parts = { then: held("then", chosen.then, name), otherwise: held("otherwise", chosen.otherwise, name) };
    const result = ev.build.scalar(name, chosen.type, span);
    scalars.push({ result, ...parts });
    return variableOf(result);
  };
  return {
    value: (name, a, b) => joinLeaves(name, a, b, span, leaf),
    finish() {
      if (silent && tiles.length === 0) return;
      ev.build.emit({ kind: "If", cond, ...statements, tiles, scalars, loc: locOf(span) });
    },
  };
}

/** Two values by Select, in scalar code. */
export function selectValue(name: string, cond: Expr, a: Value, b: Value, span: Span): Value {
  return joinLeaves(name, a, b, span, (leaf, x, y) => {
    if (same(x, y)) return x;
    if (!isNumber(x) || !isNumber(y)) {
      throw diagnostic("E-SUBSET-10", span, { name: leaf, a: describeValue(x), b: describeValue(y), construct: "condition" });
    }
    return scalarRef(conditional(cond, toExpr(x, span), toExpr(y, span), span));
  });
}

function joinLeaves(name: string, a: Value, b: Value, span: Span, leaf: (name: string, a: Value, b: Value) => Value): Value {
  const [as, bs] = [leavesOf(a), leavesOf(b)];
  if (as.map((l) => l.path).join() !== bs.map((l) => l.path).join()) {
    throw diagnostic("E-SUBSET-10", span, { name, a: describeValue(a), b: describeValue(b), construct: "branch" });
  }
  return replaceLeaves(a, new Map(as.map(({ path, value }, i) => [path, leaf(`${name}${path}`, value, bs[i]!.value)])));
}

/** A variable keeps its axes and its dtype. */
function keepShape(ev: Evaluator, name: string, construct: string, a: TileValue, b: TileValue, span: Span): void {
  const notes = [a, b].map((t) => ({ span: ev.build.spanOf(t), text: describeTile(t) }));
  if (a.dtype !== b.dtype) throw diagnostic("E-DTYPE-05", span, { name, construct, a: a.dtype, b: b.dtype }, notes);
  if (!sameAxes(a.axes, b.axes)) throw diagnostic("E-AXIS-12", span, { name, construct, a: sized(a.axes), b: sized(b.axes) }, notes);
}

// ---- Loops -----------------------------------------------------------------------------------------------------------------------------

/** One part of a variable that the loop's body may change. */
interface Slot {
  readonly binding: Binding;
  readonly path: string;
  readonly name: string;
  readonly init: Value;
}

/**
 * `for … of blocks(…)`. The body is read with all variables that it assigns as carried values; when it turns out that one never changes,
 * or that a number has another type than its first value suggested, it is read again.
 */
export function loop(ev: Evaluator, of: BlocksRef, s: Extract<Statement, { kind: "ForOf" }>, scope: Scope): void {
  let slots = slotsOf(s, scope);
  const types = new Map<Slot, ScalarType>();
  for (;;) {
    const mark = ev.build.mark();
    const { again, emit } = readLoop(ev, of, s, scope, slots, types);
    if (!again) return emit();
    mark.rewind();
    slots = again;
  }
}

function slotsOf(s: Extract<Statement, { kind: "ForOf" }>, scope: Scope): readonly Slot[] {
  const bindings = new Set([...assignedNames(s.body)].flatMap((name) => find(scope, name)?.binding ?? []));
  const ordered = [...bindings].sort((a, b) => a.id - b.id);
  return ordered.flatMap((binding) => {
    const parts = leavesOf(binding.value).filter(({ value }) => isTile(value) || isNumber(value));
    return parts.map(({ path, value }) => ({ binding, path, name: `${binding.label}${path}`, init: value }));
  });
}

function readLoop(
  ev: Evaluator, of: BlocksRef, s: Extract<Statement, { kind: "ForOf" }>, scope: Scope, slots: readonly Slot[], types: Map<Slot, ScalarType>,
): { readonly again?: readonly Slot[]; emit(): void } {
  const { build } = ev;
  const initial = (slot: Slot): Expr => {
    const e = toExpr(slot.init, slot.binding.span);
    return literalTo(types.get(slot) ?? e.type, e, slot.binding.span);
  };
  const held = build.capture(() => slots.map((slot) => (isTile(slot.init) ? undefined : build.hold(initial(slot), slot.name, slot.binding.span))));
  const params = slots.map((slot, i) =>
    isTile(slot.init)
      ? build.tile(slot.name, slot.init.tile.dtype, slot.init.tile.axes, build.spanOf(slot.init.tile))
      : build.scalar(slot.name, held.result[i]!.type, slot.binding.span),
  );
  const index = build.scalar(s.pattern.kind === "NamePattern" ? s.pattern.name : (of.axis ?? "i"), "i32", s.pattern.span);
  const position = variableOf(index);
  const inner = childOf(scope);

  const body = build.capture(() =>
    ev.variables.undoing(() => {
      writeSlots(ev, slots, params.map(refOfValue));
      bind(ev, s.pattern, of.axis === undefined ? position : { axis: of.axis, start: position, size: of.step }, inner, false);
      run(ev, s.body, childOf(inner));
      return slots.map((slot) => leavesOf(slot.binding.value).find((l) => l.path === slot.path)?.value);
    }),
  );
  const nexts = body.result.result;
  const unchanged = slots.filter((_, i) => same(nexts[i], refOfValue(params[i]!)));
  if (unchanged.length > 0) return { again: slots.filter((slot) => !unchanged.includes(slot)), emit: () => undefined };

  for (const [binding, after] of body.result.changed) checkCarried(binding, after, slots, s.span);

  const tiles: Carried<TileValue>[] = [];
  const scalars: Carried<ScalarValue>[] = [];
  const statements = [...body.statements];
  let retype = false;
  slots.forEach((slot, i) => {
    const param = params[i]!;
    const next = nexts[i];
    if (isTile(slot.init) && isTile(next) && "id" in param) {
      keepShape(ev, slot.name, "loop", slot.init.tile, next.tile, s.span);
      tiles.push({ param, init: slot.init.tile, next: next.tile, result: build.tile(slot.name, param.dtype, param.axes, build.spanOf(param)) });
    } else if ("name" in param) {
      const type = carriedType(slot, param.type, toExpr(next, s.span), s.span);
      if (type !== param.type) {
        types.set(slot, type);
        retype = true;
        return;
      }
      const { result, statements: added } = build.capture(() => build.hold(literalTo(type, toExpr(next, s.span), s.span), slot.name, s.span));
      statements.push(...added);
      scalars.push({ param, init: held.result[i]!, next: result, result: build.scalar(slot.name, type, slot.binding.span) });
    }
  });
  if (retype) return { again: slots, emit: () => undefined };
  return {
    emit() {
      for (const statement of held.statements) build.emit(statement);
      build.emit({ kind: "For", index, lo: of.lo, hi: of.hi, step: of.step, tiles, scalars, body: statements, loc: locOf(s.span) });
      const results = slots.map((_, i) => {
        const param = params[i]!;
        return refOfValue("id" in param ? tiles.find((c) => c.param === param)!.result : scalars.find((c) => c.param === param)!.result);
      });
      writeSlots(ev, slots, results);
    },
  };
}

/** A variable keeps its parts in a loop, and only tiles and numbers among them change. */
function checkCarried(binding: Binding, after: Value, slots: readonly Slot[], span: Span): void {
  const [as, bs] = [leavesOf(binding.value), leavesOf(after)];
  const fits = (a: Leaf, b: Leaf | undefined): boolean => {
    if (a.path !== b?.path) return false;
    if (!slots.some((slot) => slot.binding === binding && slot.path === a.path)) return same(a.value, b.value);
    return isTile(a.value) ? isTile(b.value) : isNumber(b.value);
  };
  const wrong = as.findIndex((a, i) => !fits(a, bs[i]));
  if (wrong < 0 && as.length === bs.length) return;
  const [a, b] = wrong < 0 ? [binding.value, after] : [as[wrong]?.value, bs[wrong]?.value];
  const details = { name: `${binding.label}${as[wrong]?.path ?? ""}`, a: describeValue(a), b: describeValue(b), construct: "number of iterations" };
  throw diagnostic("E-SUBSET-10", span, details, [{ span: binding.span, text: "declared here" }]);
}

const refOfValue = (value: TileValue | ScalarValue): Value => ("id" in value ? tileRef(value) : variableOf(value));

function writeSlots(ev: Evaluator, slots: readonly Slot[], values: readonly Value[]): void {
  for (const binding of new Set(slots.map((slot) => slot.binding))) {
    const by = new Map(slots.flatMap((slot, i): readonly (readonly [string, Value])[] => (slot.binding === binding ? [[slot.path, values[i]]] : [])));
    ev.variables.assign(binding, replaceLeaves(binding.value, by));
  }
}

/** The type of a carried number: that of its first value, unless that is a literal or the body makes an f32 of an integer. */
function carriedType(slot: Slot, now: ScalarType, next: Expr, span: Span): ScalarType {
  if (next.type === now || (next.kind === "Const" && now !== "bool" && next.type !== "f32")) return now;
  const literal = !isScalar(slot.init);
  if (next.type === "f32" || now === "f32") return "f32";
  if (literal || now === "bool") return next.type === "bool" ? now : next.type;
  const notes = [{ span: slot.binding.span, text: "declared here" }];
  throw diagnostic("E-DTYPE-05", span, { name: slot.name, construct: "loop", a: now, b: next.type }, notes);
}

/** Names that statements assign, nested functions aside. */
function assignedNames(statements: readonly Statement[], names = new Set<string>()): ReadonlySet<string> {
  for (const s of statements) {
    if (s.kind === "Assign") names.add(s.name);
    else if (s.kind === "If") assignedNames([...s.then, ...s.otherwise], names);
    else if (s.kind === "For") assignedNames([...s.update, ...s.body], names);
    else if (s.kind === "ForOf" || s.kind === "Block") assignedNames(s.body, names);
  }
  return names;
}
