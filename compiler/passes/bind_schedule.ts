/** Finds the tiles that a schedule names. */
import { diagnostic } from "../diagnostics.ts";
import type { TileKernel, TileValue } from "../ir/tile.ts";
import { definedTiles } from "../ir/walk.ts";
import { DEFAULT_THREADS, type RoleSchedule, type Schedule } from "../target.ts";

export interface Bound {
  /** Threads that layouts are made for: of the block, or of one copy of the computing role. */
  readonly threads: number;
  /** Depth of the ring of each tile that travels through one, by value id. */
  readonly rings: ReadonlyMap<number, number>;
  /** Accumulators in flight of each product that wgmma computes, by value id. */
  readonly products: ReadonlyMap<number, number>;
  readonly roles: readonly (RoleSchedule & { readonly name: string })[];
  readonly persistent?: Schedule["persistent"];
}

/** Throws E-SCHEDULE-01 for a label that no tile has. */
export function bindSchedule(kernel: TileKernel, schedule: Schedule, target: string): Bound {
  const byLabel = new Map<string, TileValue>();
  for (const v of definedTiles(kernel.body)) if (!byLabel.has(v.label)) byLabel.set(v.label, v);
  const bind = <V, W>(named: Readonly<Record<string, V>>, what: (v: V) => W): Map<number, W> =>
    new Map(
      Object.entries(named).map(([label, v]) => {
        const value = byLabel.get(label);
        if (!value) throw diagnostic("E-SCHEDULE-01", { ...kernel.loc, length: kernel.name.length }, { label, kernel: kernel.name, target, known: [...byLabel.keys()].join(", ") });
        return [value.id, what(v)];
      }),
    );
  const roles = Object.entries(schedule.roles ?? {}).map(([name, role]) => ({ name, ...role }));
  const [computing] = roles;
  return {
    threads: computing ? (32 * computing.warps) / (computing.copies ?? 1) : (schedule.threads ?? DEFAULT_THREADS),
    rings: bind(schedule.stage ?? {}, (depth) => depth),
    products: bind(schedule.mma ?? {}, ({ parts = 1 }) => parts),
    roles,
    ...(schedule.persistent && { persistent: schedule.persistent }),
  };
}
