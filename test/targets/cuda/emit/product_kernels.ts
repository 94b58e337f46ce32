/** One wgmma product per kernel: every way in which a matrix may lie in shared memory, its image made by TMA. */
import { add, binary, int, mul } from "../../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt, Operand } from "../../../../compiler/ir/loop.ts";
import type { Param, TensorMap } from "../../../../compiler/ir/manifest.ts";
import { byteSize, type DType, toBytes } from "../../../../dsl/dtype.ts";
import { barrier, element, ifThen, reg, storeGlobal, tensor, thread } from "../../../compiler/interp/loop_kernels.ts";
import { array, invoke, mapOf, onBarrier, registers, sharedAt, value } from "./role_kernels.ts";

type Major = "k" | "mn";
export interface ProductShape {
  readonly dtype: "e4m3" | "bf16" | "f16";
  readonly n: number;
  readonly swizzle: 32 | 64 | 128;
  /** "registers": a comes as fragments. */
  readonly a: Major | "registers";
  readonly b: Major;
}

const sequence = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));
const depthOf = (dtype: DType): number => 32 / byteSize(dtype);

/** k of the whole product: two lines of a k-major matrix, two steps of others. */
export const innerOf = ({ dtype, swizzle, a, b }: ProductShape): number =>
  a === "mn" || b === "mn" ? Math.max(2 * depthOf(dtype), (2 * swizzle) / byteSize(dtype)) : (2 * swizzle) / byteSize(dtype);

/** A matrix of `lines` rows or columns by `inner`: its tensor, the boxes that bring it, and where wgmma finds it at a step of k. */
interface Side {
  readonly param: Param;
  readonly map: TensorMap;
  readonly elements: number;
  readonly loads: readonly (readonly [at: number, x0: number, x1: number])[];
  matrix(step: number): Operand;
}
function side(name: string, lines: number, major: Major, shape: ProductShape): Side {
  const { dtype, swizzle } = shape;
  const [size, inner] = [byteSize(dtype), innerOf(shape)];
  const perLine = swizzle / size;
  const [fast, slow] = major === "k" ? [inner, lines] : [lines, inner];
  const panel = perLine * slow; // elements of a box: all of `slow`, one line of `fast`
  const depth = depthOf(dtype);
  return {
    param: tensor("in", name, dtype, { slow, fast }),
    map: { name: `${name}_map`, param: name, offset: 0, dtype, swizzle, sizes: [fast, slow], strides: [fast * size], box: [perLine, slow] },
    elements: fast * slow,
    loads: sequence(fast / perLine, (i) => [i * panel, i * perLine, 0]),
    matrix: (step) => ({
      kind: "Matrix",
      buffer: name,
      index: int(major === "k" ? Math.floor((step * depth) / perLine) * panel + ((step * depth) % perLine) : step * depth * perLine),
      major,
      swizzle,
      stride: 8 * swizzle,
      leading: major === "k" ? 0 : panel * size,
    }),
  };
}

