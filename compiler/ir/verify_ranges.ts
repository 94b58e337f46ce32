/**
 * Indices of registers are constants once loops are unrolled, and inside their array. Indices of shared memory, and unguarded ones of
 * params of fixed size, are inside wherever their bounds are known: for all threads at once or, where that is too coarse, for each one. Copies
 * of 16 bytes start at multiples of them.
 */
import { byteSize } from "../../dsl/dtype.ts";
import { childrenOf, type BinaryOp, type Expr } from "./expr.ts";
import { RUN_COPY } from "./instruction.ts";
import { anything, intervalOf, isBounded, isEmpty, meet, type Interval } from "./interval.ts";
import { bodiesOf, expressionsOf, type LoopKernel, type LoopStmt } from "./loop.ts";
import type { Fail } from "./verify_loop.ts";

/** What is known of a scalar: its bounds, by value or by loop, and those that the conditions around give it. */
interface Binding {
  readonly value: Expr | Interval;
  readonly within: Interval;
  /** A constant once loops are unrolled. */
  readonly constant: boolean;
  /** Of a loop's index: its largest known divisor. */
  readonly multiple?: number;
  /** The indices of an unrolled loop. */
  readonly each?: readonly number[];
}
type Call = Extract<LoopStmt, { kind: "Call" }>;

interface Scope {
  readonly bindings: ReadonlyMap<string, Binding>;
  /** Registers of each array. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly thread: Interval;
  /** Conditions of the branches around. */
  readonly conditions: readonly Expr[];
}

