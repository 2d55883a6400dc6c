import { ShapeError } from '@megatron-ts/errors';
import type { AnyTensor, InitRule, Tensor } from '@megatron-ts/tensor';
import {
  add,
  constantTensor,
  dropout,
  embedding,
  formatShape,
  Module,
  Parameter,
  requireDropoutRates,
  whereInModel,
} from '@megatron-ts/tensor';
import type { ParamDType, Residual, VocabParallelEmbeddingOptions } from '@megatron-ts/tensor-parallel';
import { replicatedMeta, requireSizes, VocabParallelEmbedding } from '@megatron-ts/tensor-parallel';
import { firstTokenOf, type StreamLayout } from './first-token.ts';

/** Options of a table of positions. */
export interface PositionEmbeddingOptions {
  /** Most positions. */
  readonly maxSequenceLength: number;
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** How it is filled. */
  readonly init: InitRule;
  /** Whether each rank reads the rows of its part of the sequence only. */
  readonly sequenceParallel: boolean | undefined;
  /** What it is stored in; f32 by default. */
  readonly paramDType?: ParamDType | undefined;
}

/** A learned vector per position, whole on every rank. */
export class PositionEmbedding extends Module {
  /** `[maxSequenceLength, h]`. */
  readonly weight: Parameter;

  /** @throws ConfigError INVALID_OPTION */
  constructor({ maxSequenceLength, hiddenSize, init, sequenceParallel, paramDType: dtype }: PositionEmbeddingOptions) {
    super();
    requireSizes('PositionEmbedding', { maxSequenceLength, hiddenSize });
    const shape = [maxSequenceLength, hiddenSize];
    this.weight = new Parameter({ shape, dtype, init, meta: replicatedMeta(shape, sequenceParallel) });
  }

  /** Rows `start` to `end`, as `[end - start, 1, h]`. */
  override forward(start: number, end: number): Tensor {
    const positions = constantTensor(
      Int32Array.from({ length: end - start }, (_, i) => start + i),
      [end - start, 1],
    );
    return embedding(this.weight, positions); // [end - start, 1, h]
  }
}

/** Options of the embedding of a GPT model. */
export interface GPTEmbeddingOptions<SP extends boolean> extends VocabParallelEmbeddingOptions<SP> {
  /** Most tokens of a sequence. */
  readonly maxSequenceLength: number;
  /** How both tables are filled. */
  readonly init: InitRule;
  /** Share of the elements of the sum that dropout leaves out; 0 by default. */
  readonly hiddenDropout?: number;
  /** Whether positions have learned vectors; true by default. */
  readonly learnsPositions?: boolean;
}

/** Words, and learned positions where heads are not turned by them: what the first stage begins with. */
export class GPTEmbedding<SP extends boolean = false> extends Module {
  /** `[v / t, h]`. */
  readonly wordEmbeddings: VocabParallelEmbedding<SP>;
  /** `[maxSequenceLength, h]`. */
  readonly positionEmbeddings: PositionEmbedding | undefined;
  private readonly layout: StreamLayout;
  private readonly hiddenDropout: number;
  private readonly maxSequenceLength: number;

  /** @throws ConfigError INVALID_OPTION */
  constructor(options: GPTEmbeddingOptions<SP>) {
    super();
    const {
      maxSequenceLength,
      hiddenSize,
      init,
      tpGroup,
      sequenceParallel,
      paramDType,
      hiddenDropout = 0,
      learnsPositions = true,
    } = options;
    requireDropoutRates('GPTEmbedding', { hiddenDropout });
    this.wordEmbeddings = new VocabParallelEmbedding(options);
    const positions = { maxSequenceLength, hiddenSize, init, sequenceParallel, paramDType };
    this.positionEmbeddings = learnsPositions ? new PositionEmbedding(positions) : undefined;
    this.maxSequenceLength = maxSequenceLength;
    this.layout = { tpGroup, sequenceParallel };
    this.hiddenDropout = hiddenDropout;
  }

  /** `tokens` (i32) `[s, b]` to `[s, b, h]`, or `[s / t, b, h]` under sequence parallelism. @throws ShapeError SHAPE_MISMATCH */
  override forward(tokens: Tensor): Tensor<Residual<SP>> {
    const [seq = 0] = tokens.shape;
    if (tokens.shape.length !== 2 || seq > this.maxSequenceLength) throw tooLong(tokens.shape, this.maxSequenceLength);
    const words = this.wordEmbeddings.call(tokens); // [s, b, h]
    const [rows = 0] = words.shape;
    const start = firstTokenOf(words, this.layout);
    const positions: AnyTensor | undefined = this.positionEmbeddings?.call(start, start + rows); // [s, 1, h]
    const sum: Tensor<Residual<SP>> = positions === undefined ? words : add(words, positions); // [s, b, h]
    return dropout(sum, { p: this.hiddenDropout, firstToken: start });
  }
}

function tooLong(shape: readonly number[], most: number): ShapeError {
  const sentence =
    `${whereInModel('embedding')}: tokens ${formatShape(shape)} are not [s, b] with s up to maxSequenceLength ${most}. `
    + 'Cut the sequences, or raise maxSequenceLength.';
  return new ShapeError('SHAPE_MISMATCH', sentence, { fields: { shape, maxSequenceLength: most } });
}
