/**
 * What roles, hardware barriers, rings and tensor maps must be, and how instructions may use them. That arrivals, waits and copies fit each
 * other at run time is the simulated machine's to judge.
 */
import { byteSize } from "../../dsl/dtype.ts";
import { PRIOR_LAUNCH, type Instruction } from "./instruction.ts";
import { bodiesOf, type LoopKernel, type LoopRole, type LoopStmt, type Operand } from "./loop.ts";
import type { TensorMap } from "./manifest.ts";
import type { Fail } from "./verify_loop.ts";

type Call = Extract<LoopStmt, { kind: "Call" }>;
type OperandOf<K extends Operand["kind"]> = Extract<Operand, { kind: K }>;

const WARP = 32;
const WARPGROUP_WARPS = 4;
/** Bytes that a swizzle permutes among themselves. */
const patternOf = (swizzle: number): number => 8 * swizzle;

/** A complaint about the kernel's declarations, if there is one. */
export function complaintOfHardware(kernel: LoopKernel): string | undefined {
  const all = [...kernel.barriers.flatMap((b) => barrierRules(b, kernel)), ...kernel.pipes.flatMap((p) => pipeRules(p, kernel)), ...kernel.tensorMaps.flatMap((m) => mapRules(m, kernel))];
  const names = [...kernel.barriers, ...kernel.tensorMaps].map((x) => x.name);
  return firstBroken([...all, [new Set(names).size === names.length, "two barriers or tensor maps have one name"]]);
}

/** A rule and what its breach is called. */
type Rule = readonly [holds: boolean, complaint: string];
const firstBroken = (rules: readonly Rule[]): string | undefined => rules.find(([holds]) => !holds)?.[1];

function barrierRules({ name, slots, arrivals, offset }: LoopKernel["barriers"][number], { shared, barriers, sharedBytes }: LoopKernel): readonly Rule[] {
  const end = offset + 8 * slots;
  const apart = (from: number, to: number): boolean => to <= offset || end <= from;
  return [
    [Number.isInteger(slots) && slots > 0 && Number.isInteger(arrivals) && arrivals > 0, `${name} has ${slots} slots for ${arrivals} arrivals`],
    [offset % 8 === 0 && end <= sharedBytes, `${name} lies at bytes ${offset} to ${end - 1} of ${sharedBytes}`],
    ...shared.map((b): Rule => [apart(b.offset, b.offset + b.elements * byteSize(b.dtype)), `${name} overlaps ${b.name}`]),
    ...barriers.map((b): Rule => [b.name === name || apart(b.offset, b.offset + 8 * b.slots), `${name} overlaps ${b.name}`]),
  ];
}

function pipeRules({ name, depth, buffers, full, made, empty }: LoopKernel["pipes"][number], { shared, barriers }: LoopKernel): readonly Rule[] {
  return [
    ...[full, ...(made === undefined ? [] : [made]), empty].map((b): Rule => [barriers.some((x) => x.name === b && x.slots === depth), `ring ${name} has no barrier ${b} of ${depth} slots`]),
    ...buffers.map(({ buffer, elements }): Rule => [shared.some((b) => b.name === buffer && depth * elements <= b.elements), `ring ${name} has no ${depth} slots of ${elements} elements in ${buffer}`]),
    ...buffers.map(({ buffer, elements }): Rule => [shared.some((b) => b.name === buffer && (elements * byteSize(b.dtype)) % 4 === 0), `slots of ${buffer} fill no whole words`]),
  ];
}

/** CUDA driver API, cuTensorMapEncodeTiled: what a tiled map may be. */
function mapRules(m: TensorMap, { params }: LoopKernel): readonly Rule[] {
  const size = byteSize(m.dtype);
  const row = m.box[0]! * size;
  return [
    [params.some((p) => p.name === m.param && p.access === "in"), `tensor map ${m.name} is of no input`],
    [m.sizes.length === m.box.length && m.strides.length === m.box.length - 1 && m.box.length >= 1 && m.box.length <= 5, `tensor map ${m.name} has ${m.sizes.length} sizes, ${m.strides.length} strides and a box of ${m.box.length}`],
    [m.box.every((b) => Number.isInteger(b) && b >= 1 && b <= 256), `a box of ${m.name} is ${m.box.join(" x ")}; each may be 1 to 256`],
    [row % 16 === 0, `a row of ${m.name} has ${row} bytes, no multiple of 16`],
    [m.swizzle === 0 || row <= m.swizzle, `a row of ${m.name} has ${row} bytes, more than its swizzle of ${m.swizzle}`],
    [[m.offset, ...m.strides].every((s) => typeof s !== "number" || s % 16 === 0), `an offset or stride of ${m.name} is no multiple of 16`],
  ];
}

