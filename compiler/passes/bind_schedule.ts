/** Finds the tiles that a schedule names. */
import { diagnostic } from "../diagnostics.ts";
import type { TileKernel, TileValue } from "../ir/tile.ts";
import { definedTiles, statements } from "../ir/walk.ts";
import { DEFAULT_THREADS, type RoleSchedule, type Schedule } from "../target.ts";

export interface Bound {
  /** Threads that layouts are made for: of the block, or of one copy of the computing role. */
  readonly threads: number;
  /** Depth of the ring of each tile that travels through one, by value id. */
  readonly rings: ReadonlyMap<number, number>;
  /** Name of the ring that a tile asks for. */
  readonly ringNames: ReadonlyMap<number, string>;
  /** Tiles whose copies leave the L2 cache first. */
  readonly evictFirst: ReadonlySet<number>;
  /** Accumulators in flight of each product that wgmma computes, by value id. */
  readonly products: ReadonlyMap<number, number>;
  readonly roles: readonly (RoleSchedule & { readonly name: string })[];
  readonly persistent?: Schedule["persistent"];
}

/** Throws E-SCHEDULE-01 for a label that no tile has. */
export function bindSchedule(kernel: TileKernel, schedule: Schedule, target: string): Bound {
  const tiles = [...definedTiles(kernel.body)];
  const products = new Set([...statements(kernel.body)].flatMap((s) => (s.kind === "Define" && s.op.kind === "Gemm" ? [s.value.id] : [])));
  /** Every tile of that name; a variable that is assigned again and again is several tiles. */
  const bind = <V, W>(named: Readonly<Record<string, V>>, among: readonly TileValue[], what: (v: V) => W): Map<number, W> =>
    new Map(
      Object.entries(named).flatMap(([label, v]) => {
        const found = among.filter((t) => t.label === label || t.label.replace(/_[0-9]+$/, "") === label);
        if (found.length === 0) throw diagnostic("E-SCHEDULE-01", { ...kernel.loc, length: kernel.name.length }, { label, kernel: kernel.name, target, known: [...new Set(among.map((t) => t.label))].join(", ") });
        return found.map((t) => [t.id, what(v)] as const);
      }),
    );
  const roles = Object.entries(schedule.roles ?? {}).map(([name, role]) => ({ name, ...role }));
  const [computing] = roles;
  return {
    threads: computing ? (32 * computing.warps) / (computing.copies ?? 1) : (schedule.threads ?? DEFAULT_THREADS),
    rings: bind(schedule.stage ?? {}, tiles, (ring) => (typeof ring === "number" ? ring : ring.slots)),
    ringNames: new Map([...bind(schedule.stage ?? {}, tiles, (ring) => (typeof ring === "number" ? "" : ring.ring))].filter(([, name]) => name !== "")),
    evictFirst: new Set(bind(Object.fromEntries((schedule.evictFirst ?? []).map((label) => [label, true])), tiles, () => true).keys()),
    products: bind(schedule.mma ?? {}, tiles.filter((t) => products.has(t.id)), ({ parts = 1 }) => parts),
    roles,
    ...(schedule.persistent && { persistent: schedule.persistent }),
  };
}
