import { Adam } from '@megatron-ts/optimizer';
import { initializeModelParallel } from '@megatron-ts/process-groups';
import { memoryStats, sum, type Tensor, tensor } from '@megatron-ts/tensor';
import { expectBitwise, expectClose } from '@megatron-ts/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GPTModel, type GPTConfig } from '../src/index.ts';

const sizes = { vocabSize: 97, maxSequenceLength: 24, hiddenSize: 64, numLayers: 2, numAttentionHeads: 4 };
const [seq, batch, steps] = [24, 4, 20];

/** Walks that a model can learn. */
function batchOf(step: number): { tokens: Tensor; targets: Tensor } {
  const walk = Int32Array.from(
    { length: (seq + 1) * batch },
    (_, i) => (5 * Math.floor(i / batch) + (i % batch) + 11 * step) % sizes.vocabSize,
  );
  return { tokens: tensor(walk.subarray(0, seq * batch), [seq, batch]), targets: tensor(walk.subarray(batch), [seq, batch]) };
}

async function train(config: Partial<GPTConfig>): Promise<number[]> {
  await using ctx = await initializeModelParallel({ seed: 7 });
  const model = new GPTModel({ ctx, ...sizes, ...config }).initialize(ctx);
  const optimizer = new Adam(model.parameters(), { lr: 1e-3, clipGradNorm: 1 });
  const losses = Array.from({ length: steps }, (_, step) =>
    ctx.step(step, () => {
      const { tokens, targets } = batchOf(step);
      const loss = sum(model.call(tokens, targets)).div(seq * batch);
      loss.backward();
      optimizer.step();
      return loss.item();
    }),
  );
  model.dispose();
  optimizer.dispose();
  return losses;
}

/** Bytes of the parameters of a deeper model, and what its tape holds of one forward. */
async function bytesOf(config: Partial<GPTConfig>): Promise<{ readonly parameters: number; readonly activations: number }> {
  await using ctx = await initializeModelParallel({ seed: 7 });
  const before = memoryStats().byCategory;
  const model = new GPTModel({ ctx, ...sizes, numLayers: 6, ...config }).initialize(ctx);
  const activations = ctx.step(0, () => {
    const { tokens, targets } = batchOf(0);
    void model.call(tokens, targets);
    return memoryStats().byCategory.activations.liveBytes - before.activations.liveBytes;
  });
  const parameters = memoryStats().byCategory.parameters.liveBytes - before.parameters.liveBytes;
  model.dispose();
  return { parameters, activations };
}

let exact: number[];
beforeAll(async () => {
  exact = await train({});
});
afterAll(() => {
  expect(memoryStats().byCategory.parameters.liveBytes).toBe(0);
});

const variants = [
  ['layer norms and GELU', {}],
  ['RMS norms, SwiGLU and no biases', { normalization: 'rmsNorm', activation: 'swiglu', bias: false }],
  ['grouped keys, rotations, normed heads, squared ReLU', { numKeyValueHeads: 2, rotary: {}, qkNorm: true, activation: 'squaredRelu' }],
  ['plain GELU without biases, a head of its own, logits held', { bias: false, tieWordEmbeddings: false, fusedLoss: false }],
] as const;

describe('a GPT with bf16 products over f32 storage', () => {
  it.each(variants)('has the losses of f32 within 3e-4 over 20 steps: %s', async (_, config) => {
    const losses = await train({ ...config, computeDType: 'bf16' });
    const expected = Object.keys(config).length === 0 ? exact : await train(config);
    expectClose(losses, expected, { rtol: 3e-4, because: 'operands of products are rounded to 8 bits' });
    expect(losses).not.toEqual(expected);
    expect(losses.at(-1)).toBeLessThan(0.95 * (losses[0] ?? 0));
  });

  it('stores what f32 stores', async () => {
    expect(await bytesOf({ computeDType: 'bf16' })).toEqual(await bytesOf({}));
  });
});

describe('a GPT stored in bf16', () => {
  it.each(variants)('learns as in f32, losses within 2e-3 over 20 steps: %s', async (_, config) => {
    const losses = await train({ ...config, paramDType: 'bf16' });
    const expected = Object.keys(config).length === 0 ? exact : await train(config);
    expectClose(losses, expected, { rtol: 2e-3, because: 'weights and the residual stream are rounded to 8 bits' });
    expect(losses.at(-1)).toBeLessThan(0.95 * (losses[0] ?? 0));
  });

  it('gives the same bits every time', async () => {
    expectBitwise(await train({ paramDType: 'bf16' }), await train({ paramDType: 'bf16' }));
  });

  it('takes half the bytes for parameters, and for what the tape holds', async () => {
    const [narrow, wide] = [await bytesOf({ paramDType: 'bf16' }), await bytesOf({})];
    expect(narrow.parameters / wide.parameters).toBeCloseTo(0.5, 2);
    // Statistics of norms and of softmax, losses and tokens keep their size.
    expect(narrow.activations / wide.activations).toBeLessThan(0.53);
  });

  it('tells the stages of a pipeline what it sends, and refuses other dtypes', async () => {
    await using ctx = await initializeModelParallel();
    expect(new GPTModel({ ctx, ...sizes, paramDType: 'bf16' }).activationDType).toBe('bf16');
    expect(new GPTModel({ ctx, ...sizes }).activationDType).toBe('f32');
    const wrong = { ...sizes, paramDType: 'f16' as never };
    expect(() => new GPTModel({ ctx, ...wrong })).toThrow(/paramDType is "f16"\. Use "f32" or "bf16"\./);
  });
});
