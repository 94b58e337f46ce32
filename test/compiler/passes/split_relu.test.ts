/** Maxima split into magnitudes and one product: how far the halves may be from the whole. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { interpretTile } from "../../../compiler/interp/tile.ts";
import type { TileKernel } from "../../../compiler/ir/tile.ts";
import { verifyTile } from "../../../compiler/ir/verify_tile.ts";
import { hoistInvariants } from "../../../compiler/passes/hoist_invariants.ts";
import { hoistScales } from "../../../compiler/passes/hoist_scales.ts";
import { splitRelu } from "../../../compiler/passes/split_relu.ts";
import { decode, toBytes } from "../../../dsl/dtype.ts";
import { readSmall } from "./small_kernels.ts";

const [Q, H, D] = [2, 8, 16];

interface Problem {
  readonly T: number;
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly aScale: readonly number[];
  readonly bScale: readonly number[];
  readonly gate: readonly number[];
}

const problem = fc.integer({ min: 1, max: 20 }).chain((T): fc.Arbitrary<Problem> => {
  const list = (length: number, element: fc.Arbitrary<number>) => fc.array(element, { minLength: length, maxLength: length });
  const code = fc.integer({ min: 0, max: 255 }).filter((c) => (c & 0x7f) !== 0x7f).map((c) => decode("e4m3", c)); // no NaN
  const operands = fc.oneof(code, code.map(Math.abs));
  const scale = fc.oneof(fc.constant(0), fc.double({ min: 2 ** -20, max: 2 ** 10, noNaN: true }).map(Math.fround));
  const gate = fc.oneof(fc.constant(0), fc.double({ min: -4, max: 4, noNaN: true }).map((x) => Math.fround(x)).filter((x) => Math.abs(x) > 2 ** -20));
  return fc.record({
    T: fc.constant(T),
    a: list(Q * H * D, operands),
    b: list(T * D, fc.oneof(code, code.map((x) => -Math.abs(x)))),
    aScale: list(Q * H, scale),
    bScale: list(T, scale),
    gate: list(Q * H, gate),
  });
});

function run(kernel: TileKernel, { T, a, b, aScale, bScale, gate }: Problem): Float32Array {
  const y = new Float32Array(T * Q);
  const f32 = (x: readonly number[]) => new Uint8Array(Float32Array.from(x).buffer);
  const e4m3 = (x: readonly number[]) => toBytes("e4m3", x);
  interpretTile(kernel, { a: e4m3(a), b: e4m3(b), aScale: f32(aScale), bScale: f32(bScale), gate: f32(gate), y: new Uint8Array(y.buffer) }, { T });
  return y;
}

/** What the halves of one cell may be off by, in exact arithmetic but for the roundings that the text of the pass names. */
function allowed({ a, b, aScale, bScale, gate }: Problem, t: number, q: number): number {
  const u = 2 ** -24;
  let magnitudes = 0; // sum of |w| |x|
  const vector = new Array<number>(D).fill(0); // sum of |w| |a|, the most that |u| can be
  for (let h = 0; h < H; h++) {
    const row = q * H + h;
    const w = Math.abs(aScale[row]! * gate[row]!);
    for (let d = 0; d < D; d++) {
      magnitudes += w * Math.abs(a[row * D + d]! * b[t * D + d]!);
      vector[d]! += (w / 2) * Math.abs(a[row * D + d]!);
    }
  }
  const unit = Math.max(...vector) * 2 ** -7;
  const lost = b.slice(t * D, (t + 1) * D).reduce((sum, x) => sum + Math.abs(x), 0) * unit * 2 ** -12;
  return bScale[t]! * (lost + 16 * u * magnitudes) * 1.001 + 2 ** -120;
}

test("the halves are the whole, up to what four pieces lose", async () => {
  const whole = hoistInvariants(hoistScales(await readSmall("narrowReluScores")));
  const halves = hoistInvariants(splitRelu(hoistScales(await readSmall("narrowReluScores"))));
  verifyTile(halves, "splitRelu");
  let worst = 0;
  fc.assert(
    fc.property(problem, (p) => {
      const [want, got] = [run(whole, p), run(halves, p)];
      want.forEach((x, i) => {
        const budget = allowed(p, Math.floor(i / Q), i % Q);
        worst = Math.max(worst, Math.abs(x - got[i]!) / budget);
        expect(Math.abs(x - got[i]!)).toBeLessThanOrEqual(budget);
      });
    }),
    { numRuns: 200 },
  );
  expect(worst).toBeGreaterThan(0.01); // a budget that nothing comes near would see nothing
});
