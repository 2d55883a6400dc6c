import { initializeModelParallel } from '@megatron-ts/process-groups';
import { type AnyTensor, gelu, geluErf, linear, relu, scope, square, sum, tensor } from '@megatron-ts/tensor';
import { expectRelativeL2 } from '@megatron-ts/testing';
import { type Activation, ParallelMLP } from '@megatron-ts/transformer';
import { describe, expect, it } from 'vitest';
import { numbers } from '../../tensor-parallel/test/ranks/observe.ts';

const because = 'fused kernels round in another order';

const formulae: readonly (readonly [Activation, (x: AnyTensor) => AnyTensor])[] = [
  ['gelu', gelu],
  ['geluErf', geluErf],
  ['relu', relu],
  ['squaredRelu', (x) => square(relu(x))],
];

describe('an MLP', () => {
  it.each(formulae)('has %s between its layers, with and without biases, and its gradients', async (activation, f) => {
    await using ctx = await initializeModelParallel({ seed: 5 });
    for (const bias of [true, false])
      scope(() => {
        const init = { kind: 'normal', std: 0.4 } as const;
        const mlp = new ParallelMLP({ hiddenSize: 6, ffnHiddenSize: 10, activation, bias, init, tpGroup: ctx.tp }).initialize(ctx);
        const outcomes = ['layer', 'formula'].map((way) => {
          const x = tensor(numbers(3 * 2 * 6, 1), [3, 2, 6], { requiresGrad: true });
          const { up, down } = mlp;
          const y = way === 'layer' ? mlp.call(x) : linear(f(linear(x, up.weight, up.bias)), down.weight as AnyTensor, down.bias);
          sum(square(y)).backward();
          const gradients = [x.grad, ...mlp.parameters().map(({ grad }) => grad)].map((grad) => grad?.toArray() as Float32Array);
          for (const parameter of mlp.parameters()) parameter.zeroGrad();
          return [y.toArray() as Float32Array, ...gradients];
        });
        const [own, twin] = outcomes as [Float32Array[], Float32Array[]];
        expect(own).toHaveLength(bias ? 6 : 4);
        own.forEach((values, i) => expectRelativeL2(values, twin[i] as Float32Array, { limit: 1e-6, because }));
      });
  });
});
