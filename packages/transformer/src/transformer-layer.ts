import type { ProcessGroup } from '@megatron-ts/process-groups';
import { biasAdd, type InitRule, Module, type Tensor } from '@megatron-ts/tensor';
import type { Residual } from '@megatron-ts/tensor-parallel';
import type { LayerNorm } from './layer-norm.ts';
import { makeNorm, type Normalization } from './normalization.ts';
import { ParallelAttention } from './parallel-attention.ts';
import { type Activation, ParallelMLP } from './parallel-mlp.ts';
import type { RMSNorm } from './rms-norm.ts';

/** Options of a transformer layer. */
export interface TransformerLayerOptions<SP extends boolean = false> {
  /** Features of the residual stream. */
  readonly hiddenSize: number;
  /** Heads over all ranks. */
  readonly numAttentionHeads: number;
  /** Features inside the MLP; 4 · hiddenSize by default. */
  readonly ffnHiddenSize?: number;
  /** Whether a token sees only itself and those before it; true by default. */
  readonly causal?: boolean;
  /** Keys that a causal query sees, its own the last; all by default. */
  readonly window?: number | undefined;
  /** What stands between the two layers of the MLP; `'gelu'` by default. */
  readonly activation?: Activation | undefined;
  /** Which norm; `'layerNorm'` by default. */
  readonly normalization?: Normalization | undefined;
  /** Whether the linear layers have biases; true by default. */
  readonly bias?: boolean;
  /** Added to the variance in norms; 1e-5 by default. */
  readonly layerNormEps?: number;
  /** Ranks that share the layer. */
  readonly tpGroup: ProcessGroup;
  /** How weights are filled; normal with standard deviation 0.02 by default. */
  readonly init?: InitRule;
  /** How the two output projections are filled; as `init` by default. */
  readonly outputInit?: InitRule;
  /** Whether the residual stream is cut along the sequence; false by default. */
  readonly sequenceParallel?: SP | undefined;
}

/**
 * Pre-norm transformer layer: attention and MLP, each added to the residual stream. Tensor parallelism costs two all-reduces forward and
 * two backward, or as many gathers and reduce-scatters under sequence parallelism.
 * @source Shoeybi et al. 2019, figure 4
 */
export class TransformerLayer<SP extends boolean = false> extends Module {
  /** Norm before attention. */
  readonly attentionNorm: LayerNorm | RMSNorm;
  /** Self-attention. */
  readonly attention: ParallelAttention<SP>;
  /** Norm before the MLP. */
  readonly mlpNorm: LayerNorm | RMSNorm;
  /** The MLP. */
  readonly mlp: ParallelMLP<SP>;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: TransformerLayerOptions<SP>) {
    super();
    const { numAttentionHeads, causal, window, ffnHiddenSize, activation, normalization = 'layerNorm', layerNormEps, ...rest } = options;
    const { hiddenSize, sequenceParallel = false } = rest;
    const shared = { skipBiasAdd: true, ...rest };
    const norm = { hiddenSize, sequenceParallel, ...(layerNormEps === undefined ? {} : { eps: layerNormEps }) };
    this.attentionNorm = makeNorm(normalization, norm);
    this.attention = new ParallelAttention<SP>({ numAttentionHeads, window, ...(causal === undefined ? {} : { causal }), ...shared });
    this.mlpNorm = makeNorm(normalization, norm);
    const mlp = { ...(ffnHiddenSize === undefined ? {} : { ffnHiddenSize }), ...(activation === undefined ? {} : { activation }) };
    this.mlp = new ParallelMLP<SP>({ ...mlp, ...shared });
  }

  /** `x` `[s, b, h]` to the same shape. */
  override forward(x: Tensor<Residual<SP>>): Tensor<Residual<SP>> {
    const attended = this.attention.call(this.attentionNorm.call(x)); // [s, b, h]
    const { sum, normed } = this.mlpNorm.call(attended, { residual: x, addedBias: this.attention.projection.bias }); // [s, b, h] each
    return biasAdd(this.mlp.call(normed), this.mlp.down.bias, sum); // [s, b, h]
  }
}
