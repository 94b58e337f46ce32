/** The kernels of this folder once more, as loops over single numbers in f64. Keys are export names; tensors are packed and row-major. */
import { roundTo, type FormatName } from "../../reference/index.ts";

type Tensors = Readonly<Record<string, Float64Array>>;
type Dims = Readonly<Record<string, number>>;
/** Outputs that it leaves out are not compared; NaN marks an element that the kernel leaves alone. */
type Naive = (x: Tensors, dims: Dims) => Readonly<Record<string, ArrayLike<number>>>;

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const row = (x: Float64Array, r: number, width: number): number[] => [...x.subarray(r * width, (r + 1) * width)];
const rows = (x: Float64Array, count: number, width: number, f: (row: number[], r: number) => readonly number[]): number[] =>
  range(count).flatMap((r) => f(row(x, r, width), r));
const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

const dense =
  (activation: (x: number) => number): Naive =>
  ({ a, b, bias }, { M, N, K }) => ({
    y: range(M!).flatMap((m) =>
      range(N!).map((n) => activation(total(range(K!).map((k) => a![m * K! + k]! * b![k * N! + n]!)) + bias![n]!)),
    ),
  });

/** By how much the best of four heads of 64 columns beats their weighted sum, which is a bf16 vector. */
const pooled: Naive = ({ q, k, w }, { Q, T }) => ({
  lead: range(Q!).flatMap((i) => {
    const head = (h: number): readonly number[] => row(q!, 4 * i + h, 64);
    const mean = range(64).map((d) => roundTo("bf16", total(range(4).map((h) => w![4 * i + h]! * head(h)[d]!))));
    const dot = (a: readonly number[], t: number): number => total(row(k!, t, 64).map((x, d) => x * a[d]!));
    return range(T!).map((t) => Math.max(...range(4).map((h) => dot(head(h), t))) - dot(mean, t));
  }),
});

/** Causal attention of heads of D columns, with the natural logarithm of the softmax's denominator. */
const attention =
  (D: number): Naive =>
  ({ q, k, v }, { H, S }) => {
    const logits = (h: number, i: number): number[] =>
      range(i + 1).map((j) => total(range(D).map((d) => q![(h * S! + i) * D + d]! * k![(h * S! + j) * D + d]!)) / Math.sqrt(D));
    const lse = (z: readonly number[]): number => Math.max(...z) + Math.log(total(z.map((x) => Math.exp(x - Math.max(...z)))));
    const places = range(H!).flatMap((h) => range(S!).map((i) => [h, i] as const));
    return {
      lse: places.map(([h, i]) => lse(logits(h, i))),
      o: places.flatMap(([h, i]) => {
        const z = logits(h, i);
        const all = lse(z);
        const p = z.map((x) => Math.exp(x - all));
        return range(D).map((d) => total(p.map((weight, j) => weight * v![(h * S! + j) * D + d]!)));
      }),
    };
  };

