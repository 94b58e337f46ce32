/** Loop IR programs with roles, built by hand: rings that TMA fills and wgmma reads. */
import { add, binary, type Expr, int, mul, sub } from "../../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt, Operand } from "../../../../compiler/ir/loop.ts";
import { MULTIPROCESSORS } from "../../../../compiler/ir/manifest.ts";
import { barrier, block, element, f32, forLoop, i32, ifThen, reg, shared, storeShared, tensor, thread } from "../../../compiler/interp/loop_kernels.ts";

export const invoke = (instruction: string, ...operands: readonly Operand[]): LoopStmt => ({ kind: "Call", instruction, operands });
export const value = (e: Expr): Operand => ({ kind: "Value", value: e });
export const registers = (array: string, count: number, index: Expr = int(0)): Operand => ({ kind: "Registers", array, index, count });
export const sharedAt = (buffer: string, index: Expr = int(0)): Operand => ({ kind: "SharedAddress", buffer, index });
export const onBarrier = (name: string, slot: Expr = int(0)): Operand => ({ kind: "Barrier", barrier: name, slot });
export const mapOf = (map: string): Operand => ({ kind: "TensorMap", map });
export const matrix = (buffer: string, index: Expr, major: "k" | "mn" = "k", leading = 0): Operand => ({
  kind: "Matrix",
  buffer,
  index,
  major,
  swizzle: 128,
  stride: 1024,
  leading,
});
export const array = (name: string, type: "f32" | "u32", size: number): LoopStmt => ({ kind: "Array", name, type, size });
const define = (name: string, e: Expr): LoopStmt => ({ kind: "Let", name, value: e });
const unrolled = (name: string, hi: number, ...body: readonly LoopStmt[]): LoopStmt => forLoop(name, int(0), int(hi), body, 1, true);
const warp: Expr = { kind: "WarpIndex", type: "i32" };
const over = (a: Expr, b: number): Expr => binary("/", a, int(b));
const modulo = (a: Expr, b: number): Expr => binary("%", a, int(b));
const source = (line: number): LoopStmt => ({ kind: "Source", loc: { file: "roles.ts", line, column: 1 } });
const init = (name: string, slots: number, arrivals: number): readonly LoopStmt[] =>
  Array.from({ length: slots }, (_, slot) => invoke("mbarrierInit", onBarrier(name, int(slot)), value(int(arrivals))));

/** The block's tiles one after the other, `round` counting them; a ring of two slots turns with it. */
const eachTile = (body: readonly LoopStmt[]): readonly LoopStmt[] => [
  { kind: "Variable", name: "tile", type: "i32", init: block },
  { kind: "Variable", name: "round", type: "i32", init: int(0) },
  {
    kind: "While",
    cond: binary("<", mul(i32("tile"), int(128)), i32("T")),
    body: [
      define("slot", modulo(i32("round"), 2)),
      define("parity", modulo(over(i32("round"), 2), 2)),
      ...body,
      { kind: "Assign", name: "tile", value: add(i32("tile"), { kind: "BlockCount", type: "i32" }) },
      { kind: "Assign", name: "round", value: add(i32("round"), int(1)) },
    ],
  },
];
const notParity = sub(int(1), i32("parity"));

/**
 * out[t, n] = sum over d of keys[t, d] * q[n, d], of e4m3: one warp fetches 128 keys at a time, two warpgroups multiply
 * them. What the first 64 n gave is stored while the others are under way.
 */
