/** What each pass makes of small kernels, as golden text. */
import { expect, test } from "vitest";
import { headerOf } from "../../../compiler/header.ts";
import { binary, int, variable } from "../../../compiler/ir/expr.ts";
import type { LoopStmt } from "../../../compiler/ir/loop.ts";
import { printLoop } from "../../../compiler/ir/print_loop.ts";
import { printPlan } from "../../../compiler/ir/print_plan.ts";
import { printTile } from "../../../compiler/ir/print_tile.ts";
import { verifyLoop } from "../../../compiler/ir/verify_loop.ts";
import { verifyPlan } from "../../../compiler/ir/verify_plan.ts";
import { dropUnused } from "../../../compiler/passes/drop_unused.ts";
import { fitShared } from "../../../compiler/passes/fit_shared.ts";
import { hoistInvariants } from "../../../compiler/passes/hoist_invariants.ts";
import { hoistScales } from "../../../compiler/passes/hoist_scales.ts";
import { splitRelu } from "../../../compiler/passes/split_relu.ts";
import type { Target } from "../../../compiler/target.ts";
import { beforeAfter, cuda, hopper, latePasses, passesOf, printLayouts, printPlacement, printStages, readSmall, ringPasses, runPasses, smallKernelNames, smallKernels, wgsl, type Passes, type SmallKernel } from "./small_kernels.ts";

const folderOf = (target: Target): string => target.name.replace(":", "-");
const golden = (pass: string, name: string, text: string): Promise<void> => expect(text).toMatchFileSnapshot(`golden/${pass}/${name}.txt`);

test.each(["deadCode", "readInside"] as const)("dropDead: %s", async (name) => {
  const { read, tile } = await passesOf(name, cuda, 64);
  await golden("drop_dead", name, beforeAfter(printTile(read), printTile(tile)));
});

test.each(["reluScores", "leakyScores", "gatedInside", "nestedLoops"] as const)("hoistScales: %s", async (name) => {
  const read = await readSmall(name);
  await golden("hoist_scales", name, beforeAfter(printTile(read), printTile(hoistScales(read))));
});
test.each(["clippedScores", "softScores", "readTwice"] as const)("hoistScales leaves %s alone", async (name) => {
  const read = await readSmall(name);
  expect(hoistScales(read)).toBe(read);
});

test("splitRelu: narrowReluScores", async () => {
  const scaled = hoistScales(await readSmall("narrowReluScores"));
  const split = splitRelu(scaled);
  await golden("split_relu", "narrowReluScores", beforeAfter(printTile(scaled), printTile(split)));
  await golden("hoist_invariants", "narrowReluScores", beforeAfter(printTile(split), printTile(hoistInvariants(split))));
});
test.each(["reluScores", "leakyScores", "softScores", "gatedInside"] as const)("splitRelu leaves %s alone", async (name) => {
  const scaled = hoistScales(await readSmall(name));
  expect(splitRelu(scaled)).toBe(scaled);
});

test("hoistInvariants: nestedLoops", async () => {
  const scaled = hoistScales(await readSmall("nestedLoops"));
  await golden("hoist_invariants", "nestedLoops", beforeAfter(printTile(scaled), printTile(hoistInvariants(scaled))));
});

test("loadAhead: windowSums", async () => {
  const { read, tile } = runPasses(await readSmall("windowSums"), cuda, { threads: 64, ahead: ["part"], once: ["part"] });
  await golden("load_ahead", "windowSums", beforeAfter(printTile(read), printTile(tile)));
});

test.each(["attention", "softmaxRows", "countsThenAdd", "mirror", "readInside"] as const)("placeValues: %s", async (name) => {
  const passes = await passesOf(name, cuda, 64);
  await golden("place_values", name, beforeAfter(printTile(passes.tile), printPlacement(passes)));
});

test.each([cuda, wgsl])("selectAtoms: products on $name", async (target) => {
  const lines = await Promise.all(
    smallKernels.products.map(async (name) => `${name}: ${[...(await passesOf(name, target, 64)).layouts.gemms.values()].map((g) => g.atom).join(", ")}\n`),
  );
  await golden("select_atoms", folderOf(target), lines.join(""));
});

/** The cases of passes whose result depends on the target. */
const onTargets = (names: readonly SmallKernel[]) => names.flatMap((name) => [cuda, wgsl].map((target) => ({ name, on: folderOf(target), target })));
const each = (pass: string, names: readonly SmallKernel[], text: (p: Passes) => string): void =>
  test.each(onTargets(names))(`${pass}: $name on $on`, async ({ name, on, target }) => {
    await golden(pass, `${name}.${on}`, text(await passesOf(name, target, 64)));
  });

