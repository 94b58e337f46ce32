/** Costs against what the Tile interpreter really touches, and against counts by hand. */
import fc from "fast-check";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { addCosts, bytesOf, costOf, gemmFlopsOf, rooflineOf } from "../../../compiler/cost.ts";
import { listKernels, readKernel } from "../../../compiler/front/index.ts";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import { statements } from "../../../compiler/ir/walk.ts";
import type { KernelName } from "../../../dsl/kernels/index.ts";
import { preset } from "../../../dsl/kernels/presets.ts";
import type { Dsa } from "../../../dsl/kernels/spec.ts";
import type { Shape } from "../../../verify/checks/check.ts";
import { checks } from "../../../verify/checks/index.ts";
import { kernelNames, randomBuffers, randomDims, read, smallSpec, smallTune } from "../kernel_cases.ts";

const sector = 32;
type Bytes = Readonly<Record<string, number>>;

/** Bytes of the sectors that the interpreter reads and writes, by param: every access goes through a DataView. */
function observe(kernel: TileKernel, buffers: Readonly<Record<string, Uint8Array>>, dims: Readonly<Record<string, number>>): { read: Bytes; written: Bytes } {
  const nameOf = new Map(Object.entries(buffers).map(([name, { buffer }]) => [buffer, name]));
  const touched = { get: new Set<string>(), set: new Set<string>() };
  const methods = { Uint8: 1, Uint16: 2, Int32: 4, Uint32: 4, Float32: 4 };
  const prototype = DataView.prototype as unknown as Record<string, (this: DataView, at: number, ...rest: unknown[]) => unknown>;
  const saved = new Map<string, (typeof prototype)[string]>();
  for (const kind of ["get", "set"] as const) {
    for (const [suffix, size] of Object.entries(methods)) {
      const method = `${kind}${suffix}`;
      const original = prototype[method]!;
      saved.set(method, original);
      prototype[method] = function (at, ...rest) {
        const name = nameOf.get(this.buffer as ArrayBuffer);
        if (name !== undefined) for (const byte of [at, at + size - 1]) touched[kind].add(`${name} ${Math.floor(byte / sector)}`);
        return original.call(this, at, ...rest);
      };
    }
  }
  try {
    interpretTile(kernel, buffers, dims);
  } finally {
    for (const [method, original] of saved) prototype[method] = original;
  }
  const bytes = (keys: ReadonlySet<string>): Bytes => {
    const counts: Record<string, number> = {};
    for (const key of keys) counts[key.split(" ")[0]!] = (counts[key.split(" ")[0]!] ?? 0) + sector;
    return counts;
  };
  return { read: bytes(touched.get), written: bytes(touched.set) };
}

/** Of data of a kernel's check. */
function selectionBytes(kernel: TileKernel, name: KernelName, spec: Dsa, shape: Shape) {
  const { buffers, dims } = checks[name].prepare(spec, shape);
  const copies = Object.fromEntries(Object.entries(buffers).map(([param, bytes]) => [param, bytes.slice()]));
  const { readBytes, writtenBytes, assumed } = costOf(kernel, buffers, dims);
  const { logits: _, ...deciding } = buffers;
  expect(costOf(kernel, deciding, dims)).toEqual(costOf(kernel, buffers, dims)); // no score decides what is counted
  return { counted: { read: readBytes, written: writtenBytes }, assumed, touched: observe(kernel, copies, dims) };
}

/** Holds the bytes of a count to what a run touches. */
function expectTouched(kernel: TileKernel, dims: Readonly<Record<string, number>>, seed: number): void {
  const buffers = randomBuffers(kernel, dims, seed);
  const { readBytes, writtenBytes, assumed } = costOf(kernel, buffers, dims);
  const { read: reads, written } = observe(kernel, buffers, dims);
  const at = `${kernel.name} ${JSON.stringify(dims)}`;
  expect(readBytes, at).toEqual(reads);
  if (![...statements(kernel.body)].some((s) => s.kind === "Store" && s.keep)) expect(writtenBytes, at).toEqual(written);
  expect(assumed).toEqual([]);
}

