import { ShapeError } from '@megatron-ts/errors';
import { type AnyTensor, countTargets, formatShape, type Loss, Module, mul, sum, type Tensor, whereInModel } from '@megatron-ts/tensor';
import {
  gatherVocabulary,
  type Residual,
  vocabParallelCrossEntropy,
  VocabParallelEmbedding,
  vocabParallelWeight,
  type VocabShard,
} from '@megatron-ts/tensor-parallel';
import { LanguageModelHead } from './language-model-head.ts';
import { T5Decoder } from './t5-decoder.ts';
import { T5Encoder } from './t5-encoder.ts';
import type { T5ModelOptions } from './t5-options.ts';
import { t5SizesOf } from './t5-sizes.ts';

/** What a T5 model may be told of the tokens. */
export interface T5Inputs {
  /** Segment of each token of the encoder (i32) `[se, b]`; negative numbers are padding. All are of segment 0 by default. */
  readonly segments?: AnyTensor | undefined;
  /**
   * Segment of each token of the decoder (i32) `[sd, b]`, which sees tokens of its own segment alone, of the encoder too. All are of
   * segment 0 by default.
   */
  readonly decoderSegments?: AnyTensor | undefined;
}

/**
 * An encoder and a decoder over one vocabulary. Scores have no factor, positions are told by biases of distances, norms are RMS norms
 * before each block, and nothing else has biases. Tokens of the decoder are the caller's, its start token included. Names of parameters
 * and initial values do not depend on the layout.
 * @source Raffel et al. 2020, section 2.1; Shazeer 2020 (version 1.1)
 */
export class T5Model<SP extends boolean = false> extends Module {
  /** Words of both stacks. */
  readonly embedding: VocabParallelEmbedding<SP>;
  /** Reads the input. */
  readonly encoder: T5Encoder<SP>;
  /** Writes the output. */
  readonly decoder: T5Decoder<SP>;
  /** Logits. */
  readonly head: LanguageModelHead<SP>;
  private readonly sizes: ReturnType<typeof t5SizesOf<SP>>;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: T5ModelOptions<SP>) {
    super();
    const sizes = t5SizesOf(options);
    const { words, tiedHead, encoder, decoder } = sizes;
    this.embedding = new VocabParallelEmbedding<SP>(words);
    this.encoder = new T5Encoder<SP>(encoder);
    this.decoder = new T5Decoder<SP>(decoder);
    const weight = tiedHead ? this.embedding.weight.tie() : vocabParallelWeight(words);
    this.head = new LanguageModelHead<SP>({ ...words, weight });
    this.sizes = sizes;
  }

  /** Tokens (i32) `[se, b]` and those of the decoder `[sd, b]` to logits `[sd, b, v / t]`, cut over the ranks. */
  override forward(tokens: Tensor, decoderTokens: Tensor, inputs: T5Inputs = {}): Tensor<VocabShard> {
    return this.decode(decoderTokens, this.encode(tokens, inputs), inputs); // [sd, b, v / t]
  }

  /** What the encoder makes of `tokens` (i32) `[se, b]`: `[se, b, h]`, or `[se / t, b, h]` under sequence parallelism. */
  encode(tokens: Tensor, { segments }: T5Inputs = {}): Tensor<Residual<SP>> {
    return this.encoder.call(this.embedding.call(tokens), tokens.shape[0] ?? 0, segments); // [se, b, h]
  }

  /**
   * Logits `[sd, b, v / t]` of the decoder's tokens (i32) `[sd, b]`, which look at what the encoder made.
   * @throws ShapeError SHAPE_MISMATCH
   */
  decode(decoderTokens: Tensor, memory: Tensor<Residual<SP>>, { segments, decoderSegments }: T5Inputs = {}): Tensor<VocabShard> {
    requireBatch(decoderTokens, memory);
    const { tiedHead, hiddenSize } = this.sizes;
    const told = { memory, length: decoderTokens.shape[0] ?? 0, querySegments: decoderSegments, keySegments: segments };
    const hidden = this.decoder.call(this.embedding.call(decoderTokens), told); // [sd, b, h]
    return this.head.call(tiedHead ? mul(hidden, 1 / Math.sqrt(hiddenSize)) : hidden); // [sd, b, v / t]
  }

  /** Loss of each token from logits `[sd, b, v / t]` and targets (i32) `[sd, b]`, 0 where a target is `ignoreIndex`: `[sd, b]`. */
  losses(logits: Tensor<VocabShard>, targets: Tensor): Tensor {
    const { vocabSize, ignoreIndex, words } = this.sizes;
    return vocabParallelCrossEntropy(logits, targets, words.tpGroup, { vocabSize, ignoreIndex });
  }

  /** Sum of the losses and number of tokens that count, as schedules want them. */
  lossOf(logits: AnyTensor, targets: Tensor): Loss {
    return { sum: sum(this.losses(logits, targets)), count: countTargets(targets, this.sizes.ignoreIndex) };
  }

  /** Logits of the whole vocabulary on every tensor-parallel rank: `[sd, b, vocabSize]`. */
  logits(tokens: Tensor, decoderTokens: Tensor, inputs?: T5Inputs): Tensor {
    const { vocabSize, words } = this.sizes;
    return gatherVocabulary(this.call(tokens, decoderTokens, inputs), vocabSize, words.tpGroup);
  }
}

/** @throws ShapeError SHAPE_MISMATCH */
function requireBatch({ shape }: AnyTensor, { shape: [, batch = 0] }: AnyTensor): void {
  if (shape.length === 2 && shape[1] === batch) return;
  const sentence =
    `${whereInModel('decode')}: decoderTokens ${formatShape(shape)} are not [s, b] with the encoder's batch ${batch}. `
    + 'Give both stacks the same samples.';
  throw new ShapeError('SHAPE_MISMATCH', sentence, { fields: { shape, batch } });
}
