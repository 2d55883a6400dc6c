import { backward, scope, tensor } from '@megatron-ts/tensor';
import { gradCheck } from '@megatron-ts/testing';
import { describe, expect, it } from 'vitest';
import { inputOf, runCase } from './ops-under-test.ts';
import { caseFiles, type GoldenCase, readGolden } from './read-golden.ts';

// Computed in f32 alone; the others also take f64.
const singleOnly = new Set([
  'addLayerNorm',
  'addRmsNorm',
  'biasAdd',
  'biasGeglu',
  'biasGelu',
  'biasSwiglu',
  'crossAttention',
  'crossEntropy',
  'embedding',
  'layerNorm',
  'linear',
  'matmul',
  'rmsNorm',
  'rotaryEmbedding',
  'selfAttention',
  'shardedLinearCrossEntropy',
]);

/** Cases without kinks: where two elements tie, or at the corner of abs, the difference is not the gradient. Rounding has none. */
function isSmooth({ op, inputs, outputGrad }: GoldenCase): boolean {
  if (outputGrad === undefined || op === 'to') return false;
  return (
    inputs.every(({ data }) => data.some((value) => !Number.isInteger(value)) || data.length === 0)
    || singleOnly.has(op)
    || op === 'gather'
    || op === 'where'
  );
}

/** Large cases add nothing here. */
function isSmall({ inputs }: GoldenCase): boolean {
  return inputs.every(({ data }) => data.length <= 200);
}

const families = caseFiles.map((file) => ({
  file,
  cases: readGolden<GoldenCase[]>(file).filter((golden) => isSmooth(golden) && isSmall(golden)),
}));

describe.each(families)('$file', ({ cases }) => {
  it.each(cases.map((golden) => [golden.name, golden] as const))('has the gradients of central differences: %s', (_, golden) => {
    scope(() => {
      const wide = !singleOnly.has(golden.op);
      const inputs = golden.inputs.map((input) => inputOf(input, wide));
      const { checked } = gradCheck((...leaves) => runCase(golden, leaves), inputs, wide ? {} : { eps: 2e-2, rtol: 1e-2, atol: 1e-2 });
      expect(checked).toBe(golden.inputs.reduce((sum, { dtype, data }) => sum + (dtype === 'f32' ? data.length : 0), 0));
    });
  });
});

describe('gradCheck', () => {
  it('names the input and the element whose gradient is wrong', () => {
    scope(() => {
      const x = tensor([1, 2, 3], [3], { requiresGrad: true });
      expect(() => gradCheck((v) => v.mul(v.detach()), [x])).toThrow(
        /^gradCheck: input 0 f32\[3\], element \d: backward gives .*, the central difference is .*\. Look at the gradient/,
      );
    });
  });

  it('leaves its inputs and their gradients as they are', () => {
    scope(() => {
      const x = tensor([1, 2, 3], [3], { requiresGrad: true });
      backward([x.square().sum()]);
      const { maxError, checked } = gradCheck((v) => v.square(), [x]);
      expect(maxError).toBeLessThan(1e-3);
      expect(checked).toBe(3);
      expect([...(x.toArray() as Float32Array)]).toEqual([1, 2, 3]);
      expect([...((x.grad?.toArray() as Float32Array | undefined) ?? [])]).toEqual([2, 4, 6]);
    });
  });

  it('refuses bf16 with the remedy', () => {
    scope(() => {
      expect(() => gradCheck((v) => v, [tensor([1], [1], { dtype: 'bf16' })])).toThrow(
        'gradCheck: an input is bf16[1]. Check in f32 or f64.',
      );
    });
  });
});
