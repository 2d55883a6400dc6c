import { ConfigError } from '@megatron-ts/errors';
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
import { gatherVocabulary, vocabParallelCrossEntropy, type VocabShard } from '@megatron-ts/tensor-parallel';
import { BertEmbedding } from './bert-embedding.ts';
import { addSentenceLosses } from './bert-losses.ts';
import type { BertModelOptions } from './bert-options.ts';
import { BinaryHead } from './binary-head.ts';
import { LayerNorm } from './layer-norm.ts';
import { MaskedLanguageHead } from './masked-language-head.ts';
import type { AttentionInputs } from './parallel-attention.ts';
import { placeOf } from './pipeline-place.ts';
import { Pooler } from './pooler.ts';
import { type LayerBlock, layerBlocks, recomputedPartsOf } from './recompute-plan.ts';
import { tiedHeadWeight, tiedOver } from './tied-head.ts';
import { throughLayers } from './through-layers.ts';
import { TransformerLayer } from './transformer-layer.ts';

/** What a BERT model may be told of the tokens. */
export interface BertInputs extends Pick<AttentionInputs, 'segments'> {
  /** Kind of each token (i32) `[s, b]`; 0 by default. The first stage reads it. */
  readonly tokenTypes?: AnyTensor | undefined;
  /**
   * Token that each masked one was (i32) `[s, b]`, `ignoreIndex` where none was masked: the last stage then gives losses in place of
   * logits, and others ignore it.
   */
  readonly targets?: Tensor | undefined;
  /** Beside them for a binary head, which of the two is true of each sample (i32) `[b]`, such as 1 where sentences do not follow. */
  readonly sentenceTargets?: AnyTensor | undefined;
}

/** What the heads of a BERT model give. */
export interface BertOutputs {
  /** Logits of every token `[s, b, v / t]`, cut over the ranks. */
  readonly logits: Tensor<VocabShard>;
  /** Logits of the binary head `[b, 2]`, on every rank; none without it. */
  readonly sentenceLogits: Tensor | undefined;
}

