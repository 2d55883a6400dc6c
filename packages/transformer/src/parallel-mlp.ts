import type { ProcessGroup } from '@megatron-ts/process-groups';
import { biasGelu, gelu, type InitRule, Module, type Tensor } from '@megatron-ts/tensor';
import { ColumnParallelLinear, type Residual, RowParallelLinear } from '@megatron-ts/tensor-parallel';

/** Options of an MLP block. */
export interface ParallelMLPOptions<SP extends boolean = false> {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Features between the two layers, over all ranks; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** Whether the layers have biases; true by default. */
  readonly bias?: boolean;
  /** Ranks that share the layers. */
  readonly tpGroup: ProcessGroup;
  /** How the first weight is filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** How the second weight is filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
}

/** `down(gelu(up(x)))` with the features in between cut over the ranks. @source Shoeybi et al. 2019, section 3 */
export class ParallelMLP<SP extends boolean = false> extends Module {
  /** `[f / t, h]`. */
  readonly up: ColumnParallelLinear<SP>;
  /** `[h, f / t]`. */
  readonly down: RowParallelLinear<SP>;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: ParallelMLPOptions<SP>) {
    super();
    const { hiddenSize, ffnHiddenSize = 4 * hiddenSize, bias = true, tpGroup, sequenceParallel } = options;
    const { init = { kind: 'normal', std: 0.02 }, outputInit = init } = options;
    const shared = { bias, tpGroup, sequenceParallel };
    this.up = new ColumnParallelLinear<SP>({ inputSize: hiddenSize, outputSize: ffnHiddenSize, skipBiasAdd: true, init, ...shared });
    this.down = new RowParallelLinear<SP>({ inputSize: ffnHiddenSize, outputSize: hiddenSize, init: outputInit, ...shared });
  }

  /** `x` `[s, b, h]` to the same shape. */
  override forward(x: Tensor<Residual<SP>>): Tensor<Residual<SP>> {
    const { bias } = this.up;
    const wide = this.up.call(x); // [s, b, f / t]
    return this.down.call(bias === undefined ? gelu(wide) : biasGelu(wide, bias)); // [s, b, h]
  }
}
