import { ConfigError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { type AnyTensor, type InitRule, Module, Parameter, type Replicated, type Tensor } from '@megatron-ts/tensor';
import { columnLinear, type ColumnLinearOptions } from './column-linear.ts';
import { divideOverRanks, requireSizes } from './divide-over-ranks.ts';
import { type LayerDTypes, requireDTypes } from './layer-dtypes.ts';
import { gatherFromTensorParallelRegion, type HiddenShard } from './mappings.ts';
import type { Residual } from './region.ts';
import { localRows, shardPlacement, stackedMeta, type StackedPart } from './shard-meta.ts';

/** Options of a column-parallel layer. */
export interface ColumnParallelLinearOptions<SP extends boolean, Gather extends boolean> extends LayerDTypes {
  /** Features of the input. */
  readonly inputSize: number;
  /** Features of the output over all ranks. */
  readonly outputSize: number;
  /** Whether there is a bias; true by default. */
  readonly bias?: boolean;
  /** Whether every rank gets the whole output; false by default. */
  readonly gatherOutput?: Gather;
  /** Leaves adding `bias` to the caller, who may fuse it with what follows; false by default. */
  readonly skipBiasAdd?: boolean;
  /** Ranks that share the layer. */
  readonly tpGroup: ProcessGroup;
  /** How the weight is filled; normal with standard deviation 0.02 by default. The bias is zero. */
  readonly init?: InitRule;
  /** Whether the input is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /**
   * Tensors stacked in the weight, such as q, k and v, each cut over the ranks: names of equal ones, or parts with their own numbers of
   * rows, which add up to `outputSize`. One without a name by default.
   */
  readonly parts?: readonly (string | StackedPart)[];
}

/** Placement of a column-parallel layer's output. */
export type ColumnOutput<Gather extends boolean> = Gather extends true ? Replicated : HiddenShard;

/**
 * `x · weightᵀ + bias` with the output features cut over the ranks: `weight` `[outputSize / t, inputSize]`.
 * Backward sums the input's gradient, beside computing the weight's.
 * @source Shoeybi et al. 2019, section 3
 */
export class ColumnParallelLinear<SP extends boolean = false, Gather extends boolean = false> extends Module {
  /** `[outputSize / t, inputSize]`. */
  readonly weight: Parameter<HiddenShard>;
  /** `[outputSize / t]`. */
  readonly bias: Parameter<HiddenShard> | undefined;
  private readonly gatherOutput: boolean;
  private readonly skipBiasAdd: boolean;
  private readonly options: ColumnLinearOptions;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION, CONTRADICTION */
  constructor(options: ColumnParallelLinearOptions<SP, Gather>) {
    super();
    const { inputSize, outputSize, bias = true, gatherOutput, skipBiasAdd = false, tpGroup, sequenceParallel, parts = [''] } = options;
    const { init = { kind: 'normal', std: 0.02 }, paramDType: dtype, computeDType } = options;
    requireSizes('ColumnParallelLinear', { inputSize });
    requireDTypes('ColumnParallelLinear', options);
    const stacked = parts.map((part) => (typeof part === 'string' ? { suffix: part, rows: outputSize / parts.length } : part));
    const rows = rowsOf(stacked, outputSize, tpGroup);
    if (gatherOutput === true && sequenceParallel === true) throw contradiction();
    const placement = shardPlacement('hidden', tpGroup);
    const meta = stackedMeta(stacked, tpGroup, [inputSize]);
    this.weight = new Parameter({ shape: [rows, inputSize], dtype, init, placement, meta });
    this.bias = bias ? new Parameter({ shape: [rows], dtype, placement, meta: stackedMeta(stacked, tpGroup) }) : undefined;
    this.gatherOutput = gatherOutput === true;
    this.skipBiasAdd = skipBiasAdd;
    this.options = { tpGroup, sequenceParallel: sequenceParallel === true, computeDType };
  }

  /** `x` `[s, b, inputSize]` to `[s, b, outputSize / t]`, or `[s, b, outputSize]` when gathered. */
  override forward(x: Tensor<Residual<SP>>): Tensor<ColumnOutput<Gather>> {
    const bias = this.skipBiasAdd ? undefined : this.bias;
    const y = columnLinear(x, this.weight, { ...this.options, bias }); // [s, b, outputSize / t]
    return (this.gatherOutput ? gatherFromTensorParallelRegion(y, this.options.tpGroup) : y) as AnyTensor;
  }
}

/** Rows of the weight on each rank. @throws ConfigError INDIVISIBLE, INVALID_OPTION, CONTRADICTION */
function rowsOf(parts: readonly StackedPart[], outputSize: number, tpGroup: ProcessGroup): number {
  const layer = 'ColumnParallelLinear';
  for (const { suffix, rows, copies = 1 } of parts) {
    const isEqual = rows * parts.length === outputSize;
    const option = parts.length === 1 ? 'outputSize' : isEqual ? `outputSize / ${parts.length}` : `rows of ${suffix}`;
    requireSizes(layer, { [option]: rows });
    void divideOverRanks({ layer, option, size: rows * copies, tpGroup });
  }
  const all = parts.reduce((sum, { rows }) => sum + rows, 0);
  if (all === outputSize) return parts.reduce((sum, part) => sum + localRows(part, tpGroup), 0);
  const sentence = `${layer}: the parts have ${all} rows, but outputSize is ${outputSize}. Make them add up to it.`;
  throw new ConfigError('CONTRADICTION', sentence, { fields: { outputSize, rows: all } });
}

function contradiction(): ConfigError {
  const sentence =
    'ColumnParallelLinear: gatherOutput and sequenceParallel are both true, but a gathered output is not cut. Leave one of them out.';
  return new ConfigError('CONTRADICTION', sentence);
}
