import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { byteSize, fromBytes, writeElement } from "../../../dsl/dtype.ts";
import { indexerLogits } from "../../../dsl/kernels/indexer_logits.ts";
import { pagedIndexerLogits } from "../../../dsl/kernels/paged_indexer_logits.ts";
import type { Dsa } from "../../../dsl/kernels/spec.ts";
import { data, indexSpec, integer, scales, scoreOf, seed, uniform } from "./inputs.ts";

/** One logit in f64, and the distance at which f32 (and the logits' dtype) may land from it. */
function expected(
  dsa: Dsa,
  q: (h: number, d: number) => number,
  k: (d: number) => number,
  scale: (h: number) => number,
  w: (h: number) => number,
) {
  let logit = 0;
  let size = 0;
  for (let h = 0; h < dsa.indexerHeads; h++) {
    let dot = 0;
    for (let d = 0; d < dsa.indexerDim; d++) dot += q(h, d) * k(d);
    const score = scoreOf(dsa)(scale(h) * dot);
    logit += w(h) * score;
    size += Math.abs(w(h)) * (Math.abs(scale(h) * dot) + score);
  }
  return { logit, slack: 4 * 2 ** -24 * size + (dsa.logitsDtype === "bf16" ? 2 ** -8 * Math.abs(logit) : 0) + 1e-30 };
}

test("indexer logits agree with f64 loops inside every window", () => {
  fc.assert(
    fc.property(
      indexSpec,
      seed,
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 0, max: 3 }),
      (dsa, s, Q, T, gap) => {
        const [H, D] = [dsa.indexerHeads, dsa.indexerDim];
        const q = data(dsa.indexDtype, [Q, H, D], uniform(s, 4));
        const last = data("i32", [Q], integer(s + 1, -1, T + 2)); // windows may be empty or reach past T
        const first = data("i32", [Q], integer(s + 2, -1, T));
        const seen = (t: number) => Array.from({ length: Q }, (_, i) => i).some((i) => first.at(i) <= t && t < last.at(i));
        const value = uniform(s + 3, 4);
        const k = data(dsa.indexDtype, [T, D], (t) => (seen(t) ? value() : NaN)); // a key that no window has must not matter
        const qScale = data("f32", [Q, H], scales(s + 4));
        const kScale = data("f32", [T], scales(s + 5));
        const w = data("f32", [Q, H], uniform(s + 6));
        const pitch = T + gap;
        const logits = new Uint8Array(Q * pitch * byteSize(dsa.logitsDtype)).fill(0x55);
        const buffers = {
          q: q.bytes,
          k: k.bytes,
          qScale: qScale.bytes,
          kScale: kScale.bytes,
          w: w.bytes,
          first: first.bytes,
          last: last.bytes,
          logits,
        };
        indexerLogits(dsa).run(buffers, { logitsPitch: pitch }, { BQ: 2, BT: 8, CHUNK: 16 });
        const actual = fromBytes(dsa.logitsDtype, logits);
        const untouched = fromBytes(dsa.logitsDtype, new Uint8Array(4).fill(0x55))[0];
        for (let i = 0; i < Q; i++) {
          for (let t = Math.max(0, first.at(i)); t < Math.min(T, last.at(i)); t++) {
            const { logit, slack } = expected(
              dsa,
              (h, d) => q.at(i, h, d),
              (d) => k.at(t, d),
              (h) => qScale.at(i, h) * kScale.at(t),
              (h) => w.at(i, h),
            );
            expect(Math.abs(actual[i * pitch + t]! - logit)).toBeLessThanOrEqual(slack);
          }
          for (let t = T; t < pitch; t++) expect(actual[i * pitch + t]).toBe(untouched);
        }
      },
    ),
    { numRuns: 60 },
  );
});

describe("paged indexer logits", () => {
  test("agree with f64 loops over the page bytes for every visible token", () => {
    fc.assert(
      fc.property(
        indexSpec,
        seed,
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 0, max: 9 }),
        (dsa, s, B, I, P, gap) => {
          const [H, D, N, tokens] = [dsa.indexerHeads, dsa.indexerDim, dsa.nextN, dsa.pageTokens];
          const T = I * tokens;
          const element = byteSize(dsa.indexDtype);
          const scalesAt = tokens * D * element;
          const pageBytes = scalesAt + 4 * tokens + gap;
          const pages = new Uint8Array(P * pageBytes).fill(0xff); // gaps hold NaN
          const view = new DataView(pages.buffer);
          const k = data(dsa.indexDtype, [P, tokens, D], uniform(s, 4));
          const kScale = data("f32", [P, tokens], scales(s + 1));
          for (let p = 0; p < P; p++) {
            for (let t = 0; t < tokens; t++) {
              for (let d = 0; d < D; d++) writeElement(dsa.indexDtype, view, p * pageBytes + (t * D + d) * element, k.at(p, t, d));
              view.setFloat32(p * pageBytes + scalesAt + 4 * t, kScale.at(p, t), true);
            }
          }
          const q = data(dsa.indexDtype, [B, N, H, D], uniform(s + 2, 4));
          const qScale = data("f32", [B, N, H], scales(s + 3));
          const w = data("f32", [B, N, H], uniform(s + 4));
          const lengths = data("i32", [B, N], integer(s + 5, 0, T)); // padded query tokens see nothing
          const blockTable = data("i32", [B, I], integer(s + 6, -1, P)); // -1 and P are no pages
          const pitch = T + gap;
          const logits = new Uint8Array(B * N * pitch * byteSize(dsa.logitsDtype));
          pagedIndexerLogits(dsa).run(
            { q: q.bytes, pages, blockTable: blockTable.bytes, qScale: qScale.bytes, w: w.bytes, lengths: lengths.bytes, logits },
            { T, P, pageBytes, logitsPitch: pitch },
            { PAGES: 3 },
          );
          const actual = fromBytes(dsa.logitsDtype, logits);
          for (let b = 0; b < B; b++) {
            for (let n = 0; n < N; n++) {
              for (let t = 0; t < lengths.at(b, n); t++) {
                const p = blockTable.at(b, Math.floor(t / tokens));
                const present = p >= 0 && p < P;
                const key = (d: number) => (present ? k.at(p, t % tokens, d) : 0);
                const scale = present ? kScale.at(p, t % tokens) : 0;
                const { logit, slack } = expected(
                  dsa,
                  (h, d) => q.at(b, n, h, d),
                  key,
                  (h) => qScale.at(b, n, h) * scale,
                  (h) => w.at(b, n, h),
                );
                expect(Math.abs(actual[(b * N + n) * pitch + t]! - logit)).toBeLessThanOrEqual(slack);
              }
            }
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
