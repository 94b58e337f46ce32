/**
 * Instruction records of Hopper (sm_90a) but for wgmma and words: hardware barriers, tensor copies (TMA), the fences between them. The simulated
 * machine knows what they mean by name, so most `semantics` are empty. PTX ISA manual: "mbarrier", "cp.async.bulk.tensor",
 * "Async proxy".
 */
import type { Instruction } from "../../compiler/ir/instruction.ts";
import { encode } from "../../dsl/dtype.ts";
import { codecHelper, packName } from "./codec.ts";
import { arg, texts } from "./operands.ts";
import { cudaArchs } from "./target.ts";
import { unpackInstructions } from "./unpack.ts";
import { wgmmaInstructions } from "./wgmma.ts";

/** A record whose effect is the machine's own. */
const machine = (
  name: string,
  more: Pick<Instruction, "text"> & Partial<Pick<Instruction, "timeline" | "scope" | "operands" | "writes" | "helper">>,
): Instruction => ({ name, timeline: "inOrder", scope: "thread", operands: [], writes: [], semantics() {}, ...more });

const statement = (ptx: string) => (): string => `asm volatile("${ptx};" ::: "memory");`;

/** A function of a barrier: its address is %0, `inputs` follow. */
const barrierHelper = (name: string, parameters: string, ptx: string, inputs = ""): string =>
  [
    `__device__ inline void ${name}(u64* barrier${parameters}) {`,
    `  asm volatile("${ptx}"`,
    `               :: "r"((u32)__cvta_generic_to_shared(barrier))${inputs} : "memory");`,
    "}",
  ].join("\n");

const barriers: readonly Instruction[] = [
  /** (barrier, arrivals): one thread makes the barrier; others see it after `mbarrierInitFence` and a block barrier. */
  machine("mbarrierInit", {
    operands: ["Barrier", "Value"],
    text: (o) => `mbarrierInit(${texts(o)});`,
    helper: barrierHelper("mbarrierInit", ", u32 arrivals", "mbarrier.init.shared::cta.b64 [%0], %1;", ', "r"(arrivals)'),
  }),
  machine("mbarrierInitFence", { text: statement("fence.mbarrier_init.release.cluster") }),
  machine("mbarrierArrive", {
    operands: ["Barrier"],
    text: (o) => `mbarrierArrive(${texts(o)});`,
    helper: barrierHelper("mbarrierArrive", "", "mbarrier.arrive.shared::cta.b64 _, [%0];"),
  }),
  /** (barrier): one arrival, after all that the lanes did before. */
  machine("mbarrierArriveWarp", {
    scope: "warp",
    operands: ["Barrier"],
    text: (o) => `mbarrierArriveWarp(${texts(o)});`,
    helper: [
      "__device__ inline void mbarrierArriveWarp(u64* barrier) {",
      "  __syncwarp();",
      "  if (threadIdx.x % 32 == 0)",
      '    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"((u32)__cvta_generic_to_shared(barrier)) : "memory");',
      "}",
    ].join("\n"),
  }),
  /** (barrier, bytes): one arrival; the phase also waits for as many bytes of tensor copies. */
  machine("mbarrierExpect", {
    operands: ["Barrier", "Value"],
    text: (o) => `mbarrierExpect(${texts(o)});`,
    helper: barrierHelper("mbarrierExpect", ", u32 bytes", "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;", ', "r"(bytes)'),
  }),
  /** (barrier, parity): until the phase of that parity has ended. */
  machine("mbarrierWait", {
    operands: ["Barrier", "Value"],
    text: (o) => `mbarrierWait(${texts(o)});`,
    helper: barrierHelper(
      "mbarrierWait",
      ", u32 parity",
      "{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again; }",
      ', "r"(parity)',
    ),
  }),
  /** (barrier): an arrival, when the copies that this thread started with cp.async have landed. */
  machine("cpAsyncArrive", {
    timeline: "cpAsync",
    operands: ["Barrier"],
    text: (o) => `cpAsyncArrive(${texts(o)});`,
    helper: barrierHelper("cpAsyncArrive", "", "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];"),
  }),
];

/** (shared address, tensor map, full barrier, coordinates fastest first): the box lands later and then completes its bytes on the barrier. */
const tmaLoad = (rank: number, evictFirst: boolean): Instruction => {
  const fn = `tmaLoad${rank}${evictFirst ? "EvictFirst" : ""}`;
  const coords = Array.from({ length: rank }, (_, i) => `x${i}`);
  const slots = coords.map((_, i) => `%${3 + i}`).join(", ");
  return machine(`tmaLoad.${rank}${evictFirst ? ".evictFirst" : ""}`, {
    timeline: "tma",
    operands: ["SharedAddress", "TensorMap", "Barrier", ...coords.map(() => "Value" as const)],
    writes: [0],
    text: (o) => `${fn}(${texts(o)});`,
    helper: [
      `__device__ inline void ${fn}(void* to, const TensorMap* map, u64* full, ${coords.map((x) => `int ${x}`).join(", ")}) {`,
      ...(evictFirst ? ["  u64 policy;", '  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));'] : []),
      `  asm volatile("cp.async.bulk.tensor.${rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes${evictFirst ? ".L2::cache_hint" : ""}"`,
      `               " [%0], [%1, {${slots}}], [%2]${evictFirst ? `, %${3 + rank}` : ""};"`,
      `               :: "r"((u32)__cvta_generic_to_shared(to)), "l"(map), "r"((u32)__cvta_generic_to_shared(full)),`,
      `                  ${[...coords.map((x) => `"r"(${x})`), ...(evictFirst ? ['"l"(policy)'] : [])].join(", ")}`,
      `               : "memory");`,
      "}",
    ].join("\n"),
  });
};