export const ringScores: LoopKernel = {
  name: "ring_scores",
  loc: { file: "roles.ts", line: 1, column: 1 },
  params: [tensor("in", "q", "e4m3", { n: 128, d: 128 }), tensor("in", "keys", "e4m3", { t: "T", d: 128 }), tensor("out", "out", "f32", { t: "T", n: 128 })],
  dims: [{ name: "T" }],
  blocks: { op: "min", args: [MULTIPROCESSORS, { op: "ceilDiv", args: ["T", 128] }] },
  threads: 384,
  shared: [
    { name: "q", dtype: "e4m3", elements: 16384, offset: 0, note: "q[n 128, d 128]" },
    { name: "keys", dtype: "e4m3", elements: 32768, offset: 16384, note: "ring of 2: keys[t 128, d 128]" },
  ],
  sharedBytes: 49152 + 40,
  barriers: [
    { name: "q_full", slots: 1, arrivals: 1, offset: 49152, note: "fetch arrives, product waits" },
    { name: "keys_full", slots: 2, arrivals: 1, offset: 49160, note: "fetch arrives, product waits" },
    { name: "keys_empty", slots: 2, arrivals: 8, offset: 49176, note: "warps of product arrive, fetch waits" },
  ],
  pipes: [{ name: "keys", depth: 2, buffers: [{ buffer: "keys", elements: 16384 }], full: "keys_full", empty: "keys_empty" }],
  tensorMaps: [
    { name: "q_map", param: "q", offset: 0, dtype: "e4m3", swizzle: 128, sizes: [128, 128], strides: [128], box: [128, 128] },
    { name: "keys_map", param: "keys", offset: 0, dtype: "e4m3", swizzle: 128, sizes: [128, "T"], strides: [128], box: [128, 128] },
  ],
  body: [
    ifThen(binary("==", thread, int(0)), [
      ...init("q_full", 1, 1),
      ...init("keys_full", 2, 1),
      ...init("keys_empty", 2, 8),
      invoke("mbarrierInitFence"),
    ]),
    barrier,
    {
      kind: "Roles",
      roles: [
        {
          name: "product",
          firstWarp: 0,
          warps: 8,
          registers: 224,
          body: [
            source(5),
            define("row", add(mul(warp, int(16)), over(modulo(thread, 32), 4))),
            define("start", mul(over(warp, 4), int(64 * 128))),
            array("low", "f32", 32),
            array("high", "f32", 32),
            invoke("mbarrierWait", onBarrier("q_full"), value(int(0))),
            ...eachTile([
              source(7),
              invoke("mbarrierWait", onBarrier("keys_full", i32("slot")), value(i32("parity"))),
              invoke("wgmmaFence"),
              ...["low", "high"].flatMap((acc, half) => [
                ...[0, 32, 64, 96].map((d) =>
                  invoke(
                    `wgmma.m64n64k32.e4m3${d === 0 ? ".first" : ""}`,
                    registers(acc, 32),
                    matrix("keys", add(add(mul(i32("slot"), int(16384)), i32("start")), int(d))),
                    matrix("q", int(8192 * half + d)),
                  ),
                ),
                invoke("wgmmaCommit"),
              ]),
              source(8),
              ...["low", "high"].flatMap((acc, half) => [
                invoke(`wgmmaWait.${1 - half}.32`, registers(acc, 32)),
                ...(half === 1 ? [invoke("mbarrierArriveWarp", onBarrier("keys_empty", i32("slot")))] : []),
                unrolled(
                  "r",
                  16,
                  define("t", add(add(mul(i32("tile"), int(128)), i32("row")), mul(modulo(i32("r"), 2), int(8)))),
                  {
                    kind: "StoreGlobal",
                    param: "out",
                    field: "",
                    coords: [i32("t"), add(add(mul(over(i32("r"), 2), int(8)), mul(modulo(thread, 4), int(2))), int(64 * half))],
                    values: [reg(acc, mul(i32("r"), int(2))), reg(acc, add(mul(i32("r"), int(2)), int(1)))],
                    guard: binary("<", i32("t"), i32("T")),
                    aligned: true,
                  },
                ),
              ]),
            ]),
          ],
        },
        {
          name: "fetch",
          firstWarp: 8,
          warps: 1,
          registers: 40,
          body: [
            ifThen(binary("==", thread, int(256)), [
              invoke("mbarrierExpect", onBarrier("q_full"), value(int(16384))),
              invoke("tmaLoad.2", sharedAt("q"), mapOf("q_map"), onBarrier("q_full"), value(int(0)), value(int(0))),
              ...eachTile([
                invoke("mbarrierWait", onBarrier("keys_empty", i32("slot")), value(notParity)),
                invoke("mbarrierExpect", onBarrier("keys_full", i32("slot")), value(int(16384))),
                invoke(
                  "tmaLoad.2.evictFirst",
                  sharedAt("keys", mul(i32("slot"), int(16384))),
                  mapOf("keys_map"),
                  onBarrier("keys_full", i32("slot")),
                  value(int(0)),
                  value(mul(i32("tile"), int(128))),
                ),
              ]),
            ]),
          ],
        },
      ],
    },
  ],
};

/**
 * out[m, n] = factor[n] * sum over t of bf16(weights[m, t]) * rows[t, n] with 64 m, 128 n: weights as fragments in registers, rows with n
 * consecutive, and a third role that brings the factors to shared memory.
 */
