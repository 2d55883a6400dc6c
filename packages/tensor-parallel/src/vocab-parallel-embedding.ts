import { ShapeError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { embedding, formatShape, type InitRule, Module, Parameter, type Tensor, whereInModel, wholeTensor } from '@megatron-ts/tensor';
import { requireSizes } from './divide-over-ranks.ts';
import { type ParamDType, requireDTypes } from './layer-dtypes.ts';
import type { VocabShard } from './mappings.ts';
import { type Region, type Residual, tensorParallelRegion } from './region.ts';
import { requireTokens } from './require-tokens.ts';
import { shardPlacement } from './shard-meta.ts';
import { type Vocabulary, vocabRange } from './vocab-range.ts';

/** Options of a weight with a row per token. */
export interface VocabParallelWeightOptions extends Vocabulary {
  /** Features of each token. */
  readonly hiddenSize: number;
  /** Ranks that share the rows. */
  readonly tpGroup: ProcessGroup;
  /** What it is stored in; f32 by default. */
  readonly paramDType?: ParamDType | undefined;
  /** How it is filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** Name under which copies on several stages are drawn and stored; the field path by default. */
  readonly sharedName?: string;
  /** Group over which copies sum their gradients; none by default. */
  readonly sharedOver?: string | undefined;
  /** Whether this copy counts in norms and is stored; true by default. */
  readonly isPrimary?: boolean;
}

/** This rank's rows of a `[vocabSize, hiddenSize]` weight, and zeros in those that pad it. @throws ConfigError INVALID_OPTION */
export function vocabParallelWeight(options: VocabParallelWeightOptions): Parameter<VocabShard> {
  const { vocabSize, hiddenSize, tpGroup, sharedName, sharedOver, isPrimary = true } = options;
  const { init = { kind: 'normal', std: 0.02 }, paramDType: dtype } = options;
  requireSizes('vocabParallelWeight', { hiddenSize });
  requireDTypes('vocabParallelWeight', { paramDType: dtype });
  const { start, end, rows } = vocabRange(options, tpGroup);
  const [shape, extent] = [
    [rows, hiddenSize],
    [end - start, hiddenSize],
  ];
  const globalShape = [vocabSize, hiddenSize];
  const logical = [{ suffix: '', globalShape, rectangles: [{ globalOffset: [start, 0], localOffset: [0, 0], extent }] }];
  const meta = { ...wholeTensor(globalShape), logical, shardedOver: ['tp'], sharedOver, isPrimary };
  const placement = shardPlacement('vocab', tpGroup);
  return new Parameter({ shape, dtype, init, placement, meta, ...(sharedName === undefined ? {} : { sharedName }) });
}

/** Options of a vocabulary-parallel embedding. */
export interface VocabParallelEmbeddingOptions<SP extends boolean> extends VocabParallelWeightOptions {
  /** Whether the output is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
}

/**
 * Rows of a table by token, with the vocabulary cut over the ranks: `weight` `[vocabSize / t, hiddenSize]`. Each rank looks up its own
 * tokens and gives zeros for the others; the sum over ranks is the row.
 * @source Shoeybi et al. 2019, section 3
 */
export class VocabParallelEmbedding<SP extends boolean = false> extends Module {
  /** `[vocabSize / t, hiddenSize]`. */
  readonly weight: Parameter<VocabShard>;
  private readonly vocabSize: number;
  private readonly firstRow: number;
  private readonly region: Region<Residual<SP>>;
  /** Parts that the sequence is cut into. */
  private readonly parts: number;

  /** @throws ConfigError INVALID_OPTION */
  constructor(options: VocabParallelEmbeddingOptions<SP>) {
    super();
    const { vocabSize, tpGroup, sequenceParallel } = options;
    this.weight = vocabParallelWeight(options);
    this.vocabSize = vocabSize;
    this.firstRow = vocabRange(options, tpGroup).start;
    this.parts = options.sequenceParallel === true ? options.tpGroup.size : 1;
    this.region = tensorParallelRegion(tpGroup, sequenceParallel);
  }

  /** `tokens` (i32) `[s, b]` to `[s, b, hiddenSize]`. @throws ShapeError INDEX_OUT_OF_RANGE, SHAPE_MISMATCH */
  override forward(tokens: Tensor): Tensor<Residual<SP>> {
    requireTokens('embedding', tokens, { vocabSize: this.vocabSize });
    requireDivisible(tokens.shape, this.parts);
    return this.region.leave(embedding(this.weight, tokens, { firstRow: this.firstRow })); // [s, b, h]
  }
}

function requireDivisible(shape: readonly number[], parts: number): void {
  const [seq = 0] = shape;
  if (seq % parts === 0) return;
  const sentence =
    `${whereInModel('embedding')}: tokens ${formatShape(shape)} have ${seq} positions, which sequenceParallel cannot cut into ${parts} equal `
    + `parts. Pad the sequences to ${Math.ceil(seq / parts) * parts}, or leave sequenceParallel off.`;
  throw new ShapeError('SHAPE_MISMATCH', sentence, { fields: { shape, tensorModelParallelSize: parts } });
}