/** out[m, n] = sum over k of a[m, k] * b[n, k] with 64 m; matrices of major "mn" lie transposed in device memory. */
export function productKernel(shape: ProductShape): LoopKernel {
  const { dtype, n, a: form } = shape;
  const [depth, inner] = [depthOf(dtype), innerOf(shape)];
  const [a, b] = [side("a", 64, form === "mn" ? "mn" : "k", shape), side("b", n, shape.b, shape)];
  const sides = form === "registers" ? [b] : [a, b];
  const bytes = sides.reduce((sum, s) => sum + s.elements, 0) * byteSize(dtype);
  const offsetOfB = form === "registers" ? 0 : a.elements * byteSize(dtype);
  const fetch = (s: Side): readonly LoopStmt[] =>
    s.loads.map(([at, x0, x1]) =>
      invoke("tmaLoad.2", sharedAt(s.param.name, int(at)), mapOf(s.map.name), onBarrier("full"), value(int(x0)), value(int(x1))),
    );
  const lane = binary("%", thread, int(32));
  const row = add(mul(binary("/", thread, int(32)), int(16)), binary("/", lane, int(4)));
  const column = mul(binary("%", thread, int(4)), int(2));
  /** Pair p of a fragment: row + 8 (p % 2), k + 8 (p / 2) and the next. */
  const fragment = (step: number): readonly LoopStmt[] =>
    sequence(4, (p) => {
      const at = (e: number) => element("a", [add(row, int(8 * (p % 2))), add(column, int(step * depth + 8 * (p >> 1) + e))]);
      return invoke(`pack.${dtype}`, registers("fragments", 1, int(4 * step + p)), value(at(0)), value(at(1)));
    });
  const steps = sequence(inner / depth, (step) => step);
  const ra = form === "registers" ? ".ra" : "";
  return {
    name: `product_${dtype}_n${n}_swizzle${shape.swizzle}_${form}_${shape.b}`,
    loc: { file: "products.ts", line: 1, column: 1 },
    params: [a.param, b.param, tensor("out", "out", "f32", { m: 64, n })],
    dims: [],
    blocks: 1,
    threads: 128,
    shared: sides.map((s, i) => ({ name: s.param.name, dtype, elements: s.elements, offset: i === 0 ? 0 : offsetOfB, note: s.param.name })),
    sharedBytes: bytes + 8,
    barriers: [{ name: "full", slots: 1, arrivals: 1, offset: bytes, note: "the first thread arrives, all wait" }],
    pipes: [],
    tensorMaps: sides.map((s) => s.map),
    body: [
      ifThen(binary("==", thread, int(0)), [invoke("mbarrierInit", onBarrier("full"), value(int(1))), invoke("mbarrierInitFence")]),
      barrier,
      ifThen(binary("==", thread, int(0)), [invoke("mbarrierExpect", onBarrier("full"), value(int(bytes))), ...sides.flatMap(fetch)]),
      array("d", "f32", n / 2),
      ...(form === "registers" ? [array("fragments", "u32", 4 * steps.length), ...steps.flatMap(fragment)] : []),
      invoke("mbarrierWait", onBarrier("full"), value(int(0))),
      invoke("wgmmaFence"),
      ...steps.map((step) =>
        invoke(
          `wgmma.m64n${n}k${depth}.${dtype}${ra}${step === 0 ? ".first" : ""}`,
          registers("d", n / 2),
          form === "registers" ? registers("fragments", 4, int(4 * step)) : a.matrix(step),
          b.matrix(step),
        ),
      ),
      invoke("wgmmaCommit"),
      invoke(`wgmmaWait.0.${n / 2}`, registers("d", n / 2)),
      ...sequence(n / 2, (r) => storeGlobal("out", [add(row, int(8 * ((r >> 1) % 2))), add(column, int(8 * (r >> 2) + (r % 2)))], reg("d", int(r)))),
    ],
  };
}

export const productShapes: readonly ProductShape[] = [
  ...([32, 64, 128] as const).flatMap((swizzle): ProductShape[] => [
    { dtype: "e4m3", n: 64, swizzle, a: "k", b: "k" },
    ...(["k", "mn"] as const).flatMap((a) => (["k", "mn"] as const).map((b): ProductShape => ({ dtype: "bf16", n: 128, swizzle, a, b }))),
    { dtype: "bf16", n: 64, swizzle, a: "registers", b: "mn" },
  ]),
  { dtype: "e4m3", n: 136, swizzle: 128, a: "k", b: "k" },
  { dtype: "e4m3", n: 8, swizzle: 128, a: "k", b: "k" },
  { dtype: "f16", n: 192, swizzle: 128, a: "k", b: "mn" },
  { dtype: "f16", n: 24, swizzle: 64, a: "registers", b: "k" },
  { dtype: "bf16", n: 256, swizzle: 128, a: "k", b: "mn" },
];

/** A small number for each (line, k), without a pattern that a wrong layout could meet again. */
export const scattered = (line: number, k: number, values: number): number => (Math.imul(line * 257 + k + 1, 0x9e3779b1) >>> 20) % values;

/**
 * Buffers of a product kernel, and the bytes of `out` that it must write. Sums are multiples of 1/4 below 2^9: exact on tensor cores too,
 * which keep about 13 bits of sums of e4m3.
 */
export function productData(shape: ProductShape): { readonly buffers: Record<"a" | "b" | "out", Uint8Array>; readonly expected: Uint8Array } {
  const inner = innerOf(shape);
  const a = (m: number, k: number): number => (scattered(m, k, 7) - 3) / 2;
  const b = (n: number, k: number): number => (scattered(n + 64, k, 5) - 2) / 2;
  const stored = (lines: number, major: Major, at: (line: number, k: number) => number): Uint8Array => {
    const fast = major === "k" ? inner : lines;
    const values = sequence(lines * inner, (i) => (major === "k" ? at(Math.floor(i / fast), i % fast) : at(i % fast, Math.floor(i / fast))));
    return toBytes(shape.dtype, values);
  };
  const sum = (m: number, n: number): number => sequence(inner, (k) => a(m, k) * b(n, k)).reduce((x, y) => x + y, 0);
  return {
    buffers: { a: stored(64, shape.a === "mn" ? "mn" : "k", a), b: stored(shape.n, shape.b, b), out: new Uint8Array(256 * shape.n) },
    expected: toBytes("f32", sequence(64 * shape.n, (i) => sum(Math.floor(i / shape.n), i % shape.n))),
  };
}
