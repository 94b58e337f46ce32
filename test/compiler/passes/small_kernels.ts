/** The small kernels of these tests, what each pass makes of them, and its results as text. */
import { join } from "node:path";
import { readKernel } from "../../../compiler/front/index.ts";
import { printLayout } from "../../../compiler/ir/layout.ts";
import type { LoopKernel } from "../../../compiler/ir/loop.ts";
import type { Plan } from "../../../compiler/ir/plan.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import { definedTiles } from "../../../compiler/ir/walk.ts";
import { awaitProducts } from "../../../compiler/passes/await_products.ts";
import { bindSchedule } from "../../../compiler/passes/bind_schedule.ts";
import { buildPlan } from "../../../compiler/passes/build_plan.ts";
import { delayProducts } from "../../../compiler/passes/delay_products.ts";
import { dropDead } from "../../../compiler/passes/drop_dead.ts";
import { dropUnused } from "../../../compiler/passes/drop_unused.ts";
import { fitShared } from "../../../compiler/passes/fit_shared.ts";
import { inferLayouts, type Layouts } from "../../../compiler/passes/infer_layouts.ts";
import { insertBarriers } from "../../../compiler/passes/insert_barriers.ts";
import { loadAhead } from "../../../compiler/passes/load_ahead.ts";
import { lower } from "../../../compiler/passes/lower/lower.ts";
import { placeValues, type Placement } from "../../../compiler/passes/place_values.ts";
import { planStages, type StagedTile } from "../../../compiler/passes/plan_stages.ts";
import { reduceStrength } from "../../../compiler/passes/reduce_strength.ts";
import { shareRegisters } from "../../../compiler/passes/share_registers.ts";
import { splitRoles } from "../../../compiler/passes/split_roles.ts";
import type { Schedule, Target } from "../../../compiler/target.ts";
import { cudaTarget } from "../../../targets/cuda/index.ts";
import { wgslTarget } from "../../../targets/wgsl/index.ts";
import { schedules as pooledSchedules } from "../../kernels/pooled_scores.ts";

export const cuda = cudaTarget("cuda:sm_80");
export const wgsl = wgslTarget();
export const hopper = cudaTarget("cuda:sm_90a");

/** A computing role of so many warps a copy, a producer, of one or more warps a copy, that brings tiles through rings of the given depths, and maybe a maker. */
export function ringSchedule({ warps, copies = { math: 1, producer: 1 }, bringing = 1, brings, cpAsync, registers, maker, ...more }: {
  readonly warps: number;
  readonly copies?: { readonly math: number; readonly producer: number };
  readonly bringing?: number;
  readonly brings: Readonly<Record<string, number>>;
  readonly cpAsync?: readonly string[];
  readonly registers?: { readonly math: number; readonly producer: number };
  readonly maker?: { readonly warps: number; readonly makes: readonly string[] };
} & Pick<Schedule, "mma" | "persistent">): Schedule {
  return {
    roles: {
      math: { warps: warps * copies.math, copies: copies.math, ...(registers && { registers: registers.math }) },
      ...(maker && { maker }),
      producer: { warps: bringing * copies.producer, copies: copies.producer, ...(registers && { registers: registers.producer }), brings: Object.keys(brings), ...(cpAsync && { cpAsync }) },
    },
    stage: brings,
    ...more,
  };
}

export const smallKernels = {
  loops: ["swap", "rotate", "mirror", "nested", "carriedScalars", "swappedScalars", "branches", "readInside", "windowSums", "chasedRows"],
  products: [
    "attention", "sliceDepth", "sliceColumns", "sliceEnds", "sliceEndsAcross", "raggedProduct", "twoColumnAxes", "transposedProduct", "batchProduct",
    "reorderedDepth", "gatheredProduct", "oddDepth", "narrowProduct",
  ],
  selection: ["countsThenAdd", "unusedFind", "findEnds", "findTogether", "longScan", "shortScan", "rowScans", "select"],
  registers: ["inPlace", "readsOldLater", "readsAccumulator", "multipliesItself", "bothTakeNext"],
  elementwise: ["softmaxRows", "sums", "gatherRows", "slidingBlocks", "deadCode"],
  scales: ["reluScores", "narrowReluScores", "leakyScores", "clippedScores", "softScores", "gatedInside", "readTwice", "nestedLoops"],
} as const;
type File = keyof typeof smallKernels;
export type SmallKernel = (typeof smallKernels)[File][number];
export const smallKernelNames = Object.values(smallKernels).flat() as readonly SmallKernel[];

