/** Schedules that do not fit a kernel or a target: the full text of each refusal in golden/diagnostics. */
import { expect, test } from "vitest";
import { CompileError, format, templates } from "../../../compiler/diagnostics.ts";
import { sourceText } from "../../../compiler/front/index.ts";
import { compileTile } from "../../../compiler/pipeline.ts";
import type { Schedule, Target } from "../../../compiler/target.ts";
import { cuda, hopper, readRings, readShared, ringSchedule, wgsl } from "./small_kernels.ts";

interface Case {
  readonly name: string;
  readonly kernel: Parameters<typeof readRings>[0] | "sharedRows";
  readonly spec?: unknown;
  readonly tune?: Readonly<Record<string, number>>;
  readonly schedule: Schedule;
  readonly target?: Target;
}

const scores = ringSchedule({ warps: 4, brings: { q: 2, k: 2, w: 2, scale: 2 }, mma: { dot: { parts: 2 } }, persistent: { even: "tb" } });
const windows = (name: string, schedule: Partial<Schedule>, more: Partial<Case> = {}): Case => ({ name, kernel: "windows", spec: { dtype: "e4m3", heads: 8, depth: 32 }, schedule: { ...scores, ...schedule }, ...more });
const products = ringSchedule({ warps: 4, brings: { x: 2, y: 2 }, mma: { acc: {} }, persistent: "strided" });
const matmul = (name: string, schedule: Partial<Schedule>, more: Partial<Case> = {}): Case => ({ name, kernel: "matmul", spec: { dtype: "bf16" }, schedule: { ...products, ...schedule }, ...more });
const other = (name: string, kernel: Case["kernel"], schedule: Schedule, spec?: unknown): Case => ({ name, kernel, schedule, spec });
const shared = (name: string, deal = "cb", more: Partial<Case> = {}): Case => ({ name, kernel: "sharedRows", spec: { wrong: name }, schedule: { threads: 32, cluster: { blocks: 4, deal } }, ...more });
/** The same scores in halves: the second product's operand is computed. */
const halves = (name: string, mma: Schedule["mma"], schedule: Partial<Schedule> = {}, more: Partial<Case> = {}): Case => windows(name, { algebra: ["hoistScales", "splitRelu", "hoistInvariants"], mma: mma!, ...schedule }, more);
const roles = (math: object, producer: object = {}): NonNullable<Schedule["roles"]> => ({ math: { warps: 4, ...math }, producer: { warps: 1, brings: ["q", "k", "w", "scale"], ...producer } });
/** Two products of a loop, the second one late. */
const chained = (name: string, stage: NonNullable<Schedule["stage"]>, late: "up" | "down" = "down"): Case =>
  other(name, "chained", { ...ringSchedule({ warps: 4, brings: { x: 1, y: 2, z: 2 }, mma: { up: {}, down: {}, [late]: { late: true } } }), stage }, { rows: 64 });
const apart = (slots: number): NonNullable<Schedule["stage"]> => ({ x: 1, y: { slots: 2, ring: "ys" }, z: { slots, ring: "zs" } });
/** Rows that another role makes of keys. */
const made = (name: string, maker: object, more: Partial<Schedule> = {}, spec: object = {}): Case =>
  other(name, "madeWindows", { ...ringSchedule({ warps: 4, brings: { q: 2, codes: 2 }, maker: { warps: 2, makes: ["k"], ...maker }, mma: { dot: {} } }), ...more }, { heads: 8, depth: 32, ...spec });
const makerCases = [
  made("a made tile that is brought", { makes: ["codes"] }),
  made("a made tile of nothing that is brought", {}, { roles: { math: { warps: 4 }, maker: { warps: 2, makes: ["k"] }, producer: { warps: 1, brings: ["q"] } }, stage: { q: 2 } }),
  made("a made tile that no product reads", { makes: ["k.map"] }),
  made("a made tile of another product", {}, { mma: {} }),
  made("a role that makes and brings", { brings: ["codes"] }),
  made("a computing role that makes", {}, { roles: { math: { warps: 4, makes: ["k"] }, producer: { warps: 1, brings: ["q", "codes"] } } }),
  made("two roles that make", {}, { roles: { math: { warps: 4 }, one: { warps: 2, makes: ["k"] }, two: { warps: 2, makes: ["k"] }, producer: { warps: 1, brings: ["q", "codes"] } } }),
  made("copies that make", { warps: 4, copies: 2 }),
  made("three warps that make", { warps: 3 }),
  other("a made tile of a product", "chained", ringSchedule({ warps: 4, brings: { x: 1, y: 2, z: 2 }, maker: { warps: 4, makes: ["down.cast"] }, mma: { up: {}, down: {} } }), { rows: 64 }),
];
const lateCases = [
  windows("a late product in turns that copies take", { roles: roles({ warps: 8, copies: 2 }), mma: { dot: { late: true } } }),
  chained("a late product whose tile comes with another", { x: 1, y: 2, z: 2 }),
  chained("a late product with one slot", apart(1)),
  chained("a late product that its turn needs", apart(2), "up"),
];

