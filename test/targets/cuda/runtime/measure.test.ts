/** Timing of rounds of launches over a fake driver, whose clock the directives in the texts move. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { clearTrace, manifest, text, trace } from "./fake.ts";
import { type CudaDevice, openCuda } from "../../../../targets/cuda/runtime/driver.ts";
import { timeRounds } from "../../../../targets/cuda/runtime/measure.ts";
import type { Launch } from "../../../../targets/device.ts";

let device: CudaDevice;
beforeEach(async () => {
  device = await openCuda();
  clearTrace();
}, 120_000); // the first call builds the addon
afterEach(() => device.close());

const always1 = ["us 0", "each 1"];
const never = ["us 0"];

/** A launch of a kernel over a buffer of `n` words. */
async function launchOf(n: number, entry = "scale", ...directives: readonly string[]): Promise<Launch> {
  const executable = await device.load(manifest({ kernel: entry, entry }), text(entry, ...(directives.length > 0 ? directives : always1)));
  return { executable, buffers: { x: device.alloc(4 * n) }, dims: { n } };
}
/** Launches and waits since clearTrace: the kernel's name, with its number of blocks. */
const events = (): string[] =>
  trace().flatMap((event) => {
    const [, name, blocks] = /^launch (\w+) (\d+)/.exec(event) ?? [];
    return name === undefined ? [] : [`${name} ${blocks}`];
  });

describe("measure", () => {
  test("goes through the launches in turn, across samples, and divides nothing", async () => {
    const [one, two, three] = [await launchOf(32), await launchOf(64), await launchOf(96)];
    const samples = await device.measure({ launches: [one!, two!, three!], perSample: 2, samples: 3 });
    expect(events()).toEqual([1, 2, 3, 1, 2, 3].map((blocks) => `scale ${blocks}`));
    expect(samples.map(Math.round)).toEqual([2, 2, 2]);
  });

  test("holds the queue before each sample and does not time that", async () => {
    const [launch, hold] = [await launchOf(32), await launchOf(64, "hold", "each 1000")];
    const samples = await device.measure({ launches: [launch], perSample: 3, samples: 2, hold });
    const sample = ["hold 2", "scale 1", "scale 1", "scale 1"];
    expect(events()).toEqual([...sample, ...sample]);
    expect(samples.map(Math.round)).toEqual([3, 3]);
  });

  test("a sample that began before it was enqueued is no measurement", async () => {
    const [late, hold] = [await launchOf(32, "scale", ...always1, "dry 1"), await launchOf(64, "hold")];
    expect(await device.measure({ launches: [late], perSample: 2, samples: 2, hold })).toEqual([NaN, NaN]);
    expect(await device.measure({ launches: [late], perSample: 2, samples: 1 })).toEqual([expect.closeTo(2)]);
  });

  test("with overlap a sample is enqueued before the one before it is waited for", async () => {
    const slow = await launchOf(32, "scale", "sleep 5");
    await device.sync(); // the allocation is done, not only asked for
    for (const overlap of [false, true]) {
      clearTrace();
      const samples = await device.measure({ launches: [slow], perSample: 1, samples: 3, overlap });
      expect(samples.length).toBe(3);
      const order = trace().map((event) => event.split(" ")[0]).join(" ");
      expect(order).toBe(overlap ? "launch launch waited launch waited waited waited" : "launch waited launch waited launch waited waited");
    }
  });

  test("refuses what makes no measurement", async () => {
    const launch = await launchOf(32);
    await expect(device.measure({ launches: [], perSample: 1, samples: 1 })).rejects.toThrow(/measure of 0, 1, 1 launches/);
    await expect(device.measure({ launches: [launch], perSample: 1.5, samples: 1 })).rejects.toThrow(/integers of at least 1/);
    const empty = { ...launch, dims: { n: 0 } };
    await expect(device.measure({ launches: [launch, empty], perSample: 1, samples: 1 })).rejects.toThrow(/its grid is empty/);
    device.free(launch.buffers.x!);
    await expect(device.measure({ launches: [launch], perSample: 1, samples: 1 })).rejects.toThrow(/used after it was freed/);
  });
});

describe("timeRounds", () => {
  test("single: one round between two events, the queue idle before it", async () => {
    const rounds = [[await launchOf(32), await launchOf(64)]];
    clearTrace();
    const { microseconds, rounds: between } = await timeRounds(device, rounds, "single");
    expect(between).toBe(1);
    expect(microseconds.length).toBe(30);
    expect(microseconds.map(Math.round)).toEqual(Array<number>(30).fill(2));
    expect(trace().filter((event) => event.startsWith("launch hold"))).toEqual([]);
  });

  test("queued: many rounds behind a kernel that spins, and per round", async () => {
    const [a, b, c, d] = [await launchOf(32), await launchOf(64, "other", ...never), await launchOf(96), await launchOf(128, "other", ...never)];
    const { microseconds, rounds } = await timeRounds(device, [[a!, b!], [c!, d!]], "queued");
    expect(rounds).toBe(40);
    expect(microseconds).toEqual(Array<unknown>(15).fill(expect.closeTo(1, 3))); // one of two kernels takes no time
    const measured = events();
    const sample = measured.slice(measured.lastIndexOf("hold 1"));
    expect(sample.slice(0, 5)).toEqual(["hold 1", "scale 1", "other 2", "scale 3", "other 4"]);
    expect(sample.length).toBe(1 + 2 * 40);
  });

  test("queued: a host that is too slow is an error, and not a figure", async () => {
    const late = await launchOf(32, "scale", "dry 1");
    await expect(timeRounds(device, [[late]], "queued")).rejects.toThrow(/enqueued 40 launches too slowly: only 0 of 15 samples count/);
  });

  test("sustained: 0.7 s after 0.2 s that are not counted", async () => {
    const launch = await launchOf(32, "scale", "us 10"); // the n-th launch takes 10 n µs
    const { microseconds, rounds } = await timeRounds(device, [[launch]], "sustained");
    // 1 launch to warm up; 3 samples of 5, the first of which is the estimate: 10 · (2 + … + 6) / 5 = 40 µs
    expect(rounds).toBe(250);
    expect(microseconds.length).toBe(70);
    const first = 1 + 15 + 20 * 250; // launches before the first that counts
    const middle = first + (250 + 1) / 2;
    expect(microseconds[0]! / (10 * middle)).toBeCloseTo(1, 3);
    expect(events().length).toBe(first + 70 * 250);
  });

  test("reads clocks and power; what NVML does not tell is null", async () => {
    const { states } = await timeRounds(device, [[await launchOf(32)]], "single");
    expect(states[0]).toEqual({ driver: "570.12.3", smMHz: 1500, memoryMHz: 3200, watts: 612.345, limitWatts: null });
  });
});

test("fill and readPart take their turn among launches and stay within the buffer", async () => {
  const buffer = device.alloc(8);
  device.write(buffer, Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]));
  const before = device.readPart(buffer, 2, 3);
  device.fill(buffer, 0xff);
  expect(await before).toEqual(Uint8Array.from([3, 4, 5]));
  expect(await device.read(buffer)).toEqual(new Uint8Array(8).fill(0xff));
  await expect(device.readPart(buffer, 6, 3)).rejects.toThrow(/read of 3 bytes at 6 from a buffer of 8/);
});
