/**
 * Clusters: behind the loop whose turns the blocks have shared, all but the leader push what their bags hold into the leader's, where one remote
 * addition takes the place of a block's items, and end. Nobody touches the leader's memory before it has opened its bags, and it goes on when
 * all have arrived once more.
 */
import { add, binary, constant, convert, int, variable, type Expr } from "../../ir/expr.ts";
import { isFollower } from "../../ir/cluster.ts";
import type { PlanStmt } from "../../ir/plan.ts";
import { wordIndex, type BagMemory } from "./bag_memory.ts";
import type { Lowering } from "./context.ts";

const instruct = (ctx: Lowering, instruction: "clusterArrive" | "clusterWait"): void => ctx.emit({ kind: "Call", instruction, operands: [] });

export function openBags(ctx: Lowering): void {
  instruct(ctx, "clusterArrive");
}

export function dismiss(ctx: Lowering, cluster: number): void {
  ctx.when(isFollower(cluster), () => ctx.emit({ kind: "Exit" }), true);
}

export function collect(ctx: Lowering, s: Extract<PlanStmt, { kind: "Collect" }>, cluster: number): void {
  ctx.source(s.loc);
  instruct(ctx, "clusterWait");
  ctx.when(
    isFollower(cluster),
    () => {
      for (const name of s.bags) push(ctx, name, ctx.bags.get(name)!);
      instruct(ctx, "clusterArrive");
      ctx.emit({ kind: "Exit" });
    },
    true,
  );
  instruct(ctx, "clusterArrive");
  instruct(ctx, "clusterWait");
}

/** Items of a bag that is overfull with them are counted and need not be written. */
function push(ctx: Lowering, name: string, bag: BagMemory): void {
  const uniform = (wish: string, value: Expr): Expr => {
    const uniformName = ctx.name(wish);
    ctx.emit({ kind: "Uniform", name: uniformName, value });
    return variable(value.type, uniformName);
  };
  const word = (buffer: string): Expr => ({ kind: "Shared", type: "u32", buffer, index: int(0) });
  const place = ctx.sharedBuffer(`${name}_place`, "u32", 1, `where this block's items go in the leader's ${name}`);
  const count = uniform("handed", word(bag.counter));
  ctx.when(binary("==", ctx.thread, int(0)), () => {
    const old = ctx.array("before", "u32", 1);
    const operands = [{ kind: "Registers", array: old, index: int(0), count: 1 }, { kind: "LeaderAddress", buffer: bag.counter, index: int(0) }, { kind: "Value", value: count }] as const;
    ctx.emit({ kind: "Call", instruction: "leaderAdd", operands }, { kind: "StoreShared", buffer: place, index: int(0), values: [{ kind: "Reg", type: "u32", array: old, index: int(0) }] });
  });
  const first = uniform("first", word(place));
  ctx.when(
    binary("<=", add(first, count), constant("u32", bag.capacity)),
    () => {
      let item = "";
      const body = ctx.block(() => {
        item = ctx.name("item");
        const from = variable("i32", item);
        const to = ctx.bind("to", add(convert("i32", first), from));
        bag.fields.forEach((_, field) => {
          const word: Expr = { kind: "Shared", type: "u32", buffer: bag.buffer, index: wordIndex(bag, field, from) };
          ctx.emit({ kind: "Call", instruction: "leaderStore", operands: [{ kind: "LeaderAddress", buffer: bag.buffer, index: wordIndex(bag, field, to) }, { kind: "Value", value: word }] });
        });
      });
      ctx.emit({ kind: "For", name: item, lo: ctx.thread, hi: convert("i32", count), step: ctx.threads, unroll: false, body });
    },
    true,
  );
}
