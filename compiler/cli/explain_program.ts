/** `explain` of a program: how it cuts its axis under a limit of scratch bytes, and what each chunk launches. */
import type { Dsa } from "../../dsl/kernels/spec.ts";
import type { DsaProgram } from "../../dsl/programs/index.ts";
import { argumentsOf, type ChunkPlan, DEFAULT_SCRATCH_BYTES, PITCH_GRANULE, planChunks, tileOf, translationOf } from "../../targets/program.ts";
import { textFor } from "../ir/manifest.ts";
import { printHost } from "../ir/print_tile.ts";
import type { Dims } from "./options.ts";
import { textsOf } from "./runners.ts";
import { printTable } from "./table.ts";
import { viewAlignmentOf } from "./targets.ts";
import { valueOf } from "./values.ts";

interface Given {
  readonly dim?: Dims;
  /** Bytes. */
  readonly scratch?: number;
}

export async function explainProgram(program: DsaProgram, target: string, spec: Dsa, { dim = {}, scratch = DEFAULT_SCRATCH_BYTES }: Given): Promise<void> {
  const texts = await textsOf(program, target, spec);
  const alignment = viewAlignmentOf(target);
  const strides = argumentsOf(program, texts).scratch.map((param) => `${printHost(param.axes[0]!.stride)} (${param.name})`);
  console.log(`${program.name}, ${spec.name}, ${target}: ${program.kernels.join(", then ")}, on one chunk of ${program.axis} after another`);
  if (strides.length === 0) console.log("no scratch: one chunk has all of it");
  else {
    console.log(`bytes of scratch for each ${program.axis}: ${strides.join(" + ")}, where a pitch that is not given is rounded up to ${PITCH_GRANULE} elements`);
    console.log(`${program.axis} of a chunk: floor(${scratch} / those bytes), rounded down to a multiple of ${tileOf(program, texts, dim, alignment)}; all of them where they fit`);
  }

  const missing = texts.flatMap((tiers) => translationOf(program, tiers).dims).find((d) => d.default === undefined && dim[d.name] === undefined);
  const plan = missing ? undefined : planChunks(program, texts, dim, scratch, alignment);
  if (missing) console.log(`figures need --dim ${missing.name}=…`);
  else if (plan) printPlan(plan);
  const dims = plan && { ...plan.dims, [plan.dim]: plan.rows };
  console.log("\nlaunches of a chunk");
  printTable(
    ["kernel", "tier", "threads", "shared bytes", "blocks"],
    texts.map((tiers) => {
      const own = dims && translationOf(program, tiers).dimsOf(dims);
      const { manifest } = own ? textFor(tiers, own) : tiers.at(-1)!;
      return [manifest.kernel, manifest.tier?.name ?? "–", `${manifest.threads}`, `${manifest.sharedBytes}`, valueOf(manifest.blocks, own ?? {})];
    }),
  );
}

function printPlan({ dim, total, rows, chunks, rowBytes, scratch }: ChunkPlan): void {
  console.log(`\n${dim} ${total}: ${chunks} chunks of ${rows}, the last of ${total - (chunks - 1) * rows}; ${rowBytes} bytes for each`);
  if (rowBytes > 0) printTable(["scratch", "bytes"], Object.entries(scratch).map(([name, bytes]) => [name, `${bytes}`]));
}
