/**
 * What the editor must refuse. The lines below are never run: the one test type-checks this file, and an `@ts-expect-error` above a line
 * without an error is an error.
 */
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, expectTypeOf, test } from "vitest";
import {
  append,
  blocks,
  cast,
  each,
  field,
  full,
  gather,
  gemm,
  histogram,
  input,
  inputRecord,
  iota,
  kernel,
  load,
  map,
  mask,
  max,
  output,
  rename,
  scalar,
  scan,
  slice,
  store,
  sum,
  type Global,
  type Tile,
  type View,
} from "../../dsl/index.ts";

test("this file has no type errors, and every refusal it expects happens", () => {
  const file = fileURLToPath(import.meta.url);
  const config = fileURLToPath(new URL("../../tsconfig.json", import.meta.url));
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(config, ts.sys.readFile).config,
    ts.sys,
    fileURLToPath(new URL("../..", import.meta.url)),
  );
  const program = ts.createProgram([file], options);
  const source = program.getSourceFile(file)!;
  const problems = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
  const lines = problems.map(
    (d) => `line ${source.getLineAndCharacterOfPosition(d.start ?? 0).line + 1}: ${ts.flattenDiagnosticMessageText(d.messageText, "\n")}`,
  );
  expect(lines).toEqual([]);
}, 60_000);

declare const q: Global<"bf16", "q" | "h" | "c">;
declare const logits: Global<"f32", "q" | "t">;
declare const idx: Global<"i32", "q" | "j">;
declare const hc: Tile<"bf16", "h" | "c">;
declare const jc: Tile<"bf16", "j" | "c">;
declare const h: Tile<"f32", "h">;
declare const j: Tile<"i32", "j">;
declare const keep: Tile<"bool", "j">;
declare const keepH: Tile<"bool", "h">;
declare const one: Tile<"f32", never>;

export function views(): void {
  expectTypeOf(q.tile({ q: 3 })).toEqualTypeOf<View<"bf16", "h" | "c">>();
  expectTypeOf(q.tile({ q: { axis: "q", start: 0, size: 2 }, h: 0 })).toEqualTypeOf<View<"bf16", "q" | "c">>();
  expectTypeOf(load(q.tile({}))).toEqualTypeOf<Tile<"bf16", "q" | "h" | "c">>();
  // @ts-expect-error one axis too many: axis sets are invariant
  const more: View<"bf16", "q" | "h" | "c"> = q.tile({ q: 0 });
  // @ts-expect-error one axis too few
  const fewer: View<"bf16", "h"> = q.tile({ q: 0 });
  // @ts-expect-error no axis x
  q.tile({ x: 0 });
  // @ts-expect-error no axis x beside a good one
  q.tile({ q: 0, x: 0 });
  // @ts-expect-error the range is of another axis
  q.tile({ q: { axis: "h", start: 0, size: 1 } });
  return void [more, fewer];
}

export function elementwise(): void {
  expectTypeOf(map([hc, h], (x, y) => x * y)).toEqualTypeOf<Tile<"f32", "h" | "c">>();
  expectTypeOf(map([j], (x) => x, "i32")).toEqualTypeOf<Tile<"i32", "j">>();
  expectTypeOf(mask([j], (x) => x > 0)).toEqualTypeOf<Tile<"bool", "j">>();
  expectTypeOf(map([one, h], (x, y) => x * y)).toEqualTypeOf<Tile<"f32", "h">>();
  // @ts-expect-error neither operand has both axes
  map([h, j], (x, y) => x * y);
  // @ts-expect-error a predicate is a boolean
  mask([h], (x) => x);
  // @ts-expect-error two operands, three parameters
  map([h, hc], (x, y, z) => x * y * z);
  // @ts-expect-error narrow dtypes come from cast
  map([h], (x) => x, "bf16");
  // @ts-expect-error without a dtype the result is f32
  const integers: Tile<"i32", "j"> = map([j], (x) => x);
  // @ts-expect-error without a dtype the result is f32
  const zeros: Tile<"bf16", "h"> = full({ h: 2 }, 0);
  // @ts-expect-error no such dtype
  cast("f64", h);
  return void [integers, zeros];
}

export function shapes(): void {
  expectTypeOf(full({ h: 2, c: 3 }, 0)).toEqualTypeOf<Tile<"f32", "h" | "c">>();
  expectTypeOf(iota({ axis: "t", start: 0, size: 2 })).toEqualTypeOf<Tile<"i32", "t">>();
  expectTypeOf(slice(hc, "c", 0, 1)).toEqualTypeOf<Tile<"bf16", "h" | "c">>();
  expectTypeOf(rename(hc, { c: "d" })).toEqualTypeOf<Tile<"bf16", "h" | "d">>();
  expectTypeOf(cast("e4m3", h)).toEqualTypeOf<Tile<"e4m3", "h">>();
  // @ts-expect-error no axis d
  slice(hc, "d", 0, 1);
  // @ts-expect-error no axis d
  rename(hc, { d: "e" });
  // @ts-expect-error one axis too many: axis sets are invariant
  const more: Tile<"f32", "h" | "c"> = h;
  // @ts-expect-error one axis too few
  const fewer: Tile<"bf16", "h"> = hc;
  return void [more, fewer];
}

