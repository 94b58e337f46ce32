import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { toBytes } from "../../dsl/dtype.ts";
import { checkTrace, committedTrace, loadTrace, TensorFileError, valuesOf, type StoredTensor } from "../../trace/index.ts";
import { npyFile, npyHeader } from "./npy_file.ts";
import { attentionMass, decodeLayer, indexScores, massHeld, recallTable, slidingWindow, topTokens } from "../../trace/recall.ts";

describe("the committed trace", async () => {
  const trace = await loadTrace(committedTrace);

  test("is at most 8 MB and has the geometry of docs/trace.md", async () => {
    expect((await stat(committedTrace)).size).toBeLessThanOrEqual(8_000_000);
    expect(trace.layers.map(({ layer }) => layer)).toEqual([0, 1]);
    for (const layer of trace.layers) {
      expect(layer).toMatchObject({ tokens: 2560, heads: 16, dQk: 576, latent: 512, indexHeads: 16, indexDim: 128 });
      expect(layer.smScale).toBeCloseTo(128 ** -0.5, 15);
      expect(layer.positions).toEqual(Array.from({ length: 16 }, (_, i) => 160 * (i + 1) - 1));
      expect([layer.qAbsorbed.shape, layer.kvRows.shape]).toEqual([[16, 16, 576], [2560, 576]]);
      expect([layer.indexQ.shape, layer.indexK.shape, layer.indexW.shape]).toEqual([[16, 16, 128], [2560, 128], [16, 16]]);
      for (const tensor of [layer.qAbsorbed, layer.kvRows, layer.indexQ, layer.indexK]) expect(tensor.dtype).toBe("BF16");
      expect(layer.indexW.dtype).toBe("F32");
    }
  });

  test("holds live data: finite, centred, of unit order, no channel dead", () => {
    for (const { kvRows, indexK, qAbsorbed, indexQ, dQk, indexDim } of trace.layers) {
      for (const [tensor, width] of [[kvRows, dQk], [indexK, indexDim], [qAbsorbed, dQk], [indexQ, indexDim]] as const) {
        const values = valuesOf(tensor);
        const energy = new Float64Array(width);
        values.forEach((x, i) => (energy[i % width]! += x * x));
        expect(values.every(Number.isFinite)).toBe(true);
        expect(Math.sqrt(energy.reduce((a, b) => a + b) / values.length)).toBeGreaterThan(0.1);
        expect(values.reduce((a, b) => Math.max(a, Math.abs(b)), 0)).toBeLessThan(64);
        expect(energy.every((e) => e > 0)).toBe(true);
      }
    }
  });

  test("its indexer beats the window by the recall that docs/trace.md prints", async () => {
    const page = await readFile(join(import.meta.dirname, "../../docs/trace.md"), "utf8");
    const printed = [...page.matchAll(/^\| \d \| \d+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$/gm)].map(([row]) => row);
    const measured = trace.layers.flatMap((layer) =>
      [...recallTable(decodeLayer(layer), [64, 128, 256, 512, 1024])].map(([k, recall]) => ({ layer: layer.layer, k, ...recall })),
    );
    const row = (...cells: (number | string)[]): string => `| ${cells.join(" | ")} |`;
    expect(printed).toEqual(
      measured.map(({ layer, k, indexer, oracle, window }) => row(layer, k, ...[indexer, oracle, window].map((share) => share.toFixed(3)))),
    );
    for (const { k, indexer, oracle, window } of measured) {
      expect(oracle).toBeGreaterThanOrEqual(indexer);
      expect(indexer).toBeGreaterThan(window);
      if (k <= 128) expect(indexer - window).toBeGreaterThan(0.08);
      expect(oracle - indexer).toBeLessThan(0.05);
    }
  });
});

