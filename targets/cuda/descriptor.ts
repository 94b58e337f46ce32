/** How wgmma is told of a matrix in shared memory: PTX ISA, "Matrix Descriptor". */
import { byteSize } from "../../dsl/dtype.ts";
import { binary, type Expr, int } from "../../compiler/ir/expr.ts";
import type { Operand } from "../../compiler/ir/loop.ts";
import type { CudaExprs } from "./expr.ts";

type Matrix = Extract<Operand, { kind: "Matrix" }>;

/**
 * A descriptor, then the 16-byte steps of the index's constant part: matrix operands that differ by a constant share the descriptor,
 * and the difference is one addition on uniform registers.
 */
export function descriptorText(m: Matrix, x: CudaExprs): string {
  const { base, constant } = splitConstant(m.index);
  const bytes = constant * byteSize(x.buffer(m.buffer).dtype);
  if (bytes % 16 !== 0) x.fail(`a matrix operand starts at byte ${bytes} of "${m.buffer}", which is no multiple of 16`);
  // the manual: not used for swizzled K-major matrices, assumed to be 1 (of 16 bytes)
  const leading = m.major === "k" ? 16 : m.leading;
  const descriptor = `descriptor${m.swizzle}(${x.sharedPointer(m.buffer, base).code}, ${m.stride}, ${leading})`;
  return bytes === 0 ? descriptor : `${descriptor} ${bytes < 0 ? "-" : "+"} ${Math.abs(bytes / 16)}`;
}

/** A sum as what varies and what does not. */
function splitConstant(e: Expr): { readonly base: Expr; readonly constant: number } {
  if (e.kind === "Const") return { base: int(0), constant: e.value };
  if (e.kind !== "Binary" || (e.op !== "+" && e.op !== "-")) return { base: e, constant: 0 };
  const [a, b] = [splitConstant(e.a), splitConstant(e.b)];
  return { base: binary(e.op, a.base, b.base), constant: e.op === "+" ? a.constant + b.constant : a.constant - b.constant };
}

/** Bytes between groups of eight lines (`stride`) and to the next lines of the same matrix (`leading`). */
const layouts = { 32: 3, 64: 2, 128: 1 } as const;
export const descriptorHelper = (swizzle: Matrix["swizzle"]): string =>
  [
    `__device__ inline u64 descriptor${swizzle}(const void* start, u64 stride, u64 leading) {`,
    `  return (u32)__cvta_generic_to_shared(start) >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | ${layouts[swizzle]}ull << 62;`,
    "}",
  ].join("\n");
