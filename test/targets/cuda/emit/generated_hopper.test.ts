/** What the assembler makes of the generated texts with roles: no spills, no serialised products, folds beside the products. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compileJob, textOf as textOfKernel } from "../../../../compiler/cli/jobs.ts";
import { compile } from "../../../../compiler/pipeline.ts";
import { preset } from "../../../../dsl/kernels/presets.ts";
import { withSettings } from "../../../../dsl/kernels/settings.ts";
import { cudaTarget } from "../../../../targets/cuda/index.ts";
import { compileWithNvcc } from "../../../../targets/cuda/runtime/compile.ts";
import { registersAtLaunch } from "../../../../targets/cuda/roles.ts";
import { schedules } from "../../../kernels/causal_attention.ts";
import { schedules as gathered } from "../../../kernels/gathered_matmul.ts";
import { schedules as made } from "../../../kernels/scaled_matmul.ts";
import { hasNvcc } from "./nvcc.ts";
import { codeOf, earlyAccesses, FMNMX, isProduct, lateFolds, type Instruction } from "./sass.ts";

const root = join(import.meta.dirname, "../../../../generated");
const withoutComments = (text: string): string => text.replace(/\/\/.*$/gm, "");

interface Text {
  readonly kernel: string;
  readonly specs: readonly string[];
  readonly text: string;
}
/** Texts for sm_90a that have roles; specs whose programs are equal stand together. */
const texts = new Map<string, Text>();
for (const file of readdirSync(root, { recursive: true, encoding: "utf8" }).sort()) {
  const [, kernel, spec] = /^(\w+)\/cuda-sm_90a\/(.+)\.cu$/.exec(file) ?? [];
  if (kernel === undefined || spec === undefined) continue;
  const text = readFileSync(join(root, file), "utf8");
  const program = withoutComments(text);
  if (program.includes("setmaxnreg")) texts.set(program, { kernel, specs: [...(texts.get(program)?.specs ?? []), spec], text });
}
// presets are exact
for (const indexerHeads of ["64", "48", "32"]) {
  const spec = withSettings(preset("v3.2"), { scoreForm: "linear", indexerHeads });
  const { text } = await compileJob({ ...textOfKernel("indexer_logits"), spec, target: "cuda:sm_90a" });
  texts.set(text, { kernel: "indexer_logits", specs: [spec.name], text });
}
const textOf = (kernel: string): string => [...texts.values()].find((t) => t.kernel === kernel)!.text;
const withoutFences = (text: string): string => text.replace(/^ *schedulingFence\(\);\n/gm, "");

it("there are such texts", () => expect([...texts.values()].map((t) => t.kernel)).toEqual(expect.arrayContaining(["indexer_logits", "paged_indexer_logits"])));