export function contractions(): void {
  expectTypeOf(gemm(hc, jc, "c")).toEqualTypeOf<Tile<"f32", "h" | "j">>();
  expectTypeOf(gemm(hc, hc, ["h", "c"])).toEqualTypeOf<Tile<"f32", never>>();
  expectTypeOf(gemm(hc, hc, "c")).toEqualTypeOf<Tile<"f32", "h">>();
  expectTypeOf(sum(hc, "c")).toEqualTypeOf<Tile<"f32", "h">>();
  expectTypeOf(max(j, "j")).toEqualTypeOf<Tile<"i32", never>>();
  expectTypeOf(sum(keep, "j")).toEqualTypeOf<Tile<"i32", never>>();
  expectTypeOf(scan(keep, "j")).toEqualTypeOf<Tile<"i32", "j">>();
  expectTypeOf(scalar(sum(h, "h"))).toEqualTypeOf<number>();
  // @ts-expect-error j is in one operand alone
  gemm(hc, jc, "j");
  // @ts-expect-error integers
  gemm(j, jc, "j");
  // @ts-expect-error the accumulator has another axis set
  gemm(hc, jc, "c", h);
  // @ts-expect-error the accumulator is f32
  gemm(hc, hc, "h", cast("bf16", full({ c: 2 }, 0)));
  // @ts-expect-error no axis c
  sum(h, "c");
  // @ts-expect-error no axis c
  scan(h, "c");
  // @ts-expect-error still has an axis
  scalar(h);
}

export function transfers(): void {
  expectTypeOf(gather(q.tile({ h: 0 }), { q: j })).toEqualTypeOf<Tile<"bf16", "j" | "c">>();
  store(q.tile({ q: 0 }), hc);
  store(
    q.tile({ q: 0 }),
    map([hc], (x) => x),
  ); // f32 rounds to bf16
  // @ts-expect-error no axis x
  gather(q.tile({}), { x: j });
  // @ts-expect-error an index is i32
  gather(q.tile({}), { q: h });
  // @ts-expect-error the tile lacks axis c
  store(q.tile({ q: 0 }), h);
  // @ts-expect-error the tile has axis c beside h
  store(q.tile({ q: 0, c: 0 }), hc);
  // @ts-expect-error integers do not go into bf16
  store(q.tile({ q: 0, c: 0 }), full({ h: 2 }, 0, "i32"));
  // @ts-expect-error floats do not go into i32
  store(idx.tile({ q: 0 }), full({ j: 2 }, 0));
  // @ts-expect-error truth values are not stored
  store(idx.tile({ q: 0 }), keep);
  // @ts-expect-error keep is bool
  store(idx.tile({ q: 0 }), j, j);
}

export function collectives(): void {
  const bins = histogram(4);
  bins.add(j, keep);
  expectTypeOf(bins.counts("b")).toEqualTypeOf<Tile<"u32", "b">>();
  const list = append(idx.tile({ q: 0 }));
  list.push(j, keep);
  // @ts-expect-error bins are integers
  bins.add(h, keepH);
  // @ts-expect-error the mask has another axis
  bins.add(j, keepH);
  // @ts-expect-error floats do not go into i32
  list.push(h, keepH);
}

export const inferred = kernel("inferred", {
  args: {
    q: input("bf16", { q: "Q", c: 8 }),
    pages: inputRecord({ p: "P" }, { k: field("e4m3", { t: 4 }, 0), scale: field("f32", {}, 4) }, { bytes: 8 }),
    out: output("f32", { q: "Q" }),
  },
  tune: { BQ: 2 },
  grid: (a, { BQ }) => ({ qb: blocks("q", 0, a.q.size.q, BQ), p: each(a.pages.size.p) }),
  body(a, tune, at) {
    expectTypeOf(a.q).toEqualTypeOf<Global<"bf16", "q" | "c">>();
    expectTypeOf(a.pages.k).toEqualTypeOf<Global<"e4m3", "p" | "t">>();
    expectTypeOf(a.pages.scale).toEqualTypeOf<Global<"f32", "p">>();
    expectTypeOf(tune.BQ).toEqualTypeOf<number>();
    expectTypeOf(at.p).toEqualTypeOf<number>();
    store(a.out.tile({ q: at.qb }), sum(load(a.q.tile({ q: at.qb })), "c"));
    // @ts-expect-error no argument of this name
    void a.kv;
    // @ts-expect-error the record has no axis t
    void a.pages.size.t;
    // @ts-expect-error qb is a range of q
    logits.tile({ t: at.qb });
    // @ts-expect-error no such grid dimension
    void at.tb;
  },
});

export function runs(): void {
  const bytes = new Uint8Array(0);
  inferred.run({ q: bytes, pages: bytes, out: bytes }, { Q: 2 }, { BQ: 4 });
  // @ts-expect-error a buffer is missing
  inferred.run({ q: bytes, pages: bytes });
  // @ts-expect-error no such tune number
  inferred.run({ q: bytes, pages: bytes, out: bytes }, {}, { BT: 4 });
  // @ts-expect-error pitch of an axis that is not there
  input("f32", { t: "T" }, { pitch: { q: "pitch" } });
}
