/** Comparison of an output with the reference, cell by cell. */
export interface Verdict {
  /** Largest error in units of its budget; at most 1 passes. */
  readonly worst: number;
  /** Cells that were compared. */
  readonly cells: number;
  /** The worst cell that fails: where, what it holds, what it should hold, and the budget. */
  readonly failure?: string;
}

/** An output with its reference. The arrays are row-major over `axes`; a NaN budget marks a cell that may hold anything. */
export interface Comparison {
  readonly output: string;
  /** Name and extent of each axis, outermost first. */
  readonly axes: Readonly<Record<string, number>>;
  readonly got: ArrayLike<number>;
  readonly want: ArrayLike<number>;
  /** Absolute error that a correct kernel may have; 0 for exact outputs. */
  readonly budget: ArrayLike<number> | 0;
}

export function compare({ output, axes, got, want, budget }: Comparison): Verdict {
  let worst = 0;
  let worstAt = -1;
  let cells = 0;
  for (let i = 0; i < want.length; i++) {
    const allowed = budget === 0 ? 0 : budget[i]!;
    if (Number.isNaN(allowed)) continue;
    cells++;
    const ratio = ratioOf(got[i]!, want[i]!, allowed);
    if (ratio <= worst) continue;
    worst = ratio;
    worstAt = i;
  }
  if (worst <= 1) return { worst, cells };
  const allowed = budget === 0 ? 0 : budget[worstAt]!;
  const failure = `${output}[${placeOf(axes, worstAt)}] is ${got[worstAt]}, the reference says ${want[worstAt]}, budget ${allowed}`;
  return { worst, cells, failure };
}

/** Error by budget. Infinities and NaN must be the same; zeros of either sign are. */
function ratioOf(got: number, want: number, budget: number): number {
  const error = Math.abs(got - want);
  if (got === want || (Number.isNaN(got) && Number.isNaN(want))) return 0;
  return error > 0 && budget > 0 && Number.isFinite(error) ? error / budget : Infinity;
}

function placeOf(axes: Readonly<Record<string, number>>, flat: number): string {
  let rest = flat;
  const places = Object.entries(axes)
    .reverse()
    .map(([name, extent]) => {
      const at = rest % extent;
      rest = Math.floor(rest / extent);
      return `${name} ${at}`;
    });
  return places.reverse().join(", ");
}

/** One verdict over several outputs; the first failure of the worst one is told. */
export function all(verdicts: readonly Verdict[]): Verdict {
  const worst = Math.max(0, ...verdicts.map((v) => v.worst));
  const failed = verdicts.find((v) => v.failure !== undefined && v.worst === worst);
  const cells = verdicts.reduce((sum, v) => sum + v.cells, 0);
  return { worst, cells, ...(failed?.failure !== undefined && { failure: failed.failure }) };
}

/** Rows of `rowBytes` at every `pitchBytes`: the bytes between them must still be 0xff. */
export function untouchedGaps(output: string, bytes: Uint8Array, rows: number, rowBytes: number, pitchBytes: number): Verdict {
  for (let row = 0; row < rows; row++) {
    const end = Math.min((row + 1) * pitchBytes, bytes.byteLength);
    for (let at = row * pitchBytes + rowBytes; at < end; at++) {
      if (bytes[at] !== 0xff)
        return {
          worst: Infinity,
          cells: 0,
          failure: `${output}: byte ${at} behind row ${row} was written, between rows of ${rowBytes} bytes at a pitch of ${pitchBytes}`,
        };
    }
  }
  return { worst: 0, cells: 0 };
}

/** Removes the gaps between rows. */
export function packedRows(bytes: Uint8Array, rows: number, rowBytes: number, pitchBytes: number): Uint8Array {
  const packed = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row++) packed.set(bytes.subarray(row * pitchBytes, row * pitchBytes + rowBytes), row * rowBytes);
  return packed;
}

/** The inverse of `packedRows`; gaps hold `fill`. */
export function pitchedRows(bytes: Uint8Array, rows: number, rowBytes: number, pitchBytes: number, fill: number): Uint8Array {
  const pitched = new Uint8Array(rows * pitchBytes).fill(fill);
  for (let row = 0; row < rows; row++) pitched.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), row * pitchBytes);
  return pitched;
}
