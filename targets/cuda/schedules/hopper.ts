/**
 * Schedules for sm_90a: a producer brings tiles by TMA, two warpgroups multiply with wgmma. Numbers were measured on an H200
 * (docs/measurements.md, 2026-11-22). A spec that does not fit a schedule gets undefined, and with it the portable one.
 */
import { byteSize } from "../../../dsl/dtype.ts";
import { notingForm } from "../../../dsl/kernels/score_form.ts";
import type { Dsa } from "../../../dsl/kernels/spec.ts";
import type { Schedule, Scheduled } from "../../../compiler/target.ts";

/** 256 x 224 + 128 x 56 registers are what 384 threads start with. */
const MATH_REGISTERS = 224;
const PRODUCER_REGISTERS = 56;
/** Of an H100 or H200. */
const MULTIPROCESSORS = 132;
/** Of the shared memory of a multiprocessor, what the bags of its blocks take at most, beside histograms and bitmaps. */
const BAG_BYTES = 136 * 1024;
/** Items of 8 bytes that the bag of one block holds at most. */
const MOST_ROOM = 20480;
/** Tokens whose marks a bitmap holds at a time in long rows. */
const LONG = 131072;
/** Blocks along an axis that are longer than any axis: one block takes all of it. */
const ALL = 2 ** 30;

/** wgmma reads lines of 32, 64 or 128 bytes, and heads in eights. */
const fits = (dsa: Dsa): boolean => [32, 64, 128, 256].includes(dsa.indexerDim * byteSize(dsa.indexDtype)) && dsa.indexerHeads % 8 === 0 && dsa.indexerHeads <= 64;

/** Whether scales can leave the score, as far as a few numbers tell; it only sizes tiles, the compiler proves before it moves anything. */
const scales = ({ score: { f } }: Dsa): boolean => [-3.5, -1, 0.25, 7].every((x) => f(2 * x) === 2 * f(x));

/**
 * Keys are the product's rows; its columns are queries times heads, as many as the registers of two accumulators hold. A score that scales
 * cannot leave keeps scales and gates in registers, so it gets half.
 */
function indexerLogits(dsa: Dsa): Schedule | undefined {
  if (!fits(dsa)) return undefined;
  const hindrance = exactBecause(dsa);
  const isLinear = dsa.scoreForm === "linear" && hindrance === undefined;
  const most = dsa.indexDtype === "e4m3" && scales(dsa) ? 256 : 128;
  const fitting = most / dsa.indexerHeads;
  const queries = 2 ** Math.floor(Math.log2(isLinear ? Math.min(fitting, (most + MORE_COLUMNS) / (dsa.indexerHeads + PIECES)) : fitting));
  const columns = queries * dsa.indexerHeads;
  const tiles = { slots: 2, ring: "queries" };
  const keys = { slots: dsa.indexDtype === "e4m3" ? 8 : 4, ring: "keys" };
  const schedule: Schedule = {
    tune: { BQ: queries, BT: 128, CHUNK: ALL },
    // balanced: 3 % for 32 heads, nothing for 64
    algebra: ["hoistScales", ...(isLinear ? (["splitRelu"] as const) : dsa.indexerHeads === 32 ? (["balanceRelu"] as const) : []), "hoistInvariants"],
    roles: {
      math: { warps: 8, registers: MATH_REGISTERS },
      producer: { warps: 1, registers: PRODUCER_REGISTERS, brings: ["q", "qScale", "w", "k", "kScale"] },
    },
    stage: { q: tiles, qScale: tiles, w: tiles, k: keys, kScale: keys },
    mma: { dot: { parts: columns % 16 === 0 ? 2 : 1 }, ...(isLinear && { "dot.linear": { behind: "dot" } }) },
    // changing queries costs about three tiles of keys, and two more where their weighted sum is taken
    persistent: isLinear ? { even: "tb", padding: 5, least: 6 } : { even: "tb", padding: 3, least: 4 },
  };
  return notingForm("indexer_logits", dsa, schedule, hindrance ?? "");
}

/** Columns of the second product for each query, and those that the registers hold beside 256 of the first. With fewer than 48 heads the exact form is faster. */
const PIECES = 4;
const MORE_COLUMNS = 16;

