/** Generated WGSL on the embedded software adapter against the simulated machine, and the codecs over every code. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { runLoop } from "../../../../compiler/interp/loop.ts";
import { add, int } from "../../../../compiler/ir/expr.ts";
import type { LoopKernel } from "../../../../compiler/ir/loop.ts";
import { byteSize, type DType, encode, fromBytes, round, toBytes } from "../../../../dsl/dtype.ts";
import { scalarFunctions } from "../../../../dsl/math.ts";
import { openWebGpu, type WebGpuDevice } from "../../../../targets/wgsl/runtime.ts";
import {
  block,
  codecKernels,
  element,
  file,
  gatherRecords,
  histogram,
  mathFunctions,
  mathKernel,
  mathResults,
  rowCentre,
  storeGlobal,
  tensor,
  transpose,
  vectorScale,
} from "../../../compiler/interp/loop_kernels.ts";
import { launch } from "./device.ts";

let device: WebGpuDevice;
beforeAll(async () => void (device = await openWebGpu({ adapter: "software" })));
afterAll(() => device.close());

const sequence = (n: number, f: (i: number) => number): number[] => Array.from({ length: n }, (_, i) => f(i));
const hash = (i: number): number => Math.imul(Math.imul(i + 1, 0x9e3779b1) ^ (i >>> 3), 0x85ebca6b) >>> 0;

const cases: readonly (readonly [LoopKernel, () => Record<string, Uint8Array>, Record<string, number>])[] = [
  [
    vectorScale,
    () => ({
      x: toBytes(
        "f32",
        sequence(515, (i) => i / 7),
      ),
      y: new Uint8Array(4 * 515),
    }),
    { N: 515 },
  ],
  [
    rowCentre,
    () => ({
      x: toBytes(
        "f32",
        sequence(320, (i) => i % 9),
      ),
      y: new Uint8Array(1280),
      total: new Uint8Array(20),
    }),
    { R: 5 },
  ],
  [histogram, () => ({ x: toBytes("u32", sequence(777, hash)), counts: new Uint8Array(64), most: new Uint8Array(4) }), { N: 777 }],
  [
    transpose,
    () => ({
      x: toBytes(
        "bf16",
        sequence(37 * 50, (i) => i),
      ),
      y: toBytes(
        "bf16",
        sequence(45 * 40, () => 9),
      ),
    }),
    { R: 37, C: 45, xPitch: 50, yPitch: 40 },
  ],
  [
    gatherRecords,
    () => ({
      cache: Uint8Array.from(sequence(3 * 48, (i) => (hash(i) & 0x3f) | 0x08)),
      idx: toBytes("i32", [5, -1, 0, 3, 3, -1]),
      out: new Uint8Array(96),
      last: new Uint8Array(24),
    }),
    { P: 3, J: 6, pageBytes: 48 },
  ],
];
for (const [kernel, make, dims] of cases)
  it(`${kernel.name} gives the bytes of the simulated machine`, async () => {
    const [expected, actual] = [make(), make()];
    runLoop(kernel, [], expected, dims);
    await launch(device, kernel, actual, dims);
    for (const p of kernel.params) expect({ [p.name]: actual[p.name] }).toEqual({ [p.name]: expected[p.name] });
  });

it("every block runs once, and none beyond the last, when there are more than one dimension of the grid holds", async () => {
  const [blocks, size] = [65537, 2 * 65535]; // the grid is 65535 by 2: all but two blocks of the second row are surplus
  const blockNumbers: LoopKernel = {
    name: "block_numbers",
    loc: { file, line: 1, column: 1 },
    params: [tensor("inout", "y", "i32", { i: "N" })],
    dims: [{ name: "N" }],
    blocks,
    threads: 1,
    shared: [],
    sharedBytes: 0,
    barriers: [],
    pipes: [],
    tensorMaps: [],
    body: [storeGlobal("y", [block], add(element("y", [block], "i32"), add(block, int(1))))],
  };
  const y = new Uint8Array(4 * size);
  await launch(device, blockNumbers, { y }, { N: size });
  expect(fromBytes("i32", y).findIndex((v, i) => v !== (i < blocks ? i + 1 : 0))).toBe(-1);
});

/** f32 values around every boundary of a format: each code's value, the midpoints of neighbours, and the f32 on either side of both. */
function edges(dtype: DType): number[] {
  const codes = sequence(2 ** (8 * byteSize(dtype)), (code) => code).filter(
    (code) => byteSize(dtype) === 1 || code % 97 === 0 || code % 1024 < 3,
  );
  const values = [...fromBytes(dtype, byteSize(dtype) === 1 ? Uint8Array.from(codes) : new Uint8Array(Uint16Array.from(codes).buffer))]
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  const middles = values.slice(1).map((v, i) => (v + values[i]!) / 2);
  const bits = new DataView(new ArrayBuffer(4));
  const step = (x: number, by: number) => (bits.setFloat32(0, x), bits.setInt32(0, bits.getInt32(0) + by), bits.getFloat32(0));
  const around = [...values, ...middles].flatMap((v) => [Math.fround(v), step(v, 1), step(v, -1)]);
  return [...around, 0, -0, Infinity, -Infinity, NaN, 1e-45, -1e-45, 3.4e38, -3.4e38, 2 ** -127, 2 ** -126, 1.5 * 2 ** -127];
}