const cases: Readonly<Record<string, readonly Case[]>> = {
  "E-SCHEDULE-01": [
    windows("no such tile in a ring", { stage: { q: 2, kk: 2 } }),
    windows("no such tile to bring", { roles: roles({}, { brings: ["q", "k", "weights"] }) }),
    made("no such tile to make", { makes: ["keys"] }),
    windows("no such tile to evict", { evictFirst: ["scales"] }),
    windows("a tile that is no product", { mma: { dots: {} } }),
    other("no products at all", "scaledRows", ringSchedule({ warps: 4, brings: { x: 2, w: 2 }, mma: { scaled: {} } }), { rows: 3, columns: 4 }),
  ],
  "E-SCHEDULE-02": [
    windows("not loaded", { stage: { q: 2, k: 2, score: 2 }, roles: roles({}, { brings: ["q", "k", "score"] }) }),
    windows("other values outside", { stage: { q: 2, k: 2, "lo.load": 2 }, roles: roles({}, { brings: ["q", "k", "lo.load"] }) }),
    windows("read by another product", { mma: {} }),
    { ...matmul("columns that are no lines of 128 bytes", {}, { tune: { BN: 32 } }), kernel: "matmulColumns" },
    other("two readers that want other orders", "crossed", ringSchedule({ warps: 4, brings: { x: 2, y: 2 }, mma: { first: {}, second: {} } })),
    other("a cut through a line", "latent", ringSchedule({ warps: 4, brings: { x: 1, kv: 1 }, mma: { up: {}, twice: {}, head: {}, tail: {} } }), { rows: 64, width: 128, cut: 32 }),
    windows("rows of too few bytes", {}, { spec: { dtype: "e4m3", heads: 6, depth: 32 }, tune: { BQ: 4 }, schedule: { ...scores, mma: { dot: {} } } }),
    other("rows that are too long", "scaledRows", ringSchedule({ warps: 4, brings: { x: 2 } }), { rows: 2, columns: 512 }),
    ...(["row", "cut", "renamed", "across", "found"] as const).map((label) => other(`rows that threads cannot copy: ${label}`, "unready", ringSchedule({ warps: 4, brings: { [label]: 2 } }))),
    windows("a load that threads cannot copy", {}, { schedule: ringSchedule({ warps: 4, brings: { scale: 2 }, cpAsync: ["scale"] }) }),
  ],
  "E-SCHEDULE-03": [
    windows("copied by cp.async, but not brought", { roles: roles({}, { cpAsync: ["k", "score"] }) }),
    windows("copied by cp.async, and evicted first", { roles: roles({}, { cpAsync: ["k"] }), evictFirst: ["k"] }),
    windows("no loop loads what is wanted ahead", { ahead: ["dot"] }),
    windows("what is to be read once is not ahead", { once: ["part"] }),
    windows("a ring without slots", { stage: { q: 2, k: 0 } }),
    windows("brought, but in no ring", { stage: { q: 2, k: 2 } }),
    windows("in a ring, but not brought", { roles: roles({}, { brings: ["q", "k", "w"] }) }),
    windows("one role", { roles: { math: { warps: 4 } } }),
    windows("rings without roles", { roles: {} }),
    windows("three warps", { roles: roles({ warps: 3 }) }),
    windows("two depths in a ring", { stage: { q: 2, w: 3, k: 2, scale: 2 } }),
    windows("a ring in two places", { stage: { q: { slots: 2, ring: "all" }, w: 2, k: { slots: 2, ring: "all" }, scale: 2 } }),
    windows("a loop that is not there", { persistent: { even: "kb" } }),
    other("a loop that carries", "carried", ringSchedule({ warps: 4, brings: { x: 2 }, persistent: { even: "i" } })),
    windows("no header", {}, { schedule: { ...ringSchedule({ warps: 4, brings: { scale: 2 }, persistent: { even: "tb" } }) } }),
    windows("copies without turns", { roles: roles({ warps: 8, copies: 2 }), persistent: "strided" }),
    windows("copies that pass a slot on", { roles: roles({ warps: 8, copies: 2 }), stage: { q: 2, w: 2, k: 3, scale: 3 } }),
    ...(["math", "producer"] as const).map((name) => other(`turns of ${name} that bring nothing`, "skipped", ringSchedule({ warps: 4, copies: { math: 1, producer: 1, [name]: 2 }, brings: { w: 1, x: 2 }, persistent: { even: "tb" } }))),
    windows("copies of half a warp", { roles: roles({}, { warps: 2, copies: 4 }), stage: { q: 2, w: 2, k: 4, scale: 4 } }),
    windows("too many registers", { roles: roles({ warps: 8, registers: 248 }, { registers: 40 }) }, { tune: { BT: 128 } }),
    windows("registers in sevens", { roles: roles({ registers: 100 }) }),
    windows("registers of half a warpgroup", { roles: roles({ warps: 2, registers: 96 }, { registers: 40 }), mma: {}, stage: { w: 2, scale: 2 } }, { schedule: { roles: { math: { warps: 2, registers: 96 }, producer: { warps: 1, registers: 40, brings: ["w", "scale"] } }, stage: { w: 2, scale: 2 } } }),
    halves("copies that compute an operand", { dot: {}, "dot.linear": {} }, { roles: roles({ warps: 8, copies: 2 }) }),
    halves("columns behind those of a computed operand", { "dot.linear": { parts: 1 }, dot: { behind: "dot.linear" } }),
    windows("columns behind themselves", { mma: { dot: { behind: "dot" } } }),
    matmul("columns behind those of a sum", { mma: { acc: { behind: "acc" } } }),
    other("a scalar that only a loop finds", "found", ringSchedule({ warps: 4, brings: { x: 2 } })),
    ...lateCases,
    ...makerCases,
    other("a ring around a loop", "around", ringSchedule({ warps: 4, brings: { x: 2, w: 2, v: 2 } })),
    shared("a loop that is not there", "tb"),
    shared("a loop in a loop", "ib"),
    shared("turns that depend on each other"),
    shared("a histogram"),
    shared("nothing for the leader"),
    shared("a bag of an outer block of statements"),
    shared("a bag that is used before the loop"),
    shared("a list before the loop"),
    shared("three blocks", "cb", { schedule: { cluster: { blocks: 3, deal: "cb" } } }),
    shared("a cluster of roles", "cb", { schedule: { ...scores, cluster: { blocks: 4, deal: "cb" } } }),
    shared("a target without clusters", "cb", { target: cuda }),
    shared("clusters in WGSL", "cb", { target: wgsl }),
    { ...windows("a target without roles", {}), schedule: { roles: roles({}), stage: { q: 2, k: 2, w: 2, scale: 2 } }, target: cuda },
    { ...windows("WGSL", {}), schedule: { roles: roles({}), stage: { q: 2, k: 2, w: 2, scale: 2 } }, target: wgsl },
  ],
  "E-MMA-01": [
    windows("rows of too few warpgroups", { roles: roles({ warps: 8 }) }),
    windows("columns that parts do not divide", { mma: { dot: { parts: 3 } } }),
    windows("columns that are no eights", { mma: { dot: {} } }, { tune: { BQ: 3 }, spec: { dtype: "e4m3", heads: 4, depth: 32 } }),
    windows("parts that rows do not divide", { mma: { dot: { parts: 3 } } }, { tune: { BQ: 3, BT: 128 } }),
    windows("too many parts", { mma: { dot: { parts: 8 } } }, { tune: { BQ: 8 } }),
    windows("too many registers of a part", { mma: { dot: {} } }, { tune: { BQ: 32, BT: 128 } }),
    windows("a depth between steps", { mma: { dot: {} } }, { spec: { dtype: "e4m3", heads: 8, depth: 48 } }),
    windows("an operand in no ring", { stage: { k: 2 }, roles: roles({}, { brings: ["k"] }) }),
    matmul("e4m3 from registers", { stage: { y: 2 }, roles: { math: { warps: 4 }, producer: { warps: 1, brings: ["y"] } } }, { spec: { dtype: "e4m3" } }),
    halves("columns behind tiles of several rows", { dot: {}, "dot.linear": { behind: "dot" } }, {}, { tune: { BT: 128 } }),
    halves("columns behind those that fill an instruction", { dot: {}, "dot.linear": { behind: "dot" } }, {}, { tune: { BQ: 32 } }),
    halves("columns behind several lines", { dot: {}, "dot.linear": { behind: "dot" } }, {}, { spec: { dtype: "e4m3", heads: 8, depth: 256 } }),
    halves("a computed operand of too few columns", { dot: {}, "dot.linear": {} }, {}, { tune: { BQ: 1 } }),
    windows("a target without wgmma", {}, { schedule: { mma: { dot: {} } }, target: cuda }),
  ],
};

for (const [code, list] of Object.entries(cases))
  test(code, async () => {
    const texts: string[] = [];
    for (const { name, kernel, spec, tune, schedule, target = hopper } of list) {
      const read = kernel === "sharedRows" ? await readShared(name) : await readRings(kernel, spec, tune);
      let text = "compiles";
      try {
        compileTile(read, target, schedule, "");
      } catch (e) {
        text = e instanceof CompileError ? format(e, sourceText) : String(e);
        expect(e, `${name}: ${text}`).toMatchObject({ code });
      }
      expect(text, name).not.toBe("compiles");
      texts.push(`# ${name}\n${text}\n`);
    }
    await expect(texts.join("\n")).toMatchFileSnapshot(`../golden/diagnostics/${code}.txt`);
  });

test("every code of schedules has its texts here", () => {
  expect(Object.keys(cases)).toEqual(Object.keys(templates).filter((code) => /^E-(SCHEDULE|MMA)/.test(code)));
});
