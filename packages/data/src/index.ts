/**
 * Token files, and the microbatches that each data-parallel rank takes from them.
 * @module @megatron-ts/data
 */
export { ByteTokenizer } from './byte-tokenizer.ts';
export { type Microbatch, MicrobatchSampler, type MicrobatchSamplerOptions } from './microbatch-sampler.ts';
export { readTokens, splitTokens, type TokenFile, type TokenSplit } from './token-file.ts';
export { philox, type Words4 } from './philox.ts';
