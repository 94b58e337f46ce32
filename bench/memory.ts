/** Sets of buffers for the kernels of one case. */
import { evaluate, type Manifest } from "../compiler/ir/manifest.ts";
import type { DeviceBuffer, Executable, Launch } from "../targets/device.ts";
import { poisonOf, type Prepared } from "./problems/problem.ts";
import type { Timer } from "./timer.ts";

/** Buffers by name of the param; kernels that run one after another share those of one name. */
export type BufferSet = ReadonlyMap<string, DeviceBuffer>;

export interface Memory {
  /** Bytes of one set. */
  readonly bytes: number;
  /** A new set: inputs filled, results poisoned. */
  set(): BufferSet;
  /** One launch of each kernel, in order; of a program those of all chunks. */
  launches(set: BufferSet): Launch[];
  /** The first result in which one of `repeats` runs differs from what `first` holds; undefined when all are equal. */
  differing(first: BufferSet, repeats: number): Promise<string | undefined>;
  /** Frees all sets. */
  free(): void;
}

/** What runs on a set of buffers. */
export interface Work {
  launchesOf(set: BufferSet): Launch[];
  /** Bytes of buffers that hold a chunk. */
  readonly scratch: Readonly<Record<string, number>>;
}

interface Slot {
  readonly bytes: number;
  readonly isRead: boolean;
  readonly input?: Uint8Array | undefined;
  /** What a result is filled with before each run. */
  readonly poison: number;
}

/** `texts` has those of each kernel, of which each launch takes its tier's; `scratch` the bytes of what a program hands on. */
export function openMemory(timer: Timer, texts: readonly (readonly Executable[])[], { inputs, dims }: Prepared, { launchesOf, scratch }: Work): Memory {
  const { device } = timer;
  const slots = new Map<string, Slot>();
  for (const { manifest } of texts.map((tiers) => tiers.at(-1)!)) {
    for (const [name, slot] of slotsOf(manifest, inputs, dims, scratch)) {
      if (slot.isRead && !slot.input && !slots.has(name)) throw new TypeError(`${manifest.kernel}: nothing fills "${name}". Add it to the problem's inputs.`);
      slots.set(name, slot);
    }
  }
  const held: DeviceBuffer[] = [];
  const alloc = (bytes: number): DeviceBuffer => {
    const buffer = device.alloc(bytes);
    held.push(buffer);
    return buffer;
  };
  const results = [...slots].filter(([, { input }]) => input === undefined);
  const poison = (set: BufferSet): void => results.forEach(([name, slot]) => timer.fill(set.get(name)!, slot.poison));
  return {
    bytes: [...slots.values()].reduce((sum, slot) => sum + slot.bytes, 0),
    launches: launchesOf,
    set() {
      const set = new Map([...slots].map(([name, { bytes }]) => [name, alloc(bytes)]));
      for (const [name, { input }] of slots) if (input) device.write(set.get(name)!, input);
      poison(set);
      return set;
    },
    async differing(first, repeats) {
      const again = new Map([...first, ...results.map(([name, { bytes }]) => [name, alloc(bytes)] as const)]);
      for (let run = 1; run < repeats; run++) {
        poison(again);
        launchesOf(again).forEach((launch) => device.launch(launch));
        for (const [name] of results) if (!(await timer.equal(first.get(name)!, again.get(name)!))) return name;
      }
      return undefined;
    },
    free: () => held.forEach((buffer) => device.free(buffer)),
  };
}

function slotsOf({ kernel, params, dims: own }: Manifest, inputs: Prepared["inputs"], dims: Prepared["dims"], scratch: Work["scratch"]): [string, Slot][] {
  const values: Record<string, number> = { ...dims };
  for (const { name, default: packed } of own) if (packed !== undefined) values[name] ??= evaluate(packed, values);
  return params.map((param) => {
    const { name, access, bytes } = param;
    const input = inputs[name];
    const need = scratch[name] ?? evaluate(bytes, values);
    if (input !== undefined && input.byteLength < need) throw new RangeError(`${kernel}: input "${name}" has ${input.byteLength} bytes and needs ${need}`);
    return [name, { bytes: input?.byteLength ?? need, isRead: access !== "out", input, poison: poisonOf(param) }];
  });
}
