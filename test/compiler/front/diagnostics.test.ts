/** Every diagnostic of the front end with its full text: a small bad kernel for each code, its message in golden/diagnostics. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CompileError, format, templates, type Code } from "../../../compiler/diagnostics.ts";
import { overlay, readKernel, sourceText, type ReadOptions } from "../../../compiler/front/index.ts";
import { scalarFn } from "../../../dsl/math.ts";

const file = join(import.meta.dirname, "case.ts");
const imports = `import { append, bag, bitmap, bitsOf, blocks, cast, div, each, full, gather, gatherRuns, gemm, histogram, input, iota, kernel, load, map, mask, max, min, output, rename, scalar, scan, slice, store, sum } from "../../../dsl/index.ts";\n`;

interface Case {
  readonly code: Code;
  /** A whole file after the imports, … */
  readonly text?: string;
  /** … or the body of a kernel over x: f32[n N, c 6], w: f32[c 5], k: i32[n N], y: out f32[n N, c 6], best: out i32[n N, j 4]. */
  readonly body?: string;
  readonly options?: Partial<ReadOptions>;
  /** Tells cases of one code apart. */
  readonly name?: string;
}

const inKernel = (body: string): string => `export const bad = kernel("bad", {
  args: {
    x: input("f32", { n: "N", c: 6 }),
    w: input("f32", { c: 5 }),
    k: input("i32", { n: "N" }),
    y: output("f32", { n: "N", c: 6 }),
    best: output("i32", { n: "N", j: 4 }),
  },
  tune: { BN: 2 },
  grid: (a) => ({ n: each(a.x.size.n) }),
  body(a, { BN }, { n }) {
${body.trim().split("\n").map((line) => `    ${line.trim()}`).join("\n")}
  },
});
`;