describe.skipIf(!hasNvcc)("ptxas", () => {
  it.each([...texts.values()].map((t) => [t.kernel, t.specs.join(", "), t.text]))("%s of %s", async (kernel, _, text) => {
    const { cubin, kernels, warnings } = await compileWithNvcc(text, "sm_90a");
    expect(warnings).toEqual([]);
    const threads = Number(/__launch_bounds__\((\d+), 1\)/.exec(text)![1]);
    expect(kernels).toMatchObject([{ entry: kernel, registers: registersAtLaunch(threads), stackBytes: 0, spillBytes: 0 }]);
    const code = codeOf(cubin, kernel);
    expect(code.filter(isProduct).length).toBeGreaterThanOrEqual(text.match(/^ *wgmmaM64/gm)!.length);
    expect(new Set(waitsOf(code))).toEqual(new Set([...text.matchAll(/^ *wgmmaWait<(\d)/gm)].map((m) => Number(m[1]))));
    expect(lateFolds(code)).toEqual([]);
    expect(earlyAccesses(code)).toEqual([]);
  });

  // loads of what a launch does not write may be moved past any fence, as far as the language goes
  it.each(["topk/cuda-sm_90a/v3.2.row", "topk/cuda-sm_90a/v3.2.short", "sparse_mla_decode/cuda-sm_90a/v3.2", "sparse_mla_combine/cuda-sm_90a/v3.2", "check_selection/cuda-sm_90a/v3.2"])(
    "%s reads nothing before the launch before it is over",
    async (file) => {
      const text = readFileSync(join(root, `${file}.cu`), "utf8");
      const accesses = async (of: string) => earlyAccesses(codeOf((await compileWithNvcc(of, "sm_90a")).cubin, file.split("/")[0]!));
      expect(await accesses(text)).toEqual([]);
      expect(await accesses(text.replace(/^ *awaitPriorLaunch\(\);\n/m, ""))).not.toEqual([]);
    },
  );

  it("folds that have to stand behind the second wait are found in real code", async () => {
    const text = withoutFences(textOf("indexer_logits"));
    const [first, second] = text.match(/^ *wgmmaWait<.*\n/gm)!;
    // sums that start with what is read there
    const late = text.replace(second!, "").replace(first!, first! + second!).replace(/(_sum\[r\] = )0\.0f;/, "$1*(volatile float*)(shared + 4 * r);");
    const { cubin } = await compileWithNvcc(late, "sm_90a");
    const code = codeOf(cubin, "indexer_logits");
    expect(waitsOf(code)).toEqual([1, 0]);
    expect(lateFolds(code)).toHaveLength(elementsBefore(code));
  });

  it("without the fence ptxas moves folds behind the second wait", async () => {
    const { cubin } = await compileWithNvcc(withoutFences(textOf("indexer_logits")), "sm_90a");
    expect(lateFolds(codeOf(cubin, "indexer_logits"))).not.toEqual([]);
  });

  it("what a turn computes beside a late product stands in front of the wait for it", async () => {
    const file = join(import.meta.dirname, "../../../kernels/causal_attention.ts");
    const target = cudaTarget("cuda:sm_90a");
    const { text } = await compile({ file, exportName: "causalAttention", target, schedule: schedules.causalAttention!["cuda:sm_90a"]!, skipTypes: true });
    const { cubin, kernels, warnings } = await compileWithNvcc(text, "sm_90a");
    expect(warnings).toEqual([]);
    expect(kernels).toMatchObject([{ spillBytes: 0, stackBytes: 0 }]);
    const code = codeOf(cubin, "causal_attention");
    const some = code.findIndex((s) => s.pending === 1);
    const all = code.findIndex((s, i) => i > some && s.pending === 0);
    const EX2 = 0x308;
    // 64 probabilities of a thread, and what two rows shrink by
    expect(code.slice(some, all).filter((s) => s.opcode === EX2)).toHaveLength(66);
  });

  it("threads that copy rows need no more registers than their role has, and products that read them stay asynchronous", async () => {
    const file = join(import.meta.dirname, "../../../kernels/gathered_matmul.ts");
    const target = cudaTarget("cuda:sm_90a");
    const { text } = await compile({ file, exportName: "gatheredMatmul", target, schedule: gathered.gatheredMatmul!["cuda:sm_90a"]!, skipTypes: true });
    const { cubin, kernels, warnings } = await compileWithNvcc(text, "sm_90a");
    expect(warnings).toEqual([]);
    expect(kernels).toMatchObject([{ registers: registersAtLaunch(384), spillBytes: 0, stackBytes: 0 }]);
    expect(codeOf(cubin, "gathered_matmul").filter(isProduct).length).toBeGreaterThanOrEqual(4);
  });

  it("a role that makes an operand takes narrow elements apart and rounds wide ones in pairs, beside asynchronous products", async () => {
    const file = join(import.meta.dirname, "../../../kernels/scaled_matmul.ts");
    const target = cudaTarget("cuda:sm_90a");
    const { text } = await compile({ file, exportName: "scaledMatmul", target, schedule: made.scaledMatmul!["cuda:sm_90a"]!, skipTypes: true });
    const { cubin, kernels, warnings } = await compileWithNvcc(text, "sm_90a");
    expect(warnings).toEqual([]);
    expect(kernels).toMatchObject([{ registers: registersAtLaunch(512), spillBytes: 0, stackBytes: 0 }]);
    const code = codeOf(cubin, "scaled_matmul");
    expect(code.filter(isProduct).length).toBeGreaterThanOrEqual(8);
    const F2FP = 0x23e;
    // 64 elements of a thread: 32 pairs each way
    expect(code.filter((s) => s.opcode === F2FP)).toHaveLength(64);
  });

  it("the magnitude of an element costs no instruction, where its maximum costs one", async () => {
    const exact = [...texts.values()].find((t) => t.kernel === "indexer_logits" && t.specs.includes("v3.2"))!.text; // those of 32 heads add every second one
    const linear = [...texts.values()].find((t) => t.specs.includes("v3.2+scoreForm=linear+indexerHeads=64"))!.text;
    const maxima = async (text: string): Promise<number> => {
      const code = codeOf((await compileWithNvcc(text, "sm_90a")).cubin, "indexer_logits");
      return code.slice(code.findIndex(isProduct)).filter((s) => s.opcode === FMNMX).length;
    };
    expect(await maxima(exact)).toBeGreaterThanOrEqual(128);
    expect(await maxima(linear)).toBe(0);
    expect(linear).toContain("wgmmaM64N144K32E4m3First(&dot[64]"); // 128 columns of scores and 16 of their linear halves
  });

  it("products that read what is not complete are serialised, with a warning", async () => {
    const text = textOf("indexer_logits");
    const [first] = text.match(/^ *wgmmaWait<.*\n/gm)!;
    const { warnings } = await compileWithNvcc(text.replace(first!, ""), "sm_90a");
    expect(warnings).toEqual([expect.stringContaining("C75")]);
  });
});

