import { ConfigError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import {
  type AnyTensor,
  countTargets,
  type DType,
  type InitRule,
  type Loss,
  Module,
  requireDropoutRates,
  requireLossOptions,
  sum,
  type Tensor,
} from '@megatron-ts/tensor';
import { gatherVocabulary, vocabParallelCrossEntropy, vocabParallelWeight, type VocabShard } from '@megatron-ts/tensor-parallel';
import { GPTEmbedding } from './gpt-embedding.ts';
import type { GPTModelOptions, ResolvedGPTConfig } from './gpt-options.ts';
import { LanguageModelHead } from './language-model-head.ts';
import type { LayerNorm } from './layer-norm.ts';
import { makeNorm } from './normalization.ts';
import type { AttentionInputs } from './parallel-attention.ts';
import { placeOf } from './pipeline-place.ts';
import { type LayerBlock, layerBlocks, recomputedPartsOf } from './recompute-plan.ts';
import type { RMSNorm } from './rms-norm.ts';
import { tiedHeadWeight, tiedOver } from './tied-head.ts';
import { throughLayers } from './through-layers.ts';
import { TransformerLayer } from './transformer-layer.ts';

/**
 * This rank's chunk of a GPT model: the layers that the pipeline gives it, the embeddings in front on the first stage, and the final norm
 * and the head on the last. Names of parameters do not depend on the layout.
 * @source Radford et al. 2019; Shoeybi et al. 2019
 */
export class GPTModel<SP extends boolean = false> extends Module {
  /** Words and positions, on the first stage. */
  readonly embedding: GPTEmbedding<SP> | undefined;
  /** Layers by their number in the whole model. */
  readonly layers: Map<number, TransformerLayer<SP>>;
  /** The last norm, on the last stage. */
  readonly finalNorm: LayerNorm | RMSNorm | undefined;
  /** Logits, on the last stage. */
  readonly head: LanguageModelHead<SP> | undefined;
  /** Sizes and settings of the whole model, the same on every rank. */
  readonly config: ResolvedGPTConfig;
  private readonly options: ResolvedOptions<SP>;
  private readonly blocks: readonly LayerBlock[];

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION, OUT_OF_RANGE */
  constructor(given: GPTModelOptions<SP>) {
    super();
    const options = resolve(given);
    const { hiddenSize, tpGroup, sequenceParallel, norm, normalization, computeDType } = options;
    const { isFirst, isLast, layers } = placeOf('GPTModel', given);
    const learnsPositions = given.rotary === undefined;
    this.embedding = isFirst ? new GPTEmbedding<SP>({ ...options, ...options.vocabulary, ...options.tied, learnsPositions }) : undefined;
    this.layers = new Map(layers.map((layer) => [layer, new TransformerLayer<SP>(options.layer)]));
    this.finalNorm = isLast ? makeNorm(normalization, { hiddenSize, ...norm }) : undefined;
    const head = { tpGroup, ...options.vocabulary, sequenceParallel, computeDType, loss: options.loss };
    this.head = isLast ? new LanguageModelHead<SP>({ weight: headWeight(options, this.embedding), ...head }) : undefined;
    this.config = configOf(given);
    this.options = options;
    this.blocks = layerBlocks('GPTModel', layers.length, given.recompute);
  }

  /** On the last stage, the loss of each token: `tokens` and `targets` (i32) `[s, b]` to `[s, b]`. Other stages ignore `targets`. */
  override forward(input: AnyTensor, targets: Tensor, inputs?: AttentionInputs): Tensor;
  /**
   * Tokens (i32) `[s, b]` on the first stage, else hidden states `[s, b, h]`; to hidden states, or on the last stage to logits
   * `[s, b, v / t]`, cut over the ranks and padded to their `vocabMultiple`.
   */
  override forward(input: AnyTensor, targets?: undefined, inputs?: AttentionInputs): AnyTensor;
  override forward(input: AnyTensor, targets?: Tensor, inputs?: AttentionInputs): AnyTensor {
    const stack = { layers: this.layers.values(), blocks: this.blocks };
    const hidden = throughLayers(stack, this.embedding === undefined ? input : this.embedding.call(input), inputs); // [s, b, h]
    if (this.head === undefined || this.finalNorm === undefined) return hidden;
    const normed: AnyTensor = this.finalNorm.call(hidden); // [s, b, h]
    if (targets !== undefined && this.options.fusedLoss) return this.head.call(normed, targets); // [s, b]
    const logits = this.head.call(normed); // [s, b, v / t]
    return targets === undefined ? logits : this.losses(logits, targets);
  }

  /** Loss of each token from logits `[s, b, v / t]` and targets (i32) `[s, b]`: `[s, b]`. */
  losses(logits: Tensor<VocabShard>, targets: Tensor): Tensor {
    const { tpGroup, vocabulary, loss } = this.options;
    return vocabParallelCrossEntropy(logits, targets, tpGroup, { ...vocabulary, ...loss });
  }

  /**
   * Sum and number of token losses, as schedules want them. `output` is what the last stage gave: losses `[s, b]`, or logits
   * `[s, b, v / t]` to be compared with `targets`. With an `ignoreIndex` the targets also say how many tokens count.
   * @throws ConfigError MISSING_OPTION
   */
  lossOf(output: AnyTensor, targets?: Tensor): Loss {
    const { ignoreIndex } = this.options.loss;
    if (targets === undefined) {
      if (ignoreIndex !== undefined) throw withoutTargets(ignoreIndex);
      return { sum: sum(output as Tensor), count: output.numel };
    }
    const isLosses = output.shape.length === targets.shape.length;
    const losses: Tensor = isLosses ? output : this.losses(output, targets); // [s, b]
    return { sum: sum(losses), count: countTargets(targets, ignoreIndex) };
  }

  /** Logits of the whole vocabulary on every tensor-parallel rank of the last stage, for generation: `[s, b, vocabSize]`. */
  logits(input: AnyTensor): Tensor {
    const { tpGroup, vocabulary } = this.options;
    return gatherVocabulary(this.call(input), vocabulary, tpGroup);
  }

  /** Shape of the hidden states that come into a stage other than the first, for tokens of shape `[s, b]`. */
  activationShape([seq = 0, batch = 0]: readonly number[]): readonly number[] {
    const { hiddenSize, sequenceParallel, tpGroup } = this.options;
    return [sequenceParallel === true ? seq / tpGroup.size : seq, batch, hiddenSize];
  }

  /** Element type of these hidden states. */
  get activationDType(): DType {
    return this.options.paramDType;
  }
}

type ResolvedOptions<SP extends boolean> = ReturnType<typeof resolve<SP>>;

function resolve<SP extends boolean>(given: GPTModelOptions<SP>) {
  const { ctx, vocabSize, vocabMultiple, maxSequenceLength, hiddenSize, numLayers, numAttentionHeads, sequenceParallel } = given;
  const { ffnHiddenSize = 4 * hiddenSize, bias = true, layerNormEps = 1e-5, initStd = 0.02, tieWordEmbeddings = true } = given;
  const { window, activation, normalization = 'layerNorm', fusedLoss = true, hiddenDropout = 0, attentionDropout = 0 } = given;
  const { paramDType = 'f32', computeDType, labelSmoothing, zLoss, ignoreIndex } = given;
  const loss = { labelSmoothing, zLoss, ignoreIndex };
  const parts = [...recomputedPartsOf('GPTModel', given.recompute)];
  if (!(initStd >= 0))
    throw new ConfigError('INVALID_OPTION', `GPTModel: initStd is ${initStd}. Use a number of at least 0, such as 0.02.`);
  requireDropoutRates('GPTModel', { hiddenDropout, attentionDropout });
  requireLossOptions('GPTModel', loss);
  const width = { hiddenSize, numAttentionHeads, ffnHiddenSize };
  const kind = { window, activation, normalization, hiddenDropout, attentionDropout, paramDType, computeDType };
  const tpGroup: ProcessGroup = ctx.tp;
  const init: InitRule = { kind: 'normal', std: initStd };
  const outputInit: InitRule = { kind: 'normal', std: initStd / Math.sqrt(2 * numLayers) };
  return {
    vocabulary: { vocabSize, vocabMultiple },
    maxSequenceLength,
    hiddenSize,
    hiddenDropout,
    tpGroup,
    init,
    tieWordEmbeddings,
    sequenceParallel,
    normalization,
    fusedLoss,
    loss,
    paramDType,
    computeDType,
    tied: tieWordEmbeddings ? tiedOver(ctx.pp.size) : {},
    norm: { eps: layerNormEps, sequenceParallel: sequenceParallel === true, paramDType },
    layer: { ...width, ...headsOf(given), ...kind, bias, layerNormEps, tpGroup, init, outputInit, sequenceParallel, recompute: parts },
  };
}

function configOf<SP extends boolean>({ ctx: _, chunk: __, ...given }: GPTModelOptions<SP>): ResolvedGPTConfig {
  const { hiddenSize, numAttentionHeads, numKeyValueHeads = numAttentionHeads, headDim = hiddenSize / numAttentionHeads } = given;
  const { ffnHiddenSize = 4 * hiddenSize, bias = true, qkNorm = false, layerNormEps = 1e-5, tieWordEmbeddings = true } = given;
  const { activation = 'gelu', normalization = 'layerNorm' } = given;
  const heads = { numKeyValueHeads, headDim, qkNorm };
  return Object.freeze({ ...given, ...heads, ffnHiddenSize, activation, normalization, bias, layerNormEps, tieWordEmbeddings });
}

function withoutTargets(ignoreIndex: number): ConfigError {
  const sentence = `GPTModel.lossOf: with ignoreIndex ${ignoreIndex} the losses alone do not say how many tokens count. Pass the targets as well.`;
  return new ConfigError('MISSING_OPTION', sentence, { fields: { ignoreIndex } });
}

/** The head's weight: the word embedding, or a weight of its own. */
function headWeight<SP extends boolean>(options: ResolvedOptions<SP>, embedding: GPTEmbedding<SP> | undefined) {
  if (!options.tieWordEmbeddings) return vocabParallelWeight({ ...options, ...options.vocabulary });
  return tiedHeadWeight(embedding?.wordEmbeddings.weight, { ...options, ...options.vocabulary, ...options.tied });
}

/** What a model says of its heads besides their number. */
function headsOf<SP extends boolean>({ numKeyValueHeads, headDim, rotary, qkNorm }: GPTModelOptions<SP>) {
  return { numKeyValueHeads, headDim, rotary, qkNorm };
}
