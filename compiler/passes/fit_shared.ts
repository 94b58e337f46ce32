/** Fits the staged tiles into a block's shared memory: tiles that can as well be read from device memory give way, largest first. */
import { byteSize } from "../../dsl/dtype.ts";
import { diagnostic } from "../diagnostics.ts";
import type { Machine } from "../ir/plan.ts";
import type { TileKernel } from "../ir/tile.ts";
import { statements } from "../ir/walk.ts";
import type { StagedTile } from "./plan_stages.ts";

export const stageBytes = (s: StagedTile): number => Math.ceil((s.stage.elements * byteSize(s.stage.dtype)) / 128) * 128;

export function fitShared(kernel: TileKernel, stages: readonly StagedTile[], machine: Machine): StagedTile[] {
  const counters = [...statements(kernel.body)].reduce((n, s) => (s.kind === "Histogram" ? n + 4 * s.bins : n), 0);
  const room = machine.maxSharedBytes - counters - 3 * machine.exchangeBytes;
  const kept = [...stages].sort((a, b) => stageBytes(a) - stageBytes(b));
  const total = () => kept.reduce((n, s) => n + stageBytes(s), 0);
  while (total() > room) {
    const largest = kept.findLastIndex((s) => s.optional);
    if (largest < 0) break;
    kept.splice(largest, 1);
  }
  if (total() > room) {
    const worst = kept.at(-1)!;
    throw diagnostic(
      "E-FIT-01",
      { ...worst.value.loc, length: worst.value.label.length },
      {
        kernel: kernel.name,
        target: machine.name,
        need: total() + counters,
        have: machine.maxSharedBytes - 3 * machine.exchangeBytes,
        largest: `${worst.value.label}[${worst.value.axes.map((a) => `${a.name} ${a.extent}`).join(", ")}] takes ${stageBytes(worst)} bytes`,
        tune: Object.entries(kernel.tune).map(([k, v]) => `${k}=${v}`).join(", ") || "the block sizes",
      },
    );
  }
  const keep = new Set(kept);
  return stages.filter((s) => keep.has(s));
}
