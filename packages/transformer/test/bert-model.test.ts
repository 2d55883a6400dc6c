import { initializeModelParallel, type ParallelContext } from '@megatron-ts/process-groups';
import { crossEntropy, evaluate, type Tensor, tensor } from '@megatron-ts/tensor';
import { expectBitwise, expectClose } from '@megatron-ts/testing';
import { type BertConfig, BertModel, describedPlace } from '@megatron-ts/transformer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let ctx: ParallelContext;
beforeAll(async () => {
  ctx = await initializeModelParallel({ seed: 4 });
});
afterAll(() => ctx.destroy());

const sizes: BertConfig = { vocabSize: 13, maxSequenceLength: 4, hiddenSize: 8, numLayers: 1, numAttentionHeads: 2, initStd: 0.3 };
const both: BertConfig = { ...sizes, addBinaryHead: true };

function column(...values: number[]): Tensor {
  return tensor(Int32Array.from(values), [values.length, 1]);
}

/** Rows of samples side by side: `[s, b]`. */
function beside(...samples: readonly (readonly number[])[]): Tensor {
  const [first = []] = samples;
  return tensor(Int32Array.from(first.flatMap((_, token) => samples.map((sample) => sample[token] ?? 0))), [first.length, samples.length]);
}

const samples = [
  { words: [1, 2, 3, 4], masked: [-100, 5, -100, 6], follows: 1 },
  { words: [9, 8, 7, 6], masked: [-100, -100, -100, 2], follows: 0 },
] as const;

describe('a BERT with a binary head', () => {
  it('adds to the loss of each masked token that of its sample, whatever the microbatches', () => {
    const model = new BertModel({ ctx, ...both }).initialize(ctx);
    const plain = new BertModel({ ctx, ...sizes }).initialize(ctx);
    const lossesOf = (chosen: readonly (typeof samples)[number][]) =>
      evaluate(() => {
        const targets = beside(...chosen.map(({ masked }) => masked));
        const sentenceTargets = tensor(Int32Array.from(chosen, ({ follows }) => follows));
        const losses = model.call(beside(...chosen.map(({ words }) => words)), { targets, sentenceTargets }); // [s, b]
        const { sum, count } = model.lossOf(losses, targets);
        return { losses: [...losses.toArray()], sum: sum.item(), count };
      });
    const [together, ...apart] = [lossesOf(samples), ...samples.map((sample) => lossesOf([sample]))];
    expect(together?.count).toBe(3);
    const shared = { rtol: 1e-6, because: 'a product over more rows is cut elsewhere' };
    for (const [sample, { losses }] of apart.entries())
      expectClose(
        losses,
        (together?.losses ?? []).filter((_, i) => i % 2 === sample),
        shared,
      );
    expectClose([apart.reduce((sum, { sum: own }) => sum + own, 0)], [together?.sum ?? 0], shared);
    const [first] = samples;
    evaluate(() => {
      const [words, masked] = [column(...first.words), column(...first.masked)];
      const { logits, sentenceLogits } = model.outputs(words);
      expectBitwise(logits.toArray() as Float32Array, model.call(words).toArray() as Float32Array);
      expect(sentenceLogits?.shape).toEqual([1, 2]);
      const ofSentences = crossEntropy(sentenceLogits as Tensor, tensor(Int32Array.of(first.follows))).item();
      // The heads beside it do not change what masked tokens lose.
      const alone = [...plain.call(words, { targets: masked }).toArray()];
      expectBitwise(alone, [...plain.losses(plain.outputs(words).logits, masked).toArray()]);
      const expected = alone.map((loss, i) => (first.masked[i] === -100 ? 0 : loss + ofSentences));
      expectClose(apart[0]?.losses ?? [], expected, { rtol: 1e-6, because: 'two f32 numbers are added in f64 here' });
      expect(plain.outputs(words).sentenceLogits).toBeUndefined();
    });
    model.dispose();
    plain.dispose();
  });

  it('smooths the losses of masked tokens as crossEntropy does', () => {
    const options = { labelSmoothing: 0.1, zLoss: 0.01, ignoreIndex: -1 };
    const model = new BertModel({ ctx, ...sizes, ...options }).initialize(ctx);
    evaluate(() => {
      const [words, masked] = [column(1, 2, 3, 4), column(-1, 5, -1, 6)];
      const logits = model.call(words); // [4, 1, 13]
      const losses = crossEntropy(logits, masked, options);
      expectBitwise(model.losses(logits, masked).toArray() as Float32Array, losses.toArray() as Float32Array);
      expect([model.lossOf(logits, masked).sum.item(), model.lossOf(logits, masked).count]).toEqual([losses.sum().item(), 2]);
    });
    model.dispose();
  });

  it('refuses targets that do not fit its heads, in one sentence each', () => {
    const model = new BertModel({ ctx, ...both }).initialize(ctx);
    const plain = new BertModel({ ctx, ...sizes }).initialize(ctx);
    const [words, targets, sentenceTargets] = [column(1, 2, 3, 4), column(-100, 5, -100, 6), tensor(Int32Array.of(1))];
    const run = (of: BertModel, inputs: object) => () => evaluate(() => of.call(words, inputs).shape);
    const rule = 'Give both to a model with addBinaryHead, and targets alone to one without; logits need neither.';
    expect(run(model, { targets })).toThrow(`BertModel: targets are given and sentenceTargets missing. ${rule}`);
    expect(run(plain, { targets, sentenceTargets })).toThrow(`BertModel: targets are given and sentenceTargets given. ${rule}`);
    expect(run(model, { sentenceTargets })).toThrow(`BertModel: targets are missing and sentenceTargets given. ${rule}`);
    expect(run(model, { targets, sentenceTargets: tensor(Int32Array.of(2)) })).toThrow(
      /target 2 at position 0 is not in a vocabulary of 2/,
    );
    expect(run(model, { targets, sentenceTargets: tensor(Int32Array.of(1, 0)) })).toThrow(/targets \[2\] and logits \[1, 2\] do not fit/);
    expect(() => evaluate(() => model.lossOf(model.call(words), targets).count)).toThrow(
      'BertModel.lossOf: the logits of tokens do not say what the binary head gave. Call the model with targets and sentenceTargets, and',
    );
    const first = new BertModel({ ctx: describedPlace({ pipelineModelParallelSize: 2 }), ...both, numLayers: 2 });
    expect(first.pooler).toBeUndefined();
    expect(() => first.outputs(words)).toThrow('BertModel.outputs: this stage has no heads. Ask on the last stage of the pipeline.');
    expect(() => new BertModel({ ctx, ...sizes, labelSmoothing: 2 })).toThrow('BertModel: labelSmoothing is 2. Use a share from 0 to 1');
    for (const made of [model, plain]) made.dispose();
  });
});
