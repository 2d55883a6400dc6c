import { ComparisonError } from './comparison-error.ts';
import { comparePairs } from './pairwise.ts';
import { type Numbers, valuesOf } from './values-of.ts';

/** How far numbers may be apart, and why they are not bitwise equal. */
export interface Tolerance {
  /** Relative to the expected number. */
  readonly rtol?: number;
  /** Absolute. */
  readonly atol?: number;
  /** The reason for a difference: another order of sums, another algorithm. */
  readonly because: string;
}

/** Asserts `|actual - expected| <= atol + rtol * |expected|` for each number; NaN agrees with NaN only. @throws ComparisonError */
export function expectClose(actual: Numbers, expected: Numbers, { rtol = 0, atol = 0, because }: Tolerance): void {
  comparePairs(actual, expected, {
    name: 'expectClose',
    excess: ({ actual: left, expected: right }) => {
      if (Object.is(left, right) || left === right) return 0;
      const by = Math.abs(left - right) - atol - rtol * Math.abs(right);
      return Number.isNaN(by) ? Number.POSITIVE_INFINITY : by;
    },
    describe: (worst) =>
      `${worst.actual} is not ${worst.expected} to rtol ${rtol} and atol ${atol} (a difference is allowed because ${because})`,
  });
}

/** How far all numbers together may be apart, and why they are not bitwise equal. */
export interface NormTolerance {
  /** Largest ratio of the norm of the difference to the norm of what is expected. */
  readonly limit: number;
  /** The reason for a difference. */
  readonly because: string;
}

/** `|actual - expected| / |expected|` in the Euclidean norm; 0 when both are zero. */
export function relativeL2(actual: Numbers, expected: Numbers): number {
  const [left, right] = [valuesOf(actual), valuesOf(expected)];
  let difference = 0;
  let size = 0;
  for (let index = 0; index < right.length; index++) {
    const value = right[index] ?? Number.NaN;
    difference += ((left[index] ?? Number.NaN) - value) ** 2;
    size += value ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size);
}

/** Asserts that the relative L2 distance is at most `limit`. @throws ComparisonError */
export function expectRelativeL2(actual: Numbers, expected: Numbers, { limit, because }: NormTolerance): void {
  const [left, right] = [valuesOf(actual).length, valuesOf(expected).length];
  if (left !== right)
    throw new ComparisonError(`expectRelativeL2: ${left} numbers were given and ${right} expected.`, { actual: left, expected: right });
  const distance = relativeL2(actual, expected);
  if (distance <= limit) return;
  const sentence = `expectRelativeL2: the distance is ${distance}, the limit ${limit} (a difference is allowed because ${because}).`;
  throw new ComparisonError(sentence, { actual: distance, expected: limit });
}
