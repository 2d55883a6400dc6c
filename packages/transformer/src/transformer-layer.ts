import type { ProcessGroup } from '@megatron-ts/process-groups';
import { biasDropoutAdd, type DropoutOptions, type InitRule, Module } from '@megatron-ts/tensor';
import { requireDropoutRates, type SumAndNorm, type Tensor } from '@megatron-ts/tensor';
import type { LayerDTypes, Residual } from '@megatron-ts/tensor-parallel';
import { firstTokenOf, type StreamLayout } from './first-token.ts';
import type { LayerNorm } from './layer-norm.ts';
import { makeNorm, type Normalization } from './normalization.ts';
import { ParallelAttention } from './parallel-attention.ts';
import { type Activation, ParallelMLP } from './parallel-mlp.ts';
import type { RMSNorm } from './rms-norm.ts';

/** Options of a transformer layer. */
export interface TransformerLayerOptions<SP extends boolean = false> extends LayerDTypes {
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
  /** Share of the elements that dropout leaves out of what attention and MLP add to the residual stream; 0 by default. */
  readonly hiddenDropout?: number;
  /** Share of the attention probabilities that dropout leaves out; 0 by default. */
  readonly attentionDropout?: number;
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
  private readonly hiddenDropout: number;
  private readonly layout: StreamLayout;

  /** @throws ConfigError INDIVISIBLE, INVALID_OPTION */
  constructor(options: TransformerLayerOptions<SP>) {
    super();
    const { numAttentionHeads, causal, window, ffnHiddenSize, activation, normalization = 'layerNorm', layerNormEps, ...rest } = options;
    const { hiddenSize, sequenceParallel = false, tpGroup, hiddenDropout = 0, attentionDropout = 0, paramDType } = rest;
    requireDropoutRates('TransformerLayer', { hiddenDropout, attentionDropout });
    const shared = { skipBiasAdd: true, ...rest };
    const norm = { hiddenSize, sequenceParallel, paramDType, ...(layerNormEps === undefined ? {} : { eps: layerNormEps }) };
    this.attentionNorm = makeNorm(normalization, norm);
    this.attention = new ParallelAttention<SP>({ numAttentionHeads, window, ...(causal === undefined ? {} : { causal }), ...shared });
    this.mlpNorm = makeNorm(normalization, norm);
    const mlp = { ...(ffnHiddenSize === undefined ? {} : { ffnHiddenSize }), ...(activation === undefined ? {} : { activation }) };
    this.mlp = new ParallelMLP<SP>({ ...mlp, ...shared });
    this.hiddenDropout = hiddenDropout;
    this.layout = { tpGroup, sequenceParallel };
  }

  /** `x` `[s, b, h]` to the same shape. */
  override forward(x: Tensor<Residual<SP>>): Tensor<Residual<SP>> {
    const attended = this.attention.call(this.attentionNorm.call(x)); // [s, b, h]
    const { sum, normed } = this.addAndNorm(attended, x); // [s, b, h] each
    return biasDropoutAdd(this.mlp.call(normed), this.mlp.down.bias, sum, this.dropoutOf('mlp', x)); // [s, b, h]
  }

  /** The residual stream behind attention and its norm: one pass without dropout, else two. */
  private addAndNorm(attended: Tensor<Residual<SP>>, residual: Tensor<Residual<SP>>): SumAndNorm<Residual<SP>> {
    const { bias: addedBias } = this.attention.projection;
    if (this.hiddenDropout === 0) return this.mlpNorm.call(attended, { residual, addedBias });
    const sum = biasDropoutAdd(attended, addedBias, residual, this.dropoutOf('attention', residual)); // [s, b, h]
    return { sum, normed: this.mlpNorm.call(sum) };
  }

  private dropoutOf(site: string, stream: Tensor<Residual<SP>>): DropoutOptions {
    return { p: this.hiddenDropout, site, firstToken: firstTokenOf(stream, this.layout) };
  }
}
