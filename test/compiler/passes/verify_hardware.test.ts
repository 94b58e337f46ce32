/** Every rule of roles, hardware barriers, rings and tensor maps refuses a program that breaks it. */
import { describe, expect, it } from "vitest";
import { add, binary, int, mul, sub, type Expr } from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopRole, LoopStmt, Operand } from "../../../compiler/ir/loop.ts";
import { verifyLoop } from "../../../compiler/ir/verify_loop.ts";
import { cudaTarget } from "../../../targets/cuda/index.ts";
import { ringScores, ringValues } from "../../targets/cuda/emit/role_kernels.ts";
import { barrier, forLoop, i32, ifThen, storeShared, thread } from "../interp/loop_kernels.ts";
import { define, invoke, lane, matrix, onBarrier, registers, ringKernel, sharedAt, slot, sound, value, type Ring } from "../interp/ring_kernel.ts";

const target = cudaTarget("cuda:sm_90a");
const verify = (kernel: LoopKernel): void => verifyLoop(kernel, target, "lower");
const warpIndex: Expr = { kind: "WarpIndex", type: "i32" };

it.each([ringKernel(), ringScores, ringValues])("accepts $name", (kernel) => verify(kernel));

const rolesOf = (kernel: LoopKernel): readonly LoopRole[] => (kernel.body.at(-1) as Extract<LoopStmt, { kind: "Roles" }>).roles;
const withRoles = (roles: readonly LoopRole[]): LoopKernel => ({ ...ringKernel(), body: [...ringKernel().body.slice(0, -1), { kind: "Roles", roles }] });
const [multiply, fetch] = rolesOf(ringKernel()) as [LoopRole, LoopRole];
const into = (role: LoopRole, ...body: readonly LoopStmt[]): LoopRole => ({ ...role, body });
const first = <T extends { readonly name: string }>(list: readonly T[], name: string, change: Partial<T>): readonly T[] => list.map((x) => (x.name === name ? { ...x, ...change } : x));

describe("declarations", () => {
  const k = ringKernel();
  it.each<[string, Partial<LoopKernel>, RegExp]>([
    ["a barrier without arrivals", { barriers: first(k.barriers, "full", { arrivals: 0 }) }, /full has 2 slots for 0 arrivals/],
    ["a barrier off its alignment", { barriers: first(k.barriers, "full", { offset: k.barriers[0]!.offset + 4 }) }, /full lies at bytes/],
    ["a barrier behind the end", { barriers: first(k.barriers, "empty", { offset: k.sharedBytes - 8 }) }, /empty lies at bytes/],
    ["a barrier over a buffer", { barriers: first(k.barriers, "full", { offset: 8192 }) }, /full overlaps keys/],
    ["a barrier over another", { barriers: first(k.barriers, "full", { offset: k.barriers[1]!.offset - 8 }) }, /full overlaps empty/],
    ["two barriers of one name", { barriers: [...k.barriers, { ...k.barriers[0]!, offset: k.sharedBytes }], sharedBytes: k.sharedBytes + 16 }, /one name/],
    ["a ring without its barrier", { pipes: [{ ...k.pipes[0]!, empty: "free" }] }, /ring keys has no barrier free of 2 slots/],
    ["a ring deeper than its barrier", { pipes: [{ ...k.pipes[0]!, depth: 3 }] }, /no barrier full of 3 slots/],
    ["a ring larger than its buffer", { pipes: [{ ...k.pipes[0]!, buffers: [{ buffer: "q", elements: 512 }] }] }, /no 2 slots of 512 elements in q/],
    ["a tensor map of an output", { tensorMaps: [{ ...k.tensorMaps[0]!, param: "out" }] }, /keys_map is of no input/],
    ["a tensor map without strides", { tensorMaps: [{ ...k.tensorMaps[0]!, strides: [] }] }, /2 sizes, 0 strides/],
    ["a box that is too long", { tensorMaps: [{ ...k.tensorMaps[0]!, box: [64, 300] }] }, /a box of keys_map is 64 x 300/],
    ["a row that is no multiple of 16 bytes", { tensorMaps: [{ ...k.tensorMaps[0]!, box: [60, 64] }] }, /has 120 bytes, no multiple/],
    ["a row that is longer than the swizzle", { tensorMaps: [{ ...k.tensorMaps[0]!, swizzle: 64 }] }, /more than its swizzle of 64/],
    ["a stride off its alignment", { tensorMaps: [{ ...k.tensorMaps[0]!, strides: [120] }] }, /offset or stride of keys_map/],
  ])("%s", (_, change, complaint) => expect(() => verify(ringKernel({}, change))).toThrow(complaint));
});

