/**
 * Addresses that follow a loop: a store whose last coordinate moves with the loop's index goes through a cursor that moves along, and its
 * bounds become a count of the positions that are left. Only inside roles, where every instruction beside the products costs their time.
 */
import { add, and, binary, childrenOf, int, select, sub, substitute, variable, type Expr } from "../ir/expr.ts";
import { bodiesOf, type LoopKernel, type LoopStmt } from "../ir/loop.ts";

type For = Extract<LoopStmt, { kind: "For" }>;
type Store = Extract<LoopStmt, { kind: "StoreGlobal" }>;

export function reduceStrength(kernel: LoopKernel): LoopKernel {
  const taken = new Set<string>([...kernel.params.map((p) => p.name), ...kernel.dims.map((d) => d.name), ...namesIn(kernel.body)]);
  const fresh = (wish: string): string => {
    let name = wish;
    for (let i = 2; taken.has(name); i++) name = `${wish}_${i}`;
    taken.add(name);
    return name;
  };

  const walk = (list: readonly LoopStmt[]): LoopStmt[] =>
    list.flatMap((s): LoopStmt[] => {
      if (s.kind === "If") return [{ ...s, then: walk(s.then), otherwise: walk(s.otherwise) }];
      if (s.kind === "While") return [{ ...s, body: walk(s.body) }];
      if (s.kind !== "For") return [s];
      return s.unroll ? [s] : followed({ ...s, body: walk(s.body) });
    });

  /** The loop with cursors for the stores of its own body. */
  function followed(loop: For): LoopStmt[] {
    const body = loop.body.flatMap(expand);
    const changing = new Set([loop.name, ...namesIn(body)]);
    const before: LoopStmt[] = [];
    const after: LoopStmt[] = [];
    const cursors = new Map<string, string>();
    const rooms = new Map<string, Expr>();

    const rewrite = (s: LoopStmt): LoopStmt => {
      if (s.kind === "If") return { ...s, then: s.then.map(rewrite), otherwise: s.otherwise.map(rewrite) };
      if (s.kind !== "StoreGlobal" || s.limit || s.values.length > 1 || s.at) return s;
      const last = follows(s.coords.at(-1)!, loop.name, changing);
      const leading = s.coords.slice(0, -1);
      const guard = s.guard === undefined ? [] : leaves(s.guard);
      const fixed = guard.filter((g) => invariant(g, changing));
      const moving = guard.filter((g) => !invariant(g, changing)).map((g) => bound(g, loop.name, changing));
      if (!last || !leading.every((c) => invariant(c, changing)) || moving.some((m) => m === undefined || m.offset < 0)) return s;
      const start = [...leading, add(loop.lo, last.base)];
      const cursor = named(cursors, JSON.stringify([s.param, s.field, start]), () => {
        const name = fresh(`${s.param}_at`);
        before.push({ kind: "Cursor", name, param: s.param, field: s.field, coords: start });
        after.push({ kind: "Advance", cursor: name, by: int(loop.step) });
        return name;
      });
      const may = fixed.reduce(and, { kind: "Const", type: "bool", value: 1 } as Expr);
      const left = moving.map((m) =>
        binary(">", named(rooms, JSON.stringify([may, m!.base, m!.limit]), () => {
          const name = fresh(`${s.param}_left`);
          const room = variable("i32", name);
          before.push({ kind: "Variable", name, type: "i32", init: select(may, sub(m!.limit, add(loop.lo, m!.base)), int(0)) });
          after.push({ kind: "Assign", name, value: sub(room, int(loop.step)) });
          return room;
        }), int(m!.offset)),
      );
      const { guard: _guard, ...rest } = s;
      const all = left.length > 0 ? left.reduce(and) : may;
      return { ...rest, ...(guard.length > 0 && { guard: all }), at: { cursor, offset: last.offset } };
    };
    const rewritten = body.map(rewrite);
    return before.length === 0 ? [loop] : [...before, { ...loop, body: [...rewritten, ...after] }];
  }

  const roles = (s: LoopStmt): LoopStmt => (s.kind === "Roles" ? { ...s, roles: s.roles.map((r) => ({ ...r, body: walk(r.body) })) } : s);
  return { ...kernel, body: kernel.body.map(roles) };
}

