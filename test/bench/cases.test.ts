/** The table of cases, the choice among them, and the figures of others. */
import { describe, expect, test } from "vitest";
import { anchorOf, anchors, timesAsFast } from "../../bench/anchors.ts";
import { type BenchCase, cases, chooseCases, labelOf, specOf } from "../../bench/cases.ts";
import { problems } from "../../bench/problems/index.ts";
import { kernels } from "../../dsl/kernels/index.ts";
import { preset } from "../../dsl/kernels/presets.ts";

const v32 = preset("v3.2");
const labels = (found: readonly BenchCase[]): string[] => found.map((c) => `${c.problem} ${labelOf(c)}`);

test("every case has all sizes of its problem, legal settings, known data and a name of its own", () => {
  for (const c of cases) {
    expect(Object.keys(c.sizes), labelOf(c)).toEqual(Object.keys(problems[c.problem].sizes));
    expect(problems[c.problem].data).toContain(c.data);
    expect(() => specOf(v32, c.set)).not.toThrow();
  }
  expect(new Set(labels(cases)).size).toBe(cases.length);
});

test("every kernel is in some case", () => {
  for (const kernel of Object.keys(kernels) as (keyof typeof kernels)[]) expect(chooseCases({ kernels: [kernel], set: {} }), kernel).not.toEqual([]);
});

describe("chooseCases", () => {
  test("without a pattern takes the usual cases of a kernel", () => {
    const chosen = labels(chooseCases({ kernels: ["topk"], set: {} }));
    expect(chosen).toContain("topk R=128 N=32768");
    expect(chosen.every((label) => label.startsWith("topk ") && !label.includes("constant"))).toBe(true);
  });

  test("takes a label before labels that have its words, and any of several patterns", () => {
    expect(labels(chooseCases({ patterns: ["S=2048  N=65536"], kernels: ["indexer_logits"], set: {} }))).toEqual(["indexer_logits S=2048 N=65536"]);
    const both = labels(chooseCases({ patterns: ["B=8 N=65536", "R=8 constant"], set: {} }));
    expect(both).toEqual(["paged_indexer_logits B=8 N=65536", "topk R=8 N=65536 constant"]);
    const words = labels(chooseCases({ patterns: ["N=65536 S=2048"], kernels: ["indexer_logits"], set: {} }));
    expect(words.length).toBeGreaterThan(3);
  });

  test("makes a case of all sizes, with settings and data", () => {
    const [own, ...more] = chooseCases({ patterns: ["R=3 N=77 topK=12 oneBin"], kernels: ["topk"], set: {} });
    expect(more).toEqual([]);
    expect(own).toMatchObject({ problem: "topk", sizes: { R: 3, N: 77 }, set: { topK: "12" }, data: "oneBin", mode: "queued" });
    expect(specOf(v32, own!.set, { indexerHeads: "8" })).toMatchObject({ topK: 12, indexerHeads: 8, name: "v3.2+topK=12+indexerHeads=8" });
  });

  test.each(["R=3", "R=3 N=x", "R=3 N=77 weird", "R=3 N=77 relu constant"])("%s is no case", (pattern) => {
    expect(chooseCases({ patterns: [pattern], kernels: ["topk"], set: {} })).toEqual([]);
  });

  test("leaves out cases whose own change of the spec is overruled", () => {
    const chosen = labels(chooseCases({ kernels: ["indexer_logits"], set: { indexerHeads: "24" } }));
    expect(chosen).toContain("indexer_logits S=2048 N=65536 indexerHeads=24");
    expect(chosen).toContain("indexer_logits S=4096 N=4096");
    expect(chosen.join()).not.toContain("indexerHeads=32");
  });
});

describe("anchors", () => {
  test("each belongs to a listed case of v3.2", () => {
    for (const anchor of anchors) {
      const fits = (c: BenchCase): boolean => anchorOf({ problem: c.problem, sizes: c.sizes, spec: specOf(v32, c.set), mode: anchor.mode }) === anchor;
      expect(cases.some(fits), JSON.stringify(anchor)).toBe(true);
    }
  });

  const of = { problem: "paged_indexer_logits", sizes: { B: 64, N: 16384 }, spec: v32, mode: "queued" } as const;
  test("hold for one method, one shape and one spec", () => {
    expect(anchorOf(of)).toMatchObject({ by: "DeepGEMM", microseconds: 39.9 });
    expect(anchorOf({ ...of, mode: "sustained" })).toBeUndefined();
    expect(anchorOf({ ...of, sizes: { B: 64, N: 16385 } })).toBeUndefined();
    expect(anchorOf({ ...of, spec: { ...v32, indexerHeads: 32 } })).toBeUndefined();
    expect(anchorOf({ ...of, spec: { ...v32, nextN: 2 } })).toBeUndefined();
    expect(anchorOf({ ...of, spec: { ...v32, topK: 1000 } })).toBeDefined(); // which logits do not depend on
  });

  test("are compared by time or by rate", () => {
    const anchor = anchorOf(of)!;
    expect(timesAsFast(anchor, { microseconds: 19.95 })).toBeCloseTo(2);
    expect(timesAsFast({ ...anchor, microseconds: undefined, tflops: 500 } as never, { microseconds: 1000, flops: 1e12 })).toBeCloseTo(2);
  });
});
