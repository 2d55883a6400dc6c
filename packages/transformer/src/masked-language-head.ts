import {
  type AnyTensor,
  biasGelu,
  type ComputeDType,
  type InitRule,
  linear,
  Module,
  Parameter,
  type Replicated,
  type Tensor,
  wholeTensor,
} from '@megatron-ts/tensor';
import {
  columnLinear,
  type ColumnLinearOptions,
  replicatedMeta,
  type Residual,
  shardPlacement,
  vocabRange,
  type VocabShard,
} from '@megatron-ts/tensor-parallel';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { LayerNorm } from './layer-norm.ts';

/** Options of the head of a masked language model. */
export interface MaskedLanguageHeadOptions<SP extends boolean = false> {
  /** `[v / t, h]`: a copy of the word embedding, or a second use of it. */
  readonly weight: Parameter<VocabShard>;
  /** Ranks that share the vocabulary. */
  readonly tpGroup: ProcessGroup;
  /** Number of tokens. */
  readonly vocabSize: number;
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** How the transform is filled. */
  readonly init: InitRule;
  /** Added to the variance in the norm. */
  readonly layerNormEps: number;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** What parameters are stored in; f32 by default. */
  readonly paramDType?: 'f32' | 'bf16' | undefined;
  /** What products are computed in, with f32 sums; by default what their operands are stored in. */
  readonly computeDType?: ComputeDType | undefined;
}

/**
 * `norm(gelu(x · transformᵀ + b)) · weightᵀ + bias`: logits of every token of the vocabulary, cut over the ranks.
 * @source Devlin et al. 2019, section 3.1, and the code published with it
 */
export class MaskedLanguageHead<SP extends boolean = false> extends Module {
  /** `[h, h]`, whole on every rank. */
  readonly transform: Parameter;
  /** `[h]`. */
  readonly transformBias: Parameter;
  /** Norm of what the transform gives. */
  readonly norm: LayerNorm;
  /** `[v / t, h]`. */
  readonly weight: Parameter<VocabShard>;
  /** `[v / t]`. */
  readonly bias: Parameter<VocabShard>;
  private readonly options: ColumnLinearOptions;

  /** @throws ConfigError INVALID_OPTION */
  constructor(options: MaskedLanguageHeadOptions<SP>) {
    super();
    const { weight, tpGroup, vocabSize, hiddenSize, init, layerNormEps: eps, sequenceParallel, paramDType, computeDType } = options;
    const square = [hiddenSize, hiddenSize];
    this.transform = new Parameter({ shape: square, dtype: paramDType, init, meta: replicatedMeta(square, sequenceParallel) });
    this.transformBias = new Parameter({ shape: [hiddenSize], dtype: paramDType, meta: replicatedMeta([hiddenSize], sequenceParallel) });
    this.norm = new LayerNorm({ hiddenSize, eps, sequenceParallel: sequenceParallel === true, paramDType });
    this.weight = weight;
    const { start, end } = vocabRange(vocabSize, tpGroup);
    const rectangles = [{ globalOffset: [start], localOffset: [0], extent: [end - start] }];
    const meta = { ...wholeTensor([vocabSize]), logical: [{ suffix: '', globalShape: [vocabSize], rectangles }], shardedOver: ['tp'] };
    this.bias = new Parameter({ shape: [end - start], dtype: paramDType, placement: shardPlacement('vocab', tpGroup), meta });
    this.options = { tpGroup, sequenceParallel: sequenceParallel === true, computeDType };
  }

  /** `hidden` `[s, b, h]` to `[s, b, v / t]`. Backward sums the gradient of what stands before the weight beside computing the weight's. */
  override forward(hidden: Tensor<Residual<SP>>): Tensor<VocabShard> {
    const { computeDType } = this.options;
    const product: AnyTensor = linear(hidden as AnyTensor, this.transform, undefined, { computeDType }); // [s, b, h]
    const normed: AnyTensor = this.norm.call(biasGelu<Replicated>(product, this.transformBias)); // [s, b, h]
    return columnLinear(normed, this.weight, { ...this.options, bias: this.bias }) as AnyTensor; // [s, b, v / t]
  }
}