/** The program: names and types have been checked. */
export function verifyHardware(kernel: LoopKernel, instructions: ReadonlyMap<string, Instruction>, fail: Fail): void {
  kernel.body.forEach((s, i) => {
    if (s.kind !== "Roles") return;
    if (i < kernel.body.length - 1) fail(s, "something follows the roles");
    const complaint = complaintOfRoles(s.roles, kernel.threads, instructions);
    if (complaint !== undefined) fail(s, complaint);
  });
  const nested = statementsOf(kernel.body.flatMap(bodiesOf).flat()).find((s) => s.kind === "Roles");
  if (nested) fail(nested, "roles stand inside another statement");
  verifyInitialisation(kernel, fail);
  verifyPriorLaunch(kernel, fail);
  const calls = statementsOf(kernel.body).filter((s) => s.kind === "Call");
  const copies = calls.filter((s) => operandsOf(s, "SharedAddress").length > 0).flatMap((s) => operandsOf(s, "TensorMap").map((t) => ({ map: kernel.tensorMaps.find((m) => m.name === t.map)!, to: operandsOf(s, "SharedAddress")[0]!.buffer })));
  for (const call of calls) {
    const matrices = operandsOf(call, "Matrix").flatMap((m) => matrixRules(m, kernel, new Set(copies.filter((c) => c.to === m.buffer).map((c) => c.map.swizzle))));
    const complaint = firstBroken([...matrices, ...copyRules(call, kernel)]);
    if (complaint !== undefined) fail(call, complaint);
  }
}

const statementsOf = (list: readonly LoopStmt[]): readonly LoopStmt[] => list.flatMap((s) => [s, ...bodiesOf(s).flatMap(statementsOf)]);
const operandsOf = <K extends Operand["kind"]>(s: LoopStmt, kind: K): readonly OperandOf<K>[] => (s.kind === "Call" ? s.operands.filter((o): o is OperandOf<K> => o.kind === kind) : []);

function complaintOfRoles(roles: readonly LoopRole[], threads: number, instructions: ReadonlyMap<string, Instruction>): string | undefined {
  const sorted = [...roles].sort((a, b) => a.firstWarp - b.firstWarp);
  const whole = ({ firstWarp, warps }: LoopRole): boolean => firstWarp % WARPGROUP_WARPS === 0 && warps % WARPGROUP_WARPS === 0;
  const needsWarpgroups = (r: LoopRole): boolean => statementsOf(r.body).some((s) => s.kind === "Call" && instructions.get(s.instruction)?.scope === "warpgroup");
  return firstBroken([
    [new Set(roles.map((r) => r.name)).size === roles.length, "two roles have one name"],
    ...sorted.map((r): Rule => [r.warps > 0 && (r.firstWarp + r.warps) * WARP <= threads, `role ${r.name} has warps ${r.firstWarp} to ${r.firstWarp + r.warps - 1} of ${threads / WARP}`]),
    ...sorted.slice(1).map((r, i): Rule => [sorted[i]!.firstWarp + sorted[i]!.warps <= r.firstWarp, `roles ${sorted[i]!.name} and ${r.name} share warps`]),
    ...sorted.map((r): Rule => [!needsWarpgroups(r) || whole(r), `role ${r.name} uses warpgroups and has none as a whole`]),
  ]);
}

