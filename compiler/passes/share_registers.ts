/**
 * Names register arrays. A loop variable, its next value and the accumulator chain that leads to it share one array where no
 * later statement of the iteration still reads the old value: the move at the loop's end then vanishes.
 */
import { sameLayout } from "../ir/layout.ts";
import { productsOf, type Plan, type PlanStmt } from "../ir/plan.ts";
import type { TileOp, TileValue } from "../ir/tile.ts";
import { inputsOf } from "../ir/walk.ts";

export function shareRegisters(plan: Plan): Plan {
  const parent = new Map<number, number>();
  const find = (id: number): number => (parent.has(id) ? find(parent.get(id)!) : id);
  const labels = new Map<number, string>();
  const layout = (v: TileValue) => {
    const place = plan.places.get(v.id);
    return place?.kind === "Stored" ? place.layout : undefined;
  };

  /** Stored tiles that evaluating `v` reads from registers. */
  function reads(v: TileValue): number[] {
    const place = plan.places.get(v.id);
    return place?.kind === "Inline" ? inputsOf(place.op).flatMap(reads) : [v.id];
  }
  const readsOfOp = (op: TileOp): number[] => inputsOf(op).flatMap(reads);
  function readsOfStmt(s: PlanStmt): number[] {
    switch (s.kind) {
      case "Compute":
      case "Reduce":
      case "Scan":
        return readsOfOp(s.op);
      case "Gemm":
        return productsOf(s).flatMap((p) => readsOfOp(p.op));
      case "Stage":
        return s.op ? readsOfOp(s.op) : [s.value.id];
      case "Move":
        return reads(s.from);
      case "For":
        return s.body.flatMap(readsOfStmt);
      case "If":
        return [...s.then, ...s.otherwise].flatMap(readsOfStmt);
      case "ToScalar":
        return reads(s.of);
      case "Store":
        return [...reads(s.of), ...(s.keep ? reads(s.keep) : [])];
      case "HistogramAdd":
        return [...reads(s.bin), ...reads(s.keep)];
      case "BagAdd":
        return [...s.items, s.keep].flatMap(reads);
      case "BitmapAdd":
        return [...reads(s.position), ...reads(s.keep)];
      case "AppendMarked":
        return reads(s.of);
      case "AppendPush":
        return [...reads(s.of), ...reads(s.keep)];
      default:
        return [];
    }
  }

  const defines = (s: PlanStmt, id: number): s is Extract<PlanStmt, { kind: "Compute" | "Gemm" }> => (s.kind === "Compute" || s.kind === "Gemm") && s.value.id === id;
  const same = (a: TileValue, b: TileValue) => {
    const [x, y] = [layout(a), layout(b)];
    return x !== undefined && y !== undefined && sameLayout(x, y) && a.dtype === b.dtype;
  };

  /** A gemm accumulates into its acc's registers when nothing else reads them. */
  function accumulators(list: readonly PlanStmt[]): void {
    list.forEach((s, i) => {
      if (s.kind === "For") accumulators(s.body);
      if (s.kind === "If") [s.then, s.otherwise].forEach(accumulators);
      if (s.kind !== "Gemm" || !s.op.acc) return;
      const acc = s.op.acc;
      const at = list.findIndex((t) => defines(t, acc.id));
      const readElsewhere = list.some((t, j) => j !== i && j > at && readsOfStmt(t).includes(acc.id));
      if (at >= 0 && !readElsewhere && same(acc, s.value)) parent.set(find(s.value.id), find(acc.id));
    });
  }
  /** A loop's next value overwrites the variable when it is the variable's last reader. */
  function carried(list: readonly PlanStmt[]): void {
    for (const s of list) {
      if (s.kind === "If") [s.then, s.otherwise].forEach(carried);
      if (s.kind !== "For") continue;
      carried(s.body);
      for (const move of s.body) {
        if (move.kind !== "Move" || !same(move.to, move.from)) continue;
        const family = (id: number) => find(id) === find(move.from.id);
        const first = s.body.findIndex((t) => (t.kind === "Compute" || t.kind === "Gemm") && family(t.value.id));
        const definition = s.body[first];
        if (!definition || (definition.kind === "Gemm" && [definition.op.a, definition.op.b].some((v) => reads(v).includes(move.to.id)))) continue;
        const later = s.body.slice(first + 1).some((t) => t !== move && readsOfStmt(t).includes(move.to.id));
        const others = s.body.filter((t) => t.kind === "Move" && t !== move && family(t.from.id)).length > 0;
        if (!later && !others && find(move.to.id) !== find(move.from.id)) parent.set(find(move.from.id), find(move.to.id));
      }
    }
  }
  const results: [TileValue, TileValue][] = [];
  const collectResults = (list: typeof plan.kernel.body): void => {
    for (const s of list) {
      if (s.kind === "For") {
        s.tiles.forEach((c) => results.push([c.result, c.param]));
        collectResults(s.body);
      } else if (s.kind === "If") [s.then, s.otherwise].forEach(collectResults);
    }
  };
  collectResults(plan.kernel.body);
  results.forEach(([result, param]) => parent.set(find(result.id), find(param.id)));
  accumulators(plan.body);
  carried(plan.body);

  const registers = new Map<number, string>();
  const name = (v: TileValue) => {
    const root = find(v.id);
    if (!labels.has(root)) labels.set(root, v.label);
    registers.set(v.id, labels.get(root)!);
  };
  const visit = (list: readonly PlanStmt[]): void => {
    for (const s of list) {
      if (s.kind === "Gemm") productsOf(s).forEach((p) => name(p.value));
      if (s.kind === "Compute" || s.kind === "Reduce" || s.kind === "Scan" || s.kind === "Fetch") name(s.value);
      if (s.kind === "Move") [s.to, s.from].forEach(name);
      if (s.kind === "For") visit(s.body);
      if (s.kind === "If") [s.then, s.otherwise].forEach(visit);
    }
  };
  results.forEach(([result, param]) => [param, result].forEach(name));
  visit(plan.body);
  const isMove = (s: PlanStmt): boolean => s.kind === "Move" && registers.get(s.to.id) === registers.get(s.from.id);
  const prune = (list: readonly PlanStmt[]): PlanStmt[] =>
    list.filter((s) => !isMove(s)).map((s) => (s.kind === "For" ? { ...s, body: prune(s.body) } : s.kind === "If" ? { ...s, then: prune(s.then), otherwise: prune(s.otherwise) } : s));
  return { ...plan, registers, body: prune(plan.body) };
}
