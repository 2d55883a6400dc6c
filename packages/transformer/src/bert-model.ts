import { ConfigError } from '@megatron-ts/errors';
import {
  type AnyTensor,
  countTargets,
  type DType,
  type InitRule,
  type Loss,
  Module,
  requireDropoutRates,
  sum,
  type Tensor,
} from '@megatron-ts/tensor';
import { gatherVocabulary, vocabParallelCrossEntropy, type VocabShard } from '@megatron-ts/tensor-parallel';
import { BertEmbedding } from './bert-embedding.ts';
import type { BertModelOptions } from './bert-options.ts';
import { LayerNorm } from './layer-norm.ts';
import { MaskedLanguageHead } from './masked-language-head.ts';
import type { AttentionInputs } from './parallel-attention.ts';
import { placeOf } from './pipeline-place.ts';
import { type LayerBlock, layerBlocks, recomputedPartsOf } from './recompute-plan.ts';
import { tiedHeadWeight, tiedOver } from './tied-head.ts';
import { throughLayers } from './through-layers.ts';
import { TransformerLayer } from './transformer-layer.ts';

/** What a BERT model may be told of the tokens. */
export interface BertInputs extends Pick<AttentionInputs, 'segments'> {
  /** Kind of each token (i32) `[s, b]`; 0 by default. The first stage reads it. */
  readonly tokenTypes?: AnyTensor | undefined;
}

/**
 * This rank's chunk of a BERT model, trained on the tokens that were masked: every token sees all others. Names of parameters do not depend
 * on the layout. Padding is told with negative `segments`, to every stage.
 * @source Devlin et al. 2019, section 3; Shoeybi et al. 2019, section 5.3 (norms before)
 */
export class BertModel<SP extends boolean = false> extends Module {
  /** Words, positions and kinds, on the first stage. */
  readonly embedding: BertEmbedding<SP> | undefined;
  /** Layers by their number in the whole model. */
  readonly layers: Map<number, TransformerLayer<SP>>;
  /** The last norm, on the last stage, where norms stand before. */
  readonly finalNorm: LayerNorm | undefined;
  /** Logits, on the last stage. */
  readonly head: MaskedLanguageHead<SP> | undefined;
  private readonly options: ResolvedOptions<SP>;
  private readonly blocks: readonly LayerBlock[];

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION, OUT_OF_RANGE */
  constructor(given: BertModelOptions<SP>) {
    super();
    const options = resolve(given);
    const { hiddenSize, sequenceParallel, paramDType, layerNormEps: eps, isPostNorm, tied, words } = options;
    const { isFirst, isLast, layers } = placeOf('BertModel', given);
    this.embedding = isFirst ? new BertEmbedding<SP>({ ...options, ...words, isNormed: isPostNorm }) : undefined;
    this.layers = new Map(layers.map((layer) => [layer, new TransformerLayer<SP>(options.layer)]));
    const norm = { hiddenSize, eps, sequenceParallel: sequenceParallel === true, paramDType };
    this.finalNorm = isLast && !isPostNorm ? new LayerNorm(norm) : undefined;
    const weight = isLast ? tiedHeadWeight(this.embedding?.tokens.wordEmbeddings.weight, { ...words, ...tied }) : undefined;
    this.head = weight === undefined ? undefined : new MaskedLanguageHead<SP>({ weight, ...options });
    this.options = options;
    this.blocks = layerBlocks('BertModel', layers.length, given.recompute);
  }

  /**
   * Tokens (i32) `[s, b]` on the first stage, else hidden states `[s, b, h]`; to hidden states, or on the last stage to logits
   * `[s, b, v / t]`, cut over the ranks.
   */
  override forward(input: AnyTensor, { tokenTypes, segments }: BertInputs = {}): AnyTensor {
    let hidden: AnyTensor = this.embedding === undefined ? input : this.embedding.call(input, tokenTypes); // [s, b, h]
    hidden = throughLayers({ layers: this.layers.values(), blocks: this.blocks }, hidden, { segments }); // [s, b, h]
    if (this.finalNorm !== undefined) hidden = this.finalNorm.call(hidden); // [s, b, h]
    return this.head === undefined ? hidden : this.head.call(hidden); // [s, b, v / t]
  }

  /** Loss of each token from logits `[s, b, v / t]` and targets (i32) `[s, b]`, 0 where a token was not masked: `[s, b]`. */
  losses(logits: Tensor<VocabShard>, targets: Tensor): Tensor {
    const { tpGroup, vocabSize, ignoreIndex } = this.options;
    return vocabParallelCrossEntropy(logits, targets, tpGroup, { vocabSize, ignoreIndex });
  }

  /** Sum of the losses and number of masked tokens, as schedules want them. */
  lossOf(logits: AnyTensor, targets: Tensor): Loss {
    return { sum: sum(this.losses(logits, targets)), count: countTargets(targets, this.options.ignoreIndex) };
  }

  /** Logits of the whole vocabulary on every tensor-parallel rank of the last stage: `[s, b, vocabSize]`. */
  logits(input: AnyTensor, inputs?: BertInputs): Tensor {
    const { tpGroup, vocabSize } = this.options;
    return gatherVocabulary(this.call(input, inputs), vocabSize, tpGroup);
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

function resolve<SP extends boolean>(given: BertModelOptions<SP>) {
  const { ctx, vocabSize, maxSequenceLength, hiddenSize, numAttentionHeads, ffnHiddenSize = 4 * hiddenSize, sequenceParallel } = given;
  const { numTokenTypes = 2, normPlacement = 'post', ignoreIndex = -100, hiddenDropout = 0, attentionDropout = 0 } = given;
  const { initStd = 0.02, layerNormEps = 1e-12, paramDType = 'f32', computeDType } = given;
  if (!(initStd >= 0))
    throw new ConfigError('INVALID_OPTION', `BertModel: initStd is ${initStd}. Use a number of at least 0, such as 0.02.`);
  requireDropoutRates('BertModel', { hiddenDropout, attentionDropout });
  const init: InitRule = { kind: 'normal', std: initStd };
  const tpGroup = ctx.tp;
  const shared = { hiddenSize, tpGroup, init, sequenceParallel, paramDType, computeDType, layerNormEps, hiddenDropout };
  const tied = tiedOver(ctx.pp.size);
  const recompute = [...recomputedPartsOf('BertModel', given.recompute)];
  return {
    ...shared,
    vocabSize,
    maxSequenceLength,
    numTokenTypes,
    ignoreIndex,
    tied,
    isPostNorm: normPlacement === 'post',
    words: { vocabSize, hiddenSize, tpGroup, init, paramDType, ...tied },
    layer: { ...shared, numAttentionHeads, ffnHiddenSize, attentionDropout, normPlacement, causal: false, recompute },
  };
}
