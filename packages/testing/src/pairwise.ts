import { ComparisonError } from './comparison-error.ts';
import { type Numbers, valuesOf } from './values-of.ts';

/** One pair of numbers that stand at the same position. */
export interface Pair {
  /** Where they stand. */
  readonly index: number;
  /** What was computed. */
  readonly actual: number;
  /** What it should have been. */
  readonly expected: number;
}

/** What a comparison allows: `excess` is above zero, or NaN, where a pair differs too much. */
export interface PairRule {
  /** Name of the comparison. */
  readonly name: string;
  /** By how much a pair is beyond what is allowed. */
  readonly excess: (pair: Pair) => number;
  /** What is wrong with the worst pair. */
  readonly describe: (worst: Pair) => string;
}

/** Holds a rule against every pair and speaks of the one that breaks it most. @throws ComparisonError */
export function comparePairs(actual: Numbers, expected: Numbers, { name, excess, describe }: PairRule): void {
  const [left, right] = [valuesOf(actual), valuesOf(expected)];
  if (left.length !== right.length) {
    throw new ComparisonError(`${name}: ${left.length} numbers were given and ${right.length} expected.`, {
      actual: left.length,
      expected: right.length,
    });
  }
  let worst: Pair | undefined;
  let worstExcess = 0;
  let broken = 0;
  for (let index = 0; index < left.length; index++) {
    const pair = { index, actual: left[index] ?? Number.NaN, expected: right[index] ?? Number.NaN };
    const by = excess(pair);
    if (by <= 0) continue;
    broken++;
    if (worst !== undefined && !(by > worstExcess) && !Number.isNaN(by)) continue;
    worst = pair;
    worstExcess = by;
  }
  if (worst === undefined) return;
  throw new ComparisonError(`${name}: ${broken} of ${left.length} numbers differ. At ${worst.index}: ${describe(worst)}.`, worst);
}