/**
 * This rank's chunk of a BERT model, trained on the tokens that were masked, and with a binary head on whether sentences follow each other:
 * every token sees all others. Names of parameters do not depend on the layout. Padding is told with negative `segments`, to every stage.
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
  /** What stands for a whole sample, on the last stage of a model with a binary head. */
  readonly pooler: Pooler<SP> | undefined;
  /** Two logits of each sample, behind the pooler. */
  readonly binaryHead: BinaryHead | undefined;
  private readonly options: ResolvedOptions<SP>;
  private readonly blocks: readonly LayerBlock[];

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION, OUT_OF_RANGE */
  constructor(given: BertModelOptions<SP>) {
    super();
    const options = resolve(given);
    const { hiddenSize, sequenceParallel, paramDType, layerNormEps: eps, isPostNorm, tied, words, addBinaryHead } = options;
    const { isFirst, isLast, layers } = placeOf('BertModel', given);
    this.embedding = isFirst ? new BertEmbedding<SP>({ ...options, ...words, isNormed: isPostNorm }) : undefined;
    this.layers = new Map(layers.map((layer) => [layer, new TransformerLayer<SP>(options.layer)]));
    const norm = { hiddenSize, eps, sequenceParallel: sequenceParallel === true, paramDType };
    this.finalNorm = isLast && !isPostNorm ? new LayerNorm(norm) : undefined;
    const weight = isLast ? tiedHeadWeight(this.embedding?.tokens.wordEmbeddings.weight, { ...words, ...tied }) : undefined;
    this.head = weight === undefined ? undefined : new MaskedLanguageHead<SP>({ weight, ...options });
    this.pooler = isLast && addBinaryHead ? new Pooler<SP>(options) : undefined;
    this.binaryHead = isLast && addBinaryHead ? new BinaryHead(options) : undefined;
    this.options = options;
    this.blocks = layerBlocks('BertModel', layers.length, given.recompute);
  }

  /**
   * Tokens (i32) `[s, b]` on the first stage, else hidden states `[s, b, h]`; to hidden states, or on the last stage to logits
   * `[s, b, v / t]`, cut over the ranks. With targets the last stage gives the loss of each token `[s, b]`: 0 where it was not masked, and
   * with that of its sample's sentences where it was.
   * @throws ConfigError MISSING_OPTION, CONTRADICTION
   */
  override forward(input: AnyTensor, inputs: BertInputs = {}): AnyTensor {
    const hidden = this.through(input, inputs); // [s, b, h]
    if (this.head === undefined) return hidden;
    const { targets, sentenceTargets } = inputs;
    if ((targets !== undefined && this.pooler !== undefined) !== (sentenceTargets !== undefined))
      throw mismatched(targets, sentenceTargets);
    const logits = this.head.call(hidden); // [s, b, v / t]
    if (targets === undefined) return logits;
    const losses = this.losses(logits, targets); // [s, b]
    const sentenceLogits = this.sentenceLogits(hidden); // [b, 2]
    if (sentenceLogits === undefined || sentenceTargets === undefined) return losses;
    const { ignoreIndex } = this.options.loss;
    return addSentenceLosses(losses, { targets, sentenceLogits, sentenceTargets, ignoreIndex }); // [s, b]
  }

  /**
   * Logits of both heads, on the last stage: of every token `[s, b, v / t]`, and of every sample `[b, 2]`.
   * @throws ConfigError CONTRADICTION on other stages
   */
  outputs(input: AnyTensor, inputs: BertInputs = {}): BertOutputs {
    if (this.head === undefined) throw withoutHeads();
    const hidden = this.through(input, inputs); // [s, b, h]
    return { logits: this.head.call(hidden), sentenceLogits: this.sentenceLogits(hidden) };
  }

  private through(input: AnyTensor, { tokenTypes, segments }: BertInputs): AnyTensor {
    const hidden: AnyTensor = this.embedding === undefined ? input : this.embedding.call(input, tokenTypes); // [s, b, h]
    const changed = throughLayers({ layers: this.layers.values(), blocks: this.blocks }, hidden, { segments }); // [s, b, h]
    return this.finalNorm === undefined ? changed : this.finalNorm.call(changed); // [s, b, h]
  }

  private sentenceLogits(hidden: AnyTensor): Tensor | undefined {
    return this.pooler === undefined ? undefined : this.binaryHead?.call(this.pooler.call(hidden)); // [b, 2]
  }

  /** Loss of each token from logits `[s, b, v / t]` and targets (i32) `[s, b]`, 0 where a token was not masked: `[s, b]`. */
  losses(logits: Tensor<VocabShard>, targets: Tensor): Tensor {
    const { tpGroup, vocabSize, loss } = this.options;
    return vocabParallelCrossEntropy(logits, targets, tpGroup, { vocabSize, ...loss });
  }

  /**
   * Sum of the losses and number of masked tokens, as schedules want them. `output` is what the last stage gave: losses `[s, b]`, or, of a
   * model without a binary head, logits `[s, b, v / t]`.
   * @throws ConfigError MISSING_OPTION
   */
  lossOf(output: AnyTensor, targets: Tensor): Loss {
    const isLosses = output.shape.length === targets.shape.length;
    if (!isLosses && this.pooler !== undefined) throw withoutSentences();
    const losses: Tensor = isLosses ? output : this.losses(output, targets); // [s, b]
    return { sum: sum(losses), count: countTargets(targets, this.options.loss.ignoreIndex) };
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
  const { numTokenTypes = 2, normPlacement = 'post', addBinaryHead = false, hiddenDropout = 0, attentionDropout = 0 } = given;
  const { labelSmoothing, zLoss, ignoreIndex = -100 } = given;
  const loss = { labelSmoothing, zLoss, ignoreIndex };
  const { initStd = 0.02, layerNormEps = 1e-12, paramDType = 'f32', computeDType } = given;
  if (!(initStd >= 0))
    throw new ConfigError('INVALID_OPTION', `BertModel: initStd is ${initStd}. Use a number of at least 0, such as 0.02.`);
  requireDropoutRates('BertModel', { hiddenDropout, attentionDropout });
  requireLossOptions('BertModel', loss);
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
    addBinaryHead,
    loss,
    tied,
    isPostNorm: normPlacement === 'post',
    words: { vocabSize, hiddenSize, tpGroup, init, paramDType, ...tied },
    layer: { ...shared, numAttentionHeads, ffnHiddenSize, attentionDropout, normPlacement, causal: false, recompute },
  };
}

function mismatched(targets: AnyTensor | undefined, sentenceTargets: AnyTensor | undefined): ConfigError {
  const given = (value: AnyTensor | undefined) => (value === undefined ? 'missing' : 'given');
  const sentence =
    `BertModel: targets are ${given(targets)} and sentenceTargets ${given(sentenceTargets)}. Give both to a model with addBinaryHead, and `
    + 'targets alone to one without; logits need neither.';
  return new ConfigError(sentenceTargets === undefined ? 'MISSING_OPTION' : 'CONTRADICTION', sentence);
}

function withoutSentences(): ConfigError {
  const sentence =
    'BertModel.lossOf: the logits of tokens do not say what the binary head gave. Call the model with targets and sentenceTargets, and pass '
    + 'the losses on.';
  return new ConfigError('MISSING_OPTION', sentence);
}

function withoutHeads(): ConfigError {
  return new ConfigError('CONTRADICTION', 'BertModel.outputs: this stage has no heads. Ask on the last stage of the pipeline.');
}
