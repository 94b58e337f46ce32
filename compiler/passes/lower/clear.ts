/** Zeros in shared memory, for counters and marks. */
import { add, binary, constant, int, mul, type Expr } from "../../ir/expr.ts";
import type { Lowering } from "./context.ts";

/** All elements of a u32 buffer become 0, in stores of sixteen bytes where every thread has that much to do. */
export function clear(ctx: Lowering, buffer: string, elements: number): void {
  const { threads } = ctx;
  const width = elements % 4 === 0 && elements >= 4 * threads ? 4 : 1;
  const stores = elements / width;
  ctx.repeated("i", Math.ceil(stores / threads), (round) => {
    const i = ctx.bind("bin", add(mul(round, int(threads)), ctx.thread));
    const zero = (): void => ctx.emit({ kind: "StoreShared", buffer, index: mul(i, int(width)), values: Array.from({ length: width }, (): Expr => constant("u32", 0)) });
    if (stores % threads === 0) zero();
    else ctx.when(binary("<", i, int(stores)), zero);
  });
}