// Two layers of 3 tokens and 2 queries: dQk 2 (latent 1), one head, one index head of dim 1
const bf16 = (shape: readonly number[], ...values: number[]): StoredTensor => ({ dtype: "BF16", shape, bytes: toBytes("bf16", values) });
const i32 = (...values: number[]): StoredTensor => ({ dtype: "I32", shape: [values.length], bytes: toBytes("i32", values) });
const tinyLayer = (layer: number): [string, StoredTensor][] => [
  [`layers.${layer}.q_absorbed`, bf16([2, 1, 2], 1, 0, 0, 1)],
  [`layers.${layer}.kv_rows`, bf16([3, 2], 1, 0, 0, 1, 1, 1)],
  [`layers.${layer}.index_q`, bf16([2, 1, 1], 1, -1)],
  [`layers.${layer}.index_k`, bf16([3, 1], 2, -3, 4)],
  [`layers.${layer}.index_w`, bf16([2, 1], 0.5, -0.5)],
];
const tiny = (): Map<string, StoredTensor> => new Map([["positions", i32(1, 2)], ...tinyLayer(3), ...tinyLayer(20)]);
const metadata = { sm_scale: "0.5", latent: "1", note: "kept" };

describe("loading", () => {
  test("layers in order, sizes from shapes, metadata kept", () => {
    const trace = checkTrace({ tensors: tiny(), metadata }, "tiny");
    expect(trace.layers.map(({ layer }) => layer)).toEqual([3, 20]);
    expect(trace.layers[0]).toMatchObject({ tokens: 3, heads: 1, dQk: 2, latent: 1, indexHeads: 1, indexDim: 1 });
    expect(trace.layers[0]).toMatchObject({ smScale: 0.5, positions: [1, 2] });
    expect(trace.metadata["note"]).toBe("kept");
  });

  type Tensors = Map<string, StoredTensor>;
  const layerNames = (t: Tensors): string[] => [...t.keys()].filter((name) => name.endsWith("kv_rows"));
  const swap = (name: string, tensor: StoredTensor) => (t: Tensors) => t.set(name, tensor);
  test.each<[string, (tensors: Tensors) => unknown, RegExp]>([
    ["missing tensor", (t) => t.delete("layers.3.index_w"), /"layers\.3\.index_w" is missing.*layers\.3\.index_k/],
    ["no layer", (t) => layerNames(t).forEach((name) => t.delete(name)), /no tensor "layers\.L\.kv_rows"/],
    ["wrong dtype", swap("positions", bf16([2], 1, 2)), /"positions" is BF16\. Store it as I32, I64/],
    ["wrong rank", swap("layers.3.q_absorbed", bf16([2, 2], 1, 0, 0, 1)), /q_absorbed" has shape \[2, 2\], expected \[2, H, 2\]/],
    ["row and query widths differ", swap("layers.3.kv_rows", bf16([3, 1], 1, 2, 3)), /q_absorbed" has .* expected \[2, H, 1\]/],
    ["index dims differ", swap("layers.3.index_k", bf16([3, 2], 1, 2, 3, 4, 5, 6)), /index_q" has .* expected \[2, HI, 2\]/],
    ["token counts differ", swap("layers.3.index_k", bf16([2, 1], 1, 2)), /index_k" has shape \[2, 1\], expected \[3, DI\]/],
    ["layers of different length", swap("layers.20.kv_rows", bf16([2, 2], 1, 2, 3, 4)), /20\.kv_rows" has shape .* expected \[3, dQk\]/],
    ["empty tensor", swap("positions", i32()), /"positions" has shape \[0\]/],
    ["position past the end", swap("positions", i32(1, 3)), /position 3 is outside of the 3 tokens/],
    ["negative position", swap("positions", i32(-1, 2)), /position -1 is outside/],
    ["NaN", swap("layers.20.index_k", bf16([3, 1], 2, NaN, 4)), /layers\.20\.index_k" has an infinity or NaN at element 1/],
  ])("%s", (_, change, message) => {
    const tensors = tiny();
    change(tensors);
    const check = (): unknown => checkTrace({ tensors, metadata }, "bad");
    expect(check).toThrow(TensorFileError);
    expect(check).toThrow(message);
  });

  test.each([
    [{ latent: "1" }, /"sm_scale" is missing.*positive number/],
    [{ sm_scale: "-1", latent: "1" }, /"sm_scale" is "-1"/],
    [{ sm_scale: "0.5" }, /"latent" is missing/],
    [{ sm_scale: "0.5", latent: "1.5" }, /"latent" is "1\.5"/],
    [{ sm_scale: "0.5", latent: "3" }, /"latent" is 3, and rows are 2 wide/],
  ])("metadata %j", (bad, message) => {
    expect(() => checkTrace({ tensors: tiny(), metadata: bad as Record<string, string> }, "bad")).toThrow(message);
  });

  test("a folder of .npy files", async () => {
    const folder = await mkdtemp(join(tmpdir(), "trace-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await expect(loadTrace(folder)).rejects.toThrow(/metadata\.json: is missing/);
    for (const [name, tensor] of tiny()) {
      const [descr, data] = tensor.dtype === "I32" ? ["<i4", tensor.bytes] : ["<f4", toBytes("f32", valuesOf(tensor))];
      await writeFile(join(folder, `${name}.npy`), npyFile(npyHeader(descr, tensor.shape), data));
    }
    await writeFile(join(folder, "metadata.json"), JSON.stringify({ sm_scale: 0.5, latent: 1 }));
    const fromFolder = (await loadTrace(folder)).layers.map(decodeLayer);
    const fromTensors = checkTrace({ tensors: tiny(), metadata }, "tiny").layers.map(decodeLayer);
    for (const [i, layer] of fromTensors.entries()) {
      for (const key of ["q", "rows", "indexQ", "indexK", "indexW", "positions", "smScale"] as const) {
        expect(fromFolder[i]![key]).toEqual(layer[key]);
      }
    }
  });

  test("a path that is not there", async () => {
    await expect(loadTrace("/nowhere/x.safetensors")).rejects.toThrow(/no such file or folder\. Give a \.safetensors file/);
  });
});

describe("recall", () => {
  const layer = decodeLayer(checkTrace({ tensors: tiny(), metadata }, "tiny").layers[0]!);

  test("attention mass and index scores by hand", () => {
    const e = Math.exp(0.5); // query 0 sees tokens 0, 1 with logits 0.5, 0; query 1 all three with logits 0, 0.5, 0.5
    expect([...attentionMass(layer, 0)]).toEqual([expect.closeTo(e / (e + 1), 14), expect.closeTo(1 / (e + 1), 14)]);
    expect([...attentionMass(layer, 1)]).toEqual([1, e, e].map((weight) => expect.closeTo(weight / (1 + 2 * e), 14)));
    expect([...indexScores(layer, 0)]).toEqual([1, 0]);
    expect([...indexScores(layer, 1)].map((score) => score + 0)).toEqual([0, -1.5, 0]);
  });

  test("top tokens: score descending, then index ascending, and never more than there are", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(-1, -0, 0, 0.5, 2), { minLength: 1, maxLength: 30 }), fc.nat(40), (list, k) => {
        const scores = Float64Array.from(list);
        const chosen = topTokens(scores, k);
        expect(chosen.length).toBe(Math.min(k, scores.length));
        for (const [i, token] of chosen.entries()) {
          const better = list.filter((score, other) => score > list[token]! || (score === list[token] && other < token));
          expect(better.length).toBe(i);
        }
      }),
    );
  });

  test("the window is the last k tokens; a selection of everything holds everything", () => {
    expect(slidingWindow(5, 2)).toEqual([4, 3]);
    expect(slidingWindow(2, 5)).toEqual([1, 0]);
    expect(massHeld(attentionMass(layer, 1), slidingWindow(3, 3))).toBeCloseTo(1, 14);
  });
});