each("infer_layouts", ["attention", "softmaxRows", "transposedProduct"], (p) => beforeAfter(printPlacement(p), printLayouts(p)));
each("plan_stages", ["attention", "twoColumnAxes", "narrowProduct"], (p) => beforeAfter(printLayouts(p), printStages(p.stages)));
each("build_plan", ["swap", "rotate", "mirror", "branches"], (p) => beforeAfter(printTile(p.tile), printPlan(p.built)));
each("share_registers", ["attention", "rotate"], (p) => beforeAfter(printPlan(p.built), printPlan(p.plan)));
each("lower", ["attention", "batchProduct", "softmaxRows", "gatherRows", "longScan", "rowScans", "select", "branches"], (p) => beforeAfter(printPlan(p.plan), printLoop(p.lowered)));
each("insert_barriers", ["attention", "softmaxRows", "shortScan"], (p) => beforeAfter(printLoop(p.used), printLoop(p.loop)));

const rings = Object.entries(ringPasses).map(([name, passes]) => ({ name, passes }));
test.each(rings)("tileRings: $name", async ({ name, passes }) => {
  const p = await passes();
  await golden("tile_rings", name, beforeAfter(printLayouts(p), printStages(p.stages)));
});
test.each(rings)("awaitProducts: $name", async ({ name, passes }) => {
  const { plan, awaited } = await passes();
  await golden("await_products", name, beforeAfter(printPlan(plan), printPlan(awaited)));
});
test.each(rings)("splitRoles: $name", async ({ name, passes }) => {
  const { awaited, split } = await passes();
  await golden("split_roles", name, beforeAfter(printPlan(awaited), printPlan(split)));
});
test("delayProducts: chained", async () => {
  const { split, delayed } = await latePasses();
  await golden("delay_products", "chained", beforeAfter(printPlan(split), printPlan(delayed)));
});
test.each(rings)("lower: $name", async ({ name, passes }) => {
  const { split, lowered } = await passes();
  await golden("lower", name, beforeAfter(printPlan(split), printLoop(lowered)));
});
test("reduceStrength: windows", async () => {
  const { used, reduced } = await ringPasses.windows();
  await golden("reduce_strength", "windows", beforeAfter(printLoop(used), printLoop(reduced)));
});

test.each(rings)("the header of $name", async ({ name, passes }) => {
  const { tile, split, loop } = await passes();
  await golden("header", name, `${headerOf(tile, split, loop, hopper.name, "small").join("\n")}\n`);
});

test("dropUnused: what nothing reads goes, and what only that read", async () => {
  const { lowered, used } = await passesOf("nested", wgsl, 64);
  await golden("drop_unused", "nested", beforeAfter(printLoop(lowered), printLoop(used)));
});

test("dropUnused: a name goes where nothing reads it, whatever other roles do", async () => {
  const { lowered } = await passesOf("nested", wgsl, 64);
  const named: LoopStmt = { kind: "Let", name: "i", value: int(1) };
  const reads = { kind: "If", uniform: true, cond: binary("<", variable("i32", "i"), int(2)), then: [], otherwise: [] } as const;
  const rolesOf = (...bodies: readonly (readonly LoopStmt[])[]): readonly LoopStmt[] => [
    { kind: "Roles", roles: bodies.map((body, firstWarp) => ({ name: `role${firstWarp}`, firstWarp, warps: 1, body })) },
  ];
  const { body } = dropUnused({ ...lowered, body: rolesOf([named, reads], [named], [named, named, reads], [named, { ...reads, then: [named] }]) });
  expect(body).toEqual(rolesOf([named, reads], [], [named, reads], [named, { ...reads, then: [] }]));
});

test("fitShared drops optional stages, largest first", async () => {
  const { tile, stages } = await passesOf("batchProduct", cuda, 64);
  const within = (bytes: number) => fitShared(tile, stages, { ...cuda.machine, maxSharedBytes: 3 * cuda.machine.exchangeBytes + bytes });
  await golden("fit_shared", "batchProduct", beforeAfter(printStages(stages), printStages(within(4000))));
  expect(within(0)).toEqual([]); // all of them can be read from device memory
});

test.each([["attention", /attention needs 3328 bytes .* has 1000: (q|kv)\[\w 16, c 32\] takes 1280 bytes/], ["select", /select needs 200 bytes .* has 100: histogram bins of 50 takes 200 bytes/]] as const)(
  "fitShared says what of %s is too large",
  async (name, message) => {
    const { tile, stages } = await passesOf(name, cuda, 64);
    const maxSharedBytes = 3 * cuda.machine.exchangeBytes + (name === "select" ? 100 : 1000);
    expect(() => fitShared(tile, stages, { ...cuda.machine, maxSharedBytes })).toThrow(message);
  },
);

test.each(smallKernelNames)("%s passes the verifiers on both targets", async (name) => {
  for (const target of [cuda, wgsl])
    for (const threads of [32, 128]) {
      const { plan, loop } = await passesOf(name, target, threads);
      verifyPlan(plan, target.machine, "shareRegisters");
      verifyLoop(loop, target, "insertBarriers");
    }
});
