import type { ProcessGroup } from '@megatron-ts/process-groups';
import {
  type AnyTensor,
  crossAttention,
  type CrossAttentionOptions,
  type InitRule,
  Module,
  requireDropoutRates,
  type Tensor,
} from '@megatron-ts/tensor';
import {
  ColumnParallelLinear,
  divideOverRanks,
  type LayerDTypes,
  requireSizes,
  type Residual,
  RowParallelLinear,
} from '@megatron-ts/tensor-parallel';
import { headDimOf } from './head-dim.ts';

/** Options of an attention of one sequence to another. */
export interface ParallelCrossAttentionOptions<SP extends boolean = false> extends LayerDTypes {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Features of the other sequence; hiddenSize by default. */
  readonly memorySize?: number | undefined;
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /** Features of a head; hiddenSize / numAttentionHeads by default. */
  readonly headDim?: number | undefined;
  /** Factor of the scores; one over the square root of a head's features by default. */
  readonly scale?: number | undefined;
  /** Share of the attention probabilities that dropout leaves out; 0 by default. */
  readonly attentionDropout?: number;
  /** Whether the projections have biases; true by default. */
  readonly bias?: boolean;
  /** Leaves adding the output projection's bias to the caller, who may fuse it with what follows; false by default. */
  readonly skipBiasAdd?: boolean;
  /** Ranks that share the heads. */
  readonly tpGroup: ProcessGroup;
  /** How the weight of keys and values is filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** How the weight of queries is filled; as `init` by default. */
  readonly queryInit?: InitRule | undefined;
  /** How the weight of the output projection is filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** Whether both sequences are cut over the ranks; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** Whether backward runs the attention itself again instead of keeping its result; false by default. */
  readonly recomputeCore?: boolean;
}

/** What a cross attention may be told of the tokens besides their features. */
export interface CrossAttentionInputs {
  /**
   * Segment of each query (i32) `[sq, b]` of the whole sequence: it sees only keys of its own; negative numbers see nothing. All are of
   * segment 0 by default.
   */
  readonly querySegments?: AnyTensor | undefined;
  /** Segment of each key (i32) `[sk, b]`; negative numbers are padding, which is not seen. All are of segment 0 by default. */
  readonly keySegments?: AnyTensor | undefined;
}

/**
 * Multi-head attention of a sequence to another, such as a decoder's to what the encoder made, with the heads cut over the ranks. The
 * weight of `keyValue` holds this rank's rows of k, then of v.
 * @source Vaswani et al. 2017, section 3.2.3; Shoeybi et al. 2019, section 3
 */
export class ParallelCrossAttention<SP extends boolean = false> extends Module {
  /** Queries: `[a · d / t, h]`. */
  readonly query: ColumnParallelLinear<SP>;
  /** Keys and values: `[2a · d / t, memorySize]`. */
  readonly keyValue: ColumnParallelLinear<SP>;
  /** Back to the residual stream: `[h, a · d / t]`. */
  readonly projection: RowParallelLinear<SP>;
  private readonly settings: CrossAttentionOptions;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: ParallelCrossAttentionOptions<SP>) {
    super();
    const { hiddenSize, memorySize = hiddenSize, numAttentionHeads, scale, bias = true, skipBiasAdd = false, tpGroup } = options;
    const { init = { kind: 'normal', std: 0.02 }, queryInit = init, outputInit = init, attentionDropout = 0 } = options;
    const { sequenceParallel, paramDType, computeDType, recomputeCore: recompute = false } = options;
    const layer = 'ParallelCrossAttention';
    requireDropoutRates(layer, { attentionDropout });
    requireSizes(layer, { hiddenSize, memorySize, numAttentionHeads });
    const width = numAttentionHeads * headDimOf(layer, options);
    const numHeads = divideOverRanks({ layer, option: 'numAttentionHeads', size: numAttentionHeads, tpGroup });
    const shared = { bias, tpGroup, sequenceParallel, paramDType, computeDType };
    this.query = new ColumnParallelLinear<SP>({ inputSize: hiddenSize, outputSize: width, init: queryInit, ...shared });
    const memory = { inputSize: memorySize, outputSize: 2 * width, parts: ['k', 'v'] };
    this.keyValue = new ColumnParallelLinear<SP>({ ...memory, init, ...shared });
    this.projection = new RowParallelLinear<SP>({ inputSize: width, outputSize: hiddenSize, skipBiasAdd, init: outputInit, ...shared });
    const dropout = { p: attentionDropout, firstHead: tpGroup.rank * numHeads };
    this.settings = { numHeads, scale, dropout, computeDType, recompute };
  }

  /** `x` `[sq, b, h]`, which looks at `memory` `[sk, b, memorySize]`, to the shape of `x`. @throws ShapeError SHAPE_MISMATCH */
  override forward(x: Tensor<Residual<SP>>, memory: Tensor<Residual<SP>>, inputs: CrossAttentionInputs = {}): Tensor<Residual<SP>> {
    const query = this.query.call(x); // [sq, b, a · d / t]
    const keyValue = this.keyValue.call(memory); // [sk, b, 2a · d / t]
    const { querySegments, keySegments } = inputs;
    const context = crossAttention(query, keyValue, { ...this.settings, querySegments, keySegments }); // [sq, b, a · d / t]
    return this.projection.call(context); // [sq, b, h]
  }
}