/** (dst register u32, low value, high value): two f32 rounded to a 16-bit format. */
const pack = (dtype: "bf16" | "f16"): Instruction => ({
  name: `pack.${dtype}`,
  timeline: "inOrder",
  scope: "thread",
  operands: [1, "Value", "Value"],
  writes: [0],
  semantics(lanes) {
    const code = (operand: number) => encode(dtype, arg(lanes, 0, operand).value);
    arg(lanes, 0, 0).write(0, (code(1) | (code(2) << 16)) >>> 0);
  },
  text: ([dst, low, high]) => `${dst!.text} = ${packName(dtype)}(${low!.text}, ${high!.text});`,
  helper: codecHelper(packName(dtype), cudaArchs.sm_90a)!.text,
});

/** A function that starts with the leader's address of what `own` is in this block. */
const leaderHelper = (head: string, ptx: string, operands: string): string =>
  [
    `__device__ inline ${head} {`,
    "  u32 to;",
    '  asm("mapa.shared::cluster.u32 %0, %1, 0;" : "=r"(to) : "r"((u32)__cvta_generic_to_shared(own)));',
    `  asm volatile("${ptx}" ${operands} : "memory");`,
    "}",
  ].join("\n");

const clusters: readonly Instruction[] = [
  /** (): all that this thread did comes before what those do that wait for this arrival. All threads of the cluster that have not ended arrive. */
  machine("clusterArrive", { scope: "block", text: statement("barrier.cluster.arrive.release.aligned") }),
  /** (): until the whole cluster has made the arrival that this thread made last. */
  machine("clusterWait", { scope: "block", text: statement("barrier.cluster.wait.acquire.aligned") }),
  /** (dst register u32, leader address, value): dst = the leader's element before value is added to it. */
  machine("leaderAdd", {
    operands: [1, "LeaderAddress", "Value"],
    writes: [0, 1],
    text: (o) => `leaderAdd(${texts(o)});`,
    helper: leaderHelper("void leaderAdd(u32& before, const u32* own, u32 value)", "atom.shared::cluster.add.u32 %0, [%1], %2;", ': "=r"(before) : "r"(to), "r"(value)'),
  }),
  /** (leader address, value): into the leader's element. */
  {
    name: "leaderStore",
    timeline: "inOrder",
    scope: "thread",
    operands: ["LeaderAddress", "Value"],
    writes: [0],
    semantics: (lanes) => arg(lanes, 0, 0).write(0, arg(lanes, 0, 1).value),
    text: (o) => `leaderStore(${texts(o)});`,
    helper: leaderHelper("void leaderStore(const u32* own, u32 value)", "st.shared::cluster.b32 [%0], %1;", ':: "r"(to), "r"(value)'),
  },
];

export const hopperInstructions: readonly Instruction[] = [
  ...barriers,
  ...[1, 2, 3, 4, 5].flatMap((rank) => [tmaLoad(rank, false), tmaLoad(rank, true)]),
  /** (tensor map): on its way to where copies will look for it. */
  machine("prefetchTensorMap", {
    operands: ["TensorMap"],
    text: ([map]) => `asm volatile("prefetch.tensormap [%0];" :: "l"(${map!.text}) : "memory");`,
  }),
  /** (): what this thread wrote to shared memory becomes visible to tensor copies and wgmma. */
  machine("fenceProxyAsync", { text: statement("fence.proxy.async.shared::cta") }),
  ...clusters,
  /**
   * (): until the launch before is over and its memory is to be seen. From here on the launch behind may come up: no earlier, or it would find
   * in a cache what two launches before it read.
   */
  machine("awaitPriorLaunch", {
    text: () => "awaitPriorLaunch();",
    helper: [
      "// the launch before may still run, and the launch behind may come up from here on",
      "__device__ inline void awaitPriorLaunch() {",
      '  asm volatile("griddepcontrol.wait; griddepcontrol.launch_dependents;" ::: "memory");',
      "}",
    ].join("\n"),
  }),
  machine("syncWarp", { scope: "warp", text: () => "__syncwarp();" }),
  /** (): what stands before it is computed before what follows is awaited, also in the assembler's order. */
  machine("schedulingFence", {
    scope: "warp",
    text: () => "schedulingFence();",
    helper: [
      "// ptxas moves nothing past a jump, and cannot know that this one is always taken",
      "__device__ __forceinline__ void schedulingFence() {",
      '  asm volatile("{ .reg .pred on; .reg .b32 blocks; mov.u32 blocks, %nctaid.x; setp.ne.u32 on, blocks, 0x7fffffff;"',
      '               " @on bra after; wgmma.wait_group.sync.aligned 0; trap; after: }" ::: "memory");',
      "}",
    ].join("\n"),
  }),
  pack("bf16"),
  pack("f16"),
  ...unpackInstructions,
  ...wgmmaInstructions,
];
