/** Fits the staged tiles into a block's shared memory: tiles that can as well be read from device memory give way, largest first. */
import { byteSize } from "../../dsl/dtype.ts";
import { diagnostic } from "../diagnostics.ts";
import { collectiveBuffers } from "../ir/collectives.ts";
import type { Machine } from "../ir/plan.ts";
import type { TileKernel } from "../ir/tile.ts";
import type { StagedTile } from "./plan_stages.ts";

export const stageBytes = (s: StagedTile): number => (s.stage.behind ? 0 : s.depth) * Math.ceil((s.stage.elements * byteSize(s.stage.dtype)) / 128) * 128;

/** Throws E-FIT-01 if what cannot give way is too large. */
export function fitShared(kernel: TileKernel, stages: readonly StagedTile[], machine: Machine): StagedTile[] {
  const collections = collectiveBuffers(kernel.body, false).buffers;
  const fixed = collections.reduce((n, c) => n + 4 * c.elements, 0);
  const have = machine.maxSharedBytes - 3 * machine.exchangeBytes;
  const kept = [...stages].sort((a, b) => stageBytes(a) - stageBytes(b));
  const need = () => kept.reduce((n, s) => n + stageBytes(s), fixed);
  while (need() > have) {
    const largest = kept.findLastIndex((s) => s.optional);
    if (largest < 0) break;
    kept.splice(largest, 1);
  }
  if (need() > have) {
    const users = [
      ...kept.map((s) => ({ what: `${s.value.label}[${s.value.axes.map((a) => `${a.name} ${a.extent}`).join(", ")}]`, bytes: stageBytes(s), loc: s.value.loc, length: s.value.label.length })),
      ...collections.map((c) => ({ what: c.what, bytes: 4 * c.elements, loc: c.loc, length: c.name.length })),
    ];
    const worst = users.reduce((a, b) => (b.bytes > a.bytes ? b : a));
    throw diagnostic(
      "E-FIT-01",
      { ...worst.loc, length: worst.length },
      {
        kernel: kernel.name,
        target: machine.name,
        need: need(),
        have,
        largest: `${worst.what} takes ${worst.bytes} bytes`,
        tune: Object.entries(kernel.tune).map(([k, v]) => `${k}=${v}`).join(", ") || "the block sizes",
      },
    );
  }
  const keep = new Set(kept);
  return stages.filter((s) => keep.has(s));
}
