/** A run as text: one table a problem, and what must be known to read it. */
import type { Mode } from "../targets/cuda/runtime/measure.ts";
import { anchorsFrom } from "./anchors.ts";
import type { MeasuredCeilings } from "./ceilings.ts";
import { isMeasured, type Measured, type Outcome } from "./run.ts";
import type { How } from "./timer.ts";

/** A run as it is written to JSON. */
export interface BenchReport {
  readonly format: 1;
  /** ISO 8601, of the end of the run. */
  readonly date: string;
  readonly device: string;
  /** As NVML tells it; null where it does not, and on WebGPU. */
  readonly driver: string | null;
  /** What compiled the kernels on the host, e.g. "NVRTC 13.0"; null on WebGPU. */
  readonly compiler: string | null;
  /** Null where none were measured. */
  readonly ceilings: MeasuredCeilings | null;
  readonly outcomes: readonly Outcome[];
}

export interface TextTable {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const head = ["case", "spec", "target", "timed", "µs", "p10 to p90", "TFLOPS", "TB/s", "of ceiling", "roofline µs", "others *", "MHz", "W", "worst error / budget"];

/** Tables of what was measured. */
export function tablesOf({ outcomes }: Pick<BenchReport, "outcomes">): TextTable[] {
  const measured = outcomes.filter(isMeasured);
  return [...new Set(measured.map((m) => m.problem))].map((problem) => ({
    title: problem,
    head,
    rows: measured.filter((m) => m.problem === problem).map(rowOf),
  }));
}

function rowOf({ label, spec, target, timed, tflops, terabytes, ofCeiling, roofline, anchor, check }: Measured): string[] {
  const { time, how, state } = timed;
  return [
    label,
    spec,
    target,
    how,
    digits(time.median),
    `${digits(time.p10)} to ${digits(time.p90)}`,
    tflops === null ? "–" : digits(tflops),
    digits(terabytes),
    ofCeiling ? `${(100 * ofCeiling.share).toFixed(0)} % ${ofCeiling.of}` : "–",
    roofline ? digits(roofline.microseconds) : "–",
    anchor ? `${anchor.timesAsFast.toFixed(2)} × ${anchor.by}` : "–",
    state.smMHz === null ? "–" : state.smMHz.toFixed(0),
    state.watts === null ? "–" : state.watts.toFixed(0),
    check.worst.toPrecision(2),
  ];
}

const digits = (x: number): string => (x >= 1000 ? x.toFixed(0) : x >= 100 ? x.toFixed(1) : x.toPrecision(3));

const methods: Readonly<Record<How, string>> = {
  single: "single: one launch into an idle queue, its launch gap of some 8 µs included",
  queued: "queued: 20 or 40 launches between two events behind a kernel that spins, without launch gaps, on a card that is not warm",
  sustained: "sustained: launches for 0.7 s after 0.2 s of the same, at the clocks that the power limit leaves",
  timestamp: "timestamp: WebGPU's timestamp queries around each of 20 launches; p10 and p90 are the least and the most, inputs stay in the cache",
  wall: "wall: the host's clock around groups of launches, submission included; p10 and p90 are the least and the most",
};

/** What stands below the tables. */
export function notesOf({ outcomes, ceilings, device, driver, compiler, date }: BenchReport): string[] {
  const measured = outcomes.filter(isMeasured);
  const hows = [...new Set(measured.map((m) => m.timed.how))];
  const assumed = new Set(measured.flatMap((m) => m.cost.assumed.map((text) => `${m.problem}, ${text}`)));
  return [
    `${device}${driver === null ? "" : `, driver ${driver}`}${compiler === null ? "" : `, ${compiler}`}, ${date}`,
    ceilings ? `ceilings of this run: ${ceilingsText(ceilings)}` : "ceilings: not measured",
    ...hows.map((how) => methods[how]),
    "TFLOPS count the products that a result needs; TB/s the bytes that must be read or written once; the roofline what the kernel's text does",
    ...(measured.some((m) => m.anchor)
      ? [`* times as fast as figures of others from ${anchorsFrom.date} on an ${anchorsFrom.gpu}; they are not measured again here`]
      : []),
    ...[...assumed].map((text) => `counted as if: ${text}`),
  ];
}

function ceilingsText({ read, copy, tensor }: MeasuredCeilings): string {
  const rates = Object.entries(tensor).flatMap(([dtype, by]) =>
    (Object.entries(by) as [Mode, number][]).map(([mode, rate]) => `${dtype} ${(rate / 1e12).toFixed(0)} TFLOPS ${mode}`),
  );
  const memory = [`read ${(read / 1e12).toFixed(2)} TB/s`, `copy ${(copy / 1e12).toFixed(2)} TB/s (read and written)`];
  return [...memory, ...(rates.length > 0 ? rates : ["tensor cores not measured"])].join(", ");
}
