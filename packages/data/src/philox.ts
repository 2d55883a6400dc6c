/**
 * Philox 4x32-10: a counter-based generator. The same counter and key give the same four words wherever and whenever they are asked
 * for, so a draw needs no state that ranks would have to agree on.
 * @source Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
 */

/** Four whole numbers of 32 bits. */
export type Words4 = readonly [number, number, number, number];

const multipliers = [0xd2511f53, 0xcd9e8d57] as const;
const keySteps = [0x9e3779b9, 0xbb67ae85] as const;
const numRounds = 10;

/** Four random words of 32 bits, a function of counter and key alone. */
export function philox(counter: Words4, key: readonly [number, number]): Words4 {
  let [a, b, c, d] = counter;
  let [key0, key1] = key;
  for (let round = 0; round < numRounds; round++) {
    const low0 = Math.imul(multipliers[0], a) >>> 0;
    const low1 = Math.imul(multipliers[1], c) >>> 0;
    [a, b, c, d] = [(highWord(multipliers[1], c) ^ b ^ key0) >>> 0, low1, (highWord(multipliers[0], a) ^ d ^ key1) >>> 0, low0];
    key0 = (key0 + keySteps[0]) >>> 0;
    key1 = (key1 + keySteps[1]) >>> 0;
  }
  return [a, b, c, d];
}

/** The upper 32 bits of a product of two words, by halves, since a double holds 53 bits only. */
function highWord(x: number, y: number): number {
  const [xLow, xHigh, yLow, yHigh] = [x & 0xffff, x >>> 16, y & 0xffff, y >>> 16];
  const middle = xHigh * yLow + ((xLow * yLow) >>> 16);
  const carried = xLow * yHigh + (middle & 0xffff);
  return xHigh * yHigh + (middle >>> 16) + (carried >>> 16);
}
