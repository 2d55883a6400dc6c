/**
 * Attention, MLP, transformer layer and GPT model.
 * @module @megatron-ts/transformer
 */
export { describedPlace } from './described-place.ts';
export type { DescribedPlaceOptions } from './described-place.ts';
export { GPTEmbedding, PositionEmbedding } from './gpt-embedding.ts';
export type { GPTEmbeddingOptions, PositionEmbeddingOptions } from './gpt-embedding.ts';
export { GPTModel } from './gpt-model.ts';
export type { GPTConfig, GPTModelOptions, ModelContext } from './gpt-options.ts';
export { LanguageModelHead } from './language-model-head.ts';
export type { LanguageModelHeadOptions } from './language-model-head.ts';
export { LayerNorm } from './layer-norm.ts';
export type { LayerNormModuleOptions } from './layer-norm.ts';
export { makeNorm } from './normalization.ts';
export type { Normalization } from './normalization.ts';
export { ParallelAttention } from './parallel-attention.ts';
export type { ParallelAttentionOptions } from './parallel-attention.ts';
export { ParallelMLP } from './parallel-mlp.ts';
export type { Activation, ParallelMLPOptions } from './parallel-mlp.ts';
export { parameterCount } from './parameter-count.ts';
export { gptPresets } from './presets.ts';
export { RMSNorm } from './rms-norm.ts';
export { TransformerLayer } from './transformer-layer.ts';
export type { TransformerLayerOptions } from './transformer-layer.ts';
