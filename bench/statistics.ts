/** The middle value; the mean of the two middle ones where their number is even. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  const [low = Number.NaN, high = Number.NaN] = [sorted[Math.ceil(half) - 1], sorted[Math.floor(half)]];
  return (low + high) / 2;
}

/** Ends of an interval. */
export interface Interval {
  /** Lower end. */
  readonly low: number;
  /** Upper end. */
  readonly high: number;
}

/**
 * An interval that holds the true median with a probability of at least 0.95: two of the sorted values, chosen by the binomial
 * distribution alone, whatever that of the values is. Below six values it is their whole range.
 * @source Conover, Practical Nonparametric Statistics (1999), section 3.2
 */
export function medianInterval(values: readonly number[]): Interval {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  let outside = 0; // values that may be cut off at each end
  let term = 2 ** -n;
  for (let tail = term; tail <= 0.025; tail += term) {
    outside++;
    term *= (n - outside + 1) / outside;
  }
  const at = Math.max(0, outside - 1);
  return { low: sorted[at] ?? Number.NaN, high: sorted[n - 1 - at] ?? Number.NaN };
}
