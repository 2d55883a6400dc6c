import type { ProcessGroup } from '@megatron-ts/process-groups';
import { linear, Module, type Parameter, type Tensor } from '@megatron-ts/tensor';
import { type Region, type Residual, tensorParallelRegion, type VocabShard } from '@megatron-ts/tensor-parallel';

/** Options of a head. */
export interface LanguageModelHeadOptions<SP extends boolean = false> {
  /** `[v / t, h]`: a weight of its own, a copy of the word embedding, or a second use of it. */
  readonly weight: Parameter<VocabShard>;
  /** Ranks that share the vocabulary. */
  readonly tpGroup: ProcessGroup;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
}

/** Logits of every token of the vocabulary, cut over the ranks. */
export class LanguageModelHead<SP extends boolean = false> extends Module {
  /** `[v / t, h]`. */
  readonly weight: Parameter<VocabShard>;
  private readonly region: Region<Residual<SP>>;

  constructor({ weight, tpGroup, sequenceParallel }: LanguageModelHeadOptions<SP>) {
    super();
    this.weight = weight;
    this.region = tensorParallelRegion(tpGroup, sequenceParallel);
  }

  /** `hidden` `[s, b, h]` to `[s, b, v / t]`. */
  override forward(hidden: Tensor<Residual<SP>>): Tensor<VocabShard> {
    return linear(this.region.enter(hidden), this.weight); // [s, b, v / t]
  }
}
