import type { BertConfig, GPTConfig, LlamaConfig, T5Config } from '@megatron-ts/core';
import type { Layout } from './run-plan.ts';

/** Sizes and settings of a model, by family. */
export type FamilyConfig =
  | { readonly family: 'GPT'; readonly model: GPTConfig<boolean> }
  | { readonly family: 'Llama'; readonly model: LlamaConfig<boolean> }
  | { readonly family: 'BERT'; readonly model: BertConfig<boolean> }
  | { readonly family: 'T5'; readonly model: T5Config<boolean> & Pick<GPTConfig, 'maxSequenceLength'> };

/** A few steps of one model on one layout. It travels to the ranks as it is. */
export type ModelPlan = FamilyConfig & {
  /** Names the files of the recordings. */
  readonly name: string;
  readonly layout: Layout;
  /** World ranks it runs on, as many as the layout has. */
  readonly ranks: readonly number[];
  /** Sequences of a microbatch, each of maxSequenceLength tokens. */
  readonly batch: number;
  readonly numMicrobatches: number;
  readonly steps: number;
  /** Whether rows hold two documents, that of the first sample with padding behind. */
  readonly packed: boolean;
  readonly seed: number;
};
