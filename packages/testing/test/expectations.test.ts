import { describe, expect, it } from 'vitest';
import { expectBitwise, expectClose, expectRelativeL2, expectUlp, relativeL2 } from '@megatron-ts/testing';

const because = 'sums run in another order';

describe('expectBitwise', () => {
  it('accepts arrays, typed arrays and tensors that hold the same bits', () => {
    expectBitwise([1, Number.NaN], Float32Array.of(1, Number.NaN));
    expectBitwise({ toArray: () => Float32Array.of(0.5) }, [0.5]);
  });

  it('tells 0 from -0, and counts and locates differences', () => {
    expect(() => expectBitwise([0], [-0])).toThrow('0 is not 0 (bits 0000000000000000 and 8000000000000000)');
    expect(() => expectBitwise([1, 2, 3], [1, 2.5, 9])).toThrow('expectBitwise: 2 of 3 numbers differ. At 2: 3 is not 9');
    expect(() => expectBitwise([1], [1, 2])).toThrow('expectBitwise: 1 numbers were given and 2 expected.');
  });
});

describe('expectUlp', () => {
  const next = new Float32Array(Int32Array.of(0x3f800001).buffer);

  it('counts steps of f32, also across zero', () => {
    expectUlp(1)(next, [1]);
    expectUlp(0)([0], [-0]);
    expectUlp(2)([1.401298464324817e-45], [-1.401298464324817e-45]);
    expect(() => expectUlp(0)(next, [1])).toThrow('is 1 steps from 1');
  });

  it('does not let NaN pass for a number', () => {
    expectUlp(0)([Number.NaN], [Number.NaN]);
    expect(() => expectUlp(1e9)([Number.NaN], [1])).toThrow('NaN is Infinity steps from 1');
  });
});

describe('expectClose', () => {
  it('adds the absolute and the relative tolerance', () => {
    expectClose([101], [100], { rtol: 0.005, atol: 0.5, because });
    expect(() => expectClose([101.1], [100], { rtol: 0.005, atol: 0.5, because })).toThrow(because);
  });

  it('reports NaN and infinities as the worst, and accepts them where they are expected', () => {
    expectClose([Number.NaN, Infinity], [Number.NaN, Infinity], { because });
    expect(() => expectClose([1, Number.NaN, 50], [1, 2, 3], { atol: 1, because })).toThrow('2 of 3 numbers differ. At 1: NaN is not 2');
    expect(() => expectClose([1], [Infinity], { rtol: 1, because })).toThrow('1 is not Infinity');
  });

  it('does not compile without a reason', () => {
    // @ts-expect-error because is missing
    expectClose([1], [1], { rtol: 1 });
  });
});

describe('expectRelativeL2', () => {
  it('measures the distance against what is expected', () => {
    expect(relativeL2([3, 4], [3, 4])).toBe(0);
    expect(relativeL2([0, 0], [3, 4])).toBe(1);
    expectRelativeL2([3, 4.05], [3, 4], { limit: 0.011, because });
    expect(() => expectRelativeL2([3, 4.1], [3, 4], { limit: 0.01, because })).toThrow('the limit 0.01');
    expect(() => expectRelativeL2([Number.NaN], [1], { limit: 1, because })).toThrow('the distance is NaN');
    expect(() => expectRelativeL2([1], [1, 2], { limit: 1, because })).toThrow('1 numbers were given and 2 expected');
  });
});
