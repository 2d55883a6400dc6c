import type { ParallelContext } from '@megatron-ts/process-groups';
import type { CrossEntropyOptions } from '@megatron-ts/tensor';
import type { LayerDTypes, Vocabulary } from '@megatron-ts/tensor-parallel';
import type { Normalization } from './normalization.ts';
import type { Activation } from './parallel-mlp.ts';
import type { Recompute } from './recompute-plan.ts';
import type { RotaryOptions } from './rotary.ts';

/** What a GPT model needs to know of the mesh; a ParallelContext is one. */
export type ModelContext = Pick<ParallelContext, 'tp' | 'pp' | 'mesh'>;

/**
 * Sizes and settings of a GPT model. `paramDType` is that of all its parameters and of the residual stream; losses, statistics of norms and
 * of softmax, and gradients of parameters are f32 whatever it is. `labelSmoothing`, `zLoss` and `ignoreIndex` are those of the losses.
 */
export interface GPTConfig<SP extends boolean = false> extends LayerDTypes, CrossEntropyOptions, Vocabulary {
  /** Most tokens of a sequence. */
  readonly maxSequenceLength: number;
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Layers over all stages. */
  readonly numLayers: number;
  /** Heads over all tensor-parallel ranks. */
  readonly numAttentionHeads: number;
  /** Keys and values over all tensor-parallel ranks; one for each head by default. Where there are fewer than ranks, several hold one. */
  readonly numKeyValueHeads?: number;
  /** Features of a head; hiddenSize / numAttentionHeads by default. */
  readonly headDim?: number;
  /** Turns queries and keys by their positions, in place of learned positions; not by default. */
  readonly rotary?: RotaryOptions;
  /** Whether each query and each key is normed; false by default. */
  readonly qkNorm?: boolean;
  /** Features inside the MLPs; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** Whether the head uses the word embedding; true by default. */
  readonly tieWordEmbeddings?: boolean;
  /** Standard deviation of initial weights; 0.02 by default. That of the output projections is divided by sqrt(2 · numLayers). */
  readonly initStd?: number;
  /** Keys that a query sees, its own the last; all before it by default. */
  readonly window?: number;
  /** What stands between the two layers of an MLP; `'gelu'` by default. */
  readonly activation?: Activation;
  /** Which norm; `'layerNorm'` by default. */
  readonly normalization?: Normalization;
  /**
   * Whether a forward with targets computes the losses without ever holding all logits; true by default. Losses have the same bits, the
   * gradient of the head's weight is close.
   */
  readonly fusedLoss?: boolean;
  /**
   * Share of the elements that dropout leaves out of the embedding and of what attention and MLP add to the residual stream; 0 by default.
   * What is left out depends on neither the layout nor the number of microbatches; see `DropoutOptions`.
   */
  readonly hiddenDropout?: number;
  /** Share of the attention probabilities that dropout leaves out; 0 by default. */
  readonly attentionDropout?: number;
  /** Whether linear layers have biases; true by default. */
  readonly bias?: boolean;
  /** Added to the variance in norms; 1e-5 by default. */
  readonly layerNormEps?: number;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** What backward computes again instead of keeping it; nothing by default. Gradients have the same bits. */
  readonly recompute?: Recompute | undefined;
}

/** Options of this rank's part of a GPT model. */
export interface GPTModelOptions<SP extends boolean = false> extends GPTConfig<SP> {
  /** The mesh: its tensor-parallel group, and the stage this rank holds. */
  readonly ctx: ModelContext;
  /** Which of the stage's model chunks this is; 0 by default. */
  readonly chunk?: number;
}

/** What a GPT model was made with, the options filled in that say what it computes. */
export type ResolvedGPTConfig = GPTConfig<boolean>
  & Required<Pick<GPTConfig<boolean>, 'numKeyValueHeads' | 'headDim' | 'qkNorm' | 'ffnHiddenSize' | 'activation' | 'normalization'>>
  & Required<Pick<GPTConfig<boolean>, 'bias' | 'layerNormEps' | 'tieWordEmbeddings'>>;
