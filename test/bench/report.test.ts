/** What is printed and drawn of a run with invented figures. */
import { expect, test } from "vitest";
import { anchorOf } from "../../bench/anchors.ts";
import { cases, labelOf, specOf } from "../../bench/cases.ts";
import type { MeasuredCeilings } from "../../bench/ceilings.ts";
import type { Measured } from "../../bench/run.ts";
import { drawRun } from "../../bench/svg.ts";
import { type BenchReport, notesOf, tablesOf } from "../../bench/table.ts";
import { preset } from "../../dsl/kernels/presets.ts";

const ceilings: MeasuredCeilings = {
  read: 4.39e12,
  copy: 4.25e12,
  tensor: { e4m3: { queued: 1.7e15, sustained: 1.55e15 }, bf16: { queued: 0.88e15, sustained: 0.8e15 } },
};

/** Every usual case of two problems, as if each took a time that follows from its sizes. */
const outcomes = cases.filter((c) => !c.extra && (c.problem === "indexer_logits" || c.problem === "paged_indexer_logits")).map((c): Measured => {
  const spec = specOf(preset("v3.2"), c.set);
  const pairs = Object.values(c.sizes).reduce((product, n) => product * n, 1);
  const flops = 2 * pairs * spec.indexerHeads * spec.indexerDim;
  const median = c.problem === "indexer_logits" ? flops / 1.1e9 : 5 + (pairs * 132) / 4.1e6;
  const anchor = anchorOf({ problem: c.problem, sizes: c.sizes, spec, mode: c.mode });
  return {
    problem: c.problem,
    label: labelOf(c),
    spec: spec.name,
    target: "cuda:sm_90a",
    timed: {
      how: c.mode,
      time: { median, p10: 0.99 * median, p90: 1.02 * median },
      samples: 15,
      rounds: 20,
      state: { smMHz: 1605, memoryMHz: 3201, watts: c.mode === "sustained" ? 688.2 : null, limitWatts: 700 },
    },
    flops,
    tflops: flops / median / 1e6,
    terabytes: (pairs * 132) / median / 1e6,
    ofCeiling: { share: 0.81, of: "products" },
    roofline: { microseconds: 0.8 * median, by: "products" },
    cost: { gemmFlops: { e4m3: flops }, otherFlops: 0, readBytes: { k: 132 * pairs }, writtenBytes: {}, assumed: [] },
    anchor: anchor ? { ...anchor, timesAsFast: 1.1 } : null,
    check: { cells: 1000, worst: 0.0123, equalLaunches: 20 },
    sets: 1,
    kernels: [],
  };
});
const report: BenchReport = {
  format: 1,
  date: "2026-11-23T12:00:00.000Z",
  device: "NVIDIA H200",
  driver: "580.159.04",
  compiler: "NVRTC 13.0",
  ceilings,
  outcomes: [...outcomes, { problem: "topk", label: "R=1 N=131072", spec: "v3.2", target: "cuda:sm_90a", failed: "idx of q 0[j 3] is 7, the reference says 8" }],
};

test("tables have a line a case, and none for what failed", () => {
  const tables = tablesOf(report);
  expect(tables.map((t) => [t.title, t.rows.length])).toEqual([
    ["indexer_logits", outcomes.filter((o) => o.problem === "indexer_logits").length],
    ["paged_indexer_logits", outcomes.filter((o) => o.problem === "paged_indexer_logits").length],
  ]);
  for (const { head, rows } of tables) for (const row of rows) expect(row.length).toBe(head.length);
  const row = Object.fromEntries(tables[0]!.head.map((name, i) => [name, tables[0]!.rows.find((r) => r[0] === "S=4096 N=16384")![i]]));
  expect(row).toEqual({
    ...{ case: "S=4096 N=16384", spec: "v3.2", target: "cuda:sm_90a", timed: "sustained", µs: "999.6", "p10 to p90": "989.6 to 1020", TFLOPS: "1100" },
    ...{ "TB/s": "8.86", "of ceiling": "81 % products", "roofline µs": "799.6", "others *": "1.10 × DeepGEMM", MHz: "1605", W: "688" },
    "worst error / budget": "0.012",
  });
  expect(tables[1]!.rows[0]!.slice(-3)).toEqual(["1605", "–", "0.012"]); // power was not readable
});

test("notes say where figures come from and how they were taken", () => {
  const notes = notesOf(report).join("\n");
  expect(notes).toMatch(/^NVIDIA H200, driver 580\.159\.04, NVRTC 13\.0, 2026-11-23/);
  expect(notes).toContain("read 4.39 TB/s, copy 4.25 TB/s (read and written), e4m3 1700 TFLOPS queued, e4m3 1550 TFLOPS sustained");
  expect(notes).toContain("queued: ");
  expect(notes).toContain("sustained: ");
  expect(notes).not.toContain("single: ");
  expect(notes).toContain("* times as fast as figures of others from 2026-11-21 on an NVIDIA H200; they are not measured again here");

  const assumed = { ...outcomes[0]!, cost: { ...outcomes[0]!.cost, assumed: ["line 3: a holds"] }, anchor: null };
  const other = notesOf({ ...report, driver: null, compiler: null, ceilings: null, outcomes: [assumed] }).join("\n");
  expect(other).toMatch(/^NVIDIA H200, 2026-11-23.*\nceilings: not measured\n/);
  expect(other).toContain("counted as if: indexer_logits, line 3: a holds");
  expect(other).not.toContain("others");
  expect(notesOf({ ...report, ceilings: { ...ceilings, tensor: {} } })[1]).toContain("tensor cores not measured");
});

test("the drawing", async () => {
  await expect(drawRun(report)).toMatchFileSnapshot("golden/report.svg");
});

test("a drawing holds every point within its panel, and escapes what is no markup", () => {
  const drawn = drawRun({ ...report, device: "<A & B>" });
  expect(drawn).toContain("&lt;A &amp; B&gt;");
  const opened = [...drawn.matchAll(/<(g|text|svg)\b/g)].length;
  expect([...drawn.matchAll(/<\/(g|text|svg)>/g)].length).toBe(opened);
  const marks = [...drawn.matchAll(/<(?:circle c|rect )x="([\d.-]+)" c?y="([\d.-]+)"/g)].map((m) => [Number(m[1]), Number(m[2])]);
  expect(marks.length).toBeGreaterThan(outcomes.length);
  for (const [x, y] of marks) expect(x! >= 70 && x! <= 960 && y! >= 50 && y! <= 350, `${x}, ${y}`).toBe(true);
  expect(drawn).not.toContain("NaN");
});

test("nothing measured is a drawing without panels; one point needs no line", () => {
  expect(drawRun({ ...report, outcomes: [] })).not.toContain("<g");
  const one = drawRun({ ...report, outcomes: [outcomes[0]!], ceilings: null });
  expect(one).not.toContain("polyline");
  expect(one).not.toContain("NaN");
});
