import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, decodeArray, elementBytes, encode, encodeArray, roundTo, type FormatName } from "../../reference/formats.ts";

const floats = ["e4m3", "e5m2", "f16", "bf16"] as const;
const codesOf = (format: FormatName): number[] => Array.from({ length: 2 ** (8 * elementBytes(format)) }, (_, code) => code);
const finiteMagnitudes = (format: FormatName): number[] =>
  codesOf(format)
    .slice(0, 2 ** (8 * elementBytes(format) - 1))
    .filter((code) => Number.isFinite(decode(format, code)));
const anyFloat = fc.oneof(
  fc.double({ noDefaultInfinity: true }),
  fc.double({ min: -1000, max: 1000 }),
  fc.double({ min: -1e-6, max: 1e-6 }),
);

test("powers of two are exact in this engine, which every decoder relies on", () => {
  const view = new DataView(new ArrayBuffer(8));
  for (let exponent = -1022; exponent <= 1023; exponent++) {
    view.setUint32(0, (exponent + 1023) * 2 ** 20);
    expect(2 ** exponent).toBe(view.getFloat64(0));
  }
});

describe.each(floats)("%s", (format) => {
  test("every code survives decode and encode", () => {
    for (const code of codesOf(format)) {
      const value = decode(format, code);
      if (Number.isNaN(value)) expect(decode(format, encode(format, value))).toBeNaN();
      else if (Number.isFinite(value) || format === "f16" || format === "bf16") expect(encode(format, value)).toBe(code);
    }
  });

  test("codes without sign ascend in value, and the sign bit negates", () => {
    const magnitudes = finiteMagnitudes(format);
    const signBit = 2 ** (8 * elementBytes(format) - 1);
    for (const code of magnitudes) {
      if (code > 0) expect(decode(format, code)).toBeGreaterThan(decode(format, code - 1));
      expect(decode(format, code + signBit)).toBe(-decode(format, code));
    }
  });

  test("between neighbours the nearer one wins, and a tie goes to the even code", () => {
    for (const code of finiteMagnitudes(format).slice(1)) {
      const [low, high] = [decode(format, code - 1), decode(format, code)];
      const gap = high - low;
      expect(encode(format, low + 0.5 * gap)).toBe(code % 2 === 0 ? code : code - 1);
      expect(encode(format, low + 0.5 * gap - 2 ** -20 * gap)).toBe(code - 1);
      expect(encode(format, low + 0.5 * gap + 2 ** -20 * gap)).toBe(code);
    }
  });

  test("no stored number is nearer than the chosen one", () => {
    const values = finiteMagnitudes(format).flatMap((code) => [decode(format, code), -decode(format, code)]);
    const largest = Math.max(...finiteMagnitudes(format).map((code) => decode(format, code)));
    fc.assert(
      fc.property(fc.double({ min: -largest, max: largest, noNaN: true }), (x) => {
        const chosen = Math.abs(roundTo(format, x) - x);
        expect(values.every((value) => Math.abs(value - x) >= chosen)).toBe(true);
      }),
      { numRuns: elementBytes(format) === 1 ? 200 : 5 },
    );
  });

  test("rounding is monotone, odd and idempotent", () => {
    fc.assert(
      fc.property(anyFloat, anyFloat, (x, y) => {
        if (Number.isNaN(x) || Number.isNaN(y)) return;
        const [low, high] = [roundTo(format, Math.min(x, y)), roundTo(format, Math.max(x, y))];
        expect(low <= high).toBe(true);
        expect(roundTo(format, -x)).toBe(-roundTo(format, x));
        expect(roundTo(format, low)).toBe(low);
      }),
    );
  });
});

test.each([
  ["e4m3", 448, 0x7e],
  ["e4m3", 464, 0x7e],
  ["e4m3", 1e30, 0x7e],
  ["e4m3", -Infinity, 0xfe],
  ["e4m3", 2 ** -9, 0x01],
  ["e4m3", 2 ** -6, 0x08],
  ["e4m3", 2 ** -10, 0x00],
  ["e4m3", NaN, 0x7f],
  ["e4m3", -0, 0x80],
  ["e4m3", 1, 0x38],
  ["e4m3", 17, 0x58],
  ["e4m3", 19, 0x5a],
  ["e5m2", 57344, 0x7b],
  ["e5m2", Infinity, 0x7b],
  ["e5m2", 61440, 0x7b],
  ["e5m2", 1, 0x3c],
  ["e5m2", 2 ** -16, 0x01],
  ["f16", 65504, 0x7bff],
  ["f16", 65519.9, 0x7bff],
  ["f16", 65520, 0x7c00],
  ["f16", -Infinity, 0xfc00],
  ["f16", 2 ** -24, 0x0001],
  ["f16", 1, 0x3c00],
  ["bf16", 1, 0x3f80],
  ["bf16", 1 + 2 ** -8, 0x3f80],
  ["bf16", 1 + 3 * 2 ** -8, 0x3f82],
  ["bf16", 3.4e38, 0x7f80],
  ["bf16", -2, 0xc000],
  ["f32", 1, 0x3f800000],
  ["f32", -0, 0x80000000],
  ["f32", 2 ** -149, 1],
  ["ue8m0", 1, 127],
  ["ue8m0", 1.0000001, 128],
  ["ue8m0", 0, 0],
  ["ue8m0", 2 ** -127, 0],
  ["ue8m0", 1e300, 254],
  ["ue8m0", -1, 255],
  ["ue8m0", NaN, 255],
] as const)("%s stores %f as 0x%h", (format, value, code) => {
  expect(encode(format, value)).toBe(code);
});

test("bf16 of an f32 is what rounding its upper half in integers gives", () => {
  const view = new DataView(new ArrayBuffer(4));
  fc.assert(
    fc.property(fc.float({ noNaN: true }), (x) => {
      view.setFloat32(0, x);
      const bits = view.getUint32(0);
      expect(encode("bf16", x)).toBe(Math.floor((bits + 0x7fff + (Math.floor(bits / 2 ** 16) % 2)) / 2 ** 16));
    }),
    { numRuns: 1000 },
  );
});

test("every ue8m0 scale is a power of two, and encoding rounds up to the next", () => {
  for (let code = 0; code < 255; code++) {
    expect(decode("ue8m0", code)).toBe(2 ** (code - 127));
    expect(encode("ue8m0", decode("ue8m0", code))).toBe(code);
    expect(encode("ue8m0", decode("ue8m0", code) * (1 + 2 ** -50))).toBe(Math.min(code + 1, 254));
  }
  expect(decode("ue8m0", 255)).toBeNaN();
});

test.each(["e4m3", "e5m2", "ue8m0", "f16", "bf16", "f32"] as const)("%s arrays are little endian and survive bytes and back", (format) => {
  fc.assert(
    fc.property(fc.array(fc.double({ noNaN: true }), { maxLength: 20 }), (values) => {
      const bytes = encodeArray(format, values);
      expect(bytes.length).toBe(values.length * elementBytes(format));
      expect(decodeArray(format, bytes)).toEqual(Float64Array.from(values, (value) => roundTo(format, value)));
    }),
  );
  const [least] = encodeArray(format, [1]);
  expect(least).toBe(encode(format, 1) % 256);
});

test("bytes that end inside an element are refused", () => {
  expect(() => decodeArray("bf16", new Uint8Array(3))).toThrow("3 bytes are no whole number of bf16 elements of 2 bytes");
});
