import {
  type AnyTensor,
  type ComputeDType,
  type InitRule,
  linear,
  Module,
  Parameter,
  tanh,
  type Tensor,
  wholeTensor,
} from '@megatron-ts/tensor';
import { firstOfSequence, type LayerDTypes, requireDTypes, requireSizes, type Residual } from '@megatron-ts/tensor-parallel';
import type { StreamLayout } from './first-token.ts';

/** Options of a pooler, and of a binary head behind it. */
export interface PoolerOptions extends LayerDTypes, StreamLayout {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** How the weight is filled; normal with standard deviation 0.02 by default. The bias is zero. */
  readonly init?: InitRule;
}

/**
 * What stands for a whole sample: `tanh(x₀ · weightᵀ + bias)` of its first token, the same on every tensor-parallel rank.
 * @source Devlin et al. 2019, section 3, and the code published with it; Megatron-core, Pooler
 */
export class Pooler<SP extends boolean = false> extends Module {
  /** `[h, h]`, whole on every rank. */
  readonly weight: Parameter;
  /** `[h]`. */
  readonly bias: Parameter;
  private readonly layout: StreamLayout;
  private readonly computeDType: ComputeDType | undefined;

  /** @throws ConfigError INVALID_OPTION */
  constructor({ hiddenSize, init = { kind: 'normal', std: 0.02 }, tpGroup, sequenceParallel, ...dtypes }: PoolerOptions) {
    super();
    requireSizes('Pooler', { hiddenSize });
    requireDTypes('Pooler', dtypes);
    const [shape, dtype] = [[hiddenSize, hiddenSize], dtypes.paramDType];
    // Every rank reads the same token, whether or not the stream is cut: gradients are whole, not summands.
    this.weight = new Parameter({ shape, dtype, init, meta: wholeTensor(shape) });
    this.bias = new Parameter({ shape: [hiddenSize], dtype, meta: wholeTensor([hiddenSize]) });
    this.layout = { tpGroup, sequenceParallel };
    this.computeDType = dtypes.computeDType;
  }

  /** `hidden` `[s, b, h]`, or `[s / t, b, h]` under sequence parallelism, to `[b, h]`. */
  override forward(hidden: Tensor<Residual<SP>>): Tensor {
    const { tpGroup, sequenceParallel } = this.layout;
    const first = firstOfSequence<boolean>(hidden as AnyTensor, tpGroup, sequenceParallel); // [b, h]
    return tanh(linear(first, this.weight, this.bias, { computeDType: this.computeDType })); // [b, h]
  }
}
