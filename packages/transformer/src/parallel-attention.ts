import { ConfigError } from '@megatron-ts/errors';
import type { ProcessGroup } from '@megatron-ts/process-groups';
import { type ComputeDType, type InitRule, Module, requireDropoutRates, selfAttention, type Tensor } from '@megatron-ts/tensor';
import {
  ColumnParallelLinear,
  divideOverRanks,
  type LayerDTypes,
  requireSizes,
  type Residual,
  RowParallelLinear,
} from '@megatron-ts/tensor-parallel';

/** Options of an attention block. */
export interface ParallelAttentionOptions<SP extends boolean = false> extends LayerDTypes {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /** Whether a token sees only itself and those before it; true by default. */
  readonly causal?: boolean;
  /** Keys that a causal query sees, its own the last; all by default. */
  readonly window?: number | undefined;
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
  /** How the weight of the output projection is filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
}

/**
 * Multi-head self-attention with the heads cut over the ranks. The weight of `qkv` holds this rank's rows of q, then of k, then of v.
 * @source Vaswani et al. 2017, section 3.2; Shoeybi et al. 2019, section 3
 */
export class ParallelAttention<SP extends boolean = false> extends Module {
  /** Queries, keys and values: `[3h / t, h]`. */
  readonly qkv: ColumnParallelLinear<SP>;
  /** Back to the residual stream: `[h, h / t]`. */
  readonly projection: RowParallelLinear<SP>;
  private readonly localHeads: number;
  private readonly causal: boolean;
  private readonly window: number | undefined;
  private readonly computeDType: ComputeDType | undefined;
  private readonly attentionDropout: number;
  private readonly firstHead: number;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: ParallelAttentionOptions<SP>) {
    super();
    const { hiddenSize, numAttentionHeads, causal = true, window, bias = true, skipBiasAdd = false, tpGroup, sequenceParallel } = options;
    const { init = { kind: 'normal', std: 0.02 }, outputInit = init, attentionDropout = 0, paramDType, computeDType } = options;
    requireDropoutRates('ParallelAttention', { attentionDropout });
    requireSizes('ParallelAttention', { hiddenSize, numAttentionHeads });
    if (hiddenSize % numAttentionHeads !== 0) throw indivisibleHeads(hiddenSize, numAttentionHeads);
    this.localHeads = divideOverRanks({ layer: 'ParallelAttention', option: 'numAttentionHeads', size: numAttentionHeads, tpGroup });
    const shared = { bias, tpGroup, sequenceParallel, paramDType, computeDType };
    this.qkv = new ColumnParallelLinear<SP>({ inputSize: hiddenSize, outputSize: 3 * hiddenSize, parts: ['q', 'k', 'v'], init, ...shared });
    this.projection = new RowParallelLinear<SP>({
      inputSize: hiddenSize,
      outputSize: hiddenSize,
      skipBiasAdd,
      init: outputInit,
      ...shared,
    });
    this.causal = causal;
    this.window = window;
    this.computeDType = computeDType;
    this.attentionDropout = attentionDropout;
    this.firstHead = tpGroup.rank * this.localHeads;
  }

  /** `x` `[s, b, h]` to the same shape. */
  override forward(x: Tensor<Residual<SP>>): Tensor<Residual<SP>> {
    const qkv = this.qkv.call(x); // [s, b, 3h / t]
    const { localHeads: numHeads, causal, window, attentionDropout: p, firstHead, computeDType } = this;
    const context = selfAttention(qkv, { numHeads, causal, window, dropout: { p, firstHead }, computeDType }); // [s, b, h / t]
    return this.projection.call(context); // [s, b, h]
  }
}

function indivisibleHeads(hiddenSize: number, numAttentionHeads: number): ConfigError {
  const padded = Math.ceil(hiddenSize / numAttentionHeads) * numAttentionHeads;
  const sentence =
    `ParallelAttention: hiddenSize ${hiddenSize} is not divisible by numAttentionHeads ${numAttentionHeads}. `
    + `Use hiddenSize ${padded}, or another number of heads.`;
  return new ConfigError('INDIVISIBLE', sentence, { fields: { hiddenSize, numAttentionHeads } });
}
