import * as room from '@megatron-ts/tensor';
import {
  type AnyTensor,
  backward,
  crossEntropy,
  evaluate,
  layerNorm,
  matmul,
  scope,
  selfAttention,
  tensor,
  zeros,
} from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';
import {
  binaryValues,
  castValues,
  columnReductions,
  edges,
  rowOperations,
  rowReductions,
  rows,
  unarySlopes,
  unaryValues,
} from './non-finite-values.ts';

const unary = room as unknown as Record<string, (x: AnyTensor) => AnyTensor>;
const binary = room as unknown as Record<string, (a: AnyTensor, b: AnyTensor | number) => AnyTensor>;
const reduce = room as unknown as Record<string, (x: AnyTensor, dims: number) => AnyTensor>;

/** NaN and infinities as they are; other numbers as near as two ways to compute in f32 come. */
function expectSame(found: AnyTensor, expected: readonly number[]): void {
  const values = Array.from(found.toArray() as ArrayLike<number>);
  expect(values).toHaveLength(expected.length);
  const wrong = values.flatMap((value, i) => {
    const want = expected[i] as number;
    const isNear = Number.isFinite(want) && want !== 0 && Math.abs(value - want) <= 1e-5 * Math.abs(want);
    return Object.is(value, want) || (want === 0 && value === 0) || isNear ? [] : [{ at: i, value, want }];
  });
  expect(wrong).toEqual([]);
}

const entries = <T>(table: Readonly<Record<string, T>>) => Object.entries(table);

/** PyTorch's vector code gives NaN where its scalar code and the limit give these. */
const limits: Readonly<Record<string, readonly number[]>> = {
  geluErf: unaryValues.geluErf.map((value, i) => (edges[i] === Number.POSITIVE_INFINITY ? Number.POSITIVE_INFINITY : value)),
};

describe('NaN, infinities and zeros', () => {
  it.each(entries<readonly number[]>(unaryValues))('pass through %s as in PyTorch', (name, expected) => {
    evaluate(() => {
      expectSame(unary[name]?.(tensor(edges)) as AnyTensor, limits[name] ?? expected);
    });
  });

  it.each(entries<readonly number[]>(unarySlopes))('pass through the backward of %s as in PyTorch', (name, expected) => {
    scope(() => {
      const x = tensor(edges, [edges.length], { requiresGrad: true });
      backward([unary[name]?.(x) as AnyTensor], [tensor(edges.map(() => 1))]);
      expectSame(x.grad as AnyTensor, expected);
    });
  });

  it.each(entries<readonly number[]>(binaryValues))('pass through %s as in PyTorch, with tensors and with numbers', (name, expected) => {
    const count = edges.length;
    evaluate(() => {
      const left = tensor(edges.flatMap((edge) => edges.map(() => edge)));
      const right = tensor(edges.flatMap(() => edges));
      expectSame(binary[name]?.(left, right) as AnyTensor, expected);
      edges.forEach((edge, at) => {
        const column = expected.filter((_, i) => i % count === at);
        expectSame(binary[name]?.(tensor(edges), edge) as AnyTensor, column);
      });
    });
  });

  it.each(entries<readonly number[]>(rowReductions))('pass through %s over rows and columns as in PyTorch', (name, expected) => {
    evaluate(() => {
      const x = tensor(rows, [6, 3]);
      expectSame(reduce[name]?.(x, 1) as AnyTensor, expected);
      expectSame(reduce[name]?.(x, 0) as AnyTensor, columnReductions[name as 'sum']);
    });
  });

  it.each(['sum', 'mean', 'max', 'min'])('are found by %s wherever they lie in a long row', (name) => {
    evaluate(() => {
      for (const at of [0, 15, 16, 1000, 69_999]) {
        const values = new Float32Array(70_000).fill(1);
        values[at] = Number.NaN;
        expectSame(reduce[name]?.(tensor(values), 0) as AnyTensor, [Number.NaN]);
      }
    });
  });

  it('pass through layer norm, cross entropy and products as in PyTorch', () => {
    evaluate(() => {
      const x = tensor(rows, [6, 3]);
      expectSame(layerNorm(x, { weight: tensor([1, 2, 3]), bias: tensor([0.5, 0, -0.5]) }), rowOperations.layerNorm);
      expectSame(crossEntropy(x, tensor(new Int32Array(6).fill(1))), rowOperations.crossEntropy);
      expectSame(matmul(x, tensor([1, 0, 0.5, 1, 0, 2], [3, 2])), rowOperations.product);
    });
  });

  it('of one query reach its own result and no other', () => {
    evaluate(() => {
      const qkv = new Float32Array(3 * 12).fill(0.5);
      qkv[12] = Number.NaN; // the query of the second of three positions, one head of four channels
      const out = Array.from(selfAttention(tensor(qkv, [3, 1, 12]), { numHeads: 1, causal: true }).toArray());
      expect(out.map((value) => Number.isNaN(value))).toEqual([...Array(4).fill(false), ...Array(4).fill(true), ...Array(4).fill(false)]);
    });
  });

  it.each(['bf16', 'f16', 'f64'] as const)('pass through %s and back as in PyTorch', (dtype) => {
    evaluate(() => {
      expectSame(tensor(edges).to(dtype).to('f32'), castValues[dtype].map(Math.fround));
    });
  });

  it('keep the signs of zeros', () => {
    evaluate(() => {
      const signs = (x: AnyTensor) => Array.from(x.to('f32').toArray(), (value) => Object.is(value, -0));
      const mixed = tensor([0, -0]);
      expect(signs(mixed.neg())).toEqual([true, false]);
      expect(signs(mixed.abs())).toEqual([false, false]);
      expect(signs(mixed.sqrt())).toEqual([false, true]);
      expect(signs(mixed.mul(-1))).toEqual([true, false]);
      expect(signs(mixed.to('bf16'))).toEqual([false, true]);
      expect(signs(mixed.add(zeros([2])))).toEqual([false, false]);
    });
  });
});
