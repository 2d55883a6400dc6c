import { ConfigError, ShapeError } from '@megatron-ts/errors';
import {
  type AnyTensor,
  cat,
  countTargets,
  type DType,
  formatShape,
  type Loss,
  Module,
  mul,
  slice,
  sum,
  type Tensor,
  whereInModel,
} from '@megatron-ts/tensor';
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
import { tiedHeadWeight } from './tied-head.ts';

/** What a T5 model may be told of the tokens. */
export interface T5Inputs {
  /** Segment of each token of the encoder (i32) `[se, b]`; negative numbers are padding. All are of segment 0 by default. */
  readonly segments?: AnyTensor | undefined;
  /**
   * Segment of each token of the decoder (i32) `[sd, b]`, which sees tokens of its own segment alone, of the encoder too. All are of
   * segment 0 by default.
   */
  readonly decoderSegments?: AnyTensor | undefined;
  /**
   * Token that should follow each of the decoder's (i32) `[sd, b]`, `ignoreIndex` where none counts: the last stage then gives losses,
   * without ever holding all logits, and others ignore it.
   */
  readonly targets?: Tensor | undefined;
}

/** Both residual streams on their way through the stages. */
interface Streams {
  /** `[se, b, h]`: of the encoder, and behind its last layer what the decoder looks at. */
  readonly encoded: AnyTensor;
  /** `[sd, b, h]`: of the decoder. */
  readonly decoded: AnyTensor;
}

/**
 * This rank's stage of an encoder and a decoder over one vocabulary. Scores have no factor, positions are told by biases of distances,
 * norms are RMS norms before each block, and nothing else has biases. Tokens of the decoder are the caller's, its start token included.
 * Names of parameters and initial values do not depend on the layout.
 *
 * In a pipeline both stacks are cut as one list of layers. Both streams travel together, so that every layer of the decoder finds what the
 * encoder made, and the first stage alone looks words up.
 * @source Raffel et al. 2020, section 2.1; Shazeer 2020 (version 1.1)
 */
