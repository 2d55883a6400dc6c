import { philox } from './philox.ts';

/** Which sample is drawn. */
export interface SampleDraw {
  readonly seed: number;
  readonly step: number;
  /** Number of the sample among all samples of the step. */
  readonly globalSample: number;
}

/**
 * The first token of a sample, 0 <= start < numStarts: a function of seed, step and global sample alone, so it does not depend on the
 * layout.
 */
export function sampleStart({ seed, step, globalSample }: SampleDraw, numStarts: number): number {
  const [high, low] = philox([globalSample, lowWord(step), highWord(step), 0], [lowWord(seed), highWord(seed)]);
  // 53 random bits as a number below 1.
  return Math.floor(((high * 2 ** 21 + (low >>> 11)) / 2 ** 53) * numStarts);
}

const lowWord = (value: number): number => value >>> 0;

const highWord = (value: number): number => Math.floor(value / 2 ** 32) >>> 0;
