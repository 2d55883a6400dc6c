import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { type AnyTensor, crossEntropy, evaluate, type Tensor, tensor, zeros } from '@megatron-ts/tensor';
import { expectBitwise, expectClose, expectRelativeL2 } from '@megatron-ts/testing';
import { describedPlace, ParallelCrossAttention, relativeBucket, RelativePositionBias, T5Model } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let ctx: ParallelContext;
beforeAll(async () => {
  ctx = await initializeModelParallel({ seed: 3 });
});
afterAll(() => ctx.destroy());

const sizes = { vocabSize: 19, hiddenSize: 16, headDim: 6, numLayers: 2, numAttentionHeads: 4 };

function column(...values: number[]): Tensor {
  return tensor(Int32Array.from(values), [values.length, 1]);
}

function floats(x: AnyTensor): Float32Array {
  return x.toArray() as Float32Array;
}

describe('buckets of distances', () => {
  it('are one for each short distance, then wider ones, and one for all from maxDistance on; keys behind have a half of their own', () => {
    const causal = (distance: number) => relativeBucket(distance, { bidirectional: false });
    expect([5, 0, -1, -15, -16, -32, -64, -127, -128, -4000].map(causal)).toEqual([0, 0, 1, 15, 16, 21, 26, 31, 31, 31]);
    const both = (distance: number) => relativeBucket(distance, { bidirectional: true });
    expect([0, -1, -7, -8, -16, -32, -64, -127, -500].map(both)).toEqual([0, 1, 7, 8, 10, 12, 14, 15, 15]);
    expect([1, 7, 8, 16, 64, 500].map(both)).toEqual([17, 23, 24, 26, 30, 31]);
  });

  it('give each head and pair of positions its number of the table', () => {
    const module = new RelativePositionBias({ numAttentionHeads: 2, numBuckets: 4, maxDistance: 4, bidirectional: true, tpGroup: ctx.tp });
    module.initialize(ctx);
    const table = floats(module.weight);
    const bias = evaluate(() => floats(module.call(2, 3)));
    const rows = [0, 2 + 1, 2 + 1, 1, 0, 2 + 1];
    expectBitwise(
      bias,
      [0, 1].flatMap((head) => rows.map((bucket) => table[bucket * 2 + head] ?? Number.NaN)),
    );
    module.dispose();
  });
});

