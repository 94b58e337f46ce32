/** Kernels whose loop is dealt out over a cluster, on the simulated machine; and mistakes planted in what they became. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { readKernel } from "../../../compiler/front/index.ts";
import { MachineFault, runLoop } from "../../../compiler/interp/loop.ts";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import { isLeader, rankIn } from "../../../compiler/ir/cluster.ts";
import { binary, int } from "../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopStmt } from "../../../compiler/ir/loop.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import { printPlan } from "../../../compiler/ir/print_plan.ts";
import { verifyLoop } from "../../../compiler/ir/verify_loop.ts";
import { compileTile, type Compiled } from "../../../compiler/pipeline.ts";
import { fromBytes, toBytes } from "../../../dsl/dtype.ts";
import { presets } from "../../../dsl/kernels/presets.ts";
import { assemble, hasNvcc } from "../../targets/cuda/emit/nvcc.ts";
import { random, read } from "../kernel_cases.ts";
import { hopper, readShared } from "./small_kernels.ts";

const records = [...hopper.instructions.values()];
const selection = join(import.meta.dirname, "../../kernels/selection.ts");

// ---- Top-k: a row's branches, its early end, the rescue and ties, all behind the loop that blocks share

interface Selection {
  readonly topK: number;
  readonly blocks: number;
  readonly threads: number;
  readonly seed: number;
}
const kinds: readonly ((x: number) => number)[] = [(x) => x, (x) => Math.round(2 * x), () => 1, (x) => Math.max(x - 0.8, 0)];

test.each<Selection>([
  { topK: 5, blocks: 2, threads: 64, seed: 1 },
  { topK: 24, blocks: 8, threads: 32, seed: 2 },
  { topK: 9, blocks: 4, threads: 32, seed: 3 },
])("top-k by $blocks blocks of $threads threads", async ({ topK, blocks, threads, seed }) => {
  const tile = await read("topk", { ...presets["v3.2"]!, topK }, { BT: threads, SAMPLE: 32, BINS: 16, ROOM: 3 * topK, SPAN: 64, WIDE: 32, DENSITY: 3 });
  const made = compileTile(tile, hopper, { threads, cluster: { blocks, deal: "tb" }, ...(seed > 1 && { ahead: ["select.scores"] }) }, "");
  const next = random(seed);
  for (const [i, kind] of kinds.entries()) {
    for (const T of [topK - 1, 150 + Math.floor(next() * 200)]) {
      const windows = [[0, T], [Math.floor(next() * 9) - 2, T - Math.floor(next() * 9)]] as const;
      const inputs = {
        logits: toBytes("f32", Array.from({ length: 2 * T }, () => kind(2 * next() - 1))),
        first: toBytes("i32", windows.map(([first]) => first)),
        last: toBytes("i32", windows.map(([, last]) => last)),
        idx: new Uint8Array(2 * topK * 4).fill(7),
      };
      const { want, got } = both(made, inputs, { Q: 2, T, logitsPitch: T }, seed + i);
      expect(fromBytes("i32", got.idx!)).toEqual(fromBytes("i32", want.idx!));
    }
  }
});

type Buffers = Readonly<Record<string, Uint8Array>>;
function both({ tile, loop }: Pick<Compiled, "tile" | "loop">, inputs: Buffers, dims: Readonly<Record<string, number>>, seed: number): { readonly want: Buffers; readonly got: Buffers } {
  const [want, got] = [structuredClone(inputs), structuredClone(inputs)];
  interpretTile(tile, want, dims);
  runLoop(loop, records, got, dims, { seed });
  return { want, got };
}

// ---- Stream compaction: what stands in the plan and in the text, and what happens to it under mistakes

let made: Compiled;
let topk: Compiled;
beforeAll(async () => {
  const tile: TileKernel = await readKernel({ file: selection, exportName: "compactRows", skipTypes: true, tune: { BC: 32 } });
  made = compileTile(tile, hopper, { threads: 32, cluster: { blocks: 4, deal: "cb" } }, "");
  topk = compileTile(await read("topk", { ...presets["v3.2"]!, topK: 5 }), hopper, { threads: 256, ahead: ["select.scores"], cluster: { blocks: 8, deal: "tb" } }, "");
});

test("the plan", async () => {
  const text = printPlan(made.plan);
  await expect(text.slice(text.indexOf("\nbody"))).toMatchFileSnapshot("./golden/deal_cluster.txt");
});
test("a block's first tile is on its way as soon as its bounds can be known", async () => {
  const { plan } = compileTile(await readShared(""), hopper, { threads: 32, ahead: ["x"], cluster: { blocks: 4, deal: "cb" } }, "");
  const text = printPlan(plan);
  const [names, first, loop] = ["cb_start: i32", "compute x.first", "for half"].map((s) => text.indexOf(s)) as [number, number, number];
  expect(text).toMatch(/compute x\.first: f32\[c 32\] = load x\[r, c cb_start /);
  expect(names).toBeGreaterThan(0);
  expect([names < first, first < loop]).toEqual([true, true]);
});
test("the header and the launch", () => {
  expect(made.text).toContain("// (R * 4) blocks of 32 threads, 4 to a cluster;");
  expect(made.text).toContain("void __cluster_dims__(4, 1, 1) __launch_bounds__(32, 1) compact_rows(");
  expect(made.manifest.blocks).toEqual({ op: "mul", args: ["R", 4] });
});

test.skipIf(!hasNvcc)("texts assemble", { timeout: 60_000 }, async () => {
  const log = await assemble("sm_90a", [made.text, topk.text]);
  expect(log).toContain("0 bytes spill stores");
  expect(log).not.toMatch(/[1-9][0-9]* bytes spill stores/);
});

const columns = 230;
const inputs = (above: readonly number[] = [0.7, 0.8]): Buffers => ({
  x: toBytes("f32", Array.from({ length: 2 * columns }, (_, i) => ((i * 37) % 101) / 101)),
  above: toBytes("f32", above),
  columns: new Uint8Array(2 * 24 * 4),
  found: new Uint8Array(2 * 4),
});
const dims = { R: 2, C: columns, xPitch: columns };

test("its results, whatever the interleaving", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const { want, got } = both(made, inputs(seed % 3 === 0 ? [-1, 0.5] : undefined), dims, seed); // every third time no bag holds all
    expect(got, `seed ${seed}`).toEqual(want);
  }
});

/** Replaces statement number `which` (from 0) of those that `matches` says, wherever it stands. */
function replace(kernel: LoopKernel, matches: (s: LoopStmt) => boolean, which: number, by: (s: LoopStmt) => readonly LoopStmt[]): LoopKernel {
  let seen = 0;
  const list = (body: readonly LoopStmt[]): LoopStmt[] =>
    body.flatMap((s): readonly LoopStmt[] => {
      if (matches(s) && seen++ === which) return by(s);
      if (s.kind === "If") return [{ ...s, then: list(s.then), otherwise: list(s.otherwise) }];
      return s.kind === "For" || s.kind === "While" ? [{ ...s, body: list(s.body) }] : [s];
    });
  const body = list(kernel.body);
  if (seen <= which) throw new Error("there is no such statement");
  return { ...kernel, body };
}
const calls = (instruction: string) => (s: LoopStmt) => s.kind === "Call" && s.instruction === instruction;
const without = (kernel: LoopKernel, instruction: string, ...which: readonly number[]): LoopKernel =>
  [...which].sort((a, b) => b - a).reduce((k, i) => replace(k, calls(instruction), i, () => []), kernel);

