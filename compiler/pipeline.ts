/** From a kernel file to a text and its manifest: every pass, in order, with the reason it stands there. */
import { createHash } from "node:crypto";
import { readKernel, sourceText, type ReadOptions } from "./front/index.ts";
import { headerOf } from "./header.ts";
import { PRIOR_LAUNCH } from "./ir/instruction.ts";
import { instructionsOf, type LoopKernel } from "./ir/loop.ts";
import type { Dim, Manifest } from "./ir/manifest.ts";
import type { Plan } from "./ir/plan.ts";
import { printLoop } from "./ir/print_loop.ts";
import { printPlan } from "./ir/print_plan.ts";
import { printTile } from "./ir/print_tile.ts";
import type { Loc, TileKernel } from "./ir/tile.ts";
import { verifyLoop } from "./ir/verify_loop.ts";
import { verifyPlan } from "./ir/verify_plan.ts";
import { verifyRings } from "./ir/verify_rings.ts";
import { verifyRoles } from "./ir/verify_roles.ts";
import { verifyTile } from "./ir/verify_tile.ts";
import { awaitProducts } from "./passes/await_products.ts";
import { balanceRelu } from "./passes/balance_relu.ts";
import { bindSchedule } from "./passes/bind_schedule.ts";
import { buildPlan } from "./passes/build_plan.ts";
import { dealCluster } from "./passes/deal_cluster.ts";
import { delayProducts } from "./passes/delay_products.ts";
import { dropDead } from "./passes/drop_dead.ts";
import { dropUnused } from "./passes/drop_unused.ts";
import { fitShared } from "./passes/fit_shared.ts";
import { hoistInvariants } from "./passes/hoist_invariants.ts";
import { hoistScales } from "./passes/hoist_scales.ts";
import { inferLayouts } from "./passes/infer_layouts.ts";
import { insertBarriers } from "./passes/insert_barriers.ts";
import { loadAhead } from "./passes/load_ahead.ts";
import { dimMultiples } from "./passes/lower/context.ts";
import { lower } from "./passes/lower/lower.ts";
import { partLoop } from "./passes/part_loop.ts";
import { placeValues } from "./passes/place_values.ts";
import { planStages } from "./passes/plan_stages.ts";
import { reduceStrength } from "./passes/reduce_strength.ts";
import { shareRegisters } from "./passes/share_registers.ts";
import { splitRelu } from "./passes/split_relu.ts";
import { splitRoles } from "./passes/split_roles.ts";
import type { AlgebraPass, Schedule, Scheduled, Target } from "./target.ts";
import { checkBounds, type Launches, tierNamed, tiersOf } from "./tiers.ts";
import { openTrace, type Trace } from "./trace.ts";

export interface Compiled {
  readonly tile: TileKernel;
  readonly plan: Plan;
  readonly loop: LoopKernel;
  readonly text: string;
  readonly manifest: Manifest;
  /** What the schedule does not give, and why. */
  readonly note?: string;
}

/** Rewrites that a schedule asks for. */
const algebraPasses: readonly (readonly [AlgebraPass, (kernel: TileKernel) => TileKernel])[] = [
  // one multiplication of a sum instead of one of each of its elements
  ["hoistScales", hoistScales],
  // magnitudes are free operands where a maximum is an operation
  ["splitRelu", splitRelu],
  // maxima have half as many units as additions: every second one becomes an addition
  ["balanceRelu", balanceRelu],
  // what they made of values from outside a loop need not be computed in it
  ["hoistInvariants", hoistInvariants],
];

export interface CompileOptions extends ReadOptions {
  readonly target: Target;
  /** Instead of the target's own schedule for the kernel. */
  readonly schedule?: Scheduled;
  /** Which of several schedules; without it the one for the launches that no tier takes. */
  readonly tier?: string;
  /** Threads of a block; the schedule decides when absent. */
  readonly threads?: number;
  /** How the manifest and the header name the spec. */
  readonly specName?: string;
}

export async function compile(options: CompileOptions): Promise<Compiled> {
  const { target } = options;
  const name = options.name ?? options.exportName ?? "";
  const { schedule, launches } = tierNamed(tiersOf(options.schedule ?? target.scheduleOf(name, options.spec), name, target.name), options.tier);
  const tune = { ...schedule.tune, ...options.tune };
  const read = await readKernel({ ...options, tune });
  const chosen = options.threads === undefined ? schedule : { threads: options.threads };
  checkBounds(read, launches, target.name);
  const trace = openTrace(read.name, [target.name, ...(options.tier === undefined ? [] : [options.tier])].join("."));
  return compileTile(read, target, chosen, options.specName ?? "", trace, launches);
}

