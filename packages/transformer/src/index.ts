/**
 * Attention, MLP, transformer layer and GPT model.
 * @module @megatron-ts/transformer
 */
export { BertEmbedding } from './bert-embedding.ts';
export type { BertEmbeddingOptions } from './bert-embedding.ts';
export { BertModel } from './bert-model.ts';
export type { BertInputs } from './bert-model.ts';
export type { BertConfig, BertModelOptions } from './bert-options.ts';
export { describedPlace } from './described-place.ts';
export type { DescribedPlaceOptions } from './described-place.ts';
export { GPTEmbedding, PositionEmbedding } from './gpt-embedding.ts';
export type { GPTEmbeddingOptions, PositionEmbeddingOptions } from './gpt-embedding.ts';
export { GPTModel } from './gpt-model.ts';
export type { GPTConfig, GPTModelOptions, ModelContext, ResolvedGPTConfig } from './gpt-options.ts';
export { HeadNorm } from './head-norm.ts';
export type { HeadNormOptions, LocalHeads } from './head-norm.ts';
export { LanguageModelHead } from './language-model-head.ts';
export type { LanguageModelHeadOptions } from './language-model-head.ts';
export { LayerNorm } from './layer-norm.ts';
export type { LayerNormModuleOptions } from './layer-norm.ts';
export { LlamaModel } from './llama-model.ts';
export type { LlamaConfig, LlamaModelOptions } from './llama-model.ts';
export { MaskedLanguageHead } from './masked-language-head.ts';
export type { MaskedLanguageHeadOptions } from './masked-language-head.ts';
export { makeNorm } from './normalization.ts';
export type { Normalization } from './normalization.ts';
export { ParallelAttention } from './parallel-attention.ts';
export type { AttentionInputs, ParallelAttentionOptions } from './parallel-attention.ts';
export { ParallelMLP } from './parallel-mlp.ts';
export type { Activation, ParallelMLPOptions } from './parallel-mlp.ts';
export { parameterCount } from './parameter-count.ts';
export { bertPresets, gptPresets, llamaPresets } from './presets.ts';
export type { BertPreset, GPTPreset, LlamaPreset } from './presets.ts';
export { layerBlocks, recomputedParts, recomputedPartsOf } from './recompute-plan.ts';
export type { FullRecompute, LayerBlock, Recompute, RecomputedPart } from './recompute-plan.ts';
export { RMSNorm } from './rms-norm.ts';
export { RotaryAngles, rotaryFrequencies } from './rotary.ts';
export type { Llama3RotaryScaling, LinearRotaryScaling, RotaryOptions, RotaryScaling, YarnRotaryScaling } from './rotary.ts';
export { savedActivations } from './saved-activations.ts';
export type { SavedActivation, SavedActivationsOptions } from './saved-activations.ts';
export { TransformerLayer } from './transformer-layer.ts';
export type { NormPlacement, TransformerLayerOptions } from './transformer-layer.ts';