describe('a T5 model', () => {
  it('has the same logits from its two halves as from a call, and a token of the decoder none of those behind it', () => {
    const model = new T5Model({ ctx, ...sizes }).initialize(ctx);
    const logits = (...words: number[]) => evaluate(() => floats(model.logits(column(3, 1, 4, 1, 5), column(0, ...words))));
    const halves = evaluate(() => floats(model.decode(column(0, 9, 2), model.encode(column(3, 1, 4, 1, 5)))));
    expectBitwise(halves, logits(9, 2));
    const seen = 2 * sizes.vocabSize;
    expectBitwise(logits(9, 7).subarray(0, seen), logits(9, 2).subarray(0, seen));
    expect(logits(9, 7).subarray(seen)).not.toEqual(logits(9, 2).subarray(seen));
    model.dispose();
  });

  it('has the losses of crossEntropy with its options, from logits and without them, and all but equal gradients', () => {
    const options = { labelSmoothing: 0.1, zLoss: 0.01, ignoreIndex: -1 };
    const stepOf = (isFused: boolean) => {
      const model = new T5Model({ ctx, ...sizes, ...options }).initialize(ctx);
      const [read, written, targets] = [column(3, 1, 4, 1, 5), column(0, 9, 2, 7), column(9, -1, 7, 1)];
      const found = ctx.step(0, () => {
        const logits = model.call(read, written); // [4, 1, 19]
        const losses: Tensor = isFused ? model.call(read, written, { targets }) : model.losses(logits, targets); // [4, 1]
        expectBitwise(floats(losses), floats(crossEntropy(logits, targets, options)));
        const { sum, count } = model.lossOf(isFused ? losses : logits, targets);
        expect(count).toBe(3);
        sum.backward();
        return { loss: sum.item(), grads: model.parameters().map(({ grad }) => floats(grad as AnyTensor)) };
      });
      model.dispose();
      return found;
    };
    const [fused, plain] = [stepOf(true), stepOf(false)];
    expect(fused.loss).toBe(plain.loss);
    const because = 'the gradient of the head is a sum over chunks of tokens';
    fused.grads.forEach((grad, i) => expectRelativeL2(grad, plain.grads[i] ?? [], { limit: 1e-6, because }));
    expect(() => new T5Model({ ctx, ...sizes, zLoss: -1 })).toThrow('T5Model: zLoss is -1. Use a coefficient of at least 0');
  });

  it('has, stored in bf16, losses close to those in f32', () => {
    const losses = (paramDType: 'f32' | 'bf16') => {
      const model = new T5Model({ ctx, ...sizes, paramDType, activation: 'geglu' }).initialize(ctx);
      const found = ctx.step(0, () => {
        const own = model.losses(model.call(column(3, 1, 4, 1, 5), column(0, 9, 2)), column(9, 2, 1));
        own.sum().backward();
        return floats(own);
      });
      for (const { grad } of model.parameters()) expect(grad?.dtype).toBe('f32');
      model.dispose();
      return found;
    };
    expectClose(losses('bf16'), losses('f32'), { atol: 0.1, because: 'bf16 has 8 bits' });
  });

  it('refuses sizes and tokens that do not fit, in one sentence each', () => {
    const build =
      (change: object, place = {}) =>
      () =>
        new T5Model({ ctx: describedPlace(place), ...sizes, ...change });
    const three = build({ numLayers: 1 }, { pipelineModelParallelSize: 3 });
    expect(three).toThrow(
      'T5Model: numLayers 1 and numDecoderLayers 1 are 2 layers, which do not divide by pipelineModelParallelSize 3. Make them a multiple of 3',
    );
    const chunks = { pipelineModelParallelSize: 2, virtualPipelineModelParallelSize: 2 };
    expect(build({}, chunks)).toThrow('T5Model: stages of 2 chunks would each need a copy of the biases of distances. Use one chunk to a');
    const stage = build({}, { pipelineModelParallelSize: 2 })();
    const part = 'this stage holds a part of the model. Call the model itself, or use pipelineModelParallelSize 1.';
    expect(() => stage.encode(column(1))).toThrow(`T5Model.encode: ${part}`);
    expect(() => stage.decode(column(1), zeros([1, 1, 16]))).toThrow(`T5Model.decode: ${part}`);
    expect(() => stage.activationShape([5, 1])).toThrow(
      /T5Model\.activationShape: .* Give runSchedule an activationShape that passes it as well/,
    );
    expect(stage.activationShape([5, 2], [3, 2])).toEqual([8, 2, 16]);
    expect(build({}, { tensorModelParallelSize: 8 })).toThrow(/numAttentionHeads 4 is not divisible by tensorModelParallelSize 8\./);
    expect(build({ headDim: undefined, numAttentionHeads: 3 })).toThrow('T5Model: hiddenSize 16 is not divisible by numAttentionHeads 3.');
    expect(build({ numBuckets: 6 })).toThrow('RelativePositionBias: numBuckets is 6. Use a multiple of 4, such as 32.');
    expect(build({ maxDistance: 8 })).toThrow(/maxDistance is 8, but 8 distances have buckets of their own\. Use a number above 8\./);
    expect(build({ initFactor: -1 })).toThrow('T5Model: initFactor is -1. Use a number of at least 0.');
    expect(build({ numLayers: 0 })).toThrow('T5Model: numLayers is 0. Use a whole number of at least 1.');
    const model = new T5Model({ ctx, ...sizes }).initialize(ctx);
    const run =
      (tokens: Tensor, inputs = {}) =>
      () =>
        evaluate(() => model.call(column(1, 2, 3), tokens, inputs).shape);
    const twoSamples = tensor(Int32Array.of(0, 0, 1, 2), [2, 2]);
    expect(run(twoSamples)).toThrow(
      /decoderTokens \[2, 2\] are not \[s, b\] with the encoder's batch 1\. Give both stacks the same samples/,
    );
    expect(run(column(0, 1), { segments: column(0) })).toThrow(/segments \[1, 1\] is not \[3, 1\]\. Give one number to each position/);
    expect(run(column(0, 1), { decoderSegments: column(0) })).toThrow(
      /segments \[1, 1\] is not \[2, 1\]\. Give one number to each position/,
    );
    expect(run(column(0, 19))).toThrow(/token 19/);
    model.dispose();
  });
});

describe('a cross attention', () => {
  it('refuses sizes, and sequences that do not fit, in one sentence each', () => {
    const options = { hiddenSize: 8, memorySize: 12, numAttentionHeads: 2, tpGroup: ctx.tp };
    const build = (change: object) => () => new ParallelCrossAttention({ ...options, ...change });
    expect(build({ numAttentionHeads: 3 })).toThrow('ParallelCrossAttention: hiddenSize 8 is not divisible by numAttentionHeads 3.');
    expect(build({ memorySize: 0 })).toThrow('ParallelCrossAttention: memorySize is 0. Use a whole number of at least 1.');
    expect(build({ attentionDropout: 1 })).toThrow(/attentionDropout is 1/);
    const module = new ParallelCrossAttention(options).initialize(ctx);
    const run = (memory: number[]) => () => evaluate(() => module.call(zeros([3, 2, 8]), zeros(memory)).shape);
    expect(run([5, 2, 12])()).toEqual([3, 2, 8]);
    expect(run([5, 2, 8])).toThrow(/x \[5, 2, 8\] and weight \[16, 12\] do not fit/);
    expect(run([5, 1, 12])).toThrow(/kv \[5, 1, 16\] is not \[sk, b, 2 · 2 heads · d\] .* Give it the batch of q\./);
    module.dispose();
  });
});