function named<V>(known: Map<string, V>, key: string, make: () => V): V {
  if (!known.has(key)) known.set(key, make());
  return known.get(key)!;
}

/** Writes out unrolled loops around stores: each store then has coordinates of its own. */
function expand(s: LoopStmt): LoopStmt[] {
  if (s.kind !== "For" || !s.unroll || !onlyStores(s.body) || s.lo.kind !== "Const" || s.hi.kind !== "Const") return [s];
  const turns: LoopStmt[] = [];
  for (let i = s.lo.value; i < s.hi.value; i += s.step) turns.push(...s.body.flatMap((b) => expand(replace(b, new Map([[s.name, int(i)]])))));
  return turns;
}
const onlyStores = (list: readonly LoopStmt[]): boolean => list.every((s) => s.kind === "StoreGlobal" || (s.kind === "For" && s.unroll && onlyStores(s.body)));

/** Stores and loops around them with other expressions in place of names. */
function replace(s: LoopStmt, by: ReadonlyMap<string, Expr>): LoopStmt {
  const go = (e: Expr): Expr => fold(substitute(e, by));
  if (s.kind === "For") return { ...s, body: s.body.map((b) => replace(b, by)) };
  const store = s as Store;
  return { ...store, coords: store.coords.map(go), values: store.values.map(go), ...(store.guard && { guard: go(store.guard) }), ...(store.limit && { limit: go(store.limit) }) };
}
/** Constants of integer arithmetic joined again. */
const fold = (e: Expr): Expr => {
  if (e.kind === "Binary") return binary(e.op, fold(e.a), fold(e.b));
  if (e.kind === "Reg" || e.kind === "Shared") return { ...e, index: fold(e.index) };
  return e;
};

const leaves = (e: Expr): Expr[] => (e.kind === "Binary" && e.op === "&&" ? [...leaves(e.a), ...leaves(e.b)] : [e]);
const terms = (e: Expr): Expr[] => (e.kind === "Binary" && e.op === "+" ? [...terms(e.a), ...terms(e.b)] : [e]);

/** Nothing in it changes in the loop, and it reads no memory. */
const invariant = (e: Expr, changing: ReadonlySet<string>): boolean =>
  e.kind !== "Reg" && e.kind !== "Shared" && e.kind !== "GlobalElement" && !(e.kind === "Var" && changing.has(e.name)) && childrenOf(e).every((c) => invariant(c, changing));

/** index + base + offset, or nothing. */
function follows(e: Expr, index: string, changing: ReadonlySet<string>): { readonly base: Expr; readonly offset: number } | undefined {
  const parts = terms(e);
  const rest = parts.filter((t) => !(t.kind === "Var" && t.name === index));
  const constants = rest.filter((t) => t.kind === "Const");
  const others = rest.filter((t) => t.kind !== "Const");
  if (parts.length - rest.length !== 1 || !others.every((t) => invariant(t, changing))) return undefined;
  return { base: others.reduce<Expr>(add, int(0)), offset: constants.reduce((n, c) => n + c.value, 0) };
}
/** index + base + offset < limit, or nothing. */
function bound(e: Expr, index: string, changing: ReadonlySet<string>): { readonly base: Expr; readonly offset: number; readonly limit: Expr } | undefined {
  if (e.kind !== "Binary" || e.op !== "<" || !invariant(e.b, changing)) return undefined;
  const left = follows(e.a, index, changing);
  return left && { ...left, limit: e.b };
}

/** Names that statements declare or assign. */
function namesIn(list: readonly LoopStmt[]): string[] {
  return list.flatMap((s) => [...("name" in s ? [s.name] : []), ...(s.kind === "SetRegister" ? [s.array] : []), ...bodiesOf(s).flatMap(namesIn)]);
}
