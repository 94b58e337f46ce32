/**
 * A ring of two slots between two roles, in parts that tests replace: what sound programs with roles look like, and what each mistake does.
 *
 *   out[t, n] = factor[t / 64] * sum over d of keys[t, d] * q[n, d]      q of bf16 [8, 64], keys of bf16 [T, 64]
 *
 * One warp fetches 64 keys at a time by TMA, and their factor by an ordinary store, the header of the slot. One warpgroup stages q, multiplies,
 * and stores.
 */
import { add, binary, type Expr, int, mul, sub } from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt, Operand } from "../../../compiler/ir/loop.ts";
import { barrier, element, f32, forLoop, i32, ifThen, reg, shared, storeGlobal, storeShared, tensor, thread } from "./loop_kernels.ts";

export const invoke = (instruction: string, ...operands: readonly Operand[]): LoopStmt => ({ kind: "Call", instruction, operands });
export const value = (e: Expr): Operand => ({ kind: "Value", value: e });
export const registers = (array: string, count: number, index = 0): Operand => ({ kind: "Registers", array, index: int(index), count });
export const onBarrier = (barrier: string, slot: Expr): Operand => ({ kind: "Barrier", barrier, slot });
export const sharedAt = (buffer: string, index: Expr): Operand => ({ kind: "SharedAddress", buffer, index });
export const matrix = (buffer: string, index: Expr): Operand => ({ kind: "Matrix", buffer, index, major: "k", swizzle: 128, stride: 1024, leading: 0 });
export const define = (name: string, e: Expr): LoopStmt => ({ kind: "Let", name, value: e });

const tileKeys = 64;
const depth = 64;
export const tileBytes = tileKeys * depth * 2;
export const slot = i32("slot");
export const lane = binary("%", thread, int(32));
const [fetchFirst, q, keys] = [128, "q", "keys"];

/** Names for the parts of the program, in the order of their execution. */
export interface Ring {
  readonly init: readonly LoopStmt[];
  readonly initDone: readonly LoopStmt[];
  // fetch, one lane
  readonly awaitEmpty: readonly LoopStmt[];
  readonly header: readonly LoopStmt[];
  readonly expect: readonly LoopStmt[];
  readonly copy: readonly LoopStmt[];
  // multiply
  readonly stage: readonly LoopStmt[];
  readonly staged: readonly LoopStmt[];
  readonly awaitFull: readonly LoopStmt[];
  readonly readHeader: readonly LoopStmt[];
  readonly fence: readonly LoopStmt[];
  readonly products: readonly LoopStmt[];
  readonly commit: readonly LoopStmt[];
  readonly awaitProducts: readonly LoopStmt[];
  readonly release: readonly LoopStmt[];
  readonly store: readonly LoopStmt[];
}

export const initialise = (name: string, slots: number, arrivals: number): readonly LoopStmt[] =>
  Array.from({ length: slots }, (_, s) => invoke("mbarrierInit", onBarrier(name, int(s)), value(int(arrivals))));
export const awaitPhase = (name: string, parity: Expr): LoopStmt => invoke("mbarrierWait", onBarrier(name, slot), value(parity));

/** Element (n, d) of the staged q: lines of 64 elements, swizzled. */
const staged = (n: Expr, d: Expr): Expr => {
  const chunk = binary("^", binary("/", d, int(8)), binary("%", n, int(8)));
  return add(add(mul(n, int(depth)), mul(chunk, int(8))), binary("%", d, int(8)));
};
const at = mul(thread, int(4));
const pairOf = (r: Expr): readonly [row: Expr, column: Expr] => [
  add(add(mul(binary("/", thread, int(32)), int(16)), binary("/", lane, int(4))), mul(r, int(8))),
  mul(binary("%", lane, int(4)), int(2)),
];