export function verifyRanges(kernel: LoopKernel, fail: Fail): void {
  const elements = new Map(kernel.shared.map((b) => [b.name, b.elements]));
  const bytesOf = new Map(kernel.shared.map((b) => [b.name, byteSize(b.dtype)]));
  const assigned = assignments(kernel.body);
  /** Elements that a call fills or reads from an address in a shared buffer on, as far as name and operands say. */
  const span = (s: Call, buffer: string): number =>
    Math.max(s.instruction === RUN_COPY.instruction ? RUN_COPY.bytes / bytesOf.get(buffer)! : 1, ...s.operands.map((o) => (o.kind === "TensorMap" ? kernel.tensorMaps.find((m) => m.name === o.map)!.box.reduce((n, b) => n * b, 1) : 1)));

  function walk(list: readonly LoopStmt[], outer: Scope): void {
    let scope = outer;
    const bind = (name: string, value: Expr | Interval, constant: boolean): void => {
      scope = { ...scope, bindings: new Map(scope.bindings).set(name, { value, within: anything, constant }) };
    };
    for (const s of list) {
      check(s, scope);
      if (s.kind === "Array") scope = { ...scope, sizes: new Map(scope.sizes).set(s.name, s.size) };
      if (s.kind === "Let" || s.kind === "Uniform") bind(s.name, s.value, isConstant(s.value, scope));
      if (s.kind === "Variable") bind(s.name, staysPositive(s, assigned.get(s.name) ?? []) ? { lo: 0, hi: Infinity } : anything, false);
      if (s.kind === "Atomic" && s.old !== undefined) bind(s.old, anything, false);
      if (s.kind === "If") {
        walk(s.then, under(s.cond, scope));
        walk(s.otherwise, scope);
      }
      if (s.kind === "While") walk(s.body, scope); // the body may change what the condition says
      if (s.kind === "Roles") for (const r of s.roles) walk(r.body, { ...scope, thread: { lo: r.firstWarp * 32, hi: (r.firstWarp + r.warps) * 32 - 1 } });
      if (s.kind === "For") {
        const [lo, hi] = [bounds(s.lo, scope), bounds(s.hi, scope)];
        const last = s.unroll ? lo.lo + Math.floor((hi.hi - 1 - lo.lo) / s.step) * s.step : hi.hi - 1;
        const each = s.unroll ? Array.from({ length: (last - lo.lo) / s.step + 1 }, (_, i) => lo.lo + i * s.step) : undefined;
        const index = { value: { lo: lo.lo, hi: last }, within: anything, constant: s.unroll, ...(each && { each }), multiple: gcd(multipleOf(s.lo, scope), s.step) };
        walk(s.body, { ...scope, bindings: new Map(scope.bindings).set(s.name, index) });
      }
    }
  }

  function check(s: LoopStmt, scope: Scope): void {
    const registers = (array: string, index: Expr, count = 1): void => {
      if (!isConstant(index, scope)) fail(s, `an index of the registers ${array} is no constant`);
      const { lo, hi } = bounds(index, scope);
      const size = scope.sizes.get(array)!;
      if (lo < 0 || hi + count > size) fail(s, `it uses registers ${lo} to ${hi + count - 1} of the ${size} of ${array}`);
    };
    const shared = (buffer: string, index: Expr, count = 1): void => {
      if (escapes(index, { lo: 0, hi: elements.get(buffer)! - count }, scope)) fail(s, `it leaves the ${elements.get(buffer)} elements of ${buffer}`);
    };
    const global = (param: string, field: string, coords: readonly Expr[], fixed: number): void => {
      const p = kernel.params.find((x) => x.name === param)!;
      const axes = [...p.axes, ...p.fields.find((f) => f.name === field)!.axes];
      coords.slice(0, fixed).forEach((c, i) => {
        const { size, axis } = axes[i]!;
        if (typeof size === "number" && escapes(c, { lo: 0, hi: size - 1 }, scope)) fail(s, `it leaves the ${size} positions of ${param} along ${axis}`);
      });
    };
    const slot = (barrier: string, index: Expr): void => {
      const { slots } = kernel.barriers.find((b) => b.name === barrier)!;
      if (escapes(index, { lo: 0, hi: slots - 1 }, scope)) fail(s, `it leaves the ${slots} slots of ${barrier}`);
    };
    const visit = (e: Expr): void => {
      if (e.kind === "Reg") registers(e.array, e.index);
      if (e.kind === "Shared") shared(e.buffer, e.index);
      if (e.kind === "GlobalElement" && !e.guard) global(e.param, e.field, e.coords, e.coords.length);
      childrenOf(e).forEach(visit);
    };
    for (const e of expressionsOf(s)) if (e) visit(e);
    if (s.kind === "SetRegister") registers(s.array, s.index);
    if (s.kind === "StoreShared") shared(s.buffer, s.index, s.values.length);
    if (s.kind === "Atomic") shared(s.buffer, s.index);
    if (s.kind === "LoadGlobal") registers(s.array, s.index, s.count);
    if ((s.kind === "LoadGlobal" || s.kind === "StoreGlobal") && !s.guard) global(s.param, s.field, s.coords, s.coords.length - (s.limit ? 1 : 0));
    if (s.kind !== "Call") return;
    for (const o of s.operands) {
      if (o.kind === "Registers") registers(o.array, o.index, o.count);
      if (o.kind === "SharedAddress" || o.kind === "LeaderAddress") shared(o.buffer, o.index, span(s, o.buffer));
      if (o.kind === "Matrix") {
        shared(o.buffer, o.index);
        if ((multipleOf(o.index, scope) * bytesOf.get(o.buffer)!) % 16 !== 0) fail(s, `a matrix in ${o.buffer} may start off a multiple of 16 bytes`);
      }
      if (o.kind === "Barrier") slot(o.barrier, o.slot);
    }
    if (s.instruction === RUN_COPY.instruction) run(s, scope);
  }

  /** A copy of 16 bytes starts at a multiple of them on both sides, and stays in its row. Strides that a launch gives are its to check. */
  function run(s: Call, scope: Scope): void {
    for (const o of s.operands) {
      if (o.kind === "SharedAddress" && (kernel.shared.find((b) => b.name === o.buffer)!.offset % RUN_COPY.bytes !== 0 || (multipleOf(o.index, scope) * bytesOf.get(o.buffer)!) % RUN_COPY.bytes !== 0))
        fail(s, `a copy to ${o.buffer} may start off a multiple of 16 bytes`);
      if (o.kind !== "GlobalAddress") continue;
      const param = kernel.params.find((p) => p.name === o.param)!;
      const field = param.fields.find((f) => f.name === o.field)!;
      const axes = [...param.axes, ...field.axes];
      if (field.offset % RUN_COPY.bytes !== 0 || axes.some(({ stride }, i) => typeof stride === "number" && (multipleOf(o.coords[i]!, scope) * stride) % RUN_COPY.bytes !== 0)) fail(s, `a copy from ${o.param} may start off a multiple of 16 bytes`);
      const { size, axis } = axes.at(-1)!;
      const elements = RUN_COPY.bytes / byteSize(field.dtype);
      if (typeof size === "number" && size % elements !== 0 && escapes(o.coords.at(-1)!, { lo: 0, hi: size - elements }, scope)) fail(s, `a copy of 16 bytes leaves the ${size} positions of ${o.param} along ${axis}`);
    }
  }

  /** Whether some thread is known to come here, in some turn of the unrolled loops, with an index outside. */
  function escapes(index: Expr, inside: Interval, scope: Scope): boolean {
    const outside = ({ lo, hi }: Interval): boolean => lo < inside.lo || hi > inside.hi;
    const whole = bounds(index, scope);
    if (!outside(whole) || !isBounded(whole)) return false;
    const { lo: first, hi: last } = scope.thread;
    const threads = Array.from({ length: last - first + 1 }, (_, t) => ({ ...scope, thread: { lo: first + t, hi: first + t } }));
    return turnsOf(scope, [index, ...scope.conditions]).some((bindings) =>
      threads.some((thread) => {
        const one = { ...thread, bindings };
        return one.conditions.every((c) => bounds(c, one).hi !== 0) && outside(bounds(index, one));
      }),
    );
  }

  const size: Binding = { value: { lo: 0, hi: Infinity }, within: anything, constant: false, multiple: 1 };
  walk(kernel.body, { bindings: new Map(kernel.dims.map((d) => [d.name, size])), sizes: new Map(), thread: { lo: 0, hi: kernel.threads - 1 }, conditions: [] });
}

