/** DSA_TRACE=passes: files in order, a page that stands alone, and an aligned difference of consecutive programs. */
import fc from "fast-check";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compileTile } from "../../compiler/pipeline.ts";
import { openTrace } from "../../compiler/trace.ts";
import { alignLines, tracePage } from "../../compiler/trace_page.ts";
import { cuda, readSmall } from "./passes/small_kernels.ts";

const folder = mkdtempSync(join(tmpdir(), "trace-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("openTrace", () => {
  test("is off unless the environment asks for it, and refuses what it does not know", () => {
    expect(openTrace("k", "wgsl", folder, "")).toBeUndefined();
    expect(() => openTrace("k", "wgsl", folder, "loops")).toThrow('DSA_TRACE="loops" asks for a trace that does not exist. Set DSA_TRACE=passes');
  });

  test("writes every pass of a compilation, and a page", async () => {
    const trace = openTrace("softmax_rows", "cuda:sm_80", folder, "passes")!;
    compileTile(await readSmall("softmaxRows"), cuda, { threads: 64 }, "", trace);
    const home = join(folder, "softmax_rows", "cuda-sm_80");
    const files = readdirSync(home).sort();
    expect(files.slice(0, 3)).toEqual(["00-readKernel.txt", "01-dropDead.txt", "02-shareRegisters.txt"]);
    expect(files.at(-1)).toBe("index.html");
    expect(readFileSync(join(home, "02-shareRegisters.txt"), "utf8")).toMatch(/^plan softmax_rows, 64 threads/);
    const page = readFileSync(join(home, "index.html"), "utf8");
    expect(page).not.toMatch(/(src|href)="(?!#)/); // nothing is loaded from elsewhere
    expect(page).toContain("readKernel → dropDead");
    expect(page).toMatch(/title="const m = max\(x, &quot;c&quot;\);">\/\/ 10<\/a>/); // the TypeScript of a line
  });

  test("removes what an earlier compilation left", () => {
    openTrace("k", "wgsl", folder, "passes")!.write("first", "a\n");
    openTrace("k", "wgsl", folder, "passes")!.write("second", "b\n");
    expect(readdirSync(join(folder, "k", "wgsl")).sort()).toEqual(["00-second.txt", "index.html"]);
  });
});

describe("alignLines", () => {
  const text = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 12 });

  test("both texts can be read off, in order", () => {
    fc.assert(
      fc.property(text, text, (before, after) => {
        const rows = alignLines(before, after);
        expect(rows.flatMap((r) => r.before ?? [])).toEqual(before);
        expect(rows.flatMap((r) => r.after ?? [])).toEqual(after);
        for (const r of rows) if (r.before !== undefined && r.after !== undefined) expect(r.before).toBe(r.after);
      }),
    );
  });

  test("as many lines as possible stand beside each other", () => {
    const longest = (a: readonly string[], b: readonly string[]): number => {
      const [x, ...as] = a;
      const [y, ...bs] = b;
      if (x === undefined || y === undefined) return 0;
      return x === y ? 1 + longest(as, bs) : Math.max(longest(as, b), longest(a, bs));
    };
    const short = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 7 });
    fc.assert(fc.property(short, short, (a, b) => alignLines(a, b).filter((r) => r.before === r.after).length === longest(a, b)));
  });
});

test("a page escapes what programs contain", () => {
  const page = tracePage("<k>", [{ pass: "a", text: 'x < 1 && y > "2"\n' }], () => undefined);
  expect(page).toContain("x &lt; 1 &amp;&amp; y &gt; &quot;2&quot;");
  expect(page).toContain("<h1>&lt;k&gt;</h1>");
});