/** All passes from Tile IR on. The schedule's tune numbers are those that the kernel was read with. */
export function compileTile(read: TileKernel, target: Target, schedule: Schedule, specName: string, trace?: Trace, launches: Launches = {}): Compiled {
  const { machine } = target;
  const { algebra = [] } = schedule;
  verifyTile(read, "readKernel");
  trace?.write("readKernel", printTile(read));

  // what nothing depends on would cost registers
  let tile = dropDead(read);
  verifyTile(tile, "dropDead");
  trace?.write("dropDead", printTile(tile));
  const changed: AlgebraPass[] = [];
  for (const [name, rewrite] of algebraPasses) {
    if (!algebra.includes(name)) continue;
    const before = tile;
    tile = rewrite(before);
    if (tile !== before) changed.push(name);
    verifyTile(tile, name);
    trace?.write(name, printTile(tile));
  }

  // from here on the schedule speaks of tiles, not of labels
  const bound = bindSchedule(tile, schedule, machine);
  // what a cluster deals out has names for what falls to a block
  const { kernel: parted, part } = partLoop(tile, bound, machine);
  if (part) verifyTile(parted, "partLoop");
  // device memory is far away: what the next iteration reads may be under way
  const { kernel, early } = loadAhead(parted, bound.ahead, bound.once);
  tile = kernel;
  if (tile !== parted) {
    verifyTile(tile, "loadAhead");
    trace?.write("loadAhead", printTile(tile));
  }
  // inline or stored, seen by other threads or not: the layouts depend on it
  const placement = placeValues(tile, bound, early);
  // products fix layouts, the rest follows the data; disagreements go through shared memory
  const layouts = inferLayouts(tile, placement, machine, bound);
  // bytes and strides of what goes through shared memory
  const stages = planStages(tile, placement, layouts, machine, bound);
  // shared memory is finite: what can be read from device memory instead is
  const fitted = fitShared(tile, stages, machine);
  const built = buildPlan(tile, placement, layouts, fitted, bound);
  // loop variables and accumulators in place
  const shared = shareRegisters(built);
  verifyPlan(shared, machine, "shareRegisters");
  trace?.write("shareRegisters", printPlan(shared));
  // wgmma runs on while its issuer does other things
  const awaited = awaitProducts(shared);
  // who does what, and how the roles hand each other their tiles
  const split = splitRoles(awaited, bound, machine);
  verifyRoles(split, machine, "splitRoles");
  // a product that is an iteration behind is multiplied beside what the iteration computes
  const delayed = delayProducts(split, bound, machine);
  verifyRoles(delayed, machine, "delayProducts");
  // few items, many multiprocessors: several blocks for each item
  const plan = dealCluster(delayed, bound, part, machine);
  trace?.write("plan", printPlan(plan));

  // one thread's program
  const lowered = { ...lower(plan, machine), ...(schedule.resident !== undefined && { resident: schedule.resident }) };
  trace?.write("lower", printLoop(lowered));
  // names that nothing reads
  const used = dropUnused(lowered);
  // what is left of address arithmetic beside the products of a role
  const reduced = reduceStrength(used);
  // only now is it known who writes what
  const loop = insertBarriers(reduced, target.instructions);
  verifyLoop(loop, target, "insertBarriers");
  verifyRings(plan, loop, "insertBarriers");
  trace?.write("insertBarriers", printLoop(loop));

  const text = target.emit(loop, { header: headerOf(tile, plan, loop, target.name, specName, launches, schedule.note), sourceLine });
  const manifest = manifestOf(tile, loop, target, changed, launches, text);
  return { tile, plan, loop, text, manifest, ...(schedule.note !== undefined && { note: schedule.note }) };
}

function sourceLine(loc: Loc): string {
  return sourceText(loc.file)?.split("\n")[loc.line - 1]?.trim() ?? "";
}

function manifestOf(tile: TileKernel, loop: LoopKernel, target: Target, algebra: readonly AlgebraPass[], launches: Launches, text: string): Manifest {
  const multiples = dimMultiples(tile);
  const dims = tile.dims.map((d): Dim => ({ ...d, ...(multiples.get(d.name)! > 1 && { multipleOf: multiples.get(d.name)! }) }));
  const products = [...instructionsOf(loop.body)].filter((name) => target.instructions.get(name)?.flops).sort();
  return {
    format: 1,
    kernel: tile.name,
    target: target.name,
    entry: target.entryOf(loop),
    file: target.file,
    source: `${tile.loc.file}:${tile.loc.line}`,
    spec: tile.spec ?? null,
    tune: tile.tune,
    ...launches,
    params: tile.params,
    dims,
    tensorMaps: loop.tensorMaps,
    blocks: loop.blocks,
    threads: loop.threads,
    sharedBytes: loop.sharedBytes,
    ...(instructionsOf(loop.body).has(PRIOR_LAUNCH) && { awaitsPrior: true as const }),
    ...target.needs(loop),
    ...(products.length > 0 && { products }),
    ...(algebra.length > 0 && { algebra }),
    sha256: createHash("sha256").update(text).digest("hex"),
  };
}
