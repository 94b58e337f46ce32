/**
 * What one launch costs at least, counted on Tile IR with the sizes and the data of that launch.
 *
 * Scalar control flow is run for real: loops whose bounds come from loaded windows and lengths, branches on them, and gathers by loaded
 * indices. Products and maps are not run, only counted; see `cost/walk.ts`.
 *
 * A branch on what only a run would give is counted as taken and a loop up to it as making no trip, and so is what follows from them: the
 * count is that of one way through the kernel, and `assumed` says which. That of top-k is the one on which its guess is right: the row is read once,
 * and no plateau and no rescue is counted.
 *
 * Bytes are those of the 32-byte sectors of device memory that are touched at least once, inside the bounds of a param. Masks of a
 * store count as if they held everywhere. Arithmetic counts whole tiles, what is masked later included.
 */
import { countSectors, touchedMemory } from "./cost/sectors.ts";
import { type Count, walk } from "./cost/walk.ts";
import { evaluate } from "./ir/manifest.ts";
import type { TileKernel, TileType } from "./ir/tile.ts";

/** Numbers by name; what is left out is 0. */
export type Amounts = Readonly<Partial<Record<string, number>>>;

export interface Cost {
  /** FLOP of products of tiles, two a multiply-add, by the wider dtype of the operands. */
  readonly gemmFlops: Readonly<Partial<Record<TileType, number>>>;
  /** f32 additions, multiplications, divisions and functions of everything else. */
  readonly otherFlops: number;
  /** Bytes read at least once, by param. */
  readonly readBytes: Amounts;
  /** Bytes written at least once, by param. */
  readonly writtenBytes: Amounts;
  /** Branches that were taken for granted, because they depend on results that only a run would give. */
  readonly assumed: readonly string[];
}

/**
 * Counts one launch. `buffers` holds the bytes of the inputs that decide control flow; of all others only the length matters, and they
 * may be left out. Pitches default to packed. A missing dim is a RangeError that names it.
 */
export function costOf(kernel: TileKernel, buffers: Readonly<Record<string, Uint8Array>>, dims: Readonly<Record<string, number>>): Cost {
  const values: Record<string, number> = { ...dims };
  for (const { name, default: packed } of kernel.dims) values[name] ??= evaluate(packed ?? name, values);
  const [read, written] = [touchedMemory(kernel.params, values), touchedMemory(kernel.params, values)];
  const count: Count = { read, written, gemmFlops: {}, otherFlops: 0, assumed: new Set() };
  walk(kernel, buffers, values, count);
  const { gemmFlops, otherFlops, assumed } = count;
  return { gemmFlops, otherFlops, readBytes: countSectors(read), writtenBytes: countSectors(written), assumed: [...assumed] };
}

/** Launches one after another. */
export const addCosts = (costs: readonly Cost[]): Cost => ({
  gemmFlops: sumByName(costs.map((c) => c.gemmFlops)),
  otherFlops: costs.reduce((sum, c) => sum + c.otherFlops, 0),
  readBytes: sumByName(costs.map((c) => c.readBytes)),
  writtenBytes: sumByName(costs.map((c) => c.writtenBytes)),
  assumed: [...new Set(costs.flatMap((c) => c.assumed))],
});

function sumByName(all: readonly Amounts[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const amounts of all) for (const [name, amount] of Object.entries(amounts)) sums[name] = (sums[name] ?? 0) + amount!;
  return sums;
}

const total = (amounts: Amounts): number => Object.values(amounts).reduce<number>((sum, amount) => sum + amount!, 0);
export const gemmFlopsOf = (cost: Cost): number => total(cost.gemmFlops);
export const bytesOf = (cost: Cost): number => total(cost.readBytes) + total(cost.writtenBytes);

/** What a device can do at most, a second. */
export interface Ceilings {
  /** Bytes to and from device memory. */
  readonly memory?: number;
  /** FLOP of tensor cores by dtype of the operands. */
  readonly tensor: Readonly<Partial<Record<TileType, number>>>;
}

export interface Roofline {
  readonly microseconds: number;
  readonly by: "products" | "memory";
}

/** Microseconds that products and transfers take at least, each by itself; 0 where no ceiling is known. */
export function boundsOf(cost: Cost, { memory, tensor }: Ceilings): Readonly<Record<Roofline["by"], number>> {
  const products = Object.entries(cost.gemmFlops).reduce((seconds, [dtype, flops]) => {
    const peak = tensor[sameRate[dtype] ?? (dtype as TileType)];
    return seconds + (peak ? flops / peak : 0);
  }, 0);
  return { products: 1e6 * products, memory: memory ? (1e6 * bytesOf(cost)) / memory : 0 };
}

/** The least time of a launch under these ceilings; undefined where they bound nothing of it. */
export function rooflineOf(cost: Cost, ceilings: Ceilings): Roofline | undefined {
  const { products, memory } = boundsOf(cost, ceilings);
  if (products + memory === 0) return undefined;
  return products >= memory ? { microseconds: products, by: "products" } : { microseconds: memory, by: "memory" };
}

/** Tensor cores run formats of one width at one rate. */
const sameRate: Readonly<Record<string, TileType>> = { e5m2: "e4m3", f16: "bf16" };