const cases: readonly Case[] = [
  { code: "E-TYPE-01", text: `const wrong: string = 1;\n${inKernel(`store(a.y.tile({ n }), full({ c: 6 }, 1));`)}`, options: { skipTypes: false } },

  { code: "E-FRONT-01", text: `import { f } from "./nowhere.ts";\nexport const bad = f;\n` },
  { code: "E-FRONT-02", text: "export const good = 1;\n" },
  { code: "E-FRONT-03", text: "export const bad = (spec) => spec.topK;\n", options: { spec: { topK: 3 } } },
  { code: "E-FRONT-04", text: `export const bad = (spec) => kernel("bad", spec);\n` },
  { code: "E-FRONT-05", body: "store(a.y.tile({ n }), tiles);" },
  { code: "E-FRONT-06", text: `import { readFileSync } from "node:fs";\nexport const bad = readFileSync("x");\n` },
  { code: "E-FRONT-07", text: `export const bad = input("f32", { "1x": 3 });\n` },
  { code: "E-FRONT-08", text: `export const bad = (spec) => {\n  if (spec.topK > 2) throw new RangeError(\`topK is \${spec.topK}, at most 2\`);\n};\n`, options: { spec: { topK: 3 } } },
  { code: "E-FRONT-09", text: inKernel("store(a.y.tile({ n }), map([load(a.x.tile({ n }))], spec.f));").replace("bad = ", "bad = (spec) => "), options: { spec: { f: scalarFn("lostFunction", (x) => x) } } },
  { code: "E-FRONT-10", body: "", options: { tune: { BM: 4 } } },
  { code: "E-FRONT-11", body: "const size = a.z.size;" },
  { code: "E-FRONT-12", body: "const x = load(a.x.tile({ n }));\nx(3);" },
  { code: "E-FRONT-13", body: "store(a.y.tile({ n }), load(a.x));" },

  { code: "E-SUBSET-01", body: "while (n > 0) {}", name: "statement" },
  { code: "E-SUBSET-01", body: "const y = map([load(a.x.tile({ n }))], (v) => Math.cbrt(v));", name: "function" },
  { code: "E-SUBSET-02", body: "if (n > 3) return;\nstore(a.y.tile({ n }), load(a.x.tile({ n })));" },
  { code: "E-SUBSET-02", body: "for (const i of each(n)) {\nif (i === 3) return;\n}", name: "loop" },
  { code: "E-SUBSET-03", text: `const half = (t) => half(map([t], (v) => v / 2));\n${inKernel("store(a.y.tile({ n }), half(load(a.x.tile({ n }))));")}` },
  { code: "E-SUBSET-04", body: "let total = 0;\nconst count = () => { total += 1; };\ncount();" },
  { code: "E-SUBSET-05", body: "const x = load(a.x.tile({ n }));\nconst y = map([x], (v) => v - scalar(max(x, \"c\")));" },
  { code: "E-SUBSET-05", body: "const y = map([load(a.x.tile({ n }))], (v) => {\nlet s = v;\nfor (const i of each(n)) s += i;\nreturn s;\n});", name: "loop" },
  { code: "E-SUBSET-06", body: "const x = load(a.x.tile({ n }));\nconst y = x * 2;" },
  { code: "E-SUBSET-07", body: "const part = slice(load(a.x.tile({ n })), \"c\", 0, n);" },
  { code: "E-SUBSET-08", body: "for (let i = 0; i < n; i++) store(a.y.tile({ n: i }), full({ c: 6 }, 1));" },
  { code: "E-SUBSET-09", body: "for (const x of load(a.x.tile({ n }))) {}" },
  { code: "E-SUBSET-10", body: "let best = 0;\nif (n > 2) best = load(a.x.tile({ n }));" },
  { code: "E-SUBSET-10", body: "let last;\nfor (const i of each(n)) last = load(a.x.tile({ n: i }));\nstore(a.y.tile({ n }), last);", name: "loop" },
  { code: "E-SUBSET-11", body: "const y = map([load(a.x.tile({ n }))], (v) => { const twice = v * 2; });" },
  { code: "E-SUBSET-12", body: "const total = 0;\ntotal += n;" },
  { code: "E-SUBSET-13", body: `const kept = bag(8, { v: "f32" });\nfor (const i of each(3)) {\nconst v = load(a.x.tile({ n }));\nkept.add({ v }, mask([v], (v) => v > i));\nconst { v: w } = kept.items("i");\nstore(a.y.tile({ n }), full({ c: 6 }, scalar(max(w, "~i"))));\n}` },
  { code: "E-SUBSET-14", body: `const marks = bitmap(6);\nconst x = load(a.x.tile({ n }));\nmarks.add(iota({ axis: "c", start: 0, size: 6 }), mask([x], (v) => v > 0));\nconst before = scan(mask([x], (v) => v > 0), "c");\nappend(a.best.tile({ n })).pushMarked(marks, map([before], (b) => b - 1, "i32"));` },

  { code: "E-AXIS-01", body: "const x = load(a.x.tile({ n }));\nconst total = sum(x, \"d\");" },
  { code: "E-AXIS-02", body: "const x = load(a.x.tile({ n }));\nconst y = map([x, load(a.w.tile({}))], (v, w) => v * w);" },
  { code: "E-AXIS-03", body: "const x = load(a.x.tile({ n }));\nconst y = map([x, full({ m: 2 }, 1)], (v, w) => v * w);" },
  { code: "E-AXIS-04", body: "const total = sum(load(a.x.tile({ n })), \"c\");\nstore(a.y.tile({ n }), total);" },
  { code: "E-AXIS-05", body: "const first = scalar(load(a.x.tile({ n })));" },
  { code: "E-AXIS-06", body: "const x = load(a.x.tile({ row: n }));" },
  { code: "E-AXIS-07", body: "for (const nb of blocks(\"n\", 0, a.x.size.n, BN)) load(a.x.tile({ n, c: nb }));" },
  { code: "E-AXIS-08", body: "const rows = gather(a.x.tile({}), { n: full({ j: 2 }, 0, \"i32\"), c: full({ i: 2 }, 0, \"i32\") });" },
  { code: "E-AXIS-09", body: "const rows = gather(a.x.tile({}), { n: full({ c: 2 }, 0, \"i32\") });" },
  { code: "E-AXIS-10", body: "const list = append(a.best.tile({ n: { axis: \"n\", start: n, size: BN } }));" },
  { code: "E-AXIS-11", body: "const part = slice(load(a.x.tile({ n })), \"c\", 4, 8);" },
  { code: "E-AXIS-12", body: "let x = load(a.x.tile({ n }));\nfor (const i of each(4)) x = sum(x, \"c\");" },
  { code: "E-AXIS-13", body: "const rows = gather(a.x.tile({ n }), { n: full({ j: 2 }, 0, \"i32\") });" },
  { code: "E-AXIS-14", body: `const kept = bag(8, { v: "f32" });\nconst v = load(a.x.tile({ n }));\nkept.add({ v }, mask([v], (v) => v > 0));\nconst items = kept.items("i");\nstore(a.y.tile({ n }), full({ c: 6 }, scalar(sum(items.v, "~i"))));` },
  { code: "E-AXIS-15", body: `const at = map([load(a.k.tile({ n: { axis: "n", start: n, size: 2 } }))], (k) => k, "i32");\nstore(a.y.tile({ n }), max(gatherRuns(a.x.tile({ n }), { c: at }), "n"));` },
  { code: "E-AXIS-16", body: `append(a.best.tile({ n })).pushMarked(bitmap(8), iota({ axis: "c", start: 0, size: 6 }));` },

  { code: "E-DTYPE-01", body: "const keys = map([load(a.x.tile({ n }))], (v) => bitsOf(v) + n, \"u32\");" },
  { code: "E-DTYPE-02", body: "const half = map([load(a.k.tile({ n }))], (k) => k / 2, \"i32\");" },
  { code: "E-DTYPE-03", body: "const high = mask([load(a.k.tile({ n }))], (k) => k > 0xffffffff);" },
  { code: "E-DTYPE-04", body: "const x = load(a.x.tile({ n }));\nconst dot = gemm(x, map([x], (v) => v, \"i32\"), \"c\");" },
  { code: "E-DTYPE-05", body: "let x = load(a.x.tile({ n }));\nfor (const i of each(4)) x = cast(\"bf16\", x);" },
  { code: "E-DTYPE-06", body: "const y = map([load(a.x.tile({ n }))], (v) => div(v, 2));" },
  { code: "E-DTYPE-07", body: "const x = cast(\"fp8\", load(a.x.tile({ n })));" },
  { code: "E-DTYPE-08", body: "const x = load(a.x.tile({ n: n * 0.5 }));" },

  { code: "E-DIM-01", body: "const x = load(a.x.tile({}));" },
  { code: "E-DIM-02", text: inKernel("").replace(`k: input("i32", { n: "N" })`, `k: input("i32", { n: "M", m: 3 }, { pitch: { n: "N" } })`) },
  { code: "E-DIM-03", text: inKernel("").replace("each(a.x.size.n)", "each(a.x.size.n > 3 ? 1 : 2)") },
  { code: "E-DIM-04", text: inKernel("").replace("each(a.x.size.n)", "a.x.size.n") },
  { code: "E-DIM-05", body: "store(a.x.tile({ n }), load(a.x.tile({ n })));" },
  { code: "E-DIM-06", body: "const hist = histogram(2.5);" },
  { code: "E-DIM-07", body: "const y = load(a.y.tile({ n }));" },
];

const title = ({ code, name }: Case): string => (name === undefined ? code : `${code} ${name}`);

describe("every mistake has its text", () => {
  test.each(cases.map((c) => [title(c), c] as const))("%s", async (golden, { text, body, code, options }) => {
    overlay(file, imports + (text ?? inKernel(body ?? "")));
    const error: unknown = await readKernel({ file, exportName: "bad", skipTypes: true, ...options }).catch((e: unknown) => e);
    if (!(error instanceof CompileError)) throw error;
    expect(error.code).toBe(code);
    await expect(`${format(error, sourceText)}\n`).toMatchFileSnapshot(`../golden/diagnostics/${golden.replace(" ", "-")}.txt`);
  });
});

test("every code of the front end has a case", () => {
  const groups = /^E-(TYPE|FRONT|SUBSET|AXIS|DTYPE|DIM)-/;
  const codes = Object.keys(templates).filter((code) => groups.test(code));
  expect(codes.filter((code) => !cases.some((c) => c.code === code))).toEqual([]);
});
