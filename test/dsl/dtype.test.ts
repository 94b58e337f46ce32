import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  byteSize,
  decode,
  dtypes,
  encode,
  fromBytes,
  isFloat,
  readElement,
  round,
  toBytes,
  writeElement,
  type DType,
} from "../../dsl/dtype.ts";

/** Value of a code from the definition of the format, in exact integer arithmetic: sign * significand * 2^exponent. */
function defined(dtype: "e4m3" | "e5m2" | "f16" | "bf16", code: number): number {
  const [exponentBits, mantissaBits] = { e4m3: [4, 3], e5m2: [5, 2], f16: [5, 10], bf16: [8, 7] }[dtype] as [number, number];
  const bits = code.toString(2).padStart(1 + exponentBits + mantissaBits, "0");
  const sign = bits[0] === "1" ? -1 : 1;
  const exponent = parseInt(bits.slice(1, 1 + exponentBits), 2);
  const mantissa = parseInt(bits.slice(1 + exponentBits), 2);
  const allOnes = exponent === 2 ** exponentBits - 1;
  if (dtype === "e4m3" ? allOnes && mantissa === 7 : allOnes && mantissa !== 0) return NaN;
  if (dtype !== "e4m3" && allOnes) return sign * Infinity;
  const bias = 2 ** (exponentBits - 1) - 1;
  const significand = exponent === 0 ? mantissa : 2 ** mantissaBits + mantissa;
  return sign * significand * 2 ** (Math.max(exponent, 1) - bias - mantissaBits);
}

const minifloats = ["e4m3", "e5m2", "f16", "bf16"] as const;
const allCodes = (dtype: DType): number[] => Array.from({ length: 2 ** (8 * byteSize(dtype)) }, (_, code) => code);

describe.each(minifloats)("%s", (dtype) => {
  const codes = allCodes(dtype);
  /** Finite values with their codes, ascending; of the two zeros only +0. */
  const table = codes
    .map((code) => ({ code, value: defined(dtype, code) }))
    .filter(({ value }) => Number.isFinite(value) && !Object.is(value, -0))
    .sort((a, b) => a.value - b.value);
  const largest = table.at(-1)!.value;

  test("decodes every code as defined", () => {
    expect(codes.filter((code) => !Object.is(decode(dtype, code), defined(dtype, code)))).toEqual([]);
  });

  test("encodes every finite value to its code", () => {
    const finite = codes.filter((code) => Number.isFinite(defined(dtype, code)));
    expect(finite.filter((code) => encode(dtype, defined(dtype, code)) !== code)).toEqual([]);
  });

  /** Nearest table value by binary search; of two equally near ones the even code. */
  function nearest(x: number): number {
    let lo = 0;
    let hi = table.length - 1;
    while (hi - lo > 1) {
      const middle = (lo + hi) >> 1;
      if (table[middle]!.value <= x) lo = middle;
      else hi = middle;
    }
    const [below, above] = [table[lo]!, table[hi]!];
    const down = x - below.value;
    const up = above.value - x;
    if (down === up) return below.code % 2 === 0 ? below.value : above.value;
    return down < up ? below.value : above.value;
  }

  test("rounds to nearest even: codes, midpoints, and both neighbours of every midpoint", () => {
    const bad: number[] = [];
    for (let i = 0; i + 1 < table.length; i++) {
      const [a, b] = [table[i]!.value, table[i + 1]!.value];
      const middle = (a + b) / 2; // exact in f64
      const near = (x: number) => Math.max(Math.abs(x) * 2 ** -52, 2 ** -1000);
      for (const x of [a, middle, middle - near(middle), middle + near(middle)]) {
        if (round(dtype, x) !== nearest(x)) bad.push(x);
      }
    }
    expect(bad).toEqual([]);
  });

  test("rounds random f64 to the nearest value, and its negation to the negated one", () => {
    fc.assert(
      fc.property(fc.double({ min: -largest, max: largest, noNaN: true }), fc.integer({ min: -40, max: 0 }), (x, e) => {
        const scaled = x * 2 ** e;
        expect(round(dtype, scaled) + 0).toBe(nearest(scaled) + 0);
        expect(round(dtype, -scaled)).toBe(-round(dtype, scaled));
      }),
    );
  });

  test("treats what is larger than the largest value as the table of dtype.ts says", () => {
    const saturates = dtype === "e4m3" || dtype === "e5m2";
    const step = largest - table.at(-2)!.value;
    const tie = largest + step / 2;
    expect(round(dtype, tie * (1 - 2 ** -52))).toBe(largest);
    for (const x of [tie, largest * 2, 1e300, Infinity]) {
      expect(round(dtype, x)).toBe(saturates ? largest : Infinity);
      expect(round(dtype, -x)).toBe(saturates ? -largest : -Infinity);
    }
  });

  test("keeps NaN and the sign of zero", () => {
    expect(round(dtype, NaN)).toBeNaN();
    expect(decode(dtype, encode(dtype, NaN))).toBeNaN();
    expect(round(dtype, -0)).toBe(-0);
    expect(encode(dtype, -0)).toBe(2 ** (8 * byteSize(dtype) - 1));
    expect(round(dtype, -1e-300)).toBe(-0);
  });

  test("is monotone and idempotent", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), fc.double({ noNaN: true }), (x, y) => {
        const [lo, hi] = x <= y ? [x, y] : [y, x];
        expect(round(dtype, lo)).toBeLessThanOrEqual(round(dtype, hi));
        expect(round(dtype, round(dtype, x))).toBe(round(dtype, x));
      }),
    );
  });
});

