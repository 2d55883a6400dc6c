import { comparePairs } from './pairwise.ts';
import type { Numbers } from './values-of.ts';

const float = new Float32Array(1);
const integer = new Int32Array(float.buffer);

/** Place of a number on the line of all f32: neighbours differ by one, and 0 and -0 share a place. */
function placeOf(value: number): number {
  float[0] = value;
  const place = integer[0] ?? 0;
  return place < 0 ? -2_147_483_648 - place : place;
}

/** How many f32 steps two numbers are apart; infinite when one of them is NaN and the other is not. */
function ulpsBetween(actual: number, expected: number): number {
  if (Number.isNaN(actual) && Number.isNaN(expected)) return 0;
  if (Number.isNaN(actual) || Number.isNaN(expected)) return Number.POSITIVE_INFINITY;
  return Math.abs(placeOf(actual) - placeOf(expected));
}

/** Makes an assertion that two sets of f32 numbers are at most `limit` steps of f32 apart: `expectUlp(2)(actual, expected)`. */
export function expectUlp(limit: number): (actual: Numbers, expected: Numbers) => void {
  return (actual, expected) =>
    comparePairs(actual, expected, {
      name: `expectUlp(${limit})`,
      excess: (pair) => ulpsBetween(pair.actual, pair.expected) - limit,
      describe: (worst) => `${worst.actual} is ${ulpsBetween(worst.actual, worst.expected)} steps from ${worst.expected}`,
    });
}
