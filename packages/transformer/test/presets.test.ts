import { memoryStats } from '@megatron-ts/tensor';
import {
  BertModel,
  bertPresets,
  describedPlace,
  GPTModel,
  gptPresets,
  LlamaModel,
  llamaPresets,
  parameterCount,
  T5Model,
  t5Presets,
} from '@megatron-ts/transformer';
import { describe, expect, it } from 'vitest';

/** Numbers of parameters of the published weights, to the last one. */
const exact = {
  // Files of the weights at https://huggingface.co/openai-community: gpt2, gpt2-medium, gpt2-large, gpt2-xl.
  'gpt2-124m': 124_439_808,
  'gpt2-355m': 354_823_168,
  'gpt2-774m': 774_030_080,
  'gpt2-1.5b': 1_557_611_200,
} as const;

/** Billions, as the papers round them. */
const rounded = {
  // Brown et al. 2020, table 2.1; the paper counts the two smallest a little higher than its own sizes give.
  'gpt3-6.7b': '6.7',
  'gpt3-175b': '175',
  // Narayanan et al. 2021, table 1, whose vocabulary is padded to 51200.
  'megatron-18b': '18.4',
  'megatron-145b': '145.6',
  'megatron-1t': '1008.0',
  // Smith et al. 2022, abstract.
  'mt-nlg-530b': '530',
} as const;

function countOf(name: keyof typeof gptPresets, vocabSize?: number): number {
  const config = gptPresets[name];
  return parameterCount(new GPTModel({ ctx: describedPlace(), ...config, ...(vocabSize === undefined ? {} : { vocabSize }) }));
}

/** Sums of the sizes in the headers of the weights at https://huggingface.co/meta-llama. */
const llamas = {
  'llama2-7b': 6_738_415_616,
  'llama2-70b': 68_976_648_192,
  'llama3-8b': 8_030_261_248,
  'llama3-70b': 70_553_706_496,
  'llama3-405b': 405_853_388_800,
} as const;

describe('presets of Llama models', () => {
  it.each(Object.entries(llamas))('%s has %i parameters, as the published weights, whole and cut over 16 ranks', (name, count) => {
    const before = memoryStats().liveBytes;
    for (const place of [{}, { tensorModelParallelSize: 16, rank: 5 }])
      expect(parameterCount(new LlamaModel({ ctx: describedPlace(place), ...llamaPresets[name as keyof typeof llamas] }))).toBe(count);
    expect(memoryStats().liveBytes).toBe(before);
  });
});

describe('presets of BERT models', () => {
  // Weights at https://huggingface.co/google-bert with the head of masked tokens: no pooler, no head of next sentences.
  it.each([
    ['bert-base', 109_514_298],
    ['bert-large', 335_174_458],
  ] as const)('%s has %i parameters, as the published weights', (name, count) => {
    expect(parameterCount(new BertModel({ ctx: describedPlace(), ...bertPresets[name] }))).toBe(count);
  });
});

/** Weights at https://huggingface.co/google-t5 and, of version 1.1, https://huggingface.co/google. */
const t5s = {
  't5-small': 60_506_624,
  't5-base': 222_903_552,
  't5-large': 737_668_096,
  't5-3b': 2_851_598_336,
  't5-11b': 11_307_321_344,
  't5-v1.1-small': 76_961_152,
  't5-v1.1-base': 247_577_856,
  't5-v1.1-large': 783_150_080,
  't5-v1.1-xl': 2_849_757_184,
  't5-v1.1-xxl': 11_135_332_352,
} as const;

describe('presets of T5 models', () => {
  it.each(Object.entries(t5s))('%s has %i parameters, as the published weights, whole and cut over 2 ranks', (name, count) => {
    for (const place of [{}, { tensorModelParallelSize: 2, rank: 1 }])
      expect(parameterCount(new T5Model({ ctx: describedPlace(place), ...t5Presets[name as keyof typeof t5s] }))).toBe(count);
  });
});

describe('presets of GPT models', () => {
  it.each(Object.entries(exact))('%s has %i parameters, as the published weights', (name, count) => {
    expect(countOf(name as keyof typeof exact)).toBe(count);
  });

  it.each(Object.entries(rounded))('%s has %s billion parameters, as the paper says, and takes no memory', (name, billions) => {
    const before = memoryStats().liveBytes;
    const isNarayanan = name.startsWith('megatron');
    const count = countOf(name as keyof typeof rounded, isNarayanan ? 51_200 : undefined) / 1e9;
    expect(count.toFixed((billions.split('.')[1] ?? '').length)).toBe(billions);
    expect(memoryStats().liveBytes).toBe(before);
  });

  it('counts the same on any tensor-parallel layout, and the stages of a pipeline add up', () => {
    const config = gptPresets['gpt2-124m'];
    const on = (place: Parameters<typeof describedPlace>[0]) => parameterCount(new GPTModel({ ctx: describedPlace(place), ...config }));
    expect(on({ tensorModelParallelSize: 4, rank: 3 })).toBe(exact['gpt2-124m']);
    const stages = [0, 1, 2, 3].map((rank) => on({ pipelineModelParallelSize: 4, rank }));
    expect(stages.reduce((a, b) => a + b)).toBe(exact['gpt2-124m']);
  });
});