/** What is assigned to each variable, by name. */
function assignments(list: readonly LoopStmt[], found = new Map<string, Expr[]>()): ReadonlyMap<string, readonly Expr[]> {
  for (const s of list) {
    if (s.kind === "Assign") found.set(s.name, [...(found.get(s.name) ?? []), s.value]);
    for (const body of bodiesOf(s)) assignments(body, found);
  }
  return found;
}

/** Whether a variable starts at 0 or above and every assignment keeps it there, whatever other variables hold. */
function staysPositive({ name, init }: Extract<LoopStmt, { kind: "Variable" }>, values: readonly Expr[]): boolean {
  const leaf = (e: Expr): Interval => ((e.kind === "Var" && e.name === name) || e.kind === "ThreadIndex" || e.kind === "BlockIndex" || e.kind === "BlockCount" ? { lo: 0, hi: Infinity } : anything);
  return [init, ...values].every((v) => intervalOf(v, leaf).lo >= 0);
}

/** The bindings in each turn of the unrolled loops whose indices the expressions name. */
function turnsOf({ bindings }: Scope, expressions: readonly Expr[]): ReadonlyMap<string, Binding>[] {
  const named = new Set<string>();
  const visit = (e: Expr): void => {
    if (e.kind === "Var" && !named.has(e.name)) {
      named.add(e.name);
      const value = bindings.get(e.name)?.value;
      if (value && "kind" in value) visit(value);
    }
    childrenOf(e).forEach(visit);
  };
  expressions.forEach(visit);
  let turns: ReadonlyMap<string, Binding>[] = [bindings];
  for (const [name, binding] of bindings) {
    if (!binding.each || !named.has(name)) continue;
    turns = turns.flatMap((turn) => binding.each!.map((at) => new Map(turn).set(name, { ...binding, value: { lo: at, hi: at } })));
  }
  return turns;
}

