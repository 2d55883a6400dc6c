import type { ProcessGroup } from '@megatron-ts/process-groups';
import {
  type AnyTensor,
  type ComputeDType,
  type ComputeOptions,
  type CrossEntropyOptions,
  Module,
  type Parameter,
  type Tensor,
} from '@megatron-ts/tensor';
import {
  columnLinear,
  type Region,
  type Residual,
  tensorParallelRegion,
  vocabParallelLinearCrossEntropy,
  type Vocabulary,
  type VocabShard,
} from '@megatron-ts/tensor-parallel';

/** Options of a head. */
export interface LanguageModelHeadOptions<SP extends boolean = false> extends Pick<Vocabulary, 'vocabMultiple'> {
  /** `[v / t, h]`: a weight of its own, a copy of the word embedding, or a second use of it. */
  readonly weight: Parameter<VocabShard>;
  /** Ranks that share the vocabulary. */
  readonly tpGroup: ProcessGroup;
  /** Number of tokens; by default the ranks hold equally many. */
  readonly vocabSize?: number;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** What products are computed in, with f32 sums; by default what their operands are stored in. */
  readonly computeDType?: ComputeDType | undefined;
  /** What the losses add and leave out; nothing by default. */
  readonly loss?: CrossEntropyOptions;
}

/** Logits of every token of the vocabulary, cut over the ranks, or the losses that follow from them. */
export class LanguageModelHead<SP extends boolean = false> extends Module {
  /** `[v / t, h]`. */
  readonly weight: Parameter<VocabShard>;
  private readonly region: Region<Residual<SP>>;
  private readonly isCut: boolean;
  private readonly compute: ComputeOptions;
  private readonly vocabulary: Partial<Vocabulary> & { readonly tpGroup: ProcessGroup };
  private readonly loss: CrossEntropyOptions;

  constructor({ weight, tpGroup, vocabSize, vocabMultiple, sequenceParallel, computeDType, loss = {} }: LanguageModelHeadOptions<SP>) {
    super();
    this.weight = weight;
    this.region = tensorParallelRegion(tpGroup, sequenceParallel);
    this.isCut = sequenceParallel === true;
    this.compute = { computeDType };
    this.vocabulary = { tpGroup, vocabMultiple, ...(vocabSize === undefined ? {} : { vocabSize }) };
    this.loss = loss;
  }

  /** `hidden` `[s, b, h]` to `[s, b, v / t]`. Backward sums the gradient of `hidden` beside computing that of the weight. */
  override forward(hidden: Tensor<Residual<SP>>): Tensor<VocabShard>;
  /** With `targets` (i32) `[s, b]`, the loss of each token without ever holding all logits: `[s, b]`. */
  override forward(hidden: Tensor<Residual<SP>>, targets: Tensor): Tensor;
  override forward(hidden: Tensor<Residual<SP>>, targets?: Tensor): AnyTensor {
    const { weight, compute, vocabulary, isCut: sequenceParallel } = this;
    if (targets === undefined)
      return columnLinear(hidden as AnyTensor, weight, { tpGroup: vocabulary.tpGroup, sequenceParallel, ...compute }); // [s, b, v / t]
    const whole = this.region.enter(hidden); // [s, b, h]
    return vocabParallelLinearCrossEntropy(whole, weight, targets, { ...vocabulary, ...compute, ...this.loss }); // [s, b]
  }
}
