/** One case on one device: compiled, checked, held to repeat its bits, and only then timed. */
import { addCosts, boundsOf, bytesOf, type Ceilings, type Cost, costOf, gemmFlopsOf, type Roofline, rooflineOf } from "../compiler/cost.ts";
import { textFor } from "../compiler/ir/manifest.ts";
import { type DsaProgram, programs } from "../dsl/programs/index.ts";
import type { CudaExecutable } from "../targets/cuda/runtime/driver.ts";
import type { Mode } from "../targets/cuda/runtime/measure.ts";
import type { Executable } from "../targets/device.ts";
import { arithmeticOf } from "../verify/executor.ts";
import { type Anchor, timesAsFast } from "./anchors.ts";
import { chunkedWork, planOf } from "./chunks.ts";
import { openMemory, type Work } from "./memory.ts";
import type { Prepared } from "./problems/problem.ts";
import type { Named, Subject } from "./subject.ts";
import type { Timed, Timer } from "./timer.ts";

export interface Measured extends Named {
  readonly timed: Timed;
  /** FLOP of products that the result needs, or where nobody says that, those of the text in whole tiles; null without products. */
  readonly flops: number | null;
  /** 10^12 of them a second. */
  readonly tflops: number | null;
  /** 10^12 bytes a second of those that must be read or written at least once. */
  readonly terabytes: number;
  /** Share of the nearer ceiling of the same run. */
  readonly ofCeiling: { readonly share: number; readonly of: Roofline["by"] } | null;
  /** The least time under those ceilings for what the compiler counts. */
  readonly roofline: Roofline | null;
  readonly cost: Cost;
  /** A figure of another day; the ratio is not one of the same run. */
  readonly anchor: (Anchor & { readonly timesAsFast: number }) | null;
  readonly check: { readonly cells: number; readonly worst: number; readonly equalLaunches: number };
  /** Sets of buffers that the launches took in turn. */
  readonly sets: number;
  readonly kernels: readonly Usage[];
}

/** What the driver says of a kernel's code; null where it says nothing. */
export interface Usage {
  readonly kernel: string;
  /** The launches whose text ran. */
  readonly tier?: string;
  readonly threads: number;
  readonly sharedBytes: number;
  readonly registers: number | null;
  /** Spills and local arrays of a thread. */
  readonly localBytes: number | null;
}

/** A case without a figure, because a result is wrong or the kernel does not run here. */
export interface Failed extends Named {
  readonly failed: string;
}
export type Outcome = Measured | Failed;

export const isMeasured = (outcome: Outcome): outcome is Measured => !("failed" in outcome);

export interface Setting {
  readonly timer: Timer;
  /** Undefined where none were measured. */
  ceilings(mode: Mode): Ceilings | undefined;
  /** Told what is going on. */
  onStep?(text: string): void;
}

/** Launches that must leave the same bits. */
const equalLaunches = 20;

