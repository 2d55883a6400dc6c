import type { ProcessGroup } from '@megatron-ts/process-groups';
import {
  type AnyTensor,
  biasAdd,
  biasGeglu,
  biasGelu,
  biasSwiglu,
  gelu,
  geluErf,
  type InitRule,
  Module,
  relu,
  remakeable,
  square,
  type Tensor,
} from '@megatron-ts/tensor';
import { ColumnParallelLinear, type HiddenShard, type LayerDTypes, type Residual, RowParallelLinear } from '@megatron-ts/tensor-parallel';

/**
 * What stands between the two layers; gated ones multiply an activated half of the wide features by the other. `'gelu'` is the
 * tanh form, `'geluErf'` the exact one; `'squaredRelu'` is the square of the positive part.
 * @source Hendrycks and Gimpel 2016; Shazeer 2020; So et al. 2021, section 4 (squared ReLU)
 */
export type Activation = 'gelu' | 'geluErf' | 'relu' | 'squaredRelu' | 'swiglu' | 'geglu';

const activations: Readonly<Record<Activation, (wide: Tensor<HiddenShard>, bias: AnyTensor | undefined) => Tensor<HiddenShard>>> = {
  gelu: (wide, bias) => (bias === undefined ? gelu(wide) : biasGelu<HiddenShard>(wide, bias)),
  geluErf: (wide, bias) => geluErf(biasAdd(wide, bias)),
  relu: (wide, bias) => relu(biasAdd(wide, bias)),
  squaredRelu: (wide, bias) => square(relu(biasAdd(wide, bias))),
  swiglu: biasSwiglu,
  geglu: biasGeglu,
};

/** Options of an MLP block. */
export interface ParallelMLPOptions<SP extends boolean = false> extends LayerDTypes {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Features between the two layers, over all ranks; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** What stands between the two layers; `'gelu'` by default. */
  readonly activation?: Activation;
  /** Whether the layers have biases; true by default. */
  readonly bias?: boolean;
  /** Leaves adding the second layer's bias to the caller, who may fuse it with what follows; false by default. */
  readonly skipBiasAdd?: boolean;
  /** Ranks that share the layers. */
  readonly tpGroup: ProcessGroup;
  /** How the first weight is filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** How the second weight is filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** Whether backward makes the activation's result again instead of keeping it; false by default. */
  readonly recomputeActivation?: boolean;
}

/**
 * `down(gelu(up(x)))` with the features in between cut over the ranks, or `down(f(gate) · up)` where `up` makes both.
 * @source Shoeybi et al. 2019, section 3; Shazeer 2020
 */
export class ParallelMLP<SP extends boolean = false> extends Module {
  /** `[f / t, h]`, or gate and up, `[2f / t, h]`. */
  readonly up: ColumnParallelLinear<SP>;
  /** `[h, f / t]`. */
  readonly down: RowParallelLinear<SP>;
  private readonly activate: (wide: Tensor<HiddenShard>, bias: AnyTensor | undefined) => Tensor<HiddenShard>;
  private readonly recompute: boolean;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: ParallelMLPOptions<SP>) {
    super();
    const { hiddenSize, ffnHiddenSize = 4 * hiddenSize, activation = 'gelu', bias = true, skipBiasAdd = false } = options;
    const { init = { kind: 'normal', std: 0.02 }, outputInit = init, tpGroup, sequenceParallel, paramDType, computeDType } = options;
    const shared = { bias, tpGroup, sequenceParallel, paramDType, computeDType };
    const parts = activation === 'swiglu' || activation === 'geglu' ? ['gate', 'up'] : [''];
    const wide = parts.length * ffnHiddenSize;
    this.up = new ColumnParallelLinear<SP>({ inputSize: hiddenSize, outputSize: wide, parts, skipBiasAdd: true, init, ...shared });
    this.down = new RowParallelLinear<SP>({ inputSize: ffnHiddenSize, outputSize: hiddenSize, skipBiasAdd, init: outputInit, ...shared });
    this.activate = activations[activation];
    this.recompute = options.recomputeActivation === true;
  }

  /** `x` `[s, b, h]` to the same shape. */
  override forward(x: Tensor<Residual<SP>>): Tensor<Residual<SP>> {
    const wide = this.up.call(x); // [s, b, f / t], or twice as wide
    const make = () => [this.activate(wide, this.up.bias)] as const;
    const [active] = this.recompute ? remakeable(make(), { make, inputs: [wide] }) : make(); // [s, b, f / t]
    return this.down.call(active); // [s, b, h]
  }
}