export const sound: Ring = {
  init: [...initialise("full", 2, 1), ...initialise("empty", 2, 4), invoke("mbarrierInitFence")],
  initDone: [barrier],
  awaitEmpty: [awaitPhase("empty", sub(int(1), i32("parity")))],
  header: [storeShared("header", slot, element("factor", [i32("tile")]))],
  expect: [invoke("mbarrierExpect", onBarrier("full", slot), value(int(tileBytes)))],
  copy: [
    invoke("tmaLoad.2", sharedAt(keys, mul(slot, int(tileKeys * depth))), { kind: "TensorMap", map: "keys_map" }, onBarrier("full", slot), value(int(0)), value(mul(i32("tile"), int(tileKeys)))),
  ],
  stage: [
    define("n", binary("/", at, int(depth))),
    define("d", binary("%", at, int(depth))),
    ...[0, 2].map((e) => {
      const [first, second] = [e, e + 1].map((x) => element("q", [i32("n"), add(i32("d"), int(x))]));
      return storeShared(q, staged(i32("n"), add(i32("d"), int(e))), first!, second!);
    }),
    invoke("fenceProxyAsync"),
  ],
  staged: [barrier],
  awaitFull: [awaitPhase("full", i32("parity"))],
  readHeader: [define("factor", shared("header", slot))],
  fence: [invoke("wgmmaFence")],
  products: [0, 16, 32, 48].map((k) =>
    invoke(`wgmma.m64n8k16.bf16${k === 0 ? ".first" : ""}`, registers("acc", 4), matrix(keys, add(mul(slot, int(tileKeys * depth)), int(k))), matrix(q, int(k))),
  ),
  commit: [invoke("wgmmaCommit")],
  awaitProducts: [invoke("wgmmaWait.0.4", registers("acc", 4))],
  release: [invoke("mbarrierArriveWarp", onBarrier("empty", slot))],
  store: [0, 1].map((r) => {
    const [row, column] = pairOf(int(r));
    return storeGlobal("out", [add(mul(i32("tile"), int(tileKeys)), row), column], ...[0, 1].map((e) => mul(reg("acc", int(2 * r + e)), { kind: "Var", type: "f32", name: "factor" })));
  }),
};

/** A loop over tiles with the slot and parity of each. */
export const eachTile = (body: readonly LoopStmt[]): LoopStmt =>
  forLoop("tile", int(0), binary("/", i32("T"), int(tileKeys)), [
    define("slot", binary("%", i32("tile"), int(2))),
    define("parity", binary("%", binary("/", i32("tile"), int(2)), int(2))),
    ...body,
  ]);

/** The sound ring with parts replaced; `more` replaces properties of the kernel. */
export function ringKernel(change: Partial<Ring> = {}, more: Partial<LoopKernel> = {}): LoopKernel {
  const r = { ...sound, ...change };
  return {
    name: "ring",
    loc: { file: "ring.ts", line: 1, column: 1 },
    params: [
      tensor("in", "q", "bf16", { n: 8, d: depth }),
      tensor("in", "keys", "bf16", { t: "T", d: depth }),
      tensor("in", "factor", "f32", { tile: "tiles" }),
      tensor("out", "out", "f32", { t: "T", n: 8 }),
    ],
    dims: [{ name: "T" }, { name: "tiles", default: { op: "div", args: ["T", tileKeys] } }],
    blocks: 1,
    threads: 160,
    shared: [
      { name: keys, dtype: "bf16", elements: 2 * tileKeys * depth, offset: 0, note: "ring of 2: keys[t 64, d 64]" },
      { name: q, dtype: "bf16", elements: 8 * depth, offset: 2 * tileBytes, note: "q[n 8, d 64]" },
      { name: "header", dtype: "f32", elements: 4, offset: 2 * tileBytes + 1024, note: "ring of 2: factor" },
    ],
    sharedBytes: 2 * tileBytes + 1024 + 16 + 32,
    barriers: [
      { name: "full", slots: 2, arrivals: 1, offset: 2 * tileBytes + 1040, note: "fetch arrives, multiply waits" },
      { name: "empty", slots: 2, arrivals: 4, offset: 2 * tileBytes + 1056, note: "warps of multiply arrive, fetch waits" },
    ],
    pipes: [
      {
        name: "keys",
        depth: 2,
        buffers: [
          { buffer: keys, elements: tileKeys * depth },
          { buffer: "header", elements: 1 },
        ],
        full: "full",
        empty: "empty",
      },
    ],
    tensorMaps: [{ name: "keys_map", param: "keys", offset: 0, dtype: "bf16", swizzle: 128, sizes: [depth, "T"], strides: [2 * depth], box: [depth, tileKeys] }],
    body: [
      ifThen(binary("==", thread, int(0)), r.init),
      ...r.initDone,
      {
        kind: "Roles",
        roles: [
          {
            name: "multiply",
            firstWarp: 0,
            warps: 4,
            body: [
              ...r.stage,
              ...r.staged,
              { kind: "Array", name: "acc", type: "f32", size: 4 },
              eachTile([...r.awaitFull, ...r.readHeader, ...r.fence, ...r.products, ...r.commit, ...r.awaitProducts, ...r.release, ...r.store]),
            ],
          },
          {
            name: "fetch",
            firstWarp: 4,
            warps: 1,
            body: [ifThen(binary("==", thread, int(fetchFirst)), [eachTile([...r.awaitEmpty, ...r.header, ...r.expect, ...r.copy])])],
          },
        ],
      },
    ],
    ...more,
  };
}
export const zeroed: LoopStmt = forLoop("i", int(0), int(4), [{ kind: "SetRegister", array: "acc", index: i32("i"), value: f32(0) }], 1, true);
