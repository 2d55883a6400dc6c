import { type AnyTensor, backward, scope, tensor } from '@megatron-ts/tensor';
import { expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { inputOf, runCase } from './ops-under-test.ts';
import { type GoldenCase, readGolden } from './read-golden.ts';

/** Half a step of bf16 on either side: both round once, from sums in another order. */
const once = { rtol: 2 ** -7, because: 'PyTorch and the engine each round once to bf16, from f32 sums in another order' };
const often = { limit: 2 ** -6, because: 'probabilities and their gradients are rounded to bf16 inside, by either in its own order' };

/** Numbers beside those of PyTorch. */
function compare(op: string, actual: AnyTensor | undefined, expected: number[]): void {
  const own = (actual as AnyTensor).toArray() as Float32Array;
  if (op === 'selfAttention') {
    expectRelativeL2(own, Float32Array.from(expected), often);
    return;
  }
  const largest = expected.reduce((size, value) => Math.max(size, Math.abs(value)), 0);
  expectClose(own, expected, { ...once, atol: 2 ** -8 * largest });
}

describe('operations on bf16 tensors agree with those of PyTorch', () => {
  it.each(readGolden<GoldenCase[]>('ops-bf16.json').map((golden) => [golden.name, golden] as const))(
    'in values and gradients: %s',
    (_, golden) => {
      scope(() => {
        const inputs = golden.inputs.map((input) => inputOf(input));
        const output = runCase(golden, inputs);
        expect(output).toMatchObject({ shape: golden.output.shape, dtype: 'bf16' });
        compare(golden.op, output, golden.output.data);
        backward([output], [tensor(golden.outputGrad ?? [], output.shape, { dtype: 'bf16' })]);
        golden.inputs.forEach(({ grad }, i) => {
          expect(inputs[i]?.grad?.dtype).toBe('bf16');
          compare(golden.op, inputs[i]?.grad, grad ?? []);
        });
      });
    },
  );
});