export class T5Model<SP extends boolean = false> extends Module {
  /** Words of both stacks, on the first stage. */
  readonly embedding: VocabParallelEmbedding<SP> | undefined;
  /** Reads the input. */
  readonly encoder: T5Encoder<SP>;
  /** Writes the output. */
  readonly decoder: T5Decoder<SP>;
  /** Logits, on the last stage. */
  readonly head: LanguageModelHead<SP> | undefined;
  private readonly sizes: ReturnType<typeof t5SizesOf<SP>>;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: T5ModelOptions<SP>) {
    super();
    const sizes = t5SizesOf(options);
    const { words, tied, tiedHead, encoder, decoder, place } = sizes;
    this.embedding = place.isFirst ? new VocabParallelEmbedding<SP>({ ...words, ...tied }) : undefined;
    this.encoder = new T5Encoder<SP>(encoder);
    this.decoder = new T5Decoder<SP>(decoder);
    const headWeight = () => (tiedHead ? tiedHeadWeight(this.embedding?.weight, { ...words, ...tied }) : vocabParallelWeight(words));
    this.head = place.isLast ? new LanguageModelHead<SP>({ ...words, weight: headWeight(), loss: sizes.loss }) : undefined;
    this.sizes = sizes;
  }

  /**
   * Tokens (i32) `[se, b]` on the first stage, else what the stage before gave, `[se + sd, b, h]`, and the decoder's tokens `[sd, b]`,
   * given to every stage; to both streams one behind the other, `[se + sd, b, h]`, or on the last stage to logits `[sd, b, v / t]`, cut
   * over the ranks, or with targets to the loss of each token `[sd, b]`.
   * @throws ShapeError SHAPE_MISMATCH
   */
  override forward(input: AnyTensor, decoderTokens: Tensor, inputs: T5Inputs = {}): AnyTensor {
    requireBatch(decoderTokens, input);
    const { embedding } = this;
    const streams =
      embedding === undefined
        ? this.parted(input, decoderTokens)
        : { encoded: embedding.call(input), decoded: embedding.call(decoderTokens) }; // [se, b, h] and [sd, b, h]
    const encoded = this.throughEncoder(streams.encoded, inputs); // [se, b, h]
    const decoded = this.throughDecoder({ encoded, decoded: streams.decoded }, inputs); // [sd, b, h]
    if (this.head === undefined) return cat([encoded, decoded], 0); // [se + sd, b, h]
    const scaled = this.scaled(decoded); // [sd, b, h]
    return inputs.targets === undefined ? this.head.call(scaled) : this.head.call(scaled, inputs.targets); // [sd, b, v / t] or [sd, b]
  }

  /**
   * What the encoder makes of `tokens` (i32) `[se, b]`: `[se, b, h]`, or `[se / t, b, h]` under sequence parallelism.
   * @throws ConfigError CONTRADICTION in a pipeline
   */
  encode(tokens: Tensor, inputs: T5Inputs = {}): Tensor<Residual<SP>> {
    return this.throughEncoder(this.ends('encode').embedding.call(tokens), inputs) as Tensor<Residual<SP>>;
  }

  /**
   * Logits `[sd, b, v / t]` of the decoder's tokens (i32) `[sd, b]`, which look at what the encoder made.
   * @throws ShapeError SHAPE_MISMATCH; ConfigError CONTRADICTION in a pipeline
   */
  decode(decoderTokens: Tensor, memory: Tensor<Residual<SP>>, inputs: T5Inputs = {}): Tensor<VocabShard> {
    requireBatch(decoderTokens, memory);
    const { embedding, head } = this.ends('decode');
    const streams = { encoded: memory, decoded: embedding.call(decoderTokens) };
    return head.call(this.scaled(this.throughDecoder(streams, inputs))); // [sd, b, v / t]
  }

  /** Loss of each token from logits `[sd, b, v / t]` and targets (i32) `[sd, b]`, 0 where a target is `ignoreIndex`: `[sd, b]`. */
  losses(logits: Tensor<VocabShard>, targets: Tensor): Tensor {
    const { vocabSize, loss, words } = this.sizes;
    return vocabParallelCrossEntropy(logits, targets, words.tpGroup, { vocabSize, ...loss });
  }

  /**
   * Sum of the losses and number of tokens that count, as schedules want them. `output` is what the last stage gave: losses `[sd, b]`, or
   * logits `[sd, b, v / t]`.
   */
  lossOf(output: AnyTensor, targets: Tensor): Loss {
    const isLosses = output.shape.length === targets.shape.length;
    const losses: Tensor = isLosses ? output : this.losses(output, targets); // [sd, b]
    return { sum: sum(losses), count: countTargets(targets, this.sizes.loss.ignoreIndex) };
  }

  /** Logits of the whole vocabulary on every tensor-parallel rank of the last stage: `[sd, b, vocabSize]`. */
  logits(input: AnyTensor, decoderTokens: Tensor, inputs?: Omit<T5Inputs, 'targets'>): Tensor {
    const { vocabSize, words } = this.sizes;
    return gatherVocabulary(this.call(input, decoderTokens, inputs), vocabSize, words.tpGroup);
  }

  /**
   * Shape of what comes into a stage other than the first, for tokens of shape `[se, b]` and those of the decoder of shape `[sd, b]`.
   * @throws ConfigError MISSING_OPTION
   */
  activationShape([read = 0, batch = 0]: readonly number[], decoderShape?: readonly number[]): readonly number[] {
    const { hiddenSize } = this.sizes;
    if (decoderShape !== undefined) return [this.rowsOf(read) + this.rowsOf(decoderShape[0] ?? 0), batch, hiddenSize];
    const sentence =
      "T5Model.activationShape: the shape of the decoder's tokens is missing. Give runSchedule an activationShape that passes it as well.";
    throw new ConfigError('MISSING_OPTION', sentence);
  }

  /** Element type of it. */
  get activationDType(): DType {
    return this.sizes.words.paramDType ?? 'f32';
  }

  /** Rows that this rank holds of a sequence. */
  private rowsOf(length: number): number {
    const { tpGroup, sequenceParallel } = this.sizes.words;
    return sequenceParallel === true ? length / tpGroup.size : length;
  }

  private parted(both: AnyTensor, decoderTokens: Tensor): Streams {
    const [rows = 0] = both.shape;
    const at = rows - this.rowsOf(decoderTokens.shape[0] ?? 0);
    return { encoded: slice(both, 0, { start: 0, end: at }), decoded: slice(both, 0, { start: at, end: rows }) };
  }

  /** Tokens of a sequence of which this rank holds `x`. */
  private lengthOf({ shape: [rows = 0] }: AnyTensor): number {
    return rows / this.rowsOf(1);
  }

  private throughEncoder(x: AnyTensor, { segments }: T5Inputs): AnyTensor {
    return this.encoder.layers.size === 0 ? x : this.encoder.call(x, this.lengthOf(x), segments); // [se, b, h]
  }

  private throughDecoder({ encoded: memory, decoded }: Streams, { segments, decoderSegments }: T5Inputs): AnyTensor {
    if (this.decoder.layers.size === 0) return decoded;
    const told = { memory, length: this.lengthOf(decoded), querySegments: decoderSegments, keySegments: segments };
    return this.decoder.call(decoded, told); // [sd, b, h]
  }

  /** What the head reads of the decoder's stream. */
  private scaled(hidden: AnyTensor): Tensor<Residual<SP>> {
    const { tiedHead, hiddenSize } = this.sizes;
    return (tiedHead ? mul(hidden, 1 / Math.sqrt(hiddenSize)) : hidden) as Tensor<Residual<SP>>; // [sd, b, h]
  }

  /** Both ends of a model that is on one stage. @throws ConfigError CONTRADICTION */
  private ends(method: string) {
    const { embedding, head } = this;
    if (embedding !== undefined && head !== undefined) return { embedding, head };
    const sentence = `T5Model.${method}: this stage holds a part of the model. Call the model itself, or use pipelineModelParallelSize 1.`;
    throw new ConfigError('CONTRADICTION', sentence);
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
