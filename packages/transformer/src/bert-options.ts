import type { CrossEntropyOptions } from '@megatron-ts/tensor';
import type { LayerDTypes } from '@megatron-ts/tensor-parallel';
import type { ModelContext } from './gpt-options.ts';
import type { Recompute } from './recompute-plan.ts';
import type { NormPlacement } from './transformer-layer.ts';

/**
 * Sizes and settings of a BERT model. `labelSmoothing` and `zLoss` are those of the losses of masked tokens; the losses of sentences have
 * neither.
 */
export interface BertConfig<SP extends boolean = false> extends LayerDTypes, CrossEntropyOptions {
  /** Number of tokens. */
  readonly vocabSize: number;
  /** Most tokens of a sequence. */
  readonly maxSequenceLength: number;
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Layers over all stages. */
  readonly numLayers: number;
  /** Heads over all tensor-parallel ranks. */
  readonly numAttentionHeads: number;
  /** Features inside the MLPs; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** Kinds of token, such as those of the first and of the second sentence; 2 by default. */
  readonly numTokenTypes?: number;
  /**
   * Whether norms stand behind the sums and behind the embedding (`'post'`, the default, as published), or before attention, MLP and head
   * (`'pre'`, as Megatron trains it).
   */
  readonly normPlacement?: NormPlacement;
  /** Whether the last stage also has a pooler and a head of two logits for each sample, as for next sentences; false by default. */
  readonly addBinaryHead?: boolean;
  /** Target of tokens that are not masked: their loss is 0 and does not count; -100 by default. */
  readonly ignoreIndex?: number | undefined;
  /** Share of the elements that dropout leaves out of the embedding and of what attention and MLP add; 0 by default. */
  readonly hiddenDropout?: number;
  /** Share of the attention probabilities that dropout leaves out; 0 by default. */
  readonly attentionDropout?: number;
  /** Standard deviation of initial weights; 0.02 by default. */
  readonly initStd?: number;
  /** Added to the variance in norms; 1e-12 by default. */
  readonly layerNormEps?: number;
  /** What backward computes again instead of keeping it; nothing by default. */
  readonly recompute?: Recompute;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
}

/** Options of this rank's part of a BERT model. */
export interface BertModelOptions<SP extends boolean = false> extends BertConfig<SP> {
  /** The mesh: its tensor-parallel group, and the stage this rank holds. */
  readonly ctx: ModelContext;
  /** Which of the stage's model chunks this is; 0 by default. */
  readonly chunk?: number;
}