describe("mistakes", () => {
  // arrivals: 0 opens the bags, 1 the followers', 2 the leader's; waits: 0 before the push, 1 the leader's
  const cases: readonly (readonly [string, (kernel: LoopKernel) => LoopKernel, verifier: RegExp | undefined, machine: RegExp])[] = [
    ["nothing says that the leader has begun", (k) => without(without(k, "clusterArrive", 0), "clusterWait", 0), /nothing says that the leader has begun/, /^cluster .*nothing says that the leader has begun/],
    ["nobody waits for the leader's bag", (k) => without(k, "clusterWait", 0), /nothing says that the leader has begun/, /^(cluster .*nothing says that the leader has begun|cluster .*arrives .* again|race .*"kept_added")/],
    ["the bag is opened before it is empty", (k) => replace(without(k, "clusterArrive", 0), (s) => s.kind === "If", 0, (s) => [{ kind: "Call", instruction: "clusterArrive", operands: [] }, s]), undefined, /^(race|uninitialised) .*"kept_added"/],
    ["followers end without a word", (k) => without(k, "clusterArrive", 1), /no arrival says that it is done with the leader's memory/, /^(race .*"kept|cluster .*leader may end before)/],
    ["the leader does not wait for them", (k) => without(without(k, "clusterArrive", 2), "clusterWait", 1), /the leader ends while others may use its memory/, /^(race .*"kept|cluster .*leader.* (has ended|may end))/],
    ["the leader arrives and does not wait", (k) => without(k, "clusterWait", 1), /the leader ends while others may use its memory/, /^(race .*"kept|cluster .*leader.* (has ended|may end))/],
    ["the leader ends at once", (k) => replace(without(k, "clusterArrive", 2), calls("clusterWait"), 1, () => [{ kind: "Exit" }]), /the leader ends while others may use its memory/, /^cluster .*leader.* (has ended|may end)/],
    ["followers go on", (k) => replace(k, (s) => s.kind === "Exit", 0, () => []), /come together again/, /^(cluster .*arrives .* again|conflict|deadlock)/],
    ["followers push before their own bag is complete", (k) => replace(k, (s) => s.kind === "Barrier", 1, () => []), /it may read kept_added/, /^race .*"kept/],
    ["one thread has the place, the others do not wait for it", (k) => replace(k, (s) => s.kind === "Barrier", 2, () => []), /it may read kept_place/, /^(race|uninitialised) .*"kept_place"/],
    ["followers take no place of their own", (k) => replace(k, calls("leaderAdd"), 0, (s) => (s.kind === "Call" ? [{ ...s, operands: s.operands.with(2, { kind: "Value", value: { kind: "Const", type: "u32", value: 0 } }) }] : [])), undefined, /^race .*"kept"/],
    ["followers put all of their items in one place", (k) => replace(k, calls("leaderStore"), 0, (s) => (s.kind === "Call" ? [{ ...s, operands: s.operands.with(0, { kind: "LeaderAddress", buffer: "kept", index: int(0) }) }] : [])), undefined, /^race .*"kept"/],
    ["only some blocks come to the barrier", (k) => replace(k, calls("clusterArrive"), 0, (s) => [{ kind: "If", cond: binary("<", rankIn(4), int(2)), uniform: true, then: [s], otherwise: [] }]), /may differ between the blocks of a cluster/, /^cluster .*without having arrived/],
    ...["kept_added", "kept_place"].map((buffer) => [`blocks come to the barrier for what is in ${buffer}`, (k: LoopKernel) => replace(k, calls("clusterWait"), 0, (s) => [{ kind: "If", cond: binary("<", { kind: "Shared", type: "u32", buffer, index: int(0) }, { kind: "Const", type: "u32", value: 9 }), uniform: true, then: [s], otherwise: [] }]), /may differ between the blocks of a cluster/, /./] as const),
  ];
  test.each(cases)("%s", (_, change, verifier, machine) => {
    const wrong = change(made.loop);
    if (verifier) expect(() => verifyLoop(wrong, hopper, "test")).toThrow(verifier);
    else verifyLoop(wrong, hopper, "test"); // a run has to show it
    for (let seed = 1; seed <= 6; seed++) {
      const found = faultOf(wrong, seed);
      expect(found, `seed ${seed}`).toMatch(machine);
    }
  });
  test("a row that every block takes as a whole", () => {
    const wrong = replace(made.loop, (s) => s.kind === "For" && s.name === "cb", 0, (s) => (s.kind === "For" ? [{ ...s, lo: int(0) }] : []));
    const { want, got } = both({ ...made, loop: wrong }, inputs(), dims, 1);
    expect(got.found).not.toEqual(want.found);
  });
  test("every block stores what the leader should", () => {
    verifyLoop(topk.loop, hopper, "test");
    const leads = JSON.stringify(isLeader(8));
    const wrong = replace(topk.loop, (s) => s.kind === "If" && JSON.stringify(s.cond) === leads, 0, (s) => (s.kind === "If" ? s.then : []));
    expect(() => verifyLoop(wrong, hopper, "test")).toThrow(/every block of the cluster stores to device memory/);
  });
  test("a cluster where the kernel says there is none", () => {
    const { cluster: _, ...alone } = made.loop;
    expect(() => verifyLoop(alone, hopper, "test")).toThrow(/the kernel has no clusters/);
    expect(() => verifyLoop({ ...made.loop, cluster: 3 }, hopper, "test")).toThrow(/clusters of 3 blocks/);
  });
});

function faultOf(kernel: LoopKernel, seed: number): string {
  try {
    runLoop(kernel, records, structuredClone(inputs()), dims, { seed });
  } catch (e) {
    if (!(e instanceof MachineFault)) throw e;
    return `${e.code} ${e.message.split("\n")[0]!}`;
  }
  return "no fault";
}