/** Why a sum of scores cannot be split, if it cannot. */
function exactBecause({ score, indexDtype, indexerDim }: Dsa): string | undefined {
  if (score.name !== "relu") return `the score is ${score.name}, not relu`;
  if (indexDtype !== "e4m3") return `products of ${indexDtype} are more exact than what it would add`;
  return indexerDim > 128 ? `keys of ${indexerDim} take several lines of shared memory` : undefined;
}

/** A page is one warpgroup's 64 rows; the two warpgroups, and the four producers that hide a copy's latency, take pages in turn. */
function pagedIndexerLogits(dsa: Dsa): Schedule | undefined {
  if (!fits(dsa) || dsa.pageTokens !== 64 || dsa.nextN * dsa.indexerHeads > 256) return undefined;
  const tiles = { slots: 2, ring: "queries" };
  const pages = { slots: 8, ring: "pages" };
  const schedule: Schedule = {
    tune: { PAGES: ALL },
    algebra: ["hoistScales", "hoistInvariants"],
    roles: {
      math: { warps: 8, copies: 2, registers: MATH_REGISTERS },
      producer: { warps: 4, copies: 4, registers: PRODUCER_REGISTERS, brings: ["q", "qScale", "w", "k", "kScale"] },
    },
    stage: { q: tiles, qScale: tiles, w: tiles, k: pages, kScale: pages },
    evictFirst: ["k", "kScale"],
    mma: { dot: {} },
    persistent: { even: "i", padding: 1 },
  };
  return notingForm("paged_indexer_logits", dsa, schedule, "reading pages takes the time here");
}

/**
 * A block takes a row. Up to one block a multiprocessor a row needs all of it; of more rows several share one, and short ones have little
 * work between barriers, which few threads pass sooner. Few rows leave most multiprocessors idle: where they are long, a cluster of eight
 * blocks takes a row; the tile of a turn is as large as leaves no block without one. What passes the sample's bound grows with k and with
 * the row; a bag that leaves no room for a second block is worth its company. Long rows stream past the first cache (4 to 7 % at 131072,
 * while 32768 lose 2 %). `dim` counts rows, or groups of `rowsOf` of them.
 */
const topK = (dim: "Q" | "B", rowsOf: (dsa: Dsa) => number) => (dsa: Dsa): Scheduled => {
  const atMost = (rows: number) => ({ [dim]: { atMost: Math.max(Math.floor(rows / rowsOf(dsa)), 1) } });
  const block = (threads: number, resident: number, roomOfK: number, SPAN: number, BT = 16 * threads): Schedule => {
    const ROOM = Math.min(roomOfK * Math.max(dsa.topK, 2048), MOST_ROOM);
    return {
      threads,
      resident: Math.max(Math.min(resident, Math.floor(BAG_BYTES / (8 * ROOM))), 1),
      ahead: ["select.scores"],
      tune: { SAMPLE: 4 * threads, BT, WIDE: 4 * threads, ROOM, SPAN },
    };
  };
  const streamed = (schedule: Schedule): Schedule => ({ ...schedule, once: schedule.ahead! });
  const shared = (BT: number): Schedule => ({ ...streamed(block(1024, 1, 4, LONG, BT)), cluster: { blocks: 8, deal: "tb" } });
  const long = { T: { atLeast: 65536 } };
  return [
    { name: "row", when: { ...atMost(4), ...long }, schedule: shared(16384) },
    { name: "few", when: { ...atMost(16), ...long }, schedule: shared(8192) },
    { name: "longwave", when: { ...atMost(MULTIPROCESSORS), ...long }, schedule: streamed(block(1024, 1, 4, LONG)) },
    { name: "wave", when: atMost(MULTIPROCESSORS), schedule: block(1024, 1, 4, LONG) },
    { name: "short", when: { T: { atMost: 8192 } }, schedule: block(256, 4, 2, 8192) },
    { name: "long", when: long, schedule: streamed(block(512, 2, 3, LONG)) },
    { schedule: block(512, 2, 3, LONG) },
  ];
};
const rowsOfQueries = topK("Q", () => 1);

export const hopper: Readonly<Record<string, (dsa: Dsa) => Scheduled | undefined>> = {
  indexer_logits: indexerLogits,
  paged_indexer_logits: pagedIndexerLogits,
  topk: rowsOfQueries,
  topk_window: rowsOfQueries,
  topk_ragged: rowsOfQueries,
  topk_slots: topK("B", (dsa) => dsa.nextN),
};
