/** Runs the threads of a block, or of the blocks of a cluster, from meeting point to meeting point, in a random order, and the engines beside them at random moments. */
import type { Instruction, LaneOperand } from "../ir/instruction.ts";
import type { Stop } from "./loop_compile.ts";
import type { Engine } from "./loop_copies.ts";
import { type Machine, warpgroupSize, warpSize } from "./loop_machine.ts";

/** What a thread waits for; "ready" to run, "done" at its end. */
type State = Stop | "ready" | "done";
const isStop = (s: State | undefined): s is Stop => typeof s === "object";

/** Chances that a warp, an engine or a block of a cluster rests while others run: it is picked anew for each block or cluster. */
const moods = [0, 0.5, 0.9];

export function runBlock(
  machine: Machine,
  threads: readonly Generator<Stop, void>[],
  execute: (instruction: Instruction, lanes: readonly (readonly LaneOperand[])[], site: number) => void,
  engines: readonly Engine[],
  random: () => number,
  /** A thread has ended. */
  onEnd: (thread: number) => void,
): void {
  const count = threads.length;
  const states: State[] = threads.map(() => "ready");
  const order = threads.map((_, thread) => thread);
  const pickMood = (): number => (machine.clocked ? moods[random() % moods.length]! : 0);
  // threads of a block of a cluster are judged by its barriers alone: that one warp is far ahead of another shows nothing more
  const unit = machine.byBlocks ? machine.blockThreads : warpSize;
  const unitMoods = Array.from({ length: Math.ceil(count / unit) }, pickMood);
  const engineMoods = engines.map(pickMood);
  const rests = (mood: number): boolean => mood > 0 && random() < mood * 2 ** 32;
  const resting = new Uint8Array(unitMoods.length);

  /** Runs the instruction that all these threads wait for, if they do. */
  const meet = (first: number, end: number, scope: Instruction["scope"]): boolean => {
    const stop = states[first];
    if (!isStop(stop) || stop.kind !== "Call" || stop.instruction.scope !== scope) return false;
    const lanes: (readonly LaneOperand[])[] = [];
    for (let t = first; t < end; t++) {
      const other = states[t];
      if (!isStop(other) || other.kind !== "Call" || other.site !== stop.site || other.instruction !== stop.instruction) return false;
      lanes.push(other.operands);
    }
    machine.become(first);
    execute(stop.instruction, lanes, stop.site);
    states.fill("ready", first, end);
    return true;
  };
  const meetEvery = (size: number, scope: Instruction["scope"]): boolean => {
    let met = false;
    for (let first = 0; first + size <= count; first += size) met = meet(first, first + size, scope) || met;
    return met;
  };
  /** Lets the threads of a group pass the barrier that all of them wait at, if they do. */
  const pass = (group: number): boolean => {
    const { first, end } = machine.groups[group]!;
    const stop = states[first];
    if (!isStop(stop) || stop.kind !== "Barrier" || stop.group !== group) return false;
    for (let t = first; t < end; t++) {
      const other = states[t];
      if (!isStop(other) || other.kind !== "Barrier" || other.site !== stop.site) return false;
    }
    machine.barrier(group);
    states.fill("ready", first, end);
    return true;
  };
  /** Runs a thread to its next stop, if it is ready or what it waits for has come. */
  const run = (thread: number): boolean => {
    const state = states[thread];
    if (isStop(state)) {
      if (state.kind !== "Wait" || !state.barrier.hasEnded(state.parity)) return false;
      machine.become(thread);
      state.barrier.acquire();
    } else if (state === "done") return false;
    machine.become(thread);
    const step = threads[thread]!.next();
    states[thread] = step.done ? "done" : step.value;
    if (step.done) onEnd(thread);
    return true;
  };

  let allAwake = false;
  for (;;) {
    shuffle(order, random);
    for (let u = 0; u < resting.length; u++) resting[u] = Number(!allAwake && rests(unitMoods[u]!));
    let progress = false;
    for (const thread of order) if (resting[Math.floor(thread / unit)] === 0) progress = run(thread) || progress;
    let met = meetEvery(warpSize, "warp");
    met = meetEvery(warpgroupSize, "warpgroup") || met;
    if (!met) met = meetEvery(machine.blockThreads, "block");
    if (!met) met = machine.groups.map((_, group) => pass(group)).includes(true);
    engines.forEach((engine, i) => {
      if (!engine.busy || rests(engineMoods[i]!)) return;
      engine.step(random);
      progress = true;
    });
    if (met || progress) {
      allAwake = false;
      continue;
    }
    const busy = engines.filter((e) => e.busy);
    if (!allAwake) allAwake = true;
    else if (busy.length > 0) busy[random() % busy.length]!.step(random);
    else if (states.every((s) => s === "done")) return;
    else stuck(machine, states);
  }
}

/** No thread can go on. */
function stuck(machine: Machine, states: readonly State[]): never {
  const describe = (s: State): string => {
    if (!isStop(s)) return "ended";
    const at = machine.place(s.site);
    if (s.kind === "Wait") return `wait for parity ${s.parity} at ${at}: ${s.barrier.lacks}`;
    return s.kind === "Barrier" ? `wait at a barrier, ${at}` : `wait for all lanes at ${s.instruction.name}, ${at}`;
  };
  const groups = new Map<string, { readonly what: string; readonly threads: number[] }>();
  for (const [thread, s] of states.entries()) {
    const what = describe(s);
    const key = `${machine.roleOf(thread)} ${isStop(s) ? s.site : ""} ${what}`;
    const group = groups.get(key);
    if (group) group.threads.push(thread);
    else groups.set(key, { what, threads: [thread] });
  }
  const waits = states.some((s) => isStop(s) && s.kind === "Wait");
  const text = [...groups.values()].map(({ what, threads }) => `${roleOf(machine, threads[0]!)}threads ${ranges(threads)} ${what}`).join("; ");
  const thread = states.findIndex((s) => isStop(s) && (!waits || s.kind === "Wait"));
  machine.become(thread);
  const { site } = states[thread] as Stop;
  if (waits) machine.fault("deadlock", site, `no thread can go on: ${text}`);
  machine.fault("divergence", site, `threads part: ${text}. Barriers need all threads of the block or role, joint instructions all of each warp or warpgroup`);
}
const roleOf = (machine: Machine, thread: number): string => {
  const role = machine.roleOf(thread);
  return role === "" ? "" : `${role}, `;
};

/** [0, 1, 2, 5] as "0-2, 5". */
function ranges(numbers: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < numbers.length;) {
    let end = i;
    while (numbers[end + 1] === numbers[end]! + 1) end++;
    parts.push(end === i ? String(numbers[i]) : `${numbers[i]}-${numbers[end]}`);
    i = end + 1;
  }
  return parts.join(", ");
}

function shuffle(list: number[], random: () => number): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = random() % (i + 1);
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
}
