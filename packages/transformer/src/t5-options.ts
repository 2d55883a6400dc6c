import type { CrossEntropyOptions } from '@megatron-ts/tensor';
import type { LayerDTypes } from '@megatron-ts/tensor-parallel';
import type { ModelContext } from './gpt-options.ts';
import type { Recompute } from './recompute-plan.ts';

/** Sizes and settings of a T5 model. `labelSmoothing` and `zLoss` are those of the losses. */
export interface T5Config<SP extends boolean = false> extends LayerDTypes, CrossEntropyOptions {
  /** Number of tokens. */
  readonly vocabSize: number;
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Layers of the encoder. */
  readonly numLayers: number;
  /** Layers of the decoder; as many as the encoder has by default. */
  readonly numDecoderLayers?: number;
  /** Heads over all tensor-parallel ranks. */
  readonly numAttentionHeads: number;
  /** Features of a head; hiddenSize / numAttentionHeads by default. */
  readonly headDim?: number;
  /** Features inside the MLPs; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** What stands between the two layers of the MLPs: `'relu'` (the default, as first published) or `'geglu'` (version 1.1). */
  readonly activation?: 'relu' | 'geglu';
  /**
   * Whether the head is the word embedding, behind a factor of one over the square root of hiddenSize (the default, as first published), or
   * a weight of its own (version 1.1).
   */
  readonly tiedHead?: boolean;
  /** Buckets of distances, each with a number per head that is added to the scores; 32 by default. */
  readonly numBuckets?: number;
  /** Distance from which on all fall into the last bucket; 128 by default. */
  readonly maxDistance?: number;
  /** Target of tokens that do not count: their loss is 0; -100 by default. */
  readonly ignoreIndex?: number | undefined;
  /** Share of the elements that dropout leaves out of embeddings, of what each block adds, and of the last norms; 0 by default. */
  readonly hiddenDropout?: number;
  /** Share of the attention probabilities that dropout leaves out; 0 by default. */
  readonly attentionDropout?: number;
  /** Factor of the published standard deviations of initial weights; 1 by default. */
  readonly initFactor?: number;
  /** Added to the mean of squares in norms; 1e-6 by default. */
  readonly layerNormEps?: number;
  /** Whether the residual streams are cut along their sequences; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** What backward computes again instead of keeping it, in each stack alike; nothing by default. Gradients have the same bits. */
  readonly recompute?: Recompute | undefined;
}

/** Options of this rank's part of a T5 model. */
export interface T5ModelOptions<SP extends boolean = false> extends T5Config<SP> {
  /** The mesh: its tensor-parallel group. */
  readonly ctx: ModelContext;
}
