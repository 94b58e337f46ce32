/** The codecs that CUDA texts compute by integer arithmetic, compiled for the CPU. Those that PTX converts need a GPU. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decode, encode } from "../../../../dsl/dtype.ts";
import { codecHelper, decodeName, encodeName } from "../../../../targets/cuda/codec.ts";
import { cudaArchs } from "../../../../targets/cuda/target.ts";

const hasCompiler = spawnSync("c++", ["--version"]).status === 0;
const encoded = ["e4m3", "e5m2", "ue8m0"] as const;
const decoded = ["e4m3", "ue8m0", "bf16"] as const;

/** CUDA's spellings for a C++ compiler. */
const shim = `
#include <algorithm>
#include <cstdio>
#include <cstring>
#define __device__
using u32 = unsigned int;
using u16 = unsigned short;
using std::min;
static inline u32 __float_as_uint(float x) { u32 u; memcpy(&u, &x, 4); return u; }
static inline float __uint_as_float(u32 u) { float x; memcpy(&x, &u, 4); return x; }
`;
/** Reads u32 words from stdin and writes, for each, what every function makes of it. */
const main = (): string => {
  const calls = [
    ...encoded.map((d) => `${encodeName(d)}(__uint_as_float(word))`),
    ...decoded.map((d) => `__float_as_uint(${decodeName(d)}(word & ${d === "bf16" ? "0xffff" : "0xff"}))`),
  ];
  return `
int main() {
  u32 word;
  while (fread(&word, 4, 1, stdin) == 1) {
    u32 out[] = {${calls.join(", ")}};
    fwrite(out, 4, ${calls.length}, stdout);
  }
}
`;
};

describe.skipIf(!hasCompiler)("on the CPU", () => {
  const folder = mkdtempSync(join(tmpdir(), "codec-"));
  const program = join(folder, "codec");
  beforeAll(() => {
    const names = [...encoded.map(encodeName), ...decoded.map(decodeName)];
    writeFileSync(`${program}.cc`, shim + names.map((name) => codecHelper(name, cudaArchs.sm_80)!.text).join("\n") + main());
    execFileSync("c++", ["-O1", "-o", program, `${program}.cc`]);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("equal dsl/dtype.ts on every code, on every exponent and around every rounding boundary", () => {
    const words = new Uint32Array(65536 + 512 * 40);
    for (let code = 0; code < 65536; code++) words[code] = code; // subnormal floats, and every code to decode
    for (let i = 65536; i < words.length; i++) {
      const k = i - 65536;
      // sign and exponent, then mantissas next to the multiples of 2^18 and random ones
      const mantissa = k % 40 < 32 ? ((k % 32) * 2 ** 18 + ((k >> 5) % 3) - 1) & 0x7fffff : Math.imul(k, 0x9e3779b1) & 0x7fffff;
      words[i] = ((Math.floor(k / 40) << 23) | mantissa) >>> 0;
    }
    const output = execFileSync(program, { input: new Uint8Array(words.buffer), maxBuffer: 2 ** 26 });
    const made = new Uint32Array(new Uint8Array(output).buffer);
    const columns = encoded.length + decoded.length;
    expect(made.length).toBe(columns * words.length);
    const view = new DataView(new ArrayBuffer(4));
    const float = (bits: number) => (view.setUint32(0, bits), view.getFloat32(0));
    const wrong: string[] = [];
    for (const [i, word] of words.entries()) {
      for (const [c, dtype] of encoded.entries()) {
        const expected = encode(dtype, float(word));
        if (made[columns * i + c] !== expected)
          wrong.push(`${encodeName(dtype)}(0x${word.toString(16)}) = ${made[columns * i + c]}, expected ${expected}`);
      }
      for (const [c, dtype] of decoded.entries()) {
        const expected = decode(dtype, word & (dtype === "bf16" ? 0xffff : 0xff));
        if (!Object.is(float(made[columns * i + encoded.length + c]!), expected))
          wrong.push(`${decodeName(dtype)}(0x${word.toString(16)}), expected ${expected}`);
      }
    }
    expect(wrong.slice(0, 5)).toEqual([]);
  });
});