test("named codes of the FP8 standard", () => {
  expect(decode("e4m3", 0x7e)).toBe(448);
  expect(decode("e4m3", 0x01)).toBe(2 ** -9);
  expect(decode("e4m3", 0x7f)).toBeNaN();
  expect(decode("e4m3", 0xff)).toBeNaN();
  expect(decode("e5m2", 0x7b)).toBe(57344);
  expect(decode("e5m2", 0x7c)).toBe(Infinity);
  expect(decode("e5m2", 0xfc)).toBe(-Infinity);
  expect(encode("bf16", 1)).toBe(0x3f80);
  expect(encode("f16", 65519.99)).toBe(0x7bff);
  expect(encode("f16", 65520)).toBe(0x7c00);
});

describe("ue8m0", () => {
  test("every code is a power of two and comes back", () => {
    for (let code = 0; code < 255; code++) {
      expect(decode("ue8m0", code)).toBe(2 ** (code - 127));
      expect(encode("ue8m0", 2 ** (code - 127))).toBe(code);
    }
    expect(decode("ue8m0", 255)).toBeNaN();
    expect(encode("ue8m0", NaN)).toBe(255);
  });
  test("rounds up to the next power of two, whatever the distance", () => {
    for (let e = -127; e < 127; e++) {
      expect(round("ue8m0", 2 ** e * (1 + 2 ** -52))).toBe(2 ** (e + 1));
      expect(round("ue8m0", 2 ** e * 1.5)).toBe(2 ** (e + 1));
    }
  });
  test("saturates at both ends; negative numbers have no scale", () => {
    expect([0, -0, 5e-324, 2 ** -127].map((x) => round("ue8m0", x))).toEqual(Array(4).fill(2 ** -127));
    expect([2 ** 127, 2 ** 127 * 1.01, 1e300, Infinity].map((x) => round("ue8m0", x))).toEqual(Array(4).fill(2 ** 127));
    expect([-1, -5e-324, NaN].map((x) => encode("ue8m0", x))).toEqual([255, 255, 255]);
  });
});

test("i32 and u32 truncate and wrap around", () => {
  expect([1.9, -1.9, 2 ** 31, -1].map((x) => round("i32", x))).toEqual([1, -1, -(2 ** 31), -1]);
  expect([1.9, 2 ** 32 + 3, -1].map((x) => round("u32", x))).toEqual([1, 3, 2 ** 32 - 1]);
  expect(decode("i32", 0xffffffff)).toBe(-1);
  expect(decode("u32", 0xffffffff)).toBe(2 ** 32 - 1);
});

test("f32 codes agree with the machine's", () => {
  fc.assert(
    fc.property(fc.float(), (x) => {
      expect(encode("f32", x)).toBe(new Uint32Array(Float32Array.of(x).buffer)[0]);
      expect(decode("f32", encode("f32", x))).toBe(x);
    }),
  );
});

test.each(dtypes)("%s bytes are little-endian and come back, at any offset", (dtype) => {
  const values = isFloat(dtype) ? [1, 0.5, 2, 256] : [1, 2, 3, 0x1234567];
  const bytes = toBytes(dtype, values);
  expect(bytes.length).toBe(values.length * byteSize(dtype));
  expect([...fromBytes(dtype, bytes)]).toEqual(values);
  const code = encode(dtype, values[3]!);
  expect([...bytes.subarray(3 * byteSize(dtype))]).toEqual(Array.from({ length: byteSize(dtype) }, (_, i) => (code >>> (8 * i)) & 255));
  const view = new DataView(new ArrayBuffer(16));
  writeElement(dtype, view, 5, values[3]!);
  expect(readElement(dtype, view, 5)).toBe(values[3]);
});