for (const kernel of codecKernels) {
  const { dtype } = kernel.params[0]!.fields[0]!;
  it(`${dtype}: every code decodes, every boundary encodes as in dsl/dtype.ts`, async () => {
    const x = edges(dtype);
    const count = Math.max(x.length, 2 ** (8 * byteSize(dtype)));
    const padded = sequence(count, (i) => x[i] ?? i / 3);
    const codes =
      byteSize(dtype) === 1
        ? Uint8Array.from(sequence(count, (i) => i))
        : new Uint8Array(Uint16Array.from(sequence(count, (i) => i)).buffer);
    const buffers = {
      codes,
      x: toBytes("f32", padded),
      value: new Uint8Array(4 * count),
      encoded: new Uint8Array(codes.byteLength),
      rounded: new Uint8Array(4 * count),
    };
    await launch(device, kernel, buffers, { N: count });
    const same = (a: ArrayLike<number>, b: ArrayLike<number>) => {
      for (let i = 0; i < count; i++) if (!Object.is(a[i], b[i])) return `element ${i} (x = ${padded[i]}): ${a[i]}, expected ${b[i]}`;
      return "";
    };
    expect(same(fromBytes("f32", buffers.value), fromBytes(dtype, codes))).toBe("");
    expect(
      same(
        fromBytes("f32", buffers.rounded),
        padded.map((v) => round(dtype, Math.fround(v))),
      ),
    ).toBe("");
    const words = byteSize(dtype) === 1 ? buffers.encoded : new Uint16Array(buffers.encoded.buffer);
    expect(
      same(
        words,
        padded.map((v) => encode(dtype, Math.fround(v))),
      ),
    ).toBe("");
  });
}

it("scalar functions keep the budgets of dsl/math.ts", async () => {
  const x = [
    ...sequence(200, (i) => (i - 100) / 32),
    ...sequence(60, (i) => 2 ** (i / 4 - 8)),
    1e-6,
    -1e-6,
    0.49999,
    -0.49999,
    -0.5,
    0.5,
    0.9999,
    20,
    -20,
    80,
  ];
  const y = x.map((_, i) => ((hash(i) % 1000) - 500) / 100 || 1);
  const [n, m] = [x.map((_, i) => (hash(i) | 0) >> (i % 30)), x.map((_, i) => 1 + (hash(i + 7) % 9))];
  const results = mathResults.length;
  const make = () => ({
    x: toBytes("f32", x),
    y: toBytes("f32", y),
    n: toBytes("i32", n),
    m: toBytes("i32", m),
    out: new Uint8Array(4 * results * x.length),
  });
  const [expected, actual] = [make(), make()];
  runLoop(mathKernel, [], expected, { N: x.length });
  await launch(device, mathKernel, actual, { N: x.length });
  const [wanted, got] = [fromBytes("f32", expected.out), fromBytes("f32", actual.out)];
  const ulp = (v: number) => 2 ** (Math.max(Math.floor(Math.log2(Math.abs(v) || 1e-45)), -126) - 23);
  for (let i = 0; i < wanted.length; i++) {
    const [f, row] = [i % results, Math.floor(i / results)];
    const name = mathFunctions[f] ?? (f === 14 ? "/" : "");
    const budget = name === "/" ? { ulp: 2.5 } : scalarFunctions.find((s) => s.name === name)?.wgsl;
    const [w, g] = [wanted[i]!, got[i]!];
    if (name === "sin" && Math.abs(x[row]!) > Math.PI) continue;
    if (name === "cos" && Math.abs(x[row]!) > Math.PI) continue;
    if (Number.isNaN(w)) continue; // outside the function's domain: WGSL leaves the value open
    const allowed = budget
      ? Math.max(
          ("absolute" in budget ? budget.absolute : 0) ?? 0,
          (budget.ulp + (("ulpPerUnit" in budget ? budget.ulpPerUnit : 0) ?? 0) * Math.abs(x[row]!) + 1) * ulp(w),
        )
      : 0;
    if (!(w === g || Math.abs(w - g) <= allowed))
      expect(`${name || `result ${f}`}(${x[row]}, ${y[row]}, ${n[row]}, ${m[row]}) = ${g}`).toBe(`${w} ± ${allowed}`);
  }
});
