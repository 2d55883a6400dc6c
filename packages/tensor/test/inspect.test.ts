import { inspect } from 'node:util';
import { type AnyTensor, Module, Parameter, scope, type Tensor, tensor } from '@megatron-ts/tensor';
import { describe, expect, it } from 'vitest';

const context = { seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };
const shown = (make: () => AnyTensor) => scope(() => inspect(make()));

describe('console.log of a tensor', () => {
  it.each([
    ['a few values', () => tensor([1, 2.5, -3], [3]), 'Tensor f32 [3] 1, 2.5, -3 (min -3, max 2.5, mean 0.16667)'],
    [
      'the first of many values',
      () =>
        tensor(
          Float32Array.from({ length: 100 }, (_, i) => i),
          [10, 10],
        ),
      'Tensor f32 [10, 10] 0, 1, 2, 3, 4, 5, … (min 0, max 99, mean 49.5)',
    ],
    ['a scalar', () => tensor([7], []), 'Tensor f32 [] 7 (min 7, max 7, mean 7)'],
    [
      'small and large numbers',
      () => tensor([1e-10, 2.5e20]),
      'Tensor f32 [2] 1e-10, 250000000000000000000 (min 1e-10, max 250000000000000000000, mean 125000000000000000000)',
    ],
    ['NaN with its count', () => tensor([Number.NaN, 1, Number.NaN]), 'Tensor f32 [3] NaN, 1, NaN (min 1, max 1, mean 1, 2 NaN)'],
    ['integers without statistics', () => tensor(BigInt64Array.of(1n, -2n)), 'Tensor i64 [2] 1, -2'],
    ['bf16 by value', () => tensor([1, 0.5], [2], { dtype: 'bf16' }), 'Tensor bf16 [2] 1, 0.5 (min 0.5, max 1, mean 0.75)'],
    ['nothing', () => tensor([], [0, 3]), 'Tensor f32 [0, 3]'],
  ])('shows %s', (_, make, text) => expect(shown(make).trimEnd()).toBe(text));

  it('shows where a value lives when it is not whole', () => {
    scope(() => {
      const weight = new Parameter({ shape: [2], placement: 'hidden sharded over tp' });
      weight.initialize('w', context);
      expect(inspect(weight)).toBe('Parameter f32 [2] (hidden sharded over tp) 0, 0 (min 0, max 0, mean 0)');
      weight.dispose();
    });
  });

  it('shows that a tensor is disposed, and a parameter not yet initialized', () => {
    const x = tensor([1]);
    x.dispose();
    expect(inspect(x)).toBe('Tensor f32 [1] disposed');
    expect(String(x)).toBe('Tensor f32 [1] disposed');
    expect(inspect(new Parameter({ shape: [4, 2] }))).toBe('Parameter f32 [4, 2] not initialized');
  });

  it('does not fail on a model before initialize', () => {
    class Own extends Module {
      readonly weight = new Parameter({ shape: [2] });
      forward(x: Tensor): Tensor {
        return x.mul(this.weight);
      }
    }
    expect(inspect(new Own())).toContain('Parameter f32 [2] not initialized');
  });
});
