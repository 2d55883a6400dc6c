import { type AnyTensor, backward, cat, crossAttention, scope, selfAttention, slice, type Tensor, tensor, to } from '@megatron-ts/tensor';
import { expectBitwise, expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';

const wave = (shape: readonly number[], phase: number): Float32Array =>
  Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, (_, i) => Math.sin(1.3 * i + phase));
const leaf = (shape: readonly number[], phase: number, dtype: 'f32' | 'bf16' = 'f32'): Tensor =>
  tensor(wave(shape, phase), shape, { dtype, requiresGrad: true }) as Tensor;
const values = (x: AnyTensor | null | undefined): Float32Array => x?.toArray() as Float32Array;
const ints = (data: readonly number[], shape: readonly number[]): AnyTensor => tensor(Int32Array.from(data), shape);

/** The result, and the gradients of the leaves, for a weighted sum of the result. */
function run(leaves: readonly AnyTensor[], f: () => AnyTensor): Float32Array[] {
  const out = f();
  backward([out], [to(tensor(wave(out.shape, 7), out.shape), out.dtype)]);
  return [out, ...leaves.map(({ grad }) => grad)].map(values);
}

const [s, b, a, g, d] = [20, 2, 4, 2, 3];

describe('grouped heads', () => {
  it('give what heads of their own give whose keys and values are copies, and the sum of their gradients', () => {
    scope(() => {
      const qkv = leaf([s, b, (a + 2 * g) * d], 1);
      const [out, grad] = run([qkv], () => selfAttention(qkv, { numHeads: a, numKeyValueHeads: g, causal: true }));
      const heads = (from: number, count: number) => slice(qkv, 2, { start: from * d, end: (from + count) * d });
      const twice = (from: number) => [0, 1].flatMap((key) => [heads(from + key, 1), heads(from + key, 1)]);
      qkv.zeroGrad();
      const [copied, copiedGrad] = run([qkv], () =>
        selfAttention(cat([heads(0, a), ...twice(a), ...twice(a + g)], 2), { numHeads: a, causal: true }),
      );
      expectBitwise(out ?? [], copied ?? []);
      expectRelativeL2(grad ?? [], copiedGrad ?? [], { limit: 1e-6, because: 'the gradients of a key head are added in another order' });
    });
  });

  it('are refused where they do not share evenly, or fit no width', () => {
    scope(() => {
      const qkv = leaf([s, b, 24], 1);
      expect(() => selfAttention(qkv, { numHeads: 4, numKeyValueHeads: 3, causal: true })).toThrow(
        'selfAttention: numKeyValueHeads 3 does not divide numHeads 4. Use a divisor of 4.',
      );
      expect(() => selfAttention(qkv, { numHeads: 4, numKeyValueHeads: 0, causal: true })).toThrow(
        'selfAttention: numKeyValueHeads is 0. Use a whole number of at least 1.',
      );
      expect(() => selfAttention(qkv, { numHeads: 1.5, causal: true })).toThrow(
        'selfAttention: numHeads is 1.5. Use a whole number of at least 1.',
      );
      expect(() => selfAttention(leaf([s, b, 20], 1), { numHeads: 4, numKeyValueHeads: 2, causal: true })).toThrow(
        'selfAttention: qkv [20, 2, 20] is not [s, b, (4 + 2 · 2) heads · d]. The last extent must be a multiple of 8.',
      );
    });
  });
});

describe('segments', () => {
  it('make a packed row of documents what each of them is alone', () => {
    scope(() => {
      const qkv = leaf([192, 1, 24], 1);
      const segments = ints(
        Array.from({ length: 192 }, (_, i) => (i < 96 ? 5 : 9)),
        [192, 1],
      );
      const [out, grad] = run([qkv], () => selfAttention(qkv, { numHeads: 2, causal: true, segments }));
      for (const half of [0, 1]) {
        const part = (data: Float32Array | undefined): Float32Array =>
          data?.subarray((half * data.length) / 2, ((half + 1) * data.length) / 2) ?? wave([0], 0);
        const own = tensor(part(values(qkv)), [96, 1, 24], { requiresGrad: true }) as Tensor;
        const alone = selfAttention(own, { numHeads: 2, causal: true });
        backward([alone], [tensor(part(wave([192, 1, 8], 7)), [96, 1, 8])]);
        expectBitwise(part(out), values(alone));
        expectBitwise(part(grad), values(own.grad));
      }
    });
  });

  it('leave padding without a result and without a gradient', () => {
    scope(() => {
      for (const dtype of ['f32', 'bf16'] as const) {
        const qkv = leaf([6, 1, 12], 1, dtype);
        const [out = [], grad = []] = run([qkv], () =>
          selfAttention(qkv, { numHeads: 2, causal: false, segments: ints([0, 0, 0, 0, -1, -1], [6, 1]) }),
        );
        expect([...out.slice(16), ...grad.slice(48)].every((value) => value === 0)).toBe(true);
        expect([...out.slice(0, 16), ...grad.slice(0, 48)].every((value) => Number.isFinite(value) && value !== 0)).toBe(true);
      }
    });
  });

  it('are refused in another shape or dtype', () => {
    scope(() => {
      const attend = (segments: AnyTensor) => () => selfAttention(leaf([4, 2, 12], 1), { numHeads: 2, causal: true, segments });
      expect(attend(ints(Array(8).fill(0), [2, 4]))).toThrow(
        'selfAttention: segments [2, 4] is not [4, 2]. Give one number to each position of each sample.',
      );
      expect(attend(tensor(wave([4, 2], 1), [4, 2]))).toThrow('selfAttention: segments is f32[4, 2], not i32.');
    });
  });
});

