/** Reading the kernels of dsl/kernels: golden Tile IR, all presets, TypeScript's checks, and what the API promises. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { listKernels, overlay, preload, readKernel, refresh } from "../../../compiler/front/index.ts";
import { printTile } from "../../../compiler/ir/print_tile.ts";
import { verifyTile } from "../../../compiler/ir/verify_tile.ts";
import { kernelsOf } from "../../../dsl/kernels/index.ts";
import { preset, presets } from "../../../dsl/kernels/presets.ts";
import { scalarFn } from "../../../dsl/math.ts";
import { kernelFiles, kernelNames, kernelPath, read } from "../kernel_cases.ts";

const v32 = preset("v3.2");

test.each(kernelNames)("%s: golden Tile IR of v3.2", async (name) => {
  const kernel = await read(name, v32);
  await expect(printTile(kernel)).toMatchFileSnapshot(`../golden/tile/${name}.txt`);
});

describe.each(Object.entries(presets))("preset %s", (_, spec) => {
  test.each(kernelsOf(spec))("%s reads and verifies", async (name) => {
    const kernel = await read(name, spec);
    verifyTile(kernel, "readKernel");
    expect(kernel.spec).toBe(spec);
  });
});

test("TypeScript has nothing against the kernels", async () => {
  preload(Object.values(kernelFiles).map(({ file }) => kernelPath(file)));
  for (const { file, exportName } of Object.values(kernelFiles)) await readKernel({ file: kernelPath(file), exportName, spec: v32 });
});

test("listKernels finds kernels and factories, and nothing else", () => {
  expect(listKernels(kernelPath("sparse_mla_decode.ts"))).toEqual([
    { exportName: "sparseMlaDecode", factory: true },
    { exportName: "sparseMlaCombine", factory: true },
  ]);
  expect(listKernels(kernelPath("indexer_logits.ts"))).toEqual([{ exportName: "indexerLogits", factory: true }]);
  expect(listKernels(kernelPath("spec.ts"))).toEqual([]);
});

const file = join(import.meta.dirname, "scratch.ts");
const scratch = (body: string, more = ""): void =>
  overlay(
    file,
    `import { each, full, input, kernel, load, map, max, output, scalar, scalarFn, store, sum } from "../../../dsl/index.ts";
${more}
export const scratch = (spec) => kernel("scratch", {
  args: { x: input("f32", { n: "N", c: 6 }), y: output("f32", { n: "N", c: 6 }) },
  tune: { A: 3, B: 4 },
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, { A, B }, { n }) {
    const x = load(a.x.tile({ n }));
${body}
  },
});
`,
  );
const readScratch = async (spec: unknown = {}, tune = {}): Promise<string> => printTile(await readKernel({ file, spec, tune, skipTypes: true }));

test("labels are the author's names, with the path of inlined helpers", async () => {
  scratch(
    `const e0 = step(x), e1 = step(e0.p);
     store(a.y.tile({ n }), both(e1.p, e0.sum));`,
    `const both = (p, q) => map([p, q], (a, b) => a + b);
     function step(t) {
       const m = max(t, "c");
       const p = map([t, m], (t, m) => t - m);
       return { p, sum: sum(p, "c") };
     }`,
  );
  const labels = [...(await readScratch()).matchAll(/^ +(\S+): f32\[/gm)].map((m) => m[1]);
  expect(labels).toEqual(["x", "e0.m", "e0.p", "e0.sum", "e1.m", "e1.p", "e1.sum", "y.both"]);
});

test("tune numbers and the name can be replaced, a refreshed file is read anew", async () => {
  scratch("store(a.y.tile({ n }), full({ c: 6 }, A * 10 + B));");
  expect(await readScratch({}, { B: 5 })).toContain("full 35f");
  expect((await readKernel({ file, spec: {}, name: "other", skipTypes: true })).name).toBe("other");
  scratch("store(a.y.tile({ n }), full({ c: 6 }, A));");
  expect(await readScratch()).toContain("full 3f");
  refresh(kernelPath("topk.ts"));
  expect((await read("topk", v32)).name).toBe("topk");
});

test("a scalar function of the spec is inlined from its source", async () => {
  scratch("store(a.y.tile({ n }), map([x], (v) => spec.f(v) * 2));", `const slope = 0.125;\nexport const leaky = scalarFn("leakyForScratch", (x) => Math.max(x, slope * x));`);
  expect(await readScratch({ f: scalarFn("leakyForScratch", (x) => Math.max(x, 0.125 * x)) })).toContain("max(v, 0.125 * v) * 2f");
});

test("shared subexpressions stay one node", async () => {
  scratch(`store(a.y.tile({ n }), map([x], (v) => {
    let y = v;
    for (let i = 0; i < 40; i++) y = y * y + 1;
    return y;
  }));`);
  const kernel = await readKernel({ file, spec: {}, skipTypes: true });
  const defined = kernel.body.flatMap((s) => (s.kind === "Define" && s.op.kind === "Map" ? [s.op.body] : []));
  const seen = new Set<unknown>();
  const visit = (e: unknown): void => {
    if (typeof e !== "object" || e === null || seen.has(e)) return;
    seen.add(e);
    Object.values(e).forEach(visit);
  };
  visit(defined[0]);
  expect(seen.size).toBeLessThan(200); // as a tree it would have more than 2^40 nodes
  expect(printTile(kernel).length).toBeLessThan(3000);
  verifyTile(kernel, "readKernel");
});
