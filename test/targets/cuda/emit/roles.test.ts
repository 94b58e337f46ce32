/** Roles, rings, tensor copies and wgmma as CUDA: golden texts, what ptxas makes of them, the division of the block's warps. */
import { describe, expect, it } from "vitest";
import { printLoop } from "../../../../compiler/ir/print_loop.ts";
import { add, binary, type Expr, int, sub } from "../../../../compiler/ir/expr.ts";
import type { LoopKernel, LoopRole, LoopStmt } from "../../../../compiler/ir/loop.ts";
import { emitCuda } from "../../../../targets/cuda/emit.ts";
import { registersAtLaunch, sectionsOf, warpConditions } from "../../../../targets/cuda/roles.ts";
import { compileWithNvcc } from "../../../../targets/cuda/runtime/compile.ts";
import { emitWgsl } from "../../../../targets/wgsl/emit.ts";
import { barrier, sourceLine, thread } from "../../../compiler/interp/loop_kernels.ts";
import { hasNvcc } from "./nvcc.ts";
import { codeOf, HGMMA, QGMMA, R2UR } from "./sass.ts";
import { array, invoke, matrix, onBarrier, registers, ringScores, ringValues } from "./role_kernels.ts";

const kernels = [ringScores, ringValues];
const emit = (kernel: LoopKernel): string => emitCuda(kernel, { target: "cuda:sm_90a", header: [`${kernel.name}, a test`], sourceLine });

describe("golden texts", () => {
  for (const kernel of kernels) {
    it(`${kernel.name} as CUDA`, () => expect(emit(kernel)).toMatchFileSnapshot(`golden/${kernel.name}.cu`));
    it(`${kernel.name} as Loop IR`, () => expect(printLoop(kernel)).toMatchFileSnapshot(`golden/${kernel.name}.loop.txt`));
  }
});

/** How often an opcode occurs in the code of a cubin's only kernel. */
const count = (cubin: Uint8Array, entry: string, opcode: number): number => codeOf(cubin, entry).filter((s) => s.opcode === opcode).length;

describe.skipIf(!hasNvcc)("ptxas", () => {
  const expected = { ring_scores: { gmma: QGMMA, products: 8 }, ring_values: { gmma: HGMMA, products: 4 } };
  for (const kernel of kernels)
    it(`keeps the products of ${kernel.name} asynchronous, their descriptors in uniform registers, and spills nothing`, async () => {
      const { cubin, kernels: usage, warnings } = await compileWithNvcc(emit(kernel), "sm_90a");
      expect(warnings).toEqual([]);
      expect(usage).toMatchObject([{ entry: kernel.name, registers: registersAtLaunch(kernel.threads), stackBytes: 0, spillBytes: 0 }]);
      const { gmma, products } = expected[kernel.name as keyof typeof expected];
      expect(count(cubin, kernel.name, gmma)).toBe(products);
      expect(count(cubin, kernel.name, R2UR)).toBeLessThanOrEqual(1);
    });

  it("says so where a product cannot stay asynchronous", async () => {
    const { warnings } = await compileWithNvcc(emit(ringScores).replace("wgmmaWait<1, 32>(low);", ""), "sm_90a");
    expect(warnings.join()).toMatch(/\(C75\d\d\).*wait is injected/);
    const unbounded = emit(ringScores).replace("__launch_bounds__(384, 1)", "");
    expect((await compileWithNvcc(unbounded, "sm_90a")).warnings.join()).toContain("'setmaxnreg' ignored");
  });
});

const role = (name: string, firstWarp: number, warps: number, count?: number, body: readonly LoopStmt[] = []): LoopRole => ({
  name,
  firstWarp,
  warps,
  ...(count !== undefined && { registers: count }),
  body,
});

describe("sections", () => {
  it("are whole warpgroups, joined where a role spans them", () => {
    const [a, b, c, d] = [role("a", 0, 8, 112), role("b", 8, 1, 56), role("c", 9, 2, 56), role("d", 14, 3)];
    expect(sectionsOf([c, d, a, b], 640)).toEqual([
      { firstWarp: 0, endWarp: 8, registers: 112, roles: [a] },
      { firstWarp: 8, endWarp: 12, registers: 56, roles: [b, c] },
      { firstWarp: 12, endWarp: 20, registers: undefined, roles: [d] },
    ]);
  });
  it("cannot take more registers than the block has at launch", () => {
    expect([128, 256, 384, 512, 640, 1024].map(registersAtLaunch)).toEqual([255, 255, 168, 128, 96, 64]);
    expect(() => sectionsOf([role("a", 0, 8, 232), role("b", 8, 4, 40)], 384)).not.toThrow();
    expect(() => sectionsOf([role("a", 0, 8, 232), role("b", 8, 4, 48)], 384)).toThrow(
      "the roles ask for 1024 registers more than the 168 of each of 384 threads at launch",
    );
    expect(() => sectionsOf([role("a", 0, 4, 100)], 128)).toThrow('role "a" asks for 100 registers; they must be a multiple of 8 from 24 to 256');
    expect(() => sectionsOf([role("a", 0, 2, 64)], 64)).toThrow('role "a" asks for registers in a warpgroup that is not whole');
    expect(() => sectionsOf([role("a", 0, 2, 64), role("b", 2, 2)], 128)).toThrow(
      'roles "a" and "b" share a warpgroup and name different register counts',
    );
  });
  it("branch on the warp where other warps remain", () => {
    const range = (firstWarp: number, endWarp: number) => ({ firstWarp, endWarp });
    expect(warpConditions([range(0, 8), range(8, 12)], range(0, 12))).toEqual(["warp < 8", undefined]);
    expect(warpConditions([range(8, 9), range(9, 11)], range(8, 12))).toEqual(["warp == 8", "warp < 11"]);
    expect(warpConditions([range(1, 3), range(3, 4)], range(0, 4))).toEqual(["warp >= 1 && warp < 3", "warp == 3"]);
    expect(warpConditions([range(0, 4)], range(0, 4))).toEqual([undefined]);
  });
});

