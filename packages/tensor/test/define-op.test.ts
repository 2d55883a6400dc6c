import {
  type AnyTensor,
  defineOp,
  memoryStats,
  Module,
  Parameter,
  type PartialSum,
  scope,
  Tape,
  tensor,
  Tensor,
  withChecking,
} from '@megatron-ts/tensor';
import { describe, expect, expectTypeOf, it } from 'vitest';

const context = { seed: 1, device: 'cpu', coordinates: () => ({ size: 1, rank: 0 }) };
const numbers = (x: AnyTensor | undefined) => (x === undefined ? undefined : [...(x.toArray() as Float32Array)]);
const leaf = (values: number[], shape = [values.length]) => tensor(values, shape, { requiresGrad: true });

const scaled = defineOp({
  name: 'scaled',
  forward: (x: Tensor, factor: number) => ({ output: x.mul(factor), saved: { factor } }),
  backward: (grad, { factor }) => [grad.mul(factor), null],
});

describe('defineOp', () => {
  it('infers arguments, output, saved and gradients', () => {
    expectTypeOf(scaled).parameters.toEqualTypeOf<[x: Tensor, factor: number]>();
    expectTypeOf(scaled).returns.toEqualTypeOf<Tensor>();
    const pair = defineOp({
      name: 'pair',
      forward: (x: Tensor, y?: Tensor) => ({ output: [x.mul(1), x.mul(2)] as const, saved: y }),
      backward: ([first, second], saved) => {
        expectTypeOf(first).toEqualTypeOf<Tensor>();
        expectTypeOf(saved).toEqualTypeOf<Tensor | undefined>();
        return [first.add(second), null];
      },
    });
    expectTypeOf(pair).returns.toEqualTypeOf<readonly [Tensor, Tensor]>();
    defineOp({
      name: 'short',
      forward: (x: Tensor, y: Tensor) => ({ output: x.mul(y), saved: undefined }),
      // @ts-expect-error -- one gradient for two arguments
      backward: (grad: Tensor) => [grad],
    });
  });

  it('runs the own backward, with null for what has no gradient', () => {
    scope(() => {
      const x = leaf([1, 2]);
      const y = scaled(x, 3);
      expect(numbers(y)).toEqual([3, 6]);
      y.square().sum().backward();
      expect(numbers(x.grad)).toEqual([18, 36]);
    });
  });

  it('records one node: what forward does inside is not differentiated', () => {
    scope(() => {
      const lying = defineOp({
        name: 'lying',
        forward: (x: Tensor) => ({ output: x.square(), saved: undefined }),
        backward: (grad) => [grad.mul(100)],
      });
      const x = leaf([1, 2]);
      lying(x).sum().backward();
      expect(numbers(x.grad)).toEqual([100, 100]);
    });
  });

  it('gives a tuple of outputs a gradient each, zeros for those that are not used', () => {
    scope(() => {
      const split = defineOp({
        name: 'split',
        forward: (x: Tensor) => ({ output: [x.slice(0, 0, 1), x.slice(0, 1)] as const, saved: undefined }),
        backward: ([head, tail]) => {
          expect(head.shape).toEqual([1]);
          expect(numbers(head)).toEqual([0]);
          return [tail.sum().expand([3])];
        },
      });
      const x = leaf([1, 2, 3]);
      const [head, tail] = split(x);
      expect(numbers(head)).toEqual([1]);
      tail
        .mul(tensor([5, 7]))
        .sum()
        .backward();
      expect(numbers(x.grad)).toEqual([12, 12, 12]);
    });
  });

  it('holds what is saved until backward, and gives it up then', () => {
    const before = memoryStats().liveHandles;
    scope(() => {
      const holding = defineOp({
        name: 'holding',
        forward: (x: Tensor) => {
          const own = x.exp();
          return { output: own.mul(1), saved: { deep: [own] } };
        },
        backward: (grad, { deep: [own] }) => [grad.mul(own as Tensor)],
      });
      const x = leaf([0, 1]);
      const y = scope(() => holding(x).sum());
      y.backward();
      expect(numbers(x.grad)?.[1]).toBeCloseTo(Math.E, 5);
    });
    expect(memoryStats().liveHandles).toBe(before);
  });

  it('puts backwardWeight off on a tape that defers weight gradients', () => {
    scope(() => {
      const w = new Parameter({ shape: [1], init: { kind: 'ones' } });
      w.initialize('w', context);
      const order: string[] = [];
      const weighted = defineOp({
        name: 'weighted',
        forward: (x: Tensor, weight: Parameter) => ({ output: x.mul(weight), saved: { x, weight } }),
        backward: (grad, { weight }) => (order.push('input'), [grad.mul(weight), null]),
        backwardWeight: (grad, { x, weight }) => {
          order.push('weight');
          weight.accumulateGrad(grad.mul(x).sum(0, { keepDims: true }));
        },
      });
      const tape = new Tape();
      tape.deferWeightGradients = true;
      const x = leaf([2, 3]);
      tape.run(() => weighted(x, w).sum()).backward();
      expect(order).toEqual(['input']);
      tape.runWeightGradients();
      expect(order).toEqual(['input', 'weight']);
      expect(numbers(w.grad)).toEqual([5]);
      weighted(x, w).sum().backward();
      expect(order).toEqual(['input', 'weight', 'input', 'weight']);
      expect(numbers(w.grad)).toEqual([10]);
      w.dispose();
    });
  });

  it('makes an output of its own when forward returns an argument', () => {
    scope(() => {
      const same = defineOp({ name: 'same', forward: (x: Tensor) => ({ output: x, saved: undefined }), backward: (grad) => [grad.mul(2)] });
      const x = leaf([1, 2]);
      const y = same(same(x));
      expect(y).not.toBe(x);
      y.sum().backward();
      expect(numbers(x.grad)).toEqual([4, 4]);
      expect(x.node).toBeUndefined();
    });
  });

  it('gives the output the placement it was told', () => {
    scope(() => {
      const summand = defineOp({
        name: 'summand',
        forward: (x: Tensor) => ({ output: x.mul(1) as AnyTensor as Tensor<PartialSum<'tp'>>, saved: undefined }),
        backward: (grad) => [grad],
        placement: () => 'partial sum over tp',
      });
      const y = summand(leaf([1]));
      expect(y.placement).toBe('partial sum over tp');
      expectTypeOf(y).toEqualTypeOf<Tensor<'partial sum over tp'>>();
    });
  });

  it('names the operation and its module when backward returns the wrong number of gradients', () => {
    const wrong = defineOp({
      name: 'wrong',
      forward: (x: Tensor, y: Tensor) => ({ output: x.mul(y), saved: undefined }),
      backward: ((grad: Tensor) => [grad]) as unknown as (grad: Tensor) => [Tensor, Tensor],
    });
    class Holder extends Module {
      forward(x: Tensor): Tensor {
        return wrong(x, x);
      }
    }
    scope(() => {
      const y = new Holder()
        .initialize(context)
        .call(leaf([1]))
        .sum();
      expect(() => y.backward()).toThrow(
        'backward of wrong in Holder: backward returned 1 gradients for 2 arguments. Return one, or null, for each.',
      );
    });
  });

  it('names the operation when a gradient has the wrong shape, and the operation inside that failed', () => {
    const misshapen = defineOp({
      name: 'misshapen',
      forward: (x: Tensor) => ({ output: x.mul(1), saved: undefined }),
      backward: (grad) => [grad.reshape([3, 1])],
    });
    const failing = defineOp({
      name: 'failing',
      forward: (x: Tensor) => ({ output: x.mul(1), saved: undefined }),
      backward: (grad) => [grad.add(tensor([1, 2]))],
    });
    scope(() => {
      expect(() =>
        misshapen(leaf([1, 2, 3]))
          .sum()
          .backward(),
      ).toThrow(/^backward of misshapen: a gradient of shape \[3, 1\] for a tensor of shape \[3\]\./);
      expect(() =>
        failing(leaf([1, 2, 3]))
          .sum()
          .backward(),
      ).toThrow(/^backward of failing, add: shapes \[3\] and \[2\] differ/);
    });
  });

  it('names the forward line as well under MEGATRON_CHECK', () => {
    const failing = defineOp({
      name: 'failing',
      forward: (x: Tensor) => ({ output: x.mul(1), saved: undefined }),
      backward: (grad) => [grad.log().mul(0)],
    });
    scope(() =>
      withChecking(true, () => {
        const y = failing(leaf([1]))
          .mul(-1)
          .sum();
        expect(() => y.backward()).toThrow(/^backward of failing \(forward at .*define-op\.test\.ts:\d+:\d+\), log: 1 of the 1 values/);
      }),
    );
  });
});
