import { Adam } from '@megatron-ts/optimizer';
import { initializeModelParallel } from '@megatron-ts/process-groups';
import { Parameter, sum, type Tensor, tensor } from '@megatron-ts/tensor';
import { expectBitwise, expectClose } from '@megatron-ts/testing';
import { describe, expect, it, vi } from 'vitest';
import { GPTModel, type GPTConfig } from '../src/index.ts';
import { plainLosses } from './plain-twin.ts';

const sizes = { vocabSize: 97, maxSequenceLength: 24, hiddenSize: 32, numLayers: 2, numAttentionHeads: 4 };
const [seq, batch, steps] = [24, 3, 20];

/** Walks that a model can learn. */
function batchOf(step: number): { tokens: Tensor; targets: Tensor } {
  const walk = Int32Array.from(
    { length: (seq + 1) * batch },
    (_, i) => (5 * Math.floor(i / batch) + (i % batch) + 11 * step) % sizes.vocabSize,
  );
  return { tokens: tensor(walk.subarray(0, seq * batch), [seq, batch]), targets: tensor(walk.subarray(batch), [seq, batch]) };
}

type Losses = (model: GPTModel, tokens: Tensor, targets: Tensor) => Tensor;
const fused: Losses = (model, tokens, targets) => model.call(tokens, targets);
const plain: Losses = (model, tokens, targets) => plainLosses(model, { tokens, targets, numHeads: sizes.numAttentionHeads });

async function train(config: Partial<GPTConfig>, losses: Losses): Promise<number[]> {
  await using ctx = await initializeModelParallel({ seed: 7 });
  const model = new GPTModel({ ctx, ...sizes, ...config }).initialize(ctx);
  const optimizer = new Adam(model.parameters(), { lr: 3e-3, clipGradNorm: 1 });
  const curve = Array.from({ length: steps }, (_, step) =>
    ctx.step(step, () => {
      const { tokens, targets } = batchOf(step);
      const loss = sum(losses(model, tokens, targets)).div(seq * batch);
      loss.backward();
      optimizer.step();
      return loss.item();
    }),
  );
  model.dispose();
  optimizer.dispose();
  return curve;
}

describe('a GPT of fused operations', () => {
  it.each([
    ['layer norms and GELU', {}],
    ['layer norms and GELU without biases', { bias: false }],
    ['RMS norms and SwiGLU', { normalization: 'rmsNorm', activation: 'swiglu', ffnHiddenSize: 48 }],
    ['a head of its own', { tieWordEmbeddings: false }],
  ] as const)('has the losses of its plain twin over 20 steps: %s', async (_, config) => {
    const [own, twin] = [await train(config, fused), await train(config, plain)];
    expectClose(own, twin, { rtol: 1e-5, because: 'gradients of biases and of the head are summed in another order' });
    expect(own.at(-1) ?? 0).toBeLessThan(0.8 * (own[0] ?? 0));
  });

  it('has the bits of the loss over whole logits in its first step, and close ones later', async () => {
    const [own, twin] = [await train({}, fused), await train({ fusedLoss: false }, fused)];
    expectBitwise(own.slice(0, 1), twin.slice(0, 1));
    expectClose(own, twin, { rtol: 1e-5, because: 'the gradient of the head is a sum over chunks' });
  });

  it('writes every gradient straight where it belongs: none is copied or added, but that of the tied head', async () => {
    await using ctx = await initializeModelParallel({ seed: 7 });
    for (const config of [{}, { normalization: 'rmsNorm', activation: 'swiglu' }] as const) {
      const model = new GPTModel({ ctx, ...sizes, ...config }).initialize(ctx);
      const optimizer = new Adam(model.parameters(), { lr: 1e-3 });
      const copied = vi.spyOn(Parameter.prototype, 'accumulateGrad');
      ctx.step(0, () => {
        const { tokens, targets } = batchOf(0);
        for (let microbatch = 0; microbatch < 2; microbatch++) sum(model.call(tokens, targets)).backward();
        expect(copied).not.toHaveBeenCalled();
        optimizer.step();
      });
      expect(copied.mock.contexts.map((parameter) => (parameter as Parameter).name)).toEqual(['embedding.wordEmbeddings.weight']);
      copied.mockRestore();
      model.dispose();
      optimizer.dispose();
    }
  });
});
