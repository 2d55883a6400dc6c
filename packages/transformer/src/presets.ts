import type { BertConfig } from './bert-options.ts';
import type { GPTConfig } from './gpt-options.ts';
import type { LlamaConfig } from './llama-model.ts';
import type { RotaryOptions } from './rotary.ts';
import type { T5Config } from './t5-options.ts';

/** The vocabulary and the settings that all of GPT-2's successors keep. */
function gpt(maxSequenceLength: number, [numLayers, hiddenSize, numAttentionHeads]: readonly [number, number, number]): GPTConfig {
  return { vocabSize: 50257, maxSequenceLength, hiddenSize, numLayers, numAttentionHeads };
}

/** Names of published GPT models. */
export type GPTPreset =
  | 'gpt2-124m'
  | 'gpt2-355m'
  | 'gpt2-774m'
  | 'gpt2-1.5b'
  | 'gpt3-125m'
  | 'gpt3-1.3b'
  | 'gpt3-6.7b'
  | 'gpt3-175b'
  | 'megatron-18b'
  | 'megatron-145b'
  | 'mt-nlg-530b'
  | 'megatron-1t';

/**
 * Published sizes of models with GPT-2's architecture: `new GPTModel({ ctx, ...gptPresets['gpt2-124m'] })`.
 * @source Radford et al. 2019, table 2; Brown et al. 2020, table 2.1; Smith et al. 2022, section 2.1; Narayanan et al. 2021, table 1
 */
export const gptPresets: Readonly<Record<GPTPreset, GPTConfig>> = {
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
};

type LlamaSizes = readonly [numLayers: number, hiddenSize: number, numAttentionHeads: number, ffnHiddenSize: number];

/** What the sizes of one generation share. */
function llama3(rotary: RotaryOptions, [numLayers, hiddenSize, numAttentionHeads, ffnHiddenSize]: LlamaSizes): LlamaConfig {
  const sizes = { numLayers, hiddenSize, numAttentionHeads, ffnHiddenSize };
  const maxSequenceLength = rotary.scaling === undefined ? 8192 : 131_072;
  return { vocabSize: 128_256, numKeyValueHeads: 8, maxSequenceLength, rotary, ...sizes };
}

function llama2(numKeyValueHeads: number, [numLayers, hiddenSize, numAttentionHeads, ffnHiddenSize]: LlamaSizes): LlamaConfig {
  const sizes = { numLayers, hiddenSize, numAttentionHeads, ffnHiddenSize };
  return { vocabSize: 32_000, numKeyValueHeads, maxSequenceLength: 4096, rotary: { base: 10_000 }, ...sizes };
}

const plain: RotaryOptions = { base: 500_000 };
const scaled: RotaryOptions = { base: 500_000, scaling: { kind: 'llama3', factor: 8 } };

/** Names of published Llama models. */
export type LlamaPreset = 'llama2-7b' | 'llama2-70b' | 'llama3-8b' | 'llama3-70b' | 'llama3.1-8b' | 'llama3.1-70b' | 'llama3-405b';

/**
 * Published sizes of Llama models: `new LlamaModel({ ctx, ...llamaPresets['llama3-8b'] })`.
 * @source Llama team 2024, table 3; Touvron et al. 2023, table 1 of both papers
 */
export const llamaPresets: Readonly<Record<LlamaPreset, LlamaConfig>> = {
  'llama2-7b': llama2(32, [32, 4096, 32, 11008]),
  'llama2-70b': llama2(8, [80, 8192, 64, 28672]),
  'llama3-8b': llama3(plain, [32, 4096, 32, 14336]),
  'llama3-70b': llama3(plain, [80, 8192, 64, 28672]),
  'llama3.1-8b': llama3(scaled, [32, 4096, 32, 14336]),
  'llama3.1-70b': llama3(scaled, [80, 8192, 64, 28672]),
  'llama3-405b': llama3(scaled, [126, 16384, 128, 53248]),
};

function bert([numLayers, hiddenSize, numAttentionHeads]: readonly [number, number, number]): BertConfig {
  return { vocabSize: 30_522, maxSequenceLength: 512, numLayers, hiddenSize, numAttentionHeads };
}

/** Names of published BERT models. */
export type BertPreset = 'bert-base' | 'bert-large';

/** Published sizes of BERT models: `new BertModel({ ctx, ...bertPresets['bert-large'] })`. @source Devlin et al. 2019, section 3 */
export const bertPresets: Readonly<Record<BertPreset, BertConfig>> = {
  'bert-base': bert([12, 768, 12]),
  'bert-large': bert([24, 1024, 16]),
};

type T5Sizes = readonly [numLayers: number, hiddenSize: number, headDim: number, numAttentionHeads: number, ffnHiddenSize: number];

function t5([numLayers, hiddenSize, headDim, numAttentionHeads, ffnHiddenSize]: T5Sizes): T5Config {
  return { vocabSize: 32_128, numLayers, hiddenSize, headDim, numAttentionHeads, ffnHiddenSize };
}

/** Gated units, and a head of its own. */
function t5v11(sizes: T5Sizes): T5Config {
  return { ...t5(sizes), activation: 'geglu', tiedHead: false };
}

/** Names of published T5 models. */
export type T5Preset =
  | 't5-small'
  | 't5-base'
  | 't5-large'
  | 't5-3b'
  | 't5-11b'
  | 't5-v1.1-small'
  | 't5-v1.1-base'
  | 't5-v1.1-large'
  | 't5-v1.1-xl'
  | 't5-v1.1-xxl';

/**
 * Published sizes of T5 models: `new T5Model({ ctx, ...t5Presets['t5-3b'] })`.
 * @source Raffel et al. 2020, sections 3.1.1, 3.7 and appendix; the settings published with the weights (version 1.1)
 */
export const t5Presets: Readonly<Record<T5Preset, T5Config>> = {
  't5-small': t5([6, 512, 64, 8, 2048]),
  't5-base': t5([12, 768, 64, 12, 3072]),
  't5-large': t5([24, 1024, 64, 16, 4096]),
  't5-3b': t5([24, 1024, 128, 32, 16_384]),
  't5-11b': t5([24, 1024, 128, 128, 65_536]),
  't5-v1.1-small': t5v11([8, 512, 64, 6, 1024]),
  't5-v1.1-base': t5v11([12, 768, 64, 12, 2048]),
  't5-v1.1-large': t5v11([24, 1024, 64, 16, 2816]),
  't5-v1.1-xl': t5v11([24, 2048, 64, 32, 5120]),
  't5-v1.1-xxl': t5v11([24, 4096, 64, 64, 10_240]),
};
