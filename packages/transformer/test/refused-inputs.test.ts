import { runRanks } from '@megatron-ts/testing';
import { BertModel, describedPlace, GPTModel, LlamaModel } from '@megatron-ts/transformer';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Sentences } from './ranks/refused-inputs.ts';

let ranks: Sentences[];

beforeAll(async () => {
  ranks = await runRanks<Sentences>(2, new URL('ranks/refused-inputs.ts', import.meta.url), 'refusedInputs');
});

const uncut =
  'embedding: tokens [7, 1] have 7 positions, which sequenceParallel cannot cut into 2 equal parts. Pad the sequences to 8, or leave '
  + 'sequenceParallel off.';
const segments = 'is not [4, 1]. Give one number to each position of each sample.';
const target = 'token 11 at position 2 is not in a vocabulary of 11. Use 0 to 10.';
const token = 'token -1 at position 3 is not in a vocabulary of 11. Use 0 to 10.';
const sentences: Readonly<Record<string, string>> = {
  'GPT, sequence': uncut,
  'BERT, sequence': uncut,
  'GPT, segments': `layers.0.attention: selfAttention: segments [2, 1] ${segments}`,
  'GPT, segments under sequence parallelism': `layers.0.attention: selfAttention: segments [2, 1] ${segments}`,
  'Llama, positions': 'layers.0.attention: rotaryEmbedding: positions [4, 2] is not [4, 1]. Give one to each token of qkv.',
  'BERT, segments': `layers.0.attention: selfAttention: segments [4, 2] ${segments}`,
  'GPT, targets': `head: vocabParallelLinearCrossEntropy: ${target}`,
  'Llama, targets': `head: vocabParallelLinearCrossEntropy: ${target}`,
  'GPT, targets of logits': `vocabParallelCrossEntropy: ${target}`,
  'BERT, targets': `vocabParallelCrossEntropy: ${target}`,
  'GPT, tokens': `embedding.wordEmbeddings: embedding: ${token}`,
  'Llama, tokens': `embedding.wordEmbeddings: embedding: ${token}`,
  'BERT, tokens': `embedding.tokens.wordEmbeddings: embedding: ${token}`,
  'Llama, keys without copies':
    'finalizeGrads: 2 of 2 tensor-parallel ranks hold the same part of "layers.0.attention.qkv.weight.k", and nobody sums its gradient. '
    + 'Set copies to 2 in its meta',
};

describe('two tensor-parallel ranks', () => {
  it.each(Object.entries(sentences))('both refuse in the same sentence before anything is sent: %s', (name, sentence) => {
    for (const found of ranks) expect(found[name]).toContain(sentence);
  });
});

describe('sizes that do not fit the ranks are refused with the remedy', () => {
  const sizes = { vocabSize: 11, maxSequenceLength: 8, hiddenSize: 48, numLayers: 1, numAttentionHeads: 12 };
  const at = (tensorModelParallelSize: number) => describedPlace({ tensorModelParallelSize });

  it.each([3, 6])('%s keys and values over 4 ranks', (numKeyValueHeads) => {
    const build = () => new LlamaModel({ ctx: at(4), ...sizes, numKeyValueHeads, ffnHiddenSize: 16 });
    const sentence = `numKeyValueHeads ${numKeyValueHeads} and tensorModelParallelSize 4 do not divide each other. Use 4 keys and values or`;
    expect(build).toThrow(sentence);
  });

  it('a vocabMultiple, whose least that leaves a rank without a token is named, and the largest below is taken', () => {
    const build = (vocabMultiple: number) => () => new GPTModel({ ctx: at(4), ...sizes, vocabMultiple });
    expect(build(4)).toThrow('vocabMultiple 4 gives each of 4 ranks 4 rows of a vocabulary of 11, and the last none of its tokens.');
    expect(build(3)()).toBeInstanceOf(GPTModel);
    expect(build(0)).toThrow('vocabMultiple is 0. Use a whole number of at least 1.');
    expect(build(1.5)).toThrow('vocabMultiple is 1.5. Use a whole number of at least 1.');
  });

  it('fewer words than ranks', () => {
    for (const Model of [GPTModel, BertModel])
      expect(() => new Model({ ctx: at(12), ...sizes })).toThrow(
        'vocabSize 11 is less than tensorModelParallelSize 12. Use at most 11 ranks.',
      );
  });
});
