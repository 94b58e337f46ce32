/** Tune numbers say how the work is cut, not what comes out. */
import { describe, expect, test } from "vitest";
import { textOf } from "../../compiler/cli/jobs.ts";
import { targetNamed } from "../../compiler/cli/targets.ts";
import { compile } from "../../compiler/pipeline.ts";
import type { TileKernel } from "../../compiler/ir/tile.ts";
import type { KernelName } from "../../dsl/kernels/index.ts";
import { checks } from "../../verify/checks/index.ts";
import { loopExecutor, tileExecutor } from "../../verify/executor.ts";
import { describeFailure, verifyKernel } from "../../verify/verify.ts";
import { numbersOf } from "./numbers.ts";
import { tinySubjects, titleOf, type Subject } from "./specs.ts";

type Tune = Readonly<Record<string, number>>;
const selections: readonly Tune[] = [{ SAMPLE: 128, BT: 256, WIDE: 64 }, { SAMPLE: 512, BT: 128, WIDE: 256 }];
const tunes: Readonly<Record<KernelName, readonly Tune[]>> = {
  indexer_logits: [{ BQ: 1, BT: 32, CHUNK: 64 }, { BQ: 4, BT: 64, CHUNK: 1024 }, { BQ: 2, BT: 16, CHUNK: 16 }],
  paged_indexer_logits: [{ PAGES: 1 }, { PAGES: 3 }],
  topk: selections,
  topk_window: selections,
  topk_ragged: selections,
  topk_slots: selections,
  check_selection: [{ SLOTS: 1024 }, { SLOTS: 8 }, { SLOTS: 64 }],
  sparse_mla: [{ BH: 16, BJ: 16 }, { BH: 2, BJ: 16 }, { BH: 16, BJ: 8 }],
  sparse_mla_decode: [{ BH: 16, BJ: 16 }, { BH: 2, BJ: 16 }, { BH: 16, BJ: 8 }],
  sparse_mla_combine: [{ BH: 1 }, { BH: 4 }],
};
const subjects = tinySubjects.map((subject) => [titleOf(subject), subject] as const);
const target = targetNamed("cuda:sm_80");
const compiled = ({ kernel, spec }: Subject, tune: Tune) => compile({ ...textOf(kernel), spec, target, tune });

/** Slots in a step of the softmax are rescaled together, so their number moves roundings. */
const movesRoundings = ({ BJ }: Tune): boolean => BJ !== undefined;

describe("on the Tile interpreter every cell that is written has the same number", () => {
  test.each(subjects)("%s", async (_, subject) => {
    const [first, ...others] = tunes[subject.kernel];
    const [base, ...changed] = [first!, ...others.filter((tune) => !movesRoundings(tune) || tune.BJ === first!.BJ)];
    const wanted = (await compiled(subject, base)).tile;
    const outputs = wanted.params.filter((p) => p.access !== "in").map((p) => p.name);
    const check = checks[subject.kernel];
    for (const tune of changed) {
      const { tile } = await compiled(subject, tune);
      for (const shape of check.fixed(subject.spec, 2e4)) {
        const { buffers, dims } = check.prepare(subject.spec, shape);
        const run = async (kernel: TileKernel, byte: number) => {
          const filled = Object.fromEntries(outputs.map((name) => [name, new Uint8Array(buffers[name]!.length).fill(byte)]));
          return numbersOf(subject, await tileExecutor(kernel).run({ ...buffers, ...filled }, dims));
        };
        const runs = [await run(tile, 0x55), await run(tile, 0xaa), await run(wanted, 0x55), await run(wanted, 0xaa)];
        for (const name of outputs) {
          const [found, again, expected, expectedAgain] = runs.map((of) => of[name]!) as [Float64Array, Float64Array, Float64Array, Float64Array];
          // what a run leaves as it was differs between its two fillings
          const different = found.findIndex((x, i) => Object.is(x, again[i]) && Object.is(expected[i], expectedAgain[i]) && !Object.is(x, expected[i]));
          expect(different, `${name} with ${JSON.stringify(tune)}, ${JSON.stringify(dims)}`).toBe(-1);
        }
      }
    }
  });
});

test("a step of as many slots as the block has threads for, on the simulated machine", async () => {
  // probabilities of bf16 are read by tensor cores, and a thread has one of them: two have to come together in a word
  const [, subject] = subjects.find(([title]) => title.startsWith("sparse_mla of v4-flash"))!;
  const { loop, tile } = await compiled(subject, { BH: 16, BJ: 16 });
  const report = await verifyKernel({ ...subject, executor: loopExecutor(loop, target, tile.tune), runs: 1 });
  if (report.failed) throw new Error(describeFailure(report, report.failed));
  expect(report.cells).toBeGreaterThan(0);
});