export function readSmall(name: SmallKernel): Promise<TileKernel> {
  const file = (Object.keys(smallKernels) as File[]).find((f) => (smallKernels[f] as readonly string[]).includes(name));
  return readKernel({ file: join(import.meta.dirname, "kernels", `${file}.ts`), exportName: name, skipTypes: true });
}

/** What every pass makes of a kernel. */
export interface Passes {
  readonly read: TileKernel;
  readonly tile: TileKernel;
  readonly placement: Placement;
  readonly layouts: Layouts;
  readonly stages: readonly StagedTile[];
  readonly fitted: readonly StagedTile[];
  readonly built: Plan;
  /** One role runs it. */
  readonly plan: Plan;
  readonly awaited: Plan;
  readonly split: Plan;
  readonly delayed: Plan;
  readonly lowered: LoopKernel;
  readonly used: LoopKernel;
  readonly reduced: LoopKernel;
  readonly loop: LoopKernel;
}

export function runPasses(read: TileKernel, target: Target, schedule: Schedule): Passes {
  const { machine } = target;
  const labelled = dropDead(read);
  const bound = bindSchedule(labelled, schedule, machine);
  const { kernel: tile, early } = loadAhead(labelled, bound.ahead, bound.once);
  const placement = placeValues(tile, bound, early);
  const layouts = inferLayouts(tile, placement, machine, bound);
  const stages = planStages(tile, placement, layouts, machine, bound);
  const fitted = fitShared(tile, stages, machine);
  const built = buildPlan(tile, placement, layouts, fitted, bound);
  const plan = shareRegisters(built);
  const awaited = awaitProducts(plan);
  const split = splitRoles(awaited, bound, machine);
  const delayed = delayProducts(split, bound, machine);
  return { read, tile, placement, layouts, stages, fitted, built, plan, awaited, split, delayed, ...runLoopPasses(delayed, target) };
}
/** The program of a plan, by the passes behind splitRoles. */
export function runLoopPasses(plan: Plan, target: Target): Pick<Passes, "lowered" | "used" | "reduced" | "loop"> {
  const lowered = lower(plan, target.machine);
  const used = dropUnused(lowered);
  const reduced = reduceStrength(used);
  return { lowered, used, reduced, loop: insertBarriers(reduced, target.instructions) };
}
export const passesOf = async (name: SmallKernel, target: Target, threads: number): Promise<Passes> => runPasses(await readSmall(name), target, { threads });

/** Kernels of kernels/rings.ts for schedules with roles. */
export const readRings = (name: "windows" | "matmul" | "scaledRows" | "steered" | "carried" | "found" | "around" | "matmulColumns" | "chained" | "paged" | "unready" | "skipped" | "madeWindows" | "madeChained" | "madeRows" | "latent" | "crossed", spec?: unknown, tune: Readonly<Record<string, number>> = {}): Promise<TileKernel> =>
  readKernel({ file: join(import.meta.dirname, "kernels/rings.ts"), exportName: name, spec, tune, skipTypes: true });

/** A kernel of kernels/clusters.ts. */
export const readShared = (wrong: string): Promise<TileKernel> =>
  readKernel({ file: join(import.meta.dirname, "kernels/clusters.ts"), exportName: "sharedRows", spec: { wrong }, skipTypes: true });

/** Two products of which one has an operand that is computed: by itself, or behind the other's in its slot. */
async function pooledPasses(exportName: "pooledApart" | "pooledBehind"): Promise<Passes> {
  const schedule = pooledSchedules[exportName]!["cuda:sm_90a"] as Schedule;
  const read = await readKernel({ file: join(import.meta.dirname, "../../kernels/pooled_scores.ts"), exportName, skipTypes: true });
  return runPasses(read, hopper, schedule);
}

/** A product whose second operand a role of 64 threads makes, for 128 that multiply. */
async function madePasses(): Promise<Passes> {
  const schedule: Schedule = {
    roles: { math: { warps: 4, registers: 200 }, maker: { warps: 2, registers: 40, makes: ["y"] }, producer: { warps: 1, registers: 40, brings: ["x", "codes", "s"] } },
    stage: { x: { slots: 3, ring: "rows" }, codes: { slots: 2, ring: "columns" }, s: { slots: 2, ring: "columns" } },
    mma: { acc: {} },
    persistent: "strided",
  };
  const file = join(import.meta.dirname, "../../kernels/scaled_matmul.ts");
  return runPasses(await readKernel({ file, exportName: "scaledMatmul", tune: { BM: 64, BN: 16, BK: 64, GROUP: 1 }, skipTypes: true }), hopper, schedule);
}