describe("roles", () => {
  it.each<[string, readonly LoopRole[], RegExp]>([
    ["of one name", [multiply, { ...fetch, name: "multiply" }], /two roles have one name/],
    ["that share warps", [multiply, { ...fetch, firstWarp: 3 }], /roles multiply and fetch share warps/],
    ["past the last warp", [multiply, { ...fetch, warps: 2 }], /role fetch has warps 4 to 5 of 5/],
    ["with half a warpgroup", [{ ...multiply, warps: 3 }, fetch], /role multiply uses warpgroups and has none as a whole/],
  ])("%s", (_, roles, complaint) => expect(() => verify(withRoles(roles))).toThrow(complaint));
  it("inside a branch, or before something else", () => {
    const { body } = ringKernel();
    expect(() => verify({ ...ringKernel(), body: [...body, barrier] })).toThrow(/something follows the roles/);
    expect(() => verify({ ...ringKernel(), body: [...body.slice(0, -1), ifThen(binary("<", i32("T"), int(5)), [body.at(-1)!])] })).toThrow(/inside another statement/);
  });
});

describe("uses", () => {
  const fill = (to: Operand, ...coords: readonly Expr[]): readonly LoopStmt[] => [invoke("tmaLoad.2", to, { kind: "TensorMap", map: "keys_map" }, onBarrier("full", slot), ...coords.map(value))];
  const product = (a: Operand, b: Operand = matrix("q", int(0))): readonly LoopStmt[] => [invoke("wgmma.m64n8k16.bf16.first", registers("acc", 4), a, b)];
  const run = (to: Operand, d: Expr): readonly LoopStmt[] => [invoke("cpAsync16", to, { kind: "GlobalAddress", param: "keys", field: "", coords: [int(0), d] }, value(int(1)))];
  const keys = matrix("keys", mul(slot, int(4096))) as Extract<Operand, { kind: "Matrix" }>;
  it.each<[string, Partial<Ring>, RegExp, Partial<LoopKernel>?]>([
    ["a barrier that nothing initialises", { init: sound.init.slice(1) }, /not every slot of full is initialised/],
    ["an initialisation for other arrivals", { init: [invoke("mbarrierInit", onBarrier("full", int(0)), value(int(2))), ...sound.init] }, /full is declared with 1 arrivals/],
    ["an initialisation without its fence", { init: sound.init.slice(0, -1) }, /barriers must be initialised, that fenced/],
    ["an initialisation without a barrier of the block", { initDone: [] }, /the block meet at a barrier/],
    ["a slot that a ring has not", { awaitFull: [invoke("mbarrierWait", onBarrier("full", int(2)), value(int(0)))] }, /leaves the 2 slots of full/],
    ["a copy of another dtype", {}, /keys_map brings bf16 to a buffer of f16/, { shared: first(ringKernel().shared, "keys", { dtype: "f16" }) }],
    ["a copy past its buffer", { copy: fill(sharedAt("keys", int(4097)), int(0), int(0)) }, /leaves the 8192 elements of keys/],
    ["a copy that is larger than a slot", {}, /a box of 4160 elements does not fit a slot of 4096 in keys/, { tensorMaps: [{ ...ringKernel().tensorMaps[0]!, box: [64, 65] }] }],
    ["slots off the alignment of a copy", { products: [] }, /slots of keys do not all start at multiples of 1024 bytes/, { shared: first(ringKernel().shared, "keys", { offset: 20992 }), sharedBytes: 40960 }],
    ["16 bytes off a multiple of them", { header: run(sharedAt("keys", mul(lane, int(4))), int(0)) }, /a copy to keys may start off a multiple of 16 bytes/],
    ["16 bytes from off a multiple of them", { header: run(sharedAt("keys", mul(lane, int(8))), mul(lane, int(4))) }, /a copy from keys may start off a multiple of 16 bytes/],
    ["16 bytes past their buffer", { header: run(sharedAt("keys", int(8192)), int(0)) }, /leaves the 8192 elements of keys/],
    ["16 bytes past their row", { header: run(sharedAt("keys", mul(lane, int(8))), int(16)) }, /a copy of 16 bytes leaves the 20 positions of keys along d/, { params: first(ringKernel().params, "keys", { axes: ringKernel().params[1]!.axes.map((a) => (a.axis === "d" ? { ...a, size: 20 } : a)) }) }],
    ["a matrix off the alignment of its swizzle", {}, /q lies at byte 17536; swizzle 128 needs a multiple of 1024/, { shared: first(ringKernel().shared, "q", { offset: 17536 }), sharedBytes: 20480, barriers: ringKernel().barriers.map((b, i) => ({ ...b, offset: 20000 + 16 * i })) }],
    ["a matrix whose stride breaks the swizzle", { products: product({ ...keys, stride: 512 }) }, /a stride of 512 bytes breaks/],
    ["a matrix read with another swizzle than it was filled", { products: product({ ...keys, swizzle: 64 }) }, /keys is filled with swizzle 128 and read with 64/],
    ["a matrix off a multiple of 16 bytes", { products: product({ ...keys, index: add(mul(slot, int(4096)), int(4)) }) }, /a matrix in keys may start off a multiple of 16 bytes/],
    ["a matrix by thread", { products: product({ ...keys, index: mul(binary("%", thread, int(2)), int(16)) }) }, /may name different matrices in keys/],
    ["a product that some warps skip", { products: [ifThen(binary("<", warpIndex, int(2)), sound.products)] }, /some threads of a warpgroup may not come here/],
    ["an arrival of a warp that some lanes skip", { release: [ifThen(binary("<", lane, int(2)), sound.release)] }, /some lanes of a warp may not come here/],
    ["a barrier of a role that some warps skip", { staged: [ifThen(binary("<", warpIndex, int(2)), [barrier])] }, /some threads of the block or role may not come here/],
    ["what a role stores and reads without a barrier", { stage: [storeShared("q", mul(thread, int(2)), { kind: "Const", type: "f32", value: 0 }, { kind: "Const", type: "f32", value: 0 })], staged: [] }, /may read q while another thread's write of it is under way/],
    ["what the block stores and a role reads, without a barrier of the block", { initDone: [barrier, storeShared("q", mul(lane, int(2)), { kind: "Const", type: "f32", value: 0 }, { kind: "Const", type: "f32", value: 0 })], stage: [], staged: [barrier] }, /may read q while another thread's write of it is under way/],
  ])("%s", (_, change, complaint, more = {}) => expect(() => verify(ringKernel(change, more))).toThrow(complaint));

  it("whole warps and warpgroups may part", () => {
    const inWarps = (cond: Expr): Partial<Ring> => ({ stage: [...sound.stage, define("part", sub(thread, int(0))), ifThen(cond, [invoke("syncWarp")])] });
    for (const cond of [binary("<", warpIndex, int(1)), binary("==", binary("/", thread, int(32)), int(1)), binary(">=", i32("part"), int(64)), binary("==", binary(">>", thread, int(5)), int(2))]) verify(ringKernel(inWarps(cond)));
    expect(() => verify(ringKernel(inWarps(binary("<", thread, int(48)))))).toThrow(/lanes of a warp/);
    expect(() => verify(ringKernel(inWarps(binary("==", binary("/", add(thread, int(16)), int(32)), int(1)))))).toThrow(/lanes of a warp/);
    const perWarpgroup = into(multiply, define("group", binary("/", warpIndex, int(4))), ...multiply.body, ifThen(binary("==", i32("group"), int(0)), [invoke("wgmmaFence")]));
    verify(withRoles([perWarpgroup, fetch]));
  });
  it("a branch that one thread takes may call its conditions uniform, but holds no barrier", () => {
    const turn = (...then: readonly LoopStmt[]): LoopKernel => withRoles([multiply, into(fetch, ifThen(binary("==", thread, int(128)), [{ kind: "Variable", name: "at", type: "i32", init: int(0) }, { kind: "Assign", name: "at", value: add(i32("at"), int(1)) }, ifThen(binary("==", i32("at"), int(2)), then, true)]))]);
    verify(turn());
    expect(() => verify(turn(barrier))).toThrow(/may not come here/);
  });
  it("loops over a different number of turns in each thread keep barriers out", () => {
    const body = { kind: "While", cond: binary("<", thread, i32("T")), body: [barrier] } as const;
    expect(() => verify(withRoles([into(multiply, ...multiply.body, body), fetch]))).toThrow(/may not come here/);
    expect(() => verify(withRoles([into(multiply, ...multiply.body, forLoop("i", int(0), lane, [barrier])), fetch]))).toThrow(/may not come here/);
  });
});

describe("the launch before", () => {
  const { body } = ringKernel();
  const wait = invoke("awaitPriorLaunch");
  const read = invoke("cpAsync16", sharedAt("keys", mul(lane, int(8))), { kind: "GlobalAddress", param: "keys", field: "", coords: [int(0), int(0)] }, value(int(1)));
  const early = /the launch before may still run/;
  it("is awaited by all threads, once", () => {
    verify({ ...ringKernel(), body: [wait, ...body] });
    expect(() => verify({ ...ringKernel(), body: [wait, wait, ...body] })).toThrow(/by all threads, once/);
    expect(() => verify(withRoles([into(multiply, wait, ...multiply.body), fetch]))).toThrow(/by all threads, once/);
  });
  it("is awaited before device memory is touched", () => {
    expect(() => verify({ ...ringKernel(), body: [read, wait, ...body] })).toThrow(early);
    expect(() => verify({ ...ringKernel(), body: [ifThen(binary("<", lane, int(2)), [read]), wait, ...body] })).toThrow(early);
  });
});
