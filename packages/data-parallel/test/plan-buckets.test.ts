import { describe, expect, it } from 'vitest';
import { planBuckets } from '../src/index.ts';

describe('planBuckets', () => {
  it('deals parameters in reverse order and closes a bucket that has reached its size', () => {
    expect(planBuckets([100, 200, 300], 350)).toEqual([
      {
        numel: 500,
        slots: [
          { index: 2, offset: 0 },
          { index: 1, offset: 300 },
        ],
      },
      { numel: 100, slots: [{ index: 0, offset: 0 }] },
    ]);
  });

  it('makes one bucket of what fits, one each of what is larger, and none of nothing', () => {
    expect(planBuckets([1, 2, 3], 1000)).toHaveLength(1);
    expect(planBuckets([10, 10], 1).map(({ numel }) => numel)).toEqual([10, 10]);
    expect(planBuckets([], 10)).toEqual([]);
  });

  it('places every parameter once, without gaps', () => {
    const numels = Array.from({ length: 50 }, (_, i) => 1 + ((i * 31) % 17));
    const buckets = planBuckets(numels, 40);
    expect(buckets.flatMap(({ slots }) => slots.map(({ index }) => index))).toEqual(numels.map((_, i) => 49 - i));
    for (const { numel, slots } of buckets) {
      let end = 0;
      for (const { index, offset } of slots) {
        expect(offset).toBe(end);
        end += numels[index] ?? 0;
      }
      expect(numel).toBe(end);
    }
  });
});