export const naive: Readonly<Record<string, Naive>> = {
  rowSoftmax: ({ x }, { R, C }) => ({
    y: rows(x!, R!, C!, (xs) => {
      const top = Math.max(...xs);
      const all = total(xs.map((v) => Math.exp(v - top)));
      return xs.map((v) => Math.exp(v - top) / all);
    }),
  }),
  rmsNorm: ({ x, gain }, { R }) => ({
    y: rows(x!, R!, 192, (xs) => xs.map((v, c) => (v / Math.sqrt(total(xs.map((u) => u * u)) / 192 + 1e-5)) * gain![c]!)),
  }),
  layerNorm: ({ x, gain, shift }, { R }) => {
    const mean = (xs: readonly number[]): number => total(xs) / 77;
    return {
      mean: rows(x!, R!, 77, (xs) => [mean(xs)]),
      y: rows(x!, R!, 77, (xs) => {
        const variance = mean(xs.map((v) => (v - mean(xs)) ** 2));
        return xs.map((v, c) => ((v - mean(xs)) / Math.sqrt(variance + 1e-5)) * gain![c]! + shift![c]!);
      }),
    };
  },
  denseRelu: dense((x) => Math.max(x, 0)),
  denseGelu: dense(gelu),
  batchedGemm: ({ x, w }, { B }) => ({
    y: range(B!).flatMap((b) =>
      range(12).flatMap((m) => range(20).map((n) => total(range(24).map((k) => x![(b * 12 + m) * 24 + k]! * w![(b * 24 + k) * 20 + n]!)))),
    ),
  }),
  flashAttention: attention(64),
  causalAttention: attention(128),
  pooledApart: pooled,
  pooledBehind: pooled,
  matmul: ({ a, b }, { M, N, K }) => ({
    c: range(M!).flatMap((m) => range(N!).map((n) => total(range(K!).map((k) => a![m * K! + k]! * b![n * K! + k]!)))),
  }),
  gatheredMatmul: ({ a, rows: list, b }, { R, M, N }) => ({
    c: range(M!).flatMap((m) => {
      const r = list![m]!;
      return range(N!).map((n) => (r < 0 || r >= R! ? 0 : total(range(512).map((k) => a![r * 512 + k]! * b![n * 512 + k]!))));
    }),
  }),
  scaledMatmul: ({ a, b, scale }, { M, N, K }) => {
    const wide = range(N!).flatMap((n) => range(K!).map((k) => roundTo("bf16", Math.fround(b![n * K! + k]! * scale![(k >> 7) * N! + n]!))));
    return { c: range(M!).flatMap((m) => range(N!).map((n) => total(range(K!).map((k) => a![m * K! + k]! * wide[n * K! + k]!)))) };
  },
  cumulativeCounts: ({ pixels }, { N, P }) => ({
    cdf: rows(pixels!, N!, P!, (xs) => range(256).map((v) => xs.filter((x) => x <= v).length)),
  }),
  equalise: ({ pixels, cdf }, { N, P }) => ({
    y: rows(pixels!, N!, P!, (xs, image) => xs.map((x) => (x < 0 || x > 255 ? 0 : Math.floor((cdf![image * 256 + x]! * 255) / P!)))),
  }),
  percentileClip: ({ x }, { R, C }) => {
    const level = (xs: readonly number[]): number => [...xs].sort((a, b) => b - a)[Math.floor((C! + 3) / 4) - 1]!;
    return { level: rows(x!, R!, C!, (xs) => [level(xs)]), y: rows(x!, R!, C!, (xs) => xs.map((v) => Math.min(v, level(xs)))) };
  },
  prefixMax: ({ x }, { R, T }) => ({ y: rows(x!, R!, T!, (xs) => xs.map((_, t) => Math.max(...xs.slice(0, t + 1)))) }),
  summedArea: ({ x }, { N }) => ({
    y: rows(x!, N!, 960, (xs) =>
      range(24).flatMap((i) => range(40).map((j) => total(range(i + 1).flatMap((a) => xs.slice(a * 40, a * 40 + j + 1))))),
    ),
  }),
  compact: ({ x }, { R, T }) => {
    const kept = (xs: readonly number[]): number[] => xs.filter((v) => v > 0).slice(0, 50);
    return { count: rows(x!, R!, T!, (xs) => [kept(xs).length]), y: rows(x!, R!, T!, (xs) => range(50).map((j) => kept(xs)[j] ?? 0)) };
  },
  dequantise: (x, { R }) => ({
    y: range(R!).flatMap((r) => range(64).map((i) => x["x.code"]![r * 64 + i]! * x["x.scale"]![r * 2 + (i >> 5)]!)),
  }),
  recode: ({ a, b }) => ({ wide: a!, half: [...b!].map((x) => roundTo("f16", x)), swapped: [...b!].map((x) => roundTo("e4m3", x)) }),
  narrow: ({ x }) => {
    const to = (dtype: FormatName): number[] => [...x!].map((v) => roundTo(dtype, v));
    return {
      bf16: to("bf16"),
      f16: to("f16"),
      e4m3: to("e4m3"),
      e5m2: to("e5m2"),
      ue8m0: to("ue8m0"),
      twice: to("bf16").map((v) => roundTo("e4m3", v)),
    };
  },
  transpose: ({ x }, { M, N }) => ({ y: range(N!).flatMap((n) => range(M!).map((m) => roundTo("f16", x![m * N! + n]!))) }),
  pagedGather: (x, { P, B, I }) => ({
    y: range(I!).flatMap((i) => {
      const r = x.idx![i]!;
      const page = r >= 0 && r < 8 * B! ? x.table![Math.floor(r / 8)]! : -1;
      const slot = page * 8 + (r % 8);
      return range(24).map((c) => (page < 0 || page >= P! ? 0 : x["pages.row"]![slot * 24 + c]! * x["pages.gain"]![slot]!));
    }),
  }),
  argmax: ({ x }, { R, C }) => ({
    best: rows(x!, R!, C!, (xs) => [Math.max(...xs)]),
    at: rows(x!, R!, C!, (xs) => [xs.findIndex((v) => v === Math.max(...xs))]),
  }),
  branches: ({ x, mode }, { R, C }) => {
    const [y, taken, skipped]: [number[], number[], number[]] = [Array<number>(R! * C!).fill(NaN), [], []];
    for (const r of range(R!)) {
      let [hits, misses, limit] = [0, 0, mode![r] === 3 ? 1 : 1e30];
      const state = Array<number>(16).fill(0);
      for (let c = 0; c < C! && mode![r]! >= 0 && mode![r]! < 4; c += 16) {
        const xs = range(16).map((i) => (c + i < C! ? x![r * C! + c + i]! : 0));
        const top = Math.max(...xs);
        if (mode![r] === 0 || (mode![r] === 1 && (c / 16) % 2 === 1)) {
          xs.forEach((v, i) => (state[i]! += v));
          hits++;
        } else if (mode![r] === 2 && top > 0.5) {
          xs.forEach((v, i) => (state[i] = v * top));
          hits += 2;
        } else {
          misses++;
          if (mode![r] !== 2) limit = Math.min(limit, Math.abs(total(xs)));
        }
        xs.forEach((v, i) => c + i < C! && (y[r * C! + c + i] = Math.min(state[i]!, limit) + v));
      }
      taken.push(hits);
      skipped.push(misses);
    }
    return { y, taken, skipped };
  },
  hash: ({ x, seed }) => {
    const word = (n: bigint): bigint => BigInt.asUintN(32, n);
    const y = [...x!].map((value, i) => {
      const spread = BigInt(value) ^ BigInt(seed![0]!) ^ BigInt(i);
      const once = word((spread ^ (spread >> 16n)) * 0x45d9n);
      const turned = word(once << 13n) | (once >> 19n);
      return Number(word(~(turned ^ (turned >> 9n))));
    });
    return { y, ones: y.map((v) => [...v.toString(2)].filter((bit) => bit === "1").length) };
  },
  functions: ({ x }) => {
    const list: readonly ((x: number) => number)[] = [
      (v) => Math.exp(v / 4),
      (v) => 2 ** (v / 4),
      (v) => Math.log(Math.abs(v) + 1),
      (v) => Math.log2(Math.abs(v) + 1),
      (v) => Math.log1p(Math.abs(v)),
      (v) => Math.sqrt(Math.abs(v)),
      Math.abs,
      Math.floor,
      Math.ceil,
      Math.tanh,
      Math.sin,
      Math.cos,
      (v) => -v,
      Math.sign,
      (v) => Math.max(-1, Math.min(v, 1)),
      (v) => (v < 0 || Object.is(v, -0) ? 3 : 4),
    ];
    return { y: list.flatMap((f) => [...x!].map(f)) };
  },
  compactRows: ({ x, above }, { R, C }) => {
    const kept = range(R!).map((r) => range(C!).filter((c) => x![r * C! + c]! > above![r]!)); // nothing is above NaN, and NaN above nothing
    const isNumber = (r: number): boolean => !Number.isNaN(above![r]!);
    const all = (r: number): number[] => (isNumber(r) ? kept[r]! : range(C!).filter((c) => !Number.isNaN(x![r * C! + c]!)));
    return { columns: range(R!).flatMap((r) => range(24).map((j) => all(r)[j] ?? -1)), found: range(R!).map((r) => all(r).length) };
  },
  compactChunks: ({ x, above, chunk }, { R, C, I }) => {
    const kept = range(R!).map((r) => range(C!).filter((c) => x![r * C! + c]! > above![r]!));
    const chunkOf = (r: number, c: number): number => (Math.floor(c / 5) < I! ? chunk![r * I! + Math.floor(c / 5)]! : 0);
    const place = (r: number, c: number): number => (chunkOf(r, c) < 0 ? -1 : chunkOf(r, c) * 5 + (c % 5));
    const list = (fill: number, of: (r: number, c: number) => number): number[] =>
      range(R!).flatMap((r) => range(24).map((j) => (j < kept[r]!.length ? of(r, kept[r]![j]!) : fill)));
    return { values: list(0, (r, c) => 2 * x![r * C! + c]!), places: list(-1, place) };
  },
  trimmedStatistics: ({ x }, { R, C }) => ({
    y: rows(x!, R!, C!, (xs) => {
      const positive = xs.filter((v) => v > 0);
      const held = positive.length <= 80 ? positive : [];
      const even = held.filter((v) => v % 2 === 0);
      const inLevel = (level: number): number => held.filter((v) => v >> 5 === level).length;
      const want = (held.length + 2) >> 1;
      const reached = range(8).filter((level) => held.filter((v) => v >> 5 >= level).length >= want);
      const level = Math.max(0, ...reached);
      const [least, most] = [2 ** 31 - 1, -(2 ** 31)];
      return [positive.length, total(held), Math.min(least, ...held), Math.max(most, ...held), even.length, Math.min(least, ...even), level, inLevel(level)];
    }),
  }),
  tableRuns: ({ table, at }, { G, T, J }) => ({
    y: range(G!).flatMap((g) => range(J!).flatMap((j) => range(8).map((e) => {
      const t = at![g * J! + j]! + 1 + e;
      return t >= 0 && t < T! ? table![g * T! + t]! : 0;
    }))),
  }),
  sampledMaximum: ({ x }, { R, C }) => ({
    y: rows(x!, R!, C!, (xs) => {
      const groups = (C! + 3) >> 2;
      return [Math.max(...range(32).flatMap((v) => range(4).map((e) => xs[4 * Math.min(4 * v, groups - 1) + e] ?? 0)))];
    }),
  }),
  floatOrder: ({ bits, pivot }) => {
    const float = (b: number): number => new Float32Array(Uint32Array.of(b).buffer)[0]!;
    // the place of a number is how many f32 lie below it, the zeros counted once
    const place = (x: number): number => {
      if (Number.isNaN(x)) return 0;
      const magnitude = new Uint32Array(Float32Array.of(Math.abs(x)).buffer)[0]!;
      return x < 0 ? 0x7fffffff - magnitude : 0x80000000 + magnitude;
    };
    const keys = [...bits!].map((b) => place(float(b)));
    const limit = place(float(pivot![0]!));
    return { key: keys, back: keys, above: keys.map((k) => Number(k > limit)), zeros: [...bits!].map(Math.clz32) };
  },
  sparseRows: ({ start, column, value, x }, { R, E, C }) => ({
    y: range(R!).flatMap((r) =>
      range(36).map((n) => {
        const entries = range(E!).filter((e) => e >= start![r]! && e < start![r + 1]! && column![e]! >= 0 && column![e]! < C!);
        return total(entries.map((e) => value![e]! * x![column![e]! * 36 + n]!));
      }),
    ),
  }),
  linearAttention: ({ q, k, v }, { H, T }) => {
    const dot = (h: number, t: number, s: number): number =>
      total(range(20).map((d) => q![(h * T! + t) * 20 + d]! * k![(h * T! + s) * 20 + d]!));
    return {
      y: range(H!).flatMap((h) =>
        range(T!).flatMap((t) => range(24).map((e) => total(range(t + 1).map((s) => dot(h, t, s) * v![(h * T! + s) * 24 + e]!)))),
      ),
      state: range(H!).flatMap((h) =>
        range(20).flatMap((d) =>
          range(24).map((e) => total(range(T!).map((s) => k![(h * T! + s) * 20 + d]! * v![(h * T! + s) * 24 + e]!))),
        ),
      ),
    };
  },
  convolve: ({ x, w }, { R, T }) => ({
    y: rows(x!, R!, T!, (xs) => xs.map((_, t) => total(range(5).map((i) => w![i]! * (xs[t + i - 2] ?? 0))))),
  }),
  partition: ({ x }, { R, T, J }) => {
    const where = (xs: readonly number[], is: (v: number) => boolean): number[] =>
      range(xs.length)
        .filter((t) => is(xs[t]!))
        .slice(0, 64);
    const list = (indices: readonly number[], rest: number): number[] => range(J!).map((j) => (j < 64 ? (indices[j] ?? rest) : NaN));
    return {
      positive: rows(x!, R!, T!, (xs) =>
        list(
          where(xs, (v) => v > 0),
          -1,
        ),
      ),
      negative: rows(x!, R!, T!, (xs) =>
        list(
          where(xs, (v) => v < 0),
          -1 - where(xs, (v) => v > 0).length,
        ),
      ),
      zeros: rows(x!, R!, T!, (xs) => xs.map((v) => (v === 0 ? v : NaN))),
    };
  },
  blockStats: ({ x, n }, { B }) => {
    const column = (xs: readonly number[], j: number): number[] => range(12).map((i) => xs[i * 20 + j]!);
    const cells = range(12).flatMap((i) => range(20).map((j) => [i, j] as const));
    return {
      most: rows(x!, B!, 240, (xs) => [Math.max(...xs)]),
      least: rows(n!, B!, 240, (xs) => [Math.min(...xs)]),
      positive: rows(x!, B!, 240, (xs) => range(12).map((i) => xs.slice(i * 20, (i + 1) * 20).filter((v) => v > 0).length)),
      running: rows(x!, B!, 240, (xs) => cells.map(([i, j]) => total(column(xs, j).slice(0, i + 1)))),
      lowest: rows(x!, B!, 240, (xs) => cells.map(([i, j]) => Math.min(...range(j + 1).flatMap((b) => column(xs, b).slice(0, i + 1))))),
      spread: rows(x!, B!, 240, (xs) =>
        range(20).map((j) => Math.max(...column(xs, j)) - Math.min(...column(xs, j)) + column(xs, j).filter((v) => v === 0).length),
      ),
    };
  },
};
