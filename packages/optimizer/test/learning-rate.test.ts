import { describe, expect, it } from 'vitest';
import { constant, warmupCosine } from '../src/index.ts';

describe('warmupCosine', () => {
  it('rises in a straight line, falls as half a cosine and stays at the bottom', () => {
    const schedule = warmupCosine({ maxLr: 1, minLr: 0.1, warmupSteps: 4, totalSteps: 12 });
    expect([0, 1, 2, 4].map(schedule)).toEqual([0, 0.25, 0.5, 1]);
    expect(schedule(8)).toBeCloseTo(0.55, 12);
    expect(schedule(6)).toBeCloseTo(0.1 + 0.9 * 0.5 * (1 + Math.SQRT1_2), 12);
    expect([12, 13, 1000].map(schedule)).toEqual([0.1, 0.1, 0.1]);
  });

  it('begins at the top without a warm-up', () => {
    expect(warmupCosine({ maxLr: 3e-4, totalSteps: 10 })(0)).toBe(3e-4);
  });

  it('refuses lengths and rates that do not fit', () => {
    expect(() => warmupCosine({ maxLr: 1, warmupSteps: 10, totalSteps: 10 })).toThrow(
      'warmupCosine: warmupSteps 10 and totalSteps 10 do not fit. Use whole numbers with 0 <= warmupSteps < totalSteps.',
    );
    expect(() => warmupCosine({ maxLr: 0.1, minLr: 1, totalSteps: 10 })).toThrow(
      'warmupCosine: minLr 1 is above maxLr 0.1. Exchange them, or lower minLr.',
    );
    expect(() => constant(Number.POSITIVE_INFINITY)).toThrow('constant: lr is Infinity. Use a number of at least 0.');
  });
});