function bounds(e: Expr, scope: Scope): Interval {
  const known = new Map<string, Interval>();
  const leaf = (x: Expr): Interval => {
    if (x.kind === "ThreadIndex") return scope.thread;
    if (x.kind === "WarpIndex") return { lo: Math.floor(scope.thread.lo / 32), hi: Math.floor(scope.thread.hi / 32) };
    if (x.kind === "BlockIndex") return { lo: 0, hi: Infinity };
    if (x.kind === "BlockCount") return { lo: 1, hi: Infinity };
    const binding = x.kind === "Var" ? scope.bindings.get(x.name) : undefined;
    if (x.kind !== "Var" || !binding) return anything;
    const value = known.get(x.name) ?? ("kind" in binding.value ? intervalOf(binding.value, leaf) : binding.value);
    known.set(x.name, value);
    const narrowed = meet(value, binding.within);
    return isEmpty(narrowed) ? value : narrowed;
  };
  return intervalOf(e, leaf);
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** The largest known divisor of an integer; 0 for 0, and for variables, which are not followed. */
function multipleOf(e: Expr, scope: Scope): number {
  const go = (x: Expr): number => multipleOf(x, scope);
  switch (e.kind) {
    case "Const":
      return Math.abs(e.value);
    case "Var": {
      const binding = scope.bindings.get(e.name);
      if (!binding) return 1;
      return binding.multiple ?? ("kind" in binding.value ? go(binding.value) : 0);
    }
    case "Binary":
      if (e.op === "+" || e.op === "-" || e.op === "%") return gcd(go(e.a), go(e.b));
      if (e.op === "*") return go(e.a) * go(e.b);
      return e.op === "<<" && e.b.kind === "Const" ? go(e.a) * 2 ** e.b.value : 1;
    case "Select":
      return gcd(go(e.then), go(e.otherwise));
    case "Convert":
      return go(e.a);
    default:
      return 1;
  }
}

const isConstant = (e: Expr, scope: Scope): boolean =>
  e.kind === "Const" || (e.kind === "Var" && (scope.bindings.get(e.name)?.constant ?? false)) || (childrenOf(e).length > 0 && e.kind !== "Reg" && e.kind !== "Shared" && e.kind !== "GlobalElement" && childrenOf(e).every((x) => isConstant(x, scope)));

/** The scope where a condition holds: comparisons of a name narrow it. */
function under(cond: Expr, scope: Scope): Scope {
  const bindings = new Map(scope.bindings);
  const narrow = (e: Expr): void => {
    if (e.kind !== "Binary") return;
    if (e.op === "&&") [e.a, e.b].forEach(narrow);
    const binding = e.a.kind === "Var" ? bindings.get(e.a.name) : undefined;
    if (e.a.kind === "Var" && binding) bindings.set(e.a.name, { ...binding, within: meet(binding.within, side(e.op, bounds(e.b, scope))) });
  };
  narrow(cond);
  return { ...scope, bindings, conditions: [...scope.conditions, cond] };
}

/** Values x with `x op y` for some y in the interval. */
function side(op: BinaryOp, y: Interval): Interval {
  switch (op) {
    case "<":
      return { lo: -Infinity, hi: y.hi - 1 };
    case "<=":
      return { lo: -Infinity, hi: y.hi };
    case ">":
      return { lo: y.lo + 1, hi: Infinity };
    case ">=":
      return { lo: y.lo, hi: Infinity };
    case "==":
      return y;
    default:
      return anything;
  }
}
