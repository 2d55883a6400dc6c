import { GPTModel } from './gpt-model.ts';
import type { GPTConfig, GPTModelOptions } from './gpt-options.ts';
import type { RotaryOptions } from './rotary.ts';

/** Sizes and settings of a Llama model, as in `GPTConfig` where not named here; the head has a weight of its own by default. */
export interface LlamaConfig<SP extends boolean = false> extends Omit<GPTConfig<SP>, 'normalization' | 'activation' | 'bias'> {
  /** Keys and values over all tensor-parallel ranks, each for as many heads. */
  readonly numKeyValueHeads: number;
  /** Features inside the MLPs. */
  readonly ffnHiddenSize: number;
  /** How queries and keys are turned by their positions; with base 500000 by default. */
  readonly rotary?: RotaryOptions;
}

/** Options of this rank's part of a Llama model. */
export interface LlamaModelOptions<SP extends boolean = false> extends LlamaConfig<SP>, Pick<GPTModelOptions<SP>, 'ctx' | 'chunk'> {}

/**
 * A GPT model with grouped keys and values, rotated queries and keys, RMS norms, SwiGLU, no biases and a head of its own.
 * @source Touvron et al. 2023; Llama team 2024, table 3
 */
export class LlamaModel<SP extends boolean = false> extends GPTModel<SP> {
  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION, OUT_OF_RANGE */
  constructor({ rotary = { base: 500_000 }, tieWordEmbeddings = false, ...config }: LlamaModelOptions<SP>) {
    super({ ...config, rotary, tieWordEmbeddings, normalization: 'rmsNorm', activation: 'swiglu', bias: false });
  }
}