/** The text from the first role's comment on. */
const rolesText = (roles: readonly LoopRole[], more: Partial<LoopKernel> = {}): string => {
  const text = emit({ ...ringScores, body: [{ kind: "Roles", roles }], ...more });
  return text.slice(text.indexOf("const int warp")).replace(/ +/g, " ");
};
const define = (name: string, value: Expr): LoopStmt => ({ kind: "Let", name, value });
const warp: Expr = { kind: "WarpIndex", type: "i32" };
const over = (a: Expr, b: number): Expr => binary("/", a, int(b));

describe("in a role", () => {
  it("barriers meet its threads only, under a number of its own", () => {
    const text = rolesText([role("a", 0, 8, undefined, [barrier]), role("b", 8, 1, undefined, [barrier]), role("c", 9, 3, undefined, [barrier])]);
    expect(text).toContain('asm volatile("bar.sync 1, 256;" ::: "memory");');
    expect(text).toContain("// role b: warp 8\n __syncwarp();");
    expect(text).toContain('asm volatile("bar.sync 3, 96;" ::: "memory");');
    expect(text).not.toContain("setmaxnreg");
  });
  it("registers grow or shrink from those of the launch", () => {
    const text = rolesText([role("a", 0, 4, 208), role("b", 4, 4, 168), role("c", 8, 2, 40), role("d", 10, 1, 40)]);
    expect(text.match(/setmaxnreg\.\w+|u32 \d+/g)).toEqual(["setmaxnreg.inc", "u32 208", "setmaxnreg.dec", "u32 40"]);
  });
});

describe("matrix operands", () => {
  const product = (a: Parameters<typeof matrix>, shape = "wgmma.m64n8k32.e4m3"): string => {
    const body = [array("d", "f32", 8), invoke(shape, registers("d", 4, int(4)), matrix(...a), matrix("q", int(0)))];
    const text = rolesText([role("a", 0, 4, undefined, body)]);
    return /wgmmaM64.*;/.exec(text)![0];
  };
  it("are a descriptor and a number of 16-byte steps", () => {
    expect(product(["keys", add(over(warp, 4), int(64))])).toBe(
      "wgmmaM64N8K32E4m3(&d[4], descriptor128(keys_shared + warp / 4, 1024, 16) + 4, descriptor128(q_shared, 1024, 16));",
    );
    expect(product(["keys", sub(over(warp, 4), int(64))])).toContain("descriptor128(keys_shared + warp / 4, 1024, 16) - 4");
  });
  it("off the 16-byte grid or of a major that the product does not read are refused", () => {
    expect(() => product(["keys", int(8)])).toThrow('a matrix operand starts at byte 8 of "keys", which is no multiple of 16');
    expect(() => product(["keys", int(0), "mn"])).toThrow('wgmma.m64n8k32.e4m3 reads matrices of major "k" only');
  });
});

describe("refusals", () => {
  it("name the kernel and the cause", () => {
    expect(() => rolesText([role("a", 0, 4, 300)])).toThrow('cannot print kernel "ring_scores": role "a" asks for 300 registers');
    expect(() => rolesText([role("a", 0, 1, undefined, [invoke("mbarrierArrive", onBarrier("none"))])])).toThrow('there is no barrier "none"');
    const map = { kind: "TensorMap", map: "none" } as const;
    const load = invoke("tmaLoad.1", { kind: "SharedAddress", buffer: "q", index: int(0) }, map, onBarrier("q_full"), { kind: "Value", value: int(0) });
    expect(() => rolesText([role("a", 0, 1, undefined, [load])])).toThrow('there is no tensor map "none"');
    expect(() => emitCuda(ringScores, { target: "cuda:sm_90", header: [], sourceLine })).toThrow('CUDA has no instruction record "mbarrierInit"');
    const plain = { ...ringScores, tensorMaps: [], barriers: [], shared: [], params: [] };
    const wgsl = (body: readonly LoopStmt[]): string => emitWgsl({ ...plain, threads: 32, blocks: 1, body }, { header: [], enabledFeatures: [], sourceLine });
    expect(() => wgsl([{ kind: "Roles", roles: [] }])).toThrow("WGSL has no text for Roles");
    expect(() => wgsl([{ kind: "While", cond: binary("<", thread, int(1)), body: [] }])).toThrow("WGSL has no text for While");
    expect(() => wgsl([define("n", { kind: "BlockCount", type: "i32" })])).toThrow("WGSL has no text for the number of blocks");
  });
});
