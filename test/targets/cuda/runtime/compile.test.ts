/** Choice of architecture, nvcc with what ptxas says, and the declared ABI; needs no GPU. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { architectureFor, findCompiler, findNvcc } from "../../../../targets/cuda/runtime/compile.ts";
import { compileWithNvcc } from "../../../../targets/cuda/runtime/driver.ts";
import type { Native } from "../../../../targets/cuda/runtime/native.ts";

describe("architectureFor", () => {
  test.each([
    ["cuda:sm_80", 80, "sm_80"],
    ["cuda:sm_80", 90, "sm_90"],
    ["cuda:sm_90a", 90, "sm_90a"],
    ["cuda:sm_100f", 103, "sm_100f"],
  ])("%s on sm_%i is %s", (target, device, expected) => {
    expect(architectureFor(target, device)).toBe(expected);
  });

  test("a device that the compiler does not know yet gets PTX", () => {
    expect(architectureFor("cuda:sm_80", 130, [80, 90])).toBe("compute_80");
  });

  test.each([
    ["cuda:sm_90a", 100],
    ["cuda:sm_90a", 80],
    ["cuda:sm_90", 80],
    ["cuda:sm_100f", 120],
  ])("%s does not run on sm_%i", (target, device) => {
    expect(() => architectureFor(target, device)).toThrow(`${target} does not run on this device, which is sm_${device}`);
  });

  test("a target of another runtime is refused", () => {
    expect(() => architectureFor("wgsl", 90)).toThrow(/cannot run a kernel for "wgsl"/);
  });
});

test("without NVRTC the compiler is nvcc, when there is one", () => {
  const native = {
    nvrtcInfo: () => {
      throw new Error("no library");
    },
  } as unknown as Native;
  const path = findNvcc();
  expect(findCompiler(native, 13)).toEqual(path === undefined ? undefined : { kind: "nvcc", path });
});

describe.skipIf(findNvcc() === undefined)("compileWithNvcc", () => {
  test("returns a cubin and the usage of every kernel", async () => {
    const { cubin, kernels, warnings } = await compileWithNvcc(
      `extern "C" __global__ void plain(float *x) { x[threadIdx.x] *= 2; }
       extern "C" __global__ void shared(float *x) {
         __shared__ float tile[64];
         tile[threadIdx.x] = x[threadIdx.x];
         __syncthreads();
         x[threadIdx.x] = tile[63 - threadIdx.x];
       }
       extern "C" __global__ __launch_bounds__(1024) void spilling(float *x) {
         float v[128];
         for (int i = 0; i < 128; i++) v[i] = x[i * 1024 + threadIdx.x];
         __syncthreads();
         for (int i = 0; i < 128; i++) x[(127 - i) * 1024 + threadIdx.x] = v[i] * v[(i * 37 + 11) & 127];
       }`,
      "sm_90a",
    );
    expect(Buffer.from(cubin.subarray(0, 4)).toString("latin1")).toBe("\x7fELF");
    const byName = Object.fromEntries(kernels.map((kernel) => [kernel.entry, kernel]));
    expect(Object.keys(byName).sort()).toEqual(["plain", "shared", "spilling"]);
    expect(byName.plain).toMatchObject({ stackBytes: 0, spillBytes: 0, sharedBytes: 0 });
    expect(byName.plain!.registers).toBeGreaterThan(0);
    expect(byName.shared!.sharedBytes).toBe(256);
    expect(byName.spilling!.spillBytes).toBeGreaterThan(0);
    expect(warnings).toEqual([]);
  });

  test("shows the log and the line of a refused text", async () => {
    await expect(compileWithNvcc('extern "C" __global__ void f() {\n  int x = nothing;\n}', "sm_80")).rejects.toThrow(
      /nvcc refuses the text for sm_80\nkernel.cu\(2\): error: identifier "nothing" is undefined[^]*\n {2}2 \| {3}int x = nothing;/,
    );
  });

  test("reports warnings", async () => {
    const { warnings } = await compileWithNvcc('extern "C" __global__ void f() { int unused; }', "sm_80");
    expect(warnings.join()).toMatch(/variable "unused" was declared but never referenced/);
  });
});

const toolkitHeaders = "/usr/local/cuda/include";
test.skipIf(!existsSync(`${toolkitHeaders}/cuda.h`))("the declared ABI is the one of cuda.h", () => {
  const source = `${import.meta.dirname}/abi_check.cc`;
  execFileSync("g++", ["-std=c++17", "-fsyntax-only", `-I${toolkitHeaders}`, source], { stdio: ["ignore", "ignore", "pipe"] });
});