export const ringValues: LoopKernel = {
  name: "ring_values",
  loc: { file: "roles.ts", line: 1, column: 1 },
  params: [
    tensor("in", "weights", "f32", { m: 64, t: "T" }),
    tensor("in", "rows", "bf16", { t: "T", n: 128 }),
    tensor("in", "factor", "f32", { n: 128 }),
    tensor("out", "out", "f32", { m: 64, n: 128 }),
  ],
  dims: [{ name: "T" }],
  blocks: 1,
  threads: 256,
  shared: [
    { name: "rows", dtype: "bf16", elements: 16384, offset: 0, note: "ring of 2: rows[n/64 2, t 64, n%64 64]" },
    { name: "factor", dtype: "f32", elements: 128, offset: 32768, note: "factor[n 128]" },
  ],
  sharedBytes: 32768 + 512 + 40,
  barriers: [
    { name: "rows_full", slots: 2, arrivals: 1, offset: 33280, note: "fetch arrives, product waits" },
    { name: "rows_empty", slots: 2, arrivals: 4, offset: 33296, note: "warps of product arrive, fetch waits" },
    { name: "factor_full", slots: 1, arrivals: 2, offset: 33312, note: "warps of factors arrive, product waits" },
  ],
  pipes: [{ name: "rows", depth: 2, buffers: [{ buffer: "rows", elements: 8192 }], full: "rows_full", empty: "rows_empty" }],
  tensorMaps: [{ name: "rows_map", param: "rows", offset: 0, dtype: "bf16", swizzle: 128, sizes: [128, "T"], strides: [256], box: [64, 64] }],
  body: [
    ifThen(binary("==", thread, int(0)), [
      ...init("rows_full", 2, 1),
      ...init("rows_empty", 2, 4),
      ...init("factor_full", 1, 2),
      invoke("mbarrierInitFence"),
    ]),
    barrier,
    {
      kind: "Roles",
      roles: [
        {
          name: "fetch",
          firstWarp: 4,
          warps: 1,
          registers: 40,
          body: [
            ifThen(binary("==", modulo(thread, 32), int(0)), [
              forLoop("tile", int(0), over(add(i32("T"), int(63)), 64), [
                define("slot", modulo(i32("tile"), 2)),
                invoke("mbarrierWait", onBarrier("rows_empty", i32("slot")), value(sub(int(1), modulo(over(i32("tile"), 2), 2)))),
                invoke("mbarrierExpect", onBarrier("rows_full", i32("slot")), value(int(16384))),
                ...[0, 1].map((half) =>
                  invoke(
                    "tmaLoad.2",
                    sharedAt("rows", add(mul(i32("slot"), int(8192)), int(4096 * half))),
                    mapOf("rows_map"),
                    onBarrier("rows_full", i32("slot")),
                    value(int(64 * half)),
                    value(mul(i32("tile"), int(64))),
                  ),
                ),
              ]),
            ]),
          ],
        },
        {
          name: "factors",
          firstWarp: 6,
          warps: 2,
          registers: 40,
          body: [
            define("lane", sub(thread, int(192))),
            storeShared("factor", i32("lane"), element("factor", [i32("lane")])),
            storeShared("factor", add(i32("lane"), int(64)), element("factor", [add(i32("lane"), int(64))])),
            barrier,
            invoke("mbarrierArriveWarp", onBarrier("factor_full")),
          ],
        },
        {
          name: "product",
          firstWarp: 0,
          warps: 4,
          registers: 208,
          body: [
            source(5),
            define("row", add(mul(warp, int(16)), over(modulo(thread, 32), 4))),
            array("acc", "f32", 64),
            unrolled("i", 64, { kind: "SetRegister", array: "acc", index: i32("i"), value: f32(0) }),
            forLoop("tile", int(0), over(add(i32("T"), int(63)), 64), [
              define("slot", modulo(i32("tile"), 2)),
              array("packed", "u32", 16),
              unrolled("p", 16,
                define("m", add(i32("row"), mul(modulo(i32("p"), 2), int(8)))),
                define("t", add(add(mul(i32("tile"), int(64)), mul(over(i32("p"), 2), int(8))), mul(modulo(thread, 4), int(2)))),
                array("pair", "f32", 2),
                {
                  kind: "LoadGlobal",
                  array: "pair",
                  index: int(0),
                  count: 2,
                  param: "weights",
                  field: "",
                  coords: [i32("m"), i32("t")],
                  limit: sub(i32("T"), i32("t")),
                  fill: f32(0),
                  aligned: false,
                },
                invoke("pack.bf16", registers("packed", 1, i32("p")), value(reg("pair", int(0))), value(reg("pair", int(1)))),
              ),
              invoke("mbarrierWait", onBarrier("rows_full", i32("slot")), value(modulo(over(i32("tile"), 2), 2))),
              invoke("wgmmaFence"),
              ...[0, 1, 2, 3].map((step) =>
                invoke(
                  "wgmma.m64n128k16.bf16.ra",
                  registers("acc", 64),
                  registers("packed", 4, int(4 * step)),
                  matrix("rows", add(mul(i32("slot"), int(8192)), int(1024 * step)), "mn", 8192),
                ),
              ),
              invoke("wgmmaCommit"),
              invoke("wgmmaWait.0.64", registers("acc", 64)),
              invoke("mbarrierArriveWarp", onBarrier("rows_empty", i32("slot"))),
            ]),
            invoke("mbarrierWait", onBarrier("factor_full"), value(int(0))),
            unrolled(
              "r",
              32,
              define("n", add(mul(over(i32("r"), 2), int(8)), mul(modulo(thread, 4), int(2)))),
              {
                kind: "StoreGlobal",
                param: "out",
                field: "",
                coords: [add(i32("row"), mul(modulo(i32("r"), 2), int(8))), i32("n")],
                values: [0, 1].map((e) => mul(reg("acc", add(mul(i32("r"), int(2)), int(e))), shared("factor", add(i32("n"), int(e))))),
                aligned: true,
              },
            ),
          ],
        },
      ],
    },
  ],
};
