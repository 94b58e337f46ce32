/** Order statistics of samples. */

/** The value below which the fraction `p` of the samples lies, interpolated between neighbours; NaN without samples. */
export function quantile(samples: readonly number[], p: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = p * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return below === undefined || above === undefined ? NaN : below + (above - below) * (at - Math.floor(at));
}

export interface Spread {
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
}

export const spreadOf = (samples: readonly number[]): Spread => ({
  median: quantile(samples, 0.5),
  p10: quantile(samples, 0.1),
  p90: quantile(samples, 0.9),
});

/** Median of what was readable; null when nothing was. */
export function medianOrNull(values: readonly (number | null)[]): number | null {
  const readable = values.filter((value) => value !== null);
  return readable.length === 0 ? null : quantile(readable, 0.5);
}