/** Rejects when a kernel does not compile, or the device refuses it or runs out of memory. */
export async function runCase(subject: Subject, { timer, ceilings, onStep }: Setting): Promise<Outcome> {
  const { named, mode } = subject;
  const { device } = timer;

  onStep?.("compiles");
  const texts = await subject.compile();
  onStep?.("makes inputs");
  const prepared = subject.prepare(texts.map((tiers) => tiers.at(-1)!.tile));
  const program = subject.program && programs[subject.program];
  const compiled = texts.map((tiers) => (program ? tiers : [textFor(tiers, prepared.dims)]));
  onStep?.("counts");
  const plan = program && planOf(device, program, compiled, prepared);
  const cost = withoutScratch(addCosts(texts.map((tiers) => costOf(tiers.at(-1)!.tile, prepared.inputs, prepared.dims))), program);

  const loaded: Executable[][] = [];
  for (const tiers of compiled) {
    const executables: Executable[] = [];
    for (const { manifest, text } of tiers) executables.push(await device.load(manifest, text));
    loaded.push(executables);
  }
  const chunked = program && plan && chunkedWork(device, program, loaded, plan);
  const memory = openMemory(timer, loaded, prepared, chunked ?? wholeWork(loaded, prepared));
  try {
    onStep?.("checks");
    const first = memory.set();
    const launches = memory.launches(first);
    launches.forEach((launch) => device.launch(launch));
    const { worst, cells, failure } = await prepared.check({
      read: (param, from, bytes) => device.readPart(first.get(param)!, from, bytes),
      scratchRow: (param, row) => (chunked ? chunked.scratchRow(first, param, row) : Promise.reject(new TypeError("only programs have scratch"))),
      arithmetic: arithmeticOf(named.target, {
        products: compiled.flat().flatMap(({ manifest }) => manifest.products ?? []),
        algebra: compiled.flat().flatMap(({ manifest }) => manifest.algebra ?? []),
      }),
      tune: Object.fromEntries(compiled.flat().map(({ manifest }) => [manifest.kernel, manifest.tune])),
    });
    if (failure !== undefined) return { ...named, failed: failure };
    const unequal = await memory.differing(first, equalLaunches);
    if (unequal !== undefined) return { ...named, failed: `${equalLaunches} launches left different bits in ${unequal}` };

    onStep?.("is timed");
    const sets = setsPast(timer, bytesOf(cost), memory.bytes);
    const rounds = [first, ...Array.from({ length: sets - 1 }, () => memory.set())].map((set) => memory.launches(set));
    const timed = await timer.time(rounds, mode);
    const { median } = timed.time;
    const flops = prepared.flops ?? (gemmFlopsOf(cost) || null);
    const bounds = ceilings(mode);
    return {
      ...named,
      timed,
      flops,
      tflops: flops === null ? null : flops / median / 1e6,
      terabytes: bytesOf(cost) / median / 1e6,
      ofCeiling: bounds ? ceilingShare(cost, flops ?? 0, median, bounds) : null,
      roofline: (bounds && rooflineOf(cost, bounds)) ?? null,
      cost,
      anchor: anchorFor(subject, timed, flops),
      check: { cells, worst, equalLaunches },
      sets,
      kernels: [...new Set(launches.map(({ executable }) => executable))].map(usageOf),
    };
  } finally {
    memory.free();
    loaded.flat().forEach((executable) => timer.unload(executable));
  }
}

/** One launch of each kernel. */
const wholeWork = (texts: readonly (readonly Executable[])[], { dims }: Prepared): Work => ({
  scratch: {},
  launchesOf: (set) => texts.map((tiers) => ({ executable: textFor(tiers, dims), buffers: Object.fromEntries(set), dims })),
});

/** What lies in scratch stays on the device and, with luck, in its cache: it counts for no transfer. */
function withoutScratch(cost: Cost, program: DsaProgram | undefined): Cost {
  const kept = (bytes: Cost["readBytes"]): Cost["readBytes"] => Object.fromEntries(Object.entries(bytes).filter(([name]) => !program?.scratch.includes(name)));
  return { ...cost, readBytes: kept(cost.readBytes), writtenBytes: kept(cost.writtenBytes) };
}

/** As many sets of buffers as pass through the cache three times before one comes again, where all of them fit into memory. */
function setsPast({ cacheBytes, memoryBytes }: Timer, touched: number, bytes: number): number {
  const wanted = Math.min(512, Math.ceil((3 * cacheBytes) / Math.max(touched, 1)));
  return Math.max(1, Math.min(wanted, Math.floor(memoryBytes / (2 * bytes))));
}

/** Of products those count that the result needs, whatever the kernel does in vain. */
function ceilingShare(cost: Cost, flops: number, microseconds: number, ceilings: Ceilings): Measured["ofCeiling"] {
  const bounds = boundsOf(cost, ceilings);
  const products = (bounds.products * flops) / Math.max(gemmFlopsOf(cost), 1) / microseconds;
  const memory = bounds.memory / microseconds;
  if (products + memory === 0) return null;
  return products >= memory ? { share: products, of: "products" } : { share: memory, of: "memory" };
}

function anchorFor(subject: Subject, { how, time }: Timed, flops: number | null): Measured["anchor"] {
  const anchor = subject.anchor(how);
  return anchor ? { ...anchor, timesAsFast: timesAsFast(anchor, { microseconds: time.median, flops: flops ?? undefined }) } : null;
}

function usageOf(executable: Executable): Usage {
  const { kernel, tier, threads, sharedBytes } = executable.manifest;
  const { registers = null, localBytes = null } = executable as Partial<CudaExecutable>;
  return { kernel, ...(tier && { tier: tier.name }), threads, sharedBytes, registers, localBytes };
}