const waitsOf = (code: readonly Instruction[]): readonly number[] => code.flatMap(({ pending }) => pending ?? []);

/** Elements of a thread that the first wait of several makes ready; 1 where no wait leaves groups under way. */
function elementsBefore(code: readonly Instruction[]): number {
  const wait = code.findIndex((s) => s.pending !== undefined && s.pending > 0);
  const committed = code.slice(0, Math.max(0, wait)).filter((s) => s.commits);
  return committed[0]?.registers ?? 1;
}

describe("late folds", () => {
  const plain: Instruction = { at: 0, opcode: 0, rd: 255, ra: 255, rb: 255, rc: 255, registers: 0, commits: false, pending: undefined };
  const product = (rd: number): Instruction => ({ ...plain, opcode: 0x9f3, rd, registers: 4, commits: true });
  const wait = (pending: number): Instruction => ({ ...plain, opcode: 0x9c5, pending });
  const positive = (rd: number, rb: number): Instruction => ({ ...plain, opcode: 0x209, rd, rb });
  const fold = (sum: number, element: number): Instruction => ({ ...plain, opcode: 0x223, rd: sum, ra: 90, rb: element, rc: sum });
  const [first, second] = [product(8), product(16)];
  it.each<[string, readonly Instruction[], number]>([
    ["none", [first, second, wait(1), fold(30, 8), fold(30, 9), wait(0), fold(30, 16)], 0],
    ["an element behind the second wait", [first, second, wait(1), fold(30, 8), wait(0), fold(30, 9), fold(30, 16)], 1],
    ["elements that were made positive before it", [first, second, wait(1), positive(8, 8), positive(40, 9), wait(0), fold(30, 8), fold(30, 40)], 2],
    ["an element that an addition made positive", [first, second, wait(1), { ...positive(40, 9), opcode: 0x221, ra: 9 }, wait(0), fold(30, 40)], 1],
    ["an element behind the fence and the second wait", [first, second, wait(1), fold(30, 8), { ...plain, opcode: 0x947 }, wait(0), fold(30, 9)], 1],
    ["sums are no elements", [first, second, wait(1), fold(8, 8), wait(0), fold(31, 8)], 0],
    ["a register that holds something else by then", [first, second, wait(1), fold(30, 8), positive(8, 60), wait(0), fold(30, 8)], 0],
    ["what the next products wrote", [first, second, wait(1), wait(0), product(8), fold(30, 8)], 0],
    ["one wait for all", [first, second, wait(0), fold(30, 8)], 0],
  ])("%s", (_, code, count) => expect(lateFolds(code)).toHaveLength(count));
});