/**
 * A product in two parts that a sum folds, its rounds dealt out evenly; one that accumulates, items in turn; rows that threads copy; some with computed
 * operands, and one whose operand another role makes.
 */
export const ringPasses = {
  windows: async (): Promise<Passes> =>
    runPasses(await readRings("windows", { dtype: "e4m3", heads: 8, depth: 32 }), hopper, ringSchedule({ warps: 4, brings: { q: 2, k: 2, w: 2, scale: 2 }, mma: { dot: { parts: 2 } }, persistent: { even: "tb", padding: 1 } })),
  matmul: async (): Promise<Passes> =>
    runPasses(await readRings("matmul", { dtype: "bf16" }), hopper, ringSchedule({ warps: 4, registers: { math: 224, producer: 40 }, brings: { x: 3, y: 3 }, mma: { acc: {} }, persistent: "strided" })),
  paged: async (): Promise<Passes> =>
    runPasses(await readRings("paged", { rows: 64, page: 16, depth: 128 }), hopper, {
      ...ringSchedule({ warps: 4, bringing: 4, brings: { x: 1, y: 2, z: 2, w: 2 }, cpAsync: ["x"], mma: { up: {}, down: {} } }),
      stage: { x: 1, y: { slots: 2, ring: "rows" }, z: { slots: 2, ring: "rows" }, w: { slots: 2, ring: "rows" } },
    }),
  pooledApart: () => pooledPasses("pooledApart"),
  pooledBehind: () => pooledPasses("pooledBehind"),
  made: madePasses,
} as const;
/** Two products behind each other in rings of their own, the second one late. */
export const latePasses = async (): Promise<Passes> =>
  runPasses(await readRings("chained", { rows: 64 }), hopper, { ...ringSchedule({ warps: 4, brings: { x: 1, y: 2, z: 2 }, mma: { up: {}, down: { late: true } } }), stage: { x: 1, y: { slots: 2, ring: "ys" }, z: { slots: 2, ring: "zs" } } });

const list = (lines: readonly string[]): string => lines.map((l) => `  ${l}\n`).join("");

export const printPlacement = ({ tile, placement }: Passes): string =>
  list([...definedTiles(tile.body)].map((v) => `${v.label}: ${placement.inline.has(v.id) ? "inline" : placement.staged.has(v.id) ? "stored, staged" : "stored"}`));

export const printLayouts = ({ tile, layouts }: Passes): string =>
  list(
    [...definedTiles(tile.body)].flatMap((v) => {
      const [layout, gemm, reduce] = [layouts.layouts.get(v.id), layouts.gemms.get(v.id), layouts.reduces.get(v.id)];
      if (!layout && !layouts.staged.has(v.id)) return [];
      const own = `${v.label}: ${[layout && printLayout(layout), layouts.staged.has(v.id) ? "staged" : undefined].filter(Boolean).join(", ")}`;
      const joined = reduce && `  joined by lanes ${reduce.shuffles.join(" ") || "none"}, memory ${reduce.joins.map((j) => `${j.size} by ${j.stride}`).join(" ") || "none"}`;
      return [own, ...(gemm ? [`  by ${gemm.atom}`] : []), ...(joined ? [joined] : [])];
    }),
  );

export const printStages = (stages: readonly StagedTile[]): string => list(stages.map(printStaged));
const printStaged = ({ value, stage, optional, depth }: StagedTile): string => {
  const { tiling } = stage;
  const digits = tiling?.digits.map((d) => `${d.axis} ${d.size} by ${d.stride}`).join(", ");
  if (tiling) return `${value.label}: ${depth} slots of ${stage.elements} ${stage.dtype}, ${digits}, swizzle ${tiling.swizzle}, major ${tiling.major ?? "of none"}`;
  return `${value.label}: ${stage.dtype}[${stage.axes.map((a) => `${a.name} ${a.extent} by ${a.stride}`).join(", ")}] of ${stage.elements}${optional ? ", optional" : ""}`;
};

/** Golden text of a pass. */
export const beforeAfter = (before: string, after: string): string => `before\n${before}\nafter\n${after}`;
