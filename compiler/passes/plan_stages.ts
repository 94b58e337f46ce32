/** Lays out the staged tiles in shared memory: storage dtype, axis strides with padding against bank conflicts. */
import { byteSize, type DType } from "../../dsl/dtype.ts";
import type { Machine, Stage } from "../ir/plan.ts";
import type { TileKernel, TileValue } from "../ir/tile.ts";
import { axisNames, statements } from "../ir/walk.ts";
import { fillsWords, type Layouts } from "./infer_layouts.ts";
import type { Placement } from "./place_values.ts";
import type { Bound } from "./bind_schedule.ts";
import { behind, complaintOfRing, computedStage, madeStage, ringStage, type Cut, type Reader } from "./tile_rings.ts";

export interface StagedTile {
  readonly value: TileValue;
  readonly stage: Stage;
  /** May be read from device memory instead when shared memory is short. */
  readonly optional: boolean;
  /** Slots of the ring, 1 where there is none. */
  readonly depth: number;
}

interface Need {
  /** Contracted axes of the product that reads the tile, in the tile's own names. */
  readonly over: readonly string[];
  readonly atom: string;
}

export function planStages(kernel: TileKernel, placement: Placement, layouts: Layouts, machine: Machine, { rings, copied, made, leaders }: Pick<Bound, "rings" | "copied" | "made" | "leaders">): StagedTile[] {
  const needs = new Map<number, Need[]>();
  const readers = new Map<number, Reader[]>();
  const values = new Map<number, TileValue>();
  const elementReads = new Set<number>();
  const source = (v: TileValue, over: readonly string[], cuts: readonly Cut[] = []): { value: TileValue; over: readonly string[]; cuts: readonly Cut[] } => {
    const op = placement.inline.get(v.id);
    if (op?.kind === "Slice") return source(op.of, over, [...cuts, op]);
    if (op?.kind === "Rename") return source(op.of, over.map((axis) => Object.entries(op.axes).find(([, to]) => to === axis)?.[0] ?? axis), cuts);
    return { value: v, over, cuts };
  };
  const note = (v: TileValue) => values.set(v.id, v);
  const secondOperand = (product: number): number | undefined => {
    const op = placement.definitions.get(product);
    return op?.kind === "Gemm" ? op.b.id : undefined;
  };
  for (const s of statements(kernel.body)) {
    if (s.kind === "Define") {
      note(s.value);
      if (s.op.kind === "Gemm") {
        const plan = layouts.gemms.get(s.value.id)!;
        const { atom } = plan;
        for (const operand of plan.fragment ? [s.op.b] : [s.op.a, s.op.b]) {
          const { value, over, cuts } = source(operand, s.op.over);
          if (atom !== "fma") readers.set(value.id, [...(readers.get(value.id) ?? []), { plan, side: operand === s.op.a ? "rows" : "columns", over: over[0]!, cuts }]);
          needs.set(value.id, [...(needs.get(value.id) ?? []), { over, atom }]);
        }
      } else if (s.op.kind === "Gather") s.op.picks.forEach((p) => elementReads.add(p.index.id));
    } else if (s.kind === "For") s.tiles.forEach((c) => [c.param, c.result].forEach(note));
    else if (s.kind === "If") s.tiles.forEach((m) => note(m.result));
  }
  const inline = [...rings.keys()].find((id) => !layouts.staged.has(id));
  if (inline !== undefined) throw complaintOfRing(kernel, machine, values.get(inline)!, "only loads and gathers can go there");
  const staged = [...layouts.staged].map((id): StagedTile => {
    const value = values.get(id)!;
    const need = needs.get(id) ?? [];
    const op = placement.definitions.get(id);
    const depth = rings.get(id);
    if (depth !== undefined) return { value, optional: false, depth, stage: ringStage(kernel, machine, value, op, readers.get(id) ?? [], copied.has(id) ? placement.inline : undefined) };
    const source = made.get(id);
    if (source) return { value, optional: false, depth: rings.get(source.id)!, stage: madeStage(kernel, machine, value, readers.get(id) ?? []) };
    if (need.some((n) => n.atom === "wgmma")) return { value, optional: false, depth: 1, stage: computedStage(kernel, machine, value, readers.get(id)!) };
    const optional = (op?.kind === "Load" || op?.kind === "Gather") && need.every((n) => n.atom === "fma") && !elementReads.has(id);
    const layout = layouts.layouts.get(id); // none of what is written in runs
    return { value, optional, depth: 1, stage: stageOf(value, need, !layout || fillsWords(layout, value)) };
  });
  for (const [follower, leader] of leaders) {
    const [first, second] = [leader.id, follower].map((id) => staged.findIndex((s) => s.value.id === secondOperand(id))) as [number, number];
    const { slot, second: tail } = behind(staged[first]!.value, staged[first]!.stage, staged[second]!.stage);
    staged[first] = { ...staged[first]!, stage: slot };
    staged[second] = { ...staged[second]!, stage: tail };
  }
  return staged;
}

function stageOf(value: TileValue, needs: readonly Need[], words: boolean): Stage {
  const tensor = needs.find((n) => n.atom !== "fma");
  const packed = storageDtype(value.dtype, tensor?.atom);
  const dtype = byteSize(packed) < 4 && !words && !tensor ? "f32" : packed;
  const size = byteSize(dtype);
  const granule = (tensor ? 16 : 4) / size;
  const names = axisNames(value);
  // the axes that lie together innermost: contracted ones, or free ones
  const last = names.length - 1;
  const inner = needs[0] ? (i: number) => names.slice(i).every((n) => needs[0]!.over.includes(n) === needs[0]!.over.includes(names[last]!)) : (i: number) => i === last;
  let stride = 1;
  const axes = value.axes.map((a) => ({ ...a, stride: 0 }));
  for (let i = last; i >= 0; i--) {
    axes[i]!.stride = stride;
    stride *= axes[i]!.extent;
    if (i > 0 && inner(i) && !inner(i - 1)) {
      // an odd number of granules a row: eight rows fall into eight different banks
      const granules = Math.ceil(stride / granule);
      stride = needs.length > 0 ? (granules % 2 === 0 ? granules + 1 : granules) * granule : granules * granule;
    }
  }
  return { buffer: value.label, dtype, axes, elements: Math.ceil(stride / granule) * granule };
}

/** e4m3 and e5m2 are exact in bf16 and f16, which multiply without further unpacking. */
function storageDtype(dtype: TileValue["dtype"], atom: string | undefined): DType {
  if (dtype === "bool") return "u32";
  if (dtype === "ue8m0") return "f32";
  if (dtype === "e4m3" || dtype === "e5m2") return atom?.endsWith("f16") && !atom.endsWith("bf16") ? "f16" : "bf16";
  return dtype;
}
