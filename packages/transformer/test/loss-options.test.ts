import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { crossEntropy, evaluate, scope, sum, tensor } from '@megatron-ts/tensor';
import { expectBitwise } from '@megatron-ts/testing';
import { type GPTConfig, GPTModel } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let ctx: ParallelContext;

beforeAll(async () => {
  ctx = await initializeModelParallel();
});
afterAll(() => ctx.destroy());

const tiny: GPTConfig = { vocabSize: 11, maxSequenceLength: 6, hiddenSize: 8, numLayers: 1, numAttentionHeads: 2, initStd: 0.3 };
const options = { labelSmoothing: 0.1, zLoss: 0.01, ignoreIndex: -100 };
const tokens = () => tensor(Int32Array.of(1, 2, 3, 4, 5, 6), [6, 1]);
const targets = () => tensor(Int32Array.of(2, 3, -100, 5, -100, 7), [6, 1]);

describe('losses of a GPT model with options', () => {
  it('are those of crossEntropy, from logits and without them, and the sum says how many tokens it counts', () => {
    const model = new GPTModel({ ...tiny, ...options, ctx }).initialize(ctx);
    evaluate(() => {
      const logits = model.call(tokens()); // [6, 1, 11]
      const losses = model.call(tokens(), targets()); // [6, 1]
      const expected = crossEntropy(logits, targets(), options);
      expectBitwise(losses.toArray() as Float32Array, expected.toArray() as Float32Array);
      expectBitwise(model.losses(logits, targets()).toArray() as Float32Array, expected.toArray() as Float32Array);
      for (const output of [losses, logits]) {
        const loss = model.lossOf(output, targets());
        expect([loss.sum.item(), loss.count]).toEqual([sum(expected).item(), 4]);
      }
    });
    model.dispose();
  });

  it('want targets for a sum, once some may be ignored', () => {
    const model = new GPTModel({ ...tiny, ...options, ctx }).initialize(ctx);
    const lossOf = () => scope(() => model.lossOf(model.call(tokens(), targets())));
    const sentence = 'GPTModel.lossOf: with ignoreIndex -100 the losses alone do not say how many tokens count. Pass the targets as well.';
    expect(lossOf).toThrow(expect.objectContaining({ code: 'MISSING_OPTION', message: sentence }));
    model.dispose();
  });

  it('are refused where the model is made', () => {
    expect(() => new GPTModel({ ...tiny, labelSmoothing: -0.1, ctx })).toThrow('GPTModel: labelSmoothing is -0.1. Use a share from 0 to 1');
    expect(() => new GPTModel({ ...tiny, zLoss: Infinity, ctx })).toThrow('GPTModel: zLoss is Infinity. Use a coefficient of at least 0');
  });
});