describe('crossAttention', () => {
  it('has the bits of selfAttention where both sequences are one', () => {
    scope(() => {
      for (const dtype of ['f32', 'bf16'] as const) {
        const qkv = leaf([s, b, (a + 2 * g) * d], 1, dtype);
        const heads = { numHeads: a, numKeyValueHeads: g };
        const segments = ints(
          Array.from({ length: s * b }, (_, i) => (i % 7) - 1),
          [s, b],
        );
        const bias = leaf([a, s, s], 3);
        const [out, grad, biasGrad] = run([qkv, bias], () => selfAttention(qkv, { ...heads, causal: false, segments, bias }));
        const q = tensor(values(slice(qkv, 2, { start: 0, end: a * d })), [s, b, a * d], { dtype, requiresGrad: true }) as Tensor;
        const kv = tensor(values(slice(qkv, 2, { start: a * d })), [s, b, 2 * g * d], { dtype, requiresGrad: true }) as Tensor;
        bias.zeroGrad();
        const across = run([q, kv, bias], () => crossAttention(q, kv, { ...heads, querySegments: segments, keySegments: segments, bias }));
        expectBitwise(across[0] ?? [], out ?? []);
        expectBitwise(across[3] ?? [], biasGrad ?? []);
        const whole = tensor(grad ?? [], [s, b, (a + 2 * g) * d]);
        expectBitwise(across[1] ?? [], values(slice(whole, 2, { start: 0, end: a * d })));
        expectBitwise(across[2] ?? [], values(slice(whole, 2, { start: a * d })));
      }
    });
  });

  it('sees all keys but those of padding', () => {
    scope(() => {
      const [q, kv] = [leaf([5, 2, 8], 1), leaf([7, 2, 16], 2)];
      const keySegments = ints(
        Array.from({ length: 14 }, (_, i) => (i < 8 ? 0 : -1)),
        [7, 2],
      );
      const padded = crossAttention(q, kv, { numHeads: 2, keySegments });
      expectClose(values(padded), values(crossAttention(q, slice(kv, 0, { start: 0, end: 4 }), { numHeads: 2 })), {
        rtol: 1e-6,
        atol: 1e-6,
        because: 'products of other lengths may be added in another order',
      });
      expect(() => crossAttention(q, kv, { numHeads: 2, querySegments: keySegments })).toThrow(
        'crossAttention: querySegments [7, 2] is not [5, 2]. Give one number to each position of each sample.',
      );
    });
  });

  it('has the same bits over keys that an attention makes again as backward asks', () => {
    const grads = [false, true].map((recompute) =>
      scope(() => {
        const [q, qkv] = [leaf([5, 2, 8], 1), leaf([7, 2, 48], 2)];
        const out = scope(() => {
          const kv = selfAttention(qkv, { numHeads: 4, causal: true, recompute });
          return crossAttention(q, kv, { numHeads: 2 });
        });
        backward([out], [tensor(wave([5, 2, 8], 7), [5, 2, 8])]);
        return [q, qkv].map(({ grad }) => values(grad));
      }),
    );
    grads[0]?.forEach((grad, i) => expectBitwise(grads[1]?.[i] ?? [], grad));
  });

  it('refuses what does not fit', () => {
    scope(() => {
      const q = leaf([5, 2, 8], 1);
      const attend =
        (kv: Tensor, own: object = {}) =>
        () =>
          crossAttention(q, kv, { numHeads: 2, ...own });
      expect(attend(leaf([7, 2, 12], 1))).toThrow(
        'crossAttention: kv [7, 2, 12] is not [sk, b, 2 · 2 heads · d] beside q [5, 2, 8], whose d is 4. Give it a last extent of 16.',
      );
      expect(attend(leaf([7, 3, 16], 1))).toThrow('whose d is 4. Give it the batch of q.');
      expect(() => crossAttention(leaf([5, 2, 7], 1), q, { numHeads: 2 })).toThrow(
        'crossAttention: q [5, 2, 7] is not [s, b, 2 heads · d]. The last extent must be a multiple of 2.',
      );
      expect(attend(leaf([7, 2, 16], 1, 'bf16'))).toThrow('crossAttention: q is f32[5, 2, 8] and kv is bf16[7, 2, 16].');
      const kv = leaf([7, 2, 16], 1);
      expect(attend(kv, { scale: 0 })).toThrow('crossAttention: scale is 0. Use a number above 0, or leave it out for 1 / sqrt(d).');
      expect(attend(kv, { bias: leaf([2, 5, 5], 1) })).toThrow(
        'crossAttention: bias [2, 5, 5] is not [2, 5, 7]. Give one number to each query and key of each head.',
      );
    });
  });
});
