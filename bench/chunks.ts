/** A program's launches over sets of buffers, and a look at the scratch of any of its chunks. */
import type { DsaProgram } from "../dsl/programs/index.ts";
import type { Device, Executable } from "../targets/device.ts";
import { argumentsOf, type Chunk, type ChunkPlan, chunksOf, DEFAULT_SCRATCH_BYTES, planChunks, type ProgramTexts, rowStride } from "../targets/program.ts";
import type { BufferSet, Work } from "./memory.ts";
import type { Prepared } from "./problems/problem.ts";

export interface ChunkedWork extends Work {
  /** Runs the chunk that has this row and reads what it left of it. */
  scratchRow(set: BufferSet, param: string, row: number): Promise<Uint8Array>;
}

/** Chunks of a case; a limit that holds none is a DeviceError, before anything is loaded. */
export const planOf = (device: Device, program: DsaProgram, texts: ProgramTexts, { dims, scratchBytes = DEFAULT_SCRATCH_BYTES }: Prepared): ChunkPlan =>
  planChunks(program, texts, dims, scratchBytes, device.viewAlignment);

export function chunkedWork(device: Device, program: DsaProgram, texts: ProgramTexts<Executable>, plan: ChunkPlan): ChunkedWork {
  const chunks = (set: BufferSet): Chunk[] => chunksOf(device, program, texts, Object.fromEntries(set), plan);
  let left: { readonly set: BufferSet; readonly start: number } | undefined;
  return {
    scratch: plan.scratch,
    launchesOf: (set) => chunks(set).flatMap(({ launches }) => launches),
    async scratchRow(set, param, row) {
      const chunk = chunks(set)[Math.floor(row / plan.rows)]!;
      if (left?.set !== set || left.start !== chunk.start) chunk.launches.forEach((launch) => device.launch(launch));
      left = { set, start: chunk.start };
      const stride = rowStride(argumentsOf(program, texts).scratch.find(({ name }) => name === param)!, plan.dims);
      const from = (row - chunk.start) * stride;
      return device.readPart(set.get(param)!, from, Math.min(stride, plan.scratch[param]! - from));
    },
  };
}
