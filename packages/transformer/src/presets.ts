import type { BertConfig } from './bert-options.ts';
import type { GPTConfig } from './gpt-options.ts';
import type { LlamaConfig } from './llama-model.ts';
import type { RotaryOptions } from './rotary.ts';

type Sizes = Pick<GPTConfig, 'maxSequenceLength' | 'hiddenSize' | 'numLayers' | 'numAttentionHeads'>;

/** The vocabulary and the settings that all of GPT-2's successors keep. */
function gpt(maxSequenceLength: number, [numLayers, hiddenSize, numAttentionHeads]: readonly [number, number, number]): GPTConfig {
  return { vocabSize: 50257, maxSequenceLength, hiddenSize, numLayers, numAttentionHeads } satisfies Sizes & GPTConfig;
}

/**
 * Published sizes of models with GPT-2's architecture: `new GPTModel({ ctx, ...gptPresets['gpt2-124m'] })`.
 * @source Radford et al. 2019, table 2; Brown et al. 2020, table 2.1; Smith et al. 2022, section 2.1; Narayanan et al. 2021, table 1
 */
export const gptPresets = {
  'gpt2-124m': gpt(1024, [12, 768, 12]),
  'gpt2-355m': gpt(1024, [24, 1024, 16]),
  'gpt2-774m': gpt(1024, [36, 1280, 20]),
  'gpt2-1.5b': gpt(1024, [48, 1600, 25]),
  'gpt3-125m': gpt(2048, [12, 768, 12]),
  'gpt3-1.3b': gpt(2048, [24, 2048, 16]),
  'gpt3-6.7b': gpt(2048, [32, 4096, 32]),
  'gpt3-175b': gpt(2048, [96, 12288, 96]),
  'megatron-18b': gpt(2048, [40, 6144, 48]),
  'megatron-145b': gpt(2048, [80, 12288, 96]),
  'mt-nlg-530b': gpt(2048, [105, 20480, 128]),
  'megatron-1t': gpt(2048, [128, 25600, 160]),
} as const satisfies Readonly<Record<string, GPTConfig>>;

/** What the sizes of one generation share. */
function llama3(
  rotary: RotaryOptions,
  [numLayers, hiddenSize, numAttentionHeads, ffnHiddenSize]: readonly [number, number, number, number],
) {
  const sizes = { numLayers, hiddenSize, numAttentionHeads, ffnHiddenSize };
  const maxSequenceLength = rotary.scaling === undefined ? 8192 : 131_072;
  return { vocabSize: 128_256, numKeyValueHeads: 8, maxSequenceLength, rotary, ...sizes } satisfies LlamaConfig;
}

function llama2([numLayers, hiddenSize, numAttentionHeads, ffnHiddenSize]: readonly [number, number, number, number]) {
  return { vocabSize: 32_000, maxSequenceLength: 4096, rotary: { base: 10_000 }, numLayers, hiddenSize, numAttentionHeads, ffnHiddenSize };
}

const plain: RotaryOptions = { base: 500_000 };
const scaled: RotaryOptions = { base: 500_000, scaling: { kind: 'llama3', factor: 8 } };

/**
 * Published sizes of Llama models: `new LlamaModel({ ctx, ...llamaPresets['llama3-8b'] })`.
 * @source Llama team 2024, table 3; Touvron et al. 2023, table 1 of both papers
 */
export const llamaPresets = {
  'llama2-7b': { ...llama2([32, 4096, 32, 11008]), numKeyValueHeads: 32 },
  'llama2-70b': { ...llama2([80, 8192, 64, 28672]), numKeyValueHeads: 8 },
  'llama3-8b': llama3(plain, [32, 4096, 32, 14336]),
  'llama3-70b': llama3(plain, [80, 8192, 64, 28672]),
  'llama3.1-8b': llama3(scaled, [32, 4096, 32, 14336]),
  'llama3.1-70b': llama3(scaled, [80, 8192, 64, 28672]),
  'llama3-405b': llama3(scaled, [126, 16384, 128, 53248]),
} as const satisfies Readonly<Record<string, LlamaConfig>>;

function bert([numLayers, hiddenSize, numAttentionHeads]: readonly [number, number, number]) {
  return { vocabSize: 30_522, maxSequenceLength: 512, numLayers, hiddenSize, numAttentionHeads } satisfies BertConfig;
}

/** Published sizes of BERT models: `new BertModel({ ctx, ...bertPresets['bert-large'] })`. @source Devlin et al. 2019, section 3 */
export const bertPresets = {
  'bert-base': bert([12, 768, 12]),
  'bert-large': bert([24, 1024, 16]),
} as const satisfies Readonly<Record<string, BertConfig>>;
