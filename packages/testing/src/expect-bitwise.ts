import { comparePairs } from './pairwise.ts';
import type { Numbers } from './values-of.ts';

const bits = new DataView(new ArrayBuffer(8));

function bitsOf(value: number): string {
  bits.setFloat64(0, value);
  return bits.getBigUint64(0).toString(16).padStart(16, '0');
}

/** Asserts that two sets of numbers are equal bit for bit: 0 is not -0, and NaN is NaN. @throws ComparisonError */
export function expectBitwise(actual: Numbers, expected: Numbers): void {
  comparePairs(actual, expected, {
    name: 'expectBitwise',
    excess: (pair) => (Object.is(pair.actual, pair.expected) ? 0 : Math.abs(pair.actual - pair.expected) || Number.MIN_VALUE),
    describe: (worst) => `${worst.actual} is not ${worst.expected} (bits ${bitsOf(worst.actual)} and ${bitsOf(worst.expected)})`,
  });
}
