import { ShapeError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import type { AnyTensor, InitRule, Tensor } from '@megatron-ts/tensor';
import { add, embedding, formatShape, Module, Parameter, tensor, whereInModel } from '@megatron-ts/tensor';
import type { Residual, VocabParallelEmbeddingOptions } from '@megatron-ts/tensor-parallel';
import { replicatedMeta, requireSizes, VocabParallelEmbedding } from '@megatron-ts/tensor-parallel';

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
}

/** A learned vector per position, whole on every rank. */
export class PositionEmbedding extends Module {
  /** `[maxSequenceLength, h]`. */
  readonly weight: Parameter;

  /** @throws ConfigError INVALID_OPTION */
  constructor({ maxSequenceLength, hiddenSize, init, sequenceParallel }: PositionEmbeddingOptions) {
    super();
    requireSizes('PositionEmbedding', { maxSequenceLength, hiddenSize });
    const shape = [maxSequenceLength, hiddenSize];
    this.weight = new Parameter({ shape, init, meta: replicatedMeta(shape, sequenceParallel) });
  }

  /** Rows `start` to `end`, as `[end - start, 1, h]`. */
  override forward(start: number, end: number): Tensor {
    const positions = tensor(
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
}

/** Words and learned positions: what the first stage begins with. */
export class GPTEmbedding<SP extends boolean = false> extends Module {
  /** `[v / t, h]`. */
  readonly wordEmbeddings: VocabParallelEmbedding<SP>;
  /** `[maxSequenceLength, h]`. */
  readonly positionEmbeddings: PositionEmbedding;
  private readonly tpGroup: ProcessGroup;
  private readonly sequenceParallel: boolean;

  /** @throws ConfigError INVALID_OPTION */
  constructor(options: GPTEmbeddingOptions<SP>) {
    super();
    const { maxSequenceLength, hiddenSize, init, tpGroup, sequenceParallel } = options;
    this.wordEmbeddings = new VocabParallelEmbedding(options);
    this.positionEmbeddings = new PositionEmbedding({ maxSequenceLength, hiddenSize, init, sequenceParallel });
    this.tpGroup = tpGroup;
    this.sequenceParallel = sequenceParallel === true;
  }

  /** `tokens` (i32) `[s, b]` to `[s, b, h]`, or `[s / t, b, h]` under sequence parallelism. @throws ShapeError SHAPE_MISMATCH */
  override forward(tokens: Tensor): Tensor<Residual<SP>> {
    const { weight } = this.positionEmbeddings;
    const [seq = 0] = tokens.shape;
    const most = weight.shape[0] ?? 0;
    if (tokens.shape.length !== 2 || seq > most) throw tooLong(tokens.shape, most);
    const words = this.wordEmbeddings.call(tokens); // [s, b, h]
    const [rows = 0] = words.shape;
    const start = this.sequenceParallel ? this.tpGroup.rank * rows : 0;
    return add(words, this.positionEmbeddings.call(start, start + rows) as AnyTensor); // [s, b, h]
  }
}

function tooLong(shape: readonly number[], most: number): ShapeError {
  const sentence =
    `${whereInModel('embedding')}: tokens ${formatShape(shape)} are not [s, b] with s up to maxSequenceLength ${most}. `
    + 'Cut the sequences, or raise maxSequenceLength.';
  return new ShapeError('SHAPE_MISMATCH', sentence, { fields: { shape, maxSequenceLength: most } });
}
