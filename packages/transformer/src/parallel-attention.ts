import { ConfigError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import {
  type AnyTensor,
  type ComputeDType,
  type InitRule,
  Module,
  requireDropoutRates,
  rotaryEmbedding,
  selfAttention,
  type Tensor,
} from '@megatron-ts/tensor';
import {
  ColumnParallelLinear,
  divideOverRanks,
  type HiddenShard,
  type LayerDTypes,
  requireSizes,
  type Residual,
  RowParallelLinear,
} from '@megatron-ts/tensor-parallel';
import { headDimOf } from './head-dim.ts';
import { HeadNorm, type LocalHeads } from './head-norm.ts';
import { RotaryAngles, type RotaryOptions } from './rotary.ts';

/** Options of an attention block. */
export interface ParallelAttentionOptions<SP extends boolean = false> extends LayerDTypes {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /**
   * Keys and values over all ranks, each for as many heads; one for each head by default. Where there are fewer than ranks, several ranks
   * hold the same ones.
   */
  readonly numKeyValueHeads?: number | undefined;
  /** Features of a head; hiddenSize / numAttentionHeads by default. */
  readonly headDim?: number | undefined;
  /** Turns queries and keys by their positions; not by default. */
  readonly rotary?: RotaryOptions | undefined;
  /** Whether each query and each key is normed before it is turned; false by default. */
  readonly qkNorm?: boolean | undefined;
  /** Added to the mean of squares in these norms; 1e-5 by default. */
  readonly layerNormEps?: number | undefined;
  /** Whether a token sees only itself and those before it; true by default. */
  readonly causal?: boolean;
  /** Keys that a causal query sees, its own the last; all by default. */
  readonly window?: number | undefined;
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
  /** How the weight of queries, keys and values is filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** How the rows of queries in it are filled; as `init` by default. */
  readonly queryInit?: InitRule | undefined;
  /** How the weight of the output projection is filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
  /** Whether backward runs the attention itself again instead of keeping its result; false by default. */
  readonly recomputeCore?: boolean;
}

/** What attention may be told of the tokens besides their features. */
export interface AttentionInputs {
  /**
   * Segment of each token (i32) `[s, b]` of the whole sequence, such as the documents of a packed row: a token sees only its own. Negative
   * numbers are padding, which sees nothing and is not seen. All see all by default.
   */
  readonly segments?: AnyTensor | undefined;
  /** Added to the scores of this rank's heads: f32 `[a / t, s, s]`; nothing by default. */
  readonly bias?: AnyTensor | undefined;
  /** Position of each token (i32) `[s, b]`, below s, for rotations; its row by default. */
  readonly positions?: AnyTensor | undefined;
}

/**
 * Multi-head self-attention with the heads cut over the ranks. The weight of `qkv` holds this rank's rows of q, then of k, then of v.
 * @source Vaswani et al. 2017, section 3.2; Shoeybi et al. 2019, section 3; Ainslie et al. 2023 (fewer keys and values than queries)
 */
export class ParallelAttention<SP extends boolean = false> extends Module {
  /** Queries, keys and values: `[(a + 2g) · d / t, h]`. */
  readonly qkv: ColumnParallelLinear<SP>;
  /** Norms of queries and of keys. */
  readonly headNorm: HeadNorm | undefined;
  /** Back to the residual stream: `[h, a · d / t]`. */
  readonly projection: RowParallelLinear<SP>;
  private readonly heads: LocalHeads;
  private readonly angles: RotaryAngles | undefined;
  private readonly causal: boolean;
  private readonly window: number | undefined;
  private readonly computeDType: ComputeDType | undefined;
  private readonly attentionDropout: number;
  private readonly firstHead: number;
  private readonly recompute: boolean;
  private readonly scale: number | undefined;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: ParallelAttentionOptions<SP>) {
    super();
    const { hiddenSize, numAttentionHeads, causal = true, window, bias = true, skipBiasAdd = false, tpGroup, sequenceParallel } = options;
    const { numKeyValueHeads = numAttentionHeads, rotary, qkNorm = false, layerNormEps: eps, recomputeCore = false } = options;
    const { init = { kind: 'normal', std: 0.02 }, outputInit = init, attentionDropout = 0, paramDType, computeDType } = options;
    requireDropoutRates('ParallelAttention', { attentionDropout });
    requireSizes('ParallelAttention', { hiddenSize, numAttentionHeads, numKeyValueHeads });
    const headDim = headDimOf('ParallelAttention', options);
    const numHeads = divideOverRanks({ layer: 'ParallelAttention', option: 'numAttentionHeads', size: numAttentionHeads, tpGroup });
    const copies = copiesOf({ numAttentionHeads, numKeyValueHeads }, tpGroup);
    this.heads = { numHeads, numKeyValueHeads: (numKeyValueHeads * copies) / tpGroup.size, headDim };
    const shared = { bias, tpGroup, sequenceParallel, paramDType, computeDType };
    const [queries, keys] = [numAttentionHeads * headDim, numKeyValueHeads * headDim];
    const parts = [
      { suffix: 'q', rows: queries, init: options.queryInit },
      { suffix: 'k', rows: keys, copies },
      { suffix: 'v', rows: keys, copies },
    ];
    this.qkv = new ColumnParallelLinear<SP>({ inputSize: hiddenSize, outputSize: queries + 2 * keys, parts, init, ...shared });
    this.headNorm = qkNorm ? new HeadNorm({ headDim, eps, paramDType }) : undefined;
    this.projection = new RowParallelLinear<SP>({ inputSize: queries, outputSize: hiddenSize, skipBiasAdd, init: outputInit, ...shared });
    this.angles = rotary === undefined ? undefined : new RotaryAngles(headDim, rotary);
    this.causal = causal;
    this.window = window;
    this.scale = options.scale;
    this.computeDType = computeDType;
    this.attentionDropout = attentionDropout;
    this.firstHead = tpGroup.rank * numHeads;
    this.recompute = recomputeCore;
  }

  /** `x` `[s, b, h]` to the same shape. @throws ShapeError SHAPE_MISMATCH */
  override forward(x: Tensor<Residual<SP>>, inputs: AttentionInputs = {}): Tensor<Residual<SP>> {
    const qkv = this.turned(this.normed(this.qkv.call(x)), inputs); // [s, b, (a + 2g) · d / t]
    const { heads, causal, window, scale, attentionDropout: p, firstHead, computeDType, recompute } = this;
    const { numHeads, numKeyValueHeads } = heads;
    const { segments, bias } = inputs;
    const sight = { causal, window, segments };
    const settings = { numHeads, numKeyValueHeads, scale, bias, dropout: { p, firstHead }, computeDType, recompute };
    const context = selfAttention(qkv, { ...sight, ...settings }); // [s, b, a · d / t]
    return this.projection.call(context); // [s, b, h]
  }

  private normed(qkv: Tensor<HiddenShard>): Tensor<HiddenShard> {
    return this.headNorm === undefined ? qkv : this.headNorm.call(qkv, this.heads);
  }

  private turned(qkv: Tensor<HiddenShard>, { positions }: AttentionInputs): Tensor<HiddenShard> {
    const { angles, heads } = this;
    if (angles === undefined) return qkv;
    const [seq = 0] = qkv.shape;
    return rotaryEmbedding(qkv, { table: angles.table(seq), interleaved: angles.interleaved, positions, ...heads });
  }
}

interface HeadCounts {
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
}

/** How many ranks hold each key and value. @throws ConfigError INDIVISIBLE */
function copiesOf({ numAttentionHeads, numKeyValueHeads }: HeadCounts, { size }: ProcessGroup): number {
  const fields = { numAttentionHeads, numKeyValueHeads, tensorModelParallelSize: size };
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    const sentence =
      `ParallelAttention: numAttentionHeads ${numAttentionHeads} is not divisible by numKeyValueHeads ${numKeyValueHeads}. `
      + `Use a divisor of ${numAttentionHeads}.`;
    throw new ConfigError('INDIVISIBLE', sentence, { fields });
  }
  if (numKeyValueHeads % size === 0) return 1;
  if (size % numKeyValueHeads === 0) return size / numKeyValueHeads;
  const sentence =
    `ParallelAttention: numKeyValueHeads ${numKeyValueHeads} and tensorModelParallelSize ${size} do not divide each other. `
    + `Use ${size} keys and values or a multiple, or a divisor of ${size}.`;
  throw new ConfigError('INDIVISIBLE', sentence, { fields });
}