describe("bytes are those that the interpreter touches", () => {
  // how top-k goes on is for its data to say: see below
  test.each(kernelNames.filter((name) => !name.startsWith("topk")))("%s", async (name) => {
    await fc.assert(
      fc.asyncProperty(smallSpec, fc.nat(), async (spec, seed) => {
        const kernel = await read(name, spec, smallTune[name]);
        expectTouched(kernel, randomDims(kernel, seed), seed);
      }),
      { numRuns: 15 },
    );
  });

  // wide tiles of the rescue and the plateau touch more behind a window's end than the filter's narrow ones
  const guessed = { BT: 16, SAMPLE: 64, BINS: 64, ROOM: 600, SPAN: 128, WIDE: 512 };
  test.each(kernelNames.filter((name) => name.startsWith("topk")))("%s, whose guess is right", async (name) => {
    for (const spec of fc.sample(smallSpec, { numRuns: 8, seed: 3 })) {
      const kernel = await read(name, spec, guessed);
      for (const tokens of [spec.topK + 80, 500, 1000]) {
        const shared = { tokens, kind: "normal", unseen: "nan", gap: 0, seed: tokens };
        const shape: Shape = name === "topk_slots" ? { requests: 2, lengths: "full", short: 0, ...shared } : { queries: 2, windows: "within", ...shared };
        const { counted, touched, assumed } = selectionBytes(kernel, name, spec, shape);
        expect(counted, `${name} ${JSON.stringify([spec, shape])}`).toEqual(touched);
        expect(assumed.filter((text) => /count >= \d+\) && .*count <= 600/.test(text)).length).toBe(1);
        expect(assumed.filter((text) => /isDone|isPlateau/.test(text))).toEqual([]); // what a right guess leaves nothing to do
      }
    }
  });

  test("topk touches more than is counted where its guess is wrong", async () => {
    const spec = { ...preset("v3.2"), topK: 24 };
    const kernel = await read("topk", spec, { ...guessed, ROOM: 40 });
    const shape = { queries: 2, tokens: 1000, windows: "within", kind: "normal", unseen: "nan", gap: 0, seed: 1 } as const;
    const { counted, touched } = selectionBytes(kernel, "topk", spec, shape);
    expect(touched.read.logits).toBeGreaterThan(counted.read.logits!);
    expect(touched.written).toEqual(counted.written);
  });

  const file = join(import.meta.dirname, "kernels.ts");
  test.each(["backwards", "gaps", "band", "sometimes", "ragged"])("%s", async (exportName) => {
    const kernel = await readKernel({ file, exportName, skipTypes: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 200 }), fc.integer({ min: 0, max: 9 }), fc.nat(), (R, C, gap, seed) =>
        expectTouched(kernel, { R, C, xPitch: C + gap }, seed),
      ),
      { numRuns: 30 },
    );
  });

  const forms = join(import.meta.dirname, "../front/fixtures/forms.ts");
  const decided = listKernels(forms).map((k) => k.exportName).filter((name) => name !== "selection"); // which branches on a list's length
  test.each(decided)("form %s", async (exportName) => {
    const kernel = await readKernel({ file: forms, exportName, spec: { weights: [0.5, 3, 0.25] }, skipTypes: true });
    fc.assert(fc.property(fc.nat(), (seed) => expectTouched(kernel, randomDims(kernel, seed), seed)), { numRuns: 10 });
  });
});