/** One thread initialises every slot with its count, the initialisation is fenced, and a barrier of the block stands before any use. */
function verifyInitialisation({ body, barriers }: LoopKernel, fail: Fail): void {
  const called = (s: LoopStmt, name: string): readonly Call[] => statementsOf([s]).filter((x): x is Call => x.kind === "Call" && x.instruction === name);
  const initialised = new Set<string>();
  let stage: "initialise" | "fence" | "meet" | "use" = "initialise";
  for (const s of body) {
    for (const init of called(s, "mbarrierInit")) {
      if (stage === "use") fail(init, "barriers are in use");
      const [at, arrivals] = [operandsOf(init, "Barrier")[0]!, operandsOf(init, "Value")[0]!];
      const { slots, arrivals: wanted } = barriers.find((b) => b.name === at.barrier)!;
      if (arrivals.value.kind === "Const" && arrivals.value.value !== wanted) fail(init, `${at.barrier} is declared with ${wanted} arrivals`);
      const which = at.slot.kind === "Const" ? [at.slot.value] : Array.from({ length: slots }, (_, i) => i);
      for (const slot of which) initialised.add(`${at.barrier} ${slot}`);
      stage = "fence";
    }
    if (called(s, "mbarrierInitFence").length > 0 && stage === "fence") stage = "meet";
    if (s.kind === "Barrier" && stage === "meet") stage = "use";
    const use = statementsOf([s]).find((x) => x.kind === "Call" && x.instruction !== "mbarrierInit" && operandsOf(x, "Barrier").length > 0);
    if (!use) continue;
    if (stage !== "use") fail(use, "before this, barriers must be initialised, that fenced, and the block meet at a barrier");
    const missing = barriers.find((b) => Array.from({ length: b.slots }, (_, i) => i).some((i) => !initialised.has(`${b.name} ${i}`)));
    if (missing) fail(use, `not every slot of ${missing.name} is initialised`);
  }
}

/** Where launches overlap, nothing touches device memory before the one before is over. */
function verifyPriorLaunch({ body }: LoopKernel, fail: Fail): void {
  const waits = statementsOf(body).filter((s) => s.kind === "Call" && s.instruction === PRIOR_LAUNCH);
  if (waits.length === 0) return;
  const at = body.indexOf(waits[0]!);
  if (waits.length > 1 || at < 0) fail(waits.at(-1)!, "the launch before is awaited by all threads, once");
  const early = statementsOf(body.slice(0, at)).find((s) => s.kind === "LoadGlobal" || s.kind === "StoreGlobal" || operandsOf(s, "GlobalAddress").length > 0 || (operandsOf(s, "TensorMap").length > 0 && operandsOf(s, "Barrier").length > 0));
  if (early) fail(early, "the launch before may still run");
}

/** `filled`: with which swizzles copies fill its buffer. */
function matrixRules(m: OperandOf<"Matrix">, { shared }: LoopKernel, filled: ReadonlySet<number>): readonly Rule[] {
  const { offset } = shared.find((b) => b.name === m.buffer)!;
  const pattern = patternOf(m.swizzle);
  return [
    [offset % pattern === 0, `${m.buffer} lies at byte ${offset}; swizzle ${m.swizzle} needs a multiple of ${pattern}`],
    [m.stride % pattern === 0, `a stride of ${m.stride} bytes breaks the pattern of swizzle ${m.swizzle}, ${pattern} bytes`],
    [m.major === "k" || m.leading % pattern === 0, `rows ${m.leading} bytes apart break the pattern of swizzle ${m.swizzle}, ${pattern} bytes`],
    [[...filled].every((s) => s === m.swizzle), `${m.buffer} is filled with swizzle ${[...filled].join(", ")} and read with ${m.swizzle}`],
  ];
}

/** A copy brings elements as its buffer holds them, and no more than a slot takes. */
function copyRules(call: Call, { shared, pipes, tensorMaps }: LoopKernel): readonly Rule[] {
  const [operand] = operandsOf(call, "TensorMap");
  const [address] = operandsOf(call, "SharedAddress");
  if (!operand || !address) return [];
  const { map } = operand;
  const { dtype, swizzle, box } = tensorMaps.find((m) => m.name === map)!;
  const to = address.buffer;
  const buffer = shared.find((b) => b.name === to)!;
  const elements = box.reduce((n, b) => n * b, 1);
  const multiple = Math.max(128, patternOf(swizzle));
  const slot = pipes.flatMap((p) => p.buffers).find((b) => b.buffer === to)?.elements ?? buffer.elements;
  return [
    [operandsOf(call, "Value").length === box.length, `${map} has ${box.length} dimensions and gets ${operandsOf(call, "Value").length} coordinates`],
    [dtype === buffer.dtype, `${map} brings ${dtype} to a buffer of ${buffer.dtype}`],
    [elements <= slot, `a box of ${elements} elements does not fit a slot of ${slot} in ${to}`],
    [buffer.offset % multiple === 0 && (slot === buffer.elements || (slot * byteSize(dtype)) % multiple === 0), `slots of ${to} do not all start at multiples of ${multiple} bytes, as copies of ${map} need`],
  ];
}
