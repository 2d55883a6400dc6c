import { type ComputeDType, type InitRule, linear, Module, Parameter, type Tensor, wholeTensor } from '@megatron-ts/tensor';
import { type LayerDTypes, requireDTypes, requireSizes } from '@megatron-ts/tensor-parallel';

/** Options of a binary head. */
export interface BinaryHeadOptions extends LayerDTypes {
  /** Features of a pooled sample. */
  readonly hiddenSize: number;
  /** How the weight is filled; normal with standard deviation 0.02 by default. The bias is zero. */
  readonly init?: InitRule;
}

/**
 * Two logits of each pooled sample, such as whether its second sentence follows the first, on every rank.
 * @source Devlin et al. 2019, section 3.1
 */
export class BinaryHead extends Module {
  /** `[2, h]`, whole on every rank. */
  readonly weight: Parameter;
  /** `[2]`. */
  readonly bias: Parameter;
  private readonly computeDType: ComputeDType | undefined;

  /** @throws ConfigError INVALID_OPTION */
  constructor({ hiddenSize, init = { kind: 'normal', std: 0.02 }, ...dtypes }: BinaryHeadOptions) {
    super();
    requireSizes('BinaryHead', { hiddenSize });
    requireDTypes('BinaryHead', dtypes);
    const [shape, dtype] = [[2, hiddenSize], dtypes.paramDType];
    this.weight = new Parameter({ shape, dtype, init, meta: wholeTensor(shape) });
    this.bias = new Parameter({ shape: [2], dtype, meta: wholeTensor([2]) });
    this.computeDType = dtypes.computeDType;
  }

  /** `pooled` `[b, h]` to `[b, 2]`. */
  override forward(pooled: Tensor): Tensor {
    return linear(pooled, this.weight, this.bias, { computeDType: this.computeDType }); // [b, 2]
  }
}