describe("by hand", () => {
  const v32 = preset("v3.2");
  const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);

  test("products and other arithmetic follow the trips", async () => {
    const kernel = await readKernel({ file: join(import.meta.dirname, "kernels.ts"), exportName: "ragged", skipTypes: true });
    const cost = costOf(kernel, { n: words(0, 1, 16, 17, 99) }, { R: 5, C: 40, xPitch: 64 });
    const trips = 0 + 1 + 1 + 2 + 3; // 99 is cut at 40
    // f32 is the wider dtype; a sum of 8, then a product and a sum for each of them
    expect(cost).toMatchObject({ gemmFlops: { f32: trips * 2 * 8 * 16 }, otherFlops: trips * (8 + 2 * 8), assumed: [] });
    expect(cost.readBytes).toEqual({ n: 32, w: 8 * 80, x: 64 + 64 + 128 + 160 }); // 80 bytes of a row at most
    expect([gemmFlopsOf(cost), bytesOf(cost)]).toEqual([trips * 256, 32 + 640 + 416 + 4 * 32]);
  });

  test("a branch counts where it is taken", async () => {
    const kernel = await readKernel({ file: join(import.meta.dirname, "kernels.ts"), exportName: "sometimes", skipTypes: true });
    const cost = costOf(kernel, { n: words(0, 4, 3, 9) }, { R: 4, C: 16, xPitch: 16 });
    expect(cost).toMatchObject({ gemmFlops: { f32: 2 * 2 * 8 * 16 }, readBytes: { n: 32, x: 2 * 64, w: 256 }, writtenBytes: { y: 2 * 32 } });
  });

  test("logits of a causal window: whole tiles of products, each byte of the keys once", async () => {
    const [BQ, BT] = [2, 64];
    const kernel = await read("indexer_logits", v32, { BQ, BT });
    const [Q, T] = [100, 1000];
    const last = Array.from({ length: Q }, (_, q) => T - Q + q + 1);
    const cost = costOf(kernel, { first: words(...last.map(() => 0)), last: words(...last) }, { Q, T });
    let [tiles, cells] = [0, 0];
    for (let q = 0; q < Q; q += BQ) {
      tiles += Math.ceil(last[q + BQ - 1]! / BT);
      cells += BQ * Math.min(T, Math.ceil(last[q + BQ - 1]! / BT) * BT);
    }
    expect(cost.gemmFlops).toEqual({ e4m3: tiles * 2 * BT * BQ * 64 * 128 });
    expect(cost.readBytes).toMatchObject({ q: Q * 64 * 128, k: T * 128, kScale: 4 * T, w: 4 * Q * 64 });
    expect(cost.writtenBytes.logits).toBe(4 * cells);
  });

  test("attention over a few rows that are named often reads those rows alone", async () => {
    const kernel = await read("sparse_mla", { ...v32, topK: 32 }, { BH: 16, BJ: 16 });
    const [Q, T] = [3, 500];
    const idx = Array.from({ length: Q * 32 }, (_, i) => [7, 9, 499, -1, 500][i % 5]!);
    const cost = costOf(kernel, { idx: words(...idx), lengths: words(32, 32, 16) }, { Q, T });
    expect(cost.gemmFlops).toEqual({ bf16: ((2 + 2 + 1) * 16) * 2 * 128 * (576 + 512) });
    expect(cost.readBytes).toMatchObject({ kv: 3 * 1152, q: Q * 128 * 1152, sink: 512 });
    expect(cost.writtenBytes).toEqual({ out: Q * 128 * 1024, lse: Q * 512, maxLogit: Q * 512 });
  });

  test("what only a run would tell is assumed, and said", async () => {
    const kernel = await readKernel({ file: join(import.meta.dirname, "../front/fixtures/forms.ts"), exportName: "selection", skipTypes: true });
    const dims = randomDims(kernel, 1);
    expect(costOf(kernel, randomBuffers(kernel, dims, 1), dims).assumed).toEqual([expect.stringMatching(/^line \d+: list\.count < 3 holds$/)]);
  });

  test("a loop of unknown trips makes none, and what it leaves is counted on", async () => {
    const kernel = await readKernel({ file: join(import.meta.dirname, "kernels.ts"), exportName: "unknownTrips", skipTypes: true });
    const cost = costOf(kernel, {}, { R: 2, C: 64, xPitch: 64 });
    expect(cost.assumed).toEqual([expect.stringMatching(/^line \d+: the loop over .* makes no trip$/)]);
    expect([cost.readBytes, cost.writtenBytes]).toEqual([{ x: 2 * 32 }, { y: 2 * 32 }]);
  });

  test("bytes that decide and are not there are an error, and so is a dim", async () => {
    const kernel = await read("topk", v32);
    expect(() => costOf(kernel, { first: words(0) }, { Q: 1, T: 9 })).toThrow('the cost depends on what "last" holds. Give its bytes.');
    expect(() => costOf(kernel, { first: words(0), last: words(9) }, { Q: 1 })).toThrow('dim "T" has no value; give it in dims');
  });

  test("launches add up, and the roofline takes the slower of products and memory", () => {
    const products = { gemmFlops: { e4m3: 3e12, f16: 1e12 }, otherFlops: 5, readBytes: { k: 1e9 }, writtenBytes: { y: 1e9 }, assumed: ["a"] };
    const copies = { gemmFlops: {}, otherFlops: 1, readBytes: { k: 2e9, q: 1 }, writtenBytes: {}, assumed: ["a", "b"] };
    const both = addCosts([products, copies]);
    expect(both).toEqual({ gemmFlops: { e4m3: 3e12, f16: 1e12 }, otherFlops: 6, readBytes: { k: 3e9, q: 1 }, writtenBytes: { y: 1e9 }, assumed: ["a", "b"] });
    const ceilings = { memory: 4e12, tensor: { e4m3: 1.5e15, bf16: 0.5e15 } };
    expect(rooflineOf(products, ceilings)).toEqual({ microseconds: expect.closeTo(4000), by: "products" });
    expect(rooflineOf(copies, ceilings)).toEqual({ microseconds: expect.closeTo(500), by: "memory" });
    expect(rooflineOf(products, { tensor: {} })).toBeUndefined();
  });
});

test("a launch of thousands of blocks is counted in seconds", async () => {
  const kernel = await read("indexer_logits", preset("v3.2"), { BQ: 2, BT: 64 });
  const [Q, T] = [2048, 65536];
  const last = Int32Array.from({ length: Q }, (_, q) => T - Q + q + 1);
  const start = performance.now();
  const cost = costOf(kernel, { first: new Uint8Array(4 * Q), last: new Uint8Array(last.buffer) }, { Q, T });
  expect(performance.now() - start).toBeLessThan(20_000);
  expect(gemmFlopsOf(cost) / (2 * 64 * 128 * (Q * T - (Q * (Q - 1)) / 2))).toBeCloseTo(1, 2);
});
