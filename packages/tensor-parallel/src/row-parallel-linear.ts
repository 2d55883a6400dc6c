import type { ProcessGroup } from '@megatron-ts/process-groups';
import {
  type AnyTensor,
  biasAdd,
  type ComputeOptions,
  type InitRule,
  linear,
  Module,
  Parameter,
  type Replicated,
  type Tensor,
} from '@megatron-ts/tensor';
import { divideOverRanks, requireSizes } from './divide-over-ranks.ts';
import { type LayerDTypes, requireDTypes } from './layer-dtypes.ts';
import { type HiddenShard, scatterToTensorParallelRegion } from './mappings.ts';
import { type Region, type Residual, tensorParallelRegion } from './region.ts';
import { replicatedMeta, shardedMeta, shardPlacement } from './shard-meta.ts';

/** Options of a row-parallel layer. */
export interface RowParallelLinearOptions<SP extends boolean, Parallel extends boolean> extends LayerDTypes {
  /** Features of the input over all ranks. */
  readonly inputSize: number;
  /** Features of the output. */
  readonly outputSize: number;
  /** Whether there is a bias; true by default. It is added once, after the sum. */
  readonly bias?: boolean;
  /** Whether the input is already cut over the ranks; true by default. */
  readonly inputIsParallel?: Parallel;
  /** Leaves adding `bias` to the caller, who may fuse it with what follows; false by default. */
  readonly skipBiasAdd?: boolean;
  /** Ranks that share the layer. */
  readonly tpGroup: ProcessGroup;
  /** How the weight is filled; normal with standard deviation 0.02 by default. The bias is zero. */
  readonly init?: InitRule;
  /** Whether the output is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
}

/** Placement of a row-parallel layer's input. */
export type RowInput<Parallel extends boolean> = Parallel extends true ? HiddenShard : Replicated;

/**
 * `x · weightᵀ + bias` with the input features cut over the ranks: `weight` `[outputSize, inputSize / t]`. Forward sums the output.
 * @source Shoeybi et al. 2019, section 3
 */
export class RowParallelLinear<SP extends boolean = false, Parallel extends boolean = true> extends Module {
  /** `[outputSize, inputSize / t]`. */
  readonly weight: Parameter<HiddenShard>;
  /** `[outputSize]`, whole on every rank. */
  readonly bias: Parameter | undefined;
  private readonly region: Region<Residual<SP>>;
  private readonly cut: (x: AnyTensor) => Tensor<HiddenShard>;
  private readonly addsBias: boolean;
  private readonly compute: ComputeOptions;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: RowParallelLinearOptions<SP, Parallel>) {
    super();
    const { inputSize, outputSize, bias = true, inputIsParallel, skipBiasAdd = false, tpGroup, sequenceParallel } = options;
    const { init = { kind: 'normal', std: 0.02 }, paramDType: dtype, computeDType } = options;
    requireSizes('RowParallelLinear', { outputSize });
    requireDTypes('RowParallelLinear', options);
    const cols = divideOverRanks({ layer: 'RowParallelLinear', option: 'inputSize', size: inputSize, tpGroup });
    const meta = shardedMeta({ globalShape: [outputSize, inputSize], dim: 1, tpGroup });
    this.weight = new Parameter({ shape: [outputSize, cols], dtype, init, placement: shardPlacement('hidden', tpGroup), meta });
    this.bias = bias ? new Parameter({ shape: [outputSize], dtype, meta: replicatedMeta([outputSize], sequenceParallel) }) : undefined;
    this.addsBias = bias && !skipBiasAdd;
    this.compute = { computeDType };
    this.region = tensorParallelRegion(tpGroup, sequenceParallel);
    this.cut = inputIsParallel === false ? (x) => scatterToTensorParallelRegion(x, tpGroup) : (x) => x;
  }

  /** `x` `[s, b, inputSize / t]` (or `[s, b, inputSize]` unless parallel) to `[s, b, outputSize]`. */
  override forward(x: Tensor<RowInput<Parallel>>): Tensor<Residual<SP>> {
    const sum = linear(this.cut(x), this.weight, undefined, this.compute); // [s, b, outputSize], a summand
    const y = this.region.leave(sum); // [s, b, outputSize]
    return this.addsBias ? biasAdd<Residual<SP>>(y, this.bias) : y;
  }
}
